"""Purge in PostgreSQL: by ranges of blocks, or by a list of keys when few sessions are stale.

``DELETE … LIMIT`` by any order would read the rows that earlier batches deleted again:
PostgreSQL keeps them until the next vacuum.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    cast,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

from clarinet_cli.models import AccessToken
from clarinet_cli.repositories.base import quoted_table
from clarinet_cli.repositories.expiry_policy import expiry_order
from clarinet_cli.repositories.purge.strategy import (
    INVALID,
    TOKEN,
    Batch,
    PurgeStrategy,
    ScanResult,
)

TABLE = str(AccessToken.__tablename__)
MAX_LISTED_KEYS = 5000  # sessions whose keys are kept in memory
FIRST_TID_RANGE_SCAN = 140000  # server_version_num
# Force a scan of the blocks in their order; JIT compilation costs more than a batch.
PLANNER = ("enable_seqscan", "enable_indexscan", "enable_bitmapscan", "jit")
BLOCKS_IN_ORDER: Mapping[str, str] = MappingProxyType(dict.fromkeys(PLANNER, "off"))

# The number of blocks, if all rows of the table are in them.
HEAP = text(
    "SELECT pg_relation_size(c.oid) / current_setting('block_size')::int"
    " FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
    " WHERE c.oid = CAST(:table AS regclass) AND c.relkind = 'r' AND a.amname = 'heap'"
    " AND NOT c.relispartition"
    " AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))"
    " AND current_setting('server_version_num')::int >= :first"
)
# Whether Citus is installed, and distributes the table.
HAS_CITUS = text("SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")
IS_DISTRIBUTED = text(
    "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_partition"
    " WHERE logicalrelid = CAST(:table AS regclass))"
)


class Tid(UserDefinedType[str]):
    """The address of a row version: block and number."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name."""
        return "tid"


CTID: ColumnElement[str] = literal_column("access_token.ctid", Tid())


class _Blocks(NamedTuple):
    """A range of blocks, ``high`` excluded, and the stale rows counted in it."""

    low: int
    high: int
    found: int

    @property
    def density(self) -> float:
        """Stale rows per block."""
        return self.found / max(self.high - self.low, 1)


