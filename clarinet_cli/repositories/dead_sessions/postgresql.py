"""Dead sessions in PostgreSQL: by the blocks they lie in, or one by one when they are few.

Forms with ``LIMIT`` alone would read the rows that are deleted already again in each batch:
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
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType
from sqlmodel import col

from clarinet_cli.models import AccessToken
from clarinet_cli.repositories.base import execute_dml
from clarinet_cli.repositories.dead_sessions.walk import (
    INVALID,
    NO_PARAMETERS,
    Look,
    NoUpkeep,
    Span,
    number_of,
)
from clarinet_cli.repositories.session_state import EXPIRES

TOKEN = col(AccessToken.token)
FEW = 5000  # sessions that are looked for by the index and kept in mind
FIRST_TID_RANGE_SCAN = 140000  # the server's version number
# The blocks have to be read in their order; a compiler's start costs more than a batch.
PLANNER = ("enable_seqscan", "enable_indexscan", "enable_bitmapscan", "jit")
BLOCKS_IN_ORDER: Mapping[str, str] = MappingProxyType(dict.fromkeys(PLANNER, "off"))

# The table's blocks, when all of its rows lie in them.
HEAP = text(
    "SELECT pg_relation_size(c.oid) / current_setting('block_size')::int"
    " FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
    " WHERE c.oid = 'access_token'::regclass AND c.relkind = 'r' AND a.amname = 'heap'"
    " AND NOT c.relispartition"
    " AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))"
    " AND current_setting('server_version_num')::int >= :first"
)
# The catalogue of Citus, where it is installed.
DISTRIBUTES = text("SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")
DISTRIBUTED = text(
    "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_partition"
    " WHERE logicalrelid = 'access_token'::regclass)"
)


class Tid(UserDefinedType[str]):
    """Where a row version lies: block and number."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name."""
        return "tid"


CTID: ColumnElement[str] = literal_column("access_token.ctid", Tid())


class _Blocks(NamedTuple):
    """A range of blocks, the last one excluded, and the dead rows seen in it."""

    low: int
    high: int
    found: int

    @property
    def density(self) -> float:
        """Dead rows a block."""
        return self.found / max(self.high - self.low, 1)


class BlockRanges(NoUpkeep):
    """The way through a PostgreSQL table by ``ctid``: see ``DeadSessions``.

    The look counts a range of blocks at a time, so that no snapshot is held for long, and
    remembers the ranges that have dead rows; the others are not read again. A span is as
    many blocks as hold the rows asked for where dead rows lie closest, so that elsewhere it
    has fewer.

    Args:
        session: For all queries.
        dead: Which sessions.
        blocks: The table's size at the start.
        exact: No span may have more rows than asked for: each is counted out first.
        ahead: For the queries of the look, when it runs beside the removal.
    """

    first_look = 500  # blocks
    keys_stay = False
    looks_ahead = True
    parameters = BLOCKS_IN_ORDER

    def __init__(
        self,
        session: AsyncSession,
        dead: ColumnElement[bool],
        blocks: int,
        *,
        exact: bool,
        ahead: Optional[AsyncSession] = None,
    ) -> None:
        self._session = session
        self._ahead = ahead or session
        self._dead = dead
        self._end = blocks
        self._exact = exact
        self._looked = 0
        self._ranges: deque[_Blocks] = deque()
        self._density = 0.0
        self._walked: Optional[str] = None

    async def look(self, size: int) -> Look:
        """Count in the next blocks; see ``DeadSessions.look``."""
        low, high = self._looked, min(self._looked + size, self._end)
        here = and_(CTID >= _start_of(low), CTID < _start_of(high))
        numbers = (func.count().filter(self._dead), func.count().filter(INVALID))
        query = select(*numbers).select_from(AccessToken).where(here)
        found, invalid = (await self._ahead.execute(query)).one()
        if found:
            blocks = _Blocks(low, high, found)
            self._ranges.append(blocks)
            self._density = max(self._density, blocks.density)
        self._looked = high
        return Look(found, done=high >= self._end, invalid=invalid)

    async def next_span(self, size: int) -> Optional[Span]:
        """Take the next blocks that have dead rows; see ``DeadSessions.next_span``."""
        if not self._ranges:
            return None
        return await self._counted_out(size) if self._exact else self._measured(size)

    async def remove(self, span: Span, *, skip_locked: bool = False) -> int:
        """Delete the dead rows between two places; see ``DeadSessions.remove``."""
        here = and_(CTID > _tid(span.low), CTID <= _tid(span.high), self._dead)
        if skip_locked:
            free = select(CTID).select_from(AccessToken).where(here)
            here = and_(CTID.in_(free.with_for_update(skip_locked=True)), self._dead)
        return await execute_dml(self._session, delete(AccessToken).where(here))

    async def count(self, span: Span) -> int:
        """Return how many are dead between two places; see ``DeadSessions.count``."""
        here = and_(CTID > _tid(span.low), CTID <= _tid(span.high), self._dead)
        return await number_of(self._session, here)

    def _measured(self, size: int) -> Span:
        """Return so many blocks of the next range; their rows are its share."""
        blocks = self._ranges.popleft()
        number = max(int(size / self._density), 1)
        high = min(blocks.low + number, blocks.high)
        share = round(blocks.density * (high - blocks.low))
        if high < blocks.high:
            self._ranges.appendleft(_Blocks(high, blocks.high, blocks.found - share))
        else:
            share = blocks.found
        full = high - blocks.low == number
        return Span(_first(blocks.low), _first(high), share, full)

    async def _counted_out(self, size: int) -> Optional[Span]:
        """Return the stretch that ends with the last of so many dead rows."""
        while self._ranges:
            blocks = self._ranges[0]
            low = self._walked or _first(blocks.low)
            rows = select(CTID.label("tid")).select_from(AccessToken)
            here = and_(CTID > _tid(low), CTID < _start_of(blocks.high), self._dead)
            found = rows.where(here).limit(size).subquery()
            query = select(cast(func.max(found.c.tid), String), func.count()).select_from(found)
            high, number = (await self._session.execute(query)).one()
            self._walked = high if number == size else None
            if number < size:
                self._ranges.popleft()
            if number:
                return Span(low, high, number, full=number == size)
        return None


