"""Administrator accounts, for other Python programs: each function is a transaction."""

from datetime import datetime
from typing import Optional

from clarinet_cli.database.session import configured_settings
from clarinet_cli.results import AccountChange, UserRow
from clarinet_cli.services.accounts.changes import reset_password
from clarinet_cli.services.accounts.first_superuser import ensure_superuser
from clarinet_cli.services.accounts.hashes import prepare_password
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.accounts.queries import resettable_account, stream_accounts
from clarinet_cli.services.unit_of_work import Access, open_database, unit_of_work
from clarinet_cli.settings import Settings

__all__ = ["ensure_admin_exists", "list_admin_users", "reset_admin_password"]


async def list_admin_users(
    settings: Optional[Settings] = None,
    *,
    all_users: bool = False,
    now: Optional[datetime] = None,
) -> list[UserRow]:
    """Return the superusers, or all users, by e-mail address.

    Args:
        settings: The database; the project's settings by default.
        all_users: Also those that are not superusers.
        now: The reference time; the database's clock by default.
    """
    source = settings or configured_settings()
    rows = stream_accounts(source, all_users=all_users, now=now)
    return [row async for some in rows for row in some]


async def reset_admin_password(
    settings: Optional[Settings],
    identifier: str,
    password: Optional[NewPassword],
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
    dry_run: bool = False,
) -> AccountChange:
    """Set a new password and revoke the account's sessions.

    Args:
        settings: The database, and the password rules; None: the project's settings.
        identifier: An e-mail address, an id, or at least 8 digits of a UUID.
        password: The new password; None only in a dry run.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Do not revoke the sessions.
        dry_run: Change nothing, report what would be done.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
        InvalidInputError: The password breaks the policy.
    """
    async with open_database(settings or configured_settings(), writes=True) as database:
        async with unit_of_work(database) as work:
            account = await resettable_account(work, identifier, any_user=any_user)
        prepared = prepare_password(password, account.email, database.settings, dry_run=dry_run)
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            return await reset_password(
                work, str(account.id), prepared, any_user=any_user, keep_sessions=keep_sessions
            )


async def ensure_admin_exists(
    settings: Optional[Settings] = None,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
) -> AccountChange:
    """Make sure that an active superuser exists; repeating it changes nothing.

    Args:
        settings: The database and the first administrator; the settings of the project
            by default.
        password: For a new account.
        dry_run: Change nothing, report what would be done.

    Raises:
        InvalidInputError: A new account is needed and no password is given.
    """
    async with open_database(settings or configured_settings(), writes=True) as database:
        return await ensure_superuser(database, password, dry_run=dry_run)
