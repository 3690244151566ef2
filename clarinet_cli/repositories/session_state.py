"""The state of a session as SQL, by the rules of the server.

The server accepts a session if the row exists and ``expires_at > now``, if
``session_idle_timeout_minutes`` is 0 or ``now - last_accessed`` is at most that long, and if the
user exists and is active (Clarinet 0.10.20). It can't read a session with an instant in another
form than its own: its state is ``invalid``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional

from sqlalchemy import ColumnElement, and_, case, literal, not_, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType, String
from sqlmodel import col

from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import OLDEST, all_instants_readable
from clarinet_cli.models.mapped import mapped_tables

EXPIRES = col(AccessToken.expires_at)
LAST_ACCESSED = col(AccessToken.last_accessed)
CREATED = col(AccessToken.created_at)


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """The instant to judge sessions at, and the server's idle limit.

    Attributes:
        now: Aware UTC; one frozen instant for all rows.
        idle_after: How long a session may go unused; None when there is no limit.
    """

    now: datetime
    idle_after: Optional[timedelta]

    def ago(self, age: timedelta) -> datetime:
        """Return the instant that long before this one, or the first there is."""
        try:
            return self.now - age
        except OverflowError:
            return OLDEST

    @property
    def invalid(self) -> ColumnElement[bool]:
        """The condition that an instant of the session can't be read."""
        return not_(all_instants_readable())

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
        """The condition that it is neither expired nor idle, whatever the user's state."""
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

    def dead(
        self, *, expired_only: bool = False, older_than: Optional[timedelta] = None
    ) -> ColumnElement[bool]:
        """Return the condition for sessions that a clean-up deletes; never an invalid one.

        The arguments are those of ``dead_if_valid``.
        """
        which = self.dead_if_valid(expired_only=expired_only, older_than=older_than)
        return and_(which, all_instants_readable())

    def dead_if_valid(
        self, *, expired_only: bool = False, older_than: Optional[timedelta] = None
    ) -> ColumnElement[bool]:
        """Return the condition of ``dead`` for sessions that are known to be valid.

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


class life_between(GenericFunction[Any]):  # noqa: N801 - the name of an SQL function
    """The time from the first instant to the second.

    PostgreSQL: an interval. SQLite, which can't subtract text timestamps: days with a fraction,
    precise to a millisecond, as its date functions round. Microseconds from ``strftime`` would
    take four times as long.
    """

    type = NullType()  # as the driver has it
    inherit_cache = True


class utc_day(GenericFunction[str]):  # noqa: N801 - the name of an SQL function
    """The day of an instant in UTC, as ``YYYY-MM-DD``."""

    type = String()
    inherit_cache = True


@compiles(utc_day, "sqlite")
def _sqlite_day(element: Any, compiler: Any, **options: Any) -> str:
    return f"date({compiler.process(element.clauses, **options)})"


@compiles(utc_day, "postgresql")
def _postgresql_day(element: Any, compiler: Any, **options: Any) -> str:
    instant = compiler.process(element.clauses, **options)
    return f"to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(life_between, "sqlite")
def _sqlite_life(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    if _never_expires(compiler):
        return "NULL"
    return f"(julianday({end}) - julianday({start}))"


@compiles(life_between, "postgresql")
def _postgresql_life(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return "CAST(NULL AS INTERVAL)" if _never_expires(compiler) else f"({end} - {start})"


def _never_expires(compiler: Any) -> bool:
    """Return whether sessions have no expiry that a life could end with."""
    tables = mapped_tables(compiler.dialect)
    return tables is not None and tables.never_expires
