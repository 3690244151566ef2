"""Aliases and small value types that two or more modules use."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal, Optional

SessionState = Literal["active", "idle", "expired", "blocked", "invalid"]
"""What the server would do with a session: see ``repositories.session_state``."""


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which accounts to list; all conditions that are given must hold.

    Attributes:
        inactive_only: Those that can't log in.
        role: Those that have this role.
        search: Those with this text in their e-mail address, in any case.
    """

    inactive_only: bool = False
    role: Optional[str] = None
    search: Optional[str] = None


ANY_USER = UserFilter()


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list; all conditions that are given must hold.

    Attributes:
        states: Those in one of these states; any when empty.
        ip: Those from this address.
        agent: Those with this text in their user agent, in any case.
        older_than: Those created longer ago than this.
        idle_for: Those not used for this long.
        limit: At most so many, the newest; None: all.
    """

    states: tuple["StateName", ...] = ()
    ip: Optional[str] = None
    agent: Optional[str] = None
    older_than: Optional[timedelta] = None
    idle_for: Optional[timedelta] = None
    limit: Optional[int] = None


ANY_SESSION = SessionFilter()


class OutputFormat(StrEnum):
    """How a command writes its data to standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PLAIN = "plain"


class StatsFormat(StrEnum):
    """How ``session stats`` writes its data: as all commands do, or as metrics."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PLAIN = "plain"
    PROMETHEUS = "prometheus"


class StateName(StrEnum):
    """A session's state, as a choice on the command line; see ``SessionState``."""

    ACTIVE = "active"
    IDLE = "idle"
    EXPIRED = "expired"
    BLOCKED = "blocked"
    INVALID = "invalid"


class GroupBy(StrEnum):
    """What ``session stats --by`` counts for each value of."""

    USER = "user"
    ROLE = "role"
    IP = "ip"
    AGENT = "agent"
    DAY = "day"


class Readiness(StrEnum):
    """What ``db wait`` waits for."""

    CONNECTION = "connection"
    SCHEMA = "schema"
