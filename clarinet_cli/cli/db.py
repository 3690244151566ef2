"""``clarinet db``: the database as a whole."""

import asyncio
from typing import Annotated

import typer

from clarinet_cli.cli import db_backup, db_inspect, db_maintenance
from clarinet_cli.cli.commands import command, group
from clarinet_cli.cli.findings import render_findings
from clarinet_cli.cli.options import (
    DryRun,
    GeneratePassword,
    Output,
    PasswordFile,
    PasswordStdin,
    SchemaAnyway,
    Strict,
    parse_duration,
)
from clarinet_cli.cli.passwords import Delivery, PasswordOptions, require_password
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.render import Listing, render, render_list
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.signals import Interrupted
from clarinet_cli.types import Readiness

app = group("db")


@command(app)
async def init(
    runtime: Runtime,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    schema_anyway: SchemaAnyway = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Initialise the database; idempotent.

    Creates the database, applies the migrations, adds missing roles and (admin_auto_create)
    the first superuser. The schema of a database that a server migrates is not changed; where
    the project has that server's migrations, they have to run first.

    Example: clarinet db init --generate-password
    """
    from clarinet_cli.results import Step
    from clarinet_cli.services.accounts.resolve import first_admin_email
    from clarinet_cli.services.bootstrap import initialise_database, superuser_is_missing
    from clarinet_cli.services.schema import require_known_schema, require_schema_order
    from clarinet_cli.services.settings_warnings import refuse_accidental_sqlite
    from clarinet_cli.services.unit_of_work import open_database

    settings = runtime.settings
    refuse_accidental_sqlite(settings)
    if not schema_anyway:
        await require_schema_order(settings, creates=True)
    await require_known_schema(settings)  # before anybody is prompted for a password
    options = PasswordOptions(password_stdin, password_file, generate_password)
    password = options.read(runtime)
    done: list[Step] = []
    # The steps before the superuser's are committed when the password is shown.
    delivery = Delivery(runtime, output, Listing(Step), otherwise="the superuser was not created")
    try:
        async with open_database(settings) as database:
            if not dry_run:
                missing = await superuser_is_missing(database)
                await database.disconnect()
                email = first_admin_email(settings) if missing else ""
                password = require_password(runtime, password, email) if missing else None
            with delivery.checked():
                steps = await initialise_database(
                    database,
                    password,
                    dry_run=dry_run,
                    schema_anyway=schema_anyway,
                    progress=done,
                    deliver=delivery,
                )
    except (asyncio.CancelledError, Interrupted):
        if any(step.result != "unchanged" for step in done) and not (dry_run or delivery.done):
            render_list(runtime, done, output, Listing(Step), changed=True)
        raise
    if not delivery.done:
        render_list(runtime, steps, output, Listing(Step), changed=not dry_run)


@command(app)
async def status(runtime: Runtime, output: Output = None) -> None:
    """Show the server's version, the size, the revision, and the rows of each table.

    Example: clarinet db status -o json
    """
    from clarinet_cli.services.readiness import database_status

    render(runtime, await database_status(runtime.settings), output)


@command(app)
async def wait(
    runtime: Runtime,
    readiness: Annotated[
        Readiness, typer.Option("--for", help="What counts as ready.")
    ] = Readiness.CONNECTION,
    timeout: Annotated[
        float,
        typer.Option(parser=parse_duration, metavar="TIME", help="Fail after this time."),
    ] = 60.0,
    output: Output = None,
) -> None:
    """Wait until the database is ready.

    A wrong password or an unknown database fails at once; an unreachable server is retried
    with back-off.

    Example: clarinet db wait --for schema --timeout 2m
    """
    from clarinet_cli.services.readiness import wait_until_ready

    report = await wait_until_ready(runtime.settings, readiness, timeout=timeout)
    render(runtime, report, output)


@command(app)
async def check(runtime: Runtime, strict: Strict = False, output: Output = None) -> None:
    """Check all that the database holds, and exit with 6 when something is wrong.

    Reads every page and row: whether the file and its indexes are sound, the tables are what
    the models say, and each row has the form that the server can read and refers to what
    exists. No writer waits for it. 'clarinet doctor' is quicker, and checks what is around it.

    Example: clarinet db check
    """
    from clarinet_cli.services.checks import check_database

    with progress(runtime, "checking rows") as update:
        findings = await check_database(runtime.settings, progress=update)
    render_findings(runtime, findings, output, strict=strict)


command(app)(db_backup.backup)
command(app)(db_backup.restore)
command(app)(db_maintenance.vacuum)
command(app)(db_maintenance.shell)
command(app)(db_maintenance.reset)
command(app)(db_inspect.inspect)
