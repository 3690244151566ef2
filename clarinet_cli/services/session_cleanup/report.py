"""The report of a run, with the counts of what is left."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from clarinet_cli.database.engine import Access
from clarinet_cli.repositories.purge import PurgeStrategy
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup.run import CleanupRun
from clarinet_cli.services.session_cleanup.scan import Scanner
from clarinet_cli.services.session_cleanup.selection import choose_counting_strategy
from clarinet_cli.services.session_cleanup.transaction import CleanupStopped, TransactionRunner
from clarinet_cli.utils.logger import logger


async def make_report(run: CleanupRun, started: float) -> CleanupReport:
    """Count what a run left, log it, and return the report.

    Args:
        run: After its execution.
        started: Its start, by the event loop's clock.
    """
    remaining, invalid = await _count_remaining(run), 0
    with suppress(CleanupStopped):
        await run.selection.count_after(run.transactions)
        invalid = await _count_invalid(run)
    if remaining and run.reached_end and not run.contested:
        logger.warning(
            f"{remaining} dead sessions remain: does a trigger or rule on access_token keep them?"
        )
    if invalid:
        logger.warning(
            f"{invalid} sessions stay, as one of their instants can't be read: "
            "'clarinet session list --state invalid' shows them"
        )
    report = CleanupReport(
        matched=run.scanner.found,
        deleted=run.deleted,
        remaining=remaining,
        protected=run.selection.protected,
        batches=run.batches,
        seconds=round(asyncio.get_running_loop().time() - started, 3),
        complete=run.scanner.complete and remaining == 0,
        dry_run=run.plan.dry_run,
        clock_difference_seconds=run.selection.clock_difference,
        invalid=invalid or None,
        protected_by=run.selection.protected_by or None,
        cascaded=run.selection.cascaded or None,
    )
    logger.info(
        f"clean-up: matched {report.matched}, deleted {report.deleted}, "
        f"remaining {report.remaining}, protected {report.protected}, "
        f"{report.batches} batches, {report.seconds} s"
    )
    return report


async def _count_remaining(run: CleanupRun) -> int:
    """Return the number of dead sessions left; scan again only if the run does not know it."""
    if run.visited_all:
        return run.kept
    unvisited = max(run.scanner.found - run.settled, 0)
    if not (run.plan.dry_run or run.transactions.stopped or run.out_of_space is not None):
        choose = partial(run.selection.choose_strategy, run.transactions.session, count_only=True)
        with suppress(CleanupStopped):
            return (await _scan(run.transactions, choose)).found
    return unvisited + run.kept


async def _count_invalid(run: CleanupRun) -> int:
    """Return the number of sessions with an unreadable instant, which are never deleted."""
    if run.scanner.invalid is not None:
        return run.scanner.invalid
    if run.transactions.stopped:
        return 0
    choose = partial(choose_counting_strategy, run.transactions.session)
    return (await _scan(run.transactions, choose)).invalid or 0


async def _scan(
    transactions: TransactionRunner, choose: Callable[[], Awaitable[PurgeStrategy]]
) -> Scanner:
    scanner = Scanner(transactions, await transactions.run_with_retry(Access.READ, choose))
    await scanner.run()
    return scanner
