"""How large batches become, and how long the service waits."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from clarinet_cli.exceptions import BUSY, FAILURE, UNREACHABLE, ClarinetError
from clarinet_cli.repositories.purge import PurgeStrategy
from clarinet_cli.repositories.purge.sqlite import RowidPurge
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup import CleanupPlan, StopRequest, clean_up, serve
from clarinet_cli.services.session_cleanup.transaction import BatchSizer
from tests import oracle
from tests.support import FIXTURE_NOW, Project

ADMIN = "admin@clarinet.ru"
DONE = CleanupReport(3, 3, 0, 0, 1, 0.1, complete=True, dry_run=False, clock_difference_seconds=0.0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.1, 1000), (0.05, 2000), (0.001, 2000), (0.0, 2000), (0.2, 500), (0.4, 250), (9.0, 250)],
)
def test_a_batch_follows_the_time_it_took(seconds: float, expected: int) -> None:
    """As much as fits into the target, at most twice as much and a quarter of it."""
    sizer = BatchSizer(0.1, 1000)
    sizer.observe(seconds)
    assert sizer.size == expected


def test_a_batch_has_a_least_size() -> None:
    """However slow, 100 sessions go at a time, or fewer when there were fewer at first."""
    for first, least in ((1000, 100), (10, 10)):
        sizer = BatchSizer(0.1, first)
        for _ in range(20):
            sizer.observe(60.0)
        assert sizer.size == least


def test_a_batch_has_a_largest_size() -> None:
    """However fast, never more than was allowed."""
    sizer = BatchSizer(0.1, 1000, largest=1500)
    for _ in range(5):
        sizer.observe(0.001)
    assert sizer.size == 1500


@pytest.mark.parametrize(
    ("largest", "target", "expected"),
    [
        (None, 1e9, {"sqlite": [100, 200, 400, 300]}),
        (250, 1e9, {"sqlite": [100, 200, 250, 250, 200], "postgresql": [100, 200, 250, 250, 200]}),
        (None, 1e-9, {"sqlite": [100] * 10}),
    ],
)
async def test_batches_grow_while_the_database_is_fast(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    largest: int | None,
    target: float,
    expected: dict[str, list[int]],
) -> None:
    """They begin with batch_size, double at most, and never pass the largest."""
    for strategy in (PurgeStrategy, RowidPurge):
        monkeypatch.setattr(strategy, "batch_seconds", target)
    oracle.add_sessions(
        project, oracle.user_id_of(project, ADMIN), 1000, now=FIXTURE_NOW, dead=True
    )
    seen = [0]
    plan = CleanupPlan(batch_size=100, largest_batch=largest, pause=0.0)
    report = await clean_up(
        project.settings,
        plan,
        now=FIXTURE_NOW,
        progress=lambda deleted, matched: seen.append(deleted),
    )
    sizes = [after - before for before, after in pairwise(seen)]
    assert (report.deleted, report.complete, oracle.count(project)) == (1000, True, 0)
    if project.backend in expected:  # blocks are not counted out without a largest batch
        assert sizes == expected[project.backend]
    else:
        assert len(sizes) > 1


class Runs:
    """A stand-in for the clean-up: the outcome of each run, and when it began."""

    def __init__(self, stop: StopRequest, outcomes: list[ClarinetError | None]) -> None:
        self.stop = stop
        self.outcomes = outcomes

    async def clean_up(self, *_: Any, **__: Any) -> CleanupReport:
        """Have the next outcome; request the end with the last one."""
        outcome = self.outcomes.pop(0)
        if not self.outcomes:
            self.stop.request(signal.SIGTERM)
        if outcome is not None:
            raise outcome
        return DONE


@contextmanager
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Note the waits down instead of waiting."""
    waits: list[float] = []

    async def sleep(_: StopRequest, seconds: float) -> None:
        waits.append(round(seconds, 1))
        await asyncio.sleep(0)

    monkeypatch.setattr(StopRequest, "sleep", sleep)
    yield waits


