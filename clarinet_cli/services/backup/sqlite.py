"""Copy and restore a SQLite file while a server uses it.

The backup interface restarts whenever another connection writes between two of its steps, unless
its source is in a transaction. In WAL mode that transaction is held all the time, and no writer
waits for it. With a rollback journal a commit waits for readers: there the copy takes short steps
without a transaction, and holds one after a limited number of restarts.
"""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Optional

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS
from clarinet_cli.database.sqlite import prepare_sqlite_file
from clarinet_cli.database.sqlite_files import (
    IMMUTABLE,
    READ_WRITE,
    begin_reading,
    open_sqlite,
    raise_if_stopped,
)
from clarinet_cli.exceptions import BUSY, CONFLICT, NO_SPACE, PREVENTED
from clarinet_cli.models.stored_tables import OWN_TABLES, StoredTables
from clarinet_cli.repositories import sqlite_file_queries
from clarinet_cli.types import ProgressCallback
from clarinet_cli.utils.logger import logger

KEEP_HINT = "--keep-sessions restores them; 'clarinet session revoke-all' revokes them afterwards"
PAGES_PER_STEP = 1024
PAUSE_SECONDS = 0.005  # between two steps that hold nothing
MAX_RESTARTS = 3
DONE = 101  # of SQLite's result codes; the others mean that a lock was not free
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the database that was copied.

    Attributes:
        rows: The rows of each of the Clarinet tables.
        revision: The Alembic revision.
        lock_seconds: The longest time that the copy may have kept a commit waiting; None in WAL
            mode, where none waits.
    """

    rows: dict[str, int]
    revision: Optional[str]
    lock_seconds: Optional[float]


@dataclass(slots=True)
class _LockTimeout:
    """The time for which the steps may find the database locked by another connection."""

    seconds: float
    _since: Optional[float] = None

    def check(self, status: int) -> None:
        """Raise BusyError if the database was locked for too long."""
        if status not in LOCKED_CODES:
            self._since = None
            return
        self._since = self._since or monotonic()
        if monotonic() - self._since > self.seconds:
            raise BUSY.with_context("the SQLite file is locked by another process")


@dataclass(slots=True)
class _SourceTransaction:
    """The copy's transaction on the source: held all the time, or begun as late as possible."""

    source: sqlite3.Connection
    progress: ProgressCallback
    by_steps: bool
    lock_timeout: float
    tables: StoredTables
    rows: dict[str, int] = field(default_factory=dict)
    revision: Optional[str] = None
    longest_lock: float = 0.0
    restarts: int = 0
    _left: Optional[int] = None
    _since: float = field(default_factory=monotonic)
    _timeout: _LockTimeout = field(init=False)

    def __post_init__(self) -> None:
        self._timeout = _LockTimeout(self.lock_timeout)

    def begin(self) -> None:
        """Begin the transaction, and count the rows in it."""
        self._since = monotonic()
        begin_reading(self.source, self.lock_timeout)
        self.rows = sqlite_file_queries.row_counts(self.source, self.tables)
        self.revision = sqlite_file_queries.revision(self.source)

    def end(self) -> None:
        """End the transaction, if there is one."""
        if self.source.in_transaction:
            self.source.execute("COMMIT")
        self.longest_lock = max(self.longest_lock, monotonic() - self._since)

    def after_step(self, status: int, left: int, total: int) -> None:
        """Decide after a step of the backup whether to hold the transaction in the next one."""
        if status == DONE:
            return
        raise_if_stopped()
        self._timeout.check(status)
        self.progress(total - left, total)
        if not self.by_steps:
            return
        if self._left is not None and left > self._left:
            self.restarts += 1
        final = self.restarts > MAX_RESTARTS or left <= PAGES_PER_STEP
        self._left = left
        if self.source.in_transaction and final:
            return
        self.end()
        if final:
            self.begin()
        else:
            sleep(PAUSE_SECONDS)
            self._since = monotonic()


