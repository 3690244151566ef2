"""Queries about the database server, and its locks."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, inspect, select, table, text
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from clarinet_cli import timefmt
from clarinet_cli.repositories.base import tables_of

ACCOUNTS_LOCK = 3  # 1 and 2 are the jobs of services.locks
ADVISORY_LOCK_CLASS = 0x636C6172  # "clar", to avoid conflicts with other programs' locks


class ServerRepository:
    """Version, clock, size, tables and locks.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    @property
    def backend(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.session.get_bind().dialect.name

    async def now(self) -> datetime:
        """Return the current time of the database server; for SQLite, of this machine."""
        if self.backend == "sqlite":
            return timefmt.machine_now()
        timestamp: datetime = (await self.session.scalars(select(func.clock_timestamp()))).one()
        return timestamp.astimezone(UTC)

    async def ping(self) -> None:
        """Run a trivial query, for which SQLite reads its file."""
        query = "PRAGMA schema_version" if self.backend == "sqlite" else "SELECT 1"
        await self.session.execute(text(query))

    async def version(self) -> str:
        """Return the version of the database software."""
        query = "SELECT sqlite_version()" if self.backend == "sqlite" else "SHOW server_version"
        return str((await self.session.scalars(text(query))).one())

    async def size(self) -> int:
        """Return the size of the database in bytes."""
        if self.backend == "sqlite":
            pages = (await self.session.scalars(text("PRAGMA page_count"))).one()
            return int(pages) * int((await self.session.scalars(text("PRAGMA page_size"))).one())
        query = select(func.pg_database_size(func.current_database()))
        return int((await self.session.scalars(query)).one())

    async def table_names(self) -> set[str]:
        """Return the names of all tables, including other programs'."""
        connection = await self.session.connection()
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))

    async def row_counts(self) -> dict[str, int]:
        """Return the rows of each table of accounts, roles and sessions that exists, by name."""
        stored = tables_of(self.session.get_bind().dialect)
        connection = await self.session.connection()
        present = await connection.run_sync(
            lambda sync: set(inspect(sync).get_table_names(stored.schema))
        )
        counts = {}
        for key, name in stored.names.items():
            if name in present:
                source = table(name, schema=stored.schema)
                query = select(func.count()).select_from(source)
                counts[stored.fullname(key)] = int((await self.session.scalars(query)).one())
        return counts

    async def try_advisory_lock(self, number: int) -> bool:
        """Take a PostgreSQL advisory lock until the end of this transaction.

        Args:
            number: The number of the lock.

        Returns:
            False if another process holds it.
        """
        query = select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK_CLASS, number))
        return bool((await self.session.scalars(query)).one())

    async def disable_transaction_timeout(self) -> None:
        """Disable the server's limit for the duration of this transaction, if it has one."""
        query = (
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'"
        )
        await self.session.execute(text(query))
        await self.keep_lock_alive()

    async def keep_lock_alive(self) -> None:
        """Check the connection of a transaction that holds a lock, and prevent its idle timeout.

        A query's snapshot lasts until the next statement and holds back vacuum. This statement
        needs no snapshot.
        """
        await self.session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))

    async def lock_accounts(self) -> None:
        """Lock out other processes that change accounts, until the end of this transaction.

        PostgreSQL: an advisory lock, subject to ``lock_timeout``. On SQLite the transaction of
        a writer is exclusive already (``BEGIN IMMEDIATE``).
        """
        if self.backend != "sqlite":
            lock = func.pg_advisory_xact_lock(ADVISORY_LOCK_CLASS, ACCOUNTS_LOCK)
            await self.session.execute(select(lock))

    async def pause_between_batches(self) -> float:
        """Return the seconds that a long job pauses between transactions for other writers.

        SQLite's waiting writers poll with back-off, up to every 0.1 s, and can miss a shorter
        gap. In rollback-journal mode readers block writers too, so the gap is longer.
        """
        if self.backend != "sqlite":
            return 0.0
        mode = (await self.session.scalars(text("PRAGMA journal_mode"))).one()
        return 0.1 if mode == "wal" else 0.12


async def create_database(connection: AsyncConnection, name: str) -> None:
    """Create a PostgreSQL database; *connection* is in autocommit mode.

    The statement is not prepared: without a transaction a pooler might execute it on another
    connection than the one that prepared it.
    """
    from asyncpg import PostgresError

    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    statement = f"CREATE DATABASE {quoted} ENCODING 'UTF8' TEMPLATE template0"
    driver: Any = (await connection.get_raw_connection()).driver_connection
    try:
        await driver.execute(statement)
    except PostgresError as error:
        raise DBAPIError(statement, None, error, hide_parameters=True) from error


def count_rows(connection: Connection, tables: Iterable[str]) -> dict[str, int]:
    """Return the number of rows of each of some tables of the default schema.

    Args:
        connection: The connection to the database.
        tables: Their names; those that do not exist are left out.
    """
    present = set(inspect(connection).get_table_names())
    return {
        name: int(connection.scalars(select(func.count()).select_from(table(name))).one())
        for name in sorted(present.intersection(tables))
    }


def tables_of_other_schemas(connection: Connection) -> set[str]:
    """Return the tables outside of the default schema of a PostgreSQL database."""
    if connection.dialect.name == "sqlite":
        return set()
    query = text(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname <> current_schema() "
        "AND schemaname <> 'information_schema' AND schemaname NOT LIKE 'pg\\_%'"
    )
    return set(connection.scalars(query))


VIEWS = text(
    "SELECT DISTINCT viewed.oid::regclass::text, used.relname FROM pg_depend "
    "JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class viewed ON viewed.oid = ev_class "
    "JOIN pg_class used ON used.oid = refobjid AND used.oid <> viewed.oid "
    "WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass "
    "AND used.relnamespace = current_schema()::regnamespace ORDER BY 1, 2"
)


def view_dependencies(connection: Connection) -> list[tuple[str, str]]:
    """Return each view with each table of the default schema that it reads."""
    if connection.dialect.name != "sqlite":
        return [(view, used) for view, used in connection.execute(VIEWS)]
    master = connection.execute(text("SELECT rootpage, tbl_name FROM sqlite_master"))
    tables = {page: table for page, table in master if page}
    return [
        (view, table)
        for view in sorted(inspect(connection).get_view_names())
        for table in sorted({tables[page] for page in _pages(connection, view) if page in tables})
    ]


def _pages(connection: Connection, view: str) -> set[int]:
    """Return the root pages of the tables and indexes that SQLite reads for a view."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(view)
    query = f"EXPLAIN SELECT * FROM {quoted}"  # noqa: S608 - a name, quoted
    try:
        program = connection.exec_driver_sql(query).all()
    except DatabaseError:  # the view is broken already
        return set()
    return {step[3] for step in program if step[1] == "OpenRead"}
