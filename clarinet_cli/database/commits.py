"""The one place where transactions commit: nothing interrupts it until the outcome is known."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Optional, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncSessionTransaction, AsyncTransaction

from clarinet_cli.signals import SIGNALS

ResultT = TypeVar("ResultT")

CHECK_SECONDS = 0.5
# After a signal: longer than SQLite's wait for readers, which the engine ends by itself.
LONGEST_COMMIT_SECONDS = 30.0


class OutcomeUnknownError(Exception):
    """The database, or the way to it, went away inside a commit; the cause says how."""


async def commit(
    transaction: AsyncTransaction | AsyncSessionTransaction,
    before: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
    *,
    changes: bool = True,
) -> None:
    """Commit, whatever signals and cancellations arrive meanwhile.

    A signal is remembered; a cancellation is raised when the outcome is known. A commit that
    does not end is given up some time after them.

    Args:
        transaction: A transaction that has begun.
        before: Called when nothing can interrupt the commit any more.
        committed: Called when it has come to be.
        changes: Whether it may have changed rows, so that a result has to be shown.

    Raises:
        OutcomeUnknownError: Nobody can say whether it has come to be.
        DBAPIError: It was rolled back.
    """
    if isinstance(transaction, AsyncSessionTransaction):
        await transaction.session.flush()
    await asyncio.sleep(0)  # what cancelled the task before now does it here
    with SIGNALS.deferred():
        before()
        task = asyncio.get_running_loop().create_task(_commit(transaction))
        cancelled = await _wait(task)
        task.result()
        committed()
        if changes:
            SIGNALS.mark_changed()
    if cancelled and SIGNALS.number is None:
        raise asyncio.CancelledError


async def until_done(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what work returns that nothing may interrupt.

    Args:
        work: What a database does in a step of its own, without a transaction.
    """
    with SIGNALS.deferred():
        task = asyncio.get_running_loop().create_task(work)
        cancelled = await _wait(task)
        result = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return result


async def _commit(transaction: AsyncTransaction | AsyncSessionTransaction) -> None:
    try:
        await transaction.commit()
    except DBAPIError as error:
        with suppress(DBAPIError, OSError, TimeoutError):
            await transaction.rollback()  # else the connection can begin no other one
        if _rolled_back(error):
            raise
        raise OutcomeUnknownError from error
    except (OSError, TimeoutError, asyncio.CancelledError) as error:
        raise OutcomeUnknownError from error


async def _wait(task: "asyncio.Task[Any]") -> bool:
    """Wait for the end of a task; return whether somebody wanted to cancel it."""
    cancelled, give_up = False, None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=CHECK_SECONDS)
        except asyncio.CancelledError:
            cancelled = True
        give_up = _give_up(give_up, asked=cancelled or SIGNALS.number is not None)
        if give_up is not None and monotonic() >= give_up:
            task.cancel()
    return cancelled


def _give_up(before: Optional[float], *, asked: bool) -> Optional[float]:
    return monotonic() + LONGEST_COMMIT_SECONDS if asked and before is None else before


def _rolled_back(error: DBAPIError) -> bool:
    """Return whether a commit that failed has certainly changed nothing.

    PostgreSQL: the server itself says that the transaction is over (ERROR; FATAL ends the
    connection), or the driver never sent the commit. SQLite: it could not be locked, or
    the disk had no room for it; an error in writing or syncing leaves the log as it may be.
    """
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return not str(name).startswith(("SQLITE_IOERR", "SQLITE_CORRUPT"))
    driver = error.driver_exception
    severity = getattr(driver, "severity_en", None) or getattr(driver, "severity", None)
    return severity == "ERROR" or isinstance(error, InterfaceError)