class NamedSessions(NoUpkeep):
    """The way when few sessions are dead: found in the order of an index, deleted by key.

    Args:
        session: For all queries.
        dead: Which sessions.
        tokens: Their keys; they stay inside the repository.
    """

    first_look = 1
    keys_stay = True
    looks_ahead = False
    parameters = NO_PARAMETERS

    def __init__(
        self, session: AsyncSession, dead: ColumnElement[bool], tokens: Sequence[str]
    ) -> None:
        self._session = session
        self._dead = dead
        self._tokens = tokens
        self._walked = 0

    async def look(self, size: int) -> Look:
        """Tell what is found already; see ``DeadSessions.look``."""
        return Look(len(self._tokens), done=True, invalid=None)

    async def next_span(self, size: int) -> Optional[Span]:
        """Take the next keys; see ``DeadSessions.next_span``."""
        low, high = self._walked, min(self._walked + size, len(self._tokens))
        self._walked = high
        number = high - low
        return Span(low, high, number, full=number == size) if number else None

    async def remove(self, span: Span, *, skip_locked: bool = False) -> int:
        """Delete sessions by their keys; see ``DeadSessions.remove``."""
        here = self._in(span)
        if skip_locked:
            free = select(TOKEN).where(here).with_for_update(skip_locked=True)
            here = and_(TOKEN.in_(free), self._dead)
        return await execute_dml(self._session, delete(AccessToken).where(here))

    async def count(self, span: Span) -> int:
        """Return how many of some keys are dead; see ``DeadSessions.count``."""
        return await number_of(self._session, self._in(span))

    def _in(self, span: Span) -> ColumnElement[bool]:
        return and_(TOKEN.in_(self._tokens[span.low : span.high]), self._dead)


async def few_expired(session: AsyncSession, dead: ColumnElement[bool]) -> Optional[list[str]]:
    """Return the tokens of the dead sessions when they are few, by the index on expiry.

    Args:
        session: For the query.
        dead: A predicate that looks at ``expires_at`` alone, so that the index helps.
    """
    query = select(TOKEN).where(dead).order_by(EXPIRES).limit(FEW + 1)
    tokens = list(await session.scalars(query))
    return tokens if len(tokens) <= FEW else None


async def number_of_blocks(session: AsyncSession) -> Optional[int]:
    """Return the table's size in blocks, or None where rows can't be reached by block.

    Engines that speak PostgreSQL have no ``ctid``, or no order in it. A table that others
    inherit from or are partitions of has rows in theirs too, a distributed one on other
    servers; so one without a block of its own that has rows is such a one.
    """
    version = str((await session.scalars(select(func.version()))).one())
    if not version.startswith("PostgreSQL") or "-YB-" in version:
        return None
    found = await session.scalars(HEAP, {"first": FIRST_TID_RANGE_SCAN})
    blocks: Optional[int] = found.one_or_none()
    if blocks is None or (await session.scalar(DISTRIBUTES) and await session.scalar(DISTRIBUTED)):
        return None
    elsewhere = blocks == 0 and await session.scalar(select(exists(select(TOKEN))))
    return None if elsewhere else blocks


def _first(block: int) -> str:
    """Return the place before the first row of a block; rows are numbered from 1."""
    return f"({block},0)"


def _start_of(block: int) -> ColumnElement[Any]:
    return _tid(_first(block))


def _tid(place: str) -> ColumnElement[Any]:
    return cast(literal(place, String), Tid())
