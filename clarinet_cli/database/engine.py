"""Engines, and how transactions begin on each backend."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import quote_from_bytes
from uuid import uuid4

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from clarinet_cli.database.activity import log_activity
from clarinet_cli.database.sqlite import create_sqlite_file, prepare_sqlite_file
from clarinet_cli.database.sqlite_transactions import begin_with_retry, commit_with_retry
from clarinet_cli.database.url import display_url, require_sqlite_file
from clarinet_cli.exceptions import STANDBY, UNREACHABLE
from clarinet_cli.filesystem.ownership import describe_owner, sudo_hint
from clarinet_cli.models.functions import CANONICAL_ID_FUNCTION, canonical_form
from clarinet_cli.networks import IN_NETWORK_FUNCTION, is_in_network
from clarinet_cli.spelling import FOLD_FUNCTION, fold_case
from clarinet_cli.utils.logger import logger

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 300  # not counting the wait for a lock
GRACE_SECONDS = 10  # after it the driver gives up on a server that did not cancel in time
FIRST_READ = "PRAGMA schema_version"  # in a deferred transaction this takes the read lock
ACCESS_OPTION = "clarinet_access"  # execution option: the access of one transaction
READ_ONLY_SETTING = "current_setting('transaction_read_only')"
IS_STANDBY = "SELECT pg_is_in_recovery()"
PARAMETERS_OPTION = "clarinet_parameters"  # execution option: PostgreSQL settings of one
BUSY_TIMEOUT_SECONDS = 10


class Access(StrEnum):
    """The purpose of a connection; on SQLite it decides how a transaction begins.

    REPLICA: a READ that a lagging replica (``database_read_url``) may serve.
    """

    READ = "read"
    REPLICA = "replica"
    WRITE = "write"
    CREATE = "create"


def make_engine(
    url: URL,
    *,
    access: Access = Access.READ,
    foreign_keys: bool = True,
    busy_timeout: float = BUSY_TIMEOUT_SECONDS,
    statement_timeout: float = STATEMENT_TIMEOUT_SECONDS,
    durable: bool = True,
    mapping: Optional["Mapping"] = None,
    writes: bool = False,
) -> AsyncEngine:
    """Return an engine; the caller disposes of it.

    Args:
        url: The URL that ``database_url`` returned.
        access: On SQLite only CREATE creates a missing file. WRITE and CREATE begin with
            ``BEGIN IMMEDIATE``, so that a writer waits instead of failing when a read turns
            into a write.
        foreign_keys: SQLite: enforce foreign keys. Migrations disable this, since rebuilding
            a table drops it first, which would cascade.
        busy_timeout: Seconds to wait for a lock.
        statement_timeout: PostgreSQL: seconds that one statement may take.
        durable: Whether each commit must survive a power failure. If False, SQLite in WAL
            mode does not sync each commit: the last transactions may be lost as a whole.
        mapping: The mapping to an application's tables; None for the Clarinet tables.
        writes: Refuse a standby of PostgreSQL in each transaction, and not only in those with
            WRITE or CREATE: for a command that reads before it writes.
    """
    if mapping is not None:
        from clarinet_cli.database.mapped_sql import use_mapping

        engine = make_engine(
            url,
            access=access,
            foreign_keys=foreign_keys,
            busy_timeout=busy_timeout,
            statement_timeout=statement_timeout,
            durable=durable,
            writes=writes,
        )
        use_mapping(engine.sync_engine.dialect, mapping)
        return engine
    if url.get_backend_name() == "sqlite":
        pragmas = [f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}"]
        engine = _sqlite_engine(url, access, pragmas, busy_timeout=busy_timeout, durable=durable)
    else:
        engine = _postgresql_engine(
            url,
            Access.WRITE if writes else access,
            busy_timeout=busy_timeout,
            statement_timeout=statement_timeout + busy_timeout,
        )
    log_activity(engine.sync_engine, url)
    return engine


@contextmanager
def scratch_connection() -> Iterator[Connection]:
    """Yield a connection to an empty SQLite database in memory, which ends with the block."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _sqlite_engine(
    url: URL, access: Access, pragmas: Sequence[str], *, busy_timeout: float, durable: bool
) -> AsyncEngine:
    if access is Access.CREATE:
        create_sqlite_file(Path(str(url.database)))
    else:
        require_sqlite_file(url)
    file = Path(str(url.database))
    _probe(file)
    prepare_sqlite_file(file)
    uri = url.set(database=_sqlite_uri(file), query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(uri, hide_parameters=True, connect_args={"timeout": busy_timeout})

    def start(connection: Connection) -> None:
        wanted = connection.get_execution_options().get(ACCESS_OPTION, access)
        begin = (
            ("BEGIN", FIRST_READ)
            if wanted in (Access.READ, Access.REPLICA)
            else ("BEGIN IMMEDIATE",)
        )
        begin_with_retry(connection, begin, busy_timeout)

    prepare = partial(_prepare_sqlite_connection, pragmas=pragmas, durable=durable)
    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    commit = partial(
        commit_with_retry, busy_timeout=busy_timeout, timeout_after_signal=BUSY_TIMEOUT_SECONDS
    )
    event.listen(engine.sync_engine, "commit", commit)
    return engine


def _prepare_sqlite_connection(
    connection: Any, _: object, *, pragmas: Sequence[str], durable: bool
) -> None:
    def execute(statement: str) -> Any:
        return connection.run_async(methodcaller("execute_fetchall", statement))

    # The driver's implicit transactions do not include DDL and reads.
    connection.isolation_level = None
    # Text that is not UTF-8 must not be an error: it would end a listing.
    connection.driver_connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    ((encoding,),) = execute("PRAGMA encoding")
    # Not named like a built-in function, which an index may use. SQLite's lower() knows ASCII
    # only; invalid bytes are replaced, or one such row would make every query fail.
    connection.create_function(
        FOLD_FUNCTION,
        1,
        lambda value: (
            None if value is None else fold_case(value.decode(encoding, errors="replace"))
        ),
    )
    connection.create_function(CANONICAL_ID_FUNCTION, 1, canonical_form)
    connection.create_function(
        IN_NETWORK_FUNCTION,
        2,
        lambda value, network: (
            value is not None and is_in_network(value.decode(encoding, errors="replace"), network)
        ),
    )
    for pragma in pragmas:
        execute(pragma)
    if execute("PRAGMA journal_mode") == [("wal",)] and not durable:
        execute("PRAGMA synchronous=NORMAL")


def _probe(file: Path) -> None:
    """Open the file once in this thread.

    If the driver's own thread fails to open it, it may report that with a traceback after the
    event loop has ended.

    Raises:
        UnreachableError: The file cannot be opened.
    """
    try:
        sqlite3.connect(f"{_sqlite_uri(file)}?mode=rw", uri=True).close()
    except sqlite3.Error as error:
        logger.bind(reported=True).error(f"opening {file}: {error.sqlite_errorname}")
        readable = os.access(file, os.R_OK)
        owner = "" if readable else f": {describe_owner(file)}"
        raise UNREACHABLE.with_context(
            f"sqlite:///{file}: the file cannot be opened{owner}",
            hint="check path and permissions" if readable else sudo_hint(file),
        ) from error


def _sqlite_uri(file: Path) -> str:
    """Return a file as a SQLite URI; the path may contain any bytes."""
    return f"file:{quote_from_bytes(os.fsencode(file))}"


def _postgresql_engine(
    url: URL, access: Access, *, busy_timeout: float, statement_timeout: float
) -> AsyncEngine:
    from clarinet_cli.database.postgresql import connect  # imports the driver

    query = {name: str(value) for name, value in url.query.items()}
    # Behind pgbouncer a named prepared statement may be on another connection.
    options: dict[str, Any] = {
        "async_creator_fn": connect,
        "options": query,
        "timeout": float(query.get("connect_timeout", CONNECT_TIMEOUT_SECONDS)) or None,
        "command_timeout": statement_timeout + GRACE_SECONDS,
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"clarinet_{uuid4().hex}",
        "server_settings": {"application_name": query.get("application_name", "clarinet")},
    }
    engine = create_async_engine(url.set(query={}), hide_parameters=True, connect_args=options)

    parameters = {
        "lock_timeout": milliseconds(busy_timeout),
        "statement_timeout": milliseconds(statement_timeout),
        "row_security": "off",  # an error instead of hidden rows
    }

    def start(connection: Connection) -> None:
        # Local to the transaction: a pooler may give the connection to another client next.
        # One statement: each takes several round trips, since it is prepared.
        given = connection.get_execution_options()
        local = parameters | given.get(PARAMETERS_OPTION, {})
        values = [f"set_config('{name}', '{value}', true)" for name, value in local.items()]
        query = f"SELECT {', '.join([*values, READ_ONLY_SETTING])}"
        read_only = connection.exec_driver_sql(query).one()[-1] == "on"
        writes = {access, given.get(ACCESS_OPTION)} & {Access.WRITE, Access.CREATE}
        if read_only and writes and connection.exec_driver_sql(IS_STANDBY).scalar():
            raise STANDBY.with_context(f"{display_url(url)}: {STANDBY.message}")

    event.listen(engine.sync_engine, "begin", start)
    return engine


def milliseconds(seconds: float) -> str:
    """Return a time limit for PostgreSQL, between 1 ms (0 means none) and 2**31 - 1 ms."""
    return str(max(1, min(int(seconds * 1000), 2**31 - 1)))
