"""Dropping the Clarinet tables and creating them again."""

from contextlib import nullcontext
from functools import partial

from alembic import command
from sqlalchemy import Connection, inspect

from clarinet_cli.database.engine import Access
from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import TABLE_NAMES, VERSION_TABLE, metadata
from clarinet_cli.repositories.server import count_rows, tables_of_other_schemas, view_dependencies
from clarinet_cli.results import ResetReport
from clarinet_cli.services.audit import TransactionAudit, audit_transaction
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS
from clarinet_cli.services.schema.commands import (
    abbreviate_names,
    migration_connection,
    write_revisions,
)
from clarinet_cli.services.schema.environments import (
    Environment,
    find_environment,
    foreign_environment,
)
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    join_revisions,
    require_known_revisions,
    revision_status,
    with_connection,
)
from clarinet_cli.settings import Settings


async def reset(
    settings: Settings,
    *,
    dry_run: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> ResetReport:
    """Drop the four Clarinet tables and recreate them by the migrations, in one transaction.

    Args:
        settings: The database and the project directory.
        dry_run: Change nothing, report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        RefusedError: The database has tables or views that are not Clarinet's, or another program
            migrates it; or the project's revisions belong to others.
        BusyError: The lock was not free in time.
    """
    environment = find_environment(settings.project_dir)
    if foreign := foreign_environment(settings.project_dir):
        raise REFUSED.with_context(
            f"{foreign} is the migration environment of another program, which owns the tables",
            hint="recreate its tables with that program's own migrations",
        )
    access = Access.READ if dry_run else Access.WRITE
    with nullcontext(TransactionAudit()) if dry_run else audit_transaction() as audit:
        async with migration_connection(settings, access, lock_timeout, audit) as connection:
            await connection.run_sync(partial(_require_no_other_tables, environment))
            rows = await connection.run_sync(partial(count_rows, tables=TABLE_NAMES))
            if not dry_run:
                await connection.run_sync(partial(_recreate_tables, environment))
                audit.add(None, "deleted", rows=rows)
    result = "would_delete" if dry_run else "deleted"
    return ResetReport(result, rows, join_revisions(tuple(environment.scripts.get_heads())))


def _require_no_other_tables(environment: Environment, connection: Connection) -> None:
    require_known_revisions(revision_status(environment, current_heads(connection)))
    inspector = inspect(connection)
    tables = set(inspector.get_table_names()) - {*TABLE_NAMES, VERSION_TABLE}
    others = [
        *sorted(tables),
        *sorted(tables_of_other_schemas(connection)),
        *(f"view {name}" for name in sorted({view for view, _ in view_dependencies(connection)})),
    ]
    if others:
        raise REFUSED.with_context(
            f"the database has tables of other programs: {abbreviate_names(others)}",
            hint="'clarinet session revoke-all' and 'clarinet admin delete' change only the "
            "Clarinet tables",
        )


def _recreate_tables(environment: Environment, connection: Connection) -> None:
    metadata.drop_all(connection)
    write_revisions(connection, environment, ())
    with alembic_errors("head"):
        with_connection(environment, command.upgrade, "head")(connection)
