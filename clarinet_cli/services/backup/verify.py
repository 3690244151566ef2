"""Verify a backup file, and whether this database can restore it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Optional

from clarinet_cli.database.sqlite import prepare_sqlite_file
from clarinet_cli.database.sqlite_files import (
    IMMUTABLE,
    MAPPED_BYTES,
    READ_WRITE,
    begin_reading,
    in_thread,
    open_sqlite,
)
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import CHECK_FAILED, INVALID, NOT_FOUND, REFUSED
from clarinet_cli.models import VERSION_TABLE
from clarinet_cli.models.stored_tables import OWN_TABLES, SESSIONS, StoredTables
from clarinet_cli.repositories import account_copy, sqlite_file_queries
from clarinet_cli.results import BackupContents
from clarinet_cli.services.backup.archive import Contents, TableKey, count_rows, read_contents
from clarinet_cli.services.backup.files import file_errors
from clarinet_cli.services.backup.postgresql import RESTORE, Program, find_program
from clarinet_cli.services.mapped import require_accounts_copy, stored_tables_of
from clarinet_cli.services.schema.environments import find_environment
from clarinet_cli.settings import Settings

ANY_VERSION = "0"
SQLITE_MAGIC, ARCHIVE_MAGIC = b"SQLite format 3\0", b"PGDMP"
APPLICATION_ID_BYTES = slice(68, 72)  # https://sqlite.org/fileformat2.html#the_database_header
HEADER_BYTES = 100


class Kind(StrEnum):
    """The kind of a backup file, detected by its first bytes."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    ACCOUNTS = "accounts"


@dataclass(frozen=True, slots=True)
class Backup:
    """A verified backup file.

    Attributes:
        path: The file.
        kind: Its kind.
        contents: Its contents.
        archive: PostgreSQL: its table of contents.
        reader: PostgreSQL: a program that can read it.
        session_parts: PostgreSQL: the tables that sessions are in, by schema and name.
    """

    path: Path
    kind: Kind
    contents: BackupContents
    archive: Optional[Contents] = None
    reader: Optional[Program] = None
    session_parts: frozenset[TableKey] = frozenset()


async def read_backup(settings: Settings, path: Path) -> Backup:
    """Read a backup to its end, and return its contents.

    Args:
        settings: The database that it is for.
        path: The file.

    Raises:
        NotFoundError: The file does not exist.
        InvalidInputError: It is not a backup.
        CheckFailedError: It is damaged.
    """
    kind = _detect_kind(path)
    file = sqlite_file(database_url(settings))
    if file is not None and file_id(path) == file_id(file):
        raise INVALID.with_context(f"{path} is the database itself")
    if kind is Kind.POSTGRESQL:
        return await _read_archive(path, stored_tables_of(settings))
    tables = OWN_TABLES if kind is Kind.ACCOUNTS else stored_tables_of(settings)
    contents = await in_thread(partial(_read_sqlite, path, kind, tables))
    return Backup(path, kind, contents)


def require_restorable(settings: Settings, backup: Backup, *, accounts_only: bool) -> None:
    """Refuse a backup that this database cannot restore.

    Args:
        settings: The database, and the known revisions.
        backup: The backup.
        accounts_only: Only the four Clarinet tables are to be restored.

    Raises:
        RefusedError: It is of another backend, or of an unknown revision.
        CheckFailedError: A Clarinet table is missing: another program's, or an empty database.
    """
    if accounts_only:
        require_accounts_copy(settings)
    backend = database_url(settings).get_backend_name()
    if not accounts_only and backup.kind.value not in (backend, Kind.ACCOUNTS):
        raise REFUSED.with_context(
            f"{backup.path} is a backup of {backup.kind}, and the database is {backend}",
            hint="--accounts-only restores its accounts and sessions"
            if settings.capabilities.own_schema
            else None,
        )
    tables = stored_tables_of(settings)
    known = {
        item.revision for item in find_environment(settings.project_dir).scripts.walk_revisions()
    }
    unknown = set((backup.contents.revision or "").split(", ")) - known - {""}
    if unknown and tables.own and not backup.contents.other_tables:
        raise REFUSED.with_context(
            f"{backup.path} is of revision {', '.join(sorted(unknown))}, which this version does "
            "not know: it was made by a newer version",
            hint="upgrade clarinet-cli, or restore with the version that made the backup",
        )
    missing = [name for name in tables.fullnames if name not in backup.contents.rows]
    if missing:
        raise CHECK_FAILED.with_context(f"{backup.path} has no table {', '.join(missing)}")


