"""One clean-up of sessions, and its report."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_pinned_session
from clarinet_cli.database.url import database_url, require_sqlite_file
from clarinet_cli.exceptions import BusyError, UnreachableError
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.repositories.base import tables_of
from clarinet_cli.repositories.purge import PurgeStrategy
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.audit import audited_job
from clarinet_cli.services.locks import CheckLock, Job, job_lock
from clarinet_cli.services.session_cleanup.plan import (
    CleanupDisconnectedError,
    CleanupOutOfSpaceError,
    CleanupPlan,
    StopRequest,
)
from clarinet_cli.services.session_cleanup.run import CleanupRun
from clarinet_cli.services.session_cleanup.selection import (
    Scanner,
    Selection,
    choose_counting_strategy,
)
from clarinet_cli.services.session_cleanup.transaction import (
    LOCK_SECONDS,
    RETRY_INTERVAL_SECONDS,
    RETRY_SECONDS,
    BatchSizer,
    CleanupStopped,
    TransactionRunner,
)
from clarinet_cli.settings import Settings
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import ProgressCallback
from clarinet_cli.utils.logger import logger


async def clean_up(
    settings: Settings,
    plan: CleanupPlan,
    *,
    now: Optional[datetime] = None,
    stop: Optional[StopRequest] = None,
    progress: ProgressCallback = lambda deleted, matched: None,
) -> CleanupReport:
    """Delete stale sessions in batches, each in a transaction of its own.

    All batches use one frozen reference time, and each repeats the predicate in its delete:
    a session that the server extends in between survives. However the run ends, committed
    batches stay committed and are in the audit log, and the next run continues.

    In the report ``matched`` is the number of sessions that the scan found, and ``remaining`` the
    number that is still stale at the same timestamp. A run that was stopped, or ran out of time,
    does not count again: then it is the number found and not yet processed. Stale sessions that
    rows of other tables protect are kept and count only as ``protected``.

    Args:
        settings: The database, and the idle limit.
        plan: What to delete, and the limits.
        now: The reference time; that of the clocks by default.
        stop: On request the run ends after the current batch.
        progress: Called after each batch.

    Raises:
        JobRunningError: Another clean-up is running.
        BusyError: A lock was held for too long.
        CleanupDisconnectedError: The connection was lost; the error has the report.
        CleanupOutOfSpaceError: The disk is full; the same.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    stop = stop or StopRequest()
    run_transactions = partial(
        TransactionRunner,
        url=database_url(settings),
        stop=stop,
        deadline=None if plan.max_time is None else started + plan.max_time,
    )
    async with (
        _report_on_disconnect(started) as runs,
        audited_job("deleted", count="deleted", dry_run=plan.dry_run) as record,
        AsyncExitStack() as stack,
    ):
        try:
            opened = await stack.enter_async_context(
                _open_sessions(settings, stop, dry_run=plan.dry_run)
            )
        except CleanupStopped:
            return _report_without_run(started, dry_run=plan.dry_run)
        session, extra_sessions, check_lock = opened
        transactions = run_transactions(session)

        async def prepare() -> tuple[Selection, PurgeStrategy, float]:
            selection = await Selection.create(session, settings, plan, now)
            strategy = await selection.choose_strategy(
                session, count_only=plan.dry_run, extra_sessions=extra_sessions
            )
            return selection, strategy, await ServerRepository(session).pause_between_batches()

        try:
            selection, strategy, pause = await transactions.run_with_retry(Access.READ, prepare)
        except CleanupStopped:
            return _report_without_run(started, dry_run=plan.dry_run)
        transactions.parameters = strategy.parameters
        scanning = transactions
        if strategy.scans_concurrently and extra_sessions:
            scanning = run_transactions(extra_sessions[0], parameters=strategy.parameters)
        first_size = min(plan.batch_size, plan.largest_batch or plan.batch_size)
        run = CleanupRun(
            plan=plan,
            selection=selection,
            strategy=strategy,
            transactions=transactions,
            scanner=Scanner(scanning, strategy),
            sizer=BatchSizer(strategy.batch_seconds, first_size, plan.largest_batch),
            pause=pause if plan.pause is None else plan.pause,
            record=record,
            check_lock=check_lock,
            progress=progress,
        )
        runs.append(run)
        await run.execute()
        report = await make_report(run, started)
    if run.out_of_space is not None:
        raise CleanupOutOfSpaceError(run.out_of_space, report)
    return report


@asynccontextmanager
async def _report_on_disconnect(started: float) -> AsyncIterator[list[CleanupRun]]:
    """Yield a list for the run; on a lost connection raise the error with its report.

    Args:
        started: The start, by the event loop's clock.
    """
    runs: list[CleanupRun] = []
    try:
        yield runs
    except UnreachableError as error:
        logger.debug(f"clean-up: {error.message}")
        if not any(run.deleted for run in runs):
            raise
        unvisited = max(runs[0].scanner.found - runs[0].processed, 0)
        report = _report_of(runs[0], started, remaining=unvisited + runs[0].undeleted)
        raise CleanupDisconnectedError(error, report) from error


