"""SIGKILL at random moments of a change to an account: all of it is done, or nothing."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.cli.scenes import ADMIN, admin_id
from tests.faults.processes import (
    RUNS,
    add_sessions,
    kill_at_random,
    password_of,
    run_alone,
    seconds_of,
)
from tests.support import PASSWORD, SOME_HASH, Project

VERIFIER = PasswordHash((Argon2Hasher(),))
SESSIONS = 200
ROUNDS = max(2, RUNS // 2)  # for each of four commands
GRACE = "grace@example.org"
LINES = {
    "demote": ("admin", "demote", GRACE),
    "deactivate": ("admin", "deactivate", GRACE),
    "delete": ("admin", "delete", GRACE, "--yes"),
    "reset-password": ("admin", "reset-password", GRACE, "--password-stdin"),
}


def grace(project: Project) -> UUID:
    """Make a superuser with a role and many sessions, from any state."""
    project.rows("DELETE FROM access_token")
    project.rows("DELETE FROM userroleslink WHERE user_id <> ?", admin_id(project))
    project.rows('DELETE FROM "user" WHERE email = ?', GRACE)
    user = project.add_user(GRACE, superuser=True)
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)", user, "admin")
    add_sessions(project, user, "grace", SESSIONS, expires=timedelta(hours=1))
    return user


def state(project: Project, user: UUID) -> tuple[object, ...]:
    """Return what is stored of her: flags, roles, sessions, and whether the hash is new."""
    flags = project.rows('SELECT is_active, is_superuser FROM "user" WHERE id = ?', user)
    links = project.rows("SELECT role_name FROM userroleslink WHERE user_id = ?", user)
    sessions = project.rows("SELECT count(*) FROM access_token WHERE user_id = ?", user)[0][0]
    new = bool(flags) and password_of(project, GRACE) != SOME_HASH
    return (tuple(bool(flag) for row in flags for flag in row), len(links), sessions, new)


BEFORE = ((True, True), 1, SESSIONS, False)
AFTER = {
    "demote": ((True, False), 0, 0, False),
    "deactivate": ((False, True), 1, 0, False),
    "delete": ((), 0, 0, False),
    "reset-password": ((True, True), 1, 0, True),
}


@pytest.mark.parametrize("name", LINES)
def test_a_killed_change_is_done_or_not(project: Project, tmp_path: Path, name: str) -> None:
    """Row, roles and sessions go together, with the record; running it again completes."""
    log = tmp_path / "audit.jsonl"
    words = ("--audit-log", str(log), *LINES[name])
    grace(project)
    usual = seconds_of(lambda: run_alone(project, *words, stdin=PASSWORD))
    for _ in range(ROUNDS):
        user = grace(project)
        log.unlink(missing_ok=True)
        assert state(project, user) == BEFORE
        kill_at_random(project, *words, stdin=PASSWORD, usual_seconds=usual)
        found = state(project, user)
        assert found in (BEFORE, AFTER[name])
        if found != BEFORE:
            assert str(user) in log.read_text()
        again = project.run(*words, stdin=PASSWORD)
        assert again.code == (3 if found == AFTER["delete"] else 0), again
        assert state(project, user) == AFTER[name]
        if name == "reset-password":
            assert VERIFIER.verify(PASSWORD, password_of(project, GRACE))
    assert project.rows('SELECT email FROM "user" WHERE is_superuser AND is_active')[0] == (ADMIN,)
