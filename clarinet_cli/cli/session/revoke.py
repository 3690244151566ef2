"""Commands that revoke log-in sessions."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_emails
from clarinet_cli.cli.options import (
    DryRun,
    OnlyOfUser,
    Output,
    SessionArguments,
    UserArgument,
    Yes,
)
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.cli.render import Listing, render, render_list
from clarinet_cli.cli.runtime import Runtime

if TYPE_CHECKING:
    from clarinet_cli.results import RevokeAllReport

REVOKED = "revoked"


async def revoke(
    runtime: Runtime,
    sessions: SessionArguments,
    user: OnlyOfUser = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke sessions by their ids: all of them, or none if one is not found.

    A session that rows of other tables refer to is expired instead of deleted.

    Example: clarinet session revoke 8f3kQ2xZ --user ada@example.org
    """
    from clarinet_cli.results import SessionChange
    from clarinet_cli.services.sessions.revoke import revoke_sessions
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=dry_run) as work:
        changes = await revoke_sessions(work, sessions, identifier=user)
    render_list(runtime, changes, output, Listing(SessionChange), changed=not dry_run)
    if any(change.result == REVOKED for change in changes):
        runtime.note_stale_cache()


async def revoke_user(
    runtime: Runtime,
    user: UserArgument,
    keep_current: Annotated[
        Optional[str],
        typer.Option("--keep-current", metavar="ID", help="Keep the session with this id."),
    ] = None,
    keep_newest: Annotated[
        int, typer.Option("--keep-newest", metavar="N", min=0, help="Keep the newest N.")
    ] = 0,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke all sessions of a user.

    Sessions that rows of other tables refer to are expired instead of deleted.

    Example: clarinet session revoke-user ada@example.org --keep-newest 1
    """
    from clarinet_cli.services.sessions.revoke import revoke_for_user
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=dry_run) as work:
        report = await revoke_for_user(
            work, user, keep_current=keep_current, keep_newest=keep_newest
        )
    render(runtime, report, output, changed=not dry_run)
    if report.result == REVOKED:
        runtime.note_stale_cache()


async def revoke_all(
    runtime: Runtime,
    excluded: Annotated[
        Optional[list[str]],
        typer.Option(
            "--except",
            metavar="USER",
            help="Keep the sessions of this user; repeatable.",
            autocompletion=complete_emails,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke the sessions of all users.

    Every session that exists at the start is revoked; sessions created during the run may
    remain. Many sessions are revoked in several transactions, so that log-ins need not wait;
    if it is interrupted, run it again. Sessions that rows of other tables refer to are
    expired instead of deleted.

    Example: clarinet session revoke-all --except ada@example.org --dry-run
    """
    from clarinet_cli.services.sessions import revoke
    from clarinet_cli.services.unit_of_work import open_database, unit_of_work

    users = excluded or []
    async with open_database(runtime.settings, writes=True) as database:
        if dry_run or not yes:
            async with unit_of_work(database) as work:
                report = await revoke.count_to_revoke(work, users)
        if not dry_run:
            if not yes:
                await database.disconnect()
                _confirm_revoke_all(runtime, report)
            with progress(runtime, "revoking sessions") as update, runtime.stop_on_signal() as stop:
                report = await revoke.revoke_all(
                    database, users, progress=update, stopped=lambda: stop.requested
                )
    render(runtime, report, output, changed=not dry_run)
    if report.result == REVOKED:
        runtime.note_stale_cache()


def _confirm_revoke_all(runtime: Runtime, planned: "RevokeAllReport") -> None:
    """Prompt with the target and the number of sessions, unless there is nothing to do."""
    from clarinet_cli.database.url import database_url, display_url

    if planned.result == "unchanged":
        return
    target = display_url(database_url(runtime.settings))
    count = planned.sessions_revoked
    kept = f" and keep {planned.sessions_kept}" if planned.sessions_kept else ""
    confirm(runtime, f"Revoke {count} session{'s' if count != 1 else ''}{kept} in {target}?")
