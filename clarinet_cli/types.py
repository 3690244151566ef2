"""Types that several modules use: filters, choices of options, states, capabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping

ProgressCallback = Callable[[int, int], None]
"""Called with the number of items done so far and the total."""

PhaseCallback = Callable[[int, int, str], None]
"""Called with the number of items done so far, the total, and the name of the work."""

STDIO = "-"  # as a file name: standard input or output
SETTLE_SECONDS = 1.0  # for log-ins in progress during a change

UNCHANGED = "unchanged"
PLANNED = {
    "created": "would_create",
    "updated": "would_update",
    "deleted": "would_delete",
    "revoked": "would_revoke",
}


def planned_result(result: str) -> str:
    """Return the result of a change as a dry run reports it."""
    return PLANNED.get(result, result)


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Conditions for the accounts to list; all of them must hold.

    Attributes:
        inactive_only: Only inactive accounts.
        role: Only accounts with this role.
        search: Only accounts whose e-mail address contains this text, in any case.
        sort: The order, by a field of ``UserRow``; None: by address.
        limit: The maximum number, the first in the order; None: all.
    """

    inactive_only: bool = False
    role: Optional[str] = None
    search: Optional[str] = None
    sort: Optional["SortKey"] = None
    limit: Optional[int] = None


ANY_USER = UserFilter()


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Conditions for the sessions to list or to revoke; all of them must hold.

    Attributes:
        states: Only sessions in one of these states; empty: any state.
        ips: Only sessions from these addresses, or from networks in CIDR notation; empty: any.
        agent: Only sessions whose user agent contains this text, in any case.
        older_than: Only sessions created longer ago than this.
        idle_for: Only sessions that were not used for this long.
        limit: The maximum number, the first in the order; None: all.
        sort: The order, by a field of ``SessionRow``; None: newest first.
    """

    states: tuple["StateName", ...] = ()
    ips: tuple[str, ...] = ()
    agent: Optional[str] = None
    older_than: Optional[timedelta] = None
    idle_for: Optional[timedelta] = None
    limit: Optional[int] = None
    sort: Optional["SortKey"] = None


ANY_SESSION = SessionFilter()


@dataclass(frozen=True, slots=True)
class SortKey:
    """The order of a listing.

    Attributes:
        name: The field; rows with the same value are ordered by their id.
        descending: The highest value first.
    """

    name: str
    descending: bool = False


class OutputFormat(StrEnum):
    """The format of a command's data on standard output."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PLAIN = "plain"


class StatsFormat(StrEnum):
    """How ``session stats`` writes its data: as all commands do, or as metrics."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PLAIN = "plain"
    PROMETHEUS = "prometheus"


class StateName(StrEnum):
    """The state of a session; see ``repositories.expiry_policy``."""

    ACTIVE = "active"
    IDLE = "idle"
    EXPIRED = "expired"
    BLOCKED = "blocked"
    INVALID = "invalid"


class GroupBy(StrEnum):
    """The column that ``session stats --by`` groups by."""

    USER = "user"
    ROLE = "role"
    IP = "ip"
    AGENT = "agent"
    DAY = "day"
    HOUR = "hour"


class Readiness(StrEnum):
    """The condition that ``db wait`` waits for."""

    CONNECTION = "connection"
    SCHEMA = "schema"


class CheckGroup(StrEnum):
    """A group of the checks of ``doctor``."""

    CONFIGURATION = "configuration"
    CONNECTION = "connection"
    SCHEMA = "schema"
    ACCOUNTS = "accounts"
    SESSIONS = "sessions"
    SPACE = "space"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the tables of an installation store, and what this tool can do with them.

    Attributes:
        own_schema: The tables are created and migrated by this tool.
        sessions: Sessions are rows, so that they can be listed and revoked.
        expiry: Sessions expire.
        idle: The last use of a session is stored.
        roles: Accounts have roles.
        role_changes: Roles can be granted and revoked.
        admin_role: Superusers have the role ``admin``.
        soft_delete: Accounts can be marked as deleted.
        token_digests: The token column holds a digest; a session id is the beginning of the digest.
        verified: Accounts have ``is_verified``.
    """

    own_schema: bool = True
    sessions: bool = True
    expiry: bool = True
    idle: bool = True
    roles: bool = True
    role_changes: bool = True
    admin_role: bool = True
    soft_delete: bool = False
    token_digests: bool = False
    verified: bool = True


def get_capabilities(mapping: Optional["Mapping"]) -> Capabilities:
    """Return the capabilities of an installation.

    Args:
        mapping: The mapping; None for the preset ``clarinet``.
    """
    if mapping is None:
        return Capabilities()
    tokens = mapping.token_columns
    return Capabilities(
        own_schema=False,
        sessions=mapping.session_strategy == "database",
        expiry=bool(tokens.expires_at) or isinstance(mapping.session_lifetime_seconds, int),
        idle=bool(tokens.last_accessed),
        roles=mapping.roles != "none",
        role_changes=mapping.roles != "none",
        admin_role=False,
        soft_delete=bool(mapping.soft_delete),
        token_digests=bool(mapping.token_digest),
        verified=bool(mapping.user_columns.is_verified),
    )
