"""Commands that set up and maintain the database: init, vacuum, shell and reset."""

import asyncio
from typing import Annotated, Optional

import typer

from clarinet_cli.cli.options import (
    LOCK_TIMEOUT,
    DryRun,
    GeneratePassword,
    LockTimeout,
    Output,
    PasswordFile,
    PasswordStdin,
    SchemaAnyway,
    Yes,
)
from clarinet_cli.cli.passwords import PasswordOptions, PasswordOutput, resolve_password
from clarinet_cli.cli.presentation import Presentation
from clarinet_cli.cli.prompts import ask, confirm, interactive
from clarinet_cli.cli.render import render, render_list
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import format_row_counts
from clarinet_cli.exceptions import INVALID
from clarinet_cli.signals import Interrupted
from clarinet_cli.textfmt import format_size


async def init(
    runtime: Runtime,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    schema_anyway: SchemaAnyway = False,
    admin_only: Annotated[
        bool,
        typer.Option(
            "--admin-only", help="Only create the first superuser; the tables must exist."
        ),
    ] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Initialise the database; safe to repeat.

    Creates the database, applies the migrations, adds missing roles and (admin_auto_create)
    the first superuser. The schema of a database that a server migrates is not changed; where
    the project has that server's migrations, they must run first. The schema of a mapped
    application is never changed: there --admin-only is required.

    Example: clarinet db init --generate-password
    """
    from clarinet_cli.results import Step
    from clarinet_cli.services.accounts.resolve import first_admin_email
    from clarinet_cli.services.bootstrap import (
        initialise_database,
        initialise_superuser,
        superuser_is_missing,
    )
    from clarinet_cli.services.mapped import require_own_schema
    from clarinet_cli.services.schema import require_known_schema, require_schema_order
    from clarinet_cli.services.settings_warnings import refuse_accidental_sqlite
    from clarinet_cli.services.unit_of_work import open_database

    settings = runtime.settings
    if admin_only and schema_anyway:
        raise INVALID.with_context("--admin-only and --schema-anyway cannot be used together")
    if not admin_only:
        require_own_schema(settings)
        refuse_accidental_sqlite(settings)
    options = PasswordOptions(password_stdin, password_file, generate_password)
    done: list[Step] = []
    # The steps before the superuser's are committed when the password is shown.
    presentation = Presentation(Step)
    display = PasswordOutput(
        runtime, output, presentation, failure_hint="the superuser was not created"
    )
    try:
        async with open_database(settings, writes=True) as database:
            if not admin_only:  # before the prompt for a password
                if not schema_anyway:
                    await require_schema_order(database, creates=True)
                await require_known_schema(database)
                await database.disconnect()
            password = options.read(runtime)
            if not dry_run:
                missing = await superuser_is_missing(database, admin_only=admin_only)
                await database.disconnect()
                email = first_admin_email(settings) if missing else ""
                password = resolve_password(runtime, password, email) if missing else None
            with display.warn_if_rolled_back():
                if admin_only:
                    steps = await initialise_superuser(
                        database, password, dry_run=dry_run, on_password=display
                    )
                else:
                    steps = await initialise_database(
                        database,
                        password,
                        dry_run=dry_run,
                        schema_anyway=schema_anyway,
                        on_step=done.append,
                        on_password=display,
                    )
    except (asyncio.CancelledError, Interrupted):
        if any(step.result != "unchanged" for step in done) and not (dry_run or display.shown):
            render_list(runtime, done, output, presentation, changed=True)
        raise
    if not display.shown:
        render_list(runtime, steps, output, presentation, changed=not dry_run)


async def vacuum(
    runtime: Runtime,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="PostgreSQL: VACUUM FULL, which rewrites the tables under an exclusive lock.",
        ),
    ] = False,
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Reclaim the disk space of deleted rows.

    SQLite: rewrites the file. PostgreSQL: VACUUM (ANALYZE) of the tables of accounts, roles and
    sessions, which does not block reads or writes. The space is reused by new rows; --full
    returns it to the operating system.

    Example: clarinet db vacuum
    """
    from clarinet_cli.services.vacuum import plan_vacuum
    from clarinet_cli.services.vacuum import vacuum as run_vacuum

    settings = runtime.settings
    plan = await plan_vacuum(settings, full=full)
    room = ""
    if plan.bytes_needed:
        room = f"; it needs up to {format_size(plan.bytes_needed)} of temporary disk space"
    text = f"{plan.url} ({format_size(plan.bytes_before)}): {plan.waiting}{room}"
    if plan.requires_confirmation:
        confirm(runtime, f"VACUUM FULL of {text}. Continue?", yes=yes)
    else:
        runtime.writer.note(f"vacuum of {text}")
    report = await run_vacuum(settings, plan)
    render(runtime, report, output, changed=True)
    if not report.complete:
        runtime.writer.warn(
            "a long-running reader blocks the WAL checkpoint; the space is reclaimed when it ends"
        )


async def shell(
    runtime: Runtime,
    statement: Annotated[
        Optional[str],
        typer.Option("--command", "-c", metavar="SQL", help="Run this SQL and exit."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Open the shell read-only.")
    ] = False,
) -> None:
    """Start psql or sqlite3 on the configured database.

    The password is passed in the environment, not on the command line.

    Example: clarinet db shell -c "SELECT count(*) FROM access_token"
    """
    from clarinet_cli.services.shell import exec_shell, shell_command

    command = await shell_command(runtime.settings, statement=statement, read_only=read_only)
    exec_shell(command)


async def reset(
    runtime: Runtime,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Drop and recreate the Clarinet tables; all rows are lost.

    Refused if the database has other tables. On a terminal it offers a backup and asks for
    the name of the database.

    Example: clarinet db reset --dry-run
    """
    from clarinet_cli.services import schema

    settings = runtime.settings
    if not (dry_run or yes):
        from clarinet_cli.database.url import database_url, display_url, sqlite_file
        from clarinet_cli.services.backup.make import back_up
        from clarinet_cli.services.backup.plan import BackupPlan

        planned = await schema.reset(settings, dry_run=True)
        url, directory = database_url(settings), settings.project_dir
        file = sqlite_file(url)
        offered = interactive(runtime) and any(planned.rows.values())
        if offered and ask(runtime, f"Back up the database to {directory} first?", default=True):
            backup = await back_up(settings, BackupPlan(directory=directory))
            runtime.writer.note(f"backup: {backup.file}")
        rows = format_row_counts(planned.rows) or "none"
        question = f"Drop the Clarinet tables in {display_url(url)}? Rows: {rows}."
        confirm(runtime, question, name=file.name if file else str(url.database))
    report = await schema.reset(settings, dry_run=dry_run, lock_timeout=lock_timeout)
    render(runtime, report, output, changed=not dry_run)
    if not dry_run:
        runtime.writer.note("'clarinet db init' creates the roles and the first superuser")
