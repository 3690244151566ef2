"""Engines: how each backend is spoken to."""

from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from clarinet_cli.connections.urls import create_sqlite_file, require_sqlite_file

BUSY_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 10


class Access(StrEnum):
    """What a connection is for; on SQLite it decides how a transaction begins."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


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


def _sqlite_engine(
    url: URL, access: Access, *, foreign_keys: bool, busy_timeout: float
) -> AsyncEngine:
    if access is Access.CREATE:
        create_sqlite_file(Path(str(url.database)))
    else:
        require_sqlite_file(url)
    uri = url.set(database=f"file:{quote(str(url.database))}", query={"mode": "rw", "uri": "true"})
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
