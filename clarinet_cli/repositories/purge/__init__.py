"""Deletion of stale sessions in bulk, with a strategy for each engine."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.purge.postgresql import (
    BlockRangePurge,
    KeyListPurge,
    count_blocks,
    find_few_expired,
)
from clarinet_cli.repositories.purge.sqlite import RowidPurge, has_rowids
from clarinet_cli.repositories.purge.strategy import (
    VALID,
    Batch,
    KeysetPurge,
    PurgeStrategy,
    ReasonCount,
    ScanResult,
)

__all__ = ["Batch", "PurgeStrategy", "ReasonCount", "ScanResult", "choose_purge_strategy"]


async def choose_purge_strategy(
    session: AsyncSession,
    stale: ColumnElement[bool],
    *,
    by_expiry: bool,
    exact: bool = True,
    count_only: bool = False,
    extra_sessions: Sequence[AsyncSession] = (),
) -> PurgeStrategy:
    """Return the strategy for the engine and the table.

    Args:
        session: For all queries, on one connection.
        stale: The condition for sessions to delete, among those with readable timestamps.
        by_expiry: Whether the predicate uses only ``expires_at``, which has an index.
        exact: No batch may have more sessions than asked for.
        count_only: Sessions will be counted, and not deleted.
        extra_sessions: Sessions on other connections: one for a scan that runs while batches are
            deleted, or two for SQLite's checkpoints.
    """
    if session.get_bind().dialect.name == "sqlite":
        if not await has_rowids(session):
            return KeysetPurge(session, and_(stale, VALID))
        slices = RowidPurge(session, stale, count_only=count_only, readers=extra_sessions)
        await slices.prepare()
        return slices
    stale = and_(stale, VALID)
    tokens = await find_few_expired(session, stale) if by_expiry else None
    if tokens is not None:
        return KeyListPurge(session, stale, tokens)
    blocks = await count_blocks(session)
    if blocks is None:
        return KeysetPurge(session, stale)
    return BlockRangePurge(
        session, stale, blocks, exact=exact, scan_session=next(iter(extra_sessions), None)
    )
