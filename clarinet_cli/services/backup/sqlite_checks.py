"""Checks of SQLite files: of a copy that nobody writes, and of a database in use."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

from clarinet_cli.database.sqlite import prepare_sqlite_file
from clarinet_cli.database.sqlite_files import IMMUTABLE, READ_WRITE, begin_reading, open_sqlite
from clarinet_cli.exceptions import CHECK_FAILED
from clarinet_cli.models.mapped import OWN_TABLES, StoredTables
from clarinet_cli.repositories import sqlite_file_queries

MAPPED_BYTES = 1 << 28  # mapped pages count as memory of the process


def verify_copy(
    path: Path,
    rows: Optional[dict[str, int]] = None,
    *,
    quick: bool = False,
    about: Optional[Path] = None,
    tables: StoredTables = OWN_TABLES,
) -> int:
    """Check a SQLite file that nobody writes.

    Args:
        path: The file.
        rows: How many rows the Clarinet tables must have.
        quick: Leave out whether each row is found by each index.
        about: The database that it is a copy of, for messages.
        tables: Those whose rows are counted.

    Returns:
        How many rows refer to rows that do not exist.

    Raises:
        CheckFailedError: The file is damaged, or has other rows.
    """
    with ThreadPoolExecutor(1) as beside:  # half of the work
        dangling = beside.submit(_dangling_references, path, about)
        with open_sqlite(path, IMMUTABLE, about) as connection:
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
            problems = sqlite_file_queries.integrity_problems(connection, quick=quick)
            found = {} if problems else sqlite_file_queries.row_counts(connection, tables)
    if problems:
        raise CHECK_FAILED.with_context(
            f"{about or path} is damaged: {problems[0]}",
            hint="'clarinet db check' checks the database",
        )
    if rows is not None and found != rows:
        raise CHECK_FAILED.with_context(
            f"the copy of {about or path} has {found} rows instead of {rows}"
        )
    return dangling.result()


def _dangling_references(path: Path, about: Optional[Path]) -> int:
    with open_sqlite(path, IMMUTABLE, about) as connection:
        return sqlite_file_queries.dangling_references(connection)


def read_live(
    file: Path, *, lock_timeout: float, tables: StoredTables
) -> tuple[dict[str, int], Optional[str]]:
    """Return the rows of the Clarinet tables and the revision of a database.

    Args:
        file: The database, which others may use.
        lock_timeout: Seconds to wait for locks of others.
        tables: Those whose rows are counted.
    """
    prepare_sqlite_file(file)
    with open_sqlite(file, READ_WRITE) as connection:
        begin_reading(connection, lock_timeout)
        return sqlite_file_queries.row_counts(connection, tables), sqlite_file_queries.revision(
            connection
        )


def check_live(
    file: Path, *, lock_timeout: float, tables: StoredTables
) -> tuple[dict[str, int], Optional[str]]:
    """Check a database, and return the rows of the Clarinet tables and the revision.

    With a rollback journal writers wait for it: only the structure is checked there.

    Args:
        file: The database, which others may use.
        lock_timeout: Seconds to wait for locks of others.
        tables: Those whose rows are counted.

    Raises:
        CheckFailedError: It is damaged.
    """
    with open_sqlite(file, READ_WRITE) as connection:
        begin_reading(connection, lock_timeout)
        wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = sqlite_file_queries.row_counts(connection, tables)
        revision = sqlite_file_queries.revision(connection)
        problems = sqlite_file_queries.integrity_problems(connection, quick=not wal)
    if problems:
        raise CHECK_FAILED.with_context(
            f"{file} is damaged after the restore: {problems[0]}",
            hint="restore the safety copy, or another backup",
        )
    return rows, revision
