"""What a clean-up does on one engine only: SQLite's log, PostgreSQL's concurrent scan."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Optional

import pytest

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_connection
from clarinet_cli.exceptions import UNREACHABLE, UnreachableError
from clarinet_cli.repositories.purge import ScanResult
from clarinet_cli.repositories.purge.postgresql import BlockRanges
from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from clarinet_cli.services.session_cleanup.transaction import TransactionRunner
from tests import oracle
from tests.patience import PATIENCE_SECONDS
from tests.services.test_session_cleanup import add_dead, plan
from tests.support import FIXTURE_NOW, Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
FULL, NORMAL = 2, 1
PAGE_IN_LOG = 4096 + 24  # with its header
AUTOCHECKPOINT_PAGES = 1000  # SQLite's default


@contextlib.contextmanager
def server(project: Project, mode: str) -> Iterator[sqlite3.Connection]:
    """Hold the file open as a server does, so that no end of a command empties the log."""
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("SELECT count(*) FROM access_token").fetchone()
        yield connection


@on_sqlite
async def test_the_log_stays_as_short_as_a_batch(project: Project) -> None:
    """Each commit checkpoints it, and it restarts, while another connection writes too."""
    dead = add_dead(project, 6000)
    log = project.file.with_name(f"{project.file.name}-wal")
    pages: list[float] = []
    with server(project, "WAL") as connection:

        def write(*_: int) -> None:
            pages.append(log.stat().st_size / PAGE_IN_LOG)
            connection.execute('UPDATE "user" SET is_verified = NOT is_verified')

        report = await clean_up(
            project.settings, plan(batch_size=300), now=FIXTURE_NOW, progress=write
        )
    assert (report.deleted, report.batches) == (len(dead), 20)
    assert max(pages) <= AUTOCHECKPOINT_PAGES + 2 * pages[0] < sum(pages[:1]) * 20


@on_sqlite
@pytest.mark.parametrize(("asked", "expected"), [(None, 0.1), (0.3, 0.3)])
async def test_other_writers_get_a_gap_between_batches(
    project: Project, monkeypatch: pytest.MonkeyPatch, asked: Optional[float], expected: float
) -> None:
    """A tenth of a second, or as long as was asked for; none after the last batch."""
    pauses: list[float] = []

    async def sleep(_: TransactionRunner, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(TransactionRunner, "sleep", sleep)
    add_dead(project, 4)
    slowly = CleanupPlan(batch_size=1, largest_batch=1, pause=asked)
    with server(project, "WAL"):
        report = await clean_up(project.settings, slowly, now=FIXTURE_NOW)
    assert (report.deleted, pauses) == (4, [expected] * 3)


@on_sqlite
async def test_a_reader_keeps_no_batch_waiting(project: Project) -> None:
    """While a read transaction stays open the log can't restart, and all dead ones go."""
    add_dead(project, 7)
    with server(project, "WAL") as connection:
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM access_token").fetchone()
        report = await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
        seen = connection.execute("SELECT count(*) FROM access_token").fetchone()
    assert (report.deleted, report.batches, report.complete) == (7, 7, True)
    assert seen == before  # of one moment
    assert oracle.count(project) == 0


@on_sqlite
@pytest.mark.parametrize(
    ("mode", "durable", "expected"),
    [("WAL", False, NORMAL), ("WAL", True, FULL), ("DELETE", False, FULL)],
)
async def test_only_a_log_goes_without_waiting_for_the_disk(
    project: Project, mode: str, durable: bool, expected: int
) -> None:
    """In WAL mode a power cut undoes whole commits; a rollback journal could be torn."""
    with server(project, mode):
        opened = get_connection(project.settings, access=Access.WRITE, durable=durable)
        async with opened as connection:
            found = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar()
    assert found == expected


def spread_over_blocks(project: Project) -> int:
    """Add dead sessions that fill several blocks; return how many are dead."""
    dead = add_dead(project, 500)
    query = "SELECT pg_relation_size('access_token') / 8192"
    assert oracle.rows(project, query)[0][0] >= 5
    return len(dead)


@on_postgresql
async def test_what_was_found_is_deleted_while_the_scan_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step of the scan waits for the first batch: neither waits for the other's end."""
    number = spread_over_blocks(project)
    deleted = asyncio.Event()
    steps = 0
    scan = BlockRanges.scan

    async def waiting(strategy: BlockRanges, size: int) -> ScanResult:
        nonlocal steps
        steps += 1
        if steps == 2:
            await asyncio.wait_for(deleted.wait(), PATIENCE_SECONDS)
        return await scan(strategy, 1)

    monkeypatch.setattr(BlockRanges, "scan", waiting)
    report = await clean_up(
        project.settings, plan(), now=FIXTURE_NOW, progress=lambda *_: deleted.set()
    )
    assert steps >= 5
    assert (report.matched, report.deleted, report.remaining) == (number, number, 0)
    assert report.complete
    assert oracle.count(project) == 0


@on_postgresql
async def test_a_scan_that_fails_ends_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is the run's; batches that are done stay done, and the next run goes on."""
    number = spread_over_blocks(project)
    deleted = asyncio.Event()
    scan = BlockRanges.scan
    steps = 0

    async def failing(strategy: BlockRanges, size: int) -> ScanResult:
        nonlocal steps
        steps += 1
        if steps == 2:
            await asyncio.wait_for(deleted.wait(), PATIENCE_SECONDS)
            raise UNREACHABLE.with_context("the server went away")
        return await scan(strategy, 1)

    with monkeypatch.context() as patched:
        patched.setattr(BlockRanges, "scan", failing)
        with pytest.raises(UnreachableError, match="went away"):
            await clean_up(
                project.settings, plan(), now=FIXTURE_NOW, progress=lambda *_: deleted.set()
            )
    assert 0 < oracle.count(project) < number
    report = await clean_up(project.settings, plan(), now=FIXTURE_NOW)
    assert report.complete
    assert oracle.count(project) == 0
