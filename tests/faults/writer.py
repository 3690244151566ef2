"""A stand-in for the server: it inserts a live session every 10 ms until its input ends.

Run as a process of its own with the SQLite file, or with host, port, user and database of a
PostgreSQL server. At the end it prints the tokens that it committed and the errors it met.
"""

import asyncio
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

PAUSE_SECONDS = 0.01
# The default time for which a server's driver waits for a lock.
SQLITE_TIMEOUT_SECONDS = 5.0
INSERT = (
    "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed)"
    " VALUES ({}, {}, {}, {}, {})"
)


def instants() -> list[datetime]:
    """When a new session was created, when it ends, and when it was used."""
    now = datetime.now(UTC)
    return [now, now + timedelta(hours=1), now]


def insert_until_input_ends(insert: Callable[[str], None]) -> dict[str, list[str]]:
    """Insert sessions, one at a time; return the tokens committed and the errors."""
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    done: dict[str, list[str]] = {"tokens": [], "errors": []}
    while not ended.is_set():
        token = f"writer-{len(done['tokens']) + len(done['errors'])}"
        try:
            insert(token)
        except (sqlite3.Error, asyncpg.PostgresError, OSError) as error:
            done["errors"].append(f"{type(error).__name__}: {error}")
        else:
            done["tokens"].append(token)
        time.sleep(PAUSE_SECONDS)
    return done


def into_sqlite(user_id: UUID, file: str) -> dict[str, list[str]]:
    """Insert as the server does into SQLite: one connection, a transaction each."""
    connection = sqlite3.connect(file, timeout=SQLITE_TIMEOUT_SECONDS)

    def insert(token: str) -> None:
        values = [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in instants()]
        with connection:
            connection.execute(INSERT.format(*"?????"), [token, user_id.hex, *values])

    try:
        return insert_until_input_ends(insert)
    finally:
        connection.close()


def into_postgresql(user_id: UUID, *where: str) -> dict[str, list[str]]:
    """Insert as the server does into PostgreSQL: one connection, a transaction each."""
    host, port, user, database = where
    query = INSERT.format("$1", "$2", "$3", "$4", "$5")
    with asyncio.Runner() as runner:
        connection = runner.run(
            asyncpg.connect(host=host, port=int(port), user=user, database=database)
        )
        try:
            return insert_until_input_ends(
                lambda token: runner.run(connection.execute(query, token, user_id, *instants()))
            )
        finally:
            runner.run(connection.close())


def main(user_id: str, *where: str) -> None:
    """Insert until the input ends; print what happened."""
    into = into_sqlite if len(where) == 1 else into_postgresql
    sys.stdout.write(json.dumps(into(UUID(user_id), *where)))


if __name__ == "__main__":
    main(*sys.argv[1:])
