"""The references of the commands, each a small process without the tool.

Run as ``python references.py NAME …`` with the SQLite file, or with host, port, user and
database of a PostgreSQL server.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

IDLE = timedelta(minutes=1440)
RETENTION = timedelta(days=30)
OLD_BATCH = 1000
OLD_SLEEP_SECONDS = 0.1
DEAD = "(expires_at <= {0} OR last_accessed < {1} OR created_at < {2})"
EXPIRED = "expires_at <= {0}"
IDLE_ONES = "expires_at > {0} AND last_accessed < {1}"
LIVE = "expires_at > {0} AND last_accessed >= {1}"
JOINED = 'access_token t JOIN "user" u ON u.id = t.user_id'
# One question each, as a first version of such a report would ask them.
COUNTS = (
    "SELECT count(*) FROM access_token",
    f"SELECT count(*) FROM access_token WHERE {EXPIRED}",
    f"SELECT count(*) FROM access_token WHERE {IDLE_ONES}",
    f"SELECT count(*) FROM {JOINED} WHERE u.is_active AND {LIVE}",
    f"SELECT count(*) FROM {JOINED} WHERE NOT u.is_active AND {LIVE}",
    "SELECT count(DISTINCT user_id) FROM access_token",
)
LINES = (
    "SELECT substr(token, 1, 8), user_id, email, CASE WHEN expires_at <= {0} THEN 'expired'"
    " WHEN last_accessed < {1} THEN 'idle' WHEN u.id IS NULL OR NOT is_active THEN 'blocked'"
    " ELSE 'active' END, created_at, expires_at, last_accessed, ip_address, user_agent"
    ' FROM access_token LEFT JOIN "user" u ON u.id = user_id ORDER BY created_at DESC, token'
)
FLAGS = "email, is_active, is_superuser, is_verified"
ROLE_NAMES = (
    "(SELECT user_id, group_concat(role_name) AS names FROM userroleslink GROUP BY user_id) r"
    " ON r.user_id = id"
)
ACCOUNTS = (
    f'SELECT id, {FLAGS}, names, live, used_at, login FROM "user" LEFT JOIN {ROLE_NAMES} LEFT JOIN'
    " (SELECT user_id, count(*) FILTER (WHERE expires_at > {0} AND last_accessed >= {1}) AS live,"
    " max(last_accessed) AS used_at, max(created_at) AS login FROM access_token"
    " GROUP BY user_id) s ON s.user_id = id"
    " ORDER BY email"
)
DECLARED = f'SELECT {FLAGS}, names FROM "user" LEFT JOIN {ROLE_NAMES} ORDER BY email'
FIELDS = (
    "id",
    "user_id",
    "email",
    "state",
    "created_at",
    "expires_at",
    "last_accessed",
    "ip_address",
    "user_agent",
)


def moments() -> list[datetime]:
    """Return the present time, and the limits for idle and for old sessions."""
    now = datetime.now(UTC)
    return [now, now - IDLE, now - RETENTION]


def with_marks(query: str) -> str:
    """Return a query with the placeholders of sqlite3."""
    return query.format("?1", "?2", "?3")


def used(query: str, values: list[Any]) -> list[Any]:
    """Return the values for the placeholders of a query: the first one or more, or none."""
    return values[: sum(f"{{{place}}}" in query for place in range(len(values)))]


def open_sqlite(file: str) -> sqlite3.Connection:
    """Open a file with all of SQLite's defaults."""
    return sqlite3.connect(file)


def texts() -> list[str]:
    """Return the timestamps as SQLite stores them."""
    return [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in moments()]


def delete_sqlite(file: str) -> None:
    """Delete all stale sessions by one statement."""
    with contextlib.closing(open_sqlite(file)) as connection, connection:
        connection.execute(with_marks(f"DELETE FROM access_token WHERE {DEAD}"), texts())


def old_sqlite(file: str) -> None:
    """Fetch 1000 keys, delete them, sleep, and repeat."""
    query = with_marks(f"SELECT token FROM access_token WHERE {DEAD} LIMIT {OLD_BATCH}")
    values = texts()
    with contextlib.closing(open_sqlite(file)) as connection:
        while tokens := connection.execute(query, values).fetchall():
            with connection:
                connection.executemany("DELETE FROM access_token WHERE token = ?", tokens)
            time.sleep(OLD_SLEEP_SECONDS)


def counts_sqlite(file: str) -> None:
    """Run the six counting queries."""
    values = texts()
    with contextlib.closing(open_sqlite(file)) as connection:
        for query in COUNTS:
            connection.execute(with_marks(query), used(query, values)).fetchone()


