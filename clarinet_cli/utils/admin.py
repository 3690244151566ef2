"""Administrator accounts: entry points that own the transaction.

Another Python program can use them; the command line does.
"""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import INVALID
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services import accounts
from clarinet_cli.services.emails import first_admin_email
from clarinet_cli.services.passwords import NewPassword, check_password, hash_password
from clarinet_cli.services.sessions import present_moment
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_USER, UserFilter
from clarinet_cli.utils.database import Access, configured_settings, get_async_session

PLACEHOLDER = "!"  # stands for a hash in a dry run, and is rolled back
WOULD = {"created": "would_create", "updated": "would_update"}


async def list_admin_users(
    settings: Optional[Settings] = None,
    *,
    all_users: bool = False,
    where: UserFilter = ANY_USER,
    now: Optional[datetime] = None,
) -> list[UserRow]:
    """Return what ``stream_admin_users`` yields, as a list."""
    found = stream_admin_users(settings, all_users=all_users, where=where, now=now)
    return [row async for row in found]


async def stream_admin_users(
    settings: Optional[Settings] = None,
    *,
    all_users: bool = False,
    where: UserFilter = ANY_USER,
    now: Optional[datetime] = None,
) -> AsyncGenerator[UserRow, None]:
    """Yield the superusers, or all users, by e-mail address.

    Args:
        settings: Which database, and the idle limit; the project's settings by default.
        all_users: Also those that are not superusers.
        where: Only those for which this holds too.
        now: The instant to judge their sessions at; the database's clock by default.

    Raises:
        NotFoundError: The role of *where* does not exist.
    """
    settings = settings or configured_settings()
    async with get_async_session(settings) as session:
        moment = await present_moment(session, settings, now)
        if where.search is not None and not accounts.storable(where.search):
            raise INVALID.with_context("--search: not valid text")
        if where.role is not None:
            await accounts.require_roles(session, [where.role])
        rows = UserRepository(session).stream(moment, superusers_only=not all_users, where=where)
        async for row in rows:
            yield row


async def find_account(settings: Settings, who: str) -> UserRow:
    """Return the one account that *who* means.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match.
    """
    async with get_async_session(settings) as session:
        users = UserRepository(session)
        user = await accounts.resolve_user(users, who)
        moment = await present_moment(session, settings)
        rows = await users.rows(moment, superusers_only=False, user_id=user.id)
        return rows[0]


async def check_resettable(settings: Settings, who: str, *, any_user: bool) -> UserRow:
    """Return the account whose password may be reset, before anybody is asked for one.

    Args:
        settings: Which database.
        who: The account, as ``resolve_user`` reads it.
        any_user: Also accounts that are not superusers.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
    """
    account = await find_account(settings, who)
    accounts.require_superuser(account, any_user=any_user)
    return account


async def email_addresses(settings: Settings, start: str, *, limit: int) -> list[str]:
    """Return at most *limit* addresses that begin with *start*, in order."""
    async with get_async_session(settings) as session:
        return await UserRepository(session).addresses(start, limit=limit)


async def role_names(settings: Settings) -> list[str]:
    """Return the names of all roles, in order."""
    async with get_async_session(settings) as session:
        return sorted(await RoleRepository(session).names())


async def account_exists(settings: Settings, email: str) -> bool:
    """Return whether an account has this address, in any case of its letters."""
    async with get_async_session(settings) as session:
        return bool(await UserRepository(session).with_email(email))


async def create_admin(
    settings: Settings,
    email: str,
    password: Optional[NewPassword],
    *,
    roles: Iterable[str] = (),
    update: bool = False,
    if_not_exists: bool = False,
    dry_run: bool = False,
) -> AccountChange:
    """Create a superuser with the role ``admin``, or bring an existing account to that.

    Args:
        settings: Which database, and the password rules.
        email: The address, already normalised.
        password: The password; without one an existing account keeps its own.
        roles: Further roles.
        update: Make an existing account an active superuser.
        if_not_exists: Leave an existing account as it is, and say so.
        dry_run: Change nothing, report what would be done.

    Raises:
        ConflictError: The account exists, and neither option was given.
        NotFoundError: There is no such role.
        InvalidInputError: The password breaks the policy, or none is given for a new account.
    """
    hashed = _prepared_hash(settings, password, email, dry_run=dry_run)
    async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
        await ServerRepository(session).one_writer()
        existing = await UserRepository(session).with_email(email)
        if existing and if_not_exists:
            return await _unchanged(session, existing[0])
        if existing and not update:
            raise accounts.existing_account(email)
        if existing:
            user = accounts.only_one(existing, email)
            change = await accounts.update_superuser(
                session, user, password_hash=hashed, roles=roles
            )
        else:
            change = await accounts.create_superuser(
                session, email, _required(hashed, dry_run=dry_run), roles=roles
            )
    return _reported(change, password, dry_run=dry_run)


