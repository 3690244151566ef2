"""Helpers that run the tool and query the rows afterwards."""

import contextlib
import contextvars
import functools
import io
import json
import os
import sqlite3
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch
from uuid import UUID, uuid4

import typer

from clarinet_cli.cli.main import run_command_line
from clarinet_cli.settings import Settings, load_settings
from tests import forked
from tests.postgres import PostgresServer

# The instant of the two fixture databases.
FIXTURE_NOW = datetime(2026, 11, 22, 18, 32, tzinfo=UTC)
PASSWORD = "correct horse battery"
# Has the form of a hash, of no password that is known: an account with it counts as one that
# can log in.
SOME_HASH = "$2b$04$" + "." * 53
FIXTURE_PASSWORD = "fixture-pass-1"  # of every fixture user but the superuser
# Hashing as cheap as the OWASP minimum allows: the tests make many hashes.
CHEAP_ARGON2 = "argon2_time_cost = 5\nargon2_memory_cost = 7168\nargon2_parallelism = 1\n"
# A process builds its commands once. So does this one, for all command lines that run in it:
# building them is a fifth of what a short command takes.
GET_COMMAND = functools.cache(typer.main.get_command)
GET_GROUP = functools.cache(typer.main.get_group)
# Of the interpreter: Loguru asks for 36 of them when a command sets up its log.
GET_PATH = functools.cache(sysconfig.get_path)


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.stdout)


@dataclass
class Project:
    """A project directory with a database on one backend."""

    directory: Path
    backend: str
    database: str
    server: Optional[PostgresServer] = None
    environment: dict[str, str] = field(default_factory=dict)

    def write_settings(self, extra: str = "") -> None:
        """Write ``settings.toml``: the database, cheap hashing, and *extra*."""
        (self.directory / "settings.toml").write_text(
            self.database_settings + CHEAP_ARGON2 + extra, encoding="utf-8"
        )

    @property
    def database_settings(self) -> str:
        """The lines that name the database."""
        if self.server is None:
            return f'database_driver = "sqlite"\ndatabase_name = "{self.database}"\n'
        return (
            'database_driver = "postgresql+asyncpg"\n'
            f'database_host = "{self.server.host}"\n'
            f"database_port = {self.server.port}\n"
            f'database_username = "{self.server.user}"\n'
            f'database_password = "{self.server.password or ""}"\n'
            f'database_name = "{self.database}"\n'
        )

    @property
    def settings(self) -> Settings:
        """The settings as the tool reads them."""
        return load_settings(self.directory)

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return self.directory / f"{self.database}.db"

    def run(
        self, *arguments: str, stdin: str | bytes = b"", env: Optional[Mapping[str, str]] = None
    ) -> Result:
        """Run a command in this process, standard input not a terminal.

        The project is named by the variable: commands that hints advise don't repeat it.
        """
        named = {"CLARINET_PROJECT": str(self.directory)}
        return run_in_process(
            list(arguments), stdin=stdin, env={**named, **self.environment, **(env or {})}
        )

    def json(self, *arguments: str, **options: Any) -> Any:
        """Run a command that must succeed and return its data."""
        result = self.run(*arguments, "-o", "json", **options)
        assert result.code == 0, result
        return result.json

    def words(self, *arguments: str) -> list[str]:
        """Return the words of a command line, without the program; see ``tests.forked``."""
        return ["-C", str(self.directory), *arguments]

    def process(self, *arguments: str) -> list[str]:
        """Return the command line of an interpreter of its own; see ``process_environment``."""
        return [sys.executable, "-m", "clarinet_cli", *self.words(*arguments)]

    def run_process(
        self, *arguments: str, stdin: str = "", redirections: str = "", timeout: float = 120
    ) -> Result:
        """Run a command in a process of its own, optionally redirected as by a shell."""
        with forked.redirected(redirections) as streams:
            done = forked.run(
                self.words(*arguments),
                content=stdin.encode(),
                env=process_environment(self.environment),
                timeout=timeout,
                stdin=streams.get("stdin", forked.PIPE),
                stdout=streams.get("stdout", forked.PIPE),
                stderr=streams.get("stderr", forked.PIPE),
            )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Query or change the database without the tool; ``?`` marks an argument."""
        if self.server is not None:
            for number in range(len(arguments)):
                query = query.replace("?", f"${number + 1}", 1)
            return self.server.rows(self.database, query, *arguments)
        with contextlib.closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(query, [_sqlite_value(item) for item in arguments]).fetchall()

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return int(self.rows(f'SELECT count(*) FROM "{table}"')[0][0])

    def add_user(
        self,
        email: str,
        *,
        active: bool = True,
        superuser: bool = False,
        hashed_password: str = SOME_HASH,
    ) -> UUID:
        """Insert an account without the tool."""
        user_id = uuid4()
        self.rows(
            'INSERT INTO "user" (email, hashed_password, is_active, is_superuser, is_verified, id)'
            " VALUES (?, ?, ?, ?, ?, ?)",
            email,
            hashed_password,
            active,
            superuser,
            superuser,
            user_id,
        )
        return user_id

    def add_session(
        self,
        user_id: UUID,
        *,
        now: Optional[datetime] = None,
        token: Optional[str] = None,
        created: timedelta = timedelta(minutes=10),
        expires: timedelta = timedelta(hours=1),
        used: timedelta = timedelta(minutes=1),
        user_agent: Optional[str] = "curl/8",
        ip_address: Optional[str] = "127.0.0.1",
    ) -> str:
        """Insert a session without the tool: created and used ago, expiring in the future."""
        now = now or datetime.now(UTC)
        token = token or str(uuid4())
        self.rows(
            "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed,"
            " user_agent, ip_address) VALUES (?, ?, ?, ?, ?, ?, ?)",
            token,
            user_id,
            now - created,
            now + expires,
            now - used,
            user_agent,
            ip_address,
        )
        return token

    def tokens(self) -> set[str]:
        """Return all tokens in the database."""
        return {row[0] for row in self.rows("SELECT token FROM access_token")}


def run_in_process(
    words: list[str], *, stdin: str | bytes = b"", env: Optional[Mapping[str, str]] = None
) -> Result:
    """Run the command line in this process and return its result."""
    code, stdout, stderr = run_in_encoding(words, "utf-8", stdin=stdin, env=env)
    return Result(code, stdout.decode(), stderr.decode())


def run_in_encoding(
    words: list[str],
    encoding: str,
    *,
    stdin: str | bytes = b"",
    env: Optional[Mapping[str, str]] = None,
) -> tuple[int, bytes, bytes]:
    """Run the command line in this process with streams as another locale has them."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    streams = [
        io.TextIOWrapper(io.BytesIO(data), encoding, newline="") for data in (content, b"", b"")
    ]
    with _built_once(), replaced_environment(env or {}), _replaced_streams(*streams):
        code = contextvars.copy_context().run(run_command_line, words)
        for stream in streams[1:]:
            stream.flush()
    stdout, stderr = (stream.buffer.getvalue() for stream in streams[1:])
    return code, stdout, stderr


