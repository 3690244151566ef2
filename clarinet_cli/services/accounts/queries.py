"""Looking at accounts: entry points that open the transaction."""

from collections.abc import AsyncGenerator
from dataclasses import asdict
from datetime import datetime
from typing import Optional

from clarinet_cli.database.session import get_async_session
from clarinet_cli.exceptions import NOT_FOUND
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountDetail, DeclaredAccount, RoleRow, UserRow
from clarinet_cli.services.accounts.hashes import inspect_hash
from clarinet_cli.services.accounts.resolve import first_admin_email, resolve_user
from clarinet_cli.services.accounts.superusers import require_superuser
from clarinet_cli.services.clocks import present_moment
from clarinet_cli.settings import Settings

SUPERUSERS_NAMED = 5  # in a hint


async def find_account(settings: Settings, who: str) -> UserRow:
    """Return the one account that *who* means, as listings show it.

    Args:
        settings: Which database.
        who: The account, as ``resolve_user`` reads it.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match.
    """
    async with get_async_session(settings) as session:
        users = UserRepository(session)
        user = await resolve_user(users, who)
        moment = await present_moment(session, settings, warn=False)
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
    require_superuser(account, any_user=any_user)
    return account


async def settings_admin(settings: Settings) -> str:
    """Return the address of the administrator of the settings, who has an account.

    Raises:
        ConfigurationError: ``admin_email`` or ``admin_username`` gives no usable address.
        NotFoundError: Nobody has that address; the hint names who is a superuser.
    """
    email = first_admin_email(settings)
    async with get_async_session(settings) as session:
        users = UserRepository(session)
        if await users.with_email(email):
            return email
        others = sorted(user.email for user in await users.active_superusers())
    named = ", ".join(others[:SUPERUSERS_NAMED]) or "none: 'clarinet admin ensure' makes one"
    raise NOT_FOUND.with_context(
        f"the administrator of the settings, {email}, has no account",
        hint=f"name one; superusers: {named}",
    )


async def account_detail(
    settings: Settings, who: str, *, now: Optional[datetime] = None
) -> AccountDetail:
    """Return all that is known of one account, and never its hash.

    Args:
        settings: Which database, the idle limit, and the hash parameters that are current.
        who: The account, as ``resolve_user`` reads it.
        now: The instant to judge its sessions at; the database's clock by default.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match.
    """
    async with get_async_session(settings) as session:
        users = UserRepository(session)
        user = await resolve_user(users, who)
        moment = await present_moment(session, settings, now)
        row = (await users.rows(moment, superusers_only=False, user_id=user.id))[0]
        states = await users.sessions_by_state(moment, user.id)
        stored = inspect_hash(user.hashed_password, settings)
    return AccountDetail(
        **asdict(row),
        password_scheme=stored.scheme,
        password_current=stored.current,
        password_parameters=stored.parameters,
        sessions_by_state=states,
    )


async def roles_with_members(settings: Settings) -> list[RoleRow]:
    """Return all roles by name, with the number of accounts that have each."""
    async with get_async_session(settings) as session:
        return await RoleRepository(session).with_members()


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


async def stream_declared(settings: Settings) -> AsyncGenerator[DeclaredAccount, None]:
    """Yield all accounts by address, in the words of a file that declares them.

    Args:
        settings: Which database.
    """
    async with get_async_session(settings) as session:
        moment = await present_moment(session, settings, warn=False)
        async for row in UserRepository(session).stream(moment, superusers_only=False):
            yield DeclaredAccount(
                row.email, row.is_active, row.is_superuser, row.is_verified, row.roles
            )
