"""Restore an archive with pg_restore."""

import asyncio
import os
from asyncio.subprocess import PIPE
from typing import Any

from clarinet_cli.database.url import database_url, display_url
from clarinet_cli.exceptions import BUSY
from clarinet_cli.repositories import postgresql as postgresql_queries
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.services.backup.archive import restore_error
from clarinet_cli.services.backup.make import is_encrypted, snapshot_session
from clarinet_cli.services.backup.postgresql import (
    RESTORE,
    connection_variables,
    find_program,
    start_program,
)
from clarinet_cli.services.backup.verify import Backup
from clarinet_cli.services.mapped import stored_tables_of
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

POLL_SECONDS = 0.5


async def restore_archive(
    settings: Settings,
    backup: Backup,
    *,
    clean: bool,
    revoke_sessions: bool,
    lock_timeout: float,
) -> None:
    """Restore an archive with pg_restore in one transaction.

    Args:
        settings: The settings, which name the database.
        backup: The archive, verified.
        clean: Drop the objects of the archive first.
        revoke_sessions: Do not restore sessions.
        lock_timeout: Seconds to wait for a lock.

    Raises:
        BusyError: Another process holds a lock for longer.
        ClarinetError: pg_restore is missing, too old, or failed; nothing was changed.
    """
    url = database_url(settings)
    assert backup.archive is not None  # noqa: S101 - for the type checker
    application = f"clarinet-restore-{os.getpid()}"
    async with snapshot_session(settings) as session:
        version = await ServerRepository(session).version()
        roles = await postgresql_queries.usable_roles(session)
        encrypted = await is_encrypted(session)
    program = await find_program(RESTORE, version)
    arguments = ["--single-transaction", "--exit-on-error", "--no-password"]
    arguments += ["--clean", "--if-exists"] if clean else []
    if unusable := sorted(backup.archive.owners - roles - {"-"}):
        logger.warning(f"owners and privileges are not restored: no role {', '.join(unusable)}")
        arguments += ["--no-owner", "--no-privileges"]
    arguments += ["--use-list=/dev/stdin"] if revoke_sessions else []
    # As a connection string: libpq could take the name as it is for one.
    name = (url.database or "").replace("\\", "\\\\").replace("'", "\\'")
    arguments += [f"--dbname=dbname='{name}'" if name else "--dbname=", str(backup.path)]
    with connection_variables(url, encrypted=encrypted) as variables:
        variables = {**variables, "PGAPPNAME": application}
        async with start_program(program, arguments, variables, stdin=PIPE) as process:
            tables = stored_tables_of(settings)
            listing = backup.archive.without_sessions(tables, backup.session_parts).encode()
            end = asyncio.ensure_future(process.communicate(listing))
            try:
                await _wait_with_lock_timeout(settings, end, application, lock_timeout)
                _, stderr = await end
            finally:
                end.cancel()
    if process.returncode:
        raise restore_error(program, process.returncode, stderr, display_url(url), backup.path)


async def _wait_with_lock_timeout(
    settings: Settings, end: "asyncio.Future[Any]", application: str, timeout: float
) -> None:
    """Wait until a program has ended; fail if it waits too long for a lock."""
    while True:
        done, _ = await asyncio.wait({end}, timeout=POLL_SECONDS)
        if done:
            return
        async with snapshot_session(settings) as session:
            waiting = await postgresql_queries.lock_wait_seconds(session, application)
        if waiting > timeout:
            raise BUSY.with_context(
                f"{display_url(database_url(settings))}: locked by another process",
                hint="nothing was changed; a higher --lock-timeout waits longer",
            )
