"""Changing and reporting accounts, shared by all commands that change them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Optional, TypeVar

from clarinet_cli.cli.passwords import PasswordOutput
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.signals import SIGNALS
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import AccountChange, AppliedAccount
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import Database, UnitOfWork

CHANGED = ("updated", "deleted")  # a created account is not in the cache of the server
ResultT = TypeVar("ResultT", "AccountChange", "AppliedAccount")


async def report_change(
    runtime: Runtime,
    database: "Database",
    change: "AccountChange",
    output: Optional[OutputFormat],
    logins: "ConcurrentLogins",
    *,
    changed: bool,
    shown: bool = False,
    outcome: Optional[Mapping[str, str]] = None,
) -> None:
    """Report the change of one account.

    Args:
        runtime: The context of the run.
        database: The database that was changed.
        change: The change.
        output: The format.
        logins: The accounts whose sessions are revoked again.
        changed: False for a dry run.
        shown: The change was already written.
        outcome: What has changed, for a table.
    """

    def show(changes: "list[AccountChange]") -> None:
        if not shown:
            render(runtime, changes[0], output, changed=changed, outcome=outcome)

    await report_changes(runtime, database, [change], logins, show, shown=shown)


async def run_password_operation(
    runtime: Runtime,
    database: "Database",
    operation: "Callable[[UnitOfWork], Awaitable[AccountChange]]",
    display: PasswordOutput,
    output: Optional[OutputFormat],
    logins: "ConcurrentLogins",
    *,
    dry_run: bool,
    outcome: Optional[Mapping[str, str]] = None,
) -> None:
    """Run an operation that sets a password, and report its change.

    Args:
        runtime: The context of the run.
        database: The database to change.
        operation: The operation, in a unit of work for writing.
        display: Writes a generated password, before the commit that sets it.
        output: The format.
        logins: The accounts whose sessions are revoked again.
        dry_run: Roll back.
        outcome: What has changed, for a table.
    """
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    with display.warn_if_rolled_back():
        async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
            change = await operation(work)
            if change.password:
                display(change)
    logins.accounts |= work.revoked_users
    await report_change(
        runtime,
        database,
        change,
        output,
        logins,
        shown=display.shown,
        changed=not dry_run,
        outcome=outcome,
    )


async def report_changes(
    runtime: Runtime,
    database: "Database",
    changes: Sequence[ResultT],
    logins: "ConcurrentLogins",
    show: Callable[[list[ResultT]], None],
    *,
    shown: bool = False,
) -> None:
    """Report changes of accounts.

    Sessions created during the change are revoked first; the change is shown even when that
    fails, since it is committed.

    Args:
        runtime: The context of the run.
        database: The database that was changed.
        changes: The changes.
        logins: The accounts whose sessions are revoked again.
        show: Writes the changes, the sessions revoked again included.
        shown: The changes were already written, without those sessions.

    Raises:
        ClarinetError: The sessions created during the change cannot be revoked.
    """
    users = [change.email for change in changes if change.id in logins.accounts]
    user = users[0] if len(users) == 1 else "USER"
    advice = f"'clarinet session revoke-user {user}' revokes sessions created during the change"
    complete = False
    try:
        if logins.is_needed:
            SIGNALS.check_interrupted()
        await logins.revoke(database)
    except ClarinetError as error:
        complete = True
        message = f"the change was committed, but revoking new sessions failed: {error.message}"
        raise error.with_context(message, hint=advice) from error
    else:
        complete = True
    finally:
        if logins.is_needed:
            SIGNALS.mark_changed()
        show([_with_revoked_again(change, logins) for change in changes])
        if shown and (count := sum(logins.revoked.values())):
            runtime.writer.note(f"revoked {pluralize(count, 'session')} created during the change")
        if any(change.result in CHANGED for change in changes):
            runtime.note_stale_cache()
        if not complete:
            runtime.writer.note(f"interrupted: {advice}")


def _with_revoked_again(change: ResultT, logins: "ConcurrentLogins") -> ResultT:
    count = 0 if change.id is None else logins.revoked.get(change.id, 0)
    return replace(change, sessions_revoked=change.sessions_revoked + count) if count else change
