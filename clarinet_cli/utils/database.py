"""Connections: the URL, the engine, the transaction, and the driver's errors in our words."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from clarinet_cli.exceptions import CONFIGURATION, UNREACHABLE, ClarinetError
from clarinet_cli.settings import Settings
from clarinet_cli.utils.driver_errors import explain_driver_error
from clarinet_cli.utils.logger import logger

BUSY_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 10
SQLITE_SUFFIXES = {".db", ".sqlite", ".sqlite3"}
POSTGRESQL_NAMES = {"postgres", "postgresql"}


class Access(StrEnum):
    """What a connection is for; on SQLite it decides how a transaction begins."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def database_url(settings: Settings) -> URL:
    """Return the URL to connect to, with an async driver and an absolute SQLite path.

    Args:
        settings: ``database_url`` wins over the parts; a relative SQLite name starts at the
            project directory.

    Raises:
        ConfigurationError: ``database_url`` can't be parsed or names another database.
    """
    if settings.database_url is not None:
        return _given_url(settings.database_url.get_secret_value(), settings.project_dir)
    if settings.database_driver.startswith("sqlite"):
        name = Path(settings.database_name)
        file = name if name.suffix in SQLITE_SUFFIXES else name.with_name(f"{name.name}.db")
        return _sqlite_url(settings.project_dir / file)
    return URL.create(
        "postgresql+asyncpg",
        username=settings.database_username or None,
        password=settings.database_password.get_secret_value() or None,
        host=settings.database_host or None,
        port=settings.database_port,
        database=settings.database_name,
    )


def display_url(url: URL) -> str:
    """Return *url* for people: no driver, no password, no query with secrets in it."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    socket = (url.host or "").startswith("/")
    return URL.create(
        "postgresql",
        username=url.username,
        password=url.password,
        host=None if socket else url.host,
        port=url.port,
        database=url.database,
        query={"host": str(url.host)} if socket else {},
    ).render_as_string(hide_password=True)


def make_engine(
    url: URL,
    *,
    access: Access = Access.READ,
    foreign_keys: bool = True,
    busy_timeout: float = BUSY_TIMEOUT_SECONDS,
) -> AsyncEngine:
    """Return an engine that the caller disposes of.

    Args:
        url: As ``database_url`` returns it.
        access: On SQLite only CREATE may make a missing file, and WRITE and CREATE begin
            with ``BEGIN IMMEDIATE``, so that a writer waits its turn instead of failing
            when a read turns into a write.
        foreign_keys: SQLite: enforce foreign keys. Migrations switch that off, since a
            table that is rebuilt is dropped first, which would cascade.
        busy_timeout: Seconds to wait for somebody else's lock.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, access, foreign_keys=foreign_keys, busy_timeout=busy_timeout)
    return _postgresql_engine(url, busy_timeout=busy_timeout)


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
    url = database_url(settings or _project_settings())
    engine = make_engine(url, access=access, **options)
    with driver_errors(url):
        try:
            yield engine
        finally:
            await engine.dispose()


@asynccontextmanager
async def get_connection(
    settings: Optional[Settings] = None, *, access: Access = Access.READ, **options: Any
) -> AsyncIterator[AsyncConnection]:
    """Yield one connection; whoever uses it begins and ends the transactions."""
    async with get_engine(settings, access=access, **options) as engine, engine.connect() as opened:
        yield opened


@asynccontextmanager
async def get_async_session(
    settings: Optional[Settings] = None, *, access: Access = Access.READ, dry_run: bool = False
) -> AsyncIterator[AsyncSession]:
    """Yield a session: commit at the end, roll back on an error, close the engine.

    Args:
        settings: Which database; the project's settings by default.
        access: WRITE when the session will change rows.
        dry_run: Roll back at the end, so that the very statements of the real run are
            tried and nothing is written.

    Raises:
        ClarinetError: The driver's error, in the operator's words.
    """
    async with open_session(settings, access=access) as session, session.begin() as transaction:
        yield session
        if dry_run:
            await transaction.rollback()


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


