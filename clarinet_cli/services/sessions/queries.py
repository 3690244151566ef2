"""Log-in sessions, looked at."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_async_session, open_session
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.repositories.listing import session_pages, session_row
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.stats import SessionStatsRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import SessionDetail, SessionGroup, SessionPage, SessionRow, SessionStats
from clarinet_cli.services.accounts.resolve import resolve_user, storable
from clarinet_cli.services.clocks import present_moment
from clarinet_cli.services.sessions.resolve import one_session
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_SESSION, GroupBy, SessionFilter, StateName


async def list_sessions(
    settings: Settings,
    where: SessionFilter = ANY_SESSION,
    *,
    who: Optional[str] = None,
    now: Optional[datetime] = None,
) -> AsyncGenerator[SessionPage, None]:
    """Yield sessions page by page, newest first.

    No transaction is open while the caller looks at a page.

    Args:
        settings: Which database, and the idle limit.
        where: Which sessions.
        who: Only those of this user, as ``resolve_user`` reads it.
        now: The instant to judge them at; the database's clock by default.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    async with open_session(settings, access=Access.REPLICA) as session:
        async with session.begin():
            await require_server_tables(session)
            user_id = await _id_of(session, who)
            moment = await present_moment(session, settings, now)
            pages = await session_pages(session, moment, where, user_id=user_id)
            if not _can_match(where):
                return
            await pages.prepare()
        while True:
            async with session.begin():
                page = await pages.next_page()
            if not page:
                return
            yield page


async def sessions_of_user(
    settings: Settings, who: str, *, active_only: bool = False, now: Optional[datetime] = None
) -> list[SessionRow]:
    """Return one user's sessions, newest first.

    Args:
        settings: Which database, and the idle limit.
        who: The user, as ``resolve_user`` reads it.
        active_only: Only those that the server accepts.
        now: The instant to judge them at; the database's clock by default.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: Several users match.
    """
    where = SessionFilter(states=(StateName.ACTIVE,)) if active_only else ANY_SESSION
    pages = list_sessions(settings, where, who=who, now=now)
    return [row async for page in pages for row in page]


async def show_session(
    settings: Settings,
    wanted: str,
    *,
    who: Optional[str] = None,
    now: Optional[datetime] = None,
) -> SessionDetail:
    """Return one session and what is known of its user.

    Args:
        settings: Which database, and the idle limit.
        wanted: The session's id.
        who: Only among this user's sessions.
        now: The instant to judge it at; the database's clock by default.

    Raises:
        NotFoundError: There is no such user, or no such session.
        RefusedError: Several match.
    """
    async with get_async_session(settings, access=Access.REPLICA) as session:
        user_id = await _id_of(session, who)
        found = await one_session(SessionRepository(session), wanted, user_id=user_id)
        moment = await present_moment(session, settings, now)
        row = await session_row(session, moment, found)
        users = await UserRepository(session).rows(
            moment, superusers_only=False, user_id=found.user_id
        )
    return SessionDetail.of(row, users[0] if users else None)


async def _id_of(session: AsyncSession, who: Optional[str]) -> Optional[UUID]:
    return None if who is None else (await resolve_user(UserRepository(session), who)).id


def _can_match(where: SessionFilter) -> bool:
    """Whether a database can hold what the filter asks for."""
    return all(storable(text) for text in (where.ip, where.agent) if text is not None)


async def session_stats(settings: Settings, *, now: Optional[datetime] = None) -> SessionStats:
    """Count all sessions by state, in one statement.

    Args:
        settings: Which database, and the idle limit.
        now: The instant to judge them at; the database's clock by default.
    """
    async with get_async_session(settings, access=Access.REPLICA) as session:
        moment = await present_moment(session, settings, now)
        return await SessionStatsRepository(session).stats(moment)


async def grouped_stats(
    settings: Settings, by: GroupBy, *, now: Optional[datetime] = None
) -> list[SessionGroup]:
    """Count sessions by state for each user, role, address, agent or day.

    Args:
        settings: Which database, and the idle limit.
        by: What to group by.
        now: The instant to judge them at; the database's clock by default.
    """
    async with get_async_session(settings, access=Access.REPLICA) as session:
        moment = await present_moment(session, settings, now)
        return await SessionStatsRepository(session).grouped(moment, by)
