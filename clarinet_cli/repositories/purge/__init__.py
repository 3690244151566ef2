"""Finding and deleting dead sessions by the millions, with a strategy for each engine."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.purge.postgresql import (
    BlockRanges,
    ListedKeys,
    few_expired,
    number_of_blocks,
)
from clarinet_cli.repositories.purge.sqlite import RowidSlices, has_rowids
from clarinet_cli.repositories.purge.strategy import (
    VALID,
    Batch,
    KeyOrder,
    PurgeStrategy,
    ScanResult,
)

__all__ = ["Batch", "PurgeStrategy", "ScanResult", "choose_purge_strategy"]


async def choose_purge_strategy(
    session: AsyncSession,
    dead: ColumnElement[bool],
    *,
    by_expiry: bool,
    exact: bool = True,
    count_only: bool = False,
    extra_sessions: Sequence[AsyncSession] = (),
) -> PurgeStrategy:
    """Return the strategy for the engine and the table.

    Args:
        session: For all queries, on one connection.
        dead: Which sessions to delete, among those whose instants can be read; others never are.
        by_expiry: Whether the predicate is about ``expires_at`` alone, which has an index.
        exact: No batch may have more sessions than asked for.
        count_only: Sessions will be counted, and not deleted.
        extra_sessions: Sessions on other connections: one for a scan that runs while batches are
            deleted, or two for SQLite's checkpoints.
    """
    if session.get_bind().dialect.name == "sqlite":
        if not await has_rowids(session):
            return KeyOrder(session, and_(dead, VALID))
        slices = RowidSlices(session, dead, count_only=count_only, readers=extra_sessions)
        await slices.prepare()
        return slices
    dead = and_(dead, VALID)
    tokens = await few_expired(session, dead) if by_expiry else None
    if tokens is not None:
        return ListedKeys(session, dead, tokens)
    blocks = await number_of_blocks(session)
    if blocks is None:
        return KeyOrder(session, dead)
    return BlockRanges(
        session, dead, blocks, exact=exact, scan_session=next(iter(extra_sessions), None)
    )
