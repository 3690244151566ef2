"""Revoke log-in sessions: by id, of a user, or by a filter.

The server may accept a revoked token until its cache entry expires
(``session_cache_ttl_seconds``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Optional
from uuid import UUID

from clarinet_cli.exceptions import NOT_FOUND, PreventedError
from clarinet_cli.repositories.base import batches
from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.session_filter import count_matching, matching_sessions
from clarinet_cli.repositories.sessions import TOKEN, FoundSession, OwnSession, SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import RevokeReport, SessionChange
from clarinet_cli.services.accounts.resolve import resolve_user, storable
from clarinet_cli.services.clocks import current_policy
from clarinet_cli.services.sessions.queries import UNKNOWN_HINT, one_session, resolve_user_id
from clarinet_cli.services.unit_of_work import Access, Database, UnitOfWork, unit_of_work
from clarinet_cli.types import (
    ANY_SESSION,
    UNCHANGED,
    ProgressCallback,
    SessionFilter,
    planned_result,
)
from clarinet_cli.utils.logger import logger

REVOKED = "revoked"
PAGE_SIZE = 40_000  # sessions of one query, which may scan the table
BATCH_SIZE = 5000  # sessions in one transaction: some 100 ms, so that log-ins wait no longer


async def revoke_for_user(
    work: UnitOfWork,
    identifier: str,
    *,
    keep_current: Collection[str] = (),
    keep_newest: int = 0,
) -> RevokeReport:
    """Revoke a user's sessions.

    Args:
        work: A unit of work for writing.
        identifier: The user, as ``resolve_user`` reads it.
        keep_current: The ids of sessions to keep.
        keep_newest: How many of the newest to keep.

    Raises:
        NotFoundError: The user does not exist, or has no such session.
        RefusedError: Several users or sessions match.
    """
    user = await resolve_user(UserRepository(work.session), identifier)
    repository = SessionRepository(work.session)
    own = await repository.for_user(user.id)
    keep = set(own[:keep_newest])
    for session_id in keep_current:
        current = await one_session(repository, session_id, user_id=user.id)
        keep.add(OwnSession(current.token, current.created_at))
    revoked = await RevocationRepository(work.session).revoke_of_user(user.id, keep=list(keep))
    result = REVOKED if revoked else UNCHANGED
    work.record_change(user.id, result, sessions_revoked=revoked)
    return RevokeReport(user.id, user.email, work.result(result), revoked, len(own) - revoked)


async def revoke_sessions(
    work: UnitOfWork,
    wanted: Sequence[str],
    where: SessionFilter = ANY_SESSION,
    *,
    identifier: Optional[str] = None,
) -> list[SessionChange]:
    """Revoke the named sessions: all of them, or none when one is not found.

    Args:
        work: A unit of work for writing.
        wanted: Their ids; one that is named twice counts once.
        where: Only among the sessions that match.
        identifier: Only among this user's sessions.

    Raises:
        NotFoundError: The user does not exist, or a session does not exist or match.
        RefusedError: Several match.
    """
    repository = SessionRepository(work.session)
    user_id = await resolve_user_id(work.session, identifier)
    found: dict[str, FoundSession] = {}
    for text in wanted:
        one = await one_session(repository, text, user_id=user_id)
        found[one.token] = one
    if where != ANY_SESSION:
        policy = await current_policy(work.session, work.settings)
        matching = await _still_matching(work, policy, where, list(found.values()))
        for token, one in found.items():
            if token not in matching:
                raise NOT_FOUND.with_context(
                    f"session {one.id!r} does not match the filter", hint=UNKNOWN_HINT
                )
    return await _revoke(work, list(found.values()))


async def _revoke(work: UnitOfWork, sessions: Sequence[FoundSession]) -> list[SessionChange]:
    """Revoke sessions, with a record for each."""
    revoked = await RevocationRepository(work.session).revoke(sessions)
    changes: list[SessionChange] = []
    for one in sessions:
        result = REVOKED if one.token in revoked else UNCHANGED
        work.record_change(one.id, result, user_id=str(one.user_id))
        changes.append(SessionChange(one.id, one.user_id, one.email, work.result(result)))
    return changes


async def count_matching_sessions(
    work: UnitOfWork, where: SessionFilter, *, identifier: Optional[str] = None
) -> tuple[int, int]:
    """Return the number of sessions that ``revoke_matching`` would revoke, and of their users.

    Args:
        work: A unit of work.
        where: The conditions.
        identifier: Only the sessions of this user, as ``resolve_user`` reads it.

    Raises:
        NotFoundError: The user does not exist.
        RefusedError: Several users match, or an application does not store such a column.
    """
    user_id = await resolve_user_id(work.session, identifier)
    if where.agent is not None and not storable(where.agent):
        return 0, 0
    policy = await current_policy(work.session, work.settings)
    unless_revoked = await RevocationRepository(work.session).unless_revoked()
    return await count_matching(work.session, policy, where, *unless_revoked, user_id=user_id)


async def revoke_matching(
    database: Database,
    where: SessionFilter,
    *,
    identifier: Optional[str] = None,
    dry_run: bool = False,
    progress: ProgressCallback = lambda done, total: None,
    stopped: Callable[[], bool] = bool,
) -> list[SessionChange]:
    """Revoke all sessions that match a filter, with a record for each.

    Up to ``BATCH_SIZE`` sessions are revoked in one transaction, more of them in several. All
    are compared with the time of the start; one that no longer matches in its transaction is kept.
    At the end those that concurrent log-ins created are revoked too.

    Args:
        database: The database to change.
        where: The conditions.
        identifier: Only the sessions of this user, as ``resolve_user`` reads it.
        dry_run: Revoke nothing.
        progress: Called after each transaction.
        stopped: Called between two transactions; returns whether to stop.

    Raises:
        NotFoundError: The user does not exist.
        RefusedError: Several users match, or an application does not store such a column.
    """
    changes: list[SessionChange] = []
    async with unit_of_work(database) as work:
        user_id = await resolve_user_id(work.session, identifier)
        policy = await current_policy(work.session, work.settings)
        pause = await ServerRepository(work.session).pause_between_batches()
    if where.agent is not None and not storable(where.agent):
        return changes
    for _ in range(1 if dry_run else 2):  # the second time for sessions created concurrently
        async for page in _matching_pages(database, policy, where, user_id):
            for start in range(0, len(page), BATCH_SIZE):
                if stopped():
                    return changes
                some = page[start : start + BATCH_SIZE]
                try:
                    changes += await _revoke_batch(database, policy, where, some, dry_run=dry_run)
                except PreventedError as error:
                    hint = f"{len(changes)} sessions were revoked"
                    logger.bind(reported=True).error(f"{error.message}; {hint}")
                    raise error.with_context(error.message, hint=hint) from error
                progress(len(changes), len(changes) + len(page) - start - len(some))
                if len(page) > BATCH_SIZE:
                    await asyncio.sleep(pause)
    return changes


async def _matching_pages(
    database: Database, policy: ExpiryPolicy, where: SessionFilter, user_id: Optional[UUID]
) -> AsyncGenerator[list[FoundSession], None]:
    """Yield the sessions that match a filter, each page read in a transaction of its own."""
    limited, after = replace(where, limit=PAGE_SIZE), None
    while True:
        async with unit_of_work(database) as work:
            unless_revoked = await RevocationRepository(work.session).unless_revoked()
            page, after = await matching_sessions(
                work.session, policy, limited, *unless_revoked, user_id=user_id, after=after
            )
        if page:
            yield page
        if after is None:
            return


async def _revoke_batch(
    database: Database,
    policy: ExpiryPolicy,
    where: SessionFilter,
    sessions: Sequence[FoundSession],
    *,
    dry_run: bool,
) -> list[SessionChange]:
    """Revoke those of some sessions that still match, in one transaction."""
    if dry_run:
        result = planned_result(REVOKED)
        return [SessionChange(one.id, one.user_id, one.email, result) for one in sessions]
    async with unit_of_work(database, access=Access.WRITE) as work:
        matching = await _still_matching(work, policy, where, sessions)
        return await _revoke(work, [one for one in sessions if one.token in matching])


async def _still_matching(
    work: UnitOfWork, policy: ExpiryPolicy, where: SessionFilter, sessions: Sequence[FoundSession]
) -> set[str]:
    """Return the tokens of those sessions that match a filter."""
    found: set[str] = set()
    for tokens in batches([one.token for one in sessions]):
        some, _ = await matching_sessions(work.session, policy, where, TOKEN.in_(tokens))
        found |= {one.token for one in some}
    return found
