"""A stand-in for the server during a clean-up: it inserts sessions and measures its waits.

Run as ``python -m tests.benchmarks.writer`` with the SQLite file, or with host, port, user
and database of a PostgreSQL server. It says ``ready``, inserts a session every 10 ms until
its input ends, and prints when each transaction began, how long it took, and the errors.

As a server would, it waits up to 5 s for a lock on SQLite; in WAL mode its transactions are
written without a sync of their own (``synchronous=NORMAL``).
"""

import asyncio
import contextlib
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

import asyncpg

from tests.benchmarks.data import user_id
from tests.faults.writer import INSERT, PAUSE_SECONDS, SQLITE_TIMEOUT_SECONDS, instants


class Seen(NamedTuple):
    """When each transaction began, by the monotonic clock, its seconds, and the errors."""

    samples: list[tuple[float, float]]
    errors: list[str]


def insert_until_input_ends(insert: Callable[[], None]) -> Seen:
    """Insert sessions, one at a time."""
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    seen = Seen([], [])
    while not ended.is_set():
        began = time.monotonic()
        try:
            insert()
        except (sqlite3.Error, asyncpg.PostgresError, OSError) as error:
            seen.errors.append(f"{type(error).__name__}: {error}")
        seen.samples.append((began, time.monotonic() - began))
        time.sleep(PAUSE_SECONDS)
    return seen


def into_sqlite(file: str) -> Seen:
    """Insert as the server does into SQLite: one connection, a transaction each."""
    connection = sqlite3.connect(file, timeout=SQLITE_TIMEOUT_SECONDS)
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")

    def insert() -> None:
        values = [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in instants()]
        with connection:
            connection.execute(
                INSERT.format(*"?????"), [f"writer-{uuid4()}", user_id(1).hex, *values]
            )

    with contextlib.closing(connection):
        return insert_until_input_ends(insert)


def into_postgresql(host: str, port: str, user: str, database: str) -> Seen:
    """Insert as the server does into PostgreSQL: one connection, a transaction each."""
    query = INSERT.format("$1", "$2", "$3", "$4", "$5")
    with asyncio.Runner() as runner:
        connection = runner.run(
            asyncpg.connect(
                host=host,
                port=int(port),
                user=user,
                database=database,
                server_settings={"log_min_duration_statement": "-1"},
            )
        )

        def insert() -> None:
            runner.run(connection.execute(query, f"writer-{uuid4()}", user_id(1), *instants()))

        try:
            return insert_until_input_ends(insert)
        finally:
            runner.run(connection.close())


def main(*where: str) -> None:
    """Insert until the input ends; print the waits and errors."""
    seen = into_sqlite(where[0]) if len(where) == 1 else into_postgresql(*where)
    sys.stdout.write(json.dumps(seen._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
