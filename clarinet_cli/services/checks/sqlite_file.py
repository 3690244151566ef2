"""Check the integrity and the foreign keys of a SQLite file."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from clarinet_cli.database.sqlite import prepare_sqlite_file
from clarinet_cli.database.sqlite_files import (
    IMMUTABLE,
    MAPPED_BYTES,
    READ_WRITE,
    in_thread,
    open_sqlite,
)
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import NO_SPACE
from clarinet_cli.models.stored_tables import StoredTables
from clarinet_cli.repositories import sqlite_file_queries
from clarinet_cli.results import Finding
from clarinet_cli.services.backup.sqlite import copy_database
from clarinet_cli.services.checks.rows import join_ids
from clarinet_cli.services.mapped import stored_tables_of
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import ProgressCallback

SMALL_BYTES: Final = 32 << 20  # SQLite checks as much in a fraction of a second
CACHE_KIB: Final = 65536
MAX_PROBLEMS: Final = 100
PROBLEMS_SHOWN: Final = 5
STEPS_BETWEEN_CALLS: Final = 100_000  # instructions of SQLite's virtual machine
STEPS_PER_ROW: Final = 60  # of a table with four indexes
RESTORE_HINT = "restore the last good backup with 'clarinet db restore FILE'; keep the damaged file"
INDEX_PROBLEMS = ("missing from index", "wrong # of entries in index", "non-unique entry in index")
KEYS_OK = "no dangling references in other tables"


@dataclass(slots=True)
class RowProgress:
    """The progress of parts that run concurrently.

    Attributes:
        report: Called with the sum of the parts and their total.
    """

    report: ProgressCallback
    _total: dict[str, int] = field(default_factory=dict)
    _done: dict[str, int] = field(default_factory=dict)

    def add(self, part: str, total: int) -> None:
        """Add a part with its number of rows."""
        self._total[part] = total

    def update(self, part: str, done: int) -> None:
        """Report how many rows of a part are done."""
        self._done[part] = min(done, self._total[part])
        self.report(sum(self._done.values()), sum(self._total.values()))


async def check_sqlite_file(settings: Settings, progress: RowProgress) -> list[Finding]:
    """Return the problems that SQLite finds in its file.

    Args:
        settings: The settings, which name the database.
        progress: Gets the rows that were checked, from another thread.

    Raises:
        NoSpaceError: There is no space for the copy that a rollback journal requires.
        ClarinetError: The file cannot be read.
    """
    file = sqlite_file(database_url(settings))
    return (
        []
        if file is None
        else await in_thread(partial(_check, file, progress, stored_tables_of(settings)))
    )


def _check(file: Path, progress: RowProgress, tables: StoredTables) -> list[Finding]:
    prepare_sqlite_file(file)
    with _readable(file) as connection:
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        calls, rows = 0, sum(sqlite_file_queries.row_counts(connection, tables).values())
        progress.add("integrity", rows)

        def count_steps() -> int:
            nonlocal calls
            calls += 1
            progress.update("integrity", calls * STEPS_BETWEEN_CALLS // STEPS_PER_ROW)
            return int(SIGNALS.number is not None)

        connection.set_progress_handler(count_steps, STEPS_BETWEEN_CALLS)
        problems = sqlite_file_queries.integrity_problems(connection, limit=MAX_PROBLEMS)
        keys = [] if problems else list(_foreign_keys(connection, tables))
        progress.update("integrity", rows)
    if not problems:
        found = [Finding("integrity", "ok", "no damaged page or index")]
        return [*found, *(keys or [Finding("foreign-keys", "ok", KEYS_OK)])]
    shown = "; ".join(problems[:PROBLEMS_SHOWN])
    number = f"{MAX_PROBLEMS} or more" if len(problems) == MAX_PROBLEMS else len(problems)
    only_indexes = all(any(text in problem for text in INDEX_PROBLEMS) for problem in problems)
    hint = "clarinet db shell -c REINDEX" if only_indexes else RESTORE_HINT
    return [Finding("integrity", "error", f"the file is damaged ({number}): {shown}", hint)]


def _foreign_keys(connection: sqlite3.Connection, tables: StoredTables) -> Iterator[Finding]:
    """Yield the rows that refer to rows that do not exist, of tables whose rows are not checked."""
    checked = set(tables.names.values()) if tables.own else {tables.sessions}
    for table in sorted(sqlite_file_queries.table_names(connection) - checked):
        dangling = sqlite_file_queries.dangling_references_by_key(connection, table)
        for target, rowids in dangling.items():
            text = f"{pluralize(len(rowids), 'row')} of {table} refer to rows of {target} that do "
            text += f"not exist: row {join_ids([str(rowid) for rowid in rowids], len(rowids))}"
            hint = f"'clarinet db shell' shows them: PRAGMA foreign_key_check({table})"
            yield Finding("foreign-keys", "error", text, hint)


@contextmanager
def _readable(file: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the database, or to a copy if reading would block writers."""
    with open_sqlite(file, READ_WRITE) as connection:
        waits = connection.execute("PRAGMA journal_mode").fetchone() != ("wal",)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        size = pages * page_size
        if not waits or size <= SMALL_BYTES:
            yield connection
            return
    with tempfile.TemporaryDirectory(prefix="clarinet-") as directory:
        if shutil.disk_usage(directory).free < size:
            raise NO_SPACE.with_context(
                f"{tempfile.gettempdir()} has no space for a copy of {size} bytes, without which "
                "writers would be blocked",
                hint="TMPDIR=DIRECTORY clarinet db check",
            )
        copy = Path(directory, "copy.db")
        copy.touch(0o600)
        copy_database(file, copy, lambda done, total: None)
        with open_sqlite(copy, IMMUTABLE) as connection:
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
            yield connection
