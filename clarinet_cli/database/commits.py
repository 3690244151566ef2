"""Commits that neither signals nor cancellation interrupt before the outcome is known."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Optional, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    AsyncSessionTransaction,
    AsyncTransaction,
)

from clarinet_cli.database.engine import ACCESS_OPTION, PARAMETERS_OPTION, Access
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
        before: Called when the commit can no longer be interrupted.
        committed: Called after the commit succeeded.
        changes: Whether it may have changed rows, so that a result must be shown.

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


async def run_uninterrupted(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Await work that neither signals nor cancellation interrupt, and return its result.

    Args:
        coroutine: A statement that runs outside of a transaction.
    """
    with SIGNALS.deferred():
        task = asyncio.get_running_loop().create_task(coroutine)
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
            await transaction.rollback()  # else the connection cannot begin another one
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


@asynccontextmanager
async def transaction(
    session: AsyncSession,
    access: Access,
    parameters: Optional[Mapping[str, str]] = None,
    *,
    dry_run: bool = False,
    before_commit: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Run the block in one transaction: commit at the end, roll back on an error.

    Args:
        session: A session without a transaction.
        access: WRITE when the block changes rows; READ leaves SQLite's write lock to others.
        parameters: Settings of a PostgreSQL server for this transaction; never text from
            outside.
        dry_run: Roll back at the end, so that the statements of the real run are tried and
            nothing is written.
        before_commit: Called when the commit can no longer be interrupted.
        committed: Called when the transaction is known to be committed.
    """
    options = {ACCESS_OPTION: access, PARAMETERS_OPTION: parameters or {}}
    async with session.begin() as begun:
        await session.connection(execution_options=options)
        yield
        if dry_run:
            await begun.rollback()
        else:
            await commit(begun, before_commit, committed, changes=access is Access.WRITE)


@asynccontextmanager
async def writing(
    connection: AsyncConnection,
    before_commit: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Run the block in one transaction of a connection that was opened for writing.

    Args:
        connection: The connection.
        before_commit: Called when the commit can no longer be interrupted.
        committed: Called when the transaction is known to be committed.
    """
    async with connection.begin() as begun:
        yield
        await commit(begun, before_commit, committed)
