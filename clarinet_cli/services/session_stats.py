"""Log-in sessions, counted."""

from datetime import datetime
from typing import Optional

from clarinet_cli.repositories.session_stats import SessionStatsRepository
from clarinet_cli.results import SessionGroup, SessionStats
from clarinet_cli.services.moments import present_moment
from clarinet_cli.settings import Settings
from clarinet_cli.types import GroupBy
from clarinet_cli.utils.database import Access, get_async_session


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
