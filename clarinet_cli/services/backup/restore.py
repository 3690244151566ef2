"""Restore a verified backup in one transaction, after a safety copy."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Optional

from clarinet_cli.database.sqlite_files import IMMUTABLE, READ_WRITE, in_thread, open_sqlite
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.repositories import account_copy
from clarinet_cli.repositories.account_copy import AccountTables, Row
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import RestoreReport
from clarinet_cli.services.audit import TransactionAudit, audit_transaction
from clarinet_cli.services.backup.archive import parse_copy_row, read_rows
from clarinet_cli.services.backup.files import new_file
from clarinet_cli.services.backup.make import back_up, snapshot_session, stored_revision
from clarinet_cli.services.backup.plan import STAMP, BackupPlan
from clarinet_cli.services.backup.restore_plan import PreparedRestore, RestorePlan
from clarinet_cli.services.backup.restore_postgresql import restore_archive
from clarinet_cli.services.backup.sqlite import (
    copy_database,
    page_size,
    prepare_copy,
    restore_database,
    with_page_size,
)
from clarinet_cli.services.backup.verify import Backup, check_live, file_size
from clarinet_cli.services.bootstrap import ensure_database
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.services.mapped import stored_tables_of
from clarinet_cli.services.unit_of_work import (
    Access,
    open_database,
    require_fitting_tables,
    unit_of_work,
)
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.types import ProgressCallback
from clarinet_cli.utils.logger import logger

RESTORED = "restored"


async def restore(
    settings: Settings,
    prepared: PreparedRestore,
    plan: RestorePlan,
    *,
    progress: ProgressCallback = lambda *_: None,
) -> RestoreReport:
    """Restore a backup, as one commit for all other connections.

    Args:
        settings: The settings, which name the database.
        prepared: What ``prepare_restore`` returned for this plan.
        plan: How to restore it.
        progress: Called with the amount done and the total, from any thread.

    Raises:
        BusyError: Another process holds the database, or another restore, migration or
            clean-up is running; nothing has changed.
        ClarinetError: The restore failed; the database is unchanged.
    """
    began = monotonic()
    if not prepared.exists:
        await ensure_database(settings)
    async with AsyncExitStack() as stack:
        for job in (Job.RESTORE, Job.MIGRATION, Job.CLEANUP):
            await stack.enter_async_context(job_lock(settings, job, timeout=plan.lock_timeout))
        safety = None
        if plan.safety_copy and not prepared.empty:
            safety = await _safety_copy(settings, plan.lock_timeout)
            stack.enter_context(_add_safety_copy_hint(safety))
        if prepared.accounts_only:
            await restore_accounts(
                settings,
                prepared.backup,
                prepared.report(plan),
                revoke_sessions=plan.revoke_sessions,
                lock_timeout=plan.lock_timeout,
            )
        else:
            with audit_transaction() as audit:
                await _restore_all(settings, prepared, plan, audit, progress)
        rows, revision = await _check(settings, plan.lock_timeout)
        await require_fitting_tables(settings)
    expected = prepared.report(plan)
    return RestoreReport(
        result=RESTORED,
        file=expected.file,
        kind=expected.kind,
        bytes=expected.bytes,
        seconds=round(monotonic() - began, 3),
        rows=rows,
        revision=revision,
        verified=True,
        made_at=expected.made_at,
        replaced=prepared.rows,
        sessions_revoked=expected.sessions_revoked,
        safety_copy=safety,
    )


@contextmanager
def _add_safety_copy_hint(file: str) -> Iterator[None]:
    """Add the path of the safety copy to the hint of an error in the block."""
    try:
        yield
    except ClarinetError as error:
        logger.debug(error.message)
        hint = "; ".join(part for part in (error.hint, f"the safety copy is {file}") if part)
        raise error.with_context(
            error.message, hint=hint, outcome_unknown=error.outcome_unknown
        ) from error


async def _safety_copy(settings: Settings, lock_timeout: float) -> str:
    """Back up the current database, beside the SQLite file or in the project directory."""
    file = sqlite_file(database_url(settings))
    model = file if file is not None else settings.project_dir / "clarinet.dump"
    stem = f"{model.stem}-before-restore-{datetime.now(UTC).strftime(STAMP)}"
    target = model.with_name(f"{stem}{model.suffix}")
    numbers = count(2)
    while target.exists():  # of a restore within the same second
        target = model.with_name(f"{stem}-{next(numbers)}{model.suffix}")
    plan = BackupPlan(file=target, quick=True, lock_timeout=lock_timeout)
    report = await back_up(settings, plan)
    SIGNALS.check_interrupted()
    return report.file


async def _restore_all(
    settings: Settings,
    prepared: PreparedRestore,
    plan: RestorePlan,
    audit: TransactionAudit,
    progress: ProgressCallback,
) -> None:
    report = prepared.report(plan)
    audit.add(None, RESTORED, file=report.file, rows=report.rows, revoked=report.sessions_revoked)
    audit.write()
    if sqlite_file(database_url(settings)) is not None:
        await _restore_sqlite(settings, prepared.backup.path, plan, progress)
    else:
        await restore_archive(
            settings,
            prepared.backup,
            clean=plan.clean,
            revoke_sessions=plan.revoke_sessions,
            lock_timeout=plan.lock_timeout,
        )
    audit.committed()
    SIGNALS.mark_changed()


async def _restore_sqlite(
    settings: Settings, path: Path, plan: RestorePlan, progress: ProgressCallback
) -> None:
    """Restore a file, or a copy of it with the database's page size and without sessions."""
    file = database_file(settings)
    live_size = partial(page_size, file, READ_WRITE, lock_timeout=plan.lock_timeout)
    size = await in_thread(live_size) if file_size(file) else 0
    resized = bool(size) and size != await in_thread(partial(page_size, path))
    async with AsyncExitStack() as stack:
        source = path
        if plan.revoke_sessions or resized:
            first = stack.enter_context(new_file(file.parent, like=file))
            await in_thread(partial(copy_database, path, first.path, progress, IMMUTABLE))
            sessions = stored_tables_of(settings).sessions if plan.revoke_sessions else None
            delete = partial(prepare_copy, first.path, delete_sessions=sessions)
            await in_thread(delete)
            source = first.path
        if resized:
            second = stack.enter_context(new_file(file.parent, like=file))
            await in_thread(partial(with_page_size, source, second.path, size))
            source = second.path
        await in_thread(
            partial(restore_database, source, file, progress, lock_timeout=plan.lock_timeout)
        )


