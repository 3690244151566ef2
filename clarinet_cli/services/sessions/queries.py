"""Resolving one log-in session, and queries on all of them."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import Database
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.exceptions import FAILURE, NOT_FOUND, REFUSED
from clarinet_cli.repositories.account_listing import AccountListing
from clarinet_cli.repositories.listing import session_pages, session_row
from clarinet_cli.repositories.sessions import (
    ID_LENGTH,
    MATCHES_SHOWN,
    OTHER_DIGEST,
    FoundSession,
    SessionRepository,
)
from clarinet_cli.repositories.stats import SessionStatsRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import SessionDetail, SessionGroup, SessionPage, SessionStats
from clarinet_cli.services.accounts.resolve import resolve_user, storable
from clarinet_cli.services.clocks import current_policy
from clarinet_cli.services.unit_of_work import UnitOfWork, as_database
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_SESSION, GroupBy, SessionFilter

UNKNOWN_HINT = "'clarinet session list' shows the ids"
DIGEST_HINT = "a token is stored as a digest that cannot be computed here (token_digest)"
REVOKE_USER_HINT = "'clarinet session revoke-user' revokes all of a user's sessions"
REPLACED = "\ufffd"  # stands for bytes that are not UTF-8


async def resolve_user_id(session: AsyncSession, identifier: Optional[str]) -> Optional[UUID]:
    """Return the id of the user that ``resolve_user`` finds; None for None."""
    if identifier is None:
        return None
    return (await resolve_user(UserRepository(session), identifier)).id


async def one_session(
    sessions: SessionRepository, wanted: str, *, user_id: Optional[UUID] = None
) -> FoundSession:
    """Return the session with an id; errors show no more of the token than the id.

    A whole token is compared as it is, and never shown.

    Args:
        sessions: The repository.
        wanted: The id, with or without more of the token; all of it must match.
        user_id: Only among this user's sessions.

    Raises:
        NotFoundError: The session does not exist.
        RefusedError: Several match; the error lists them.
    """
    found: list[FoundSession] = []
    if len(wanted) >= ID_LENGTH and storable(wanted):
        found = await sessions.find_by_token(wanted, user_id=user_id)
        found = found or await sessions.find_by_id(wanted, user_id=user_id)
    if not found:
        whose = "the user has no session" if user_id else "no session"
        hint = "'clarinet session list-user USER' shows the ids" if user_id else UNKNOWN_HINT
        if sessions.token_digest == OTHER_DIGEST:
            hint = f"{DIGEST_HINT}; {hint}"
        raise NOT_FOUND.with_context(f"{whose} {wanted[:ID_LENGTH]!r}", hint=hint)
    if len(found) > 1:
        listed = [
            f"created {created:%Y-%m-%dT%H:%M:%SZ} ({session.email or session.user_id})"
            if (created := session.created_at)
            else f"created at an unknown time ({session.email or session.user_id})"
            for session in found[:MATCHES_SHOWN]
        ]
        listed += ["and more"] if len(found) > MATCHES_SHOWN else []
        raise REFUSED.with_context(
            f"session {wanted[:ID_LENGTH]!r} is ambiguous: {', '.join(listed)}",
            hint=REVOKE_USER_HINT if user_id else "use --user USER to narrow it down",
        )
    if REPLACED in found[0].token:
        raise FAILURE.with_context(
            f"access_token.token of session {wanted[:ID_LENGTH]!r} is not UTF-8 text",
            hint=REVOKE_USER_HINT,
        )
    return found[0]


async def list_sessions(
    source: Settings | Database,
    where: SessionFilter = ANY_SESSION,
    *,
    identifier: Optional[str] = None,
    now: Optional[datetime] = None,
    warn: bool = True,
) -> AsyncGenerator[SessionPage, None]:
    """Yield sessions page by page, newest first.

    Each page is read in a transaction of its own, so that none is open while a page is
    written: a reader that stays open keeps the server from truncating SQLite's log.

    Args:
        source: The database, and the idle limit; see ``unit_of_work``.
        where: Only those that match.
        identifier: Only those of this user, as ``resolve_user`` reads it.
        now: The reference time; the database's clock by default.
        warn: Warn when the clocks differ.

    Raises:
        NotFoundError: The user does not exist.
        RefusedError: Several users match.
    """
    async with (
        as_database(source) as database,
        database.session(access=Access.REPLICA) as session,
    ):
        async with transaction(session, Access.REPLICA):
            await require_server_tables(session)
            user_id = await resolve_user_id(session, identifier)
            policy = await current_policy(session, database.settings, now, warn=warn)
            pages = await session_pages(session, policy, where, user_id=user_id)
            if where.agent is not None and not storable(where.agent):
                return
            await pages.prepare()
        while True:
            async with transaction(session, Access.REPLICA):
                page = await pages.next_page()
                if not page and isinstance(source, Database):
                    await pages.close()
            if not page:
                return
            yield page


async def show_session(
    work: UnitOfWork,
    wanted: str,
    *,
    identifier: Optional[str] = None,
    now: Optional[datetime] = None,
) -> SessionDetail:
    """Return one session and its user.

    Args:
        work: A unit of work.
        wanted: The session's id.
        identifier: Only among this user's sessions.
        now: The reference time; the database's clock by default.

    Raises:
        NotFoundError: The user or the session does not exist.
        RefusedError: Several match.
    """
    session = work.session
    user_id = await resolve_user_id(session, identifier)
    found = await one_session(SessionRepository(session), wanted, user_id=user_id)
    policy = await current_policy(session, work.settings, now)
    row = await session_row(session, policy, found)
    users = await AccountListing(session).rows(policy, superusers_only=False, user_id=found.user_id)
    return SessionDetail.of(row, users[0] if users else None)


async def session_stats(
    work: UnitOfWork, *, now: Optional[datetime] = None, warn: bool = True
) -> SessionStats:
    """Count all sessions by state, in one statement.

    Args:
        work: A unit of work.
        now: The reference time; the database's clock by default.
        warn: Warn when the clocks differ.
    """
    policy = await current_policy(work.session, work.settings, now, warn=warn)
    return await SessionStatsRepository(work.session).stats(policy)


async def grouped_stats(
    work: UnitOfWork, by: GroupBy, *, top: Optional[int], warn: bool
) -> list[SessionGroup]:
    """Count sessions by state for each user, role, address, agent, day or hour.

    Args:
        work: A unit of work.
        by: What to group by.
        top: How many groups to return, those with the most sessions; None: all.
        warn: Warn when the clocks differ.
    """
    policy = await current_policy(work.session, work.settings, warn=warn)
    return await SessionStatsRepository(work.session).grouped(policy, by, top=top)
