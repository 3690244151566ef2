"""Administrator accounts: entry points that own the transaction.

Another Python program can use them; the command line does.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.session import configured_settings, get_async_session
from clarinet_cli.exceptions import INVALID
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services.accounts import resolve, superusers
from clarinet_cli.services.accounts.hashes import PLACEHOLDER, can_log_in
from clarinet_cli.services.accounts.passwords import NewPassword, hash_password, require_acceptable
from clarinet_cli.services.accounts.queries import check_resettable
from clarinet_cli.services.accounts.resolve import first_admin_email
from clarinet_cli.services.accounts.transactions import alone, note_down, planned
from clarinet_cli.services.clocks import present_moment
from clarinet_cli.services.sessions.settle import Settle
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_USER, UserFilter

Deliver = Callable[[AccountChange], None]


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
        if where.search is not None and not resolve.storable(where.search):
            raise INVALID.with_context("--search: not valid text")
        if where.role is not None:
            await resolve.require_roles(session, [where.role])
        rows = UserRepository(session).stream(moment, superusers_only=not all_users, where=where)
        async for row in rows:
            yield row


async def create_admin(
    settings: Settings,
    email: str,
    password: Optional[NewPassword],
    *,
    roles: Iterable[str] = (),
    update: bool = False,
    if_not_exists: bool = False,
    dry_run: bool = False,
    settle: Optional[Settle] = None,
    deliver: Optional[Deliver] = None,
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
        settle: Takes an existing account down that got another password.
        deliver: Shows a generated password before the commit; fails when it can't.

    Raises:
        ConflictError: The account exists, and neither option was given.
        NotFoundError: There is no such role.
        InvalidInputError: The password breaks the policy, or none is given for a new account.
    """
    hashed = _prepared_hash(settings, password, email, dry_run=dry_run)
    async with alone(settings, dry_run=dry_run) as (session, trail):
        existing = await UserRepository(session).with_email(email)
        if existing and if_not_exists:
            return await _unchanged(session, existing[0])
        if existing and not update:
            raise superusers.existing_account(email)
        if existing:
            user = await _locked(session, existing, email)
            change = await superusers.update_superuser(
                session, user, settings, password_hash=hashed, roles=roles
            )
        else:
            change = await superusers.create_superuser(
                session, email, _required(hashed, dry_run=dry_run), roles=roles
            )
        note_down(trail, change)
        await _deliver(session, deliver, _reported(change, password, dry_run=dry_run))
    _settle(settle if existing and hashed else None, change, dry_run=dry_run)
    return _reported(change, password, dry_run=dry_run)


async def reset_admin_password(
    settings: Settings,
    who: str,
    password: Optional[NewPassword],
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
    dry_run: bool = False,
    settle: Optional[Settle] = None,
    deliver: Optional[Deliver] = None,
) -> AccountChange:
    """Set a new password and end the account's sessions, in one transaction.

    Args:
        settings: Which database, and the password rules.
        who: The account, as ``resolve_user`` reads it.
        password: The new password; None only in a dry run.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Leave the sessions alone.
        dry_run: Change nothing, report what would be done.
        settle: Takes the account down when its sessions ended.
        deliver: Shows a generated password before the commit; fails when it can't.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
        InvalidInputError: The password breaks the policy.
    """
    account = await check_resettable(settings, who, any_user=any_user)
    hashed = _prepared_hash(settings, password, account.email, dry_run=dry_run)
    async with alone(settings, dry_run=dry_run) as (session, trail):
        user = await resolve.locked_user(session, who)
        change = await superusers.reset_password(
            session,
            user,
            _required(hashed, dry_run=dry_run),
            settings,
            any_user=any_user,
            keep_sessions=keep_sessions,
        )
        note_down(trail, change)
        await _deliver(session, deliver, _reported(change, password, dry_run=dry_run))
    _settle(None if keep_sessions else settle, change, dry_run=dry_run)
    return _reported(change, password, dry_run=dry_run)


