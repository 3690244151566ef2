"""The expected results, computed in plain Python from raw rows and the server's rules."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Optional, TypeVar
from uuid import UUID, uuid4

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.results import SessionStats
from clarinet_cli.utils.database import get_async_session
from tests.patience import PATIENCE_SECONDS
from tests.support import Project

SERVER_HASHER = PasswordHash((Argon2Hasher(), BcryptHasher()))  # as fastapi-users builds it
IDLE_LIMIT = timedelta(minutes=60)  # the default of session_idle_timeout_minutes
BUCKETS = {"under_1h": 1, "under_1d": 24, "under_7d": 7 * 24, "under_30d": 30 * 24}  # hours
Snapshot = dict[str, list[str]]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class RawSession:
    """A row of ``access_token`` and the state of its user."""

    token: str
    user_id: UUID
    created_at: datetime
    expires_at: datetime
    last_accessed: datetime
    ip_address: Optional[str]
    user_agent: Optional[str]
    user_is_active: bool

    @property
    def id(self) -> str:
        """The public part of the token."""
        return self.token[:8]

    def state(self, now: datetime, idle: Optional[timedelta] = IDLE_LIMIT) -> str:
        """The rules of the server, in their order."""
        if not self.expires_at > now:
            return "expired"
        if idle is not None and not now - self.last_accessed <= idle:
            return "idle"
        return "active" if self.user_is_active else "blocked"

    def is_stale(
        self,
        now: datetime,
        *,
        idle: Optional[timedelta] = IDLE_LIMIT,
        expired_only: bool = False,
        older_than: Optional[timedelta] = None,
    ) -> bool:
        """Whether a clean-up removes it."""
        states = {"expired"} if expired_only else {"expired", "idle"}
        old = older_than is not None and now - self.created_at > older_than
        return self.state(now, idle) in states or old


def apart(work: Callable[[], ResultT]) -> ResultT:
    """Run *work* in a thread, also from inside a running event loop, and wait for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def rows(project: Project, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Query or change the database without the tool, from any test."""
    return apart(lambda: project.rows(query, *arguments))


def count(project: Project, table: str = "access_token") -> int:
    """Return the number of rows of a table."""
    return int(rows(project, f'SELECT count(*) FROM "{table}"')[0][0])


def tokens(project: Project) -> set[str]:
    """Return all tokens in the database."""
    return {row[0] for row in rows(project, "SELECT token FROM access_token")}


def raw_sessions(project: Project) -> list[RawSession]:
    """Return every session, newest first."""
    found = rows(
        project,
        "SELECT t.token, t.user_id, t.created_at, t.expires_at, t.last_accessed, t.ip_address,"
        ' t.user_agent, u.is_active FROM access_token t LEFT JOIN "user" u ON u.id = t.user_id',
    )
    sessions = [
        RawSession(
            token=row[0],
            user_id=_uuid(row[1]),
            created_at=_instant(row[2]),
            expires_at=_instant(row[3]),
            last_accessed=_instant(row[4]),
            ip_address=row[5],
            user_agent=row[6],
            user_is_active=bool(row[7]),
        )
        for row in found
    ]
    return sorted(sessions, key=lambda item: (-item.created_at.timestamp(), item.token))


def sessions_of(project: Project, email: str) -> list[RawSession]:
    """Return one user's sessions, newest first."""
    user_id = user_id_of(project, email)
    return [item for item in raw_sessions(project) if item.user_id == user_id]


def user_id_of(project: Project, email: str) -> UUID:
    """Return the id of the account with exactly this address."""
    return _uuid(rows(project, 'SELECT id FROM "user" WHERE email = ?', email)[0][0])


def account(project: Project, email: str) -> tuple[bool, bool, bool, str]:
    """Return active, superuser, verified and the hash of the account with this address."""
    query = 'SELECT is_active, is_superuser, is_verified, hashed_password FROM "user"'
    found = rows(project, f"{query} WHERE email = ?", email)
    assert len(found) == 1, found
    return bool(found[0][0]), bool(found[0][1]), bool(found[0][2]), str(found[0][3])


def hash_of(project: Project, email: str) -> str:
    """Return the hash of the account with this address."""
    return account(project, email)[3]


def roles_of(project: Project, email: str) -> set[str]:
    """Return the roles of the account with this address."""
    query = (
        'SELECT l.role_name FROM userroleslink l JOIN "user" u ON u.id = l.user_id'
        " WHERE u.email = ?"
    )
    return {row[0] for row in rows(project, query, email)}


def remove_accounts(project: Project) -> None:
    """Remove all accounts, but not the schema and the roles."""
    for table in ("access_token", "userroleslink", "user"):
        rows(project, f'DELETE FROM "{table}"')


def deactivate(project: Project, email: str) -> None:
    """Make an account inactive without the tool."""
    rows(project, 'UPDATE "user" SET is_active = (1 = 0) WHERE email = ?', email)


def add_user(project: Project, email: str, **options: Any) -> UUID:
    """Insert an account without the tool, from any test."""
    return apart(lambda: project.add_user(email, **options))


def add_session(project: Project, user_id: UUID, **options: Any) -> str:
    """Insert a session without the tool, from any test."""
    return apart(lambda: project.add_session(user_id, **options))


def add_orphan_session(project: Project, now: datetime) -> str:
    """Insert a live session whose user does not exist; PostgreSQL would refuse it."""
    return add_session(project, uuid4(), now=now)


def add_sessions(
    project: Project, user_id: UUID, number: int, *, now: datetime, dead: bool
) -> None:
    """Insert sessions that are all live, or all expired, at *now*, in one statement."""
    expires = now + timedelta(hours=-1 if dead else 1)
    used = now - timedelta(minutes=1)
    values: list[Any] = []
    for _ in range(number):
        values += [str(uuid4()), user_id, now - timedelta(hours=2), expires, used, None, None]
    insert_sessions(project, values)


def insert_sessions(project: Project, values: list[Any]) -> None:
    """Insert rows of ``access_token`` without the tool, seven values each."""
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * (len(values) // 7))
    columns = "token, user_id, created_at, expires_at, last_accessed, user_agent, ip_address"
    rows(project, f"INSERT INTO access_token ({columns}) VALUES {places}", *values)


def snapshot(project: Project) -> Snapshot:
    """Return every row of every table, also of other programs' tables."""
    return apart(lambda: _snapshot(project))


def without(taken: Snapshot, *tables: str) -> Snapshot:
    """Return a snapshot without some tables."""
    return {name: found for name, found in taken.items() if name not in tables}


def forbid_deleting_sessions(project: Project) -> None:
    """Make the database refuse every DELETE on ``access_token``."""
    if project.server is None:
        rows(
            project,
            "CREATE TRIGGER refuse BEFORE DELETE ON access_token"
            " BEGIN SELECT RAISE(ABORT, 'no deletes today'); END",
        )
        return
    rows(
        project,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no deletes today'; END $$",
    )
    rows(
        project,
        "CREATE TRIGGER refuse BEFORE DELETE ON access_token"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
    )


@contextmanager
def selects(session: AsyncSession) -> Iterator[list[str]]:
    """Collect the queries that a session sends inside the block.

    What a PostgreSQL transaction begins with is none: it sets its limits by a SELECT.
    """
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        statement = arguments[2].lstrip()
        limits = statement.startswith("SELECT set_config('lock_timeout'")
        if statement.upper().startswith(("SELECT", "WITH")) and not limits:
            seen.append(arguments[2])

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@asynccontextmanager
async def writing(project: Project, *, dry_run: bool = False) -> AsyncIterator[AsyncSession]:
    """Open the tool's session on a project's database, for reading and writing."""
    async with get_async_session(project.settings, access=Access.WRITE, dry_run=dry_run) as opened:
        yield opened


@asynccontextmanager
async def held_transaction(
    project: Project, query: str, *arguments: Any
) -> AsyncIterator[Callable[[], None]]:
    """Run a statement without the tool, in a transaction that stays open.

    Yields:
        What commits it.
    """
    if project.server is not None:
        for number in range(len(arguments)):
            query = query.replace("?", f"${number + 1}", 1)
    started, finish = asyncio.Event(), asyncio.Event()
    work = _hold_postgresql if project.server is not None else _hold_sqlite
    task = asyncio.create_task(work(project, query, arguments, started, finish))
    try:
        await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
        yield finish.set
    finally:
        finish.set()
        await task


async def _hold_sqlite(
    project: Project,
    query: str,
    arguments: tuple[Any, ...],
    started: asyncio.Event,
    finish: asyncio.Event,
) -> None:
    texts = [
        item.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        if isinstance(item, datetime)
        else item
        for item in arguments
    ]
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(query, texts)
        started.set()
        await finish.wait()
        connection.execute("COMMIT")


async def _hold_postgresql(
    project: Project,
    query: str,
    arguments: tuple[Any, ...],
    started: asyncio.Event,
    finish: asyncio.Event,
) -> None:
    assert project.server is not None
    connection = await project.server.connect(project.database)
    try:
        async with connection.transaction():
            await connection.execute(query, *arguments)
            started.set()
            await finish.wait()
    finally:
        await connection.close()


def by_state(sessions: Iterable[RawSession], now: datetime) -> dict[str, int]:
    """Count sessions by state."""
    numbers = {"active": 0, "idle": 0, "expired": 0, "blocked": 0}
    for item in sessions:
        numbers[item.state(now)] += 1
    return numbers


def by_age(sessions: Iterable[RawSession], now: datetime) -> dict[str, int]:
    """Count sessions by the time since they were created."""
    numbers = {**dict.fromkeys(BUCKETS, 0), "older": 0}
    for item in sessions:
        age = now - item.created_at
        fits = (name for name, hours in BUCKETS.items() if age < timedelta(hours=hours))
        numbers[next(fits, "older")] += 1
    return numbers


def stats(sessions: list[RawSession], now: datetime) -> SessionStats:
    """Count sessions one by one, with lifetimes to a hundredth of a second."""
    lives = [(item.expires_at - item.created_at).total_seconds() for item in sessions]
    return SessionStats(
        total=len(sessions),
        **by_state(sessions, now),
        users=len({item.user_id for item in sessions}),
        average_life_seconds=round(sum(lives) / len(lives), 2),
        longest_life_seconds=round(max(lives), 2),
        next_expiry=min(item.expires_at for item in sessions if item.expires_at > now),
        age=by_age(sessions, now),
    )


def rounded(found: SessionStats) -> SessionStats:
    """Return numbers with lifetimes to a hundredth of a second, which SQLite can represent."""
    assert found.average_life_seconds is not None
    assert found.longest_life_seconds is not None
    return replace(
        found,
        average_life_seconds=round(found.average_life_seconds, 2),
        longest_life_seconds=round(found.longest_life_seconds, 2),
    )


def _uuid(value: Any) -> UUID:
    # asyncpg gives a subclass of UUID, SQLite the hexadecimal digits.
    return UUID(str(value))


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.strptime(value, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def _snapshot(project: Project) -> Snapshot:
    if project.server is not None:
        return asyncio.run(_postgresql_snapshot(project))
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall()))
            for (name,) in names
        }


async def _postgresql_snapshot(project: Project) -> Snapshot:
    assert project.server is not None
    connection = await project.server.connect(project.database)
    try:
        found = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        return {
            name: sorted(map(repr, await connection.fetch(f'SELECT * FROM "{name}"')))
            for (name,) in found
        }
    finally:
        await connection.close()
