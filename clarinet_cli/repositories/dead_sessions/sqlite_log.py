"""SQLite's write-ahead log while many rows go: copied into the file beside other writers."""

import asyncio
import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any, Optional

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncSession

ROWS_A_CHECKPOINT = 2000
ROWS_A_CHECKPOINT_ALONE = 100_000
CHECKPOINTS_A_RESTART = 9
WAIT = "PRAGMA busy_timeout = 100"  # ms, for a writer to end; then the next time does it
FIRST_READ = "PRAGMA schema_version"  # a deferred transaction begins with it


class WriteAheadLog:
    """Keeps the log of a database short, so that other writers wait for none of the copying.

    In WAL mode each commit of the server would copy what stands in the log, that of others too,
    in its own time. So it is copied between our transactions, while others write, and a reading
    transaction on a second connection keeps them from copying: nobody passes by a reader.

    Beside a busy writer the log would never begin anew and grow by gigabytes, which makes every
    look-up in it slow: so every now and then it is made to. That stops writers for the few pages
    that came in meanwhile, and not for the disk: the file is synced before.

    Args:
        session: What the rows go by, on one connection.
        beside: A second session, which reads and copies; without it the log is left alone.
    """

    def __init__(self, session: AsyncSession, beside: Optional[AsyncSession]) -> None:
        self._session = session
        self._beside = beside
        self._copier: Any = None
        self._file = Path()
        self._rows = 0
        self._checkpoints = 0

    async def prepare(self) -> None:
        """Look whether there is one; our commits will not copy it themselves."""
        mode = (await self._session.scalars(text("PRAGMA journal_mode"))).one()
        if mode != "wal" or self._beside is None:
            return
        await self._session.execute(text("PRAGMA wal_autocheckpoint = 0"))
        files = await self._session.execute(text("PRAGMA database_list"))
        self._file = next(Path(row.file) for row in files if row.name == "main")
        opened = await (await self._beside.connection()).get_raw_connection()
        self._copier = opened.driver_connection

    @property
    def in_use(self) -> bool:
        """Whether there is one to look after."""
        return self._copier is not None

    def grow(self, rows: int) -> None:
        """Remember that so many rows went into the log."""
        self._rows += rows

    def is_due(self, *, alone: bool, last: bool) -> bool:
        """Return whether it is time to copy.

        Args:
            alone: Nobody else writes: a page is copied once for many transactions.
            last: Nothing more will be removed.
        """
        rows = ROWS_A_CHECKPOINT_ALONE if alone and not last else ROWS_A_CHECKPOINT
        return self.in_use and self._rows >= rows

    async def copy(self, *, alone: bool) -> None:
        """Copy it into the file, outside of any transaction.

        Where somebody else is in the way, the next time does more.

        Args:
            alone: Nobody else writes: the next transaction begins it anew by itself.
        """
        self._rows = 0
        self._checkpoints += 1
        await self._checkpoint("PASSIVE")
        if not alone and self._checkpoints % CHECKPOINTS_A_RESTART == 0:
            await asyncio.to_thread(_sync, self._file)
            await self._checkpoint("RESTART")

    async def _checkpoint(self, mode: str) -> None:
        """Stop reading, copy, and read again, so that nobody else copies what comes next.

        All by one call of the driver, which commits first: whoever has waited for our last
        commit is quick to come between two.

        Raises:
            DatabaseError: The file could not be read or written.
        """
        script = f"{WAIT}; PRAGMA wal_checkpoint({mode}); BEGIN; {FIRST_READ};"
        try:
            await self._copier.executescript(script)
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
