"""Commands that end log-in sessions."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.notes import cache_note
from clarinet_cli.cli.options import DryRun, Output, UserArgument
from clarinet_cli.cli.output import render


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

    Example: clarinet session revoke-user ada@example.org --keep-newest 1
    """
    from clarinet_cli.services.sessions import revoke_for_user

    settings = project_settings()
    report = run(
        revoke_for_user(
            settings, user, keep_current=keep_current, keep_newest=keep_newest, dry_run=dry_run
        )
    )
    render(report, output)
    if report.result == "revoked":
        cache_note(settings)
