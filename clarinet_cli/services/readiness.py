"""State of the database, and waiting until it is ready."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Optional

from clarinet_cli.database.errors import INIT_HINT
from clarinet_cli.database.url import database_url, display_url
from clarinet_cli.exceptions import (
    CHECK_FAILED,
    UNREACHABLE,
    BusyError,
    ClarinetError,
    ConfigurationError,
    LoginRefusedError,
    UnreachableError,
)
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import DatabaseStatus, WaitReport
from clarinet_cli.services.schema import (
    FOREIGN,
    current_heads,
    database_has_tables,
    find_environment,
    migration_status,
    revision_status,
)
from clarinet_cli.services.unit_of_work import Database, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.types import Readiness
from clarinet_cli.utils.logger import logger

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0


async def database_status(source: Settings | Database) -> DatabaseStatus:
    """Return backend, size, revision, and the number of rows in each of the Clarinet tables.

    Args:
        source: The database and the project directory; see ``unit_of_work``.
    """
    settings = source.settings if isinstance(source, Database) else source
    own = settings.capabilities.own_schema
    async with unit_of_work(source, check_tables=not own) as work:
        server = ServerRepository(work.session)
        version, size = await server.version(), await server.size()
        rows = await server.row_counts()
        connection = await work.session.connection()
        current = await connection.run_sync(current_heads)
    url = database_url(settings)
    migrations = revision_status(find_environment(settings.project_dir), current)
    manager = FOREIGN if migrations.unknown else migrations.environment
    return DatabaseStatus(
        backend=url.get_backend_name(),
        server_version=version,
        url=display_url(url),
        size_bytes=size,
        revision=", ".join(migrations.current) or None,
        head=(", ".join(migrations.heads) or None) if own else None,
        managed_by=manager if own else "the application",
        tables=rows,
    )


async def wait_until_ready(
    settings: Settings,
    readiness: Readiness,
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> WaitReport:
    """Return when the database is ready.

    An unreachable server is tried again, with a new connection, after a pause that doubles
    from 0.1 s to 2 s. A wrong password or an unknown database fails at once.

    Args:
        settings: The settings, which name the database.
        readiness: What counts as ready.
        timeout: Seconds to wait at most.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds between two tries.

    Raises:
        LoginRefusedError: The server refuses the log-in.
        UnreachableError: It was not ready in time.
    """
    started, attempts, pause = clock(), 0, FIRST_PAUSE_SECONDS
    while True:
        attempts += 1
        left = timeout - (clock() - started)
        reason = await _why_not_ready(settings, readiness, max(left, FIRST_PAUSE_SECONDS))
        seconds = clock() - started
        if reason is None:
            url = display_url(database_url(settings))
            return WaitReport(readiness.value, url, attempts, round(seconds, 3))
        logger.info(f"not ready after {seconds:.1f} s: {reason.message}")
        if seconds + pause > timeout:
            raise UNREACHABLE.with_context(
                f"not ready after {timeout:g} s: {reason.message}", hint=reason.hint
            )
        await sleep(pause)
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


async def _mapping_error(settings: Settings) -> Optional[ClarinetError]:
    """Return what an application's tables lack, which its migrations may still create."""
    try:
        async with unit_of_work(settings):
            return None
    except ConfigurationError as error:
        logger.debug(error.message)
        return error


async def _why_not_ready(
    settings: Settings, readiness: Readiness, seconds: float
) -> Optional[ClarinetError]:
    try:
        async with asyncio.timeout(seconds):
            async with unit_of_work(settings, check_tables=False) as work:
                await ServerRepository(work.session).ping()
            if readiness is Readiness.CONNECTION:
                return None
            if not settings.capabilities.own_schema:
                return await _mapping_error(settings)
            status = await migration_status(settings)
            if status.pending:
                pending = ", ".join(status.pending)
                return CHECK_FAILED.with_context(f"migrations pending: {pending}", hint=INIT_HINT)
            if await database_has_tables(settings):
                return None
            return CHECK_FAILED.with_context("the tables are missing", hint=INIT_HINT)
    except LoginRefusedError:
        raise
    except (UnreachableError, BusyError) as error:
        return error
    except TimeoutError:
        url = display_url(database_url(settings))
        return UNREACHABLE.with_context(f"{url}: no answer in time")
