"""Purge in primary-key order: slower than the other strategies, but it works everywhere."""

from typing import Optional

from sqlalchemy import ColumnElement, Select, and_, case, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.purge.strategy import (
    INVALID,
    SQLITE_BATCH_SECONDS,
    TOKEN,
    Batch,
    PurgeStrategy,
    ScanResult,
)


class KeyOrder(PurgeStrategy):
    """Keyset pagination over the tokens.

    For engines that speak PostgreSQL's protocol without having ``ctid``, for partitioned
    tables, and for SQLite tables ``WITHOUT ROWID``.
    """

    def __init__(self, session: AsyncSession, dead: ColumnElement[bool]) -> None:
        super().__init__(session, dead)
        if session.get_bind().dialect.name == "sqlite":
            self.row_locks, self.batch_seconds = False, SQLITE_BATCH_SECONDS
        self._scanned: Optional[str] = None
        self._batched: Optional[str] = None

    async def scan(self, size: int) -> ScanResult:
        """Count among the next *size* keys."""
        is_dead = case((self._dead, 1), else_=0).label("dead")
        is_invalid = case((INVALID, 1), else_=0).label("invalid")
        rows = select(TOKEN.label("token"), is_dead, is_invalid).where(_after(self._scanned))
        step = rows.order_by(TOKEN).limit(size).subquery()
        sums = (func.sum(step.c.dead), func.sum(step.c.invalid))
        query = select(func.max(step.c.token), func.count(), *sums).select_from(step)
        high, number, found, invalid = (await self._session.execute(query)).one()
        self._scanned = high or self._scanned
        return ScanResult(int(found or 0), done=number < size, invalid=int(invalid or 0))

    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the range of the next *size* dead keys."""
        keys: Select[tuple[str]] = select(TOKEN.label("token"))
        rows = keys.where(_after(self._batched), self._dead)
        step = rows.order_by(TOKEN).limit(size).subquery()
        query = select(func.max(step.c.token), func.count()).select_from(step)
        high, number = (await self._session.execute(query)).one()
        if not number:
            return None
        batch = Batch(self._batched, high, number, full=number == size)
        self._batched = high
        return batch

    async def rewind(self, batch: Batch) -> bool:
        """Go back to the first key of the batch."""
        self._batched = batch.low
        return True

    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        return and_(_after(batch.low), TOKEN <= batch.high, self._dead)


def _after(token: Optional[str]) -> ColumnElement[bool]:
    return true() if token is None else TOKEN > token
