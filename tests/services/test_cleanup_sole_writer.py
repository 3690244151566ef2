"""A clean-up of SQLite as the sole writer: longer batches, a longer log, and back again."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from clarinet_cli.repositories.purge.sqlite import SOLE_WRITER_BATCH_SECONDS
from clarinet_cli.repositories.purge.strategy import SQLITE_BATCH_SECONDS
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup import clean_up
from clarinet_cli.services.session_cleanup.transaction import BatchSizer
from tests import oracle
from tests.services.test_cleanup_engines import (
    SQLITE,
    WAL,
    checkpoints,
    on_sqlite,
    rows_in_the_file,
    server,
)
from tests.services.test_session_cleanup import add_stale, plan, revive
from tests.support import FIXTURE_NOW, Project

DEAD = 9
AFTER = 2  # transactions until it is the sole writer


@pytest.fixture(autouse=True)
def soon_sole_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the sole writer from the second transaction on; checkpoint after each before."""
    monkeypatch.setattr(f"{SQLITE}.SOLE_WRITER_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(f"{WAL}.ROWS_PER_CHECKPOINT", 1)
    monkeypatch.setattr(f"{WAL}.CHECKPOINTS_PER_RESTART", 3)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the target times of batches, one for each change."""
    targets: list[float] = []
    set_target = BatchSizer.set_target

    def note(sizer: BatchSizer, seconds: float) -> None:
        if seconds != sizer.target:
            targets.append(seconds)
        set_target(sizer, seconds)

    monkeypatch.setattr(BatchSizer, "set_target", note)
    return targets


def write(connection: sqlite3.Connection) -> None:
    """Commit something, as another connection does."""
    connection.execute('UPDATE "user" SET is_verified = NOT is_verified')


async def clean(project: Project, at: int = 0, do: Callable[[], Any] = int) -> CleanupReport:
    """Clean up in batches of one, and do something once so many are gone."""

    def progress(deleted: int, _: int) -> None:
        if deleted == at:
            do()

    return await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW, progress=progress)


@on_sqlite
async def test_the_log_of_many_batches_is_copied_once(
    project: Project, targets: list[float]
) -> None:
    """After each batch at first, then no more until the end, when nothing is left to copy."""
    add_stale(project, DEAD)
    with server(project, "WAL") as connection, checkpoints() as asked:
        report = await clean(project)
        left = rows_in_the_file(project)
        _, logged, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert (report.deleted, report.batches, report.complete) == (DEAD, DEAD, True)
    assert asked == ["PASSIVE"] * (AFTER + 1)
    assert logged > DEAD - AFTER
    assert targets == [SOLE_WRITER_BATCH_SECONDS]
    assert (left, oracle.count(project)) == (0, 0)


@on_sqlite
async def test_a_long_log_is_copied_before_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it does not fill the disk: every three rows here."""
    monkeypatch.setattr(f"{WAL}.SOLE_WRITER_ROWS_PER_CHECKPOINT", 3)
    add_stale(project, DEAD)
    with server(project, "WAL"), checkpoints() as asked:
        report = await clean(project)
    assert (report.deleted, oracle.count(project)) == (DEAD, 0)
    assert asked == ["PASSIVE"] * (AFTER + 3)


@on_sqlite
async def test_another_writer_makes_batches_short_again(
    project: Project, targets: list[float]
) -> None:
    """A commit of another connection is followed by a checkpoint at once."""
    add_stale(project, DEAD)
    with server(project, "WAL") as connection, checkpoints() as asked:
        report = await clean(project, 5, lambda: write(connection))
    assert (report.deleted, report.complete) == (DEAD, True)
    assert targets == [SOLE_WRITER_BATCH_SECONDS, SQLITE_BATCH_SECONDS, SOLE_WRITER_BATCH_SECONDS]
    assert asked == ["PASSIVE"] * 5
    assert oracle.count(project) == 0


@on_sqlite
async def test_another_writer_does_not_checkpoint_the_long_log(project: Project) -> None:
    """Neither by its own commit nor by a checkpoint: it would wait for seconds."""
    add_stale(project, DEAD)
    found: list[tuple[int, int, int]] = []
    with server(project, "WAL") as connection:

        def come() -> None:
            connection.execute("PRAGMA wal_autocheckpoint=1")
            write(connection)
            found.append(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())

        report = await clean(project, 6, come)
    [(_, logged, copied)] = found
    assert copied < logged
    assert (report.deleted, report.complete) == (DEAD, True)


@on_sqlite
async def test_there_is_no_sole_writer_with_a_rollback_journal(
    project: Project, targets: list[float]
) -> None:
    """A commit stops readers there, and readers leave no trace: the batches stay short."""
    add_stale(project, DEAD)
    with server(project, "DELETE"):
        report = await clean(project)
    assert (report.deleted, targets) == (DEAD, [])


@on_sqlite
async def test_sessions_extended_during_the_run_survive(project: Project) -> None:
    """What the server extends while the clean-up takes itself for the sole writer is kept."""
    dead = add_stale(project, DEAD)
    with server(project, "WAL"):
        report = await clean(project, 5, lambda: revive(project))
    assert (report.matched, report.deleted, report.complete) == (DEAD, 5, True)
    assert len(oracle.tokens(project) & dead) == DEAD - 5


def test_less_time_makes_the_next_batch_smaller() -> None:
    """At once, in proportion, and not below the least; more time is used step by step."""
    sizer = BatchSizer(0.2, 1000)
    sizer.set_target(0.5)
    assert sizer.size == 1000
    sizer.observe(0.2)
    assert sizer.size == 2000
    sizer.set_target(0.1)
    assert sizer.size == 400
    sizer.set_target(0.01)
    assert sizer.size == 100
    few = BatchSizer(0.2, 7)
    few.set_target(0.1)
    assert few.size == 7
