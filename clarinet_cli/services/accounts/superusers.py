"""Refuse to remove the last superuser who can log in."""

from dataclasses import dataclass
from typing import Optional
from uuid import UUID

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import UserRow
from clarinet_cli.services.accounts.hashes import can_log_in
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger


def require_superuser(user: User | UserRow, *, any_user: bool) -> None:
    """Refuse an account that is not a superuser, unless *any_user* is on.

    Raises:
        RefusedError: The account is not a superuser, and *any_user* is off.
    """
    if not (user.is_superuser or any_user):
        raise REFUSED.with_context(
            f"{user.email} is not a superuser", hint="use --any-user to reset it anyway"
        )


@dataclass(frozen=True, slots=True)
class Superusers:
    """The accounts that can administer the server.

    Attributes:
        active: The active superusers.
        usable: Those of them whose password the server can verify, so that they can log in.
    """

    active: frozenset[UUID]
    usable: frozenset[UUID]

    def lost(self, remaining: "Superusers") -> Optional[str]:
        """Return which kind of superuser a change to *remaining* removes entirely, or None."""
        if self.usable and not remaining.usable:
            return "active superuser who can log in" if remaining.active else "active superuser"
        return "active superuser" if self.active and not remaining.active else None

    def without(self, user_id: UUID) -> "Superusers":
        """Return the others, when one account loses its rights."""
        return Superusers(self.active - {user_id}, self.usable - {user_id})


async def lock_superusers(work: UnitOfWork) -> Superusers:
    """Return the superusers, locked until the end of the transaction.

    Of two commands, or of a command and the server, that each demote a superuser at the same
    moment, the second sees the change of the first.

    Args:
        work: A unit of work for writing that holds the lock on accounts.
    """
    found = await UserRepository(work.session).lock_active_superusers()
    usable = (user_id for user_id, stored in found.items() if can_log_in(stored, work.settings))
    return Superusers(frozenset(found), frozenset(usable))


async def require_another_superuser(work: UnitOfWork, user: User) -> None:
    """Refuse to take the rights of the last superuser.

    Args:
        work: A unit of work for writing that holds the lock on accounts.
        user: The account that is about to lose its rights, unchanged so far.

    Raises:
        RefusedError: No other active superuser exists, or none who can log in.
    """
    before = await lock_superusers(work)
    if lost := before.lost(before.without(user.id)):
        raise REFUSED.with_context(
            f"{user.email} is the last {lost}",
            hint="first add another one: 'clarinet admin promote', 'activate' or 'create'"
            if lost == "active superuser"
            else "first give another superuser a valid password: 'clarinet admin reset-password'",
        )


def warn_if_no_log_in(user: User, settings: Settings) -> None:
    """Warn when an account cannot log in: inactive, or its hash cannot be verified.

    Args:
        user: The account, as it is after the change.
        settings: The hash parameters.
    """
    if not user.is_active:
        logger.warning(
            f"the account is inactive: 'clarinet admin activate {user.email}' activates it"
        )
    if not can_log_in(user.hashed_password, settings):
        logger.warning(
            f"{user.email} cannot log in: the server cannot verify its password hash; "
            f"'clarinet admin reset-password {user.email}' sets a new password"
        )
