"""Create a verified backup and publish it atomically."""

import os
import select
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Optional

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS, milliseconds
from clarinet_cli.database.session import get_connection
from clarinet_cli.database.sqlite_files import READ_WRITE, in_thread, open_sqlite, raise_if_stopped
from clarinet_cli.database.url import database_url, display_url, require_sqlite_file, sqlite_file
from clarinet_cli.exceptions import CHECK_FAILED, FAILURE, INVALID
from clarinet_cli.models import TABLE_NAMES, VERSION_TABLE
from clarinet_cli.models.stored_tables import OWN_TABLES
from clarinet_cli.repositories import account_copy, sqlite_file_queries
from clarinet_cli.repositories import postgresql as postgresql_queries
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import BackupReport
from clarinet_cli.services.backup.archive import count_rows, read_contents
from clarinet_cli.services.backup.files import NewFile, new_file
from clarinet_cli.services.backup.plan import BackupPlan, backup_target, remove_older
from clarinet_cli.services.backup.postgresql import (
    DUMP,
    RESTORE,
    connection_variables,
    find_program,
    program_error,
    start_program,
)
from clarinet_cli.services.backup.sqlite import Snapshot, copy_database
from clarinet_cli.services.backup.verify import verify_copy
from clarinet_cli.services.mapped import require_accounts_copy, stored_tables_of
from clarinet_cli.services.schema import current_heads
from clarinet_cli.settings import Settings
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import STDIO, ProgressCallback

CLARINET_TABLES = {*TABLE_NAMES, VERSION_TABLE}
DUMP_SECONDS = 7 * 86400.0  # for the transaction whose snapshot is dumped
CHUNK_BYTES = 1 << 20
POLL_SECONDS = 0.2


async def back_up(
    settings: Settings, plan: BackupPlan, *, progress: ProgressCallback = lambda *_: None
) -> BackupReport:
    """Back up the database; the file appears only after it was verified.

    Args:
        settings: The settings, which name the database.
        plan: What to back up, and where to.
        progress: Called with the amount done and the total, from any thread.

    Raises:
        ConflictError: The file exists.
        NotFoundError: The directory does not exist.
        CheckFailedError: The copy is damaged; it was removed.
        ClarinetError: The backup failed; no file is left.
    """
    began = monotonic()
    url = database_url(settings)
    if plan.accounts_only:
        require_accounts_copy(settings)
    require_sqlite_file(url, settings.project_dir)
    if plan.compress and (plan.accounts_only or sqlite_file(url)):
        raise INVALID.with_context("--compress is for PostgreSQL only")
    target = backup_target(plan, url)
    async with _verified(settings, plan, target, progress) as (new, snapshot, dangling):
        size, removed = new.size, None
        if target is None:
            await in_thread(partial(_write_out, new.path))
        else:
            new.publish(target, replace=plan.replace)
            removed = remove_older(plan, target)
    return BackupReport(
        file=STDIO if target is None else str(target),
        bytes=size,
        seconds=round(monotonic() - began, 3),
        rows=snapshot.rows,
        revision=snapshot.revision,
        verified=True,
        removed=removed,
        lock_seconds=snapshot.lock_seconds,
        dangling_references=dangling or None,
    )


@asynccontextmanager
async def _verified(
    settings: Settings, plan: BackupPlan, target: Optional[Path], progress: ProgressCallback
) -> AsyncIterator[tuple[NewFile, Snapshot, int]]:
    """Yield the new file once it contains the backup, which has been verified."""
    file, tables = sqlite_file(database_url(settings)), stored_tables_of(settings)
    neighbour = target or file or settings.project_dir / "any"
    with new_file(
        neighbour.parent, like=file if neighbour.parent == (file and file.parent) else None
    ) as new:
        if plan.accounts_only:
            snapshot = await _copy_accounts(settings, new)
        elif file is not None:
            snapshot = await in_thread(
                partial(
                    copy_database,
                    file,
                    new.path,
                    progress,
                    lock_timeout=plan.lock_timeout,
                    tables=tables,
                )
            )
        else:
            yield new, await _dump(settings, new, plan), 0
            return
        check = partial(
            verify_copy,
            new.path,
            snapshot.rows,
            quick=plan.quick,
            about=file,
            tables=OWN_TABLES if plan.accounts_only else tables,
        )
        yield new, snapshot, await in_thread(check)


async def _copy_accounts(settings: Settings, new: NewFile) -> Snapshot:
    """Write the portable copy of the four Clarinet tables."""
    file = sqlite_file(database_url(settings))
    details: dict[str, Optional[str]] = {
        "made_at": iso_text(datetime.now(UTC)),
        "backend": database_url(settings).get_backend_name(),
    }
    if file is not None:
        return await in_thread(partial(_copy_accounts_of_file, file, new.path, details))
    async with snapshot_session(settings) as session:
        rows = await ServerRepository(session).row_counts()
        _require_tables(rows)
        revision = await stored_revision(session)
        with open_sqlite(new.path, READ_WRITE) as copy:
            others = len(await ServerRepository(session).table_names() - CLARINET_TABLES)
            _make_tables(copy, {**details, "revision": revision, "other_tables": str(others)})
            for table in TABLE_NAMES:
                async for batch in account_copy.read_rows(session, table):
                    account_copy.write_rows(copy, table, batch)
            copy.execute("COMMIT")
    return Snapshot(rows, revision, None)


