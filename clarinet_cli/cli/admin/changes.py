"""Commands that change one account, and the report of all changes of accounts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Optional, TypeVar

from clarinet_cli.cli.options import (
    SETTLE_SECONDS,
    DryRun,
    Output,
    RoleArgument,
    SettleTime,
    UserArgument,
    Yes,
)
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.signals import SIGNALS
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import AccountChange, AppliedAccount
    from clarinet_cli.services.accounts.changes import Rule
    from clarinet_cli.services.sessions.revoke import LateLogins
    from clarinet_cli.services.unit_of_work import Database

CHANGED = ("updated", "deleted")  # a created account is not in the cache of the server
ResultT = TypeVar("ResultT", "AccountChange", "AppliedAccount")


async def promote(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Make an account a superuser with the role admin.

    Example: clarinet admin promote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(runtime, user, changes.promote, output, dry_run=dry_run)


async def demote(
    runtime: Runtime,
    user: UserArgument,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Remove an account's superuser flag and role admin; revoke its sessions.

    Example: clarinet admin demote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(runtime, user, changes.demote, output, dry_run=dry_run, settle=settle)


async def activate(
    runtime: Runtime, user: UserArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Activate an account, so that it can log in.

    Example: clarinet admin activate ada@example.org
    """
    from clarinet_cli.services.accounts import changes

    await _change(runtime, user, changes.activate, output, dry_run=dry_run)


async def deactivate(
    runtime: Runtime,
    user: UserArgument,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Deactivate an account and revoke its sessions.

    Example: clarinet admin deactivate ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    await _change(runtime, user, changes.deactivate, output, dry_run=dry_run, settle=settle)


async def delete(
    runtime: Runtime,
    user: UserArgument,
    yes: Yes = False,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Delete an account with its roles and sessions.

    Rows of other tables that the database deletes with it (ON DELETE CASCADE) are counted
    first. Refused while other rows refer to it: deactivate it instead.

    Example: clarinet admin delete ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    if not (dry_run or yes):
        user = await _confirmed_deletion(runtime, user)
    await _change(runtime, user, changes.delete, output, dry_run=dry_run, settle=settle)


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


async def report_change(
    runtime: Runtime,
    database: "Database",
    change: "AccountChange",
    output: Optional[OutputFormat],
    late: "LateLogins",
    *,
    changed: bool,
    shown: bool = False,
) -> None:
    """Report the change of one account, as ``report_changes`` does.

    Args:
        runtime: The context of the run.
        database: See ``report_changes``.
        change: The change.
        output: The format.
        late: See ``report_changes``.
        changed: False for a dry run.
        shown: It is on standard output already.
    """

    def show(changes: "list[AccountChange]") -> None:
        if not shown:
            render(runtime, changes[0], output, changed=changed)

    await report_changes(runtime, database, [change], late, show, shown=shown)


async def report_changes(
    runtime: Runtime,
    database: "Database",
    changes: Sequence[ResultT],
    late: "LateLogins",
    show: Callable[[list[ResultT]], None],
    *,
    shown: bool = False,
) -> None:
    """Report changes of accounts: the one place for all commands that change them.

    Sessions that began during the change are revoked first. Even when that fails, the change
    is committed and is shown.

    Args:
        runtime: The context of the run.
        database: Where the changes were made.
        changes: The changes.
        late: The accounts whose sessions are revoked again.
        show: Writes the changes, with the sessions revoked later included.
        shown: The changes are on standard output already, without those sessions.

    Raises:
        ClarinetError: The sessions that began during the change can't be revoked.
    """
    users = [change.email for change in changes if change.id in late.accounts]
    user = users[0] if len(users) == 1 else "USER"
    advice = f"'clarinet session revoke-user {user}' revokes sessions created during the change"
    complete = False
    try:
        if late.is_due:
            SIGNALS.check_interrupted()
        await late.revoke(database)
    except ClarinetError as error:
        complete = True
        message = f"the change was committed, but revoking new sessions failed: {error.message}"
        raise error.with_context(message, hint=advice) from error
    else:
        complete = True
    finally:
        if late.is_due:
            SIGNALS.mark_changed()
        show([_with_late_sessions(change, late) for change in changes])
        if shown and (count := sum(late.revoked.values())):
            runtime.writer.note(f"revoked {count} sessions created during the change")
        if any(change.result in CHANGED for change in changes):
            runtime.note_stale_cache()
        if not complete:
            runtime.writer.note(f"interrupted: {advice}")


async def _change(
    runtime: Runtime,
    who: str,
    rule: "Rule",
    output: Optional[OutputFormat],
    *,
    dry_run: bool,
    settle: float = 0.0,
) -> None:
    """Change one account and report it."""
    from clarinet_cli.services.accounts.changes import change_account
    from clarinet_cli.services.sessions.revoke import LateLogins
    from clarinet_cli.services.unit_of_work import Access, open_database, unit_of_work

    late = LateLogins(settle)
    async with open_database(runtime.settings) as database:
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            change = await change_account(work, who, rule)
        late.accounts |= work.signed_out
        await report_change(runtime, database, change, output, late, changed=not dry_run)


async def _confirmed_deletion(runtime: Runtime, who: str) -> str:
    """Prompt before an account is deleted; return its id, so that no other one is deleted.

    A deletion that would be refused is refused before the prompt.
    """
    from clarinet_cli.database.url import database_url, display_url
    from clarinet_cli.services.accounts import changes
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=True) as work:
        plan = await changes.change_account(work, who, changes.delete)
    cascaded = "".join(f", {place}: {count}" for place, count in (plan.cascaded or {}).items())
    confirm(
        runtime,
        f"Delete {plan.email} ({plan.id}) from {display_url(database_url(runtime.settings))} "
        f"(roles: {len(plan.roles)}, sessions: {plan.sessions_revoked}{cascaded})?",
    )
    return str(plan.id)


def _with_late_sessions(change: ResultT, late: "LateLogins") -> ResultT:
    count = 0 if change.id is None else late.revoked.get(change.id, 0)
    return replace(change, sessions_revoked=change.sessions_revoked + count) if count else change
