"""Commands that change one account."""

from typing import TYPE_CHECKING, Optional

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.notes import report_change
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
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.services.accounts.transactions import Rule
    from clarinet_cli.settings import Settings


def promote(user: UserArgument, dry_run: DryRun = False, output: Output = None) -> None:
    """Make an account a superuser with the role admin.

    Example: clarinet admin promote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    _change(user, changes.promote, output, dry_run=dry_run)


def demote(
    user: UserArgument,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Take the superuser flag and the role admin away, and end the account's sessions.

    Example: clarinet admin demote ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    _change(user, changes.demote, output, dry_run=dry_run, settle=settle)


def activate(user: UserArgument, dry_run: DryRun = False, output: Output = None) -> None:
    """Let an account log in.

    Example: clarinet admin activate ada@example.org
    """
    from clarinet_cli.services.accounts import changes

    _change(user, changes.activate, output, dry_run=dry_run)


def deactivate(
    user: UserArgument,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Let an account log in no longer, and end its sessions.

    Example: clarinet admin deactivate ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    _change(user, changes.deactivate, output, dry_run=dry_run, settle=settle)


def delete(
    user: UserArgument,
    yes: Yes = False,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Delete an account with its roles and sessions.

    Rows of other tables that the database deletes with it (ON DELETE CASCADE) are counted
    first. Refused while other rows refer to it: deactivate it then.

    Example: clarinet admin delete ada@example.org --dry-run
    """
    from clarinet_cli.services.accounts import changes

    if not (dry_run or yes):
        user = _confirmed_deletion(project_settings(), user)
    _change(user, changes.delete, output, dry_run=dry_run, settle=settle)


def grant_role(
    user: UserArgument, role: RoleArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Give an account a role.

    Example: clarinet admin grant-role ada@example.org doctor
    """
    from clarinet_cli.services.accounts import changes

    _change(user, lambda change: changes.grant_role(change, role), output, dry_run=dry_run)


def revoke_role(
    user: UserArgument, role: RoleArgument, dry_run: DryRun = False, output: Output = None
) -> None:
    """Take a role from an account.

    Example: clarinet admin revoke-role ada@example.org doctor
    """
    from clarinet_cli.services.accounts import changes

    _change(user, lambda change: changes.revoke_role(change, role), output, dry_run=dry_run)


def _change(
    who: str,
    rule: "Rule",
    output: Optional[OutputFormat],
    *,
    dry_run: bool,
    settle: float = 0.0,
) -> None:
    """Change one account and report it."""
    from clarinet_cli.services.accounts.transactions import change_account
    from clarinet_cli.services.sessions.settle import Settle

    settings, later = project_settings(), Settle(settle)
    change = run(change_account(settings, who, rule, dry_run=dry_run, settle=later))
    report_change(settings, change, output, later, done=not dry_run)


def _confirmed_deletion(settings: "Settings", who: str) -> str:
    """Ask before an account is deleted; return its id, so that no other one is meant.

    What would be refused anyway is refused before anybody is asked.
    """
    from clarinet_cli.database.url import database_url, display_url
    from clarinet_cli.services.accounts import changes
    from clarinet_cli.services.accounts.transactions import change_account

    plan = run(change_account(settings, who, changes.delete, dry_run=True))
    along = "".join(f", {place}: {count}" for place, count in (plan.cascaded or {}).items())
    confirm(
        f"Delete {plan.email} ({plan.id}) from {display_url(database_url(settings))} "
        f"(roles: {len(plan.roles)}, sessions: {plan.sessions_revoked}{along})?",
        yes=False,
    )
    return str(plan.id)