def database_file(settings: Settings) -> Path:
    """Return the SQLite file, with links resolved."""
    return Path(os.path.realpath(str(sqlite_file(database_url(settings)))))


async def _check(settings: Settings, lock_timeout: float) -> tuple[dict[str, int], Optional[str]]:
    """Check the restored database as a backup is checked, and return its contents.

    Raises:
        CheckFailedError: It is damaged.
    """
    file = sqlite_file(database_url(settings))
    if file is None:
        async with snapshot_session(settings, lock_timeout=lock_timeout) as session:
            return await ServerRepository(session).row_counts(), await stored_revision(session)
    tables = stored_tables_of(settings)
    return await in_thread(partial(check_live, file, lock_timeout=lock_timeout, tables=tables))


async def restore_accounts(
    settings: Settings,
    backup: Backup,
    report: RestoreReport,
    *,
    revoke_sessions: bool,
    lock_timeout: float,
) -> None:
    """Replace the rows of the four Clarinet tables by those of a backup, in one transaction.

    Args:
        settings: The settings, which name the database.
        backup: A backup of any kind, verified.
        report: The report, for the audit record.
        revoke_sessions: Do not restore sessions.
        lock_timeout: Seconds to wait for a lock.

    Raises:
        ClarinetError: A value has a form that the server does not use, or the driver's
            error; nothing was changed.
    """
    async with (
        open_database(settings, busy_timeout=lock_timeout, writes=True) as database,
        unit_of_work(database, access=Access.WRITE) as work,
    ):
        tables = AccountTables(work.session)
        await ServerRepository(work.session).lock_accounts()
        await tables.clear_links()
        # Tables are in any order in an archive, but accounts must be written first.
        held: dict[str, list[Row]] = {name: [] for name in TABLE_NAMES}
        try:
            async for table, rows in _read_backup_rows(backup):
                if table != SESSIONS or not revoke_sessions:
                    held[table] += rows
        except (ValueError, KeyError) as error:
            raise FAILURE.with_context(
                f"{backup.path}: a value is not in a form that the server uses",
                hint="nothing was changed",
            ) from error
        await tables.replace("user", held["user"])
        await tables.replace("userrole", held["userrole"])
        for table in ("userroleslink", SESSIONS):
            await tables.add(table, held[table])
        work.record_change(
            None, RESTORED, file=report.file, rows=report.rows, revoked=report.sessions_revoked
        )


async def _read_backup_rows(backup: Backup) -> AsyncIterator[tuple[str, Sequence[Row]]]:
    """Yield the rows of the Clarinet tables in a backup of any kind."""
    if backup.reader is not None:
        only = {*TABLE_NAMES, *(name for _, name in backup.session_parts)}
        async for schema, name, columns, lines in read_rows(backup.reader, backup.path, only=only):
            table = SESSIONS if (schema, name) in backup.session_parts else name
            if table in TABLE_NAMES:
                values = [
                    account_copy.typed_row(table, columns, parse_copy_row(line)) for line in lines
                ]
                yield table, values
        return
    with open_sqlite(backup.path, IMMUTABLE) as connection:
        for table in TABLE_NAMES:
            for batch in account_copy.stored_rows(connection, table):
                yield table, batch
