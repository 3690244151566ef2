"""Commands that end log-in sessions."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_emails
from clarinet_cli.cli.groups import run, run_until_stopped
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.notes import cache_note
from clarinet_cli.cli.options import (
    DryRun,
    OnlyOfUser,
    Output,
    SessionArguments,
    UserArgument,
    Yes,
)
from clarinet_cli.cli.output import Listing, render
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import confirm

if TYPE_CHECKING:
    from clarinet_cli.results import RevokeAllReport
    from clarinet_cli.settings import Settings


def revoke(
    sessions: SessionArguments,
    user: OnlyOfUser = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """End sessions by their ids: all that are named, or none.

    One that rows of other tables refer to expires instead of being deleted.

    Example: clarinet session revoke 8f3kQ2xZ --user ada@example.org
    """
    from clarinet_cli.results import SessionChange
    from clarinet_cli.services.sessions.revoke import revoke_sessions

    settings = project_settings()
    changes = run(revoke_sessions(settings, sessions, who=user, dry_run=dry_run))
    render(changes, output, Listing(SessionChange), done=not dry_run)
    if any(change.result == "revoked" for change in changes):
        cache_note(settings)


def revoke_user(
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
    """End all sessions of a user.

    Those that rows of other tables refer to expire instead of being deleted.

    Example: clarinet session revoke-user ada@example.org --keep-newest 1
    """
    from clarinet_cli.services.sessions.revoke import revoke_for_user

    settings = project_settings()
    report = run(
        revoke_for_user(
            settings, user, keep_current=keep_current, keep_newest=keep_newest, dry_run=dry_run
        )
    )
    render(report, output, done=not dry_run)
    if report.result == "revoked":
        cache_note(settings)


def revoke_all(
    spared: Annotated[
        Optional[list[str]],
        typer.Option(
            "--except",
            metavar="USER",
            help="Leave this user's sessions; may be given several times.",
            autocompletion=complete_emails,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """End everybody's sessions.

    Every session that is there at the start is ended; one that begins meanwhile may stay.
    Many are ended in several transactions, so that log-ins need not wait; when it is stopped
    half-way, run it again. Those that rows of other tables refer to expire instead of being
    deleted.

    Example: clarinet session revoke-all --except ada@example.org --dry-run
    """
    from clarinet_cli.services.sessions.revoke import count_to_revoke

    settings = project_settings()
    code = 0
    report = None if yes and not dry_run else run(count_to_revoke(settings, spared or []))
    if not dry_run:
        if report is not None:
            _confirm(settings, report)
        report, code = _revoke_all(settings, spared or [])
    render(report, output, done=not dry_run)
    if report is not None and report.result == "revoked":
        cache_note(settings)
    raise typer.Exit(code)


def _confirm(settings: "Settings", planned: "RevokeAllReport") -> None:
    """Ask, with the target and what is at stake; nothing to do needs no question."""
    from clarinet_cli.database.url import database_url, display_url

    if planned.result == "unchanged":
        return
    target = display_url(database_url(settings))
    count = planned.sessions_revoked
    kept = f" and keep {planned.sessions_kept}" if planned.sessions_kept else ""
    question = f"End {count} session{'s' if count != 1 else ''}{kept} in {target}?"
    confirm(question, yes=False)


def _revoke_all(settings: "Settings", spared: list[str]) -> "tuple[RevokeAllReport, int]":
    from clarinet_cli.services.sessions.revoke import revoke_all as end_all

    with progress("ending sessions") as tell:
        return run_until_stopped(
            lambda stop: end_all(settings, spared, tell=tell, stopped=lambda: stop.requested)
        )