def file_id(path: Path) -> Optional[tuple[int, int]]:
    """Return device and inode of a file; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_size(path: Path) -> int:
    """Return the bytes of a file; 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def _detect_kind(path: Path) -> Kind:
    with file_errors(path):
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise (INVALID if path.exists() else NOT_FOUND).with_context(f"{path}: {what}")
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    if head.startswith(ARCHIVE_MAGIC):
        return Kind.POSTGRESQL
    if not head.startswith(SQLITE_MAGIC):
        raise INVALID.with_context(
            f"{path} is not a backup: neither a SQLite file nor an archive of pg_dump",
            hint="decompress or decrypt it first; run plain SQL with psql",
        )
    is_copy = int.from_bytes(head[APPLICATION_ID_BYTES]) == account_copy.APPLICATION_ID
    return Kind.ACCOUNTS if is_copy else Kind.SQLITE


def _read_sqlite(path: Path, kind: Kind, tables: StoredTables) -> BackupContents:
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        raise INVALID.with_context(
            f"{wal} has changes that are not in {path.name}",
            hint="back that database up with 'clarinet db backup' instead of copying its file",
        )
    dangling = verify_copy(path, tables=tables)
    status = path.stat()
    made_at = datetime.fromtimestamp(status.st_mtime, UTC)
    with open_sqlite(path, IMMUTABLE) as connection:
        rows = sqlite_file_queries.row_counts(connection, tables)
        revision = sqlite_file_queries.revision(connection)
        own = {*tables.names.values(), VERSION_TABLE, account_copy.DETAILS}
        others = len(sqlite_file_queries.table_names(connection) - own)
        if kind is Kind.ACCOUNTS:
            number = account_copy.read_format(connection)
            if number > account_copy.FORMAT:
                raise REFUSED.with_context(
                    f"{path} has format {number}, but this version supports {account_copy.FORMAT}",
                    hint="upgrade clarinet-cli",
                )
            details = account_copy.read_details(connection)
            revision = details.get("revision")
            others = int(details.get("other_tables") or 0)
            made_at = datetime.fromisoformat(details.get("made_at") or made_at.isoformat())
    return BackupContents(kind.value, status.st_size, revision, rows, made_at, others, dangling)


async def _read_archive(path: Path, tables: StoredTables) -> Backup:
    reader = await find_program(RESTORE, ANY_VERSION)
    archive = await read_contents(reader, path)
    counts, revision = await count_rows(reader, path)
    present = {name for kind, name in archive.entries if kind == "TABLE"}
    contents = BackupContents(
        kind=Kind.POSTGRESQL.value,
        bytes=file_size(path),
        revision=revision,
        rows={
            tables.fullname(key): counts.of(tables, key)
            for key, name in tables.names.items()
            if name in present
        },
        made_at=archive.made_at,
        other_tables=archive.other_tables(tables),
    )
    parts = counts.parts(tables, SESSIONS) if tables.sessions else ()
    return Backup(path, Kind.POSTGRESQL, contents, archive, reader, frozenset(parts))


def verify_copy(
    path: Path,
    rows: Optional[dict[str, int]] = None,
    *,
    quick: bool = False,
    about: Optional[Path] = None,
    tables: StoredTables = OWN_TABLES,
) -> int:
    """Check a SQLite file that no process writes.

    Args:
        path: The file.
        rows: How many rows the Clarinet tables must have.
        quick: Do not check that each index has each row.
        about: The database that it is a copy of, for messages.
        tables: Those whose rows are counted.

    Returns:
        How many rows refer to rows that do not exist.

    Raises:
        CheckFailedError: The file is damaged, or has other numbers of rows.
    """
    with ThreadPoolExecutor(1) as executor:  # half of the work
        dangling = executor.submit(_dangling_references, path, about)
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
        actual, expected = (
            ", ".join(f"{count} in {table}" for table, count in counts.items())
            for counts in (found, rows)
        )
        raise CHECK_FAILED.with_context(
            f"the copy of {about or path} has other rows: {actual} instead of {expected}"
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
