"""The findings of ``migrate check``: models, heads and destructive operations."""

from collections.abc import Iterator
from functools import partial

from alembic.script import Script
from sqlalchemy import Connection

from clarinet_cli.database.session import get_connection
from clarinet_cli.repositories.server import count_rows
from clarinet_cli.results import Finding, MigrationStatus
from clarinet_cli.services.schema.comparison import EXTRA, differences
from clarinet_cli.services.schema.environments import Environment, find_environment
from clarinet_cli.services.schema.preconditions import REPAIR_HINT
from clarinet_cli.services.schema.scripts import Operation, destructive_operations
from clarinet_cli.services.schema.state import (
    FOREIGN,
    current_heads,
    present_tables,
    revision_status,
)
from clarinet_cli.settings import Settings

UPGRADE = "'clarinet migrate upgrade'"
BACKUP = "run 'clarinet db backup FILE' first"


async def check_migrations(settings: Settings) -> list[Finding]:
    """Return the problems of models, revisions and heads, and an ``ok`` for each check without.

    Revisions are read, not run.

    Args:
        settings: The database and the project directory.
    """
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection, connection.begin():
        return await connection.run_sync(partial(_findings, environment))


def _findings(environment: Environment, connection: Connection) -> list[Finding]:
    status = revision_status(environment, current_heads(connection))
    return [
        *_models(connection, status),
        *_heads(status),
        *_destructive(connection, environment, status),
    ]


def _models(connection: Connection, status: MigrationStatus) -> Iterator[Finding]:
    """Yield the differences between the Clarinet tables and the models."""
    if not present_tables(connection):
        yield Finding(
            "models",
            "error",
            "the Clarinet tables do not exist",
            "'clarinet db init' creates them",
        )
        return
    found = differences(connection)
    if not found:
        yield Finding("models", "ok", "tables match the models")
    hint = REPAIR_HINT
    if status.unknown:
        hint = "run the migrations of the server that owns the database"
    elif status.pending:
        hint = UPGRADE
    for text in found:
        if text.startswith(EXTRA):
            yield Finding("models", "warning", f"{text}, which is not in the models")
        else:
            yield Finding("models", "error", text, hint)


def _heads(status: MigrationStatus) -> Iterator[Finding]:
    if status.unknown:
        text = f"{FOREIGN} (revision {', '.join(status.unknown)})"
        yield Finding("heads", "ok", text)
        return
    if len(status.heads) > 1:
        yield Finding(
            "heads",
            "error",
            f"{len(status.heads)} heads: {', '.join(status.heads)}",
            f"'alembic merge -m merge {' '.join(status.heads)}' in the project directory",
        )
    if len(status.current) > 1:
        text = f"the database is at {len(status.current)} revisions: {', '.join(status.current)}"
        yield Finding("heads", "error", text, UPGRADE)
    if len(status.heads) == 1 and len(status.current) <= 1:
        yield Finding("heads", "ok", f"one head: {', '.join(status.heads)}")


def _destructive(
    connection: Connection, environment: Environment, status: MigrationStatus
) -> Iterator[Finding]:
    """Yield the operations of pending revisions that drop or rewrite existing data."""
    if not status.pending:
        yield Finding("destructive", "ok", "no revision is pending")
        return
    scripts = environment.scripts
    steps = [scripts.get_revision(revision) for revision in status.pending]
    planned = [
        (step, operation) for step in steps for operation in destructive_operations(step, "upgrade")
    ]
    rows = count_rows(connection, {item.table for _, item in planned if item.table})
    at_stake = [(step, item) for step, item in planned if item.table is None or item.table in rows]
    if not at_stake:
        text = f"{len(steps)} pending, no destructive operations"
        yield Finding("destructive", "ok", text)
    for step, operation in dict.fromkeys(at_stake):
        yield _destructive_finding(step, operation, rows)


def _destructive_finding(step: Script, operation: Operation, rows: dict[str, int]) -> Finding:
    """Return the finding about one operation; the number of rows is that of its table."""
    text = f"revision {step.revision} {operation}"
    if operation.table is None:
        return Finding("destructive", "warning", text, f"read {step.path}")
    count = rows[operation.table]
    return Finding(
        "destructive", "error", f"{text}: {count} row{'' if count == 1 else 's'}", BACKUP
    )
