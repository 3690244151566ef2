"""``clarinet migrate``: schema revisions."""

from typing import TYPE_CHECKING, Annotated

import typer

from clarinet_cli.cli.groups import HelpfulGroup, RelativeRevisionCommand, run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.options import DryRun, LockTimeout, Output, SchemaAnyway, Yes
from clarinet_cli.cli.output import Listing, note, render, write
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.exceptions import ExitCode
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import MigrationRun
    from clarinet_cli.settings import Settings

app = typer.Typer(cls=HelpfulGroup, help="Schema revisions, by Alembic.")

Sql = Annotated[
    bool, typer.Option("--sql", help="Print the SQL instead of running it; connects nowhere.")
]


@app.command()
def init(
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Put an Alembic environment into the project directory.

    Nothing is overwritten without --force. 'alembic' then works from that directory too.

    Example: clarinet migrate init
    """
    from clarinet_cli.results import FileChange
    from clarinet_cli.services.schema.environments import init_environment

    project = project_settings().project_dir
    render(
        init_environment(project, force=force, dry_run=dry_run),
        output,
        Listing(FileChange),
        done=not dry_run,
    )


@app.command()
def upgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="A revision, its prefix, 'head', or '+N'.")
    ] = "head",
    sql: Sql = False,
    schema_anyway: SchemaAnyway = False,
    lock_timeout: LockTimeout = 60.0,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Bring the schema to a revision, in one transaction.

    The database has to exist: 'clarinet db init' makes it.

    Example: clarinet migrate upgrade --dry-run
    """
    from clarinet_cli.services.schema import migration_sql
    from clarinet_cli.services.schema import upgrade as bring_up

    settings = project_settings()
    if sql:
        write([migration_sql(settings, revision)])
        return
    work = bring_up(
        settings,
        revision,
        dry_run=dry_run,
        schema_anyway=schema_anyway,
        lock_timeout=lock_timeout,
    )
    render(run(work), output, done=not dry_run)


@app.command(cls=RelativeRevisionCommand)
def downgrade(
    revision: Annotated[
        str, typer.Argument(metavar="REV|-N", help="A revision, its prefix, 'base', or '-N'.")
    ],
    sql: Sql = False,
    lock_timeout: LockTimeout = 60.0,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Take the schema back to a revision; what is in dropped tables is lost.

    Example: clarinet migrate downgrade -1 --dry-run
    """
    from clarinet_cli.services.schema import downgrade as take_back
    from clarinet_cli.services.schema import migration_sql

    settings = project_settings()
    if sql:
        write([migration_sql(settings, revision, down=True)])
        return
    if not (dry_run or yes):
        planned = run(take_back(settings, revision, dry_run=True))
        _confirm_downgrade(settings, planned)
    work = take_back(settings, revision, dry_run=dry_run, lock_timeout=lock_timeout)
    render(run(work), output, done=not dry_run)


@app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="Exit with 6 when not at head.")] = False,
    output: Output = None,
) -> None:
    """Show where the schema stands: current, heads, pending and unknown revisions.

    Revisions are read, not run. Tables that differ from what this tool expects are listed;
    with --check, missing tables and columns count too.

    Example: clarinet migrate status --check
    """
    from clarinet_cli.services.schema import migration_status, status_advice

    found = run(migration_status(project_settings(), compare=True))
    render(found, output)
    for line in status_advice(found):
        note(line)
    if check and not (found.up_to_date and found.complete):
        raise typer.Exit(ExitCode.CHECK_FAILED)


@app.command()
def history(output: Output = None) -> None:
    """Show the revisions, newest first, with marks for current and head.

    Example: clarinet migrate history
    """
    from clarinet_cli.results import RevisionRow
    from clarinet_cli.services.schema import history as revisions

    render(run(revisions(project_settings())), output, Listing(RevisionRow))


@app.command()
def create(
    message: Annotated[str, typer.Option("--message", "-m", help="What the revision does.")],
    empty: Annotated[
        bool, typer.Option("--empty", help="Without operations, to be written by hand.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Write a new revision from the differences between models and database.

    With nothing to do it says so and writes no file.

    Example: clarinet migrate create -m "add a column"
    """
    from clarinet_cli.results import FileChange
    from clarinet_cli.services.schema import create_revision

    settings = project_settings()
    files = run(create_revision(settings, message, empty=empty, dry_run=dry_run))
    if not files:
        note("nothing to do: the database is what the models say")
    if files or output not in (None, OutputFormat.TABLE):
        render(files, output, Listing(FileChange), done=not dry_run)


def _confirm_downgrade(settings: "Settings", planned: "MigrationRun") -> None:
    """Ask, with the target and what is at stake; nothing to do needs no question."""
    from clarinet_cli.services.readiness import database_status

    if planned.result == "unchanged":
        return
    state = run(database_status(settings))
    rows = ", ".join(f"{count} in {table}" for table, count in state.tables.items())
    to = planned.to_revision or "base, which drops all our tables"
    confirm(
        f"Take {state.url} from {planned.from_revision} back to {to}? Rows: {rows or 'none'}.",
        yes=False,
    )
