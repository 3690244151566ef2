"""Revoking log-in sessions, including those of concurrent log-ins.

The server may accept a revoked token until its cache entry expires
(``session_cache_ttl_seconds``).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.session import transaction
from clarinet_cli.exceptions import PreventedError
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import FoundSession, OwnSession, SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import RevokeAllReport, RevokeReport, SessionChange
from clarinet_cli.services.accounts.resolve import resolve_user
from clarinet_cli.services.audit import JobRecord, audited_job
from clarinet_cli.services.sessions.queries import one_session, resolve_user_id
from clarinet_cli.services.unit_of_work import Access, Database, UnitOfWork, unit_of_work
from clarinet_cli.types import SETTLE_SECONDS, UNCHANGED, ProgressCallback, planned_result
from clarinet_cli.utils.logger import logger

REVOKED = "revoked"
BATCH_SIZE = 5000  # sessions in one transaction: some 100 ms, so that log-ins wait no longer


async def revoke_for_user(
    work: UnitOfWork,
    identifier: str,
    *,
    keep_current: Optional[str] = None,
    keep_newest: int = 0,
) -> RevokeReport:
    """Revoke a user's sessions.

    Args:
        work: A unit of work for writing.
        identifier: The user, as ``resolve_user`` reads it.
        keep_current: The id of a session to keep.
        keep_newest: How many of the newest to keep.

    Raises:
        NotFoundError: There is no such user, or the user has no such session.
        RefusedError: Several users or sessions match.
    """
    user = await resolve_user(UserRepository(work.session), identifier)
    repository = SessionRepository(work.session)
    own = await repository.of_user(user.id)
    keep = set(own[:keep_newest])
    if keep_current is not None:
        current = await one_session(repository, keep_current, user_id=user.id)
        keep.add(OwnSession(current.token, current.created_at))
    revoked = await repository.revoke_of_user(user.id, keep=list(keep))
    result = REVOKED if revoked else UNCHANGED
    work.record_change(user.id, result, sessions_revoked=revoked)
    return RevokeReport(user.id, user.email, work.result(result), revoked, len(own) - revoked)


async def revoke_sessions(
    work: UnitOfWork, wanted: Sequence[str], *, identifier: Optional[str] = None
) -> list[SessionChange]:
    """Revoke the named sessions: all of them, or none when one is not found.

    Args:
        work: A unit of work for writing.
        wanted: Their ids; one that is named twice counts once.
        identifier: Only among this user's sessions.

    Raises:
        NotFoundError: There is no such user, or one of the sessions does not exist.
        RefusedError: Several match.
    """
    repository = SessionRepository(work.session)
    user_id = await resolve_user_id(work.session, identifier)
    found: dict[str, FoundSession] = {}
    for text in wanted:
        one = await one_session(repository, text, user_id=user_id)
        found[one.token] = one
    revoked = await repository.revoke(found.values())
    changes: list[SessionChange] = []
    for one in found.values():
        result = REVOKED if one.token in revoked else UNCHANGED
        work.record_change(one.id, result, user_id=str(one.user_id))
        changes.append(SessionChange(one.id, one.user_id, one.email, work.result(result)))
    return changes


async def count_to_revoke(work: UnitOfWork, excluded: Sequence[str]) -> RevokeAllReport:
    """Return what ``revoke_all`` would do.

    Args:
        work: A unit of work.
        excluded: The users whose sessions are kept, as ``resolve_user`` reads them.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    repository = SessionRepository(work.session)
    to_revoke = await repository.count_others(await _resolve_user_ids(work.session, excluded))
    kept = await repository.count() - to_revoke
    result = planned_result(REVOKED) if to_revoke else UNCHANGED
    return RevokeAllReport(result, to_revoke, kept)


