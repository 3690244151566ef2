"""Connections and transactions on the configured database.

Who opens one ends it here: commit, roll back, close, and the driver's errors in our words.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Optional

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from clarinet_cli.database.commits import OutcomeUnknownError, commit
from clarinet_cli.database.engine import (
    ACCESS_OPTION,
    PARAMETERS_OPTION,
    Access,
    make_engine,
)
from clarinet_cli.database.errors import explain_driver_error, outcome_unknown_error
from clarinet_cli.database.sqlite import explain_file_error
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.database.tls import ca_file
from clarinet_cli.database.url import (
    database_url,
    display_url,
    require_sqlite_file,
    sqlite_file,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger, traceback_without_values

GOODBYE_SECONDS = 5
REPLICA_HINT = "check database_read_url; without it the main database serves these commands too"


@asynccontextmanager
async def get_engine(
    settings: Optional[Settings] = None, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the configured database and dispose of it at the end.

    Args:
        settings: Which database; the project's settings by default.
        access: See ``make_engine``.
        **options: Passed on to ``make_engine``.

    Raises:
        ClarinetError: The driver's error, in the operator's words.
    """
    settings = settings or configured_settings()
    replica = access is Access.REPLICA and settings.database_read_url is not None
    url = database_url(settings, replica=replica)
    if access is not Access.CREATE:
        require_sqlite_file(url, settings.project_dir)
    engine = make_engine(url, access=access, **options)
    with driver_errors(url, hint=REPLICA_HINT if replica else None):
        try:
            yield engine
        finally:
            await _dispose(engine)


@asynccontextmanager
async def get_connection(
    settings: Optional[Settings] = None, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncConnection]:
    """Yield one connection; whoever uses it begins and ends the transactions."""
    async with get_engine(settings, access=access, **options) as engine, engine.connect() as opened:
        yield opened


@asynccontextmanager
async def get_async_session(
    settings: Optional[Settings] = None,
    *,
    access: Access = Access.READ,
    dry_run: bool = False,
    before_commit: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
    any_tables: bool = False,
) -> AsyncIterator[AsyncSession]:
    """Yield a session: commit at the end, roll back on an error, close the engine.

    Args:
        settings: Which database; the project's settings by default.
        access: WRITE when the session will change rows.
        any_tables: Do not look first whether the tables are those of the server.
        dry_run: Roll back at the end, so that the very statements of the real run are
            tried and nothing is written.
        before_commit: Called when nothing can interrupt the commit any more.
        committed: Called when the commit is known to have come to be.

    Raises:
        ClarinetError: The driver's error, in the operator's words.
    """
    async with open_session(settings, access=access) as session, session.begin() as begun:
        if not any_tables:
            await require_server_tables(session)
        yield session
        if dry_run:
            await begun.rollback()
        else:
            await commit(begun, before_commit, committed, changes=access is Access.WRITE)


@asynccontextmanager
async def open_session(
    settings: Optional[Settings] = None, *, access: Access = Access.READ
) -> AsyncIterator[AsyncSession]:
    """Yield a session for several transactions that the caller begins and ends.

    Args:
        settings: Which database; the project's settings by default.
        access: WRITE when the transactions will change rows.

    Raises:
        ClarinetError: The driver's error, in the operator's words.
    """
    async with (
        get_engine(settings, access=access) as engine,
        AsyncSession(engine, expire_on_commit=False) as session,
    ):
        yield session


@asynccontextmanager
async def open_pinned_session(
    settings: Optional[Settings] = None, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncSession]:
    """Yield a session whose transactions all run on one connection.

    Args:
        settings: Which database; the project's settings by default.
        access: What its transactions are for unless ``transaction`` says otherwise.
        **options: Passed on to ``make_engine``.

    Raises:
        ClarinetError: The driver's error, in the operator's words.
    """
    async with (
        get_connection(settings, access=access, **options) as connection,
        AsyncSession(connection, expire_on_commit=False) as session,
    ):
        yield session


@asynccontextmanager
async def transaction(
    session: AsyncSession, access: Access, parameters: Optional[Mapping[str, str]] = None
) -> AsyncIterator[None]:
    """Hold one transaction of a session, which may read now and write another time.

    Args:
        session: One that the caller opened.
        access: READ leaves SQLite's lock for writing to others.
        parameters: What a PostgreSQL server is told until the end of the transaction, by
            the names of its settings; ours, and no text from outside.
    """
    options = {ACCESS_OPTION: access, PARAMETERS_OPTION: parameters or {}}
    async with session.begin() as begun:
        await session.connection(execution_options=options)
        yield
        await commit(begun, changes=access is Access.WRITE)


@asynccontextmanager
async def writing(
    connection: AsyncConnection | AsyncSession,
    before_commit: Callable[[], None] = lambda: None,
    committed: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Hold one transaction of a connection or session that was opened for writing.

    Args:
        connection: Whose; the caller opened it.
        before_commit: Called when nothing can interrupt the commit any more.
        committed: Called when the transaction is known to be committed.
    """
    async with connection.begin() as begun:
        yield
        await commit(begun, before_commit, committed)


@asynccontextmanager
async def open_maintenance_connection(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in autocommit mode to the server's own database, ``postgres``.

    Args:
        settings: Which PostgreSQL server.
    """
    url = database_url(settings).set(database="postgres")
    engine = make_engine(url)
    with driver_errors(url):
        try:
            async with engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")
        finally:
            await engine.dispose()


async def _dispose(engine: AsyncEngine) -> None:
    """Close the connections; a server that does not say goodbye is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await engine.dispose()


@contextmanager
def driver_errors(url: URL, *, hint: Optional[str] = None) -> Iterator[None]:
    """Turn the driver's errors inside the block into errors in the operator's words.

    Args:
        url: Of the database.
        hint: What to say in place of the hint that an error has.
    """
    try:
        yield
    except OutcomeUnknownError as error:
        unknown = outcome_unknown_error(error, url.get_backend_name(), display_url(url))
        _log_without_values(error, unknown.message)
        raise unknown from error
    except (DBAPIError, StaleDataError, OSError, TimeoutError, UnicodeError) as error:
        file, backend, target = sqlite_file(url), url.get_backend_name(), display_url(url)
        explained = (file and explain_file_error(error, file)) or explain_driver_error(
            error, backend, target, ca=ca_file(url.query)
        )
        if explained is None:
            raise
        if hint and explained.hint:
            explained = explained.with_context(explained.message, hint=hint)
        _log_without_values(error, explained.message)
        raise explained from error


def _log_without_values(error: Exception, message: str) -> None:
    """Log a driver's error: its kind and place, and not its text, which may quote a row."""
    kind = type(getattr(error, "orig", error)).__name__
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    said = f"{message} ({kind}{f', SQLSTATE {state}' if state else ''})"
    logger.bind(reported=True).error(f"{said}\n{traceback_without_values(error)}")


def configured_settings() -> Settings:
    """Return the settings of the current project directory, built on first use."""
    from clarinet_cli.settings import settings

    found: Settings = settings
    return found
