"""Results about log-in sessions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Optional, Self
from uuid import UUID

from clarinet_cli.results.accounts import UserRow


@dataclass(slots=True)
class SessionRow:
    """A log-in session; ``id`` is the first eight characters of its token.

    A timestamp that cannot be read is None, and the state is ``invalid`` then. The class is not
    frozen, since listings create many and a frozen one takes twice the time.
    """

    id: str
    user_id: UUID | str
    email: Optional[str]
    state: str
    created_at: Optional[datetime]
    expires_at: Optional[datetime]
    last_accessed: Optional[datetime]
    ip_address: Optional[str]
    user_agent: Optional[str]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of a listing by columns, which is faster than an object for each session.

    Attributes:
        columns: The values of each field of ``SessionRow``, in the order of the fields. Ids
            are text, and timestamps are ISO 8601 in UTC with ``Z``, or None if unreadable.
    """

    columns: tuple[Sequence[Any], ...]

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self.columns[0]) if self.columns else 0

    def __iter__(self) -> Iterator[SessionRow]:
        """Yield the sessions one by one."""
        for name, user_id, email, state, *timestamps, address, agent in zip(
            *self.columns, strict=True
        ):
            created, expires, accessed = (
                None if text is None else datetime.fromisoformat(text) for text in timestamps
            )
            yield SessionRow(
                name, _id(user_id), email, state, created, expires, accessed, address, agent
            )

    def select(self, names: Sequence[str]) -> tuple[Sequence[Any], ...]:
        """Return the columns of these fields of ``SessionRow``."""
        every = [item.name for item in fields(SessionRow)]
        return tuple(self.columns[every.index(name)] for name in names)

    def first(self, number: int) -> Self:
        """Return a page of at most the first *number* sessions."""
        return type(self)(tuple(column[:number] for column in self.columns))


def _id(text: str) -> UUID | str:
    """Return an id as a UUID if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class SessionDetail:
    """A log-in session and its user; ``sessions`` counts the user's live sessions."""

    id: str
    user_id: UUID | str
    email: Optional[str]
    state: str
    created_at: Optional[datetime]
    expires_at: Optional[datetime]
    last_accessed: Optional[datetime]
    ip_address: Optional[str]
    user_agent: Optional[str]
    is_active: Optional[bool]
    is_superuser: Optional[bool]
    is_verified: Optional[bool]
    roles: tuple[str, ...]
    sessions: int

    @classmethod
    def of(cls, row: SessionRow, user: Optional[UserRow]) -> Self:
        """Return the details of a session and of its user, if the user exists."""
        return cls(
            id=row.id,
            user_id=row.user_id,
            email=row.email,
            state=row.state,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_accessed=row.last_accessed,
            ip_address=row.ip_address,
            user_agent=row.user_agent,
            is_active=user.is_active if user else None,
            is_superuser=user.is_superuser if user else None,
            is_verified=user.is_verified if user else None,
            roles=user.roles if user else (),
            sessions=user.sessions if user else 0,
        )


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Statistics of all sessions; a lifetime is the time from creation to expiry.

    ``invalid`` is set only if there are sessions with an unreadable timestamp. They are in none of
    the other states, and have neither a lifetime nor an age.
    """

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
    invalid: Optional[int] = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """The sessions with the same ``key``: an e-mail, role, address, agent, day or hour.

    A session of a user with several roles counts for each of them. ``invalid`` is set only
    if there are invalid sessions.
    """

    key: Optional[str]
    total: int
    active: int
    idle: int
    expired: int
    blocked: int
    users: int
    invalid: Optional[int] = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """The result of a clean-up; ``complete`` if no session that can be deleted is left.

    Attributes:
        matched: The stale sessions that can be deleted, as ``remaining`` those that are left.
        protected: Stale sessions that cannot be deleted: rows of other tables refer to them.
        clock_difference_seconds: How far the database's clock is ahead of this machine's;
            negative: behind.
        invalid: The sessions that are kept because of an unreadable timestamp; None if 0.
        protected_by: The number of rows that refer to protected sessions, by
            ``table.column``; None if there are none.
        cascaded: The number of rows of other tables that were deleted with the sessions, or
            would be, by ``table.column``; None if there are none.
        matched_by: In a dry run the number of matched sessions by reason: ``expired``, else
            ``idle``, else ``old`` (created more than so many days ago).
        oldest: In a dry run the creation of the oldest session with each reason.
    """

    matched: int
    deleted: int
    remaining: int
    protected: int
    batches: int
    seconds: float
    complete: bool
    dry_run: bool
    clock_difference_seconds: float
    invalid: Optional[int] = field(default=None, metadata={"omit_none": True})
    protected_by: Optional[dict[str, int]] = field(default=None, metadata={"omit_none": True})
    cascaded: Optional[dict[str, int]] = field(default=None, metadata={"omit_none": True})
    matched_by: Optional[dict[str, int]] = field(default=None, metadata={"omit_none": True})
    oldest: Optional[dict[str, Optional[datetime]]] = field(
        default=None, metadata={"omit_none": True}
    )


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """The revocation of a user's sessions."""

    id: UUID
    email: str
    result: str
    sessions_revoked: int
    sessions_kept: int


@dataclass(frozen=True, slots=True)
class SessionChange:
    """The revocation of one session."""

    id: str
    user_id: UUID
    email: Optional[str]
    result: str


@dataclass(frozen=True, slots=True)
class RevokeAllReport:
    """The revocation of all users' sessions."""

    result: str
    sessions_revoked: int
    sessions_kept: int
