"""Accounts and log-in sessions for other Python programs, such as an endpoint of FastAPI.

Each function takes settings, as ``make_settings`` returns them, and runs in the event loop of its
caller. It opens its own connections and closes them. Nothing is global: no file is read, no
signal handler is installed and no logging is configured.

All of them raise subclasses of ``ClarinetError``; nothing was changed then, unless its
``outcome_unknown`` is set.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Optional

from clarinet_cli.exceptions import (
    BusyError,
    ClarinetError,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from clarinet_cli.mapping import Mapping
from clarinet_cli.results import (
    AccountChange,
    AccountDetail,
    CleanupReport,
    RevokeReport,
    SessionChange,
    SessionRow,
    SessionStats,
    UserRow,
)
from clarinet_cli.services.accounts import changes, queries
from clarinet_cli.services.accounts.hashes import PreparedPassword, prepare_password
from clarinet_cli.services.accounts.passwords import NewPassword, generate_password
from clarinet_cli.services.accounts.resolve import normalise_email
from clarinet_cli.services.mapped import require_known_command
from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from clarinet_cli.services.sessions import queries as session_queries
from clarinet_cli.services.sessions import revoke
from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
from clarinet_cli.services.unit_of_work import (
    Access,
    Database,
    UnitOfWork,
    open_database,
    unit_of_work,
)
from clarinet_cli.settings import Settings, load_settings, make_settings
from clarinet_cli.types import SETTLE_SECONDS, SessionFilter, StateName, UserFilter

__all__ = [
    "AccountChange",
    "AccountDetail",
    "BusyError",
    "ClarinetError",
    "CleanupReport",
    "ConfigurationError",
    "ConflictError",
    "InvalidInputError",
    "Mapping",
    "NotFoundError",
    "RefusedError",
    "RevokeReport",
    "SessionChange",
    "SessionRow",
    "SessionStats",
    "Settings",
    "StateName",
    "UnreachableError",
    "UserRow",
    "clean_up_sessions",
    "create_account",
    "delete_account",
    "get_account",
    "get_session_stats",
    "list_accounts",
    "list_sessions",
    "load_settings",
    "make_settings",
    "revoke_session",
    "revoke_sessions",
    "set_active",
    "set_password",
    "set_superuser",
]


async def list_accounts(
    settings: Settings,
    *,
    superusers_only: bool = False,
    inactive_only: bool = False,
    search: Optional[str] = None,
) -> list[UserRow]:
    """Return accounts by e-mail address.

    Args:
        settings: The settings, which name the database.
        superusers_only: Only superusers.
        inactive_only: Only inactive accounts.
        search: Only accounts whose address contains this text, in any case.
    """
    where = UserFilter(inactive_only=inactive_only, search=search)
    pages = queries.stream_accounts(settings, all_users=not superusers_only, where=where)
    return [row async for page in pages for row in page]


async def get_account(settings: Settings, user: str) -> AccountDetail:
    """Return one account with its flags, its roles and its sessions by state.

    Args:
        settings: The settings, which name the database.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: Several accounts match.
    """
    async with unit_of_work(settings) as work:
        return await queries.account_detail(work, user)


async def create_account(
    settings: Settings,
    email: str,
    password: Optional[str] = None,
    *,
    superuser: bool = False,
    roles: Iterable[str] = (),
    dry_run: bool = False,
) -> AccountChange:
    """Create an active account with a verified address.

    Args:
        settings: The database, and the rules for passwords.
        email: The address.
        password: The password; None: one is generated and returned as ``password``.
        superuser: Make it a superuser.
        roles: The roles of the account, besides the role ``admin`` of a superuser.
        dry_run: Change nothing; report what would be done.

    Raises:
        ConflictError: An account already has this address.
        InvalidInputError: The address is invalid, or the password breaks the rules.
        NotFoundError: The role does not exist.
        RefusedError: A column without a default has no value in ``create_values``.
    """
    address = normalise_email(email)
    prepared = await _prepare(settings, address, password, dry_run=dry_run)
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        return await changes.create_account(
            work, address, prepared, superuser=superuser, roles=tuple(roles)
        )


async def set_password(
    settings: Settings,
    user: str,
    password: Optional[str] = None,
    *,
    keep_sessions: bool = False,
    settle_seconds: float = SETTLE_SECONDS,
    dry_run: bool = False,
) -> AccountChange:
    """Set a new password and revoke the sessions of the account.

    Args:
        settings: The database, and the rules for passwords.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.
        password: The password; None: one is generated and returned as ``password``.
        keep_sessions: Do not revoke the sessions.
        settle_seconds: How long to wait for log-ins in progress, to revoke their sessions too;
            0: do not wait.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The account does not exist.
        InvalidInputError: The password breaks the rules.
        RefusedError: Several accounts match.
    """
    async with open_database(settings) as database:
        async with unit_of_work(database) as work:
            account = await queries.find_account(work, user)
        prepared = await _prepare(settings, account.email, password, dry_run=dry_run)
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            change = await changes.reset_password(
                work, str(account.id), prepared, any_user=True, keep_sessions=keep_sessions
            )
        return await _revoke_concurrent_logins(database, work, change, settle_seconds)


async def set_active(
    settings: Settings,
    user: str,
    *,
    active: bool,
    settle_seconds: float = SETTLE_SECONDS,
    dry_run: bool = False,
) -> AccountChange:
    """Allow an account to log in, or deactivate it and revoke its sessions.

    Args:
        settings: The settings, which name the database.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.
        active: Whether the account can log in.
        settle_seconds: How long to wait for log-ins in progress, to revoke their sessions too; 0:
            do not wait.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: It is the last active superuser, or several accounts match.
    """
    operation = changes.activate if active else changes.deactivate
    return await _change(settings, user, operation, settle_seconds, dry_run=dry_run)


async def set_superuser(
    settings: Settings,
    user: str,
    *,
    superuser: bool,
    settle_seconds: float = SETTLE_SECONDS,
    dry_run: bool = False,
) -> AccountChange:
    """Make an account a superuser, or a regular account whose sessions are revoked.

    Args:
        settings: The settings, which name the database.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.
        superuser: Whether it is a superuser.
        settle_seconds: How long to wait for log-ins in progress, to revoke their sessions too; 0:
            do not wait.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: It is the last active superuser, or several accounts match.
    """
    operation = changes.promote if superuser else changes.demote
    return await _change(settings, user, operation, settle_seconds, dry_run=dry_run)


async def delete_account(
    settings: Settings,
    user: str,
    *,
    settle_seconds: float = SETTLE_SECONDS,
    dry_run: bool = False,
) -> AccountChange:
    """Delete an account with its roles, its sessions, and the rows that cascade.

    Args:
        settings: The settings, which name the database.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.
        settle_seconds: How long to wait for log-ins in progress, to revoke their sessions too; 0:
            do not wait.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The account does not exist.
        ConflictError: Rows of other tables refer to it and do not cascade.
        RefusedError: It is the last active superuser, or several accounts match.
    """
    return await _change(settings, user, changes.delete, settle_seconds, dry_run=dry_run)


async def list_sessions(
    settings: Settings,
    *,
    user: Optional[str] = None,
    states: Iterable[StateName] = (),
    older_than: Optional[timedelta] = None,
    limit: Optional[int] = None,
) -> list[SessionRow]:
    """Return log-in sessions, newest first.

    Args:
        settings: The database, and the lifetime of sessions.
        user: Only sessions of this user: an e-mail address, an id, or a prefix of a UUID.
        states: Only sessions in one of these states; empty: any state.
        older_than: Only sessions created longer ago than this.
        limit: The maximum number; None: all.

    Raises:
        NotFoundError: The user does not exist.
        RefusedError: Several users match, or the sessions are not in the database.
    """
    require_known_command(settings, "session list")
    where = SessionFilter(states=tuple(states), older_than=older_than, limit=limit)
    pages = session_queries.list_sessions(settings, where, identifier=user)
    return [row async for page in pages for row in page]


async def get_session_stats(settings: Settings) -> SessionStats:
    """Return the number of sessions by state and age.

    Args:
        settings: The database, and the lifetime of sessions.

    Raises:
        RefusedError: The sessions are not in the database.
    """
    require_known_command(settings, "session stats")
    async with unit_of_work(settings, access=Access.REPLICA) as work:
        return await session_queries.session_stats(work)


async def revoke_sessions(
    settings: Settings, user: str, *, keep_newest: int = 0, dry_run: bool = False
) -> RevokeReport:
    """Revoke the sessions of a user.

    Args:
        settings: The settings, which name the database.
        user: An e-mail address, an id, or the first 8 or more digits of a UUID.
        keep_newest: How many of the newest sessions to keep.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The user does not exist.
        RefusedError: Several users match, or the sessions are not in the database.
    """
    require_known_command(settings, "session revoke-user")
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        return await revoke.revoke_for_user(work, user, keep_newest=keep_newest)


async def revoke_session(
    settings: Settings, session: str, *, user: Optional[str] = None, dry_run: bool = False
) -> SessionChange:
    """Revoke one session.

    Args:
        settings: The settings, which name the database.
        session: The ``id`` of a ``SessionRow``, or the whole token.
        user: Only among the sessions of this user: an e-mail address, an id, or a prefix of a UUID.
        dry_run: Change nothing; report what would be done.

    Raises:
        NotFoundError: The session or user does not exist.
        RefusedError: Several match, or the sessions are not in the database.
    """
    require_known_command(settings, "session revoke")
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        return (await revoke.revoke_sessions(work, [session], identifier=user))[0]


async def clean_up_sessions(
    settings: Settings,
    *,
    older_than: Optional[timedelta] = None,
    max_seconds: Optional[float] = None,
    dry_run: bool = False,
) -> CleanupReport:
    """Delete expired and idle sessions in short transactions, while a server runs.

    Args:
        settings: The database, and the lifetime of sessions.
        older_than: Also delete sessions created longer ago than this; None: do not.
        max_seconds: Stop after this time; None: no limit.
        dry_run: Count the sessions and delete none.

    Raises:
        BusyError: Another clean-up is running, or a lock was held for too long.
        RefusedError: The sessions are not in the database.
    """
    require_known_command(settings, "session cleanup")
    plan = CleanupPlan(
        batch_size=settings.session_cleanup_batch_size,
        older_than=older_than,
        max_time=max_seconds,
        dry_run=dry_run,
    )
    return await clean_up(settings, plan)


async def _prepare(
    settings: Settings, email: str, password: Optional[str], *, dry_run: bool
) -> Optional[PreparedPassword]:
    """Check and hash a password in a thread, so that the event loop is not blocked."""
    new = generate_password() if password is None else NewPassword(password)
    return await asyncio.to_thread(prepare_password, new, email, settings, dry_run=dry_run)


async def _change(
    settings: Settings,
    user: str,
    operation: changes.AccountOperation,
    settle_seconds: float,
    *,
    dry_run: bool,
) -> AccountChange:
    async with open_database(settings) as database:
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            change = await changes.change_account(work, user, operation)
        return await _revoke_concurrent_logins(database, work, change, settle_seconds)


async def _revoke_concurrent_logins(
    database: Database, work: UnitOfWork, change: AccountChange, seconds: float
) -> AccountChange:
    """Revoke the sessions of log-ins that were in progress; return the change with their count."""
    logins = ConcurrentLogins(seconds)
    logins.accounts |= work.revoked_users
    try:
        await logins.revoke(database)
    except ClarinetError as error:
        message = f"the change was committed, but revoking new sessions failed: {error.message}"
        raise error.with_context(message, hint="revoke_sessions revokes them") from error
    return replace(change, sessions_revoked=change.sessions_revoked + sum(logins.revoked.values()))
