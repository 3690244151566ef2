"""Commits that neither signals nor cancellation interrupt before the outcome is known."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncSessionTransaction, AsyncTransaction

from clarinet_cli.database.errors import driver_exception
from clarinet_cli.signals import SIGNALS

ResultT = TypeVar("ResultT")

CHECK_SECONDS = 0.5
# After a signal. Longer than the engine waits for SQLite's readers.
MAX_COMMIT_SECONDS = 30.0


class OutcomeUnknownError(Exception):
    """The database or the connection failed inside a commit; the cause is the driver's error."""


async def commit(
    transaction: AsyncTransaction | AsyncSessionTransaction,
    before: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
    *,
    changes: bool = True,
) -> None:
    """Commit, regardless of signals and cancellation.

    A signal is deferred; a cancellation is raised once the outcome is known. If one arrives, a
    commit that hangs is cancelled after ``MAX_COMMIT_SECONDS``.

    Args:
        transaction: A transaction that has begun.
        before: Called when nothing can interrupt the commit any more.
        committed: Called after the commit succeeded.
        changes: Whether it may have changed rows, so that a result has to be shown.

    Raises:
        OutcomeUnknownError: It is unknown whether the transaction was committed.
        DBAPIError: The transaction was rolled back.
    """
    if isinstance(transaction, AsyncSessionTransaction):
        await transaction.session.flush()
    await asyncio.sleep(0)  # a pending cancellation is raised here
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
    """Await work that neither signals nor cancellation interrupt, and return its result.

    Args:
        work: A statement that runs outside of a transaction.
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
            await transaction.rollback()  # else the connection can't begin another one
        if _rolled_back(error):
            raise
        raise OutcomeUnknownError from error
    except (OSError, TimeoutError, asyncio.CancelledError) as error:
        raise OutcomeUnknownError from error


async def _wait(task: "asyncio.Task[Any]") -> bool:
    """Wait for the end of a task; return whether a cancellation was requested."""
    cancelled, deadline = False, None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=CHECK_SECONDS)
        except asyncio.CancelledError:
            cancelled = True
        if deadline is None and (cancelled or SIGNALS.number is not None):
            deadline = monotonic() + MAX_COMMIT_SECONDS
        if deadline is not None and monotonic() >= deadline:
            task.cancel()
    return cancelled


def _rolled_back(error: DBAPIError) -> bool:
    """Return whether a failed commit has certainly changed nothing.

    PostgreSQL: the server reports that the transaction failed (ERROR; FATAL ends the
    connection), or the driver never sent the commit. SQLite: the database was locked or the
    disk full; after an error in writing or syncing the state of the log is unknown.
    """
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return not str(name).startswith(("SQLITE_IOERR", "SQLITE_CORRUPT"))
    driver = driver_exception(error)
    severity = getattr(driver, "severity_en", None) or getattr(driver, "severity", None)
    return severity == "ERROR" or isinstance(error, InterfaceError)
