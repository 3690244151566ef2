"""``clarinet db backup`` and ``clarinet db restore``."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.options import LOCK_TIMEOUT, DryRun, LockTimeout, Output, Yes
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import ask, confirm, interactive
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import format_row_counts
from clarinet_cli.exceptions import FAILURE, INVALID, REFUSED
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import STDIO

if TYPE_CHECKING:
    from clarinet_cli.services.backup.restore_plan import PreparedRestore, RestorePlan

MIN_REPORTED_SECONDS = 0.05
AccountsOnly = Annotated[
    bool,
    typer.Option("--accounts-only", help="Only users, roles and sessions."),
]


async def backup(
    runtime: Runtime,
    file: Annotated[
        Optional[Path],
        typer.Argument(metavar="FILE", help="The file to write, or - for standard output."),
    ] = None,
    directory: Annotated[
        Optional[Path],
        typer.Option(
            "--directory",
            metavar="DIR",
            help="Write a file with a timestamp in its name to this directory.",
        ),
    ] = None,
    keep: Annotated[
        Optional[int],
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Keep the N newest of these files and delete the older ones.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    accounts_only: AccountsOnly = False,
    compress: Annotated[
        Optional[str],
        typer.Option(
            "--compress",
            metavar="METHOD[:LEVEL]",
            help="PostgreSQL: the compression, as for pg_dump --compress.",
        ),
    ] = None,
    quick_check: Annotated[
        bool,
        typer.Option(
            "--quick-check",
            help="SQLite: verify with quick_check instead of integrity_check.",
        ),
    ] = False,
    output: Output = None,
) -> None:
    """Write a verified backup of the database; the server can keep running.

    SQLite: a consistent copy of the file. PostgreSQL: an archive of pg_dump. With
    --accounts-only: a portable SQLite file. The file has mode 0600 and appears only after it
    was verified.

    Example: clarinet db backup --directory backups --keep 14
    """
    from clarinet_cli.services.backup.make import back_up
    from clarinet_cli.services.backup.plan import BackupPlan
    from clarinet_cli.services.unit_of_work import require_fitting_tables

    settings = runtime.settings
    if (file is None) == (directory is None):
        raise INVALID.with_context("give either FILE or --directory", hint="'-' is standard output")
    if keep is not None and directory is None:
        raise INVALID.with_context("--keep requires --directory")
    to_stdout = str(file) == STDIO
    if to_stdout and sys.stdout.isatty():
        raise REFUSED.with_context(
            "refusing to write a backup to a terminal", hint="give FILE, or pipe the output"
        )
    if to_stdout and runtime.writer.stdout_closed:
        raise FAILURE.with_context("standard output is closed")
    plan = BackupPlan(
        file=None if to_stdout else file,
        directory=directory,
        keep=keep,
        replace=force,
        accounts_only=accounts_only,
        compress=compress,
        quick=quick_check,
    )
    await require_fitting_tables(settings)
    with progress(runtime, "backup") as update:
        report = await back_up(settings, plan, progress=update)
    if report.lock_seconds and report.lock_seconds >= MIN_REPORTED_SECONDS:
        runtime.writer.note(
            f"rollback-journal mode: writers were blocked for up to {report.lock_seconds:.2f} s; "
            "use WAL mode to avoid this"
        )
    if report.dangling_references:
        runtime.writer.note(
            f"references to rows that do not exist: {report.dangling_references}, in the "
            "database and in the backup"
        )
    if not to_stdout:
        render(runtime, report, output, changed=True)


async def restore(
    runtime: Runtime,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by 'db backup'.")],
    accounts_only: AccountsOnly = False,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="PostgreSQL: drop the objects of the backup first."),
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Create the database if it does not exist.")
    ] = False,
    revoke_sessions: Annotated[
        Optional[bool],
        typer.Option(
            "--revoke-sessions/--keep-sessions",
            help="Do not restore sessions: one revoked after the backup would become valid again. "
            "Default: prompt; with --yes, revoke them.",
        ),
    ] = None,
    safety_copy: Annotated[
        bool,
        typer.Option(
            "--safety-copy/--no-safety-copy",
            help="Back up the current database first, next to it or in the project directory.",
        ),
    ] = True,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Restore a backup atomically; the server can keep running.

    The backup is verified before anything is changed; its kind is detected. SQLite: into the
    live file. PostgreSQL: into an empty database, or with --clean.

    Example: clarinet db restore clarinet.backup --accounts-only --yes
    """
    from clarinet_cli.services.backup.restore import restore as run_restore
    from clarinet_cli.services.backup.restore_plan import RestorePlan, prepare_restore

    settings = runtime.settings
    plan = RestorePlan(
        accounts_only=accounts_only,
        clean=clean,
        create=create,
        safety_copy=safety_copy,
        revoke_sessions=revoke_sessions is not False,
        lock_timeout=lock_timeout,
    )
    prepared = await prepare_restore(settings, file, plan)
    if dry_run:
        render(runtime, prepared.report(plan), output)
        return
    confirm(runtime, _restore_question(prepared), yes=yes)
    if revoke_sessions is None and not yes:
        plan = _prompt_for_sessions(runtime, plan, prepared)
    with progress(runtime, "restore") as update:
        report = await run_restore(settings, prepared, plan, progress=update)
    render(runtime, report, output, changed=True)
    runtime.note_stale_cache()


def _restore_question(prepared: "PreparedRestore") -> str:
    """Return the question, with the contents of the database and of the backup."""
    contents = prepared.backup.contents
    current, saved = (
        format_row_counts(rows) or "no rows" for rows in (prepared.rows, contents.rows)
    )
    what = "accounts and sessions" if prepared.accounts_only else "database"
    return (
        f"Replace the {what} of {prepared.target} ({current}; revision "
        f"{prepared.revision or 'none'}) with {prepared.backup.path} of "
        f"{contents.made_at:%Y-%m-%d %H:%M} UTC ({saved}; revision "
        f"{contents.revision or 'none'})?"
    )


def _prompt_for_sessions(
    runtime: Runtime, plan: "RestorePlan", prepared: "PreparedRestore"
) -> "RestorePlan":
    """Prompt whether to revoke the sessions of the backup, if it has any."""
    number = prepared.report(plan).sessions_revoked
    if not number or not interactive(runtime):
        return plan
    question = (
        f"Revoke the {pluralize(number, 'session')} of the backup? Sessions revoked after it "
        "would become valid again."
    )
    revoke = ask(runtime, question, default=True)
    return replace(plan, revoke_sessions=revoke)
