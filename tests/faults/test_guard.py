"""The last active superuser stays: two commands, two machines, the server, a killed process."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from tests.cli.scenes import ADMIN, admin_id
from tests.faults.processes import (
    RUNS,
    assert_one_error,
    end_of,
    eventually,
    running,
    waits_for_lock,
)
from tests.support import Project, Result

GRACE = "grace@example.org"
DEMOTE_ADMIN = ("admin", "demote", ADMIN)
DEMOTE = ("admin", "demote", GRACE)
DEACTIVATE = ("admin", "deactivate", GRACE)
DELETE = ("admin", "delete", GRACE, "--yes")
ROUNDS = max(2, RUNS // 2)
LAST = "is the last active superuser"


def two_superusers(project: Project) -> None:
    """Leave exactly two active superusers, each with the role and a session."""
    project.rows("DELETE FROM access_token")
    project.rows("DELETE FROM userroleslink")
    project.rows('DELETE FROM "user" WHERE email = ?', GRACE)
    project.rows('UPDATE "user" SET is_superuser = true, is_active = true')
    for user in (admin_id(project), project.add_user(GRACE, superuser=True)):
        project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)", user, "admin")
        project.add_session(user)


def active_superusers(project: Project) -> set[str]:
    """Return the addresses of those who can administer the server."""
    query = 'SELECT email FROM "user" WHERE is_superuser AND is_active'
    return {row[0] for row in project.rows(query)}


def at_once(project: Project, *lines: tuple[str, ...]) -> list[Result]:
    """Start commands at the same moment and return how each ended."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(running(project, *words)) for words in lines]
        return [end_of(process) for process in processes]


@pytest.mark.parametrize("other", [DEMOTE, DEACTIVATE, DELETE], ids=lambda words: words[1])
def test_two_commands_at_once_leave_one(project: Project, other: tuple[str, ...]) -> None:
    """Each takes one of the last two: one does it, one is refused, one superuser is left."""
    for _ in range(ROUNDS):
        two_superusers(project)
        results = at_once(project, DEMOTE_ADMIN, other)
        assert sorted(result.code for result in results) == [0, 5], results
        [refused] = [result for result in results if result.code == 5]
        assert LAST in assert_one_error(refused, 5)
        [left] = active_superusers(project)
        assert left == (ADMIN if results[0].code == 5 else GRACE)
        # Who lost the rights lost the session with them, and who was refused kept it.
        owners = project.rows('SELECT email FROM "user" u JOIN access_token t ON t.user_id = u.id')
        assert owners == [(left,)]


def test_the_same_command_twice_at_once(project: Project) -> None:
    """One of them does it, the other finds it done."""
    for _ in range(ROUNDS):
        two_superusers(project)
        results = at_once(project, (*DEMOTE, "-o", "json"), (*DEMOTE, "-o", "json"))
        assert sorted(result.json["result"] for result in results) == ["unchanged", "updated"]
        assert sorted(result.json["sessions_revoked"] for result in results) == [0, 1]
        assert active_superusers(project) == {ADMIN}


def test_an_inactive_superuser_does_not_count(project: Project) -> None:
    """Of three, one inactive, two commands at once take no more than one."""
    two_superusers(project)
    project.add_user("asleep@example.org", active=False, superuser=True)
    results = at_once(project, DEMOTE_ADMIN, DEACTIVATE)
    assert sorted(result.code for result in results) == [0, 5], results
    assert len(active_superusers(project)) == 1


@contextlib.contextmanager
def open_transaction(project: Project, statement: str) -> Iterator[Callable[[str], object]]:
    """Be another program that has changed a row and has not committed; yields its end."""
    if project.server is None:
        with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute(statement)
            yield other.execute
        return
    with asyncio.Runner() as runner:
        connection = runner.run(project.server.connect(project.database))
        try:
            for words in ("BEGIN", statement):
                runner.run(connection.execute(words))

            def end(words: str) -> None:
                runner.run(connection.execute(words))

            yield end
        finally:
            runner.run(connection.close())


# What the server does to the other superuser in a transaction of its own.
FOREIGN = {
    "flag": f"UPDATE \"user\" SET is_superuser = false WHERE email = '{ADMIN}'",
    "inactive": f"UPDATE \"user\" SET is_active = false WHERE email = '{ADMIN}'",
}


@pytest.mark.parametrize("words", [DEMOTE, DEACTIVATE, DELETE], ids=lambda words: words[1])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_the_server_takes_the_other_one_away(
    project: Project, foreign: str, words: tuple[str, ...]
) -> None:
    """The command waits for the server's transaction, sees what it did, and refuses."""
    two_superusers(project)
    with open_transaction(project, FOREIGN[foreign]) as end, running(project, *words) as process:
        eventually(lambda: waits_for_lock(project, process), process)
        assert process.poll() is None
        end("COMMIT")
        result = end_of(process)
    assert LAST in assert_one_error(result, 5)
    assert active_superusers(project) == {GRACE}
    assert project.count("access_token") == 2


def test_the_server_thinks_better_of_it(project: Project) -> None:
    """A transaction that is rolled back is waited for as well, and then there are two."""
    two_superusers(project)
    with open_transaction(project, FOREIGN["flag"]) as end, running(project, *DEMOTE) as process:
        eventually(lambda: waits_for_lock(project, process), process)
        end("ROLLBACK")
        result = end_of(process)
    assert result.code == 0, result
    assert active_superusers(project) == {ADMIN}


def test_a_reference_that_the_server_is_adding(project: Project) -> None:
    """The deletion waits for the row that refers to the account, and names its table."""
    two_superusers(project)
    kind = "uuid" if project.server else "CHAR(32)"
    project.rows(f'CREATE TABLE notes (author {kind} REFERENCES "user" (id))')
    add = f"INSERT INTO notes (author) SELECT id FROM \"user\" WHERE email = '{GRACE}'"
    with open_transaction(project, add) as end, running(project, *DELETE) as process:
        eventually(lambda: waits_for_lock(project, process), process)
        end("COMMIT")
        result = end_of(process)
    assert "1 in notes.author" in assert_one_error(result, 4)
    assert active_superusers(project) == {ADMIN, GRACE}
    assert (project.count("notes"), project.count("access_token")) == (1, 2)
