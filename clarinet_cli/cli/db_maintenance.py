"""``clarinet db vacuum``, ``db shell`` and ``db reset``."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.options import DryRun, LockTimeout, Output, Yes
from clarinet_cli.cli.prompts import ask, confirm, confirm_by_name, interactive
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime

if TYPE_CHECKING:
    from clarinet_cli.results import ResetReport

MEGABYTE = 10**6


async def vacuum(
    runtime: Runtime,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="PostgreSQL: rewrite the tables, while all that uses them waits."
        ),
    ] = False,
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Give the space of deleted rows back, as after a big clean-up.

    SQLite: rewrites the file. PostgreSQL: VACUUM (ANALYZE) of our tables, beside which all
    others go on; it frees the space for new rows, and --full for the disk.

    Example: clarinet db vacuum
    """
    from clarinet_cli.services.vacuum import plan_vacuum
    from clarinet_cli.services.vacuum import vacuum as run_vacuum

    settings = runtime.settings
    plan = await plan_vacuum(settings, full=full)
    room = ""
    if plan.bytes_needed:
        room = f", with up to {plan.bytes_needed / MEGABYTE:.1f} MB of free space meanwhile"
    text = f"{plan.url}, {plan.bytes_before / MEGABYTE:.1f} MB{room}: {plan.waiting}"
    if plan.asks:
        confirm(runtime, f"Rewrite our tables of {text}. Go on?", yes=yes)
    else:
        runtime.writer.note(f"vacuum of {text}")
    report = await run_vacuum(settings, plan)
    render(runtime, report, output, changed=True)
    if not report.complete:
        runtime.writer.warn(
            "a long read keeps the old pages in the log: the space comes back when it has ended"
        )


async def shell(
    runtime: Runtime,
    statement: Annotated[
        Optional[str],
        typer.Option("--command", "-c", metavar="SQL", help="Run this SQL and exit."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Let the shell change nothing.")
    ] = False,
) -> None:
    """Start psql or sqlite3 on the configured database, in place of this process.

    No password is on its command line.

    Example: clarinet db shell -c "SELECT count(*) FROM access_token"
    """
    from clarinet_cli.services.shell import replace_process, shell_command

    command = await shell_command(runtime.settings, statement=statement, read_only=read_only)
    replace_process(command)


async def reset(
    runtime: Runtime,
    lock_timeout: LockTimeout = 60.0,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Drop our four tables with all that is in them, and make them anew, empty.

    Refused on a database with tables that are not ours. On a terminal a backup is offered
    first, and the name of the database has to be typed in.

    Example: clarinet db reset --dry-run
    """
    from clarinet_cli.services import schema

    settings = runtime.settings
    if not (dry_run or yes):
        await _confirm_reset(runtime, await schema.reset(settings, dry_run=True))
    report = await schema.reset(settings, dry_run=dry_run, lock_timeout=lock_timeout)
    render(runtime, report, output, changed=not dry_run)
    if not dry_run:
        runtime.writer.note("'clarinet db init' makes the roles and the first superuser")


async def _confirm_reset(runtime: Runtime, planned: "ResetReport") -> None:
    """Offer a backup of what would be lost, and prompt for the name of the database."""
    from clarinet_cli.database.url import database_url, display_url, sqlite_file

    url = database_url(runtime.settings)
    file = sqlite_file(url)
    if interactive(runtime) and any(planned.rows.values()):
        await _offer_backup(runtime)
    rows = ", ".join(f"{count} in {table}" for table, count in planned.rows.items())
    question = f"Drop our tables in {display_url(url)}? Rows: {rows or 'none'}."
    confirm_by_name(runtime, question, file.name if file else str(url.database))


async def _offer_backup(runtime: Runtime) -> None:
    from clarinet_cli.services.backup.make import BackupPlan, back_up

    directory = runtime.settings.project_dir
    if ask(runtime, f"Back it up to {directory} first?", default=True):
        report = await back_up(runtime.settings, BackupPlan(directory=directory))
        runtime.writer.note(f"backup: {report.file}")
