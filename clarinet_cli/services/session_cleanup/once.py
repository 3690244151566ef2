"""One clean-up: the lock, the instant, the walk, and what is told of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from sqlalchemy import false
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_pinned_session
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.database.url import database_url, require_sqlite_file
from clarinet_cli.repositories.dead_sessions import DeadSessions, way_to_dead_sessions
from clarinet_cli.repositories.references import SESSIONS, references_to
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.session_state import Moment
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.audit import JobRecord, recorded_job
from clarinet_cli.services.clocks import compare_clocks, moment_of
from clarinet_cli.services.locks import CheckLock, Job, job_lock
from clarinet_cli.services.session_cleanup.look import LookAtAll
from clarinet_cli.services.session_cleanup.others import OtherTables
from clarinet_cli.services.session_cleanup.pace import Pace
from clarinet_cli.services.session_cleanup.plan import CleanupPlan, CleanupStoppedError, Stop
from clarinet_cli.services.session_cleanup.transactions import (
    LOCK_SECONDS,
    Ended,
    Transactions,
)
from clarinet_cli.services.session_cleanup.walk import (
    POSTGRESQL_BATCH_SECONDS,
    SQLITE_BATCH_SECONDS,
    Progress,
    Walk,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger


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
    that are done stay done and are on record, and the next run goes on.

    In the report ``matched`` is what the look at all sessions found, as far as it came, and
    ``remaining`` what is still dead by the same instant. A run that was asked to stop, or
    whose time is over, does not count again: there it is what was found and not yet visited.
    Dead sessions that rows of other tables refer to without going along stay; they count as
    ``protected`` alone.

    Args:
        settings: Which database, and the idle limit.
        plan: What to remove, and how fast.
        now: The instant to judge by; that of the database's clock by default.
        stop: When asked, the run ends after the batch at hand.
        progress: Called after each batch with the sessions deleted so far and matched.

    Raises:
        BusyError: Another clean-up is running, or somebody else held a lock all the time.
        CleanupStoppedError: The disk is full; it has the report of what was done.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    async with (
        recorded_job("deleted", count="deleted", dry_run=plan.dry_run) as record,
        _opened(settings, dry_run=plan.dry_run) as (session, beside, still_held),
    ):
        deadline = None if plan.max_time is None else started + plan.max_time
        url, stop = database_url(settings), stop or Stop()
        transactions = Transactions(session, url, stop, deadline)
        looking = Transactions(beside[0], url, stop, deadline) if beside else transactions
        run = _Run(settings, plan, record, transactions, looking, beside)
        try:
            walk = await run.prepared(now, still_held, progress)
        except Ended:
            return run.report(None, 0, clock() - started)
        try:
            await walk.go()
            if walk.no_space is not None and not walk.deleted:
                raise walk.no_space
        finally:
            record.further["matched"] = walk.matched
        remaining = await run.remaining(walk)
        await run.count_after()
        if walk.no_space is not None:
            raise CleanupStoppedError(walk.no_space, run.report(walk, remaining, clock() - started))
        await run.count_invalid(walk.look)
        if remaining and walk.has_tried_all:
            logger.warning(
                f"{remaining} dead sessions remain: "
                "does a trigger or rule on access_token keep them?"
            )
    return run.report(walk, remaining, clock() - started)


@dataclass(slots=True)
class _Run:
    """What the steps of one clean-up share."""

    settings: Settings
    plan: CleanupPlan
    record: JobRecord
    transactions: Transactions
    looking: Transactions
    beside: Sequence[AsyncSession]
    moment: Optional[Moment] = None
    clock_difference: float = 0.0
    invalid: int = 0
    others: Optional[OtherTables] = None

    async def prepared(
        self, now: Optional[datetime], still_held: CheckLock, progress: Progress
    ) -> Walk:
        """Freeze the instant, choose the way, and return the walk."""

        async def ask() -> tuple[Moment, DeadSessions, float]:
            session = self.transactions.session
            await require_server_tables(session)
            moment = moment_of(self.settings, now or await self._present())
            pause = await ServerRepository(session).pause_between_batches()
            self.others = await self._others(moment)
            way = await self._way(moment, keep=not self.plan.dry_run, beside=self.beside)
            return moment, way, pause

        self.moment, dead, pause = await self.transactions.patiently(Access.READ, ask)
        if self.others is not None:
            await self.others.count_before(self.transactions)
        self.transactions.parameters = self.looking.parameters = dead.parameters
        plan = self.plan
        sqlite = self.transactions.url.get_backend_name() == "sqlite"
        goal = SQLITE_BATCH_SECONDS if sqlite else POSTGRESQL_BATCH_SECONDS
        first = min(plan.batch_size, plan.largest_batch or plan.batch_size)
        return Walk(
            self.transactions,
            plan,
            self.record,
            dead,
            LookAtAll(self.looking if dead.looks_ahead else self.transactions, dead),
            Pace(goal, first, plan.largest_batch),
            goal,
            pause if plan.pause is None else plan.pause,
            still_held,
            progress,
        )

    async def count_after(self) -> None:
        """Count what other tables lost or keep, unless somebody else is in the way."""
        if self.others is not None:
            with suppress(Ended):
                await self.others.count_after(self.transactions, dry_run=self.plan.dry_run)

    async def remaining(self, walk: Walk) -> int:
        """Return how many dead sessions are left, without a second look where one can."""
        if walk.has_met_all:
            return walk.kept
        over = self.plan.dry_run or self.transactions.ended or walk.no_space is not None
        if over or self.moment is None:
            return max(walk.matched - walk.settled, 0) + walk.kept
        moment = self.moment
        dead = await self.transactions.patiently(Access.READ, lambda: self._way(moment, keep=False))
        look = LookAtAll(self.transactions, dead)
        await look.go()
        return look.found

    async def count_invalid(self, look: LookAtAll) -> None:
        """Count the sessions that nobody can judge, and say so: they stay.

        A look that met all sessions has counted them.
        """
        if look.invalid is not None:
            self.invalid = look.invalid
        elif not self.transactions.ended:
            self.invalid = await self._look_for_invalid()
        if self.invalid:
            logger.warning(
                f"{self.invalid} sessions stay, as one of their instants can't be read: "
                "'clarinet session list --state invalid' shows them"
            )

    async def _look_for_invalid(self) -> int:
        """Count them by a look of their own, which finds nothing dead."""

        async def way() -> DeadSessions:
            session = self.transactions.session
            return await way_to_dead_sessions(session, false(), by_expiry=False, keep=False)

        look = LookAtAll(self.transactions, await self.transactions.patiently(Access.READ, way))
        await look.go()
        return look.invalid or 0

    def report(self, walk: Optional[Walk], remaining: int, seconds: float) -> CleanupReport:
        """Return what the clean-up did, and log it."""
        others = self.others
        report = CleanupReport(
            matched=walk.matched if walk else 0,
            deleted=walk.deleted if walk else 0,
            remaining=remaining,
            protected=others.protected if others else 0,
            batches=walk.batches if walk else 0,
            seconds=round(seconds, 3),
            complete=walk is not None and walk.look.complete and remaining == 0,
            dry_run=self.plan.dry_run,
            clock_difference_seconds=self.clock_difference,
            invalid=self.invalid or None,
            protected_by=(others.protected_by if others else None) or None,
            cascaded=(others.cascaded if others else None) or None,
        )
        logger.info(
            f"clean-up: matched {report.matched}, deleted {report.deleted}, "
            f"remaining {report.remaining}, protected {report.protected}, "
            f"{report.batches} batches, {report.seconds} s"
        )
        return report

    async def _present(self) -> datetime:
        """Return the instant to judge by, when the clocks agree on it or one is trusted."""
        clocks = await compare_clocks(self.transactions.session)
        self.clock_difference = clocks.difference
        if self.plan.trust_clock:
            clocks.warn("the database's")
            return clocks.database
        if not self.plan.dry_run:
            clocks.require_agreement()
        clocks.warn()
        return clocks.earlier

    async def _others(self, moment: Moment) -> OtherTables:
        which = moment.dead_if_valid(
            expired_only=self.plan.expired_only, older_than=self.plan.older_than
        )
        return OtherTables(which, await references_to(self.transactions.session, SESSIONS))

    async def _way(
        self, moment: Moment, *, keep: bool, beside: Sequence[AsyncSession] = ()
    ) -> DeadSessions:
        plan = self.plan
        return await way_to_dead_sessions(
            self.transactions.session,
            (self.others or await self._others(moment)).removable_if_valid,
            by_expiry=plan.older_than is None and (plan.expired_only or moment.idle_after is None),
            exact=plan.limit is not None or plan.largest_batch is not None,
            keep=keep,
            beside=beside,
        )


@asynccontextmanager
async def _opened(
    settings: Settings, *, dry_run: bool
) -> AsyncIterator[tuple[AsyncSession, Sequence[AsyncSession], CheckLock]]:
    """Open what a clean-up works with; a real one has the lock of its own.

    That one has more sessions: on PostgreSQL one to look ahead with, on SQLite two that read
    the log. What was found there is noted in a table that belongs to the first connection.
    """
    if dry_run:
        async with open_pinned_session(settings, busy_timeout=LOCK_SECONDS) as session:
            yield session, (), ServerRepository(session).ping
        return
    url = database_url(settings)
    require_sqlite_file(url, settings.project_dir)  # before the lock leaves a file beside nothing
    async with AsyncExitStack() as opened:
        still_held = await opened.enter_async_context(job_lock(settings, Job.CLEANUP, timeout=0))
        # After a power cut the last batches may have to be done again.
        writing = open_pinned_session(
            settings, access=Access.WRITE, busy_timeout=LOCK_SECONDS, durable=False
        )
        session = await opened.enter_async_context(writing)
        beside = [
            await opened.enter_async_context(
                open_pinned_session(settings, busy_timeout=LOCK_SECONDS)
            )
            for _ in range(2 if url.get_backend_name() == "sqlite" else 1)
        ]
        yield session, beside, still_held
