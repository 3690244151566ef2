"""Processes of the tool, what is done to them, and what is looked at afterwards."""

import asyncio
import contextlib
import os
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Optional
from uuid import UUID

import psutil

from clarinet_cli.services.schema.environments import find_environment
from tests import forked
from tests.forked import Prepare, Process
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, Result, process_environment

# Of each test with chance in it. Two a run show that it holds at all; hundreds, by the
# variable, look for the moment at which it does not.
RUNS = int(os.environ.get("CLARINET_FAULT_RUNS", "2"))
POLL_SECONDS = 0.01
# A port that the kernel never assigns by itself.
CLOSED_PORT = 1
TABLES = {"user", "userrole", "userroleslink", "access_token"}


def chance() -> Random:
    """Return random numbers whose seed a failing test shows; CLARINET_TEST_SEED repeats them."""
    seed = int(os.environ.get("CLARINET_TEST_SEED") or secrets.randbelow(2**32))
    print(f"CLARINET_TEST_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return Random(seed)  # noqa: S311 - no secret


@contextlib.contextmanager
def running(
    project: Project,
    *arguments: str,
    stdin: str = "",
    env: Optional[Mapping[str, str]] = None,
    prepare: Prepare = None,
) -> Iterator[Process]:
    """Start a command in a process of its own; whatever happens, it is gone at the end.

    Args:
        project: Where.
        *arguments: The words of the command.
        stdin: Its whole standard input.
        env: Variables that it gets beside those of the project.
        prepare: Called in the process before the command; see ``tests.faults.limits``.
    """
    environment = process_environment({**project.environment, **(env or {})})
    process = forked.start(project.words(*arguments), env=environment, prepare=prepare)
    try:
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        process.stdin = None
        yield process
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait()


def end_of(process: Process, patience: float = PATIENCE_SECONDS) -> Result:
    """Wait until a process ends by itself and return how it ended."""
    stdout, stderr = process.communicate(timeout=patience)
    return Result(process.wait(), stdout.decode(), stderr.decode())


def run_alone(
    project: Project,
    *arguments: str,
    stdin: str = "",
    env: Optional[Mapping[str, str]] = None,
    prepare: Prepare = None,
) -> Result:
    """Run a command in a process of its own to its end."""
    with running(project, *arguments, stdin=stdin, env=env, prepare=prepare) as process:
        return end_of(process)


def run_at_once(
    project: Project,
    number: int,
    *arguments: str,
    stdin: str = "",
    prepare: Prepare = None,
) -> list[Result]:
    """Start the same command several times at once and return how each ended."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(running(project, *arguments, stdin=stdin, prepare=prepare))
            for _ in range(number)
        ]
        return [end_of(process) for process in processes]


def eventually(condition: Callable[[], bool], process: Optional[Process] = None) -> None:
    """Wait until a condition holds; the process must not end before that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, end_of(process)
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(POLL_SECONDS)


def kill_at_random(
    project: Project, *arguments: str, stdin: str = "", usual_seconds: float
) -> Optional[int]:
    """Start a command, kill it at some moment, and return its code if it was faster."""
    with running(project, *arguments, stdin=stdin) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance().uniform(0.4, 1.1) * usual_seconds)
        code = process.poll()
        process.kill()
        process.wait()
    settle(project)
    return code


def settle(project: Project) -> None:
    """Wait until the server has noticed that the tool's processes are gone."""
    server = project.server
    if server is not None:
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'clarinet'"
            " AND (datname = $1 OR query LIKE '%' || $1 || '%')"
        )
        eventually(lambda: not server.rows("postgres", query, project.database))


def seconds_of(action: Callable[[], Result]) -> float:
    """Return how long a command takes that nobody disturbs; it must succeed."""
    started = time.monotonic()
    result = action()
    assert result.code == 0, result
    return time.monotonic() - started


def start_again(project: Project, *, database: bool) -> None:
    """Take the database away; leave an empty one when *database* is set."""
    if project.server is None:
        for file in project.directory.glob(f"{project.database}.db*"):
            file.unlink()
        if database:
            project.file.touch()
        return
    project.server.drop(project.database)
    if database:
        project.server.create(project.database)


def tables(project: Project) -> set[str]:
    """Return the names of all tables in the database."""
    if project.server is None:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {row[0] for row in project.rows(query)}


def exists(project: Project) -> bool:
    """Return whether there is a database at all."""
    if project.server is None:
        return project.file.exists()
    query = "SELECT 1 FROM pg_database WHERE datname = $1"
    return bool(project.server.rows("postgres", query, project.database))


