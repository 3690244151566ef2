"""The rules of accounts: who is meant, who may be changed, and what goes with it."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import (
    CONFLICT,
    NOT_FOUND,
    REFUSED,
    ConflictError,
    InvalidInputError,
)
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.session_state import Moment
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services.emails import normalise_email
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

ADMIN_ROLE = "admin"
PREFIX = re.compile(r"[0-9a-f]{8,32}")
WHO_HINT = "USER is an e-mail address, a UUID, or the first 8 or more digits of one"


def moment_of(settings: Settings, now: datetime) -> Moment:
    """Return the instant and the idle limit to judge sessions by."""
    minutes = settings.session_idle_timeout_minutes
    return Moment(now=now, idle_after=timedelta(minutes=minutes) if minutes else None)


async def resolve_user(users: UserRepository, who: str) -> User:
    """Return the one account that *who* means.

    Args:
        users: Where to look.
        who: An e-mail address in any case, a UUID, or at least 8 digits of one.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match; the error lists them.
    """
    digits = who.replace("-", "").casefold()
    if not storable(who):
        raise NOT_FOUND.with_context(f"no user {who!r}", hint=WHO_HINT)
    if "@" in who:
        found = await _with_address(users, who)
    elif PREFIX.fullmatch(digits):
        found = await users.with_id_prefix(digits)
    else:
        raise NOT_FOUND.with_context(f"no user {who!r}", hint=WHO_HINT)
    if not found:
        raise NOT_FOUND.with_context(f"no user {who!r}", hint="'clarinet admin list --all'")
    return only_one(found, who)


def only_one(found: Sequence[User], who: str) -> User:
    """Return the one account that was found.

    Raises:
        RefusedError: Several were found; the error lists them.
    """
    if len(found) > 1:
        matches = ", ".join(f"{user.email} ({user.id})" for user in found)
        raise REFUSED.with_context(f"{who!r} is ambiguous: {matches}", hint="give the whole UUID")
    return found[0]


def storable(text: str) -> bool:
    """Return whether a database can hold *text*: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


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


async def require_roles(session: AsyncSession, names: Iterable[str]) -> None:
    """Refuse roles that do not exist.

    Raises:
        NotFoundError: One of *names* is unknown; the hint lists those that exist.
    """
    wanted = set(names) - {ADMIN_ROLE}
    known = await RoleRepository(session).names() if wanted else set()
    if missing := sorted(wanted - known):
        raise NOT_FOUND.with_context(
            f"no role {', '.join(map(repr, missing))}", hint=f"roles: {', '.join(sorted(known))}"
        )


async def _with_address(users: UserRepository, who: str) -> Sequence[User]:
    """Find an address as typed, which is how the server looks for it, and in its normal form.

    The server folds case alone: where the forms differ by more, the one that was typed is
    the account that it would log in.
    """
    normal = _as_stored(who)
    if normal.lower() == who.lower():
        return await users.with_email(who, normal)
    return await users.with_email(who) or await users.with_email(normal)


def _as_stored(who: str) -> str:
    """Normalise what is an address; the rest may still be stored in an old database."""
    try:
        return normalise_email(who)
    except InvalidInputError:
        return who


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
