"""SQLite's write-ahead log while many rows go: copied into the file beside other writers."""

import asyncio
import os
from functools import cache
from pathlib import Path
from typing import Optional

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

ROWS_A_CHECKPOINT = 2000
ROWS_A_CHECKPOINT_ALONE = 100_000
CHECKPOINTS_A_RESTART = 9


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
        beside: A second session, for the reading transaction; without it nobody is kept.
    """

    def __init__(self, session: AsyncSession, beside: Optional[AsyncSession]) -> None:
        self._session = session
        self._beside = beside
        self._file = Path()
        self._rows = 0
        self._checkpoints = 0
        self.in_use = False

    async def prepare(self) -> None:
        """Look whether there is one; our commits will not copy it themselves."""
        await self._session.execute(text("PRAGMA wal_autocheckpoint = 0"))
        mode = (await self._session.scalars(text("PRAGMA journal_mode"))).one()
        self.in_use = mode == "wal"
        files = await self._session.execute(text("PRAGMA database_list"))
        self._file = next(Path(row.file) for row in files if row.name == "main")

    @property
    def is_guarded(self) -> bool:
        """Whether others can be kept from copying it."""
        return self.in_use and self._beside is not None

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
        await self._let_go()
        await self._session.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
        await self._hold()
        if not alone and self._checkpoints % CHECKPOINTS_A_RESTART == 0:
            await asyncio.to_thread(_sync, self._file)
            await self._let_go()
            await self._session.execute(text("PRAGMA wal_checkpoint(RESTART)"))
            await self._hold()

    async def _hold(self) -> None:
        """Let nobody else copy what is written from now on: a reader sees the file without it."""
        if self._beside is not None:
            await self._beside.connection()

    async def _let_go(self) -> None:
        if self._beside is not None:
            await self._beside.rollback()


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
