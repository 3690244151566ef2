"""Concurrent processes: one of them does the work, and the data stay consistent."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from clarinet_cli.services.bootstrap import DEFAULT_ROLES
from tests.faults import writer
from tests.faults.processes import (
    TABLES,
    add_sessions,
    assert_one_error,
    assert_sound,
    dead_and_live,
    end_of,
    eventually,
    half_made_accounts,
    number_of_stale,
    password_of,
    run_at_once,
    running,
    superusers,
    tables,
)
from tests.forked import Process
from tests.support import PASSWORD, Project, Result, process_environment

VERIFIER = PasswordHash((Argon2Hasher(),))
EIGHT = 8
DEAD = 1000
LIVE = 50
SLOW = ("--batch-size", "20", "--sleep", "30ms")


def documents(results: list[Result]) -> list[Any]:
    """Return the data of those that succeeded; the others fail with one line each."""
    for result in results:
        if result.code != 0:
            assert_one_error(result, 75)
    return [result.json for result in results if result.code == 0]


def test_second_clean_up_is_refused(project: Project) -> None:
    """While one runs, another exits with 75, or 0 on request; each session is deleted once."""
    _, live = dead_and_live(project, DEAD, LIVE)
    with running(project, "session", "cleanup", *SLOW, "-o", "json") as first:
        eventually(lambda: number_of_stale(project) < DEAD, first)
        second = project.run("session", "cleanup")
        skipped = project.run("session", "cleanup", "--skip-if-locked", "-o", "json")
        counted = project.json("session", "cleanup", "--dry-run")
        result = end_of(first)
    assert "another clean-up is running" in assert_one_error(second, 75)
    assert (skipped.code, skipped.stdout) == (0, ""), skipped
    assert "another clean-up is running" in skipped.stderr
    assert 0 < counted["matched"] < DEAD
    assert result.code == 0, result
    report = result.json
    assert (report["matched"], report["deleted"], report["remaining"]) == (DEAD, DEAD, 0)
    assert project.tokens() == live


def test_clean_ups_started_at_once(project: Project) -> None:
    """Three at once: those that run delete each stale session once, the others are busy."""
    _, live = dead_and_live(project, DEAD, LIVE)
    results = run_at_once(project, 3, "session", "cleanup", "-o", "json")
    assert sum(report["deleted"] for report in documents(results)) == DEAD
    assert project.tokens() == live


def test_eight_db_init_at_once(empty_project: Project) -> None:
    """From nothing: one schema, one administrator, one printed password that works, all roles."""
    results = run_at_once(empty_project, EIGHT, "db", "init", "--generate-password", "-o", "json")
    steps = [step for document in documents(results) for step in document]
    created = Counter(step["step"] for step in steps if step["result"] == "created")
    assert created["superuser"] == 1
    assert created["schema"] == 1
    assert created["database"] == 1
    [password] = [step["password"] for step in steps if "password" in step]
    [(email, hashed)] = superusers(empty_project)
    assert email == "admin@clarinet.ru"
    assert VERIFIER.verify(password, hashed)
    assert tables(empty_project) == TABLES | {"alembic_version"}
    assert sorted(empty_project.rows("SELECT name FROM userrole")) == sorted(
        (name,) for name in DEFAULT_ROLES
    )
    assert (empty_project.count("user"), empty_project.count("userroleslink")) == (1, 1)
    assert_sound(empty_project)
    again = empty_project.json("db", "init", "--password-stdin", stdin=PASSWORD)
    assert [step["result"] for step in again] == ["unchanged"] * 4


def test_eight_admin_create_at_once(project: Project) -> None:
    """For the same address: one account, made by one of them; the others find it."""
    words = ("admin", "create", "--email", "ada@example.org", "--if-not-exists", "-o", "json")
    results = run_at_once(project, EIGHT, *words, "--password-stdin", stdin=PASSWORD)
    changes = documents(results)
    assert Counter(change["result"] for change in changes)["created"] == 1
    assert {change["result"] for change in changes} <= {"created", "unchanged"}
    assert VERIFIER.verify(PASSWORD, password_of(project, "ada@example.org"))
    assert half_made_accounts(project) == []
    assert project.count("user") == 2


def test_eight_admin_ensure_at_once(project: Project) -> None:
    """Without a superuser: exactly one is made, and only its password is printed."""
    project.rows("DELETE FROM userroleslink")
    project.rows('DELETE FROM "user"')
    results = run_at_once(project, EIGHT, "admin", "ensure", "--generate-password", "-o", "json")
    changes = documents(results)
    [password] = [change["password"] for change in changes if "password" in change]
    [(email, hashed)] = superusers(project)
    assert email == "admin@clarinet.ru"
    assert VERIFIER.verify(password, hashed)
    assert Counter(change["result"] for change in changes)["created"] == 1
    assert half_made_accounts(project) == []
    assert project.count("user") == 1


@contextmanager
def server_like_writer(project: Project, user_id: UUID) -> Iterator[Process]:
    """Run a process that inserts a live session every 10 ms."""
    where = [str(project.file)]
    environment = process_environment({})
    if project.server is not None:
        server = project.server
        where = [server.host, str(server.port), server.user, project.database]
        environment["PGPASSWORD"] = server.password or ""
    process = subprocess.Popen(
        [sys.executable, writer.__file__, str(user_id), *where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("backend", "journal"),
    [("sqlite", "delete"), ("sqlite", "wal"), ("postgresql", "")],
    indirect=["backend"],
)
def test_server_writes_during_a_clean_up(project: Project, journal: str) -> None:
    """The server meets no locked database, and none of its new sessions is lost."""
    if project.server is None:
        assert project.rows(f"PRAGMA journal_mode={journal}") == [(journal,)]
    _, live = dead_and_live(project, 6000, LIVE)
    user_id = project.add_user("writer@example.org")
    with server_like_writer(project, user_id) as server:
        eventually(lambda: _sessions_of(project, user_id) > 0, server)
        with running(project, "session", "cleanup", "--batch-size", "500", "-o", "json") as process:
            result = end_of(process)
        seen = _sessions_of(project, user_id)
        eventually(lambda: _sessions_of(project, user_id) > seen, server)
        stdout, stderr = server.communicate(b"")
    done = json.loads(stdout)
    assert (result.code, result.stderr) == (0, ""), result
    assert result.json["deleted"] == 6000
    assert (server.returncode, stderr, done["errors"]) == (0, b"", [])
    assert project.tokens() == live | set(done["tokens"])


def test_session_revived_during_a_clean_up_survives(project: Project) -> None:
    """A session that the server extends between scan and delete is not deleted."""
    dead, live = dead_and_live(project, DEAD, LIVE)
    revived: set[str] = set()
    with running(project, "session", "cleanup", *SLOW, "-o", "json") as process:
        eventually(lambda: number_of_stale(project) < DEAD, process)
        for _ in range(10):
            some = sorted(set(project.tokens()) & dead - revived)[:10]
            if some:
                revived |= _revive(project, some)
        result = end_of(process)
    assert revived
    assert project.tokens() == live | revived
    assert result.code == 0, result
    report = result.json
    assert (report["matched"], report["remaining"]) == (DEAD, 0)
    assert report["deleted"] == DEAD - len(revived)
    assert report["complete"] is True


def test_two_resets_at_once_leave_one_of_the_passwords(project: Project) -> None:
    """The final password is one of the two that were reported, and no session is left."""
    [(admin_id,)] = project.rows('SELECT id FROM "user"')
    owner = admin_id if isinstance(admin_id, UUID) else UUID(admin_id)
    add_sessions(project, owner, "live", 20, expires=timedelta(hours=1))
    results = run_at_once(
        project, 2, "admin", "reset-password", "--generate-password", "-o", "json"
    )
    changes = documents(results)
    passwords = [change["password"] for change in changes]
    [(_, hashed)] = superusers(project)
    assert [VERIFIER.verify(password, hashed) for password in passwords].count(True) == 1
    assert sum(change["sessions_revoked"] for change in changes) == 20
    assert project.tokens() == set()


def _sessions_of(project: Project, user_id: UUID) -> int:
    query = "SELECT count(*) FROM access_token WHERE user_id = ?"
    return int(project.rows(query, user_id)[0][0])


def _revive(project: Project, tokens: list[str]) -> set[str]:
    """Extend sessions as the server does on use; return those that were still there."""
    now = datetime.now(UTC)
    places = ", ".join("?" for _ in tokens)
    query = (
        f"UPDATE access_token SET expires_at = ?, last_accessed = ? WHERE token IN ({places})"
        " RETURNING token"
    )
    return {row[0] for row in project.rows(query, now + timedelta(hours=1), now, *tokens)}