async def reset_admin_password(
    settings: Settings,
    who: str,
    password: Optional[NewPassword],
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
    dry_run: bool = False,
) -> AccountChange:
    """Set a new password and end the account's sessions, in one transaction.

    Args:
        settings: Which database, and the password rules.
        who: The account, as ``resolve_user`` reads it.
        password: The new password; None only in a dry run.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Leave the sessions alone.
        dry_run: Change nothing, report what would be done.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
        InvalidInputError: The password breaks the policy.
    """
    account = await check_resettable(settings, who, any_user=any_user)
    hashed = _prepared_hash(settings, password, account.email, dry_run=dry_run)
    async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
        user = await accounts.resolve_user(UserRepository(session), who)
        change = await accounts.reset_password(
            session,
            user,
            _required(hashed, dry_run=dry_run),
            any_user=any_user,
            keep_sessions=keep_sessions,
        )
    return _reported(change, password, dry_run=dry_run)


async def ensure_admin_exists(
    settings: Optional[Settings] = None,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
) -> AccountChange:
    """Make sure that an active superuser exists; create the one of the settings if not.

    An account with the settings' address that is inactive or not a superuser is made an
    active superuser; with a password given, it gets that one.

    Args:
        settings: Which database, who the first administrator is, and the password rules;
            the project's settings by default.
        password: For a new account.
        dry_run: Change nothing, report what would be done.

    Raises:
        InvalidInputError: A new account is needed and no password is given.
    """
    settings = settings or configured_settings()
    if found := await find_active_superuser(settings):
        return found
    email = first_admin_email(settings)
    hashed = _prepared_hash(settings, password, email, dry_run=dry_run)
    async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
        await ServerRepository(session).one_writer()
        users = UserRepository(session)
        if other := await users.active_superusers():
            return await _unchanged(session, other[0])
        existing = await users.with_email(email)
        if existing:
            user = accounts.only_one(existing, email)
            change = await accounts.update_superuser(session, user, password_hash=hashed)
        else:
            required = _required(hashed, dry_run=dry_run)
            change = await accounts.create_superuser(session, email, required)
    return _reported(change, password, dry_run=dry_run)


async def find_active_superuser(settings: Settings) -> Optional[AccountChange]:
    """Return an account that can administer the server, as unchanged, or None."""
    async with get_async_session(settings) as session:
        found = await UserRepository(session).active_superusers()
        return await _unchanged(session, min(found, key=_by_email)) if found else None


def _by_email(user: User) -> str:
    return user.email


def _prepared_hash(
    settings: Settings, password: Optional[NewPassword], email: str, *, dry_run: bool
) -> Optional[str]:
    """Check and hash a password before any transaction begins: hashing takes long."""
    if password is None:
        return None
    check_password(password.text, email=email, strong=settings.admin_require_strong_password)
    return PLACEHOLDER if dry_run else hash_password(password, settings)


def _required(hashed: Optional[str], *, dry_run: bool) -> str:
    if hashed is None and not dry_run:
        raise INVALID.with_context("no password is given for the account")
    return hashed or PLACEHOLDER


async def _unchanged(session: AsyncSession, user: User) -> AccountChange:
    roles = await RoleRepository(session).of_user(user.id)
    return AccountChange(user.id, user.email, "unchanged", tuple(sorted(roles)), 0)


def _reported(
    change: AccountChange, password: Optional[NewPassword], *, dry_run: bool
) -> AccountChange:
    """Tell a generated password once; in a dry run tell what would be done."""
    if dry_run:
        unsaved = None if change.result == "created" else change.id
        return replace(change, id=unsaved, result=WOULD.get(change.result, change.result))
    if password and password.generated and change.result != "unchanged":
        return replace(change, password=password.text)
    return change
