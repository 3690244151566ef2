"""Transactions on SQLite that wait for the locks of other processes."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from operator import methodcaller
from time import monotonic
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from clarinet_cli.database.sqlite import BUSY_ERRORS
from clarinet_cli.signals import SIGNALS

SHORT_WAIT_SECONDS = 0.1
RETRY_INTERVAL_SECONDS = 0.02


def begin_with_retry(connection: Connection, begin: Sequence[str], busy_timeout: float) -> None:
    """Begin a transaction, retrying while the database is locked.

    SQLite's own busy handler blocks the driver's thread, where a signal cannot interrupt it. So
    its timeout is short, and the event loop retries. Once the transaction has begun, its
    statements may wait for the whole timeout.

    Args:
        connection: A connection without a transaction.
        begin: The statements that begin it.
        busy_timeout: Seconds to wait for the lock.

    Raises:
        DatabaseError: The database was still locked, or could not be read.
    """
    deadline = monotonic() + busy_timeout
    _set_busy_timeout(connection, SHORT_WAIT_SECONDS)
    while True:
        try:
            _execute(connection, begin)
            break
        except sqlite3.DatabaseError as error:
            busy = error.sqlite_errorname.startswith(BUSY_ERRORS)
            _execute(connection, ["ROLLBACK"] if _in_transaction(connection) else [])
            if not busy or monotonic() >= deadline:
                raise DatabaseError(begin[0], None, error, hide_parameters=True) from error
        _sleep(connection)
    _set_busy_timeout(connection, busy_timeout)


def commit_with_retry(
    connection: Connection, busy_timeout: float, timeout_after_signal: float
) -> None:
    """Commit, retrying while readers hold the lock; a failed try leaves the transaction as it is.

    Args:
        connection: The connection.
        busy_timeout: Seconds to wait for the lock.
        timeout_after_signal: The same after a signal, if that is less.

    Raises:
        DatabaseError: The lock was still held, or the commit failed.
    """
    deadline = monotonic() + busy_timeout
    _set_busy_timeout(connection, SHORT_WAIT_SECONDS)
    while _in_transaction(connection):
        try:
            _execute(connection, ["COMMIT"])
        except sqlite3.DatabaseError as error:
            if SIGNALS.number is not None:
                deadline = min(deadline, monotonic() + timeout_after_signal)
            busy = error.sqlite_errorname.startswith(BUSY_ERRORS)
            if not busy or monotonic() >= deadline:
                raise DatabaseError("COMMIT", None, error, hide_parameters=True) from error
            _sleep(connection)


def _sleep(connection: Connection) -> None:
    """Let the event loop run between two attempts."""
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda _: asyncio.sleep(RETRY_INTERVAL_SECONDS))


def _in_transaction(connection: Connection) -> bool:
    """Return whether SQLite has an open transaction on this connection."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _set_busy_timeout(connection: Connection, seconds: float) -> None:
    _execute(connection, [f"PRAGMA busy_timeout={int(seconds * 1000)}"])


def _execute(connection: Connection, statements: Iterable[str]) -> None:
    """Execute statements, each in one call of the driver's thread; a cursor takes four."""
    driver: Any = connection.connection.dbapi_connection
    for statement in statements:
        driver.run_async(methodcaller("execute_fetchall", statement))
