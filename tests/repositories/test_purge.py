"""Purge strategies: each deletes all stale sessions, in batches, and no others."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_pinned_session
from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.purge import Batch, PurgeStrategy, choose_purge_strategy
from clarinet_cli.repositories.purge.postgresql import BlockRangePurge, KeyListPurge
from clarinet_cli.repositories.purge.sqlite import RowidPurge
from clarinet_cli.repositories.purge.strategy import KeysetPurge
from tests import oracle
from tests.oracle import IDLE_LIMIT
from tests.support import FIXTURE_NOW, Project

ADMIN = "admin@clarinet.ru"
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
MOMENT = ExpiryPolicy(now=FIXTURE_NOW, idle_after=IDLE_LIMIT)
EDGES = st.sampled_from([-TICK, timedelta(0), TICK])
OFFSETS = EDGES | st.timedeltas(min_value=-3 * HOUR, max_value=3 * HOUR)

Maker = Callable[[AsyncSession, Any, Project], Any]


class Row(NamedTuple):
    """A session's expiry after, its use before, and its creation before the timestamp."""

    expires: timedelta
    idle_by: timedelta
    old_by: timedelta


ROWS = st.lists(st.builds(Row, OFFSETS, OFFSETS, OFFSETS), max_size=12)


async def by_rowid(session: AsyncSession, dead: Any, project: Project) -> PurgeStrategy:
    """SQLite's own strategy."""
    strategy = RowidPurge(session, dead)
    await strategy.prepare()
    return strategy


async def by_block(
    session: AsyncSession, dead: Any, project: Project, *, exact: bool = True
) -> PurgeStrategy:
    """PostgreSQL's own strategy, with batches counted first."""
    query = "SELECT pg_relation_size('access_token') / 8192"
    return BlockRangePurge(session, dead, oracle.rows(project, query)[0][0], exact=exact)


async def by_estimate(session: AsyncSession, dead: Any, project: Project) -> PurgeStrategy:
    """PostgreSQL's own strategy, with estimated batches."""
    return await by_block(session, dead, project, exact=False)


async def by_key(session: AsyncSession, dead: Any, project: Project) -> PurgeStrategy:
    """The strategy for every engine."""
    return KeysetPurge(session, dead)


async def by_list(session: AsyncSession, dead: Any, project: Project) -> PurgeStrategy:
    """The strategy for few stale sessions."""
    sessions = oracle.raw_sessions(project)
    return KeyListPurge(session, dead, [item.token for item in sessions])


STRATEGIES = [
    ("sqlite", by_rowid),
    ("sqlite", by_key),
    ("postgresql", by_block),
    ("postgresql", by_estimate),
    ("postgresql", by_key),
    ("postgresql", by_list),
]
each_strategy = pytest.mark.parametrize(
    ("backend", "make"),
    STRATEGIES,
    indirect=["backend"],
    ids=lambda item: getattr(item, "__name__", item),
)


async def purge(
    project: Project,
    make: Maker,
    dead: Any,
    *,
    size: int = 1000,
    step: int = 1000,
    before_delete: Callable[[], None] = lambda: None,
    **options: Any,
) -> tuple[int, list[Batch], int]:
    """Scan and delete; return the numbers found, the batches, and the number deleted."""
    async with open_pinned_session(project.settings, access=Access.WRITE) as session:
        async with transaction(session, Access.READ):
            strategy = await make(session, dead, project)
        found, done = 0, False
        while not done:
            async with transaction(session, Access.READ):
                scan = await strategy.scan(step)
            found, done = found + scan.found, scan.done
        batches: list[Batch] = []
        deleted = 0
        while True:
            async with transaction(session, Access.READ):
                batch = await strategy.next_batch(size)
            if batch is None:
                return found, batches, deleted
            batches.append(batch)
            before_delete()
            async with transaction(session, Access.WRITE):
                deleted += await strategy.delete(batch, **options)


@each_strategy
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
async def test_exactly_the_stale_ones_are_deleted(
    project: Project,
    make: Maker,
    rows: list[Row],
    size: int,
    step: int,
    expired_only: bool,
    old: bool,
    skip_locked: bool,
) -> None:
    """With any rows, and steps of any size, as plain Python determines it."""
    insert(project, rows)
    options: dict[str, Any] = {
        "expired_only": expired_only,
        "older_than": timedelta(days=1) if old else None,
    }
    before = oracle.raw_sessions(project)
    dead = {item.token for item in before if item.is_stale(FIXTURE_NOW, **options)}
    found, batches, deleted = await purge(
        project, make, MOMENT.stale(**options), size=size, step=step, skip_locked=skip_locked
    )
    assert oracle.tokens(project) == {item.token for item in before} - dead
    assert deleted == len(dead)
    assert found == (len(dead) if make is not by_list else len(before))
    if make is not by_estimate:
        assert [batch for batch in batches if not 0 < batch.number <= size] == []
    assert sum(batch.number for batch in batches) == found


@each_strategy
async def test_full_batches_until_the_end(project: Project, make: Maker) -> None:
    """Ten stale sessions in threes: three full batches and the rest."""
    oracle.add_sessions(project, user(project), 10, now=FIXTURE_NOW, dead=True)
    _, batches, deleted = await purge(project, make, MOMENT.stale(), size=3)
    assert [batch.number for batch in batches] == ([10] if make is by_estimate else [3, 3, 3, 1])
    assert (deleted, oracle.count(project)) == (10, 0)


@each_strategy
async def test_a_session_revived_after_the_scan_survives(project: Project, make: Maker) -> None:
    """The delete repeats the predicate: a session that the server extended is kept."""
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

    found, _, deleted = await purge(project, make, MOMENT.stale(), before_delete=revive)
    assert (found, deleted) == (6, 5)
    assert oracle.tokens(project) == {revived}


