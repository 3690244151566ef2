"""The databases of other applications: their schemas, and rows in them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Optional
from uuid import UUID, uuid4

from tests.postgres import PostgresServer
from tests.support import Project

SCHEMAS = Path(__file__).parents[1] / "fixtures" / "applications"
NAMES = tuple(sorted(path.stem for path in SCHEMAS.glob("*.sql")))
ANSWERS = {
    "CLARINET_SESSION_STRATEGY": "database",
    "CLARINET_SESSION_LIFETIME_SECONDS": "3600",
}
MAPPINGS: dict[str, str] = {}  # what 'db inspect --write' adds for each schema, once it has run


@contextmanager
def application(name: str, directory: Path, postgres: PostgresServer) -> Iterator[Project]:
    """Yield a project whose database has the schema of an application."""
    schema = (SCHEMAS / f"{name}.sql").read_text("utf-8")
    with database(schema, directory, None if name.endswith("sqlite") else postgres) as project:
        yield project


@contextmanager
def database(
    schema: str, directory: Path, postgres: Optional[PostgresServer] = None
) -> Iterator[Project]:
    """Yield a project whose database a script has filled; SQLite without a server."""
    name = "app" if postgres is None else f"app_{uuid4().hex}"
    directory.mkdir()
    backend = "sqlite" if postgres is None else "postgresql"
    project = Project(directory, backend, name, postgres)
    project.write_settings()
    if postgres is None:
        with contextlib.closing(sqlite3.connect(project.file)) as connection:
            connection.executescript(schema)
    else:
        postgres.create(name)
        asyncio.run(_execute(postgres, name, schema))
    try:
        yield project
    finally:
        if postgres is not None:
            postgres.drop(name)


def mapped(project: Project, **answers: str) -> None:
    """Have ``db inspect`` write the mapping."""
    result = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS | answers)
    assert result.code == 0, result


async def _execute(postgres: PostgresServer, database: str, script: str) -> Any:
    connection = await postgres.connect(database)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


@dataclass(frozen=True)
class Layout:
    """How an application's tables differ from those of the documentation.

    Attributes:
        users: The table of accounts, quoted.
        tokens: The table of sessions.
        created: The column with the time of a log-in.
        ids: ``uuid``, ``dashed`` or ``integer``.
        username: Whether accounts have a user name.
        further: Another column of an account with its value.
    """

    users: str = '"user"'
    tokens: str = "accesstoken"
    created: str = "created_at"
    ids: str = "uuid"
    username: bool = False
    further: str = ""


LAYOUTS = {
    "official-pg": Layout(),
    "official-sqlite": Layout(ids="dashed"),
    "same-names-dashed-sqlite": Layout(tokens="access_token", ids="dashed"),
    "created-on-sqlite": Layout(
        created="created_on", ids="dashed", username=True, further="created_on"
    ),
    "plural-int-pg": Layout("users", "access_tokens", ids="integer"),
    "plural-int-username-pg": Layout("users", "access_tokens", ids="integer", username=True),
    "schema-qualified-pg": Layout("shop.users", "shop.access_tokens"),
    "composite-pk-jwt-pg": Layout("users", "user_access_tokens", ids="integer"),
}
SESSION_NAMES = tuple(name for name in NAMES if "jwt" not in name)
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"


@dataclass
class Application:
    """An application's database with rows in it.

    Attributes:
        project: The project, whose mapping is written.
        layout: The names of its tables.
        ids: The ids of its accounts by address, as they are stored.
    """

    project: Project
    layout: Layout
    ids: dict[str, Any]

    def users(self) -> dict[str, tuple[Any, ...]]:
        """Return id, hash and flags of each account by its address."""
        rows = self.project.rows(
            "SELECT email, id, hashed_password, is_active, is_superuser, is_verified"
            f" FROM {self.layout.users}"
        )
        return {
            email: (_id(key), hashed, bool(active), bool(superuser), bool(verified))
            for email, key, hashed, active, superuser, verified in rows
        }

    def tokens(self) -> set[str]:
        """Return all tokens."""
        return {row[0] for row in self.project.rows(f"SELECT token FROM {self.layout.tokens}")}

    def add_user(self, email: str, *, active: bool = True, superuser: bool = False) -> None:
        """Insert an account without the tool."""
        layout, key = self.layout, str(uuid4())
        columns = ["email", "hashed_password", "is_active", "is_superuser", "is_verified"]
        values: list[Any] = [email, HASH, active, superuser, True]
        if layout.ids != "integer":
            columns.append("id")
            values.append(key if layout.ids == "dashed" else UUID(key))
        if layout.username:
            columns.append("username")
            values.append(email.partition("@")[0])
        if layout.further:
            columns.append(layout.further)
            values.append(_instant(datetime.now(UTC), self.project))
        places = ", ".join("?" * len(values))
        query = f"INSERT INTO {layout.users} ({', '.join(columns)}) VALUES ({places}) RETURNING id"
        self.ids[email] = self.project.rows(query, *values)[0][0]

    def add_session(self, email: str, token: str, age: timedelta) -> None:
        """Insert a session without the tool, created so long ago."""
        query = (
            f"INSERT INTO {self.layout.tokens} (token, user_id, {self.layout.created})"
            " VALUES (?, ?, ?)"
        )
        instant = _instant(datetime.now(UTC) - age, self.project)
        self.project.rows(query, token, self.ids[email], instant)

    def add_sessions(self, email: str, number: int, age: timedelta) -> None:
        """Insert many sessions without the tool."""
        instant = _instant(datetime.now(UTC) - age, self.project)
        kind = "numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        cast = ("CAST(? AS integer)", "CAST(? AS char(36))")[self.layout.ids != "integer"]
        cast = "CAST(? AS uuid)" if self.layout.ids == "uuid" else cast
        moment = "?" if self.project.server is None else "CAST(? AS timestamptz)"
        query = (
            f"WITH RECURSIVE {kind} INSERT INTO {self.layout.tokens}"
            f" (token, user_id, {self.layout.created})"
            f" SELECT 'many-' || CAST(n AS varchar), {cast}, {moment} FROM numbers"
        )
        self.project.rows(query, number, self.ids[email], instant)


def populated(project: Project, name: str) -> Application:
    """Add a superuser with two live sessions and a stale one, two accounts, and the mapping."""
    file = project.directory / "settings.toml"
    before = file.read_text("utf-8")
    if name not in MAPPINGS:
        mapped(project)
        MAPPINGS[name] = file.read_text("utf-8").removeprefix(before)
    file.write_text(before + MAPPINGS[name], "utf-8")
    return fill(Application(project, LAYOUTS[name], {}), sessions=name in SESSION_NAMES)


def fill(found: Application, *, sessions: bool = True) -> Application:
    """Add a superuser with two live sessions and a stale one, and two accounts."""
    found.add_user(ADA, superuser=True)
    found.add_user(BOB)
    found.add_user(EVE, active=False)
    if sessions:
        minute = timedelta(minutes=1)
        found.add_session(ADA, token_of("ada-live-1"), minute)
        found.add_session(ADA, token_of("ada-live-2"), 30 * minute)
        found.add_session(ADA, token_of("ada-dead-1"), 61 * minute)
        found.add_session(BOB, token_of("bob-live-1"), 59 * minute)
        found.add_session(EVE, token_of("eve-live-1"), minute)
    return found


def token_of(start: str) -> str:
    """Return a token of fastapi-users' length."""
    return f"{start}{'x' * (43 - len(start))}"


def _instant(instant: datetime, project: Project) -> Any:
    if project.server is not None:
        return instant
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds")


def _id(stored: Any) -> str:
    return str(stored)
