"""Log-in sessions: counting them, showing them, ending them."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import NOT_FOUND, REFUSED
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.session_state import Moment
from clarinet_cli.repositories.sessions import ID_LENGTH, OwnSession, SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import RevokeReport, SessionGroup, SessionRow, SessionStats
from clarinet_cli.services.accounts import moment_of, resolve_user
from clarinet_cli.settings import Settings
from clarinet_cli.types import GroupBy
from clarinet_cli.utils.database import Access, get_async_session
from clarinet_cli.utils.logger import logger


async def present_moment(
    session: AsyncSession, settings: Settings, now: Optional[datetime] = None
) -> Moment:
    """Return one frozen instant to judge all sessions by.

    Args:
        session: Whose clock to ask.
        settings: The idle limit.
        now: Another instant, aware UTC; by default that of the database's host, since the
            clock of this machine may be wrong.
    """
    return moment_of(settings, now or await ServerRepository(session).now())


async def session_stats(settings: Settings, *, now: Optional[datetime] = None) -> SessionStats:
    """Count all sessions by state, in one statement.

    Args:
        settings: Which database, and the idle limit.
        now: The instant to judge them at; the database's clock by default.
    """
    async with get_async_session(settings) as session:
        moment = await present_moment(session, settings, now)
        return await SessionRepository(session).stats(moment)


async def grouped_stats(
    settings: Settings, by: GroupBy, *, now: Optional[datetime] = None
) -> list[SessionGroup]:
    """Count sessions by state for each user, role, address, agent or day.

    Args:
        settings: Which database, and the idle limit.
        by: What to group by.
        now: The instant to judge them at; the database's clock by default.
    """
    async with get_async_session(settings) as session:
        moment = await present_moment(session, settings, now)
        return await SessionRepository(session).grouped(moment, by)


async def sessions_of_user(
    settings: Settings, who: str, *, active_only: bool = False, now: Optional[datetime] = None
) -> list[SessionRow]:
    """Return what ``stream_sessions_of_user`` yields, as a list."""
    found = stream_sessions_of_user(settings, who, active_only=active_only, now=now)
    return [row async for row in found]


async def stream_sessions_of_user(
    settings: Settings, who: str, *, active_only: bool = False, now: Optional[datetime] = None
) -> AsyncGenerator[SessionRow, None]:
    """Yield one user's sessions, newest first.

    Args:
        settings: Which database, and the idle limit.
        who: The user, as ``resolve_user`` reads it.
        active_only: Only those that the server accepts.
        now: The instant to judge them at; the database's clock by default.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    async with get_async_session(settings) as session:
        user = await resolve_user(UserRepository(session), who)
        moment = await present_moment(session, settings, now)
        rows = SessionRepository(session).stream(moment, user_id=user.id, active_only=active_only)
        async for row in rows:
            yield row


async def revoke_for_user(
    settings: Settings,
    who: str,
    *,
    keep_current: Optional[str] = None,
    keep_newest: int = 0,
    dry_run: bool = False,
) -> RevokeReport:
    """End a user's sessions, those to keep excepted.

    The server may go on accepting a revoked token until its cache entry expires
    (``session_cache_ttl_seconds``).

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
    async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
        user = await resolve_user(UserRepository(session), who)
        user_id, email = user.id, user.email
        repository = SessionRepository(session)
        own = await repository.of_user(user_id)
        keep = set(own[:keep_newest])
        if keep_current is not None:
            keep.add(_one_session(own, keep_current))
        revoked = await repository.remove_of_user(user_id, keep=list(keep))
    done = "would_revoke" if dry_run else "revoked"
    logger.info(f"{done} {revoked} sessions of {user_id}")
    return RevokeReport(
        user_id, email, done if revoked else "unchanged", revoked, len(own) - revoked
    )


def _one_session(own: Sequence[OwnSession], wanted: str) -> OwnSession:
    """Return the session that an id means; more than the id's characters are not compared."""
    found = [session for session in own if wanted and session.id == wanted[:ID_LENGTH]]
    # Who gives the whole token names one session; it is compared, and never shown.
    found = [session for session in found if session.token == wanted] or found
    if not found or len(wanted) < ID_LENGTH:
        raise NOT_FOUND.with_context(
            f"the user has no session {wanted[:ID_LENGTH]!r}",
            hint="'clarinet session list-user USER' shows the ids",
        )
    if len(found) > 1:
        matches = ", ".join(f"created {session.created_at:%Y-%m-%dT%H:%M:%SZ}" for session in found)
        raise REFUSED.with_context(
            f"session {wanted[:ID_LENGTH]!r} is ambiguous: {matches}",
            hint="--keep-newest N may help",
        )
    return found[0]
