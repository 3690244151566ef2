"""The instant that sessions are judged at."""

from datetime import datetime, timedelta
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.session_state import Moment
from clarinet_cli.settings import Settings


def moment_of(settings: Settings, now: datetime) -> Moment:
    """Return the instant and the idle limit to judge sessions by."""
    minutes = settings.session_idle_timeout_minutes
    return Moment(now=now, idle_after=timedelta(minutes=minutes) if minutes else None)


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
