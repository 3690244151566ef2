"""The measured sessions: their number and order, stale and live ones."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from tests.support import Project

USERS = 1000
INACTIVE_EVERY = 50
# A day instead of an hour, so that no session goes idle while a long run lasts.
IDLE_MINUTES = 1440
RETENTION_DAYS = 30
SETTINGS = (
    f"session_idle_timeout_minutes = {IDLE_MINUTES}\n"
    f"session_cleanup_retention_days = {RETENTION_DAYS}\n"
)
COLUMNS = (
    "token",
    "user_id",
    "created_at",
    "expires_at",
    "last_accessed",
    "user_agent",
    "ip_address",
)
AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:1{n}.0) Gecko/20100101 Firefox/1{n}.0 benchmark/{n}"
    for n in range(10, 40)
]


class Layout(StrEnum):
    """The position of the stale rows, and the order of the keys.

    INTERLEAVED: dead and live in turn, random keys. CHRONOLOGICAL: the older half is dead,
    random keys, as a server leaves them. SORTED: the same with keys in the order of creation.
    """

    INTERLEAVED = "interleaved"
    CHRONOLOGICAL = "chronological"
    SORTED = "sorted"


class Row(NamedTuple):
    """One session."""

    token: str
    user_id: UUID
    created_at: datetime
    expires_at: datetime
    last_accessed: datetime
    user_agent: str
    ip_address: str


def user_id(number: int) -> UUID:
    """Return the id of a user; the same in every run."""
    return UUID(int=0xC1A0 << 64 | number)


def rows(number: int, layout: Layout, now: datetime) -> Iterator[Row]:
    """Yield sessions, half of them stale: 16 of 20 expired, 3 idle, 1 older than 30 days."""
    dice = random.Random(number)  # noqa: S311 - the same rows in every run
    half = (number + 1) // 2
    for index in range(number):
        if layout is Layout.INTERLEAVED:
            dead, place, age = index % 2 == 0, index // 2, dice.random()
        else:
            dead, place = index < half, index % half
            age = 1 - place / half
        bits = index << 32 if layout is Layout.SORTED else dice.getrandbits(128)
        token = str(UUID(int=bits))
        times = _dead(place % 20, age, now) if dead else _live(age, dice.random(), now)
        owner = user_id(int(dice.random() * USERS))
        yield Row(token, owner, *times, AGENTS[index % len(AGENTS)], f"10.0.0.{index % 250}")


def _dead(kind: int, age: float, now: datetime) -> tuple[datetime, datetime, datetime]:
    created = now - timedelta(days=2 + 18 * age)
    if kind < 16:
        return created, created + timedelta(days=1), created + timedelta(hours=1)
    if kind < 19:
        return created, now + timedelta(hours=12), now - timedelta(days=1, hours=12 * age + 1)
    old = now - timedelta(days=RETENTION_DAYS + 1 + age)
    return old, now + timedelta(hours=12), now - timedelta(minutes=5)


def _live(age: float, rest: float, now: datetime) -> tuple[datetime, datetime, datetime]:
    created = now - timedelta(hours=23 * age)
    return created, now + timedelta(hours=6 + 18 * rest), now - timedelta(minutes=10 * rest)


def number_of_stale(number: int) -> int:
    """Return how many of *number* sessions a clean-up has to remove."""
    return (number + 1) // 2


def fill(project: "Project", number: int, layout: Layout) -> None:
    """Insert users and sessions into an initialised database."""
    if project.server is None:
        _fill_sqlite(project, number, layout)
    else:
        asyncio.run(_fill_postgresql(project, number, layout))


def sqlite_text(moment: datetime) -> str:
    """Return a timestamp as the server stores it in SQLite."""
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _fill_sqlite(project: "Project", number: int, layout: Layout) -> None:
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        for pragma in ("synchronous=OFF", "cache_size=-1000000", "journal_mode=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executemany(
            'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)'
            " VALUES (?, ?, '!', ?, 0, 1)",
            [(item.hex, email, active) for item, email, active in _users()],
        )
        connection.executemany(
            f"INSERT INTO access_token ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (row[0], row[1].hex, *(sqlite_text(moment) for moment in row[2:5]), *row[5:])
                for row in rows(number, layout, datetime.now(UTC))
            ),
        )
        connection.commit()
        connection.execute("PRAGMA journal_mode=DELETE")


def fill_accounts(project: "Project", number: int) -> None:
    """Insert accounts into a SQLite database, every third with a role, every tenth logged in."""
    now = datetime.now(UTC)
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        connection.executemany(
            'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)'
            " VALUES (?, ?, '!', 1, 0, 1)",
            ((user_id(item).hex, f"user{item:07}@example.org") for item in range(number)),
        )
        connection.executemany(
            "INSERT INTO userroleslink (user_id, role_name) VALUES (?, 'doctor')",
            ((user_id(item).hex,) for item in range(0, number, 3)),
        )
        connection.executemany(
            f"INSERT INTO access_token ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    str(UUID(int=item)),
                    user_id(item).hex,
                    *map(sqlite_text, (now, now + timedelta(days=1), now)),
                    AGENTS[0],
                    "10.0.0.1",
                )
                for item in range(0, number, 10)
            ),
        )
        connection.commit()


async def _fill_postgresql(project: "Project", number: int, layout: Layout) -> None:
    assert project.server is not None
    connection = await project.server.connect(project.database)
    try:
        names = ["id", "email", "is_active", "hashed_password", "is_superuser", "is_verified"]
        users = [(*user, "!", False, True) for user in _users()]
        await connection.copy_records_to_table("user", records=users, columns=names)
        sessions = rows(number, layout, datetime.now(UTC))
        await connection.copy_records_to_table(
            "access_token", records=sessions, columns=list(COLUMNS)
        )
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _users() -> list[tuple[UUID, str, bool]]:
    return [
        (user_id(number), f"user{number}@example.org", number % INACTIVE_EVERY != 0)
        for number in range(USERS)
    ]
