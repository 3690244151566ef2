"""Removing dead sessions beside a running server, once or at an interval."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Optional

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.connections.urls import database_url, require_sqlite_file
from clarinet_cli.exceptions import BusyError, UnreachableError
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.locks import Job, StillHeld, exclusive
from clarinet_cli.services.sessions import present_moment
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import Access, open_session
from clarinet_cli.utils.logger import logger

Progress = Callable[[int, int], None]
FIRST_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What a clean-up removes, and how fast.

    Attributes:
        batch_size: Sessions a transaction.
        older_than: Remove sessions created longer ago than this too; None: don't.
        expired_only: Leave idle sessions.
        limit: Stop after this many sessions; None: no limit.
        max_time: Stop after this many seconds; None: no limit.
        pause: Seconds between two transactions; None: what suits the database.
        dry_run: Only count.
    """

    batch_size: int
    older_than: Optional[timedelta] = None
    expired_only: bool = False
    limit: Optional[int] = None
    max_time: Optional[float] = None
    pause: Optional[float] = None
    dry_run: bool = False


@dataclass(slots=True)
class Stop:
    """A request to end after the batch at hand.

    Attributes:
        signal: The number of the signal that asked for it; None while nobody did.
    """

    signal: Optional[int] = None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def ask(self, signal: int) -> None:
        """Ask the job to stop; the first request counts."""
        if self.signal is None:
            self.signal = signal
        self._asked.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or wake up early when asked to stop."""
        try:
            await asyncio.wait_for(self._asked.wait(), seconds)
        except TimeoutError:
            return


async def clean_up(
    settings: Settings,
    plan: CleanupPlan,
    *,
    now: Optional[datetime] = None,
    stop: Optional[Stop] = None,
    progress: Progress = lambda deleted, matched: None,
) -> CleanupReport:
    """Remove dead sessions in batches, each in a transaction of its own.

    All batches judge by one frozen instant, and each repeats the predicate in its delete:
    a session that the server revives meanwhile survives. Whatever ends the run, batches
    that are done stay done, and the next run goes on.

    Args:
        settings: Which database, and the idle limit.
        plan: What to remove, and how fast.
        now: The instant to judge by; that of the database's clock by default.
        stop: When asked, the run ends after the batch at hand.
        progress: Called after each batch with the sessions deleted so far and matched.

    Raises:
        BusyError: Another clean-up is running on this database.
    """
    stop = stop or Stop()
    started = asyncio.get_running_loop().time()
    async with _run(settings, dry_run=plan.dry_run) as (session, still_held):
        async with session.begin():
            moment = await present_moment(session, settings, now)
            dead = moment.dead(expired_only=plan.expired_only, older_than=plan.older_than)
            matched = await SessionRepository(session).count(dead)
            default_pause = await ServerRepository(session).pause_between_batches()
        counter = _Counter(plan, matched, started, progress)
        pause = default_pause if plan.pause is None else plan.pause
        while not (stop.asked or counter.finished):
            await still_held()
            async with session.begin():
                deleted = await SessionRepository(session).remove_batch(dead, counter.next_size)
            counter.add(deleted)
            if not counter.finished:
                await stop.sleep(pause)
        return await _report(session, counter, dead)


async def clean_up_for_ever(
    settings: Settings,
    plan: CleanupPlan,
    *,
    interval: float,
    stop: Stop,
    report: Callable[[CleanupReport], None],
) -> None:
    """Clean up, wait, and so on until asked to stop.

    A database that is away or busy for a while does not end the service: it tries again
    after a time that doubles up to the interval.

    Args:
        settings: Which database, and the idle limit.
        plan: What to remove in each run.
        interval: Seconds between the starts of two runs.
        stop: Ends the service.
        report: Called after each run.
    """
    clock = asyncio.get_running_loop().time
    retry = min(FIRST_RETRY_SECONDS, interval)
    while not stop.asked:
        started = clock()
        try:
            report(await clean_up(settings, plan, stop=stop))
        except (UnreachableError, BusyError) as error:
            logger.warning(f"clean-up failed, next try in {retry:.0f} s: {error.message}")
            await stop.sleep(retry)
            retry = min(retry * 2, interval)
        else:
            retry = min(FIRST_RETRY_SECONDS, interval)
            await stop.sleep(max(started + interval - clock(), 0))


@dataclass(slots=True)
class _Counter:
    """What a run has done, and whether it has to go on."""

    plan: CleanupPlan
    matched: int
    started: float
    progress: Progress
    deleted: int = 0
    batches: int = 0
    exhausted: bool = False

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self.started

    @property
    def next_size(self) -> int:
        limit = self.plan.limit
        left = self.plan.batch_size if limit is None else limit - self.deleted
        return min(self.plan.batch_size, left)

    @property
    def finished(self) -> bool:
        plan = self.plan
        out_of_time = plan.max_time is not None and self.seconds >= plan.max_time
        nothing_to_do = plan.dry_run or self.exhausted or self.deleted >= self.matched
        return nothing_to_do or self.next_size <= 0 or out_of_time

    def add(self, deleted: int) -> None:
        self.exhausted = deleted == 0
        self.deleted += deleted
        self.batches += 1 if deleted else 0
        logger.debug(f"clean-up: batch {self.batches}, {self.deleted} of {self.matched} deleted")
        self.progress(self.deleted, self.matched)


@asynccontextmanager
async def _run(
    settings: Settings, *, dry_run: bool
) -> AsyncIterator[tuple[AsyncSession, StillHeld]]:
    """Open a session for a clean-up; a real one has the lock of its own."""
    if dry_run:
        async with open_session(settings) as session:
            yield session, ServerRepository(session).ping
        return
    require_sqlite_file(database_url(settings))  # before the lock leaves a file beside nothing
    async with (
        exclusive(settings, Job.CLEANUP, timeout=0) as still_held,
        open_session(settings, access=Access.WRITE) as session,
    ):
        yield session, still_held


async def _report(
    session: AsyncSession, counter: _Counter, dead: ColumnElement[bool]
) -> CleanupReport:
    async with session.begin():
        remaining = await SessionRepository(session).count(dead)
    report = CleanupReport(
        matched=counter.matched,
        deleted=counter.deleted,
        remaining=remaining,
        batches=counter.batches,
        seconds=round(counter.seconds, 3),
        complete=remaining == 0,
        dry_run=counter.plan.dry_run,
    )
    logger.info(
        f"clean-up: matched {report.matched}, deleted {report.deleted}, "
        f"remaining {report.remaining}, {report.batches} batches, {report.seconds} s"
    )
    return report