async def revoke_all(
    database: Database,
    excluded: Sequence[str],
    *,
    progress: ProgressCallback = lambda done, total: None,
    stopped: Callable[[], bool] = bool,
) -> RevokeAllReport:
    """Revoke all sessions but those of some users.

    Every session that exists at the start is revoked; one that is created meanwhile may stay.
    They are revoked in batches, each in a transaction, so that the server's log-ins do not
    wait for all of them; after an error the next run continues.

    Args:
        database: Where.
        excluded: The users whose sessions are kept, as ``resolve_user`` reads them.
        progress: Called after each batch.
        stopped: Called between two batches; whether to stop.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    async with audited_job(REVOKED, count="sessions_revoked") as record:
        async with unit_of_work(database) as work:
            excluded_ids = await _resolve_user_ids(work.session, excluded)
            to_revoke = await SessionRepository(work.session).count_others(excluded_ids)
        try:
            async for done in _revoke_batches(database, excluded_ids, record, stopped):
                progress(done, max(to_revoke, done))
        except PreventedError as error:
            hint = f"{record.done} sessions were revoked"
            logger.bind(reported=True).error(f"{error.message}; {hint}")
            raise error.with_context(error.message, hint=hint) from error
    logger.info(f"{REVOKED} {record.done} sessions")
    async with unit_of_work(database) as work:
        kept = await SessionRepository(work.session).count_unless_revoked()
    return RevokeAllReport(REVOKED if record.done else UNCHANGED, record.done, kept)


async def _revoke_batches(
    database: Database,
    excluded: Collection[UUID],
    record: JobRecord,
    stopped: Callable[[], bool],
) -> AsyncGenerator[int, None]:
    """Revoke sessions in batches by keyset, and yield after each how many are revoked."""
    async with database.session(access=Access.WRITE) as session:
        repository = SessionRepository(session)
        async with transaction(session, Access.READ):
            pause = await ServerRepository(session).pause_between_batches()
            last = await repository.last_key()
        after = None
        while last is not None and not stopped():
            async with transaction(session, Access.WRITE):
                after, removed = await repository.revoke_key_range(
                    after, last, BATCH_SIZE, excluded=excluded
                )
                record.before_commit(removed)
            record.committed()
            yield record.done
            if after is None:
                return
            await asyncio.sleep(pause)


async def _resolve_user_ids(session: AsyncSession, users: Sequence[str]) -> set[UUID]:
    repository = UserRepository(session)
    return {(await resolve_user(repository, identifier)).id for identifier in users}


@dataclass(slots=True)
class ConcurrentLogins:
    """The accounts whose sessions are revoked again.

    Attributes:
        seconds: How long a log-in may take; 0: do not revoke again.
        wait: How to wait for that long.
        accounts: The accounts whose sessions a committed transaction revoked.
        revoked: How many sessions were revoked again, by account.
    """

    seconds: float = SETTLE_SECONDS
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    accounts: set[UUID] = field(default_factory=set)
    revoked: dict[UUID, int] = field(default_factory=dict)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.seconds and self.accounts)

    async def revoke(self, database: Database) -> None:
        """Wait, then revoke the sessions created since the change, with a record for each account.

        The lock for writing is taken only when there are such sessions.

        Raises:
            ClarinetError: The driver's error, translated, or a record can't be written; no
                session was revoked.
        """
        if not self.is_needed:
            return
        logger.info(f"waiting {self.seconds:g} s for concurrent log-ins")
        await database.disconnect()
        await self.wait(self.seconds)
        async with unit_of_work(database) as work:
            found = await SessionRepository(work.session).users_with_sessions(self.accounts)
        if not found:
            return
        async with unit_of_work(database, access=Access.WRITE) as work:
            revoked = await SessionRepository(work.session).revoke_of_users(found)
            for user_id, count in revoked.items():
                work.record_change(user_id, "revoked", sessions_revoked=count)
        self.revoked = dict(revoked)
        logger.info(f"revoked {revoked.total()} sessions created by concurrent log-ins")
