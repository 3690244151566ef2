"""Find an active superuser, or create the one named in the settings."""

from collections.abc import Callable
from typing import Optional

from clarinet_cli.models import User
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.changes import create_account, report_unchanged
from clarinet_cli.services.accounts.hashes import can_log_in, prepare_password
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.accounts.resolve import first_admin_email
from clarinet_cli.services.accounts.superusers import warn_if_no_log_in
from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
from clarinet_cli.services.unit_of_work import Access, Database, UnitOfWork, unit_of_work

PasswordCallback = Callable[[AccountChange], None]


async def find_superuser(work: UnitOfWork, *, warn: bool = False) -> Optional[AccountChange]:
    """Return the report of an active superuser, as unchanged, or None.

    Those who can log in come before the others, then by address.

    Args:
        work: A unit of work.
        warn: Warn when none of them can log in.
    """
    found = await UserRepository(work.session).active_superusers()
    if not found:
        return None

    def order(user: User) -> tuple[bool, str]:
        return not can_log_in(user.hashed_password, work.settings), user.email

    first = min(found, key=order)
    if warn:
        warn_if_no_log_in(first, work.settings)
    return await report_unchanged(work, first)


async def ensure_superuser(
    database: Database,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    on_password: Optional[PasswordCallback] = None,
    concurrent_logins: Optional[ConcurrentLogins] = None,
) -> AccountChange:
    """Make sure that an active superuser exists; create the one named in the settings if not.

    An account with the settings' address that is inactive or not a superuser is made an
    active superuser; with a password given, it gets that one. Where active superusers exist
    and none can log in, nothing is changed, and a warning names the command that helps.

    It takes the lock on accounts only if something must be changed.

    Args:
        database: The database to change; its settings name the first administrator.
        password: For a new account.
        dry_run: Change nothing, report what would be done.
        on_password: Shows a generated password before the commit; fails when it cannot.
        concurrent_logins: Gets an existing account whose password was changed.

    Raises:
        InvalidInputError: A new account is needed and no password is given.
    """
    async with unit_of_work(database) as work:
        if found := await find_superuser(work, warn=True):
            return found
    email = first_admin_email(database.settings)
    prepared = prepare_password(password, email, database.settings, dry_run=dry_run)
    async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
        await ServerRepository(work.session).lock_accounts()
        if found := await find_superuser(work):
            return found
        change = await create_account(work, email, prepared, update=True)
        if on_password is not None and change.password is not None:
            on_password(change)
    if concurrent_logins is not None:
        concurrent_logins.accounts |= work.revoked_users
    return change
