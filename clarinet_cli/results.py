"""What commands hand over to be shown: the field names here are a public contract.

Scripts read these names from ``-o json``, ``jsonl`` and ``csv``. A snapshot test holds them.
All instants are timezone-aware UTC; all durations are seconds.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional
from uuid import UUID

from clarinet_cli.types import SessionState


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account; ``sessions`` counts those that the server would accept."""

    id: UUID
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    roles: tuple[str, ...]
    sessions: int
    last_accessed: Optional[datetime]


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
class AccountChange:
    """What happened to one account.

    ``password`` is there only when this command generated it.
    """

    id: Optional[UUID]
    email: str
    result: str
    roles: tuple[str, ...]
    sessions_revoked: int
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """What happened to the sessions of one user."""

    id: UUID
    email: str
    result: str
    sessions_revoked: int
    sessions_kept: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of ``db init``."""

    step: str
    result: str
    detail: str
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The database as it is; ``tables`` has the rows of each of our tables."""

    backend: str
    server_version: str
    url: str
    size_bytes: int
    revision: Optional[str]
    head: Optional[str]
    managed_by: str
    tables: dict[str, int]


@dataclass(frozen=True, slots=True)
class WaitReport:
    """The database is ready for ``ready``, after ``seconds``."""

    ready: str
    url: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where the schema stands; ``unknown`` are revisions of another environment."""

    environment: str
    current: tuple[str, ...]
    heads: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    up_to_date: bool


@dataclass(frozen=True, slots=True)
class MigrationRun:
    """From which revision to which, through which steps."""

    result: str
    from_revision: Optional[str]
    to_revision: Optional[str]
    revisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """One revision of the environment."""

    revision: str
    down_revision: Optional[str]
    message: str
    current: bool
    head: bool


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that a command wrote, would write, or left alone."""

    path: str
    result: str


@dataclass(frozen=True, slots=True)
class ExitCodeRow:
    """One exit code and when a command ends with it."""

    code: int
    meaning: str