@asynccontextmanager
async def _open_sessions(
    settings: Settings, stop: StopRequest, *, dry_run: bool
) -> AsyncIterator[tuple[AsyncSession, Sequence[AsyncSession], CheckLock]]:
    """Open a session for the deletes, and take the lock of clean-ups.

    Further sessions, each on a connection of its own, are for the strategy: on PostgreSQL one
    for a scan while batches are deleted, on SQLite two for checkpoints. A dry run needs neither
    them nor the lock.

    Raises:
        BusyError: Another process held the SQLite file for ``RETRY_SECONDS``.
        CleanupStopped: A stop was requested meanwhile.
    """
    async with AsyncExitStack() as stack:
        connect = partial(_connect, stack, settings, stop)
        if dry_run:
            session = await connect()
            yield session, (), ServerRepository(session).ping
            return
        url = database_url(settings)
        require_sqlite_file(url, settings.project_dir)  # before a lock file is created
        check_lock = await stack.enter_async_context(job_lock(settings, Job.CLEANUP, timeout=0))
        # After a power failure the last batches may need to be deleted again.
        session = await connect(access=Access.WRITE, durable=False)
        number = 2 if url.get_backend_name() == "sqlite" else 1
        extra_sessions = [await connect() for _ in range(number)]
        yield session, extra_sessions, check_lock


async def _connect(
    stack: AsyncExitStack, settings: Settings, stop: StopRequest, **options: Any
) -> AsyncSession:
    """Open a session; as long as another process holds the SQLite file, retry.

    Args:
        stack: Closes the session.
        settings: The settings, which name the database.
        stop: A request to stop.
        **options: Passed on to ``open_pinned_session``.

    Raises:
        BusyError: The file was held for ``RETRY_SECONDS``.
        CleanupStopped: A stop was requested meanwhile.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + RETRY_SECONDS
    while True:
        opening = open_pinned_session(settings, busy_timeout=LOCK_SECONDS, **options)
        try:
            return await stack.enter_async_context(opening)
        except BusyError as error:
            logger.debug(f"clean-up: {error.message}")
            if stop.requested:
                raise CleanupStopped from error
            if clock() >= give_up:
                raise
        await stop.sleep(RETRY_INTERVAL_SECONDS)


def _report_without_run(started: float, *, dry_run: bool) -> CleanupReport:
    """Return the report of a clean-up that was stopped before it began."""
    logger.debug("clean-up: stopped before its start")
    return CleanupReport(
        matched=0,
        deleted=0,
        remaining=0,
        protected=0,
        batches=0,
        seconds=round(asyncio.get_running_loop().time() - started, 3),
        complete=False,
        dry_run=dry_run,
        clock_difference_seconds=0.0,
    )


async def make_report(run: CleanupRun, started: float) -> CleanupReport:
    """Count what a run left, log it, and return the report.

    Args:
        run: After its execution.
        started: Its start, by the event loop's clock.
    """
    remaining, invalid = await _count_remaining(run), 0
    with suppress(CleanupStopped):
        await run.selection.count_after(run.transactions)
        invalid = run.scanner.invalid or 0
        if run.scanner.invalid is None and not run.transactions.stopped:
            choose = partial(choose_counting_strategy, run.transactions.session)
            invalid = (await _scan(run.transactions, choose)).invalid or 0
    if remaining and run.reached_end and not run.locked_batches:
        table = tables_of(run.transactions.session.get_bind().dialect).reported(SESSIONS)
        noun = "stale session was" if remaining == 1 else "stale sessions were"
        logger.warning(f"{remaining} {noun} not deleted; check triggers and rules on {table}")
    if invalid:
        logger.warning(
            f"kept {pluralize(invalid, 'session')} with an unreadable timestamp: "
            "'clarinet session list --state invalid' shows them"
        )
    report = replace(_report_of(run, started, remaining=remaining), invalid=invalid or None)
    logger.info(
        f"clean-up: matched {report.matched}, deleted {report.deleted}, "
        f"remaining {report.remaining}, protected {report.protected}, "
        f"batches {report.batches}, {report.seconds} s"
    )
    return report


def _report_of(run: CleanupRun, started: float, *, remaining: int) -> CleanupReport:
    """Return the report of a run, without sessions that have an unreadable timestamp."""
    reasons = run.strategy.by_reason
    protected = run.protected_by.total()
    protected_by = run.protected_by + Counter(run.selection.protected_by)
    return CleanupReport(
        matched=run.scanner.found - protected,
        deleted=run.deleted,
        remaining=remaining,
        protected=run.selection.protected + protected,
        batches=run.batches,
        seconds=round(asyncio.get_running_loop().time() - started, 3),
        complete=run.scanner.complete and remaining == 0,
        dry_run=run.plan.dry_run,
        clock_difference_seconds=run.selection.clock_difference,
        protected_by=dict(protected_by) or None,
        cascaded=run.selection.cascaded or None,
        matched_by={name: count.sessions for name, count in reasons.items()} or None,
        oldest={name: count.oldest for name, count in reasons.items()} or None,
    )


async def _count_remaining(run: CleanupRun) -> int:
    """Return the number of stale sessions left; scan again only if the run does not know it."""
    if run.processed_all:
        return run.undeleted
    unvisited = max(run.scanner.found - run.processed, 0)
    if not (run.plan.dry_run or run.transactions.stopped or run.out_of_space is not None):
        choose = partial(run.selection.choose_strategy, run.transactions.session, count_only=True)
        with suppress(CleanupStopped):
            found = (await _scan(run.transactions, choose)).found
            return max(found - run.protected_by.total(), 0)
    return unvisited + run.undeleted


async def _scan(
    transactions: TransactionRunner, choose: Callable[[], Awaitable[PurgeStrategy]]
) -> Scanner:
    scanner = Scanner(transactions, await transactions.run_with_retry(Access.READ, choose))
    await scanner.run()
    return scanner
