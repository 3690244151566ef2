"""The rules of accounts that can administer the server, and of passwords."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT, REFUSED, ConflictError
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services.accounts.hashes import can_log_in
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE, require_roles
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger


async def create_superuser(
    session: AsyncSession, email: str, password_hash: str, *, roles: Iterable[str] = ()
) -> AccountChange:
    """Insert a new active, verified superuser with the role ``admin``.

    Args:
        session: A session for writing; the caller commits.
        email: Its address, already normalised.
        password_hash: The hash of its password.
        roles: Further roles.

    Raises:
        ConflictError: An account with this address exists.
        NotFoundError: There is no such role.
    """
    users = UserRepository(session)
    if await users.with_email(email):
        raise existing_account(email)
    await require_roles(session, roles)
    user = User(
        email=email,
        hashed_password=password_hash,
        is_active=True,
        is_superuser=True,
        is_verified=True,
    )
    await users.add(user)
    granted = await _grant(session, user, roles)
    logger.info(f"created superuser {user.id}")
    return AccountChange(user.id, user.email, "created", granted, 0)


def existing_account(email: str) -> ConflictError:
    """Return the error that says that an account exists already."""
    return CONFLICT.with_context(
        f"the user {email} exists already",
        hint="--update makes it an administrator, --if-not-exists leaves it as it is",
    )


async def update_superuser(
    session: AsyncSession,
    user: User,
    settings: Settings,
    *,
    password_hash: Optional[str] = None,
    roles: Iterable[str] = (),
) -> AccountChange:
    """Make an account an active superuser with the role ``admin``.

    Args:
        session: A session for writing; the caller commits.
        user: The account, loaded in this session.
        settings: The hash parameters.
        password_hash: A new password's hash; its sessions end with the old password.
        roles: Further roles.

    Raises:
        NotFoundError: There is no such role.
    """
    await require_roles(session, roles)
    had = await RoleRepository(session).of_user(user.id)
    granted = await _grant(session, user, roles)
    changed = not (user.is_active and user.is_superuser) or set(granted) != had
    user.is_active = user.is_superuser = True
    revoked = 0
    if password_hash is not None:
        revoked = await _set_password(session, user, password_hash, keep_sessions=False)
    changed = changed or password_hash is not None
    warn_of_log_in(user, settings)
    logger.info(f"superuser {user.id}: {'updated' if changed else 'unchanged'}")
    result = "updated" if changed else "unchanged"
    return AccountChange(user.id, user.email, result, granted, revoked)


async def reset_password(
    session: AsyncSession,
    user: User,
    password_hash: str,
    settings: Settings,
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
) -> AccountChange:
    """Set a new password and end the account's sessions in the same transaction.

    Args:
        session: A session for writing; the caller commits.
        user: The account, loaded in this session.
        password_hash: The hash of the new password.
        settings: The hash parameters.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Leave the sessions alone.

    Raises:
        RefusedError: The account is not a superuser, and *any_user* is off.
    """
    require_superuser(user, any_user=any_user)
    revoked = await _set_password(session, user, password_hash, keep_sessions=keep_sessions)
    warn_of_log_in(user, settings)
    roles = await RoleRepository(session).of_user(user.id)
    logger.info(f"password of {user.id} reset, {revoked} sessions revoked")
    return AccountChange(user.id, user.email, "updated", tuple(sorted(roles)), revoked)


def require_superuser(user: User | UserRow, *, any_user: bool) -> None:
    """Refuse to go on with an account that is not a superuser, unless any will do.

    Raises:
        RefusedError: The account is not a superuser, and *any_user* is off.
    """
    if not (user.is_superuser or any_user):
        raise REFUSED.with_context(
            f"{user.email} is not a superuser", hint="--any-user resets it all the same"
        )


@dataclass(frozen=True, slots=True)
class Superusers:
    """Who can administer the server.

    Attributes:
        active: The active superusers.
        able: Those of them whose password the server can verify: they can log in.
    """

    active: frozenset[UUID]
    able: frozenset[UUID]

    def lost(self, left: "Superusers") -> Optional[str]:
        """Return what there was and is no longer in *left*: ``active superuser``, or None."""
        if self.able and not left.able:
            return "active superuser who can log in" if left.active else "active superuser"
        return "active superuser" if self.active and not left.active else None

    def without(self, user_id: UUID) -> "Superusers":
        """Return who is left when one account loses its rights."""
        return Superusers(self.active - {user_id}, self.able - {user_id})


async def lock_superusers(session: AsyncSession, settings: Settings) -> Superusers:
    """Return who can administer the server, and let nobody else change them.

    Of two commands, or of a command and the server, that take each a superuser away at the
    same moment, the second sees what the first did.

    Args:
        session: A session for writing, alone by ``lock_accounts``.
        settings: The hash parameters.
    """
    found = await UserRepository(session).lock_active_superusers()
    able = (user_id for user_id, stored in found.items() if can_log_in(stored, settings))
    return Superusers(frozenset(found), frozenset(able))


async def require_another_superuser(session: AsyncSession, user: User, settings: Settings) -> None:
    """Refuse to go on when *user* is the last one that can administer the server.

    Args:
        session: A session for writing, alone by ``lock_accounts``.
        user: The account that is about to lose its rights, as it is before.
        settings: The hash parameters.

    Raises:
        RefusedError: No other active superuser exists, or none who can log in.
    """
    before = await lock_superusers(session, settings)
    if lost := before.lost(before.without(user.id)):
        raise REFUSED.with_context(
            f"{user.email} is the last {lost}",
            hint="'clarinet admin promote', 'activate' or 'create' makes another first"
            if lost == "active superuser"
            else "'clarinet admin reset-password' lets another superuser log in first",
        )


def warn_of_log_in(user: User, settings: Settings) -> None:
    """Warn when an account that is meant to be used can't log in.

    Args:
        user: The account, as it is after the change.
        settings: The hash parameters.
    """
    if not user.is_active:
        logger.warning(
            f"the account is inactive: 'clarinet admin activate {user.email}' lets it log in"
        )
    if not can_log_in(user.hashed_password, settings):
        logger.warning(
            f"nobody can log in as {user.email}, the server can't verify its password hash: "
            f"'clarinet admin reset-password {user.email}' sets another"
        )


async def _grant(session: AsyncSession, user: User, roles: Iterable[str]) -> tuple[str, ...]:
    repository = RoleRepository(session)
    await repository.add_missing([ADMIN_ROLE])
    await repository.grant(user.id, {ADMIN_ROLE, *roles})
    return tuple(sorted(await repository.of_user(user.id)))


async def _set_password(
    session: AsyncSession, user: User, password_hash: str, *, keep_sessions: bool
) -> int:
    user.hashed_password = password_hash
    await session.flush()
    return 0 if keep_sessions else await SessionRepository(session).revoke_of_user(user.id)