class BlockRangePurge(PurgeStrategy):
    """Scan and delete by ranges of ``ctid``.

    The scan counts a range of blocks per step, so that no snapshot is held for long, and
    keeps the ranges with stale rows; the others are not read again. A batch has as many
    blocks as hold the wanted number of rows at the highest density found, so elsewhere it has
    fewer rows.

    Args:
        session: For all queries but those of the scan.
        stale: The condition for sessions to delete.
        blocks: The table's size at the start.
        exact: Whether no batch may have more rows than asked for: each is counted first.
        scan_session: For the scan, if it runs while batches are deleted.
    """

    first_scan_size = 500  # blocks
    parameters = BLOCKS_IN_ORDER
    stable_keys = False
    scans_concurrently = True

    def __init__(
        self,
        session: AsyncSession,
        stale: ColumnElement[bool],
        blocks: int,
        *,
        exact: bool,
        scan_session: Optional[AsyncSession] = None,
    ) -> None:
        super().__init__(session, stale, CTID)
        self.queries_batches = exact
        self._scan_session = scan_session or session
        self._end = blocks
        self._scanned = 0
        self._ranges: deque[_Blocks] = deque()
        self._density = 0.0
        self._batched: Optional[str] = None

    async def scan(self, size: int) -> ScanResult:
        """Count in the next *size* blocks."""
        low, high = self._scanned, min(self._scanned + size, self._end)
        criteria = and_(CTID >= _start_of(low), CTID < _start_of(high))
        counts = (func.count().filter(self._stale), func.count().filter(INVALID))
        query = select(*counts).select_from(AccessToken).where(criteria)
        found, invalid = (await self._scan_session.execute(query)).one()
        if found and self.reasons:
            found = await self._count_reasons(self._scan_session, and_(criteria, self._stale))
        if found:
            blocks = _Blocks(low, high, found)
            self._ranges.append(blocks)
            self._density = max(self._density, blocks.density)
        self._scanned = high
        return ScanResult(found, done=high >= self._end, invalid=invalid)

    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the next blocks that have stale rows."""
        if not self._ranges:
            return None
        return await self._counted(size) if self.queries_batches else self._estimated(size)

    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        return and_(CTID > _tid(batch.low), CTID <= _tid(batch.high), self._stale)

    def _estimated(self, size: int) -> Batch:
        """Return blocks of the next range, with their share of its rows."""
        blocks = self._ranges.popleft()
        number = max(int(size / self._density), 1)
        high = min(blocks.low + number, blocks.high)
        share = round(blocks.density * (high - blocks.low))
        if high < blocks.high:
            self._ranges.appendleft(_Blocks(high, blocks.high, blocks.found - share))
        else:
            share = blocks.found
        full = high - blocks.low == number
        return Batch(_first(blocks.low), _first(high), share, full)

    async def _counted(self, size: int) -> Optional[Batch]:
        """Return a range that ends with the last of *size* stale rows."""
        while self._ranges:
            blocks = self._ranges[0]
            low = self._batched or _first(blocks.low)
            rows = select(CTID.label("tid")).select_from(AccessToken)
            criteria = and_(CTID > _tid(low), CTID < _start_of(blocks.high), self._stale)
            found = rows.where(criteria).limit(size).subquery()
            query = select(cast(func.max(found.c.tid), String), func.count()).select_from(found)
            high, number = (await self._session.execute(query)).one()
            self._batched = high if number == size else None
            if number < size:
                self._ranges.popleft()
            if number:
                return Batch(low, high, number, full=number == size)
        return None


class KeyListPurge(PurgeStrategy):
    """Delete by a list of keys, which an index yields.

    Args:
        session: For all queries.
        stale: The condition for sessions to delete.
        tokens: The keys of the sessions.
    """

    queries_batches = False

    def __init__(
        self, session: AsyncSession, stale: ColumnElement[bool], tokens: Sequence[str]
    ) -> None:
        super().__init__(session, stale)
        self._tokens = tokens
        self._batched = 0

    async def scan(self, size: int) -> ScanResult:
        """Return the number of keys."""
        number = len(self._tokens)
        if self.reasons:
            keys = and_(TOKEN.in_(self._tokens), self._stale)
            number = await self._count_reasons(self._session, keys)
        return ScanResult(number, done=True, invalid=None)

    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the next *size* keys, by their positions in the list."""
        low, high = self._batched, min(self._batched + size, len(self._tokens))
        self._batched = high
        number = high - low
        return Batch(low, high, number, full=number == size) if number else None

    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        return and_(TOKEN.in_(self._tokens[batch.low : batch.high]), self._stale)


async def find_few_expired(
    session: AsyncSession, stale: ColumnElement[bool]
) -> Optional[list[str]]:
    """Return the tokens of the stale sessions, by the index on expiry; None if there are many.

    Args:
        session: For the query.
        stale: A predicate on ``expires_at`` only, so that the index can serve it.
    """
    query = select(TOKEN).where(stale).order_by(expiry_order(session)).limit(MAX_LISTED_KEYS + 1)
    tokens = list(await session.scalars(query))
    return tokens if len(tokens) <= MAX_LISTED_KEYS else None


async def count_blocks(session: AsyncSession) -> Optional[int]:
    """Return the table's size in blocks; None if its rows cannot be addressed by block.

    Other engines that speak PostgreSQL's protocol have no ``ctid``, or no order in it. A
    partitioned or inherited table has rows in other tables, a distributed one on other
    servers; so has one that has rows but no block of its own.
    """
    version = str((await session.scalars(select(func.version()))).one())
    if not version.startswith("PostgreSQL") or "-YB-" in version:
        return None
    parameters = {"table": quoted_table(session, TABLE)}
    found = await session.scalars(HEAP, {"first": FIRST_TID_RANGE_SCAN, **parameters})
    blocks: Optional[int] = found.one_or_none()
    if blocks is None or (
        await session.scalar(HAS_CITUS) and await session.scalar(IS_DISTRIBUTED, parameters)
    ):
        return None
    is_elsewhere = blocks == 0 and await session.scalar(select(exists(select(TOKEN))))
    return None if is_elsewhere else blocks


def _first(block: int) -> str:
    """Return the address before the first row of a block; rows are numbered from 1."""
    return f"({block},0)"


def _start_of(block: int) -> ColumnElement[Any]:
    return _tid(_first(block))


def _tid(address: str) -> ColumnElement[Any]:
    return cast(literal(address, String), Tid())
