"""Checkpoints of SQLite's write-ahead log between batches, while others write."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncSession

ROWS_PER_CHECKPOINT = 2000
SOLE_WRITER_ROWS_PER_CHECKPOINT = 100_000
CHECKPOINTS_PER_RESTART = 12
# A deferred transaction begins with its first read.
READ = "BEGIN; PRAGMA schema_version;"
PASSIVE = "PRAGMA wal_checkpoint(PASSIVE);"
# Writers are waited for 0.2 s at most; otherwise the next restart is made to do it.
RESTART = f"PRAGMA busy_timeout = 200; PRAGMA wal_checkpoint(RESTART); {READ}"


class WalCheckpointer:
    """Checkpoints the log, so that no commit of another connection has to.

    SQLite checkpoints after a commit that leaves more than 1000 pages in the log, whoever
    wrote them. Here that is done between batches; in between, a read transaction on
    another connection keeps their commits from doing it, as no checkpoint passes a reader. Two
    such connections alternate: one begins to read at the end of the log, then the other ends
    its transaction and copies exactly up to there.

    With a busy writer the log would never restart and would grow by gigabytes, which slows down
    reads. So it is restarted at intervals. The restart blocks writers only while it copies the
    pages that they added since: the file is synced before.

    Args:
        session: The session that deletes, on one connection.
        readers: Two sessions on other connections; without them no checkpoints are made here.
    """

    def __init__(self, session: AsyncSession, readers: Sequence[AsyncSession] = ()) -> None:
        self._session = session
        self._sessions = readers
        self._readers: list[Any] = []  # connections of the driver
        self._file = Path()
        self._rows = 0
        self._checkpoints = 0  # since the last restart
        self._minimize = False

    async def prepare(self) -> None:
        """In WAL mode, take over the checkpoints from the session that deletes."""
        mode = (await self._session.scalars(text("PRAGMA journal_mode"))).one()
        if mode != "wal" or not self._sessions:
            return
        await self._session.execute(text("PRAGMA wal_autocheckpoint = 0"))
        # As bytes: a path need not be text.
        query = "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
        file: bytes = (await self._session.scalars(text(query))).one()
        self._file = Path(os.fsdecode(file))
        for session in self._sessions:
            opened = await (await session.connection()).get_raw_connection()
            self._readers.append(opened.driver_connection)

    @property
    def enabled(self) -> bool:
        """Whether checkpoints are made here."""
        return bool(self._readers)

    def add(self, rows: int) -> None:
        """Count rows that were deleted since the last checkpoint."""
        self._rows += rows

    def is_due(self, *, sole_writer: bool, last: bool) -> bool:
        """Return whether a checkpoint is due.

        Args:
            sole_writer: No other connection writes: one checkpoint serves many transactions.
            last: Nothing more will be deleted.
        """
        if last:
            return self.enabled and self._rows + self._checkpoints > 0
        limit = SOLE_WRITER_ROWS_PER_CHECKPOINT if sole_writer else ROWS_PER_CHECKPOINT
        return self.enabled and self._rows >= (1 if self._minimize else limit)

    async def minimize_wal(self) -> None:
        """Restart the log now and after each transaction, as there is no disk space for it."""
        self._minimize = True
        if self.enabled:
            await self.checkpoint(sole_writer=False, last=True)

    async def checkpoint(self, *, sole_writer: bool, last: bool) -> None:
        """Copy the log into the file, outside of any transaction.

        Pages that a reader or writer prevents from being copied are left to the next checkpoint.

        Args:
            sole_writer: No other connection writes: the next transaction restarts the log.
            last: Nothing more will be deleted: nothing is left for others to sync.

        Raises:
            DatabaseError: The file could not be read or written.
        """
        self._rows = 0
        self._checkpoints += 1
        if sole_writer and not self._minimize:
            await execute_script(self._readers[0], f"{PASSIVE} {READ}")
            self._checkpoints = 0  # it copied the last page, and so has synced the file
            return
        self._readers.reverse()
        await execute_script(self._readers[0], READ)
        await execute_script(self._readers[1], PASSIVE)
        if last or self._minimize or self._checkpoints == CHECKPOINTS_PER_RESTART:
            await asyncio.to_thread(_sync, self._file)
            await execute_script(self._readers[0], RESTART)
            self._checkpoints = 0


async def execute_script(driver: Any, script: str) -> None:
    """End the read transaction and run a script, all in one call of the driver.

    Between two calls a writer that waited for the last commit could checkpoint instead.

    Args:
        driver: The connection of the driver.
        script: SQL statements.

    Raises:
        DatabaseError: One of them failed.
    """
    try:
        await driver.executescript(script)
    except sqlite3.Error as error:
        raise DatabaseError(script, None, error, hide_parameters=True) from error


def _sync(file: Path) -> None:
    """Wait until all that was written to a file is on the disk."""
    status = file.stat()
    os.fsync(_descriptor(file, status.st_dev, status.st_ino))


@cache
def _descriptor(file: Path, device: int, inode: int) -> int:
    """Return a descriptor that stays open as long as the process lives.

    Closing it would release the locks that SQLite holds on the file in this process: see "How
    To Corrupt An SQLite Database File", 2.2.
    """
    del device, inode  # of another file by the same name
    return os.open(file, os.O_RDONLY)
