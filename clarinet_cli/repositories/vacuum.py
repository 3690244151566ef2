"""Vacuuming: statements that run outside of any transaction, on the driver's own connection."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from clarinet_cli.repositories.base import quoted_tables

VACUUM_SECONDS = 7 * 24 * 3600.0
PERMISSION_DENIED = "42501"


class SqlitePages(NamedTuple):
    """The pages of a SQLite file.

    Attributes:
        page_bytes: The size of a page in bytes.
        total: The number of all pages.
        free: The number of unused pages.
        wal: Whether the file is in WAL mode.
    """

    page_bytes: int
    total: int
    free: int
    wal: bool


async def sqlite_pages(connection: AsyncConnection) -> SqlitePages:
    """Return the pages of the SQLite file of a connection."""
    names = ("page_size", "page_count", "freelist_count", "journal_mode")
    values = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]
    return SqlitePages(int(values[0]), int(values[1]), int(values[2]), values[3] == "wal")


async def vacuum_sqlite(connection: AsyncConnection, directory: Path, timeout: float) -> bool:
    """Rebuild a SQLite file without its free pages; a cancellation leaves it unchanged.

    Args:
        connection: A connection without a transaction.
        directory: The directory of the temporary copy.
        timeout: Seconds to wait for a lock.

    Returns:
        False when a reader of the old pages kept them in the log of WAL mode.

    Raises:
        DBAPIError: SQLite failed; the file is unchanged.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    quoted = str(directory).replace("'", "''")
    statements = [
        f"PRAGMA busy_timeout={int(timeout * 1000)}",
        f"PRAGMA temp_store_directory='{quoted}'",
        "VACUUM",
    ]
    try:
        for statement in statements:
            cursor = await driver.execute(statement)
            await cursor.close()
        (busy, *_), *_ = await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        raise DBAPIError("VACUUM", None, error, hide_parameters=True) from error
    except asyncio.CancelledError:
        await driver.interrupt()
        raise
    return not busy


async def postgresql_tables(connection: AsyncConnection) -> dict[str, int]:
    """Return the quoted names of the tables, and the bytes of each with indexes and partitions."""
    query = text(
        "WITH RECURSIVE part (oid) AS (SELECT to_regclass(:name)::oid UNION "
        "SELECT inhrelid FROM pg_inherits JOIN part ON inhparent = part.oid) "
        "SELECT sum(pg_total_relation_size(oid)) FROM part"
    )
    sizes = {
        name: (await connection.execute(query, {"name": name})).scalar_one()
        for name in quoted_tables(connection.dialect).values()
    }
    return {name: int(size) for name, size in sizes.items() if size is not None}


async def vacuum_postgresql(
    connection: AsyncConnection, tables: Sequence[str], *, full: bool, timeout: float
) -> bool:
    """Vacuum and analyze tables.

    Args:
        connection: A connection without a transaction.
        tables: The quoted names of the tables.
        full: Rewrite them, each under an exclusive lock.
        timeout: Seconds to wait for a lock.

    Returns:
        False when the server skipped a table, as the user does not own it.

    Raises:
        DBAPIError: The server failed; each table was vacuumed or is unchanged.
    """
    from asyncpg import PostgresError

    driver: Any = (await connection.get_raw_connection()).driver_connection
    await connection.rollback()
    options = "FULL, ANALYZE" if full else "ANALYZE"
    statement = f"VACUUM ({options}) {', '.join(tables)}"
    refused: list[str] = []

    def listen(_: Any, message: Any) -> None:
        if message.sqlstate == PERMISSION_DENIED or "permission denied" in message.message:
            refused.append(message.message)

    driver.add_log_listener(listen)
    try:
        await _vacuum_with_lock_timeout(driver, statement, timeout)
    except PostgresError as error:
        raise DBAPIError(statement, None, error, hide_parameters=True) from error
    finally:
        driver.remove_log_listener(listen)
    return not refused


async def _vacuum_with_lock_timeout(driver: Any, statement: str, timeout: float) -> None:
    """Run a statement outside any transaction; lock_timeout is reset for pooled connections."""
    await driver.execute(f"SET lock_timeout = {int(timeout * 1000)}")
    try:
        await driver.execute(statement, timeout=VACUUM_SECONDS)
    finally:
        if not driver.is_closed():
            await driver.execute("RESET lock_timeout")