@contextmanager
def driver_errors(url: URL) -> Iterator[None]:
    """Turn the driver's errors inside the block into errors in the operator's words."""
    try:
        yield
    except (DBAPIError, OSError, TimeoutError) as error:
        explained = explain_driver_error(error, url.get_backend_name(), display_url(url))
        if explained is None:
            raise
        logger.bind(reported=True).opt(exception=error).error(explained.message)
        raise explained from error


def sqlite_file(url: URL) -> Optional[Path]:
    """Return the file of a SQLite URL, or None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def require_sqlite_file(url: URL) -> None:
    """Refuse to go on when the SQLite file is missing.

    Raises:
        UnreachableError: There is no such file.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise missing_file(file)


def missing_file(file: Path) -> ClarinetError:
    """Return the error that says that a SQLite file does not exist."""
    return UNREACHABLE.with_context(
        f"the SQLite file {file} does not exist",
        hint="'clarinet db init' creates it; '-C DIR' names another project directory",
    )


def _project_settings() -> Settings:
    from clarinet_cli.settings import settings

    found: Settings = settings
    return found


def _given_url(text: str, project: Path) -> URL:
    """Read ``database_url``; its text is a secret and never part of a message."""
    try:
        url = make_url(text)
        backend = url.drivername.split("+")[0]
    except (ArgumentError, ValueError):
        raise CONFIGURATION.with_context(
            "database_url: not a database URL",
            hint="such as postgresql://user:password@host:5432/name, "
            "with '@' and '/' in the password written as %40 and %2F",
        ) from None
    if backend in POSTGRESQL_NAMES:
        return url.set(drivername="postgresql+asyncpg")
    if backend != "sqlite":
        raise CONFIGURATION.with_context(
            f"database_url: unknown driver {url.drivername!r}", hint="sqlite or postgresql"
        )
    return _sqlite_url(project / (url.database or ""))


def _sqlite_url(file: Path) -> URL:
    if file.name == ":memory:" or file.is_dir():
        kind = "a directory" if file.is_dir() else "in memory, where no other process sees it"
        raise UNREACHABLE.with_context(f"{file} can't be the SQLite database: it is {kind}")
    return URL.create("sqlite+aiosqlite", database=str(file))


def _sqlite_engine(
    url: URL, access: Access, *, foreign_keys: bool, busy_timeout: float
) -> AsyncEngine:
    if access is not Access.CREATE:
        require_sqlite_file(url)
    mode = "rwc" if access is Access.CREATE else "rw"
    uri = url.set(database=f"file:{quote(str(url.database))}", query={"mode": mode, "uri": "true"})
    engine = create_async_engine(uri, hide_parameters=True, connect_args={"timeout": busy_timeout})
    begin = "BEGIN" if access is Access.READ else "BEGIN IMMEDIATE"

    def prepare(connection: Any, _: object) -> None:
        # The driver's own implicit transactions leave DDL and reads outside of them.
        connection.isolation_level = None
        connection.create_function("lower", 1, _lower)
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def _lower(text: object) -> object:
    """SQLite's own ``lower()`` knows ASCII only; PostgreSQL's knows all letters."""
    return text.lower() if isinstance(text, str) else text


def _postgresql_engine(url: URL, *, busy_timeout: float) -> AsyncEngine:
    query = dict(url.query)
    options: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_SECONDS}
    if "sslmode" in query:
        options["ssl"] = query.pop("sslmode")
    # A statement prepared by name may be on another connection behind pgbouncer.
    options |= {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"clarinet_{uuid4().hex}",
        "server_settings": {"application_name": "clarinet"},
    }
    engine = create_async_engine(url.set(query=query), hide_parameters=True, connect_args=options)

    def start(connection: Connection) -> None:
        milliseconds = int(busy_timeout * 1000)
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")

    event.listen(engine.sync_engine, "begin", start)
    return engine