def lines_sqlite(file: str) -> None:
    """Write all sessions as JSON lines."""
    with contextlib.closing(open_sqlite(file)) as connection:
        for row in connection.execute(with_marks(LINES), used(LINES, texts())):
            values = list(row)
            user = values[1]
            values[1] = f"{user[:8]}-{user[8:12]}-{user[12:16]}-{user[16:20]}-{user[20:]}"
            for place in (4, 5, 6):
                # ISO 8601 as Python writes it: a whole second has no fraction.
                values[place] = values[place].replace(" ", "T").removesuffix(".000000") + "Z"
            line = json.dumps(dict(zip(FIELDS, values, strict=True)), ensure_ascii=False)
            sys.stdout.write(line + "\n")


def accounts_sqlite(file: str) -> None:
    """Write all accounts as JSON lines."""
    with contextlib.closing(open_sqlite(file)) as connection:
        for row in connection.execute(with_marks(ACCOUNTS), used(ACCOUNTS, texts())):
            user, email, active, superuser, verified, names, live, used_at, login = row
            account = {
                "id": f"{user[:8]}-{user[8:12]}-{user[12:16]}-{user[16:20]}-{user[20:]}",
                "email": email,
                "is_active": bool(active),
                "is_superuser": bool(superuser),
                "is_verified": bool(verified),
                "roles": sorted(names.split(",")) if names else [],
                "sessions": live or 0,
                "last_accessed": used_at and used_at.replace(" ", "T") + "Z",
                "last_login": login and login.replace(" ", "T") + "Z",
            }
            sys.stdout.write(json.dumps(account, ensure_ascii=False) + "\n")


def declared_sqlite(file: str) -> None:
    """Write all accounts as JSON lines, as a file declares them."""
    with contextlib.closing(open_sqlite(file)) as connection:
        for email, active, superuser, verified, names in connection.execute(DECLARED):
            account = {
                "email": email,
                "is_active": bool(active),
                "is_superuser": bool(superuser),
                "is_verified": bool(verified),
                "roles": sorted(names.split(",")) if names else [],
            }
            sys.stdout.write(json.dumps(account, ensure_ascii=False) + "\n")


def vacuum_sqlite(file: str) -> None:
    """Write a copy by VACUUM INTO, and remove it."""
    copy = f"{file}.copy"
    with contextlib.closing(open_sqlite(file)) as connection:
        connection.execute("VACUUM INTO ?", [copy])
    os.unlink(copy)  # noqa: PTH108 - pathlib would cost memory


def integrity_sqlite(file: str) -> None:
    """Run SQLite's integrity check."""
    with contextlib.closing(open_sqlite(file)) as connection:
        connection.execute("PRAGMA integrity_check").fetchall()


async def connect(where: tuple[str, ...]) -> Any:
    """Connect to PostgreSQL."""
    import asyncpg

    host, port, user, database = where
    return await asyncpg.connect(host=host, port=int(port), user=user, database=database)


def for_postgresql(query: str) -> str:
    """Return a query for asyncpg."""
    return query.format("$1::timestamptz", "$2::timestamptz", "$3::timestamptz")


async def delete_postgresql(*where: str) -> None:
    """Delete all stale sessions by one statement."""
    connection = await connect(where)
    query = for_postgresql(f"DELETE FROM access_token WHERE {DEAD}")
    await connection.execute(query, *moments())
    await connection.close()


async def old_postgresql(*where: str) -> None:
    """Fetch 1000 keys, delete them, sleep, and repeat."""
    connection = await connect(where)
    query = for_postgresql(f"SELECT token FROM access_token WHERE {DEAD} LIMIT {OLD_BATCH}")
    values = moments()
    while found := await connection.fetch(query, *values):
        tokens = [row[0] for row in found]
        await connection.execute("DELETE FROM access_token WHERE token = ANY($1)", tokens)
        await asyncio.sleep(OLD_SLEEP_SECONDS)
    await connection.close()


async def counts_postgresql(*where: str) -> None:
    """Run the six counting queries."""
    connection = await connect(where)
    values = moments()
    for query in COUNTS:
        await connection.fetch(for_postgresql(query), *used(query, values))
    await connection.close()


def hashes(number: str) -> None:
    """Compute argon2 hashes with the parameters of the settings, one per core at a time."""
    from concurrent.futures import ThreadPoolExecutor

    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)
    passwords = [f"a password to be hashed, number {n}" for n in range(int(number))]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(hasher.hash, passwords))


ONE: dict[str, Callable[[str], None]] = {
    "delete": delete_sqlite,
    "old": old_sqlite,
    "counts": counts_sqlite,
    "integrity": integrity_sqlite,
    "lines": lines_sqlite,
    "accounts": accounts_sqlite,
    "declared": declared_sqlite,
    "hashes": hashes,
    "vacuum": vacuum_sqlite,
}
SERVER = {"delete": delete_postgresql, "old": old_postgresql, "counts": counts_postgresql}


def main(name: str, *where: str) -> None:
    """Run one of them."""
    if len(where) == 1:
        ONE[name](where[0])
    else:
        asyncio.run(SERVER[name](*where))


if __name__ == "__main__":
    main(*sys.argv[1:])
