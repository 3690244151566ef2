"""Queries on sessions: their state as the server judges it, their numbers, their removal."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple, Optional
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.listing import Pages, session_pages
from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.stats import SessionStatsRepository
from clarinet_cli.results import SessionRow, SessionStats
from clarinet_cli.types import ANY_SESSION, SessionFilter, StateName
from tests import oracle
from tests.oracle import IDLE_LIMIT, RawSession
from tests.support import FIXTURE_NOW, Project

ACTIVE = SessionFilter(states=(StateName.ACTIVE,))
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
# A session that expires after, and was used before the instant, and its state then.
BOUNDARIES = [
    (timedelta(0), timedelta(0), "expired"),
    (TICK, timedelta(0), "active"),
    (-TICK, timedelta(0), "expired"),
    (DAY, IDLE_LIMIT, "active"),
    (DAY, IDLE_LIMIT + TICK, "idle"),
    (DAY, IDLE_LIMIT - TICK, "active"),
    (timedelta(0), IDLE_LIMIT + TICK, "expired"),
    (TICK, IDLE_LIMIT, "active"),
    (TICK, IDLE_LIMIT + TICK, "idle"),
]
AT_FIXTURE_NOW = ExpiryPolicy(now=FIXTURE_NOW, idle_after=IDLE_LIMIT)
# Offsets at the boundaries and around them, and anywhere within three days.
EDGES = st.sampled_from([-TICK, timedelta(0), TICK, timedelta(hours=1), timedelta(hours=-1)])
OFFSETS = EDGES | st.timedeltas(min_value=timedelta(days=-3), max_value=timedelta(days=3))


class Planned(NamedTuple):
    """A session relative to a timestamp and an idle limit."""

    expires: timedelta  # after now
    idle_by: timedelta  # beyond the limit; before now without one
    active: bool


PLANS = st.lists(st.builds(Planned, OFFSETS, OFFSETS, st.booleans()), min_size=1, max_size=8)
INSTANTS = st.datetimes(
    min_value=datetime(2024, 1, 1),
    max_value=datetime(2032, 1, 1),
    timezones=st.just(UTC),
)


async def rows_at(
    project: Project, policy: ExpiryPolicy, where: SessionFilter = ANY_SESSION, **options: Any
) -> list[SessionRow]:
    """Return the rows that a listing shows."""
    async with oracle.writing(project) as session:
        pages = await session_pages(session, policy, where, **options)
        await pages.prepare()
        return [row async for row in _all(pages)]


async def _all(pages: Pages) -> AsyncIterator[SessionRow]:
    while page := await pages.next_page():
        for row in page:
            yield row


async def states_at(project: Project, policy: ExpiryPolicy) -> dict[str, str]:
    """Return the state of each session by its id."""
    return {row.id: row.state for row in await rows_at(project, policy)}


async def stats_at(project: Project, policy: ExpiryPolicy = AT_FIXTURE_NOW) -> SessionStats:
    """Return the numbers of a summary."""
    async with oracle.writing(project) as session:
        return await SessionStatsRepository(session).stats(policy)


def one_of_each_state(project: Project) -> None:
    """Make the fixture's sessions cover all four states: bob becomes inactive."""
    oracle.deactivate(project, "bob@clarinet.example")


def expected_states(
    sessions: list[RawSession], now: datetime, idle: Optional[timedelta]
) -> dict[str, str]:
    """Return the states by the rules, in plain Python."""
    return {item.id: item.state(now, idle) for item in sessions}


async def test_states_of_a_real_database_follow_the_servers_rules(server_project: Project) -> None:
    """Every session of the server's database has the state that the rules give it."""
    one_of_each_state(server_project)
    sessions = oracle.raw_sessions(server_project)
    assert len(sessions) >= 12
    for idle in (None, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=6), 5 * DAY):
        found = await states_at(server_project, ExpiryPolicy(now=FIXTURE_NOW, idle_after=idle))
        assert found == expected_states(sessions, FIXTURE_NOW, idle)


async def test_a_real_database_has_sessions_in_all_states(server_project: Project) -> None:
    """At the fixture's timestamp all four words are in use, by the oracle and by the query."""
    one_of_each_state(server_project)
    states = (await states_at(server_project, AT_FIXTURE_NOW)).values()
    assert set(states) == {"active", "idle", "expired", "blocked"}


