"""Restoring the accounts of a backup, of either backend, into either backend."""

from collections.abc import AsyncIterator, Sequence

from clarinet_cli.database.sqlite_files import IMMUTABLE, open_sqlite
from clarinet_cli.exceptions import (
    FAILURE,
)
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.models.mapped import SESSIONS
from clarinet_cli.repositories import account_copy
from clarinet_cli.repositories.account_copy import AccountTables, Row
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import RestoreReport
from clarinet_cli.services.backup.archive import parse_copy_row, read_rows
from clarinet_cli.services.backup.verify import (
    Backup,
)
from clarinet_cli.services.unit_of_work import Access, open_database, unit_of_work
from clarinet_cli.settings import Settings

RESTORED = "restored"


async def restore_accounts(
    settings: Settings,
    backup: Backup,
    report: RestoreReport,
    *,
    revoke_sessions: bool,
    lock_timeout: float,
) -> None:
    """Make the four Clarinet tables those of a backup, in one transaction.

    Args:
        settings: Which database.
        backup: A backup of any kind, verified.
        report: What is recorded.
        revoke_sessions: Leave the sessions out.
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
        # In an archive tables come in any order, and accounts have to be there first.
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
