"""Operations of the services as functions of the settings: each in a unit of work of its own."""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, Concatenate, Optional, ParamSpec, TypeVar

from clarinet_cli.results import (
    AccountChange,
    AppliedAccount,
    RevokeAllReport,
    RevokeReport,
    SessionChange,
    SessionRow,
    Step,
)
from clarinet_cli.services import bootstrap
from clarinet_cli.services.accounts import apply, changes, first_superuser, queries
from clarinet_cli.services.accounts.file import AccountEntry
from clarinet_cli.services.accounts.hashes import prepare_password
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.sessions import queries as session_queries
from clarinet_cli.services.sessions import revoke
from clarinet_cli.services.sessions import revoke_all as revoke_all_operations
from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
from clarinet_cli.services.unit_of_work import Access, UnitOfWork, open_database, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.types import ANY_SESSION, PhaseCallback, SessionFilter, StateName

P = ParamSpec("P")
T = TypeVar("T")


def _reading(
    operation: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
) -> Callable[Concatenate[Settings, P], Coroutine[Any, Any, T]]:
    """Return a query as a function of the settings."""

    async def run(settings: Settings, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with unit_of_work(settings) as work:
            return await operation(work, *args, **kwargs)

    return run


account_detail = _reading(queries.account_detail)
find_account = _reading(queries.find_account)
show_session = _reading(session_queries.show_session)
session_stats = _reading(session_queries.session_stats)
count_to_revoke = _reading(revoke_all_operations.count_to_revoke)
count_matching_sessions = _reading(revoke.count_matching_sessions)


async def change_account(
    settings: Settings,
    identifier: str,
    operation: changes.AccountOperation,
    *,
    dry_run: bool = False,
    late: Optional[ConcurrentLogins] = None,
) -> AccountChange:
    """Change one account; its id is added to *late* if its sessions were revoked."""
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        change = await changes.change_account(work, identifier, operation)
    _sign_out(work, late)
    return change


async def create_superuser(
    settings: Settings,
    email: str,
    password: Optional[NewPassword],
    *,
    roles: Iterable[str] = (),
    update: bool = False,
    if_not_exists: bool = False,
    dry_run: bool = False,
    late: Optional[ConcurrentLogins] = None,
) -> AccountChange:
    """Create a superuser, or update the account."""
    prepared = prepare_password(password, email, settings, dry_run=dry_run)
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        change = await changes.create_account(
            work, email, prepared, roles=roles, update=update, if_not_exists=if_not_exists
        )
    _sign_out(work, late)
    return change


async def reset_password(
    settings: Settings,
    identifier: str,
    password: Optional[NewPassword],
    *,
    keep_sessions: bool = False,
    dry_run: bool = False,
    late: Optional[ConcurrentLogins] = None,
) -> AccountChange:
    """Reset the password of a superuser."""
    prepared = prepare_password(password, identifier, settings, dry_run=dry_run)
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        change = await changes.reset_password(
            work, identifier, prepared, keep_sessions=keep_sessions
        )
    _sign_out(work, late)
    return change


async def ensure_superuser(
    settings: Settings, password: NewPassword, *, late: Optional[ConcurrentLogins] = None
) -> AccountChange:
    """Ensure that there is a superuser."""
    async with open_database(settings) as database:
        return await first_superuser.ensure_superuser(database, password, concurrent_logins=late)


async def apply_accounts(
    settings: Settings,
    declared: Sequence[AccountEntry],
    plan: apply.ApplyPlan,
    *,
    late: Optional[ConcurrentLogins] = None,
    progress: PhaseCallback = lambda done, total, phase: None,
) -> list[AppliedAccount]:
    """Apply a file."""
    async with open_database(settings) as database:
        return await apply.apply_accounts(
            database, declared, plan, progress=progress, concurrent_logins=late
        )


async def revoke_late_logins(settings: Settings, late: ConcurrentLogins) -> None:
    """Wait for late log-ins and revoke their sessions."""
    async with open_database(settings) as database:
        await late.revoke(database)


async def sessions_of_user(
    settings: Settings,
    identifier: str,
    *,
    active_only: bool = False,
    now: Optional[datetime] = None,
) -> list[SessionRow]:
    """Return one user's sessions, newest first."""
    where = SessionFilter(states=(StateName.ACTIVE,)) if active_only else ANY_SESSION
    pages = session_queries.list_sessions(settings, where, identifier=identifier, now=now)
    return [row async for page in pages for row in page]


async def revoke_for_user(
    settings: Settings,
    identifier: str,
    *,
    keep_current: Collection[str] = (),
    keep_newest: int = 0,
    dry_run: bool = False,
) -> RevokeReport:
    """Revoke a user's sessions."""
    async with unit_of_work(settings, access=Access.WRITE, dry_run=dry_run) as work:
        return await revoke.revoke_for_user(
            work, identifier, keep_current=keep_current, keep_newest=keep_newest
        )


async def revoke_sessions(
    settings: Settings,
    wanted: Sequence[str],
    where: SessionFilter = ANY_SESSION,
    *,
    identifier: Optional[str] = None,
) -> list[SessionChange]:
    """Revoke sessions by their ids."""
    async with unit_of_work(settings, access=Access.WRITE) as work:
        return await revoke.revoke_sessions(work, wanted, where, identifier=identifier)


async def revoke_matching(
    settings: Settings,
    where: SessionFilter,
    *,
    identifier: Optional[str] = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = bool,
) -> list[SessionChange]:
    """Revoke the sessions that match a filter."""
    async with open_database(settings) as database:
        return await revoke.revoke_matching(
            database,
            where,
            identifier=identifier,
            dry_run=dry_run,
            progress=progress,
            stopped=stopped,
        )


async def revoke_all(
    settings: Settings,
    excluded: Sequence[str],
    *,
    keep_current: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = bool,
) -> RevokeAllReport:
    """Revoke all sessions but those of some users."""
    async with open_database(settings) as database:
        return await revoke_all_operations.revoke_all(
            database, excluded, keep_current=keep_current, progress=progress, stopped=stopped
        )


async def initialise_database(
    settings: Settings, password: Optional[NewPassword], *, dry_run: bool = False
) -> list[Step]:
    """Initialise the database."""
    async with open_database(settings) as database:
        return await bootstrap.initialise_database(database, password, dry_run=dry_run)


async def superuser_is_missing(settings: Settings) -> bool:
    """Return whether initialising the database requires a password."""
    async with open_database(settings) as database:
        return await bootstrap.superuser_is_missing(database)


async def ensure_roles(settings: Settings, *, dry_run: bool = False) -> Step:
    """Create the roles that do not exist."""
    async with open_database(settings) as database:
        return await bootstrap.ensure_roles(database, dry_run=dry_run)


def _sign_out(work: UnitOfWork, late: Optional[ConcurrentLogins]) -> None:
    if late is not None:
        late.accounts |= work.revoked_users
