"""Dead sessions in SQLite: their rowids in a temporary table, deleted slice by slice.

Rows lie in the file in the order of their rowids. Batches in any other order, that of the
random tokens above all, write the same pages again and again.
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
from clarinet_cli.repositories.base import execute_dml
from clarinet_cli.repositories.dead_sessions.sqlite_log import (
    ROWS_A_CHECKPOINT_ALONE,
    WriteAheadLog,
)
from clarinet_cli.repositories.dead_sessions.walk import (
    INVALID,
    NO_PARAMETERS,
    VALID,
    Look,
    Span,
    number_of,
)

TABLE = str(AccessToken.__tablename__)
ROWID: ColumnElement[int] = literal_column("access_token.rowid", Integer)
# Temporary tables go to a file, not to memory: a hundred million rowids take a gigabyte.
VICTIMS = Table(
    "clarinet_victims",
    MetaData(),
    Column("id", Integer, primary_key=True),
    prefixes=["TEMPORARY"],
)
VICTIM: ColumnElement[int] = VICTIMS.c.id
BEFORE_ALL = -(2**63)  # a rowid may be negative
CACHE = "PRAGMA cache_size = -65536"  # KiB
CACHE_ALONE = "PRAGMA cache_size = -262144"
ALONE_AFTER_SECONDS = 10.0


class RowidSlices:
    """The way through a SQLite table: see ``DeadSessions``.

    The look reads a slice of the table at a time, so that in rollback-journal mode, where
    readers keep writers from committing, nobody waits for long.

    In WAL mode it looks after the log. Where nobody else has written for a while, pages are
    copied once for many transactions, and kept in memory until somebody else writes.

    Args:
        session: On one connection all the time: the temporary table is the connection's.
        dead: Which sessions, among those that can be judged, by comparisons alone.
        keep: Note the rowids down for deleting.
        readers: See ``WriteAheadLog``; without them the way is never alone.
    """

    first_look = 10_000  # rows
    keys_stay = True
    looks_ahead = False
    parameters = NO_PARAMETERS
    alone = False

    def __init__(
        self,
        session: AsyncSession,
        dead: ColumnElement[bool],
        *,
        keep: bool,
        readers: Sequence[AsyncSession] = (),
    ) -> None:
        self._session = session
        self._log = WriteAheadLog(session, readers)
        self._dead = dead
        self._keep = keep
        self._looked = self._walked = BEFORE_ALL
        self._version: Optional[int] = None
        self._calm_since = 0.0

    async def prepare(self) -> None:
        """Make the temporary table, and room for pages that many deletes touch."""
        if self._keep:
            await self._session.execute(text(CACHE))
            await self._log.prepare()
            await self._session.execute(CreateTable(VICTIMS))

    async def look(self, size: int) -> Look:
        """Note the dead ones among the next rows down; see ``DeadSessions.look``."""
        is_invalid = case((INVALID, 1), else_=0).label("invalid")
        rows = select(ROWID.label("id"), is_invalid).where(ROWID > self._looked)
        step = rows.order_by(ROWID).limit(size).subquery()
        query = select(func.max(step.c.id), func.count(), func.sum(step.c.invalid))
        high, number, invalid = (await self._session.execute(query.select_from(step))).one()
        if high is None:
            return Look(0, done=True, invalid=0)
        here = and_(ROWID > self._looked, ROWID <= high, self._dead)
        if invalid:  # else the test of each is not made again
            here = and_(here, VALID)
        found = await (self._note(here) if self._keep else self._count(here))
        self._looked = high
        return Look(found, done=number < size, invalid=invalid)

    async def next_span(self, size: int) -> Optional[Span]:
        """Take the next rowids of the temporary table; see ``DeadSessions.next_span``."""
        victims = select(VICTIM.label("id")).where(VICTIM > self._walked)
        step = victims.order_by(VICTIM).limit(size).subquery()
        query = select(func.max(step.c.id), func.count()).select_from(step)
        high, number = (await self._session.execute(query)).one()
        if high is None:
            return None
        span = Span(self._walked, high, number, full=number == size)
        self._walked = high
        return span

    async def remove(self, span: Span, *, skip_locked: bool = False) -> int:
        """Delete a slice; SQLite has no locks on rows. See ``DeadSessions.remove``.

        With a function among its conditions SQLite would copy each page that the delete is
        going to change, as a function may fail half-way: so the instants are tested before.
        """
        noted = self._noted(span)
        invalid = select(ROWID).select_from(AccessToken).where(ROWID.in_(noted), INVALID)
        await execute_dml(self._session, delete(VICTIMS).where(VICTIM.in_(invalid)))
        number = await execute_dml(self._session, delete(AccessToken).where(self._in(span)))
        self._log.grow(number)
        return number

    async def begin_again(self, span: Span) -> bool:
        """Keep the log short from now on; see ``DeadSessions.begin_again``."""
        self._walked = span.low
        await self._log.stay_short()
        return True

    async def count(self, span: Span) -> int:
        """Return how many of a slice are dead; see ``DeadSessions.count``."""
        return await number_of(self._session, self._in(span))

    def _in(self, span: Span) -> ColumnElement[bool]:
        return and_(ROWID.in_(self._noted(span)), self._dead)

    @staticmethod
    def _noted(span: Span) -> Select[Any]:
        return select(VICTIM).where(VICTIM > span.low, VICTIM <= span.high)

    async def look_around(self) -> None:
        """Ask whether somebody else has written; see ``DeadSessions.look_around``.

        With a rollback journal nobody is ever alone: a commit stops readers too there, and
        readers leave no trace.
        """
        version = (await self._session.scalars(text("PRAGMA data_version"))).one()
        now, before = monotonic(), self.alone
        if version != self._version:
            self._version, self._calm_since = version, now
        calm = now - self._calm_since > ALONE_AFTER_SECONDS
        self.alone = calm and self._log.in_use
        if self.alone != before:
            await self._session.execute(text(CACHE_ALONE if self.alone else CACHE))
            self._log.grow(ROWS_A_CHECKPOINT_ALONE)  # it is due after this transaction

    def upkeep_is_due(self, *, last: bool) -> bool:
        """Return whether it is time for a checkpoint; see ``DeadSessions.upkeep_is_due``."""
        return self._log.is_due(alone=self.alone, last=last)

    async def keep_up(self, *, last: bool) -> None:
        """Copy the log into the file; see ``DeadSessions.keep_up``."""
        await self._log.copy(alone=self.alone, last=last)

    async def _note(self, here: ColumnElement[bool]) -> int:
        return await execute_dml(
            self._session, insert(VICTIMS).from_select(["id"], self._in_order(here))
        )

    async def _count(self, here: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(self._in_order(here).subquery())
        return (await self._session.scalars(query)).one()

    @staticmethod
    def _in_order(here: ColumnElement[bool]) -> Select[Any]:
        rows = select(ROWID.label("id")).select_from(AccessToken).where(here)
        return rows.order_by(ROWID)


async def has_rowids(session: AsyncSession) -> bool:
    """Return whether the table is an ordinary one, not ``WITHOUT ROWID``."""
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"
    found = (await session.scalars(text(query), {"name": TABLE})).one_or_none()
    return "WITHOUT ROWID" not in (found or "").upper()