def _copy_accounts_of_file(
    file: Path, target: Path, details: Mapping[str, Optional[str]]
) -> Snapshot:
    with open_sqlite(file, READ_WRITE) as source:
        _require_tables(sqlite_file_queries.row_counts(source))
        revision = sqlite_file_queries.revision(source)
        others = len(sqlite_file_queries.table_names(source) - CLARINET_TABLES)
    with open_sqlite(target, READ_WRITE) as copy:
        copy.execute(f"PRAGMA busy_timeout={milliseconds(BUSY_TIMEOUT_SECONDS)}")
        _make_tables(copy, {**details, "revision": revision, "other_tables": str(others)})
        copy.execute("COMMIT")
        account_copy.copy_from_file(copy, file)
        return Snapshot(sqlite_file_queries.row_counts(copy), revision, None)


def _make_tables(copy: sqlite3.Connection, details: Mapping[str, Optional[str]]) -> None:
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
        copy.execute(f"PRAGMA {pragma}")
    copy.execute("BEGIN")
    account_copy.create_tables(copy, details)


def _require_tables(rows: Mapping[str, int]) -> None:
    if missing := [name for name in TABLE_NAMES if name not in rows]:
        raise FAILURE.with_context(f"the table {', '.join(missing)} is missing")


async def _dump(settings: Settings, new: NewFile, plan: BackupPlan) -> Snapshot:
    """Run pg_dump into the new file, and read the file back."""
    url = database_url(settings)
    async with snapshot_session(settings, lock_timeout=plan.lock_timeout) as session:
        server = ServerRepository(session)
        program = await find_program(DUMP, await server.version())
        reader = await find_program(RESTORE, await server.version())
        rows, parents = await server.row_counts(), await postgresql_queries.parent_tables(session)
        revision = await stored_revision(session)
        arguments = [
            "--format=custom",
            "--no-password",
            f"--file={new.open_path}",  # to standard output it would write its contents twice
            f"--lock-wait-timeout={milliseconds(plan.lock_timeout)}",
            f"--snapshot={await postgresql_queries.export_snapshot(session)}",
            *([f"--compress={plan.compress}"] if plan.compress else []),
        ]
        with connection_variables(url, encrypted=await is_encrypted(session)) as variables:
            async with start_program(
                program, arguments, variables, inherited=[new.descriptor]
            ) as process:
                new.terminate_with_parent(process.pid)
                _, stderr = await process.communicate()
        if process.returncode:
            raise program_error(program, process.returncode, stderr, display_url(url))
    contents = await read_contents(reader, new.path)
    found, _ = await count_rows(reader, new.path)
    whole = {name for kind, name in contents.entries if kind == "TABLE DATA"} - parents
    tables = stored_tables_of(settings)
    for key, stored in tables.names.items():
        name, number = tables.fullname(key), found.of(tables, key)
        if name in rows and stored in whole and rows[name] != number:
            raise CHECK_FAILED.with_context(
                f"the dump has {number} rows of {name} instead of {rows[name]}"
            )
    return Snapshot(rows, revision, None)


@asynccontextmanager
async def snapshot_session(
    settings: Settings, *, lock_timeout: float = BUSY_TIMEOUT_SECONDS, writes: bool = False
) -> AsyncIterator[AsyncSession]:
    """Yield a session in a transaction with one snapshot.

    Args:
        settings: The settings, which name the database.
        lock_timeout: Seconds to wait for locks of others.
        writes: Refuse a standby, since the caller will write afterwards.
    """
    async with get_connection(
        settings, statement_timeout=DUMP_SECONDS, busy_timeout=lock_timeout, writes=writes
    ) as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with AsyncSession(connection) as session, session.begin():
            if connection.dialect.name != "sqlite":
                await ServerRepository(session).disable_transaction_timeout()
            yield session


async def stored_revision(session: AsyncSession) -> Optional[str]:
    """Return the revisions recorded in the database, or None."""
    connection: AsyncConnection = await session.connection()
    return ", ".join(sorted(await connection.run_sync(current_heads))) or None


async def is_encrypted(session: AsyncSession) -> bool:
    """Return whether the session's connection to PostgreSQL has TLS."""
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    # asyncpg has no public name for it, and pg_stat_ssl is about the pooler's connection.
    transport = driver._transport  # noqa: SLF001
    return transport.get_extra_info("ssl_object") is not None


def _write_out(path: Path) -> None:
    """Write a file to standard output; a signal is handled while the reader is slow.

    Raises:
        ClarinetError: The reader closed the pipe, or the disk is full.
    """
    output = sys.stdout.fileno()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            while chunk:
                raise_if_stopped()
                if not select.select([], [output], [], POLL_SECONDS)[1]:
                    continue
                try:
                    chunk = chunk[os.write(output, chunk[: select.PIPE_BUF]) :]
                except OSError as error:
                    raise FAILURE.with_context(f"standard output: {error.strerror}") from error
