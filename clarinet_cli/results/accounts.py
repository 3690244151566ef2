"""Results about accounts."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account; ``sessions`` counts those that the server would accept.

    An id that is not a UUID is returned as text; a NULL id or address is empty. ``last_login``
    is the creation of the newest session that is still stored. ``is_verified`` is None for an
    application without such a column.
    """

    id: UUID | str
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: Optional[bool]
    roles: tuple[str, ...]
    sessions: int
    last_accessed: Optional[datetime]
    last_login: Optional[datetime] = None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """A change of one account.

    ``password`` is set only if this command generated it, and ``cascaded`` only if rows of other
    tables are deleted with the account: their number by ``table.column``.
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
    """An account in detail; ``sessions`` counts those that the server would accept.

    Attributes:
        password_scheme: How the password is hashed, such as ``argon2id`` or ``bcrypt``;
            ``unknown`` if the server cannot verify it.
        password_current: Whether scheme and parameters match the settings.
        password_parameters: The parameters of the hash; never the hash itself.
        sessions_by_state: All sessions of the account.
        last_login: The creation of its newest session.
        is_verified: None for an application without such a column.
    """

    id: UUID | str
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: Optional[bool]
    roles: tuple[str, ...]
    sessions: int
    last_accessed: Optional[datetime]
    password_scheme: str
    password_current: bool
    password_parameters: dict[str, int]
    sessions_by_state: dict[str, int]
    last_login: Optional[datetime] = None


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role and the number of accounts that have it."""

    name: str
    members: int
    active_members: int


@dataclass(frozen=True, slots=True)
class DeclaredAccount:
    """An account as an accounts file declares it."""

    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AppliedAccount:
    """The change of one account by an accounts file.

    Attributes:
        mark: ``+`` created, ``~`` updated, ``=`` unchanged.
        changes: The changes, such as ``is_active: true -> false`` or ``+doctor``.
        password: Set only if this command generated it.
    """

    mark: str
    id: Optional[UUID]
    email: str
    result: str
    changes: tuple[str, ...]
    sessions_revoked: int
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})