@each_strategy
async def test_a_session_that_becomes_unreadable_after_the_scan_survives(
    project: Project, make: Maker
) -> None:
    """An unreadable session is kept, though its other timestamps say that it is stale."""
    oracle.add_sessions(project, user(project), 6, now=FIXTURE_NOW, dead=True)
    odd = sorted(oracle.tokens(project))[2]
    value = "yesterday, or so" if project.server is None else "infinity"

    def spoil() -> None:
        query = f"UPDATE access_token SET created_at = '{value}' WHERE token = ?"
        oracle.rows(project, query, odd)

    dead = MOMENT.stale_if_valid() if make is by_rowid else MOMENT.stale()
    found, _, deleted = await purge(project, make, dead, before_delete=spoil)
    assert (found, deleted) == (6, 5)
    assert oracle.rows(project, "SELECT token FROM access_token") == [(odd,)]


@pytest.mark.parametrize("make", [by_block, by_estimate, by_key, by_list])
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_locked_rows_are_skipped(project: Project, make: Maker) -> None:
    """A row that another transaction has locked stays, the others are deleted without a wait."""
    oracle.add_sessions(project, user(project), 6, now=FIXTURE_NOW, dead=True)
    locked = sorted(oracle.tokens(project))[3]
    query = "SELECT 1 FROM access_token WHERE token = ? FOR UPDATE"
    async with oracle.held_transaction(project, query, locked):
        _, _, deleted = await purge(project, make, MOMENT.stale(), skip_locked=True)
        assert oracle.tokens(project) == {locked}
    assert deleted == 5


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_any_rowid(project: Project) -> None:
    """With negative rowids and large gaps."""
    oracle.add_sessions(project, user(project), 5, now=FIXTURE_NOW, dead=True)
    places = (-(2**63) + 1, -1, 0, 2**40, 2**63 - 1)
    for old, new in enumerate(places, start=1):
        oracle.rows(project, "UPDATE access_token SET rowid = ? WHERE rowid = ?", new, old)
    found, batches, deleted = await purge(project, by_rowid, MOMENT.stale(), size=2, step=2)
    assert (found, len(batches), deleted, oracle.count(project)) == (5, 3, 5, 0)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("make", [by_block, by_estimate])
async def test_stale_rows_in_many_blocks_with_live_ones_between(
    project: Project, make: Maker
) -> None:
    """Ranges without a stale row are skipped; the others are deleted to their ends."""
    user_id = user(project)
    for dead in (False, True, False, False, True):
        oracle.add_sessions(project, user_id, 400, now=FIXTURE_NOW, dead=dead)
    live = {item.token for item in oracle.raw_sessions(project) if not item.is_stale(FIXTURE_NOW)}
    found, batches, deleted = await purge(project, make, MOMENT.stale(), size=150, step=2)
    assert (found, deleted) == (800, 800)
    assert max(batch.number for batch in batches) <= 150
    assert oracle.tokens(project) == live


async def chosen(project: Project, **options: Any) -> PurgeStrategy:
    """Return the strategy that is chosen for a database."""
    async with (
        open_pinned_session(project.settings) as session,
        transaction(session, Access.READ),
    ):
        dead = MOMENT.stale(expired_only=options.get("by_expiry", False))
        return await choose_purge_strategy(session, dead, **{"by_expiry": False, **options})


async def test_each_engine_has_its_strategy(project: Project) -> None:
    """Rowids on SQLite, blocks on PostgreSQL."""
    expected = RowidPurge if project.server is None else BlockRangePurge
    assert isinstance(await chosen(project), expected)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_few_expired_sessions_are_found_by_the_index(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --expired-only the keys of few stale ones are listed; otherwise blocks are read."""
    monkeypatch.setattr("clarinet_cli.repositories.purge.postgresql.MAX_LISTED_KEYS", 3)
    oracle.add_sessions(project, user(project), 3, now=FIXTURE_NOW, dead=True)
    assert isinstance(await chosen(project, by_expiry=True), KeyListPurge)
    assert isinstance(await chosen(project, by_expiry=False), BlockRangePurge)
    oracle.add_sessions(project, user(project), 1, now=FIXTURE_NOW, dead=True)
    assert isinstance(await chosen(project, by_expiry=True), BlockRangePurge)


@pytest.mark.parametrize(
    "version", ["CockroachDB CCL v25.1.2", "PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64"]
)
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_engines_without_ctid_get_the_key_order(project: Project, version: str) -> None:
    """An engine that only speaks PostgreSQL's protocol gets the primary key."""
    name = project.database
    oracle.rows(
        project,
        f"CREATE FUNCTION version() RETURNS text LANGUAGE sql AS $$ SELECT '{version}' $$",
    )
    oracle.rows(project, f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    assert isinstance(await chosen(project), KeysetPurge)


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
    assert isinstance(await chosen(project), KeysetPurge)
    found, batches, deleted = await purge(project, by_key, MOMENT.stale(), size=2)
    assert (found, len(batches), deleted) == (5, 3, 5)
    assert oracle.tokens(project) == {kept}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_scanning_leaves_the_lock_for_writing_to_others(project: Project) -> None:
    """While a scan is under way, rowids stored, another connection can write."""
    oracle.add_sessions(project, user(project), 4, now=FIXTURE_NOW, dead=True)
    oracle.rows(project, "PRAGMA journal_mode=wal")
    async with (
        open_pinned_session(project.settings, access=Access.WRITE) as session,
        transaction(session, Access.READ),
    ):
        strategy = await by_rowid(session, MOMENT.stale(), project)
        assert (await strategy.scan(2)).found == 2
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
