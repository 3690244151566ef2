"""Results about accounts."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account; ``sessions`` counts those that the server would accept.

    An id that is no UUID is the text that it is; an id or an address that is NULL is empty.
    """

    id: UUID | str
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

    ``password`` is there only when this command generated it, ``cascaded`` when rows of other
    tables go with the account: their number by ``table.column``.
    """

    id: Optional[UUID]
    email: str
    result: str
    roles: tuple[str, ...]
    sessions_revoked: int
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})
    cascaded: Optional[dict[str, int]] = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class AccountDetail:
    """One account whole; ``sessions`` counts those that the server would accept.

    Attributes:
        password_scheme: How the password is hashed, such as ``argon2id`` or ``bcrypt``;
            ``unknown`` when the server could not verify it.
        password_current: Whether scheme and parameters are those of the settings.
        password_parameters: The parameters of the hash; never the hash itself.
        sessions_by_state: All sessions of the account.
    """

    id: UUID | str
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    roles: tuple[str, ...]
    sessions: int
    last_accessed: Optional[datetime]
    password_scheme: str
    password_current: bool
    password_parameters: dict[str, int]
    sessions_by_state: dict[str, int]


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role and how many accounts have it."""

    name: str
    members: int
    active_members: int


@dataclass(frozen=True, slots=True)
class DeclaredAccount:
    """What an account is, in the words of a file that declares it."""

    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AppliedAccount:
    """What applying a file did to one account.

    Attributes:
        mark: ``+`` created, ``~`` updated, ``=`` unchanged.
        changes: What is different now, such as ``is_active: true -> false`` or ``+doctor``.
        password: There only when this command generated it.
    """

    mark: str
    id: Optional[UUID]
    email: str
    result: str
    changes: tuple[str, ...]
    sessions_revoked: int
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})