def assert_sound(project: Project) -> None:
    """Nothing is half done: the revision with all of its tables, accounts with their role."""
    if not exists(project):
        return
    found = tables(project)
    revisions = (
        [row[0] for row in project.rows("SELECT version_num FROM alembic_version")]
        if "alembic_version" in found
        else []
    )
    head = find_environment(project.directory).scripts.get_current_head()
    assert (found & TABLES, revisions) in ((set(), []), (TABLES, [head]))
    if project.server is None:
        assert project.rows("PRAGMA integrity_check") == [("ok",)]
        assert project.rows("PRAGMA foreign_key_check") == []
    if found >= TABLES:
        assert half_made_accounts(project) == []


def half_made_accounts(project: Project) -> list[str]:
    """Return the superusers that lack the role, the flags, or the hash of a whole account."""
    query = (
        'SELECT email FROM "user" u WHERE is_superuser AND NOT (is_active AND is_verified'
        " AND hashed_password LIKE '$argon2id$%' AND EXISTS (SELECT 1 FROM userroleslink l"
        " WHERE l.user_id = u.id AND l.role_name = 'admin'))"
    )
    return [row[0] for row in project.rows(query)]


def superusers(project: Project) -> list[tuple[Any, ...]]:
    """Return address and hash of each active superuser."""
    query = 'SELECT email, hashed_password FROM "user" WHERE is_superuser AND is_active'
    return project.rows(query)


def password_of(project: Project, email: str) -> str:
    """Return the stored hash of an account; there must be exactly one with this address."""
    found = project.rows('SELECT hashed_password FROM "user" WHERE lower(email) = ?', email)
    assert len(found) == 1, found
    return str(found[0][0])


def add_sessions(
    project: Project, user_id: UUID, prefix: str, number: int, *, expires: timedelta
) -> set[str]:
    """Insert many sessions of one user, unused for a minute; return their tokens."""
    now = datetime.now(UTC)
    instants = [now - timedelta(days=1), now + expires, now - timedelta(minutes=1)]
    if project.server is None:
        user = f"'{user_id.hex}'"
        values = [f"'{moment:%Y-%m-%d %H:%M:%S.%f}'" for moment in instants]
        series = (
            "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c"
            f" WHERE n < {number}) SELECT n FROM c)"
        )
    else:
        user = f"'{user_id}'::uuid"
        values = [f"'{moment.isoformat()}'::timestamptz" for moment in instants]
        series = f"generate_series(1, {number}) AS s(n)"
    project.rows(
        "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed)"
        f" SELECT '{prefix}-' || n, {user}, {', '.join(values)} FROM {series}"
    )
    return {f"{prefix}-{n}" for n in range(1, number + 1)}


def dead_and_live(project: Project, dead: int, live: int) -> tuple[set[str], set[str]]:
    """Insert sessions that ended a day ago and sessions with an hour left."""
    user_id = project.add_user("sessions@example.org")
    return (
        add_sessions(project, user_id, "dead", dead, expires=timedelta(hours=-1)),
        add_sessions(project, user_id, "live", live, expires=timedelta(hours=1)),
    )


def number_of_stale(project: Project) -> int:
    """Return how many of the sessions that ended a day ago are left."""
    query = "SELECT count(*) FROM access_token WHERE token LIKE 'dead-%'"
    return int(project.rows(query)[0][0])


@contextlib.contextmanager
def write_lock(project: Project, *statements: str) -> Iterator[None]:
    """Hold SQLite's write lock, or PostgreSQL's lock on all of our tables.

    Args:
        project: Where.
        *statements: For PostgreSQL: what takes the lock, instead of the tables.
    """
    names = ", ".join(f'"{name}"' for name in sorted(TABLES))
    wanted = statements or (f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE",)
    if project.server is not None:
        with asyncio.Runner() as runner:
            connection = runner.run(project.server.connect(project.database))
            try:
                for statement in ("BEGIN", *wanted):
                    runner.run(connection.execute(statement))
                yield
            finally:
                runner.run(connection.close())
        return
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def waits_for_lock(project: Project, process: Process) -> bool:
    """Return whether a process has come as far as the lock that somebody else holds."""
    if project.server is not None:
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = $1"
            " AND application_name = 'clarinet' AND wait_event_type = 'Lock'"
        )
        return bool(project.server.rows("postgres", query, project.database))
    return opened(process, project.file)


def opened(process: Process, file: Path) -> bool:
    """Return whether a process has a file open."""
    with contextlib.suppress(psutil.Error):
        return str(file) in {item.path for item in psutil.Process(process.pid).open_files()}
    return False


def assert_one_error(result: Result, code: int) -> str:
    """Check for *code* and one error line, with or without a hint; return the line."""
    lines = result.stderr.splitlines()
    assert result.code == code, result
    assert result.stdout == "", result
    assert lines, result
    assert lines[0].startswith("error: "), result
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == [], result
    assert len(lines) <= 2, result
    assert "unexpected" not in lines[0], result
    return lines[0]