async def test_states_at_the_boundaries(project: Project) -> None:
    """Expiring now is over; unused for exactly the limit is still in; one tick decides."""
    user_id = oracle.user_id_of(project, "admin@clarinet.ru")
    expected = {
        oracle.add_session(project, user_id, now=FIXTURE_NOW, expires=expires, used=used)[:8]: state
        for expires, used, state in BOUNDARIES
    }
    assert await states_at(project, AT_FIXTURE_NOW) == expected
    stats = await stats_at(project)
    for state in ("active", "idle", "expired"):
        assert getattr(stats, state) == list(expected.values()).count(state)


async def test_without_an_idle_limit_nothing_is_idle(project: Project) -> None:
    """An idle timeout of 0 means that only the expiry counts."""
    user_id = oracle.user_id_of(project, "admin@clarinet.ru")
    for used in (timedelta(0), DAY, 3000 * DAY):
        oracle.add_session(project, user_id, now=FIXTURE_NOW, used=used)
    policy = ExpiryPolicy(now=FIXTURE_NOW, idle_after=None)
    assert list((await states_at(project, policy)).values()) == ["active"] * 3
    stats = await stats_at(project, policy)
    assert (stats.active, stats.idle) == (3, 0)


@given(plans=PLANS, now=INSTANTS, idle_minutes=st.sampled_from([None, 1, 60, 1440]))
@settings(
    max_examples=20,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_state_follows_the_rules_for_any_timestamps(
    project: Project, plans: list[Planned], now: datetime, idle_minutes: Optional[int]
) -> None:
    """For any timestamps the query and the plain rules agree, and so do numbers and clean-up."""
    idle = None if idle_minutes is None else timedelta(minutes=idle_minutes)
    insert_plans(project, plans, now, idle)
    sessions = oracle.raw_sessions(project)
    assert len(sessions) == len(plans)
    policy = ExpiryPolicy(now=now, idle_after=idle)
    expected = expected_states(sessions, now, idle)
    assert await states_at(project, policy) == expected
    stats = await stats_at(project, policy)
    for state in ("active", "idle", "expired", "blocked"):
        assert getattr(stats, state) == list(expected.values()).count(state)
    async with oracle.writing(project, dry_run=True) as session:
        repository = SessionRepository(session)
        assert await repository.count(policy.stale()) == stats.idle + stats.expired
        assert await repository.count(policy.stale(expired_only=True)) == stats.expired
        assert await repository.count(policy.live) == stats.active + stats.blocked


@pytest.mark.parametrize("active_only", [False, True])
async def test_active_only_leaves_out_what_the_server_refuses(
    server_project: Project, *, active_only: bool
) -> None:
    """Idle, expired and blocked sessions are listed, unless only active ones are wanted."""
    one_of_each_state(server_project)
    expected = [
        item.id
        for item in oracle.raw_sessions(server_project)
        if not active_only or item.state(FIXTURE_NOW) == "active"
    ]
    found = await rows_at(server_project, AT_FIXTURE_NOW, ACTIVE if active_only else ANY_SESSION)
    assert [row.id for row in found] == expected


async def test_rows_are_the_stored_values_newest_first(server_project: Project) -> None:
    """Each row is one session as it is stored, in the order of creation, newest first."""
    emails = {
        UUID(str(row[1])): row[0]
        for row in oracle.rows(server_project, 'SELECT email, id FROM "user"')
    }
    expected = [
        (
            item.id,
            item.user_id,
            emails[item.user_id],
            item.created_at,
            item.expires_at,
            item.last_accessed,
            item.ip_address,
            item.user_agent,
        )
        for item in oracle.raw_sessions(server_project)
    ]
    found = [
        (
            row.id,
            UUID(str(row.user_id)),
            row.email,
            row.created_at,
            row.expires_at,
            row.last_accessed,
            row.ip_address,
            row.user_agent,
        )
        for row in await rows_at(server_project, AT_FIXTURE_NOW)
    ]
    assert found == expected


async def test_rows_of_one_user_are_only_that_users(server_project: Project) -> None:
    """With a user given, that user's sessions are listed, all of them and no other."""
    user_id = oracle.user_id_of(server_project, "ada@clarinet.example")
    found = await rows_at(server_project, AT_FIXTURE_NOW, user_id=user_id)
    expected = oracle.sessions_of(server_project, "ada@clarinet.example")
    assert [row.id for row in found] == [item.id for item in expected]
    assert len(found) == 7


async def test_no_more_than_the_id_of_a_token_leaves_the_database(server_project: Project) -> None:
    """Rows and numbers hold the first eight characters of a token and no ninth."""
    found = await rows_at(server_project, AT_FIXTURE_NOW)
    shown = repr(found) + repr(await stats_at(server_project))
    for token in oracle.tokens(server_project):
        assert token[:8] in shown
        assert token[:9] not in shown
        assert token[8:] not in shown


async def test_a_session_without_user_is_blocked(project: Project) -> None:
    """Rules 1 and 2 hold without a user; SQLite without foreign keys may have such rows."""
    if project.server is not None:
        oracle.rows(project, "ALTER TABLE access_token DROP CONSTRAINT access_token_user_id_fkey")
    token = oracle.add_orphan_session(project, FIXTURE_NOW)
    found = await rows_at(project, AT_FIXTURE_NOW)
    assert [(row.id, row.state, row.email) for row in found] == [(token[:8], "blocked", None)]
    stats = await stats_at(project)
    assert (stats.total, stats.blocked, stats.active, stats.users) == (1, 1, 0, 1)
    assert await rows_at(project, AT_FIXTURE_NOW, ACTIVE) == []


async def test_stats_are_a_count_in_plain_python(server_project: Project) -> None:
    """All numbers of the summary equal those counted one by one."""
    one_of_each_state(server_project)
    sessions = oracle.raw_sessions(server_project)
    assert oracle.rounded(await stats_at(server_project)) == oracle.stats(sessions, FIXTURE_NOW)


async def test_lives_are_hours_and_not_nonsense(project: Project) -> None:
    """Lives of 1 h and 3 h are 2 h on average: no minus 58 million hours on SQLite."""
    user_id = oracle.user_id_of(project, "admin@clarinet.ru")
    for hours in (1, 3):
        oracle.add_session(
            project, user_id, now=FIXTURE_NOW, created=timedelta(0), expires=timedelta(hours=hours)
        )
    stats = await stats_at(project)
    assert stats.average_life_seconds == pytest.approx(2 * 3600, abs=0.002)
    assert stats.longest_life_seconds == pytest.approx(3 * 3600, abs=0.002)


async def test_stats_weigh_users_by_their_sessions(project: Project) -> None:
    """The average is over sessions, not over users, and the longest over all of them."""
    admin = oracle.user_id_of(project, "admin@clarinet.ru")
    ada = oracle.add_user(project, "ada@clarinet.example")
    for user_id, hours in ((admin, 1), (admin, 1), (admin, 1), (ada, 9)):
        oracle.add_session(
            project, user_id, now=FIXTURE_NOW, created=timedelta(0), expires=timedelta(hours=hours)
        )
    stats = await stats_at(project)
    assert stats.users == 2
    assert stats.average_life_seconds == pytest.approx(3 * 3600, abs=0.002)
    assert stats.longest_life_seconds == pytest.approx(9 * 3600, abs=0.002)


async def test_stats_of_no_sessions_are_zeros(project: Project) -> None:
    """Without a session there are zeros, and no average, longest life or next expiry."""
    assert await stats_at(project) == SessionStats(
        total=0,
        active=0,
        idle=0,
        expired=0,
        blocked=0,
        users=0,
        average_life_seconds=None,
        longest_life_seconds=None,
        next_expiry=None,
        age={"under_1h": 0, "under_1d": 0, "under_7d": 0, "under_30d": 0, "older": 0},
    )


async def test_without_a_live_session_nothing_expires_next(project: Project) -> None:
    """Sessions that are all over have no next expiry, but they have lives."""
    user_id = oracle.user_id_of(project, "admin@clarinet.ru")
    oracle.add_sessions(project, user_id, 3, now=FIXTURE_NOW, dead=True)
    stats = await stats_at(project)
    assert (stats.total, stats.expired, stats.next_expiry) == (3, 3, None)
    assert stats.longest_life_seconds == pytest.approx(3600, abs=0.002)


async def test_stats_are_one_statement(server_project: Project) -> None:
    """One statement sees one moment: numbers cannot contradict each other."""
    async with oracle.writing(server_project) as session:
        with oracle.selects(session) as seen:
            stats = await SessionStatsRepository(session).stats(AT_FIXTURE_NOW)
    assert stats.total == oracle.count(server_project)
    assert len(seen) == 1, seen


async def test_another_time_zone_is_the_same_timestamp(server_project: Project) -> None:
    """A timestamp given in another zone is evaluated like the same timestamp in UTC."""
    elsewhere = FIXTURE_NOW.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    policy = ExpiryPolicy(now=elsewhere, idle_after=IDLE_LIMIT)
    assert await states_at(server_project, policy) == await states_at(
        server_project, AT_FIXTURE_NOW
    )
    assert await stats_at(server_project, policy) == await stats_at(server_project)


async def test_timestamps_are_aware_utc(server_project: Project) -> None:
    """On either backend Python gets aware timestamps in UTC."""
    found = await rows_at(server_project, AT_FIXTURE_NOW)
    instants = [
        instant
        for row in found
        for instant in (row.created_at, row.expires_at, row.last_accessed)
        if instant is not None
    ]
    assert len(instants) == 3 * len(found)
    next_expiry = (await stats_at(server_project)).next_expiry
    assert next_expiry is not None
    assert {instant.tzinfo for instant in [*instants, next_expiry]} == {UTC}
    assert next_expiry > FIXTURE_NOW
    assert min(instants) < FIXTURE_NOW


async def test_sessions_of_a_user_are_newest_first(server_project: Project) -> None:
    """Only the tokens of that user, newest first."""
    user_id = oracle.user_id_of(server_project, "ada@clarinet.example")
    async with oracle.writing(server_project) as session:
        found = await SessionRepository(session).for_user(user_id)
    expected = oracle.sessions_of(server_project, "ada@clarinet.example")
    assert [item.token for item in found] == [item.token for item in expected]
    assert [item.id for item in found] == [item.id for item in expected]


@pytest.mark.parametrize("kept", [0, 2, 7])
async def test_a_users_sessions_are_removed_but_those_to_keep(
    server_project: Project, kept: int
) -> None:
    """The number is that of the rows that went, and other users' sessions stay."""
    user_id = oracle.user_id_of(server_project, "ada@clarinet.example")
    before = oracle.tokens(server_project)
    own = {item.token for item in oracle.sessions_of(server_project, "ada@clarinet.example")}
    async with oracle.writing(server_project) as session:
        repository = SessionRepository(session)
        keep = (await repository.for_user(user_id))[:kept]
        removed = await RevocationRepository(session).revoke_of_user(user_id, keep=keep)
    assert removed == 7 - kept
    assert oracle.tokens(server_project) == before - own | {item.token for item in keep}


async def test_a_repository_does_not_commit(server_project: Project) -> None:
    """What was removed is back when the caller rolls back."""
    user_id = oracle.user_id_of(server_project, "ada@clarinet.example")
    before = oracle.snapshot(server_project)
    async with oracle.writing(server_project, dry_run=True) as session:
        assert await RevocationRepository(session).revoke_of_user(user_id) == 7
    assert oracle.snapshot(server_project) == before


def insert_plans(
    project: Project, plans: list[Planned], now: datetime, idle: Optional[timedelta]
) -> None:
    """Replace all sessions by those planned, of an active user or of an inactive one."""
    oracle.rows(project, "DELETE FROM access_token")
    users = {
        True: oracle.user_id_of(project, "admin@clarinet.ru"),
        False: inactive_user(project),
    }
    values: list[Any] = []
    for plan in plans:
        used = now - (idle or timedelta(0)) - plan.idle_by
        values += [str(uuid4()), users[plan.active], now, now + plan.expires, used, None, None]
    oracle.insert_sessions(project, values)


def inactive_user(project: Project) -> UUID:
    """Return the id of an inactive account, made when there is none."""
    found = oracle.rows(project, 'SELECT id FROM "user" WHERE email = ?', "off@clarinet.example")
    if found:
        return UUID(str(found[0][0]))
    return oracle.add_user(project, "off@clarinet.example", active=False)
