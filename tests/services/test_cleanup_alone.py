"""A clean-up of SQLite while nobody else writes: longer batches, a longer log, and back again."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup import clean_up
from clarinet_cli.services.session_cleanup.pace import Pace
from clarinet_cli.services.session_cleanup.walk import ALONE_BATCH_SECONDS, SQLITE_BATCH_SECONDS
from tests import oracle
from tests.services.test_cleanup_engines import (
    LOG,
    SQLITE,
    checkpoints,
    on_sqlite,
    rows_in_the_file,
    server,
)
from tests.services.test_session_cleanup import add_dead, plan, revive
from tests.support import FIXTURE_NOW, Project

DEAD = 9
AFTER = 2  # the transaction with which it is alone


@pytest.fixture(autouse=True)
def soon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be alone from the second transaction on; copy the log after each before."""
    monkeypatch.setattr(f"{SQLITE}.ALONE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(f"{LOG}.ROWS_A_CHECKPOINT", 1)
    monkeypatch.setattr(f"{LOG}.CHECKPOINTS_A_RESTART", 3)


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of times that batches were given, one for each change."""
    given: list[float] = []
    aim = Pace.aim

    def note(pace: Pace, goal: float) -> None:
        given.append(goal)
        aim(pace, goal)

    monkeypatch.setattr(Pace, "aim", note)
    return given


def write(connection: sqlite3.Connection) -> None:
    """Commit something, as somebody else does."""
    connection.execute('UPDATE "user" SET is_verified = NOT is_verified')


async def clean(project: Project, at: int = 0, do: Callable[[], Any] = int) -> CleanupReport:
    """Clean up in batches of one, and do something once so many are gone."""

    def progress(deleted: int, _: int) -> None:
        if deleted == at:
            do()

    return await clean_up(project.settings, plan(batch_size=1), now=FIXTURE_NOW, progress=progress)


@on_sqlite
async def test_the_log_of_many_batches_is_copied_once(project: Project, goals: list[float]) -> None:
    """After each batch at first, then no more until the end, when nothing is left to copy."""
    add_dead(project, DEAD)
    with server(project, "WAL") as connection, checkpoints() as asked:
        report = await clean(project)
        left = rows_in_the_file(project)
        _, logged, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert (report.deleted, report.batches, report.complete) == (DEAD, DEAD, True)
    assert asked == ["PASSIVE"] * (AFTER + 1)
    assert logged > DEAD - AFTER
    assert goals == [ALONE_BATCH_SECONDS]
    assert (left, oracle.count(project)) == (0, 0)


@on_sqlite
async def test_a_long_log_is_copied_before_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it does not fill the disk: every three rows here."""
    monkeypatch.setattr(f"{LOG}.ROWS_A_CHECKPOINT_ALONE", 3)
    add_dead(project, DEAD)
    with server(project, "WAL"), checkpoints() as asked:
        report = await clean(project)
    assert (report.deleted, oracle.count(project)) == (DEAD, 0)
    assert asked == ["PASSIVE"] * (AFTER + 3)


@on_sqlite
async def test_who_comes_finds_short_batches_again(project: Project, goals: list[float]) -> None:
    """Somebody else's commit ends it: the log is copied at once."""
    add_dead(project, DEAD)
    with server(project, "WAL") as connection, checkpoints() as asked:
        report = await clean(project, 5, lambda: write(connection))
    assert (report.deleted, report.complete) == (DEAD, True)
    assert goals == [ALONE_BATCH_SECONDS, SQLITE_BATCH_SECONDS, ALONE_BATCH_SECONDS]
    assert asked == ["PASSIVE"] * 5
    assert oracle.count(project) == 0


@on_sqlite
async def test_who_comes_does_not_copy_the_long_log(project: Project) -> None:
    """Neither by its own commit nor by a checkpoint: it would wait for seconds."""
    add_dead(project, DEAD)
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
async def test_a_rollback_journal_is_never_alone(project: Project, goals: list[float]) -> None:
    """A commit stops readers there, and readers leave no trace: the batches stay short."""
    add_dead(project, DEAD)
    with server(project, "DELETE"):
        report = await clean(project)
    assert (report.deleted, goals) == (DEAD, [])


@on_sqlite
async def test_sessions_revived_meanwhile_survive(project: Project) -> None:
    """What the server extends while the clean-up believes to be alone is spared."""
    dead = add_dead(project, DEAD)
    with server(project, "WAL"):
        report = await clean(project, 5, lambda: revive(project))
    assert (report.matched, report.deleted, report.complete) == (DEAD, 5, True)
    assert len(oracle.tokens(project) & dead) == DEAD - 5


def test_less_time_makes_the_next_batch_smaller() -> None:
    """At once, in proportion, and not below the least; more time is used step by step."""
    pace = Pace(0.2, 1000)
    pace.aim(0.5)
    assert pace.size == 1000
    pace.learn(0.2)
    assert pace.size == 2000
    pace.aim(0.1)
    assert pace.size == 400
    pace.aim(0.01)
    assert pace.size == 100
    few = Pace(0.2, 7)
    few.aim(0.1)
    assert few.size == 7
