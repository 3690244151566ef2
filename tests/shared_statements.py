"""SQL that a test process compiles once, instead of once per engine of each command.

SQLAlchemy keeps what it has compiled for a dialect object, of which each engine has one. In a
process that runs thousands of commands compiling takes a third of a short one.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite

from clarinet_cli.models.mapped import mapped_tables

MOST_STATEMENTS = 5000  # some hold the tables of an application that a test has made
STATEMENTS: dict[Any, Any] = {}


class SharedSQLite(SQLiteDialect_aiosqlite):
    """Equal to each other of the same mapping, as they compile the same SQL."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        """Compare what the SQL depends on."""
        return isinstance(other, SharedSQLite) and mapping_of(self) == mapping_of(other)

    def __hash__(self) -> int:
        """Return the same for all."""
        return hash(SharedSQLite)


class SharedPostgreSQL(PGDialect_asyncpg):
    """The same for PostgreSQL; all servers of the tests are of one version."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        """Compare what the SQL depends on."""
        return isinstance(other, SharedPostgreSQL) and mapping_of(self) == mapping_of(other)

    def __hash__(self) -> int:
        """Return the same for all."""
        return hash(SharedPostgreSQL)


def mapping_of(dialect: Any) -> Any:
    """Return the mapping of a dialect's engine and what it can do, or None."""
    tables = mapped_tables(dialect)
    return tables and (tables.mapping, tables.capabilities)


def share_statements() -> None:
    """Let the engines that are made from now on share what they compile."""
    registry.register("sqlite.aiosqlite", __name__, SharedSQLite.__name__)
    registry.register("postgresql.asyncpg", __name__, SharedPostgreSQL.__name__)
    event.listen(Engine, "engine_connect", _use_shared)


def _use_shared(connection: Connection) -> None:
    if isinstance(connection.dialect, SharedSQLite | SharedPostgreSQL):
        if len(STATEMENTS) > MOST_STATEMENTS:
            STATEMENTS.clear()
        connection.execution_options(compiled_cache=STATEMENTS)
