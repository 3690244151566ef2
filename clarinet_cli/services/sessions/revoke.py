"""Log-in sessions, ended.

The server may go on accepting a revoked token until its cache entry expires
(``session_cache_ttl_seconds``).
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_async_session, open_session, writing
from clarinet_cli.exceptions import PreventedError
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import FoundSession, OwnSession, SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import RevokeAllReport, RevokeReport, SessionChange
from clarinet_cli.services.accounts.resolve import resolve_user
from clarinet_cli.services.audit import JobRecord, audited_session, recorded_job
from clarinet_cli.services.sessions.resolve import one_session
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

REVOKED = "revoked"
WOULD_REVOKE = "would_revoke"
UNCHANGED = "unchanged"
SLICE = 5000  # sessions in one transaction: some 100 ms, so that log-ins wait no longer
Told = Callable[[int, int], None]


async def revoke_for_user(
    settings: Settings,
    who: str,
    *,
    keep_current: Optional[str] = None,
    keep_newest: int = 0,
    dry_run: bool = False,
) -> RevokeReport:
    """End a user's sessions, those to keep excepted.

    Args:
        settings: Which database.
        who: The user, as ``resolve_user`` reads it.
        keep_current: The id of a session to keep.
        keep_newest: How many of the newest to keep.
        dry_run: Change nothing, report what would be done.

    Raises:
        NotFoundError: There is no such user, or the user has no such session.
        RefusedError: Several users or sessions match.
    """
    async with audited_session(settings, dry_run=dry_run) as (session, trail):
        user = await resolve_user(UserRepository(session), who)
        user_id, email = user.id, user.email
        repository = SessionRepository(session)
        own = await repository.of_user(user_id)
        keep = set(own[:keep_newest])
        if keep_current is not None:
            current = await one_session(repository, keep_current, user_id=user_id)
            keep.add(OwnSession(current.token, current.created_at))
        revoked = await repository.revoke_of_user(user_id, keep=list(keep))
        trail.add(user_id, REVOKED if revoked else UNCHANGED, sessions_revoked=revoked)
    done = WOULD_REVOKE if dry_run else REVOKED
    logger.info(f"{done} {revoked} sessions of {user_id}")
    return RevokeReport(user_id, email, done if revoked else UNCHANGED, revoked, len(own) - revoked)


async def revoke_sessions(
    settings: Settings, wanted: Sequence[str], *, who: Optional[str] = None, dry_run: bool = False
) -> list[SessionChange]:
    """End the named sessions: all of them, or none when one can't be found.

    Args:
        settings: Which database.
        wanted: Their ids; one that is named twice counts once.
        who: Only among this user's sessions.
        dry_run: Change nothing, report what would be done.

    Raises:
        NotFoundError: There is no such user, or one of the sessions does not exist.
        RefusedError: Several match.
    """
    async with audited_session(settings, dry_run=dry_run) as (session, trail):
        repository = SessionRepository(session)
        user_id = None
        if who is not None:
            user_id = (await resolve_user(UserRepository(session), who)).id
        found: dict[str, FoundSession] = {}
        for text in wanted:
            one = await one_session(repository, text, user_id=user_id)
            found[one.token] = one
        gone = await repository.revoke(found.values())
        done = WOULD_REVOKE if dry_run else REVOKED
        changes = [
            SessionChange(one.id, one.user_id, one.email, done if one.token in gone else UNCHANGED)
            for one in found.values()
        ]
        for change in changes:
            trail.add(change.id, change.result, user_id=str(change.user_id))
    logger.info(f"{done} {len(gone)} sessions")
    return changes


async def count_to_revoke(settings: Settings, spared: Sequence[str]) -> RevokeAllReport:
    """Return what ``revoke_all`` would do.

    Args:
        settings: Which database.
        spared: The users whose sessions stay, as ``resolve_user`` reads them.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    async with get_async_session(settings) as session:
        repository = SessionRepository(session)
        spared_ids = await _ids_of(session, spared)
        doomed = await repository.count_others(spared_ids)
        kept = await repository.count() - doomed
    return RevokeAllReport(WOULD_REVOKE if doomed else UNCHANGED, doomed, kept)


async def revoke_all(
    settings: Settings,
    spared: Sequence[str],
    *,
    tell: Optional[Told] = None,
    stopped: Callable[[], bool] = bool,
) -> RevokeAllReport:
    """End everybody's sessions, those of some users excepted.

    Every session that exists at the start is ended; one that begins meanwhile may stay.
    Many are ended in several transactions, so that the server's log-ins do not wait for
    all of them; an error leaves the rest in place, and the next run goes on.

    Args:
        settings: Which database.
        spared: The users whose sessions stay, as ``resolve_user`` reads them.
        tell: Is told how many are done, and of how many.
        stopped: Is asked between two transactions whether to end there.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    async with recorded_job(REVOKED, count="sessions_revoked") as record:
        async with get_async_session(settings) as session:
            spared_ids = await _ids_of(session, spared)
            doomed = await SessionRepository(session).count_others(spared_ids)

        def note_down() -> None:
            record.committed()
            if tell is not None:
                tell(record.done, max(doomed, record.done))

        try:
            await _remove_others(settings, spared_ids, record, note_down, stopped)
        except PreventedError as error:
            done = f"{record.done} sessions were ended"
            logger.bind(reported=True).error(f"{error.message}; {done}")
            raise error.with_context(error.message, hint=done) from error
    revoked = record.done
    logger.info(f"{REVOKED} {revoked} sessions of everybody")
    async with get_async_session(settings) as session:
        kept = await SessionRepository(session).count_unless_revoked()
    return RevokeAllReport(REVOKED if revoked else UNCHANGED, revoked, kept)


async def _remove_others(
    settings: Settings,
    spared: Collection[UUID],
    record: JobRecord,
    note_down: Callable[[], None],
    stopped: Callable[[], bool],
) -> None:
    """Walk through all sessions in slices, each in a transaction of its own."""
    async with open_session(settings, access=Access.WRITE) as session:
        repository = SessionRepository(session)
        async with session.begin():
            pause = await ServerRepository(session).pause_between_batches()
            last = await repository.last_key()
        after = None
        while last is not None and not stopped():
            async with writing(session):
                after, removed = await repository.revoke_key_range(
                    after, last, SLICE, excluded=spared
                )
                record.before_commit(removed)
            note_down()
            if after is None:
                return
            await asyncio.sleep(pause)


async def _ids_of(session: AsyncSession, users: Sequence[str]) -> set[UUID]:
    repository = UserRepository(session)
    return {(await resolve_user(repository, who)).id for who in users}
