"""Checks before a migration: of tables, revisions and dependents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from alembic.script import Script
from sqlalchemy import Connection, inspect

from clarinet_cli.database.errors import DEPENDENTS_HINT
from clarinet_cli.database.session import Database, database_exists
from clarinet_cli.exceptions import CONFLICT, REFUSED, ConflictError
from clarinet_cli.repositories.catalogue import read_tables
from clarinet_cli.repositories.server import view_dependencies
from clarinet_cli.results import MigrationStatus
from clarinet_cli.services.schema.comparison import differences
from clarinet_cli.services.schema.environments import find_environment, foreign_environment
from clarinet_cli.services.schema.scripts import dropped_tables
from clarinet_cli.services.schema.state import current_heads, present_tables

WRITE_REVISION = "'clarinet migrate create -m repair' and 'clarinet migrate upgrade'"
REPAIR_HINT = f"restore a backup, or 'clarinet migrate init', {WRITE_REVISION}"


async def require_schema_order(database: Database, *, creates: bool = False) -> None:
    """Refuse to create the Clarinet tables in the database of another program.

    That is a server whose own migrations will create them, or an application with accounts of
    its own.

    Args:
        database: The database.
        creates: Whether the caller would create a missing database; otherwise a missing
            database is not checked here.

    Raises:
        RefusedError: The project has another program's environment, and the database is empty;
            or it has no Clarinet tables, but a table of accounts.
    """
    directory = database.settings.project_dir
    if await database_exists(database):
        async with database.connection() as connection:
            await connection.run_sync(require_no_other_schema, directory)
    elif creates:
        _require_no_other_environment(directory)


def require_no_other_schema(connection: Connection, directory: Path) -> None:
    """Refuse to create the Clarinet tables in an existing database; see ``require_schema_order``.

    Args:
        connection: A connection to the database.
        directory: The project directory.

    Raises:
        RefusedError: See ``require_schema_order``.
    """
    if current_heads(connection) or present_tables(connection):
        return
    # Imported here: db inspect reads and writes settings files.
    from clarinet_cli.services.inspection.shapes import account_tables

    accounts = account_tables(read_tables(connection))
    if current_heads(connection):
        return  # another run has created the Clarinet tables meanwhile
    if accounts:
        listed = ", ".join(table.fullname for table in accounts)
        raise REFUSED.with_context(
            f"the database has the accounts of an application: {listed}",
            hint="'clarinet db inspect --write' maps its tables; --schema-anyway creates the "
            "Clarinet tables beside them",
        )
    _require_no_other_environment(directory)


def _require_no_other_environment(directory: Path) -> None:
    if foreign := foreign_environment(directory):
        raise REFUSED.with_context(
            f"{foreign} is the migration environment of another program, which has not created "
            "the Clarinet tables yet",
            hint="run that program's migrations first, such as 'alembic upgrade head', then "
            "'clarinet db init'; --schema-anyway creates the tables anyway",
        )


async def require_runnable(database: Database) -> None:
    """Refuse to create a database whose migrations would then be refused.

    Args:
        database: The database.

    Raises:
        RefusedError: The database is missing, and the project's migrations are not trusted.
    """
    if not await database_exists(database):
        _ = find_environment(database.settings.project_dir).config


def require_no_tables(connection: Connection) -> None:
    """Refuse to run the first revision if one of the Clarinet tables already exists.

    Args:
        connection: A connection to a database without a revision.

    Raises:
        ConflictError: One exists.
    """
    if present_tables(connection):
        raise unversioned_error(differences(connection))


def unversioned_error(found: Sequence[str]) -> ConflictError:
    """Return the error for Clarinet tables in a database without a revision.

    Args:
        found: How the tables differ from the models; see ``differences``.
    """
    message = "the Clarinet tables already exist, but the database has no revision"
    if not found:
        hint = "'clarinet db init' stamps them with the revision"
        return CONFLICT.with_context(message, hint=hint)
    return CONFLICT.with_context(
        f"{message}; they do not match the migrations: {', '.join(found)}",
        hint="if a server owns them, run its migrations; if another application does, "
        "'clarinet db inspect' proposes a mapping; otherwise run 'clarinet migrate init', "
        f"'alembic stamp head' in the project directory, {WRITE_REVISION}",
    )


def status_advice(status: MigrationStatus) -> list[str]:
    """Return hints for an operator about a status; empty if there is nothing to do.

    Args:
        status: What ``migration_status`` returned.
    """
    if status.unknown:
        return ["another Alembic environment migrates this database: see the server that owns it"]
    if not status.current and status.differences:
        return [str(unversioned_error(status.differences).hint)]
    if status.up_to_date and status.differences:
        return [f"tables that differ: {REPAIR_HINT}"]
    return []


def incomplete_error(revision: Optional[str], missing: Sequence[str]) -> ConflictError:
    """Return the error for a database that lacks parts of its revision.

    Args:
        revision: The revision recorded in the database.
        missing: What is missing; see ``missing_parts``.
    """
    return CONFLICT.with_context(
        f"the database is stamped {revision}, but its tables differ: {', '.join(missing)}",
        hint=REPAIR_HINT,
    )


def require_no_dependents(connection: Connection, steps: Sequence[Script], function: str) -> None:
    """Refuse revisions that drop a table which a remaining table or view uses.

    SQLite would drop it anyway, and PostgreSQL would fail half-way. Only operations in the text of
    a revision are found; ``dangling_references`` finds the rest afterwards.

    Args:
        connection: A connection to the database.
        steps: The revisions that would be run.
        function: ``upgrade`` or ``downgrade``.

    Raises:
        ConflictError: There are such tables or views; the message lists them.
    """
    dropped = set[str]().union(*(dropped_tables(step, function) for step in steps))
    found = [
        f"{table} ({target})"
        for schema, table, target in _references(connection)
        if target in dropped and not (schema is None and table in dropped)
    ]
    if dropped:
        found += [
            f"view {view} ({used})"
            for view, used in view_dependencies(connection)
            if used in dropped
        ]
    _require_none(found)


def dangling_references(connection: Connection) -> set[tuple[str, str]]:
    """Return each table with a foreign key to a missing table, and the missing table.

    Args:
        connection: A connection to the database.
    """
    tables = set(inspect(connection).get_table_names())
    return {
        (table, target)
        for schema, table, target in _references(connection)
        if schema is None and target not in tables
    }


def require_no_new_dangling_references(
    connection: Connection, before: set[tuple[str, str]]
) -> None:
    """Refuse a migration, before its commit, that left foreign keys to missing tables.

    Args:
        connection: The connection of the migration.
        before: What ``dangling_references`` returned before the migration.

    Raises:
        ConflictError: There are such tables; the message lists them.
    """
    added = sorted(dangling_references(connection) - before)
    _require_none([f"{table} ({target})" for table, target in added])


def _require_none(found: Sequence[str]) -> None:
    if found:
        tables = ", ".join(dict.fromkeys(found))
        raise CONFLICT.with_context(
            f"other tables depend on tables that would be dropped: {tables}", hint=DEPENDENTS_HINT
        )


def _references(connection: Connection) -> list[tuple[Optional[str], str, str]]:
    """Return schema, table and target of each foreign key that refers to the default schema."""
    inspector = inspect(connection)
    own = inspector.default_schema_name
    # SQLite has attached databases only, whose names may not be valid text.
    names = [] if connection.dialect.name == "sqlite" else inspector.get_schema_names()
    others = [name for name in names if name not in (own, "information_schema")]
    return [
        (schema, table if schema is None else f"{schema}.{table}", key["referred_table"])
        for schema in (None, *sorted(others))
        for (_, table), keys in sorted(inspector.get_multi_foreign_keys(schema=schema).items())
        for key in keys
        if key["referred_schema"] in (None, own)
    ]
