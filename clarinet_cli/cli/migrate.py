"""``clarinet migrate``: schema revisions."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.commands import RelativeRevisionCommand, command, group
from clarinet_cli.cli.options import (
    LOCK_TIMEOUT,
    DryRun,
    Force,
    Limit,
    LockTimeout,
    Output,
    SchemaAnyway,
    Strict,
    Yes,
    columns_option,
    sort_option,
)
from clarinet_cli.cli.presentation import Presentation, RowLimit
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.cli.render import TABLE_FORMATS, render, render_findings, render_list
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import format_row_counts
from clarinet_cli.exceptions import ExitCode

app = group("migrate")

Sql = Annotated[
    bool, typer.Option("--sql", help="Print the SQL instead of running it; do not connect.")
]


@command(app)
async def init(
    runtime: Runtime, force: Force = False, dry_run: DryRun = False, output: Output = None
) -> None:
    """Create an Alembic environment in the project directory.

    Nothing is overwritten without --force. 'alembic' works from that directory, too.

    Example: clarinet migrate init
    """
    from clarinet_cli.results import FileChange
    from clarinet_cli.services.schema import init_environment

    files = init_environment(runtime.settings.project_dir, force=force, dry_run=dry_run)
    render_list(runtime, files, output, Presentation(FileChange), changed=not dry_run)


@command(app)
async def upgrade(
    runtime: Runtime,
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="A revision, its prefix, 'head', or '+N'.")
    ] = "head",
    sql: Sql = False,
    schema_anyway: SchemaAnyway = False,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Upgrade the schema to a revision, in one transaction.

    The database must exist: 'clarinet db init' creates it.

    Example: clarinet migrate upgrade --dry-run
    """
    from clarinet_cli.services import schema

    if sql:
        runtime.writer.write([schema.migration_sql(runtime.settings, revision)])
        return
    report = await schema.upgrade(
        runtime.settings,
        revision,
        dry_run=dry_run,
        schema_anyway=schema_anyway,
        lock_timeout=lock_timeout,
    )
    render(runtime, report, output, changed=not dry_run)


@command(app, cls=RelativeRevisionCommand)
async def downgrade(
    runtime: Runtime,
    revision: Annotated[
        str, typer.Argument(metavar="REV|-N", help="A revision, its prefix, 'base', or '-N'.")
    ],
    sql: Sql = False,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Downgrade the schema to a revision; the rows of dropped tables are lost.

    Example: clarinet migrate downgrade -1 --dry-run
    """
    from clarinet_cli.services import schema
    from clarinet_cli.services.readiness import database_status

    settings = runtime.settings
    if sql:
        runtime.writer.write([schema.migration_sql(settings, revision, down=True)])
        return
    if not (dry_run or yes):
        planned = await schema.downgrade(settings, revision, dry_run=True)
        if planned.result != "unchanged":
            state = await database_status(settings)
            rows = format_row_counts(state.tables) or "none"
            to = planned.to_revision or "base, which drops the Clarinet tables"
            confirm(
                runtime,
                f"Downgrade {state.url} from {planned.from_revision} to {to}? Rows: {rows}.",
            )
    report = await schema.downgrade(settings, revision, dry_run=dry_run, lock_timeout=lock_timeout)
    render(runtime, report, output, changed=not dry_run)


@command(app)
async def status(
    runtime: Runtime,
    check: Annotated[bool, typer.Option("--check", help="Exit with 6 when not at head.")] = False,
    output: Output = None,
) -> Optional[int]:
    """Show the current revision, heads, pending and unknown revisions.

    Revisions are read, not run. Tables that differ from what this tool expects are listed;
    with --check, missing tables and columns count too.

    Example: clarinet migrate status --check
    """
    from clarinet_cli.services.schema import migration_status, status_advice

    found = await migration_status(runtime.settings, compare=True)
    render(runtime, found, output)
    for line in status_advice(found):
        runtime.writer.note(line)
    passed = found.up_to_date and found.complete
    return ExitCode.CHECK_FAILED if check and not passed else None


@command(app)
async def history(
    runtime: Runtime,
    limit: Limit = None,
    sort: Annotated[Optional[str], sort_option("RevisionRow")] = None,
    columns: Annotated[Optional[str], columns_option("RevisionRow")] = None,
    output: Output = None,
) -> None:
    """List the revisions, newest first, with marks for current and head.

    Example: clarinet migrate history
    """
    from clarinet_cli.results import RevisionRow
    from clarinet_cli.services import schema

    presentation = Presentation(RevisionRow, chosen=columns, order=sort)
    revisions = await schema.history(runtime.settings)
    render_list(runtime, revisions, output, presentation, RowLimit(limit))


@command(app)
async def create(
    runtime: Runtime,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="What the revision does.")
    ],
    empty: Annotated[
        bool, typer.Option("--empty", help="Without operations, to be edited by hand.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Write a new revision from the differences between models and database.

    Without differences no file is written.

    Example: clarinet migrate create -m "add a column"
    """
    from clarinet_cli.results import FileChange
    from clarinet_cli.services.schema import create_revision

    files = await create_revision(runtime.settings, message, empty=empty, dry_run=dry_run)
    if not files:
        runtime.writer.note("nothing to do: the database matches the models")
    if files or output not in TABLE_FORMATS:
        render_list(runtime, files, output, Presentation(FileChange), changed=not dry_run)


@command(app)
async def check(runtime: Runtime, strict: Strict = False, output: Output = None) -> None:
    """Check models, heads and pending revisions, and exit with 6 when something is wrong.

    Pending revisions that drop or rewrite data are listed with the number of rows.
    Revisions are read, not run.

    Example: clarinet migrate check
    """
    from clarinet_cli.services.schema import check_migrations

    render_findings(runtime, await check_migrations(runtime.settings), output, strict=strict)


@command(app)
async def stamp(
    runtime: Runtime,
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="A revision, its prefix, 'head' or 'base'.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Do not compare the tables with the revision.")
    ] = False,
    lock_timeout: LockTimeout = LOCK_TIMEOUT,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Record the revision of the schema without running migrations.

    Refused when the tables do not match the revision.

    Example: clarinet migrate stamp head
    """
    from clarinet_cli.services import schema

    report = await schema.stamp(
        runtime.settings, revision, force=force, dry_run=dry_run, lock_timeout=lock_timeout
    )
    render(runtime, report, output, changed=not dry_run)
