"""The rules of accounts that can administer the server, and of passwords."""

from collections.abc import Iterable
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT, REFUSED, ConflictError
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services.accounts import ADMIN_ROLE, require_roles
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
    *,
    password_hash: Optional[str] = None,
    roles: Iterable[str] = (),
) -> AccountChange:
    """Make an account an active superuser with the role ``admin``.

    Args:
        session: A session for writing; the caller commits.
        user: The account, loaded in this session.
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
    logger.info(f"superuser {user.id}: {'updated' if changed else 'unchanged'}")
    result = "updated" if changed else "unchanged"
    return AccountChange(user.id, user.email, result, granted, revoked)


async def reset_password(
    session: AsyncSession,
    user: User,
    password_hash: str,
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
) -> AccountChange:
    """Set a new password and end the account's sessions in the same transaction.

    Args:
        session: A session for writing; the caller commits.
        user: The account, loaded in this session.
        password_hash: The hash of the new password.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Leave the sessions alone.

    Raises:
        RefusedError: The account is not a superuser, and *any_user* is off.
    """
    require_superuser(user, any_user=any_user)
    revoked = await _set_password(session, user, password_hash, keep_sessions=keep_sessions)
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


async def require_another_superuser(session: AsyncSession, user: User) -> None:
    """Refuse to go on when *user* is the last one that can administer the server.

    The superusers are locked first, so that of two commands, or of a command and the
    server, that take each a superuser away at the same moment, the second sees what the
    first did.

    Args:
        session: A session for writing, alone by ``one_writer``.
        user: The account that is about to lose its rights, as it is before.

    Raises:
        RefusedError: No other active superuser exists.
    """
    if await UserRepository(session).lock_active_superusers() == {user.id}:
        raise REFUSED.with_context(
            f"{user.email} is the last active superuser",
            hint="'clarinet admin promote', 'activate' or 'create' makes another first",
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
    return 0 if keep_sessions else await SessionRepository(session).remove_of_user(user.id)
