"""SQLite's write-ahead log while many rows go: copied into the file beside other writers."""

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

ROWS_A_CHECKPOINT = 2000
ROWS_A_CHECKPOINT_ALONE = 100_000
CHECKPOINTS_A_RESTART = 12
# Two tenths of a second at most for a writer to end; then the next time does it. A deferred
# transaction begins with its first read.
READ = "BEGIN; PRAGMA schema_version;"
PASSIVE = "PRAGMA wal_checkpoint(PASSIVE);"
ALL = f"{PASSIVE} {READ}"
RESTART = f"PRAGMA busy_timeout = 200; PRAGMA wal_checkpoint(RESTART); {READ}"


class WriteAheadLog:
    """Keeps the log of a database short, so that other writers wait for none of the copying.

    In WAL mode each commit of the server would copy what stands in the log, that of others too,
    in its own time. So it is copied between our transactions, while others write, and a reading
    transaction on another connection keeps them from copying: nobody passes by a reader.

    Beside a busy writer the log would never begin anew and grow by gigabytes, which makes every
    look-up in it slow: so every now and then it is made to. That stops writers for the few pages
    that came in meanwhile, and not for the disk: the file is synced before.

    Args:
        session: What the rows go by, on one connection.
        readers: Two more sessions, which read and copy in turn; without them the log is left
            alone.
    """

    def __init__(self, session: AsyncSession, readers: Sequence[AsyncSession]) -> None:
        self._session = session
        self._sessions = readers
        self._readers: list[Any] = []
        self._file = Path()
        self._rows = 0
        self._checkpoints = 0  # since the log last began anew
        self._short = False

    async def prepare(self) -> None:
        """Look whether there is one; our commits will not copy it themselves."""
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
    def in_use(self) -> bool:
        """Whether there is one to look after."""
        return bool(self._readers)

    def grow(self, rows: int) -> None:
        """Remember that so many rows went into the log."""
        self._rows += rows

    def is_due(self, *, alone: bool, last: bool) -> bool:
        """Return whether it is time to copy.

        Args:
            alone: Nobody else writes: a page is copied once for many transactions.
            last: Nothing more will be removed.
        """
        if last:
            return self.in_use and self._rows + self._checkpoints > 0
        if self._short:
            return self.in_use and self._rows > 0
        return self.in_use and self._rows >= (
            ROWS_A_CHECKPOINT_ALONE if alone else ROWS_A_CHECKPOINT
        )

    async def stay_short(self) -> None:
        """Let the log begin anew now and after each transaction: there is no room for it."""
        self._short = True
        if self.in_use:
            await self.copy(alone=False, last=True)

    async def copy(self, *, alone: bool, last: bool) -> None:
        """Copy it into the file, outside of any transaction.

        Where somebody else is in the way, the next time does more.

        Args:
            alone: Nobody else writes: the next transaction begins it anew by itself.
            last: Nothing more will be removed: nothing is left for others to sync.

        Raises:
            DatabaseError: The file could not be read or written.
        """
        self._rows = 0
        self._checkpoints += 1
        if alone and not self._short:
            await self._checkpoint(ALL)
            self._checkpoints = 0  # who copies the last page of it, syncs the file
            return
        # Exactly up to the second reader: what came later is nobody's to copy yet.
        self._readers.reverse()
        await _run(self._readers[0], READ)
        await self._checkpoint(PASSIVE, reader=1)
        if last or self._short or self._checkpoints == CHECKPOINTS_A_RESTART:
            await asyncio.to_thread(_sync, self._file)
            await self._checkpoint(RESTART)
            self._checkpoints = 0

    async def _checkpoint(self, script: str, *, reader: int = 0) -> None:
        await _run(self._readers[reader], script)


async def _run(driver: Any, script: str) -> None:
    """End the reading transaction and run a script, all by one call of the driver.

    Between two calls somebody else would come who has waited for our commit, and copy all.
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

    To close it would take away the locks that SQLite holds on the file in this process: see
    "How To Corrupt An SQLite Database File", 2.2.
    """
    del device, inode  # of another file by the same name
    return os.open(file, os.O_RDONLY)
