"""SQLite files opened without SQLAlchemy: for the backup interface and for checks of a file.

The work on them blocks and runs in a thread; they check for a signal at intervals.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Optional, TypeVar
from urllib.parse import quote_from_bytes

from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError

from clarinet_cli.database.commits import run_uninterrupted
from clarinet_cli.database.session import driver_errors
from clarinet_cli.database.sqlite import BUSY_ERRORS
from clarinet_cli.signals import SIGNALS

ResultT = TypeVar("ResultT")

READ_WRITE = "mode=rw"
IMMUTABLE = "mode=ro&immutable=1"  # no other process writes it: no locks, no side files
MAPPED_BYTES = 1 << 28  # mapped pages count as memory of the process
PROGRESS_HANDLER_STEPS = 50_000  # instructions of SQLite's virtual machine
RETRY_SECONDS = 0.02


class StoppedError(Exception):
    """A signal arrived while a thread worked; its work is undone."""


async def in_thread(function: Callable[[], ResultT]) -> ResultT:
    """Run blocking work in a thread to its end, or until it stops for a signal.

    Args:
        function: It calls ``raise_if_stopped`` at intervals, or runs one SQLite statement.

    Raises:
        Interrupted: A signal stopped it.
    """
    try:
        return await run_uninterrupted(asyncio.to_thread(function))
    except StoppedError:
        SIGNALS.interrupt()


def raise_if_stopped() -> None:
    """Stop the work of a thread if a signal has arrived.

    Raises:
        StoppedError: A signal has arrived.
    """
    if SIGNALS.number is not None:
        raise StoppedError


@contextmanager
def open_sqlite(
    path: Path, access: str, about: Optional[Path] = None
) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file, and close it at the end of the block.

    Args:
        path: The file, which must exist.
        access: ``READ_WRITE`` or ``IMMUTABLE``.
        about: The file that errors name, if it is not *path*.

    Raises:
        ClarinetError: SQLite's error inside the block, translated.
        StoppedError: A signal arrived while a statement ran.
    """
    name = quote_from_bytes(os.fsencode(path))
    with sqlite_errors(about or path):
        connection = sqlite3.connect(
            f"file:{name}?{access}",
            uri=True,
            isolation_level=None,
            timeout=RETRY_SECONDS,
            check_same_thread=False,
        )
        with closing(connection):
            connection.text_factory = partial(str, encoding="utf-8", errors="replace")
            connection.set_progress_handler(
                lambda: int(SIGNALS.number is not None), PROGRESS_HANDLER_STEPS
            )
            yield connection


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate SQLite's errors inside the block.

    Args:
        path: The file that the errors name.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise_if_stopped()
        with driver_errors(URL.create("sqlite+aiosqlite", database=str(path))):
            raise DatabaseError("", None, error, hide_parameters=True) from error


def begin_reading(connection: sqlite3.Connection, timeout: float) -> None:
    """Begin a read transaction, retrying while the database is locked.

    Args:
        connection: The connection to begin it on.
        timeout: Seconds to wait for the lock.

    Raises:
        OperationalError: The database was still locked, or could not be read.
    """
    deadline = monotonic() + timeout
    while True:
        try:
            connection.execute("BEGIN")
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not error.sqlite_errorname.startswith(BUSY_ERRORS) or monotonic() >= deadline:
                raise
        else:
            return
        raise_if_stopped()
        sleep(RETRY_SECONDS)
