"""The state of a session as SQL, by the rules of the server, and which sessions are stale.

The server accepts a session if the row exists and ``expires_at > now``, if
``session_idle_timeout_minutes`` is 0 or ``now - last_accessed`` is at most that long, and if the
user exists and is active (Clarinet 0.10.20). It cannot read a session with a timestamp in
another form than its own: its state is ``invalid``.

A session is live if it is neither expired nor idle, and stale if a clean-up deletes it: expired,
idle, or older than a limit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional

from sqlalchemy import ColumnElement, and_, case, literal, not_, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import OLDEST, has_readable_timestamps
from clarinet_cli.models.mapped import mapped_tables

EXPIRES = col(AccessToken.expires_at)
LAST_ACCESSED = col(AccessToken.last_accessed)
CREATED = col(AccessToken.created_at)


def expiry_order(session: AsyncSession) -> Any:
    """Return the column that sorts sessions by their expiry, of which an index may exist.

    Args:
        session: Whose engine may have a mapping.
    """
    tables = mapped_tables(session.get_bind().dialect)
    return CREATED if tables is not None and tables.derives_expiry else EXPIRES


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """The reference time for the states of sessions, and the server's idle limit.

    Attributes:
        now: The reference time, aware UTC, the same for all rows.
        idle_after: How long a session may go unused; None when there is no limit.
    """

    now: datetime
    idle_after: Optional[timedelta]

    def ago(self, age: timedelta) -> datetime:
        """Return the reference time less *age*, or the earliest timestamp if there is none."""
        try:
            return self.now - age
        except OverflowError:
            return OLDEST

    @property
    def invalid(self) -> ColumnElement[bool]:
        """The condition that a timestamp of the session cannot be read."""
        return not_(has_readable_timestamps())

    @property
    def expired(self) -> ColumnElement[bool]:
        """The condition that the session has expired."""
        return self.now >= EXPIRES

    @property
    def idle(self) -> ColumnElement[bool]:
        """The condition that it has not expired but was unused for too long."""
        if self.idle_after is None:
            return and_(self.now < EXPIRES, literal(0) == 1)
        return and_(self.now < EXPIRES, self.ago(self.idle_after) > LAST_ACCESSED)

    @property
    def live(self) -> ColumnElement[bool]:
        """The condition that it is neither expired nor idle, regardless of the user's state."""
        if self.idle_after is None:
            return self.now < EXPIRES
        return and_(self.now < EXPIRES, self.ago(self.idle_after) <= LAST_ACCESSED)

    @property
    def state(self) -> ColumnElement[str]:
        """The state's name; the query joins ``user`` by an outer join."""
        usable = and_(col(User.id).is_not(None), col(User.is_active))
        return case(
            (self.invalid, "invalid"),
            (self.expired, "expired"),
            (self.idle, "idle"),
            (usable, "active"),
            else_="blocked",
        )

    def stale(
        self, *, expired_only: bool = False, older_than: Optional[timedelta] = None
    ) -> ColumnElement[bool]:
        """Return the condition for sessions that a clean-up deletes, without invalid ones.

        The arguments are those of ``stale_if_valid``.
        """
        which = self.stale_if_valid(expired_only=expired_only, older_than=older_than)
        return and_(which, has_readable_timestamps())

    def stale_if_valid(
        self, *, expired_only: bool = False, older_than: Optional[timedelta] = None
    ) -> ColumnElement[bool]:
        """Return the condition of ``stale`` for sessions that are known to be valid.

        Args:
            expired_only: Exclude idle sessions.
            older_than: Include sessions created longer ago than this, in any state.
        """
        conditions = [self.expired]
        if not expired_only and self.idle_after is not None:
            conditions.append(self.ago(self.idle_after) > LAST_ACCESSED)
        if older_than is not None:
            conditions.append(self.ago(older_than) > CREATED)
        return or_(*conditions)
