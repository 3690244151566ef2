"""``clarinet db``: the database as a whole."""

from typing import Annotated

import typer

from clarinet_cli.cli.delivery import Delivery
from clarinet_cli.cli.groups import HelpfulGroup, run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.options import (
    DryRun,
    GeneratePassword,
    Output,
    PasswordFile,
    PasswordStdin,
    SchemaAnyway,
    parse_duration,
)
from clarinet_cli.cli.output import Listing, render
from clarinet_cli.cli.prompts import PasswordOptions
from clarinet_cli.signals import Interrupted
from clarinet_cli.types import Readiness

app = typer.Typer(cls=HelpfulGroup, help="Create the database, look at it, wait for it.")


@app.command()
def init(
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    schema_anyway: SchemaAnyway = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Make the database ready, whatever its state.

    Creates it, applies the migrations, makes sure of the roles and (admin_auto_create) of
    the first superuser. Running it again changes nothing. The schema of a database that a
    server migrates is left alone; where the project has that server's migrations, they come
    first.

    Example: clarinet db init --generate-password
    """
    from clarinet_cli.cli.passwords import first_admin_password
    from clarinet_cli.results import Step
    from clarinet_cli.services.schema import require_known_schema, require_schema_order
    from clarinet_cli.services.settings_warnings import refuse_accidental_sqlite
    from clarinet_cli.utils.bootstrap import initialise_database

    settings = project_settings()
    refuse_accidental_sqlite(settings)
    options = PasswordOptions(password_stdin, password_file, generate_password)
    if not schema_anyway:
        run(require_schema_order(settings, creates=True))
    run(require_known_schema(settings))  # before anybody is asked for a password
    password = options.read() if dry_run else first_admin_password(settings, options)
    done: list[Step] = []
    # The steps before the superuser's have committed by the time the password is shown.
    delivery = Delivery(output, Listing(Step), otherwise="the superuser was not created")
    work = initialise_database(
        settings,
        password,
        dry_run=dry_run,
        schema_anyway=schema_anyway,
        progress=done,
        deliver=delivery,
    )
    try:
        with delivery.checked():
            steps = run(work)
    except Interrupted:
        if any(step.result != "unchanged" for step in done) and not (dry_run or delivery.done):
            render(done, output, Listing(Step), done=True)
        raise
    if not delivery.done:
        render(steps, output, Listing(Step), done=not dry_run)


@app.command()
def status(output: Output = None) -> None:
    """Show software, size, revision, and the rows of our tables.

    Example: clarinet db status -o json
    """
    from clarinet_cli.services.readiness import database_status

    render(run(database_status(project_settings())), output)


@app.command()
def wait(
    readiness: Annotated[
        Readiness, typer.Option("--for", help="What counts as ready.")
    ] = Readiness.CONNECTION,
    timeout: Annotated[
        float,
        typer.Option(parser=parse_duration, metavar="TIME", help="How long to wait at most."),
    ] = 60.0,
    output: Output = None,
) -> None:
    """Return when the database is ready.

    A wrong password or an unknown database fails at once; an unreachable server is tried
    again, with back-off.

    Example: clarinet db wait --for schema --timeout 2m
    """
    from clarinet_cli.services.readiness import wait_until_ready

    render(run(wait_until_ready(project_settings(), readiness, timeout=timeout)), output)