def process_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process: this one's without the tool's variables."""
    return process_environment_of(dict(os.environ), extra)


@contextlib.contextmanager
def replaced_environment(extra: Mapping[str, str]) -> Iterator[None]:
    """Run a block with the tool's variables removed and *extra* set."""
    before = dict(os.environ)
    _change_environment(before, process_environment_of(before, extra))
    try:
        yield
    finally:
        _change_environment(dict(os.environ), before)


def _change_environment(present: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Change only the differences: setting all variables would take 5 % of a command."""
    for name in present.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if present.get(name) != value:
            os.environ[name] = value


def process_environment_of(before: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return *before* without the tool's variables, and with *extra*.

    Nobody logs in while a test changes an account: it does not wait for that.
    """
    clean = {name: value for name, value in before.items() if not _concerns_tool(name)}
    return {**clean, "CLARINET_SETTLE": "0", **extra}


def _concerns_tool(name: str) -> bool:
    return name.startswith("CLARINET_") or name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}


@contextlib.contextmanager
def _built_once() -> Iterator[None]:
    with (
        patch.object(typer.main, "get_command", GET_COMMAND),
        patch.object(typer.main, "get_group", GET_GROUP),
        patch.object(sysconfig, "get_path", GET_PATH),
    ):
        yield


@contextlib.contextmanager
def _replaced_streams(*streams: Any) -> Iterator[None]:
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def _sqlite_value(value: Any) -> Any:
    """Return a value as the server stores it in SQLite."""
    match value:
        case UUID():
            return value.hex
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        case _:
            return value
