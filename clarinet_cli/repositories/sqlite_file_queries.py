"""Queries on a SQLite file: its contents and its integrity."""

import sqlite3

from clarinet_cli.models import VERSION_TABLE
from clarinet_cli.models.stored_tables import OWN_TABLES, StoredTables
from clarinet_cli.utils.logger import logger

PROBLEMS_SHOWN = 3


def table_names(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all tables, without SQLite's own."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%'"
    return {str(name) for (name,) in connection.execute(f"{query} ESCAPE '@'")}


def row_counts(connection: sqlite3.Connection, tables: StoredTables = OWN_TABLES) -> dict[str, int]:
    """Return the number of rows of each table that exists.

    Args:
        connection: The connection to the file.
        tables: The tables of accounts, roles and sessions.
    """
    present = {name.lower() for name in table_names(connection)}
    return {
        name: connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]  # noqa: S608 - the names are quoted
        for name in tables.fullnames
        if name.lower() in present
    }


def revision(connection: sqlite3.Connection) -> str | None:
    """Return the Alembic revision, several joined by commas, or None when there is none."""
    if VERSION_TABLE not in table_names(connection):
        return None
    rows = connection.execute("SELECT version_num FROM alembic_version ORDER BY 1")
    return ", ".join(str(name) for (name,) in rows) or None


def integrity_problems(
    connection: sqlite3.Connection, *, quick: bool = False, limit: int = PROBLEMS_SHOWN
) -> list[str]:
    """Return the first problems that SQLite finds in a file; none if it is intact.

    Args:
        connection: The connection to the file.
        quick: Do not check the indexes against the rows, which takes most of the time.
        limit: The maximum number of problems.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        found = connection.execute(f"PRAGMA {pragma}({limit})").fetchall()
    except sqlite3.DatabaseError as error:
        logger.debug(f"PRAGMA {pragma}: {error.sqlite_errorname}")
        if not error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
            raise
        return ["its structure cannot be read; the file may be truncated"]
    return [str(text) for (text, *_) in found if text != "ok"]


def dangling_references(connection: sqlite3.Connection) -> int:
    """Return how many rows refer to rows that do not exist."""
    return sum(1 for _ in connection.execute("PRAGMA foreign_key_check"))


def dangling_references_by_key(connection: sqlite3.Connection, table: str) -> dict[str, list[int]]:
    """Return the rowids of rows of a table that refer to rows that do not exist.

    Args:
        connection: The connection to the file.
        table: The table.

    Returns:
        The rowids by the table that the rows refer to; 0 for a row without a rowid.
    """
    found: dict[str, list[int]] = {}
    for _, rowid, target, _ in connection.execute(f"PRAGMA foreign_key_check({_quoted(table)})"):
        found.setdefault(str(target), []).append(rowid or 0)
    return found


def delete_sessions(connection: sqlite3.Connection, table: str) -> int:
    """Delete all sessions and return how many of them a trigger has kept.

    Args:
        connection: The connection to the file.
        table: The table of sessions.

    Raises:
        IntegrityError: Rows of other tables refer to a session, or a trigger refuses.
    """
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"DELETE FROM {_quoted(table)}")  # noqa: S608 - the names are quoted
    query = f"SELECT count(*) FROM {_quoted(table)}"  # noqa: S608 - the names are quoted
    return int(connection.execute(query).fetchone()[0])


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
