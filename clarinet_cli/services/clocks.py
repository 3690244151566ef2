"""The expiry policy of a command, and the skew between the database's clock and the local one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli import timefmt
from clarinet_cli.exceptions import CLOCKS_DIFFER
from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.settings import Settings
from clarinet_cli.timefmt import iso_text
from clarinet_cli.utils.logger import logger

WARN_SKEW_SECONDS = 30
MAX_SKEW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clock of the database's host, and this machine's before and after the query.

    A clock that is ahead would expire live sessions, so the earlier one is used.

    Attributes:
        database: The clock of the database's host.
        before: This machine's clock before the query.
        after: This machine's clock after the query.
    """

    database: datetime
    before: datetime
    after: datetime

    @property
    def difference(self) -> float:
        """Seconds that the database's clock is ahead, at least; below 0: behind.

        A difference that the duration of the query may explain counts as 0.
        """
        if self.before <= self.database <= self.after:
            return 0.0
        nearest = self.after if self.database > self.after else self.before
        return round((self.database - nearest).total_seconds(), 3)

    @property
    def earlier(self) -> datetime:
        """The reference time."""
        return min(self.database, self.after)

    def warn(self, used: str = "the earlier clock") -> None:
        """Warn when the clocks differ noticeably, with the clock that is used."""
        if abs(self.difference) > WARN_SKEW_SECONDS:
            logger.warning(f"{self._message}; using {used}")

    def require_agreement(self) -> None:
        """Refuse to delete sessions by clocks that differ too much.

        Raises:
            ClocksDifferError: One of them is wrong.
        """
        if abs(self.difference) > MAX_SKEW_SECONDS:
            times = f"database {iso_text(self.database)}, local {iso_text(self.after)}"
            raise CLOCKS_DIFFER.with_context(f"{self._message} ({times}): no session was deleted")

    @property
    def _message(self) -> str:
        seconds = self.difference
        where = "ahead of" if seconds > 0 else "behind"
        return f"the database's clock is {abs(seconds):.0f} s {where} this machine's"


async def compare_clocks(session: AsyncSession) -> Clocks:
    """Query the clock of the database's host, which for SQLite is this machine."""
    before = timefmt.machine_now()
    database = await ServerRepository(session).now()
    return Clocks(database, before, timefmt.machine_now())


def expiry_policy(settings: Settings, now: datetime) -> ExpiryPolicy:
    """Return the policy at a timestamp, with the idle limit of the settings."""
    idle = settings.capabilities.idle
    minutes = settings.server_limit("session_idle_timeout_minutes") if idle else 0
    return ExpiryPolicy(now=now, idle_after=timedelta(minutes=minutes) if minutes else None)


async def current_policy(
    session: AsyncSession, settings: Settings, now: Optional[datetime] = None, *, warn: bool = True
) -> ExpiryPolicy:
    """Return the policy for all sessions of a command, with one reference time.

    Args:
        session: The session to query the clock.
        settings: The idle limit.
        now: Another timestamp, aware UTC; by default the earlier of the two clocks.
        warn: Warn when the clocks differ.
    """
    if now is not None:
        return expiry_policy(settings, now)
    clocks = await compare_clocks(session)
    if warn:
        clocks.warn()
    return expiry_policy(settings, clocks.earlier)
