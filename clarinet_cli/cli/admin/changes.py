"""Commands that change one account."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.admin.report import report_change
from clarinet_cli.cli.options import (
    SETTLE_TIME,
    DryRun,
    Output,
    RoleArgument,
    SettleTime,
    UserArgument,
    Yes,
)
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.services.accounts.changes import AccountOperation


async def promote(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Make an account a superuser with the role admin.

    Example: clarinet admin promote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime, user, changes.promote, output, dry_run=dry_run, outcome={"superuser": "yes"}
    )


async def demote(
    runtime: Runtime,
    user: UserArgument,
    settle: SettleTime = SETTLE_TIME,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Remove an account's superuser flag and role admin; revoke its sessions.

    Example: clarinet admin demote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime,
        user,
        changes.demote,
        output,
        dry_run=dry_run,
        settle=settle,
        outcome={"superuser": "no"},
    )


async def activate(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Activate an account, so that it can log in.

    Example: clarinet admin activate ada@example.org
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime, user, changes.activate, output, dry_run=dry_run, outcome={"active": "yes"}
    )


async def deactivate(
    runtime: Runtime,
    user: UserArgument,
    settle: SettleTime = SETTLE_TIME,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Deactivate an account and revoke its sessions.

    Example: clarinet admin deactivate ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime,
        user,
        changes.deactivate,
        output,
        dry_run=dry_run,
        settle=settle,
        outcome={"active": "no"},
    )


async def set_email(
    runtime: Runtime,
    user: UserArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new e-mail address.")],
    settle: SettleTime = SETTLE_TIME,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Change an account's e-mail address and revoke its sessions.

    Refused if another account has the address, ignoring case.

    Example: clarinet admin set-email ada@example.org ada.lovelace@example.org
    """
    from clarinet_cli.services.accounts import changes
    from clarinet_cli.services.accounts.resolve import normalise_email

    address = normalise_email(new)
    await _change(
        runtime,
        user,
        lambda change: changes.set_email(change, address),
        output,
        dry_run=dry_run,
        settle=settle,
    )


async def verify(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Mark an account's e-mail address as verified.

    Example: clarinet admin verify ada@example.org
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime, user, changes.verify, output, dry_run=dry_run, outcome={"verified": "yes"}
    )


async def unverify(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Mark an account's e-mail address as not verified.

    Example: clarinet admin unverify ada@example.org
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime, user, changes.unverify, output, dry_run=dry_run, outcome={"verified": "no"}
    )


async def delete(
    runtime: Runtime,
    user: UserArgument,
    soft: Annotated[
        bool,
        typer.Option(
            "--soft", help="Set the mapped column soft_delete, and keep the account's row."
        ),
    ] = False,
    yes: Yes = False,
    settle: SettleTime = SETTLE_TIME,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Delete an account with its roles and sessions.

    Rows of other tables that the database deletes with it (ON DELETE CASCADE) are counted
    first. Refused while other rows refer to it: deactivate it instead.

    Example: clarinet admin delete ada@example.org --dry-run
    """
    from clarinet_cli.database.url import database_url, display_url
    from clarinet_cli.services.accounts import changes
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    operation = partial(changes.delete, soft=soft)
    if not (dry_run or yes):
        # What would be refused is refused before the prompt.
        async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=True) as work:
            plan = await changes.change_account(work, user, operation)
        cascaded = "".join(f", {name}: {count}" for name, count in (plan.cascaded or {}).items())
        confirm(
            runtime,
            f"Delete {plan.email} ({plan.id}) from {display_url(database_url(runtime.settings))} "
            f"(roles: {len(plan.roles)}, sessions: {plan.sessions_revoked}{cascaded})?",
        )
        user = str(plan.id)  # so that no other account is deleted
    await _change(runtime, user, operation, output, dry_run=dry_run, settle=settle)


async def grant_role(
    runtime: Runtime,
    user: UserArgument,
    role: RoleArgument,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Grant a role to an account.

    Example: clarinet admin grant-role ada@example.org doctor
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime,
        user,
        lambda change: changes.grant_role(change, role),
        output,
        dry_run=dry_run,
    )


async def revoke_role(
    runtime: Runtime,
    user: UserArgument,
    role: RoleArgument,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke a role from an account.

    Example: clarinet admin revoke-role ada@example.org doctor
    """
    from clarinet_cli.services.accounts import changes

    await _change(
        runtime,
        user,
        lambda change: changes.revoke_role(change, role),
        output,
        dry_run=dry_run,
    )


async def _change(
    runtime: Runtime,
    user: str,
    operation: "AccountOperation",
    output: Optional[OutputFormat],
    *,
    dry_run: bool,
    settle: float = 0.0,
    outcome: Optional[Mapping[str, str]] = None,
) -> None:
    """Change one account and report it; see ``report_change``."""
    from clarinet_cli.services.accounts.changes import change_account
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import Access, open_database, unit_of_work

    logins = ConcurrentLogins(settle)
    async with open_database(runtime.settings, writes=True) as database:
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            change = await change_account(work, user, operation)
        logins.accounts |= work.revoked_users
        await report_change(
            runtime, database, change, output, logins, changed=not dry_run, outcome=outcome
        )
