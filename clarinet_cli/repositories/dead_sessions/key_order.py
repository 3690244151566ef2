"""Dead sessions in the order of their tokens: slower, and for every engine."""

from typing import Optional

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
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

TOKEN = col(AccessToken.token)


class KeyOrder(NoUpkeep):
    """The way by the primary key: see ``DeadSessions``.

    For engines that speak PostgreSQL without ``ctid``, for partitioned tables, and for a
    SQLite table ``WITHOUT ROWID``.

    Args:
        session: For all queries.
        dead: Which sessions.
    """

    first_look = 5000  # rows
    keys_stay = True
    looks_ahead = False
    parameters = NO_PARAMETERS

    def __init__(self, session: AsyncSession, dead: ColumnElement[bool]) -> None:
        self._session = session
        self._dead = dead
        self._looked: Optional[str] = None
        self._walked: Optional[str] = None

    async def look(self, size: int) -> Look:
        """Count among the next keys; see ``DeadSessions.look``."""
        is_dead = case((self._dead, 1), else_=0).label("dead")
        is_invalid = case((INVALID, 1), else_=0).label("invalid")
        rows = select(TOKEN.label("token"), is_dead, is_invalid).where(_after(self._looked))
        step = rows.order_by(TOKEN).limit(size).subquery()
        sums = (func.sum(step.c.dead), func.sum(step.c.invalid))
        query = select(func.max(step.c.token), func.count(), *sums).select_from(step)
        high, number, found, invalid = (await self._session.execute(query)).one()
        self._looked = high or self._looked
        return Look(int(found or 0), done=number < size, invalid=int(invalid or 0))

    async def next_span(self, size: int) -> Optional[Span]:
        """Find the end of the next dead keys; see ``DeadSessions.next_span``."""
        victims: Select[tuple[str]] = select(TOKEN.label("token")).where(
            _after(self._walked), self._dead
        )
        step = victims.order_by(TOKEN).limit(size).subquery()
        query = select(func.max(step.c.token), func.count()).select_from(step)
        high, number = (await self._session.execute(query)).one()
        if not number:
            return None
        span = Span(self._walked, high, number, full=number == size)
        self._walked = high
        return span

    async def remove(self, span: Span, *, skip_locked: bool = False) -> int:
        """Delete the dead ones between two keys; see ``DeadSessions.remove``."""
        here = self._in(span)
        if skip_locked:
            free = select(TOKEN).where(here).with_for_update(skip_locked=True)
            here = and_(TOKEN.in_(free), self._dead)
        return await execute_dml(self._session, delete(AccessToken).where(here))

    async def begin_again(self, span: Span) -> bool:
        """Take the same keys again; see ``DeadSessions.begin_again``."""
        self._walked = span.low
        return True

    async def count(self, span: Span) -> int:
        """Return how many are dead between two keys; see ``DeadSessions.count``."""
        return await number_of(self._session, self._in(span))

    def _in(self, span: Span) -> ColumnElement[bool]:
        return and_(_after(span.low), TOKEN <= span.high, self._dead)


def _after(token: Optional[str]) -> ColumnElement[bool]:
    return true() if token is None else TOKEN > token