def copy_database(
    file: Path,
    target: Path,
    progress: ProgressCallback,
    access: str = READ_WRITE,
    *,
    lock_timeout: float = BUSY_TIMEOUT_SECONDS,
    tables: StoredTables = OWN_TABLES,
) -> Snapshot:
    """Copy one state of a database into an empty file, page by page.

    Args:
        file: The database, which others may use.
        target: An empty file.
        progress: Called with the number of pages done and the total.
        access: How to open the database; see ``open_sqlite``.
        lock_timeout: Seconds to wait for locks of others.
        tables: Those whose rows are counted.

    Raises:
        BusyError: Another process kept it locked.
        StoppedError: A signal arrived.
    """
    if access == READ_WRITE:
        prepare_sqlite_file(file)
    # In this order, so that an error is reported as one of the database.
    with open_sqlite(target, READ_WRITE) as copy, open_sqlite(file, access) as source:
        # No other process uses the target, and it is synced and verified before it is published.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            copy.execute(f"PRAGMA {pragma}")
        begin_reading(source, lock_timeout)
        wal = source.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        source.execute("COMMIT")
        locks = access == READ_WRITE and not wal
        by_steps = locks and pages > PAGES_PER_STEP
        transaction = _SourceTransaction(source, progress, by_steps, lock_timeout, tables)
        if not transaction.by_steps:
            transaction.begin()
        try:
            source.backup(
                copy, pages=PAGES_PER_STEP, progress=transaction.after_step, sleep=PAUSE_SECONDS
            )
        except sqlite3.OperationalError as error:
            logger.bind(reported=True).error(f"{target}: {error.sqlite_errorname}")
            if error.sqlite_errorname != "SQLITE_FULL":
                raise
            raise NO_SPACE.with_context(f"{target.parent}: the disk is full") from error
        transaction.end()
    return Snapshot(
        transaction.rows, transaction.revision, None if wal else round(transaction.longest_lock, 3)
    )


def prepare_copy(path: Path, *, delete_sessions: Optional[str]) -> None:
    """Change a copy that is about to be restored.

    Args:
        path: The copy, which no other process uses.
        delete_sessions: The table whose rows are deleted; None: none.

    Raises:
        ConflictError: Rows of other tables refer to sessions, or a trigger refuses.
        PreventedError: A trigger prevented the deletion of sessions.
    """
    with open_sqlite(path, READ_WRITE) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        try:
            if delete_sessions is None:
                return
            kept = sqlite_file_queries.delete_sessions(connection, delete_sessions)
        except sqlite3.IntegrityError as error:
            reason = "rows of other tables refer to sessions of the backup"
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
                reason = f"a trigger on {delete_sessions} refuses to delete sessions of the backup"
            raise CONFLICT.with_context(reason, hint=KEEP_HINT) from error
    if kept:
        raise PREVENTED.with_context(
            f"a trigger on {delete_sessions} prevented the deletion of {kept} of the backup's "
            "sessions",
            hint=KEEP_HINT,
        )


def page_size(
    path: Path, access: str = IMMUTABLE, *, lock_timeout: float = BUSY_TIMEOUT_SECONDS
) -> int:
    """Return the size of the pages of a SQLite file.

    Args:
        path: The file.
        access: How to open it; see ``open_sqlite``.
        lock_timeout: Seconds to wait for locks of others.
    """
    with open_sqlite(path, access) as connection:
        begin_reading(connection, lock_timeout)
        return int(connection.execute("PRAGMA page_size").fetchone()[0])


def with_page_size(path: Path, target: Path, size: int) -> None:
    """Write a copy with pages of another size into an empty file.

    Args:
        path: The copy, which no other process uses.
        target: An empty file.
        size: The page size in bytes.
    """
    with open_sqlite(path, READ_WRITE) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"PRAGMA page_size={size}")
        connection.execute("VACUUM INTO ?", [str(target)])


def restore_database(
    path: Path, file: Path, progress: ProgressCallback, *, lock_timeout: float
) -> None:
    """Replace the content of a database by that of a file, as one commit for all connections.

    The journal mode is kept. A write-ahead log takes pages of the database's size only.

    Args:
        path: The file, which no other process writes.
        file: The database, which others may use.
        progress: Called with the number of pages done and the total.
        lock_timeout: Seconds to wait for locks of others.

    Raises:
        BusyError: Another process kept it locked; nothing has changed.
        StoppedError: A signal arrived before the commit; nothing has changed.
    """
    timeout = _LockTimeout(lock_timeout)

    def after_step(status: int, left: int, total: int) -> None:
        if status != DONE:
            raise_if_stopped()
            timeout.check(status)
            progress(total - left, total)

    prepare_sqlite_file(file)
    with open_sqlite(path, IMMUTABLE) as source, open_sqlite(file, READ_WRITE) as target:
        source.backup(target, pages=PAGES_PER_STEP, progress=after_step, sleep=PAUSE_SECONDS)
