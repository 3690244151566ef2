"""What a clean-up does on one engine only: SQLite's checkpoints, PostgreSQL's concurrent scan."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_connection
from clarinet_cli.exceptions import UNREACHABLE, UnreachableError
from clarinet_cli.repositories.purge import ScanResult
from clarinet_cli.repositories.purge.postgresql import BlockRangePurge
from clarinet_cli.repositories.purge.wal import WalCheckpointer, execute_script
from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from clarinet_cli.services.session_cleanup.transaction import TransactionRunner
from tests import oracle
from tests.patience import PATIENCE_SECONDS
from tests.services.test_session_cleanup import add_stale, plan
from tests.support import FIXTURE_NOW, Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
SQLITE = "clarinet_cli.repositories.purge.sqlite"
WAL = "clarinet_cli.repositories.purge.wal"
FULL, NORMAL = 2, 1
OPEN_AND_CLOSE = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as opened:
    opened.execute("SELECT count(*) FROM access_token").fetchone()
"""


@contextlib.contextmanager
def server(project: Project, mode: str) -> Iterator[sqlite3.Connection]:
    """Hold the file open as a server does, so that no end of a command empties the log."""
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("SELECT count(*) FROM access_token").fetchone()
        yield connection


def rows_in_the_file(project: Project) -> int:
    """Return how many sessions the file itself has, without those in the log."""
    opened = sqlite3.connect(f"{project.file.as_uri()}?immutable=1", uri=True)
    with contextlib.closing(opened) as connection:
        return int(connection.execute("SELECT count(*) FROM access_token").fetchone()[0])


@contextlib.contextmanager
def checkpoints() -> Iterator[list[str]]:
    """Yield the list of checkpoints that are asked for, by their modes."""
    asked: list[str] = []

    async def execute(driver: Any, script: str) -> None:
        if "wal_checkpoint" in script:
            asked.append(script.partition("wal_checkpoint(")[2].partition(")")[0])
        await execute_script(driver, script)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(f"{WAL}.execute_script", execute)
        yield asked


