"""Ways to remove dead sessions: each meets all of the dead ones, in spans, and no other."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_pinned_session, transaction
from clarinet_cli.repositories.dead_sessions import DeadSessions, Span, way_to_dead_sessions
from clarinet_cli.repositories.dead_sessions.key_order import KeyOrder
from clarinet_cli.repositories.dead_sessions.postgresql import BlockRanges, NamedSessions
from clarinet_cli.repositories.dead_sessions.sqlite import RowidSlices
from clarinet_cli.repositories.session_state import Moment
from tests import oracle
from tests.oracle import IDLE_LIMIT
from tests.support import FIXTURE_NOW, Project

ADMIN = "admin@clarinet.ru"
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
MOMENT = Moment(now=FIXTURE_NOW, idle_after=IDLE_LIMIT)
EDGES = st.sampled_from([-TICK, timedelta(0), TICK])
OFFSETS = EDGES | st.timedeltas(min_value=-3 * HOUR, max_value=3 * HOUR)

Maker = Callable[[AsyncSession, Any, Project], Any]


class Row(NamedTuple):
    """A session's expiry after, its use before, and its creation before the instant."""

    expires: timedelta
    idle_by: timedelta
    old_by: timedelta


ROWS = st.lists(st.builds(Row, OFFSETS, OFFSETS, OFFSETS), max_size=12)


async def by_rowid(session: AsyncSession, dead: Any, project: Project) -> DeadSessions:
    """SQLite's own way."""
    way = RowidSlices(session, dead, keep=True)
    await way.prepare()
    return way


async def by_block(session: AsyncSession, dead: Any, project: Project) -> DeadSessions:
    """PostgreSQL's own way."""
    query = "SELECT pg_relation_size('access_token') / 8192"
    return BlockRanges(session, dead, oracle.rows(project, query)[0][0], exact=True)


async def by_measure(session: AsyncSession, dead: Any, project: Project) -> DeadSessions:
    """PostgreSQL's own way, blocks not counted out."""
    way = await by_block(session, dead, project)
    assert isinstance(way, BlockRanges)
    way._exact = False
    return way


async def by_key(session: AsyncSession, dead: Any, project: Project) -> DeadSessions:
    """Every engine's way."""
    return KeyOrder(session, dead)


async def by_name(session: AsyncSession, dead: Any, project: Project) -> DeadSessions:
    """The way when few are dead."""
    sessions = oracle.raw_sessions(project)
    return NamedSessions(session, dead, [item.token for item in sessions])


WAYS = [
    ("sqlite", by_rowid),
    ("sqlite", by_key),
    ("postgresql", by_block),
    ("postgresql", by_measure),
    ("postgresql", by_key),
    ("postgresql", by_name),
]
each_way = pytest.mark.parametrize(
    ("backend", "way"), WAYS, indirect=["backend"], ids=lambda item: getattr(item, "__name__", item)
)


async def walk(
    project: Project,
    make: Maker,
    dead: Any,
    *,
    size: int = 1000,
    step: int = 1000,
    before_delete: Callable[[], None] = lambda: None,
    **options: Any,
) -> tuple[int, list[Span], int]:
    """Go the whole way; return what the look found, the spans, and how many were removed."""
    async with open_pinned_session(project.settings, access=Access.WRITE) as session:
        async with transaction(session, Access.READ):
            way = await make(session, dead, project)
        found, done = 0, False
        while not done:
            async with transaction(session, Access.READ):
                look = await way.look(step)
            found, done = found + look.found, look.done
        spans: list[Span] = []
        removed = 0
        while True:
            async with transaction(session, Access.READ):
                span = await way.next_span(size)
            if span is None:
                return found, spans, removed
            spans.append(span)
            before_delete()
            async with transaction(session, Access.WRITE):
                removed += await way.remove(span, **options)


