"""SIGKILL at random moments: nothing is half done, and running it again completes."""

import time
from functools import partial

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.faults.processes import (
    RUNS,
    TABLES,
    assert_sound,
    chance,
    dead_and_live,
    eventually,
    kill_at_random,
    number_of_stale,
    password_of,
    run_alone,
    running,
    seconds_of,
    settle,
    start_again,
    superusers,
    tables,
)
from tests.support import PASSWORD, Project

VERIFIER = PasswordHash((Argon2Hasher(),))
ROLES = {("doctor",), ("auto",), ("admin",), ("expert",), ("ordinator",)}
DEAD = 3000
LIVE = 50
BATCH = 20


def test_killed_db_init(empty_project: Project) -> None:
    """Whenever 'db init' is killed, the next one makes one schema and one administrator."""
    words = ("db", "init", "--password-stdin")
    usual = seconds_of(lambda: run_alone(empty_project, *words, stdin=PASSWORD))
    for _ in range(RUNS):
        start_again(empty_project, database=False)
        kill_at_random(empty_project, *words, stdin=PASSWORD, usual_seconds=usual)
        assert_sound(empty_project)
        again = empty_project.run(*words, stdin=PASSWORD)
        assert (again.code, again.stderr) == (0, ""), again
        assert_sound(empty_project)
        assert tables(empty_project) == TABLES | {"alembic_version"}
        assert set(empty_project.rows("SELECT name FROM userrole")) == ROLES
        [(email, hashed)] = superusers(empty_project)
        assert email == "admin@clarinet.ru"
        assert VERIFIER.verify(PASSWORD, hashed)


def test_killed_migrate_upgrade(empty_project: Project) -> None:
    """Whenever 'migrate upgrade' is killed, the schema is all there or not at all."""
    start_again(empty_project, database=True)
    usual = seconds_of(lambda: run_alone(empty_project, "migrate", "upgrade"))
    for _ in range(RUNS):
        start_again(empty_project, database=True)
        kill_at_random(empty_project, "migrate", "upgrade", usual_seconds=usual)
        assert_sound(empty_project)
        again = empty_project.run("migrate", "upgrade")
        assert (again.code, again.stderr) == (0, ""), again
        assert tables(empty_project) == TABLES | {"alembic_version"}
        assert_sound(empty_project)


def test_killed_admin_create(project: Project) -> None:
    """Whenever 'admin create' is killed, the account is whole or not there at all."""

    def words(email: str) -> tuple[str, ...]:
        return ("admin", "create", "--email", email, "--password-stdin", "--role", "expert")

    usual = seconds_of(lambda: run_alone(project, *words("a@example.org"), stdin=PASSWORD))
    for number in range(RUNS):
        email = f"run{number}@example.org"
        kill_at_random(project, *words(email), stdin=PASSWORD, usual_seconds=usual)
        assert_sound(project)
        again = project.run(*words(email), "--if-not-exists", stdin=PASSWORD)
        assert again.code == 0, again
        assert VERIFIER.verify(PASSWORD, password_of(project, email))
        assert_sound(project)
    links = "SELECT user_id FROM userroleslink WHERE role_name = 'expert'"
    assert len(project.rows(links)) == RUNS + 1


def test_killed_session_cleanup(project: Project) -> None:
    """Whenever a clean-up is killed, only whole batches of stale sessions are gone."""
    _, live = dead_and_live(project, DEAD, LIVE)
    left = DEAD
    for _ in range(RUNS):
        before = left
        words = ("session", "cleanup", "--batch-size", str(BATCH), "--sleep", "10ms")
        with running(project, *words) as process:
            eventually(partial(_fewer_than, project, before), process)
            time.sleep(chance().uniform(0.0, 0.15))
            process.kill()
            process.wait()
        settle(project)
        left = number_of_stale(project)
        assert 0 < left < before
        assert left % BATCH == 0
        assert live < project.tokens()
        assert_sound(project)
    again = project.json("session", "cleanup")
    assert (again["matched"], again["deleted"], again["remaining"]) == (left, left, 0)
    assert project.tokens() == live


def _fewer_than(project: Project, number: int) -> bool:
    return number_of_stale(project) < number
