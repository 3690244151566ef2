"""Engines, connections and transactions on the configured database.

Each is closed here, and the driver's errors are translated. Services open transactions by
``services.unit_of_work``; only jobs that need connections of their own use this module.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Optional

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from clarinet_cli.database.commits import OutcomeUnknownError
from clarinet_cli.database.engine import Access, make_engine
from clarinet_cli.database.errors import explain_driver_error, outcome_unknown_error
from clarinet_cli.database.sqlite import explain_file_error
from clarinet_cli.database.tls import ca_file
from clarinet_cli.database.url import database_url, display_url, require_sqlite_file, sqlite_file
from clarinet_cli.exceptions import UnknownDatabaseError, traceback_without_values
from clarinet_cli.models.stored_tables import StoredTables, stored_tables
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

DISPOSE_SECONDS = 5
REPLICA_HINT = "check database_read_url; without it the main database serves these commands too"


class Database:
    """The configured database, with one engine for all the transactions of a command.

    The engine is made with the first transaction, so that a database may be created before.
    A read replica (``database_read_url``) has an engine of its own.

    Args:
        settings: The settings, which name the database.
        busy_timeout: Seconds to wait for a lock; by default that of ``make_engine``.
        writes: Refuse a standby of PostgreSQL in each transaction, before anything is read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        busy_timeout: Optional[float] = None,
        writes: bool = False,
    ) -> None:
        self.settings = settings
        self._writes = writes
        self._options: dict[str, Any] = (
            {} if busy_timeout is None else {"busy_timeout": busy_timeout}
        )
        self._engines: dict[bool, AsyncEngine] = {}
        self._file_id: Optional[tuple[int, int]] = None

    @asynccontextmanager
    async def session(self, *, access: Access = Access.READ) -> AsyncIterator[AsyncSession]:
        """Yield a session, whose transactions ``transaction`` begins and ends.

        Args:
            access: REPLICA when ``database_read_url`` may serve it.

        Raises:
            ClarinetError: The driver's error, translated.
        """
        with self._engine(access) as engine:
            async with AsyncSession(engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for reading; the caller begins and ends its transactions.

        Raises:
            ClarinetError: The driver's error, translated.
        """
        with self._engine(Access.READ) as engine:
            async with engine.connect() as connection:
                yield connection

    @contextmanager
    def _engine(self, access: Access) -> Iterator[AsyncEngine]:
        replica = access is Access.REPLICA and self.settings.database_read_url is not None
        url = database_url(self.settings, replica=replica)
        tables = stored_tables(self.settings.table_mapping, self.settings.capabilities)
        with driver_errors(url, hint=REPLICA_HINT if replica else None, tables=tables):
            if replica not in self._engines:
                if access is not Access.CREATE:
                    require_sqlite_file(url, self.settings.project_dir)
                self._engines[replica] = make_engine(
                    url,
                    access=access,
                    mapping=self.settings.table_mapping,
                    writes=self._writes and not replica,
                    **self._options,
                )
            yield self._engines[replica]

    async def disconnect_if_replaced(self) -> None:
        """Close the connections if another SQLite file has the database's name since the last call.

        For a command that reads repeatedly: an open connection would stay with the old file. On
        PostgreSQL nothing happens.

        Raises:
            UnreachableError: The file is missing.
        """
        url = database_url(self.settings)
        file = sqlite_file(url)
        if file is None:
            return
        require_sqlite_file(url, self.settings.project_dir)
        status = file.stat()
        before, self._file_id = self._file_id, (status.st_dev, status.st_ino)
        if before not in (None, self._file_id):
            await self.disconnect()

    async def disconnect(self) -> None:
        """Close the idle connections; the next transaction opens another one.

        Call it before a prompt, so that no connection is held while the user types.
        """
        for replica, engine in self._engines.items():
            with driver_errors(database_url(self.settings, replica=replica)):
                await _dispose(engine)


@asynccontextmanager
async def open_database(
    settings: Settings, *, busy_timeout: Optional[float] = None, writes: bool = False
) -> AsyncIterator[Database]:
    """Yield the configured database; its connections are closed at the end.

    Args:
        settings: The settings, which name the database.
        busy_timeout: Seconds to wait for a lock; by default that of ``make_engine``.
        writes: Whether the block writes, perhaps after reading; see ``Database``.
    """
    database = Database(settings, busy_timeout=busy_timeout, writes=writes)
    try:
        yield database
    finally:
        await database.disconnect()


@asynccontextmanager
async def as_database(source: Settings | Database) -> AsyncIterator[Database]:
    """Yield the database of some settings, closed at the end; or a ``Database`` as it is."""
    if isinstance(source, Database):
        yield source
        return
    async with open_database(source) as database:
        yield database


async def database_exists(source: Settings | Database) -> bool:
    """Return whether there is a database to connect to.

    Args:
        source: The settings, which name it, or a ``Database`` whose engine is used.

    Raises:
        UnreachableError: The server cannot be reached or refuses the log-in.
    """
    async with as_database(source) as database:
        file = sqlite_file(database_url(database.settings))
        if file is not None:
            return file.exists()
        try:
            async with database.connection() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except UnknownDatabaseError:
            return False
    return True


@asynccontextmanager
async def get_engine(
    settings: Settings, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the configured database and dispose of it at the end.

    Args:
        settings: The settings, which name the database.
        access: See ``make_engine``.
        **options: Passed on to ``make_engine``.

    Raises:
        ClarinetError: The driver's error, translated.
    """
    replica = access is Access.REPLICA and settings.database_read_url is not None
    url = database_url(settings, replica=replica)
    if access is not Access.CREATE:
        require_sqlite_file(url, settings.project_dir)
    engine = make_engine(url, access=access, mapping=settings.table_mapping, **options)
    with driver_errors(url, hint=REPLICA_HINT if replica else None):
        try:
            yield engine
        finally:
            await _dispose(engine)


@asynccontextmanager
async def get_connection(
    settings: Settings, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncConnection]:
    """Yield one connection; the caller begins and ends its transactions."""
    async with get_engine(settings, access=access, **options) as engine, engine.connect() as opened:
        yield opened


@asynccontextmanager
async def open_pinned_session(
    settings: Settings, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncSession]:
    """Yield a session whose transactions all run on one connection.

    Args:
        settings: The settings, which name the database.
        access: The access of its transactions, unless ``transaction`` gives another.
        **options: Passed on to ``make_engine``.

    Raises:
        ClarinetError: The driver's error, translated.
    """
    async with (
        get_connection(settings, access=access, **options) as connection,
        AsyncSession(connection, expire_on_commit=False) as session,
    ):
        yield session


@asynccontextmanager
async def open_maintenance_connection(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in autocommit mode to the server's own database, ``postgres``.

    Args:
        settings: The settings, which name the server.

    Raises:
        StandbyError: The server accepts no writes.
    """
    url = database_url(settings).set(database="postgres")
    engine = make_engine(url, access=Access.WRITE)
    with driver_errors(url):
        try:
            async with engine.connect() as connection:
                async with connection.begin():  # which refuses a standby
                    pass
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")
        finally:
            await engine.dispose()


async def _dispose(engine: AsyncEngine) -> None:
    """Close the connections, in limited time: a server may no longer answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DISPOSE_SECONDS):
            await engine.dispose()


@contextmanager
def driver_errors(
    url: URL, *, hint: Optional[str] = None, tables: Optional[StoredTables] = None
) -> Iterator[None]:
    """Translate the driver's errors inside the block.

    Args:
        url: The URL of the database.
        hint: Replaces the hint of an error that has one.
        tables: The tables of an application; None: the Clarinet tables.
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
            error, backend, target, ca=ca_file(url.query), tables=tables
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
    text = f"{message} ({kind}{f', SQLSTATE {state}' if state else ''})"
    logger.bind(reported=True).error(f"{text}\n{traceback_without_values(error)}")


def configured_settings() -> Settings:
    """Return the settings of the current project directory, built on first use."""
    from clarinet_cli.settings import settings

    found: Settings = settings
    return found