async def served(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    outcomes: list[ClarinetError | None],
    chance: float = 0.5,
    finished: Callable[[CleanupReport | ClarinetError], None] = lambda outcome: None,
) -> tuple[list[float], list[CleanupReport]]:
    """Run the service through these outcomes; return its waits and its reports."""
    stop, reports = StopRequest(), list[CleanupReport]()
    runs = Runs(stop, outcomes)
    monkeypatch.setattr("clarinet_cli.services.session_cleanup.service.clean_up", runs.clean_up)
    with no_waiting(monkeypatch) as waits:
        await serve(
            project.settings,
            CleanupPlan(batch_size=1),
            interval=600.0,
            stop=stop,
            report=reports.append,
            finished=finished,
            random_float=lambda: chance,
        )
    return waits, reports


on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@on_sqlite
@pytest.mark.parametrize(("chance", "wait"), [(0.0, 540.0), (0.5, 600.0), (0.999999, 660.0)])
async def test_the_interval_is_kept_to_a_tenth(
    project: Project, monkeypatch: pytest.MonkeyPatch, chance: float, wait: float
) -> None:
    """By chance a run begins up to a tenth earlier or later."""
    waits, reports = await served(project, monkeypatch, [None, None], chance)
    assert waits == [wait, wait]
    assert reports == [DONE, DONE]


@on_sqlite
async def test_failures_are_retried_ever_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait doubles from one second up to the interval; a success resets it."""
    failures: list[ClarinetError | None] = [UNREACHABLE, BUSY] * 6
    waits, reports = await served(project, monkeypatch, [*failures, None, BUSY, None])
    assert waits[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert waits[12:] == [600, 1, 600]
    assert len(reports) == 2


@on_sqlite
async def test_each_run_is_reported_with_its_outcome(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures too, also the one that ends the service."""
    outcomes: list[CleanupReport | ClarinetError] = []
    await served(project, monkeypatch, [BUSY, None], finished=outcomes.append)
    assert outcomes == [BUSY, DONE]
    with pytest.raises(ClarinetError):
        await served(project, monkeypatch, [FAILURE, None], finished=outcomes.append)
    assert outcomes[2:] == [FAILURE]


@on_sqlite
async def test_a_mistake_ends_the_service_before_its_first_success_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing tables end it at the start; a full disk later does not."""
    with pytest.raises(ClarinetError):
        await served(project, monkeypatch, [BUSY, FAILURE, None])
    waits, reports = await served(project, monkeypatch, [None, FAILURE, None])
    assert waits == [600, 1, 600]
    assert len(reports) == 2


async def test_a_limit_is_exact_while_batches_grow(project: Project) -> None:
    """Exactly the limit, with any size of the batches."""
    oracle.add_sessions(
        project, oracle.user_id_of(project, ADMIN), 500, now=datetime.now(UTC), dead=True
    )
    report = await clean_up(project.settings, CleanupPlan(batch_size=7, limit=333, pause=0.0))
    assert (report.matched, report.deleted, report.remaining) == (500, 333, 167)
    assert oracle.count(project) == 167


async def test_expired_only_by_the_index(project: Project) -> None:
    """With --expired-only idle ones stay, in several batches and without a second scan."""
    user_id = oracle.user_id_of(project, ADMIN)
    oracle.add_sessions(project, user_id, 30, now=FIXTURE_NOW, dead=True)
    idle = oracle.add_session(project, user_id, now=FIXTURE_NOW, used=timedelta(hours=5))
    plan = CleanupPlan(batch_size=8, largest_batch=8, expired_only=True, pause=0.0)
    report = await clean_up(project.settings, plan, now=FIXTURE_NOW)
    assert (report.matched, report.deleted, report.batches) == (30, 30, 4)
    assert report.complete
    assert oracle.tokens(project) == {idle}


def test_batches_grow_again_bit_by_bit() -> None:
    """Half of what did not fit, then a sixteenth more each time; never above the limit."""
    sizer = BatchSizer(target=1.0, size=1000, largest=520)
    assert sizer.shrink()
    assert (sizer.size, sizer.disk_limit) == (500, 500)
    sizes = []
    for _ in range(3):
        sizer.observe(0.0)
        sizes.append(sizer.size)
    assert sizes == [520, 520, 520]
    while sizer.shrink():
        pass
    assert sizer.size == 1