@each_way
@given(
    rows=ROWS,
    size=st.integers(1, 5),
    step=st.integers(1, 7),
    expired_only=st.booleans(),
    old=st.booleans(),
    skip_locked=st.booleans(),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_exactly_the_dead_ones_go(
    project: Project,
    way: Maker,
    rows: list[Row],
    size: int,
    step: int,
    expired_only: bool,
    old: bool,
    skip_locked: bool,
) -> None:
    """Whatever lies in the table, and in steps of whatever size, as plain Python judges it."""
    insert(project, rows)
    options: dict[str, Any] = {
        "expired_only": expired_only,
        "older_than": timedelta(days=1) if old else None,
    }
    before = oracle.raw_sessions(project)
    dead = {item.token for item in before if item.is_dead(FIXTURE_NOW, **options)}
    found, spans, removed = await walk(
        project, way, MOMENT.dead(**options), size=size, step=step, skip_locked=skip_locked
    )
    assert oracle.tokens(project) == {item.token for item in before} - dead
    assert removed == len(dead)
    assert found == (len(dead) if way is not by_name else len(before))
    if way is not by_measure:
        assert [span for span in spans if not 0 < span.number <= size] == []
    assert sum(span.number for span in spans) == found


@each_way
async def test_full_spans_until_the_end(project: Project, way: Maker) -> None:
    """Ten dead sessions in threes: three full spans and the rest."""
    oracle.add_sessions(project, user(project), 10, now=FIXTURE_NOW, dead=True)
    _, spans, removed = await walk(project, way, MOMENT.dead(), size=3)
    assert [span.number for span in spans] == ([10] if way is by_measure else [3, 3, 3, 1])
    assert (removed, oracle.count(project)) == (10, 0)


@each_way
async def test_a_session_revived_after_the_look_survives(project: Project, way: Maker) -> None:
    """The predicate stands in the delete: what the server extended meanwhile is spared."""
    oracle.add_sessions(project, user(project), 6, now=FIXTURE_NOW, dead=True)
    revived = sorted(oracle.tokens(project))[2]

    def revive() -> None:
        oracle.rows(
            project,
            "UPDATE access_token SET expires_at = ?, last_accessed = ? WHERE token = ?",
            FIXTURE_NOW + HOUR,
            FIXTURE_NOW,
            revived,
        )

    found, _, removed = await walk(project, way, MOMENT.dead(), before_delete=revive)
    assert (found, removed) == (6, 5)
    assert oracle.tokens(project) == {revived}


@each_way
async def test_a_session_that_becomes_unreadable_after_the_look_survives(
    project: Project, way: Maker
) -> None:
    """What nobody can judge is spared, though the rest of it says that it is dead."""
    oracle.add_sessions(project, user(project), 6, now=FIXTURE_NOW, dead=True)
    odd = sorted(oracle.tokens(project))[2]
    value = "yesterday, or so" if project.server is None else "infinity"

    def spoil() -> None:
        query = f"UPDATE access_token SET created_at = '{value}' WHERE token = ?"
        oracle.rows(project, query, odd)

    dead = MOMENT.dead_if_valid() if way is by_rowid else MOMENT.dead()
    found, _, removed = await walk(project, way, dead, before_delete=spoil)
    assert (found, removed) == (6, 5)
    assert oracle.rows(project, "SELECT token FROM access_token") == [(odd,)]


@pytest.mark.parametrize("way", [by_block, by_measure, by_key, by_name])
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_locked_rows_are_gone_around(project: Project, way: Maker) -> None:
    """A row that somebody else has locked stays, the others go, and nobody waits."""
    oracle.add_sessions(project, user(project), 6, now=FIXTURE_NOW, dead=True)
    locked = sorted(oracle.tokens(project))[3]
    query = "SELECT 1 FROM access_token WHERE token = ? FOR UPDATE"
    async with oracle.held_transaction(project, query, locked):
        _, _, removed = await walk(project, way, MOMENT.dead(), skip_locked=True)
        assert oracle.tokens(project) == {locked}
    assert removed == 5


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_any_rowid(project: Project) -> None:
    """Rowids below zero, and with large gaps, are met too."""
    oracle.add_sessions(project, user(project), 5, now=FIXTURE_NOW, dead=True)
    places = (-(2**63) + 1, -1, 0, 2**40, 2**63 - 1)
    for old, new in enumerate(places, start=1):
        oracle.rows(project, "UPDATE access_token SET rowid = ? WHERE rowid = ?", new, old)
    found, spans, removed = await walk(project, by_rowid, MOMENT.dead(), size=2, step=2)
    assert (found, len(spans), removed, oracle.count(project)) == (5, 3, 5, 0)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", [by_block, by_measure])
async def test_dead_rows_in_many_blocks_with_live_ones_between(
    project: Project, way: Maker
) -> None:
    """Ranges without a dead row are passed over; the others are walked to their ends."""
    user_id = user(project)
    for dead in (False, True, False, False, True):
        oracle.add_sessions(project, user_id, 400, now=FIXTURE_NOW, dead=dead)
    live = {item.token for item in oracle.raw_sessions(project) if not item.is_dead(FIXTURE_NOW)}
    found, spans, removed = await walk(project, way, MOMENT.dead(), size=150, step=2)
    assert (found, removed) == (800, 800)
    assert max(span.number for span in spans) <= 150
    assert oracle.tokens(project) == live


async def chosen(project: Project, **options: Any) -> DeadSessions:
    """Return the way that is chosen for a database."""
    async with (
        open_pinned_session(project.settings) as session,
        transaction(session, Access.READ),
    ):
        dead = MOMENT.dead(expired_only=options.get("by_expiry", False))
        return await way_to_dead_sessions(session, dead, **{"by_expiry": False, **options})


async def test_each_engine_has_its_way(project: Project) -> None:
    """Rowids on SQLite, blocks on PostgreSQL."""
    expected = RowidSlices if project.server is None else BlockRanges
    assert isinstance(await chosen(project), expected)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_few_expired_sessions_are_found_by_the_index(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When expiry alone counts and few are dead, they are named; else blocks are read."""
    monkeypatch.setattr("clarinet_cli.repositories.dead_sessions.postgresql.FEW", 3)
    oracle.add_sessions(project, user(project), 3, now=FIXTURE_NOW, dead=True)
    assert isinstance(await chosen(project, by_expiry=True), NamedSessions)
    assert isinstance(await chosen(project, by_expiry=False), BlockRanges)
    oracle.add_sessions(project, user(project), 1, now=FIXTURE_NOW, dead=True)
    assert isinstance(await chosen(project, by_expiry=True), BlockRanges)


@pytest.mark.parametrize(
    "version", ["CockroachDB CCL v25.1.2", "PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64"]
)
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_engines_without_ctid_get_the_key_order(project: Project, version: str) -> None:
    """What only speaks PostgreSQL is walked by the primary key."""
    name = project.database
    oracle.rows(
        project,
        f"CREATE FUNCTION version() RETURNS text LANGUAGE sql AS $$ SELECT '{version}' $$",
    )
    oracle.rows(project, f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    assert isinstance(await chosen(project), KeyOrder)


async def test_other_tables_get_the_key_order(project: Project) -> None:
    """WITHOUT ROWID on SQLite and partitions on PostgreSQL: by the primary key, and all go."""
    oracle.add_sessions(project, user(project), 5, now=FIXTURE_NOW, dead=True)
    oracle.rows(project, "ALTER TABLE access_token RENAME TO plain")
    if project.server is None:
        oracle.rows(
            project,
            "CREATE TABLE access_token (token VARCHAR PRIMARY KEY, user_id UUID, created_at,"
            " expires_at, last_accessed, user_agent, ip_address) WITHOUT ROWID",
        )
    else:
        oracle.rows(
            project, "CREATE TABLE access_token (LIKE plain) PARTITION BY RANGE (expires_at)"
        )
        oracle.rows(project, "CREATE TABLE all_of_them PARTITION OF access_token DEFAULT")
    oracle.rows(project, "INSERT INTO access_token SELECT * FROM plain")
    kept = oracle.add_session(project, user(project), now=FIXTURE_NOW)
    assert isinstance(await chosen(project), KeyOrder)
    found, spans, removed = await walk(project, by_key, MOMENT.dead(), size=2)
    assert (found, len(spans), removed) == (5, 3, 5)
    assert oracle.tokens(project) == {kept}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_looking_leaves_the_lock_for_writing_to_others(project: Project) -> None:
    """While a look is under way, rowids noted down, another connection can write."""
    oracle.add_sessions(project, user(project), 4, now=FIXTURE_NOW, dead=True)
    oracle.rows(project, "PRAGMA journal_mode=wal")
    async with (
        open_pinned_session(project.settings, access=Access.WRITE) as session,
        transaction(session, Access.READ),
    ):
        way = await by_rowid(session, MOMENT.dead(), project)
        assert (await way.look(2)).found == 2
        added = oracle.add_session(project, user(project), now=FIXTURE_NOW)
    assert added in oracle.tokens(project)


def user(project: Project) -> Any:
    """Return the id of the first administrator."""
    return oracle.user_id_of(project, ADMIN)


def insert(project: Project, rows: list[Row]) -> None:
    """Replace all sessions by these."""
    oracle.rows(project, "DELETE FROM access_token")
    user_id = user(project)
    values: list[Any] = []
    for row in rows:
        used = FIXTURE_NOW - IDLE_LIMIT - row.idle_by
        created = FIXTURE_NOW - timedelta(days=1) - row.old_by
        values += [str(uuid4()), user_id, created, FIXTURE_NOW + row.expires, used, None, None]
    if values:
        oracle.insert_sessions(project, values)
