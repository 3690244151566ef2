"""Results about accounts."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional
from uuid import UUID


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
