"""Another process holds a lock: for a while, or without end."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.processes import (
    assert_one_error,
    assert_sound,
    dead_and_live,
    end_of,
    eventually,
    half_made_accounts,
    running,
    settle,
    superusers,
    waits_for_lock,
    write_lock,
)
from tests.forked import Process
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

HELD_SECONDS = 3.0
SHORTER_SECONDS = 1.0
# Commands that change rows, and so must wait for other writers.
WRITERS = {
    "create": ("admin", "create", "--email", "late@example.org", "--password-stdin"),
    "reset": ("admin", "reset-password", "ada@example.org", "--password-stdin", "--any-user"),
    "revoke": ("session", "revoke-user", "ada@example.org"),
    "cleanup": ("session", "cleanup"),
}
ROW_LOCK = (
    "SELECT 1 FROM \"user\" WHERE email = 'ada@example.org' FOR UPDATE",
    "SELECT 1 FROM access_token FOR UPDATE",
)


def with_ada(project: Project) -> Project:
    """Add an account with a session, and sessions to clean up."""
    ada = project.add_user("ada@example.org")
    project.add_session(ada, token="ada-0001")
    dead_and_live(project, 30, 3)
    return project


@contextlib.contextmanager
def all_started(project: Project, commands: dict[str, tuple[str, ...]]) -> Iterator[list[Process]]:
    """Start several commands at once; each waits for a lock when the block begins."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(running(project, *words, stdin=PASSWORD))
            for words in commands.values()
        ]
        yield processes


@pytest.mark.parametrize(
    ("backend", "statements", "seconds"),
    [
        ("sqlite", (), HELD_SECONDS),
        ("postgresql", (), HELD_SECONDS),
        ("postgresql", ROW_LOCK, SHORTER_SECONDS),
    ],
    ids=["sqlite", "postgresql-tables", "postgresql-rows"],
    indirect=["backend"],
)
def test_lock_held_for_a_while(
    project: Project, statements: tuple[str, ...], seconds: float
) -> None:
    """Commands that change rows wait for the lock, and then succeed."""
    with_ada(project)
    before = everything(project)
    with contextlib.ExitStack() as stack:
        with write_lock(project, *statements):
            commands = {name: WRITERS[name] for name in WRITERS if name != "create"}
            processes = stack.enter_context(all_started(project, commands))
            for process in processes:
                eventually(partial(waits_for_lock, project, process), process)
            if not statements:
                create = running(project, *WRITERS["create"], stdin=PASSWORD)
                processes.append(stack.enter_context(create))
            time.sleep(seconds)
            assert [process.poll() for process in processes] == [None] * len(processes)
        results = [end_of(process) for process in processes]
        changed = everything(project)
    assert [result.code for result in results] == [0] * len(results), results
    assert "error" not in "".join(result.stderr for result in results)
    assert changed != before
    assert project.tokens() == {"live-1", "live-2", "live-3"}
    [(hashed,)] = project.rows("SELECT hashed_password FROM \"user\" WHERE email LIKE 'ada@%'")
    assert hashed.startswith("$argon2id$")
    created = set() if statements else {"late@example.org"}
    assert {email for email, _ in superusers(project)} == {"admin@clarinet.ru"} | created
    assert half_made_accounts(project) == []
    assert_sound(project)


def test_a_writer_does_not_block_readers(project: Project) -> None:
    """A writer's lock does not block readers."""
    with_ada(project)
    with write_lock(project, "LOCK TABLE access_token IN SHARE ROW EXCLUSIVE MODE"):
        assert project.json("session", "stats")["total"] == 34
        assert len(project.json("admin", "list", "--all")) == 3
        assert project.json("db", "status")["tables"]["access_token"] == 34
        assert project.json("session", "cleanup", "--dry-run")["matched"] == 30


def test_migration_lock_that_stays_taken(project: Project) -> None:
    """A migration that finds another one running gives up after its lock timeout, with 75."""
    words = ("migrate", "downgrade", "base", "--yes")
    with write_lock(project), running(project, *words, "--lock-timeout", "10m") as holder:
        eventually(lambda: waits_for_lock(project, holder), holder)
        second = project.run(*words, "--lock-timeout", "300ms")
        holder.kill()
        holder.wait()
    settle(project)
    assert "another migration is running" in assert_one_error(second, 75)
    assert_sound(project)
    assert project.count("userrole") == 5


def test_lock_held_for_ever(
    tmp_path: Path, ready_templates: dict[str, str], postgres: PostgresServer
) -> None:
    """Commands give up after a while with 75 and one line, on either backend, all unchanged."""
    projects = [
        Project(tmp_path / "sqlite", "sqlite", "clarinet"),
        Project(tmp_path / "postgresql", "postgresql", f"test_{uuid4().hex}", postgres),
    ]
    for project in projects:
        project.directory.mkdir()
        project.write_settings()
    shutil.copyfile(ready_templates["sqlite"], projects[0].file)
    postgres.create(projects[1].database, ready_templates["postgresql"])
    commands = {"create": WRITERS["create"], "cleanup": WRITERS["cleanup"]}
    commands |= {"migrate": ("migrate", "downgrade", "base", "-y", "--lock-timeout=1s")}
    before = [everything(with_ada(project)) for project in projects]
    try:
        with contextlib.ExitStack() as stack:
            for project in projects:
                stack.enter_context(write_lock(project))
            started = [stack.enter_context(all_started(item, commands)) for item in projects]
            results = [end_of(process) for processes in started for process in processes]
        assert [everything(project) for project in projects] == before
    finally:
        postgres.drop(projects[1].database)
    for result in results:
        assert_one_error(result, 75)


def everything(project: Project) -> list[list[tuple[object, ...]]]:
    """Return all rows that a command could have changed."""
    return [
        project.rows('SELECT email, hashed_password, is_active FROM "user" ORDER BY 1'),
        project.rows("SELECT name FROM userrole ORDER BY 1"),
        project.rows("SELECT token, expires_at FROM access_token ORDER BY 1"),
        project.rows("SELECT version_num FROM alembic_version"),
    ]
