"""Results about log-in sessions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Optional
from uuid import UUID

from clarinet_cli.types import SessionState


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A log-in session; ``id`` is the first eight characters of its token."""

    id: str
    user_id: UUID
    email: Optional[str]
    state: SessionState
    created_at: datetime
    expires_at: datetime
    last_accessed: datetime
    ip_address: Optional[str]
    user_agent: Optional[str]


@dataclass(frozen=True, slots=True)
class SessionStats:
    """All sessions at one moment; a life is the time from creation to expiry."""

    total: int
    active: int
    idle: int
    expired: int
    blocked: int
    users: int
    average_life_seconds: Optional[float]
    longest_life_seconds: Optional[float]
    next_expiry: Optional[datetime]
    age: dict[str, int]


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """The sessions that have ``key`` in common: an e-mail, a role, an address, a day.

    A session of a user with several roles counts for each of them.
    """

    key: Optional[str]
    total: int
    active: int
    idle: int
    expired: int
    blocked: int
    users: int


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a clean-up found and did; ``complete`` when nothing dead is left."""

    matched: int
    deleted: int
    remaining: int
    batches: int
    seconds: float
    complete: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """What happened to the sessions of one user."""

    id: UUID
    email: str
    result: str
    sessions_revoked: int
    sessions_kept: int
