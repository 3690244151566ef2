"""Prepare a restore: verify the backup, and examine what it would replace."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional

from clarinet_cli.database.sqlite import missing_file
from clarinet_cli.database.sqlite_files import in_thread
from clarinet_cli.database.url import database_url, display_url, sqlite_file
from clarinet_cli.exceptions import CONFLICT, UnknownDatabaseError
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.repositories import postgresql as postgresql_queries
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import RestoreReport
from clarinet_cli.services.backup.make import snapshot_session, stored_revision
from clarinet_cli.services.backup.verify import (
    Backup,
    Kind,
    file_id,
    file_size,
    read_backup,
    read_live,
    require_restorable,
)
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS
from clarinet_cli.services.mapped import stored_tables_of
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

CREATE_HINT = "--create creates the database and restores into it"


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """How a backup is to be restored.

    Attributes:
        accounts_only: Only the four Clarinet tables; other tables are not changed.
        clean: PostgreSQL: drop the objects of the backup first.
        create: Create the database if it does not exist.
        safety_copy: Back up the current database first.
        revoke_sessions: Do not restore the sessions of the backup.
        lock_timeout: Seconds to wait for locks of others.
    """

    accounts_only: bool = False
    clean: bool = False
    create: bool = False
    safety_copy: bool = True
    revoke_sessions: bool = True
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class PreparedRestore:
    """A backup that can be restored, and what it would replace.

    Attributes:
        backup: The backup.
        accounts_only: Only the four Clarinet tables are restored.
        target: The redacted URL of the database.
        rows: The rows of each of the Clarinet tables in the database.
        revision: The revision of the database.
        exists: Whether the database exists.
        empty: Whether the database is empty.
        sessions: The name of the table of sessions; None if sessions are not rows.
    """

    backup: Backup
    accounts_only: bool
    target: str
    rows: dict[str, int]
    revision: Optional[str]
    exists: bool
    empty: bool
    sessions: Optional[str] = SESSIONS

    def report(self, plan: RestorePlan) -> RestoreReport:
        """Return what a restore would do."""
        contents = self.backup.contents
        rows = dict(contents.rows)
        revoked = 0
        if plan.revoke_sessions and self.sessions in rows:
            revoked, rows[self.sessions] = rows[self.sessions], 0
        return RestoreReport(
            result="would_restore",
            file=str(self.backup.path),
            kind=contents.kind,
            bytes=contents.bytes,
            seconds=0.0,
            rows=rows,
            revision=self.revision if self.accounts_only else contents.revision,
            verified=True,
            made_at=contents.made_at,
            replaced=self.rows,
            sessions_revoked=revoked,
            safety_copy=None,
        )


class _Target(NamedTuple):
    """The database that a restore would replace.

    Attributes:
        exists: Whether there is one.
        size: Bytes of the file, or the number of tables, views and sequences on a server.
        rows: The number of rows of each Clarinet table.
        revision: The Alembic revision.
    """

    exists: bool
    size: int
    rows: dict[str, int]
    revision: Optional[str]


async def prepare_restore(settings: Settings, path: Path, plan: RestorePlan) -> PreparedRestore:
    """Verify a backup and examine what it would replace; nothing is changed.

    Args:
        settings: The settings, which name the database.
        path: The backup.
        plan: How it is to be restored.

    Raises:
        NotFoundError: The file does not exist.
        CheckFailedError: The backup is damaged.
        RefusedError: The backup cannot be restored into this database.
        ConflictError: PostgreSQL: the database is not empty, and *plan* does not clean it.
        UnreachableError: The database does not exist, and *plan* does not create it.
    """
    backup = await read_backup(settings, path)
    accounts_only = plan.accounts_only or backup.kind is Kind.ACCOUNTS
    require_restorable(settings, backup, accounts_only=accounts_only)
    tables = stored_tables_of(settings)
    url = database_url(settings)
    file = sqlite_file(url)
    if file is not None:
        exists = file_id(file) is not None
        if not (exists or plan.create):
            missing = missing_file(file, settings.project_dir)
            raise missing.with_context(missing.message, hint=CREATE_HINT)
        live: tuple[dict[str, int], Optional[str]] = ({}, None)
        if exists:
            live = await in_thread(
                partial(read_live, file, lock_timeout=plan.lock_timeout, tables=tables)
            )
        target = _Target(exists, file_size(file), *live)
    else:
        target = await _target_on_server(settings, plan)
        if target.size and not (plan.clean or accounts_only):
            raise CONFLICT.with_context(
                f"{display_url(url)} already has {target.size} tables, views and sequences",
                hint="--clean replaces those in the backup"
                + ("; --accounts-only replaces the Clarinet tables only" if tables.own else ""),
            )
    return PreparedRestore(
        backup,
        accounts_only,
        display_url(url),
        target.rows,
        target.revision,
        target.exists,
        empty=not target.size,
        sessions=tables.sessions and tables.fullname(SESSIONS),
    )


async def _target_on_server(settings: Settings, plan: RestorePlan) -> _Target:
    try:
        async with snapshot_session(
            settings, lock_timeout=plan.lock_timeout, writes=True
        ) as session:
            objects = await postgresql_queries.count_objects(session)
            rows = await ServerRepository(session).row_counts()
            revision = await stored_revision(session)
            return _Target(exists=True, size=objects, rows=rows, revision=revision)
    except UnknownDatabaseError as error:
        logger.debug(error.message)
        if not plan.create:
            raise error.with_context(error.message, hint=CREATE_HINT) from error
        return _Target(exists=False, size=0, rows={}, revision=None)