@on_sqlite
async def test_the_log_is_copied_after_a_batch_and_restarts_after_three(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a busy writer it would not by itself; all is in the file before the next batch.

    At the end it begins anew too, so that nobody else has to wait for the disk.
    """
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    monkeypatch.setattr(f"{WAL}.CHECKPOINTS_PER_RESTART", 3)
    add_stale(project, 7)
    with server(project, "WAL") as connection, checkpoints() as asked:
        report = await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
        left = rows_in_the_file(project)
        _, logged, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert (report.deleted, report.batches) == (7, 7)
    three, end = ["PASSIVE", "PASSIVE", "PASSIVE", "RESTART"], ["PASSIVE", "RESTART"]
    assert asked == [*three, *three, "PASSIVE", *end]
    assert left == 0
    assert 0 < logged == copied < 20  # pages of the last batch alone


@on_sqlite
@pytest.mark.parametrize(
    ("asked", "copying", "expected"),
    [(None, 0.2, (-1e9, 0.0)), (None, 0.0, (0.01, 0.1)), (0.3, 0.2, (0.3, 0.3))],
)
async def test_others_write_while_the_log_is_copied(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    asked: Optional[float],
    copying: float,
    expected: tuple[float, float],
) -> None:
    """So that is part of the gap between two batches, unless a pause was asked for."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    pauses: list[float] = []

    async def checkpoint(*_: object, **__: bool) -> None:
        await asyncio.sleep(copying)

    async def sleep(_: TransactionRunner, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(WalCheckpointer, "checkpoint", checkpoint)
    monkeypatch.setattr(TransactionRunner, "sleep", sleep)
    add_stale(project, 4)
    slowly = CleanupPlan(batch_size=1, largest_batch=1, pause=asked)
    with server(project, "WAL"):
        report = await clean_up(project.settings, slowly, now=FIXTURE_NOW)
    lowest, highest = expected
    assert (report.deleted, len(pauses)) == (4, 3)
    assert lowest <= max(pauses) <= highest


@on_sqlite
async def test_the_file_is_synced_before_the_log_restarts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart stops all writers: it finds nothing that waits for the disk any more."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    monkeypatch.setattr(f"{WAL}.CHECKPOINTS_PER_RESTART", 2)
    add_stale(project, 4)
    with server(project, "WAL"), checkpoints() as asked:

        def sync(descriptor: int) -> None:
            assert os.fstat(descriptor).st_ino == project.file.stat().st_ino
            asked.append("sync")

        monkeypatch.setattr(f"{WAL}.os.fsync", sync)
        await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
    assert asked == ["PASSIVE", "PASSIVE", "sync", "RESTART"] * 2


@on_sqlite
async def test_the_locks_on_the_file_outlast_a_clean_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes the file in this process takes the locks of all others in it away."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    monkeypatch.setattr(f"{WAL}.CHECKPOINTS_PER_RESTART", 1)
    add_stale(project, 2)
    with server(project, "WAL") as connection:
        await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
        another = [sys.executable, "-c", OPEN_AND_CLOSE, str(project.file)]
        await asyncio.to_thread(subprocess.run, another, check=True, timeout=PATIENCE_SECONDS)
        assert project.file.with_name(f"{project.file.name}-wal").exists()
        assert connection.execute("SELECT count(*) FROM access_token").fetchone() == (0,)


@on_sqlite
async def test_a_concurrent_writer_does_not_copy_the_log(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer's commit would copy all pages of the batch; a checkpoint copies them before."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 2)
    add_stale(project, 7)
    found: list[tuple[int, int, int]] = []
    with server(project, "WAL") as connection:

        def look(deleted: int, _: int) -> None:
            if deleted == 5:
                connection.execute("PRAGMA wal_autocheckpoint=1")
                connection.execute('UPDATE "user" SET is_verified = NOT is_verified')
                found.append(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

        report = await clean_up(
            project.settings, plan(batch_size=1), now=FIXTURE_NOW, progress=look
        )
    [(_, logged, copied)] = found
    assert copied < logged
    assert (report.deleted, report.complete) == (7, True)


@on_sqlite
async def test_a_reader_keeps_no_batch_waiting(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader prevents the log's restart, all stale sessions are deleted."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    monkeypatch.setattr(f"{WAL}.CHECKPOINTS_PER_RESTART", 3)
    add_stale(project, 7)
    with server(project, "WAL") as connection:
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM access_token").fetchone()
        report = await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
        seen = connection.execute("SELECT count(*) FROM access_token").fetchone()
    assert (report.deleted, report.batches, report.complete) == (7, 7, True)
    assert seen == before  # of one moment
    assert oracle.count(project) == 0


@on_sqlite
async def test_a_rollback_journal_has_no_checkpoints(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a log nothing is done between two batches."""
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)

    async def run_maintenance(*_: Any, **__: bool) -> None:
        raise AssertionError("a checkpoint of nothing")

    monkeypatch.setattr(f"{SQLITE}.RowidPurge.run_maintenance", run_maintenance)
    add_stale(project, 3)
    with server(project, "DELETE"):
        report = await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW)
    assert (report.deleted, oracle.count(project)) == (3, 0)


@on_sqlite
@pytest.mark.parametrize(
    ("mode", "durable", "expected"),
    [("WAL", False, NORMAL), ("WAL", True, FULL), ("DELETE", False, FULL)],
)
async def test_only_with_a_log_commits_are_not_synced(
    project: Project, mode: str, durable: bool, expected: int
) -> None:
    """In WAL mode a power cut undoes whole commits; a rollback journal could be torn."""
    with server(project, mode):
        opened = get_connection(project.settings, access=Access.WRITE, durable=durable)
        async with opened as connection:
            found = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar()
    assert found == expected


def spread_over_blocks(project: Project) -> int:
    """Add stale sessions that fill several blocks; return how many are stale."""
    dead = add_stale(project, 500)
    query = "SELECT pg_relation_size('access_token') / 8192"
    assert oracle.rows(project, query)[0][0] >= 5
    return len(dead)


@on_postgresql
async def test_stale_sessions_are_deleted_during_the_scan(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step of the scan waits for the first batch: neither waits for the other's end."""
    number = spread_over_blocks(project)
    deleted = asyncio.Event()
    steps = 0
    scan = BlockRangePurge.scan

    async def waiting(strategy: BlockRangePurge, size: int) -> ScanResult:
        nonlocal steps
        steps += 1
        if steps == 2:
            await asyncio.wait_for(deleted.wait(), PATIENCE_SECONDS)
        return await scan(strategy, 1)

    monkeypatch.setattr(BlockRangePurge, "scan", waiting)
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
    """The run ends with its error; committed batches remain, and the next run continues."""
    number = spread_over_blocks(project)
    deleted = asyncio.Event()
    scan = BlockRangePurge.scan
    steps = 0

    async def failing(strategy: BlockRangePurge, size: int) -> ScanResult:
        nonlocal steps
        steps += 1
        if steps == 2:
            await asyncio.wait_for(deleted.wait(), PATIENCE_SECONDS)
            raise UNREACHABLE.with_context("the server went away")
        return await scan(strategy, 1)

    with monkeypatch.context() as patched:
        patched.setattr(BlockRangePurge, "scan", failing)
        with pytest.raises(UnreachableError, match="went away"):
            await clean_up(
                project.settings, plan(), now=FIXTURE_NOW, progress=lambda *_: deleted.set()
            )
    assert 0 < oracle.count(project) < number
    report = await clean_up(project.settings, plan(), now=FIXTURE_NOW)
    assert report.complete
    assert oracle.count(project) == 0
