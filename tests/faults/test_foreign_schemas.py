"""Schemas with functions and collations of the application: never reported as damaged."""

import contextlib
import sqlite3

import pytest

from tests.cli.scenes import assert_failed
from tests.support import PASSWORD, Project

INDEXES = [
    'CREATE UNIQUE INDEX by_address ON "user" (lower(email))',
    "CREATE INDEX by_agent ON access_token (lower(user_agent)) WHERE upper(ip_address) > ''",
    "CREATE INDEX by_length ON access_token (length(token), instr(token, 'a'))",
]
READ_AND_WRITE = [
    ("db", "status"),
    ("admin", "list", "--all"),
    ("admin", "show", "ÉLAN@example.org"),
    ("admin", "create", "--email", "new@example.org", "--generate-password"),
    ("admin", "deactivate", "élan@example.org"),
    ("session", "list", "--agent", "CURL"),
    ("session", "revoke-all", "--yes"),
    ("session", "cleanup"),
    ("migrate", "status"),
]


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """Only SQLite: PostgreSQL keeps functions in the database."""
    return str(request.param)


@pytest.mark.parametrize("statement", INDEXES)
def test_an_index_with_a_function_of_sqlite_is_kept_whole(project: Project, statement: str) -> None:
    """Every command works, and the index has afterwards what SQLite's own function makes."""
    user_id = project.add_user("Élan@example.org")
    project.add_session(user_id)
    project.rows(statement)
    for words in READ_AND_WRITE:
        result = project.run(*words)
        assert result.code == 0, result
    assert project.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_function_of_the_application_is_named(project: Project) -> None:
    """The error of a write names the missing function; reading succeeds."""
    with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
        connection.create_function("soundex2", 1, len, deterministic=True)
        connection.execute('CREATE INDEX by_sound ON "user" (soundex2(email))')
    assert project.run("admin", "list").code == 0
    result = project.run(
        "admin", "create", "--email", "new@example.org", "--password-stdin", stdin=PASSWORD
    )
    assert_failed(result, 1)
    assert "the function soundex2()" in result.stderr
    assert "damaged" not in result.stderr
    assert project.count("user") == 1


def test_a_collation_of_the_application_is_named(project: Project) -> None:
    """The error names the collation of an index that only the application has."""
    with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
        connection.create_collation("NOCASE_DE", lambda one, two: (one > two) - (one < two))
        connection.execute('CREATE INDEX by_order ON "user" (email COLLATE NOCASE_DE)')
    result = project.run(
        "admin", "create", "--email", "new@example.org", "--password-stdin", stdin=PASSWORD
    )
    assert_failed(result, 1)
    assert "the collation NOCASE_DE" in result.stderr


def test_a_schema_of_a_newer_sqlite_is_no_damage(project: Project) -> None:
    """What this SQLite cannot read is named, and no backup is asked for."""
    with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
        connection.execute("CREATE TABLE newer (a)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE TABLE newer (a) BETTER' WHERE name = 'newer'"
        )
    result = project.run("admin", "list")
    assert_failed(result, 1)
    assert "cannot read the schema: newer: " in result.stderr
    assert "damaged" not in result.stderr