async def ensure_admin_exists(
    settings: Optional[Settings] = None,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    settle: Optional[Settle] = None,
    deliver: Optional[Deliver] = None,
) -> AccountChange:
    """Make sure that an active superuser exists; create the one of the settings if not.

    An account with the settings' address that is inactive or not a superuser is made an
    active superuser; with a password given, it gets that one. Where active superusers exist
    and none can log in, nothing is changed, with a warning that says which command helps: a
    second administrator beside them, or another password for one, is for a person to ask for.

    Args:
        settings: Which database, who the first administrator is, and the password rules;
            the project's settings by default.
        password: For a new account.
        dry_run: Change nothing, report what would be done.
        settle: Takes an existing account down that got another password.
        deliver: Shows a generated password before the commit; fails when it can't.

    Raises:
        InvalidInputError: A new account is needed and no password is given.
    """
    settings = settings or configured_settings()
    if found := await find_active_superuser(settings):
        await warn_if_nobody_can_log_in(settings)
        return found
    email = first_admin_email(settings)
    hashed = _prepared_hash(settings, password, email, dry_run=dry_run)
    async with alone(settings, dry_run=dry_run) as (session, trail):
        users = UserRepository(session)
        if others := await users.active_superusers():
            return await _unchanged(session, _first_able(others, settings))
        existing = await users.with_email(email)
        if existing:
            user = await _locked(session, existing, email)
            change = await superusers.update_superuser(
                session, user, settings, password_hash=hashed
            )
        else:
            required = _required(hashed, dry_run=dry_run)
            change = await superusers.create_superuser(session, email, required)
        note_down(trail, change)
        await _deliver(session, deliver, _reported(change, password, dry_run=dry_run))
    _settle(settle if existing and hashed else None, change, dry_run=dry_run)
    return _reported(change, password, dry_run=dry_run)


async def find_active_superuser(settings: Settings) -> Optional[AccountChange]:
    """Return an account that can administer the server, as unchanged, or None."""
    async with get_async_session(settings) as session:
        found = await UserRepository(session).active_superusers()
        return await _unchanged(session, _first_able(found, settings)) if found else None


async def warn_if_nobody_can_log_in(settings: Settings) -> None:
    """Warn when there are active superusers and the server can verify no one's password."""
    async with get_async_session(settings) as session:
        found = await UserRepository(session).active_superusers()
        first = _first_able(found, settings) if found else None
    if first is not None:
        superusers.warn_of_log_in(first, settings)


def _first_able(found: Sequence[User], settings: Settings) -> User:
    """Return the first active superuser by address, those who can log in before the others."""

    def order(user: User) -> tuple[bool, str]:
        return not can_log_in(user.hashed_password, settings), user.email

    return min(found, key=order)


def _settle(settle: Optional[Settle], change: AccountChange, *, dry_run: bool) -> None:
    """Take an account down whose sessions have ended, once that has committed."""
    if settle is not None and change.id is not None and not dry_run:
        settle.accounts.add(change.id)


async def _deliver(
    session: AsyncSession, deliver: Optional[Deliver], change: AccountChange
) -> None:
    """Let a generated password be shown when all but the commit is done."""
    if deliver is not None and change.password is not None:
        await session.flush()
        deliver(change)


def _prepared_hash(
    settings: Settings, password: Optional[NewPassword], email: str, *, dry_run: bool
) -> Optional[str]:
    """Check and hash a password before any transaction begins: hashing takes long."""
    if password is None:
        return None
    require_acceptable(password, email, settings)
    return PLACEHOLDER if dry_run else hash_password(password, settings)


def _required(hashed: Optional[str], *, dry_run: bool) -> str:
    if hashed is None and not dry_run:
        raise INVALID.with_context("no password is given for the account")
    return hashed or PLACEHOLDER


async def _locked(session: AsyncSession, found: Sequence[User], email: str) -> User:
    return await resolve.locked_user(session, str(resolve.only_one(found, email).id))


async def _unchanged(session: AsyncSession, user: User) -> AccountChange:
    roles = await RoleRepository(session).of_user(user.id)
    return AccountChange(user.id, user.email, "unchanged", tuple(sorted(roles)), 0)


def _reported(
    change: AccountChange, password: Optional[NewPassword], *, dry_run: bool
) -> AccountChange:
    """Tell a generated password once; in a dry run tell what would be done."""
    if dry_run:
        return planned(change)
    if password and password.generated and change.result != "unchanged":
        return replace(change, password=password.text)
    return change
