"""Queries on accounts."""

from collections.abc import AsyncGenerator
from dataclasses import asdict
from datetime import datetime
from typing import Optional

from clarinet_cli.exceptions import INVALID, NOT_FOUND
from clarinet_cli.repositories.account_listing import AccountListing
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountDetail, DeclaredAccount, RoleRow, UserRow
from clarinet_cli.services.accounts.hashes import inspect_hash
from clarinet_cli.services.accounts.resolve import (
    first_admin_email,
    require_roles,
    resolve_user,
    storable,
)
from clarinet_cli.services.accounts.superusers import require_superuser
from clarinet_cli.services.clocks import current_policy
from clarinet_cli.services.unit_of_work import Database, UnitOfWork, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_USER, UserFilter

SUPERUSERS_NAMED = 5  # in a hint


async def find_account(work: UnitOfWork, identifier: str) -> UserRow:
    """Return an account as listings show it.

    Args:
        work: A unit of work.
        identifier: See ``resolve_user``.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: Several accounts match.
    """
    users = UserRepository(work.session)
    user = await resolve_user(users, identifier)
    policy = await current_policy(work.session, work.settings, warn=False)
    return (
        await AccountListing(work.session).rows(policy, superusers_only=False, user_id=user.id)
    )[0]


async def resettable_account(
    work: UnitOfWork, identifier: Optional[str], *, any_user: bool
) -> UserRow:
    """Return the account whose password is to be reset, before it is prompted for.

    Args:
        work: A unit of work.
        identifier: See ``resolve_user``; None: the administrator of the settings.
        any_user: Also accounts that are not superusers.

    Raises:
        NotFoundError: The account does not exist; without *identifier* the hint lists superusers.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
    """
    if identifier is None:
        identifier = await _settings_admin(work)
    account = await find_account(work, identifier)
    require_superuser(account, any_user=any_user)
    return account


async def _settings_admin(work: UnitOfWork) -> str:
    users = UserRepository(work.session)
    reason = "no USER is given, and the settings have no admin_email"
    if work.settings.names_admin:
        email = first_admin_email(work.settings)
        if await users.find_by_email(email):
            return email
        reason = f"the administrator of the settings, {email}, has no account"
    others = sorted(user.email for user in await users.active_superusers())
    named = (
        ", ".join(others[:SUPERUSERS_NAMED]) or "none; 'clarinet admin create ADDRESS' creates one"
    )
    error = NOT_FOUND if work.settings.names_admin else INVALID
    raise error.with_context(reason, hint=f"give USER; superusers: {named}")


async def account_detail(
    work: UnitOfWork, identifier: str, *, now: Optional[datetime] = None
) -> AccountDetail:
    """Return one account with its roles, sessions and hash parameters, without the hash.

    Args:
        work: A unit of work.
        identifier: See ``resolve_user``.
        now: The reference time; the database's clock by default.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: Several accounts match.
    """
    users = UserRepository(work.session)
    user = await resolve_user(users, identifier)
    policy = await current_policy(work.session, work.settings, now)
    row = (await AccountListing(work.session).rows(policy, superusers_only=False, user_id=user.id))[
        0
    ]
    stored = inspect_hash(user.hashed_password, work.settings)
    return AccountDetail(
        **asdict(row),
        password_scheme=stored.scheme,
        password_current=stored.current,
        password_parameters=stored.parameters,
        sessions_by_state=await AccountListing(work.session).sessions_by_state(policy, user.id),
    )


async def roles_with_members(work: UnitOfWork) -> list[RoleRow]:
    """Return all roles by name, with the number of accounts that have each."""
    return await RoleRepository(work.session).with_members()


async def email_addresses(work: UnitOfWork, start: str, *, limit: int) -> list[str]:
    """Return at most *limit* addresses that begin with *start*, in order."""
    return await UserRepository(work.session).addresses(start, limit=limit)


async def role_names(work: UnitOfWork) -> list[str]:
    """Return the names of all roles, in order."""
    return sorted(await RoleRepository(work.session).names())


async def account_exists(work: UnitOfWork, email: str) -> bool:
    """Return whether an account has this address, in any case of its letters."""
    return bool(await UserRepository(work.session).find_by_email(email))


async def stream_accounts(
    source: Settings | Database,
    *,
    all_users: bool = False,
    where: UserFilter = ANY_USER,
    now: Optional[datetime] = None,
) -> AsyncGenerator[list[UserRow], None]:
    """Yield the superusers, or all users, by e-mail address, in batches of one transaction.

    Args:
        source: The database, and the idle limit.
        all_users: Also those that are not superusers.
        where: Only those that match.
        now: The reference time; the database's clock by default.

    Raises:
        NotFoundError: The role of *where* does not exist.
    """
    async with unit_of_work(source) as work:
        policy = await current_policy(work.session, work.settings, now)
        if where.search is not None and not storable(where.search):
            raise INVALID.with_context("--search: not valid text")
        if where.role is not None:
            await require_roles(work.session, [where.role])
        listing = AccountListing(work.session)
        async for rows in listing.stream(policy, superusers_only=not all_users, where=where):
            yield rows


async def stream_declared(
    source: Settings | Database,
) -> AsyncGenerator[list[DeclaredAccount], None]:
    """Yield all accounts by address, as a file declares them, in batches of one transaction."""
    async with unit_of_work(source) as work:
        async for accounts in AccountListing(work.session).stream_declared():
            yield accounts
