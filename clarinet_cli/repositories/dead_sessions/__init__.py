"""Finding and removing dead sessions by the millions, in the way that suits the engine."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.dead_sessions.key_order import KeyOrder
from clarinet_cli.repositories.dead_sessions.postgresql import (
    BlockRanges,
    NamedSessions,
    few_expired,
    number_of_blocks,
)
from clarinet_cli.repositories.dead_sessions.sqlite import RowidSlices, has_rowids
from clarinet_cli.repositories.dead_sessions.walk import VALID, DeadSessions, Look, Span

__all__ = ["DeadSessions", "Look", "Span", "way_to_dead_sessions"]


async def way_to_dead_sessions(
    session: AsyncSession,
    dead: ColumnElement[bool],
    *,
    by_expiry: bool,
    exact: bool = True,
    keep: bool = True,
    beside: Sequence[AsyncSession] = (),
) -> DeadSessions:
    """Choose how to find and remove dead sessions.

    Args:
        session: For all queries, on one connection.
        dead: Which sessions, among those that can be judged; others are never removed.
        by_expiry: Whether the predicate looks at ``expires_at`` alone, which has an index.
        exact: No transaction may remove more sessions than asked for.
        keep: Whether the sessions will be removed, not only counted.
        beside: More sessions: a first one for a look that can run beside the removal, or two
            that read SQLite's log.
    """
    if session.get_bind().dialect.name == "sqlite":
        if not await has_rowids(session):
            return KeyOrder(session, and_(dead, VALID))
        slices = RowidSlices(session, dead, keep=keep, readers=beside)
        await slices.prepare()
        return slices
    dead = and_(dead, VALID)
    tokens = await few_expired(session, dead) if by_expiry else None
    if tokens is not None:
        return NamedSessions(session, dead, tokens)
    blocks = await number_of_blocks(session)
    if blocks is None:
        return KeyOrder(session, dead)
    return BlockRanges(session, dead, blocks, exact=exact, ahead=next(iter(beside), None))
