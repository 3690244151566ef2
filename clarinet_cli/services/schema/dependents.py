"""Tables and views of others that would point at nothing after a migration."""

from collections.abc import Sequence
from typing import Optional

from alembic.script import Script
from sqlalchemy import Connection, inspect

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.repositories.server import views_of
from clarinet_cli.services.schema.scripts import dropped_tables

INFORMATION = "information_schema"  # views of the server's own
HINT = "remove those tables, views or foreign keys first, by what made them"


def require_no_dependents(connection: Connection, steps: Sequence[Script], function: str) -> None:
    """Refuse steps that drop tables which tables or views that stay use.

    SQLite would drop them all the same, and PostgreSQL would fail half-way. Only what the
    steps say in plain words is seen here: ``references_to_nothing`` looks afterwards.

    Args:
        connection: Where the tables are.
        steps: The revisions that would be passed.
        function: ``upgrade`` or ``downgrade``.

    Raises:
        ConflictError: Which tables they are.
    """
    dropped = set[str]().union(*(dropped_tables(step, function) for step in steps))
    found = [
        f"{table} ({target})"
        for schema, table, target in _references(connection)
        if target in dropped and not (schema is None and table in dropped)
    ]
    if dropped:
        found += [f"view {view} ({used})" for view, used in views_of(connection) if used in dropped]
    _refuse_if_any(found)


def references_to_nothing(connection: Connection) -> set[tuple[str, str]]:
    """Return the tables with a foreign key to a table that does not exist, and to which.

    Args:
        connection: Where the tables are.
    """
    tables = set(inspect(connection).get_table_names())
    return {
        (table, target)
        for schema, table, target in _references(connection)
        if schema is None and target not in tables
    }


def require_no_more_to_nothing(connection: Connection, before: set[tuple[str, str]]) -> None:
    """Refuse what a migration has done when it left tables pointing at nothing.

    Args:
        connection: Where the migration is not committed yet.
        before: What ``references_to_nothing`` returned before it.

    Raises:
        ConflictError: Which tables they are.
    """
    added = sorted(references_to_nothing(connection) - before)
    _refuse_if_any([f"{table} ({target})" for table, target in added])


def _refuse_if_any(found: Sequence[str]) -> None:
    if found:
        tables = ", ".join(dict.fromkeys(found))
        raise CONFLICT.with_context(
            f"others depend on tables that would be dropped: {tables}", hint=HINT
        )


def _references(connection: Connection) -> list[tuple[Optional[str], str, str]]:
    """Return schema and table of each foreign key into the default schema, and its target."""
    inspector = inspect(connection)
    own = inspector.default_schema_name
    # SQLite has none but those that a connection attaches, and names them by their files, which
    # need not be text.
    names = [] if connection.dialect.name == "sqlite" else inspector.get_schema_names()
    others = [name for name in names if name not in (own, INFORMATION)]
    return [
        (schema, table if schema is None else f"{schema}.{table}", key["referred_table"])
        for schema in (None, *sorted(others))
        for (_, table), keys in sorted(inspector.get_multi_foreign_keys(schema=schema).items())
        for key in keys
        if key["referred_schema"] in (None, own)
    ]
