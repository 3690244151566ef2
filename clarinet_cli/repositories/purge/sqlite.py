"""Purge in SQLite: the rowids of stale sessions in a temporary table, deleted slice by slice.

Rows lie in the file in the order of their rowids. Batches in any other order, such as that of
the random tokens, write the same pages again and again.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Optional

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Select,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import CreateTable

from clarinet_cli.models import AccessToken
from clarinet_cli.repositories.base import execute_dml, stored_table
from clarinet_cli.repositories.purge.strategy import (
    INVALID,
    SQLITE_BATCH_SECONDS,
    VALID,
    Batch,
    PurgeStrategy,
    ScanResult,
)
from clarinet_cli.repositories.purge.wal import SOLE_WRITER_ROWS_PER_CHECKPOINT, WalCheckpointer

TABLE = str(AccessToken.__tablename__)
ROWID: ColumnElement[int] = literal_column("access_token.rowid", Integer)
# Temporary tables go to a file, not to memory: a hundred million rowids take a gigabyte.
STALE_ROWIDS = Table(
    "clarinet_stale_rowids",
    MetaData(),
    Column("id", Integer, primary_key=True),
    prefixes=["TEMPORARY"],
)
STALE_ROWID: ColumnElement[int] = STALE_ROWIDS.c.id
BEFORE_ALL = -(2**63)  # a rowid may be negative
CACHE = "PRAGMA cache_size = -65536"  # KiB
SOLE_WRITER_CACHE = "PRAGMA cache_size = -262144"
SOLE_WRITER_AFTER_SECONDS = 10.0
SOLE_WRITER_BATCH_SECONDS = 0.5  # another writer waits once: SQLite's default timeout is 5 s


class RowidPurge(PurgeStrategy):
    """Scan and delete by rowid.

    The scan reads a slice of the table per step: in rollback-journal mode a reader keeps
    writers from committing.

    In WAL mode it also makes the checkpoints. While no other connection writes, batches take
    longer, the page cache is larger, and one checkpoint serves many transactions.

    Args:
        session: On one connection all the time: the temporary table is the connection's.
        stale: The condition for sessions to delete, with comparisons only; unreadable timestamps
            are excluded here.
        count_only: Whether the rowids are counted and not stored.
        readers: See ``WalCheckpointer``; without them there is no sole writer.
    """

    first_scan_size = 10_000  # rows
    row_locks = False
    batch_seconds = SQLITE_BATCH_SECONDS

    def __init__(
        self,
        session: AsyncSession,
        stale: ColumnElement[bool],
        *,
        count_only: bool = False,
        readers: Sequence[AsyncSession] = (),
    ) -> None:
        super().__init__(session, stale)
        self._wal = WalCheckpointer(session, readers)
        self._count_only = count_only
        self._scanned = self._batched = BEFORE_ALL
        self._sole_writer = False
        self._data_version: Optional[int] = None
        self._unchanged_since = 0.0

    async def prepare(self) -> None:
        """Create the temporary table, and enlarge the page cache."""
        if self._count_only:
            return
        await self._session.execute(text(CACHE))
        await self._wal.prepare()
        await self._session.execute(CreateTable(STALE_ROWIDS))

    async def scan(self, size: int) -> ScanResult:
        """Store the stale ones of the next *size* rowids, or only count them."""
        is_invalid = case((INVALID, 1), else_=0).label("invalid")
        rows = select(ROWID.label("id"), is_invalid).where(ROWID > self._scanned)
        step = rows.order_by(ROWID).limit(size).subquery()
        query = select(func.max(step.c.id), func.count(), func.sum(step.c.invalid))
        high, number, invalid = (await self._session.execute(query.select_from(step))).one()
        if high is None:
            return ScanResult(0, done=True, invalid=0)
        criteria = and_(ROWID > self._scanned, ROWID <= high, self._stale)
        if invalid:  # otherwise the timestamps need not be tested again
            criteria = and_(criteria, VALID)
        stale = select(ROWID.label("id")).select_from(AccessToken).where(criteria).order_by(ROWID)
        if self.reasons:
            found = await self._count_reasons(self._session, criteria)
        elif self._count_only:
            count = select(func.count()).select_from(stale.subquery())
            found = (await self._session.scalars(count)).one()
        else:
            store = insert(STALE_ROWIDS).from_select(["id"], stale)
            found = await execute_dml(self._session, store)
        self._scanned = high
        return ScanResult(found, done=number < size, invalid=invalid)

    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the range of the next *size* rowids in the temporary table."""
        rows = select(STALE_ROWID.label("id")).where(STALE_ROWID > self._batched)
        step = rows.order_by(STALE_ROWID).limit(size).subquery()
        query = select(func.max(step.c.id), func.count()).select_from(step)
        high, number = (await self._session.execute(query)).one()
        if high is None:
            return None
        batch = Batch(self._batched, high, number, full=number == size)
        self._batched = high
        return batch

    async def delete(self, batch: Batch, *, skip_locked: bool = False) -> int:
        """Delete the stale sessions of a batch; SQLite has no row locks to skip.

        With an SQL function among the conditions SQLite would copy each page before the
        delete changes it, as a function may fail half-way. So the timestamps are tested first.
        """
        rowids = self._rowids(batch)
        invalid = select(ROWID).select_from(AccessToken).where(ROWID.in_(rowids), INVALID)
        await execute_dml(self._session, delete(STALE_ROWIDS).where(STALE_ROWID.in_(invalid)))
        number = await super().delete(batch)
        self._wal.add(number)
        return number

    async def rewind(self, batch: Batch) -> bool:
        """Go back to the first rowid of the batch, and keep the log short from now on."""
        self._batched = batch.low
        await self._wal.minimize_wal()
        return True

    async def detect_writers(self) -> None:
        """Allow longer batches, and a larger cache, while no other connection writes.

        Each commit of another connection invalidates the cache. In rollback-journal mode
        there is no sole writer: a commit excludes readers too, and readers are not observable.
        """
        version = (await self._session.scalars(text("PRAGMA data_version"))).one()
        now = monotonic()
        if version != self._data_version:
            self._data_version, self._unchanged_since = version, now
        sole_writer = self._wal.enabled and now - self._unchanged_since > SOLE_WRITER_AFTER_SECONDS
        if sole_writer != self._sole_writer:
            self._sole_writer = sole_writer
            self.batch_seconds = SOLE_WRITER_BATCH_SECONDS if sole_writer else SQLITE_BATCH_SECONDS
            await self._session.execute(text(SOLE_WRITER_CACHE if sole_writer else CACHE))
            self._wal.add(SOLE_WRITER_ROWS_PER_CHECKPOINT)  # due after this transaction

    def maintenance_due(self, *, last: bool) -> bool:
        """Return whether a checkpoint is due."""
        return self._wal.is_due(sole_writer=self._sole_writer, last=last)

    async def run_maintenance(self, *, last: bool) -> None:
        """Make a checkpoint."""
        await self._wal.checkpoint(sole_writer=self._sole_writer, last=last)

    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        return and_(ROWID.in_(self._rowids(batch)), self._stale)

    @staticmethod
    def _rowids(batch: Batch) -> Select[Any]:
        return select(STALE_ROWID).where(STALE_ROWID > batch.low, STALE_ROWID <= batch.high)


async def has_rowids(session: AsyncSession) -> bool:
    """Return whether the table is an ordinary one, not ``WITHOUT ROWID``."""
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"
    found = (
        await session.scalars(text(query), {"name": stored_table(session, TABLE)[1]})
    ).one_or_none()
    return "WITHOUT ROWID" not in (found or "").upper()
