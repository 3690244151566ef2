"""Helpers of the command-line tests: the commands, and queries of all that is stored."""

import asyncio
import contextlib
import importlib
import re
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional
from uuid import UUID

import asyncpg
import typer
from typer import core

from clarinet_cli.cli.app import app
from clarinet_cli.cli.commands import GROUPS
from clarinet_cli.services.locks import Job, job_lock
from tests.patience import PATIENCE_SECONDS
from tests.postgres import PostgresServer
from tests.support import Project, Result

ADMIN = "admin@clarinet.ru"
ADA = "ada@example.org"
FORMATS = ("table", "json", "jsonl", "csv", "plain")
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 75, 78, 129, 130, 131, 143}
CLARINET_TABLES = ("user", "userrole", "userroleslink", "access_token")

Dump = Optional[dict[str, list[str]]]


def all_commands() -> dict[str, Any]:
    """Return every command of the tool by the words that call it."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if name in GROUPS:
            group = typer.main.get_group(importlib.import_module(GROUPS[name][0]).app)
            found |= {f"{name} {inner}": item for inner, item in group.commands.items()}
        else:
            found[name] = command
    return found


def options_of(command: Any) -> set[str]:
    """Return all spellings of a command's options."""
    return {
        word
        for parameter in command.params
        if isinstance(parameter, core.TyperOption)
        for word in (*parameter.opts, *parameter.secondary_opts)
    }


def populate(project: Project) -> UUID:
    """Add ada with an active, an idle and an expired session, and a log-in of the admin."""
    ada = project.add_user(ADA)
    project.add_session(ada, token="11111111-active", user_agent="Mozilla/5.0, =1+1")
    project.add_session(
        ada, token="22222222-idle", used=timedelta(hours=5), created=timedelta(hours=6)
    )
    project.add_session(
        ada,
        token="33333333-expired",
        created=timedelta(days=2),
        used=timedelta(days=1),
        expires=-timedelta(hours=3),
        user_agent=None,
        ip_address=None,
    )
    project.add_session(admin_id(project), token="44444444-admin", user_agent="=HYPERLINK()")
    return ada


def run_line(project: Project, line: str, *options: str) -> Result:
    """Run a command line; ``DIR`` in it is the project directory."""
    return project.run(*line.replace("DIR", str(project.directory)).split(), *options)


def back_up(project: Project) -> None:
    """Write a backup of accounts and sessions to ``DIR/saved``."""
    populate(project)
    assert run_line(project, "db backup DIR/saved").code == 0


def admin_id(project: Project) -> UUID:
    """Return the id of the first superuser."""
    value = project.rows('SELECT id FROM "user" WHERE email = ?', ADMIN)[0][0]
    return value if isinstance(value, UUID) else UUID(str(value))


def dump(project: Project) -> Dump:
    """Return every row of every table without the tool, or None without a database."""
    if project.server is not None:
        return asyncio.run(_dump_of_server(project.server, project.database))
    if not project.file.exists():
        return None
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))
            for (name,) in sorted(names.fetchall())
        }


async def _dump_of_server(server: PostgresServer, database: str) -> Dump:
    try:
        connection = await server.connect(database)
    except asyncpg.InvalidCatalogNameError:
        return None
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        return {
            name: sorted(map(repr, await connection.fetch(f'SELECT * FROM "{name}"')))
            for (name,) in sorted(names)
        }
    finally:
        await connection.close()


def files(project: Project) -> dict[str, bytes]:
    """Return every file of the project directory with its content."""
    return {
        str(path.relative_to(project.directory)): path.read_bytes()
        for path in sorted(project.directory.rglob("*"))
        if path.is_file()
    }


def everything(project: Project) -> tuple[Dump, dict[str, bytes]]:
    """Return all rows and all files."""
    return dump(project), files(project)


def assert_failed(result: Result, code: int, *, lines_of_errors: int = 1) -> None:
    """The command ended with *code*, one ``error:`` line or as many, one hint, and no data."""
    assert result.code == code, result
    assert result.stdout == "", result
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == lines_of_errors, result
    assert len([line for line in lines if line.startswith("hint: ")]) <= 1, result
    assert "Traceback" not in result.stderr, result
    assert "SELECT" not in result.stderr, result
    assert not re.match(r"error: unexpected \w+Error", errors[0]), result


def make_tables_missing(project: Project) -> None:
    """Make an existing database without any table."""
    if project.server is None:
        sqlite3.connect(project.file).close()
        project.file.touch()
    else:
        project.server.create(project.database)


def nothing(_: Project) -> None:
    """Leave the project as it is."""


def environment(project: Project) -> None:
    """Give the project a migration environment of its own."""
    assert project.run("migrate", "init").code == 0


def back_to_nothing(project: Project) -> None:
    """Downgrade the schema to base."""
    assert project.run("migrate", "downgrade", "base", "--yes").code == 0


@contextlib.contextmanager
def _in_thread(
    hold: Callable[[], Coroutine[Any, Any, None]], running: threading.Event, ended: threading.Event
) -> Iterator[None]:
    """Run a coroutine in a thread, from its event *running* to the end of the block."""
    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    try:
        assert running.wait(PATIENCE_SECONDS)
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def job_running(project: Project, job: Job) -> Iterator[None]:
    """Hold the lock of a job, as another process would."""
    running, ended = threading.Event(), threading.Event()

    async def hold() -> None:
        async with job_lock(project.settings, job):
            running.set()
            await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)

    with _in_thread(hold, running, ended):
        yield


@contextlib.contextmanager
def database_locked(project: Project) -> Iterator[None]:
    """Lock all four tables exclusively, as another process would."""
    if project.server is None:
        with contextlib.closing(sqlite3.connect(project.file)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")
        return
    server, database = project.server, project.database
    running, ended = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await server.connect(database)
        try:
            async with connection.transaction():
                names = ", ".join(f'"{name}"' for name in CLARINET_TABLES)
                await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
                running.set()
                await asyncio.to_thread(ended.wait, PATIENCE_SECONDS)
        finally:
            await connection.close()

    with _in_thread(hold, running, ended):
        yield


def secret_file(
    directory: Path, content: bytes, *, name: str = "password", mode: int = 0o600
) -> Path:
    """Write a password file with these permissions."""
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)
    return path
