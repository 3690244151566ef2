"""Addresses are compared without regard to case, independently of the database's lower()."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from clarinet_cli.spelling import fold_case, fold_map
from tests.cli.scenes import assert_failed
from tests.operations import find_account
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

CREATE = ("admin", "create", "--password-stdin", "--email")
SPELLINGS = [
    ("ÉLAN@example.org", "élan@example.org"),
    ("élan@example.org", "Élan@EXAMPLE.org"),
    ("ΣΑΣ@example.org", "σας@example.org"),
    ("straße@example.org", "STRAẞE@example.org"),
    ("İI@example.org", "ii@example.org"),
    ("K\u212a@example.org", "kk@example.org"),
]


@pytest.fixture(params=["UTF8", "LATIN1", "SQL_ASCII"])
def encoding(request: pytest.FixtureRequest) -> str:
    """Each encoding of a PostgreSQL database in turn."""
    return str(request.param)


@pytest.fixture
def plain_project(encoding: str, tmp_path: Path, postgres: PostgresServer) -> Iterator[Project]:
    """A ready project on a database whose lower() folds ASCII only."""
    name = f"test_{uuid4().hex}"
    postgres.rows(
        "postgres",
        f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING '{encoding}'"
        " LC_CTYPE 'C' LC_COLLATE 'C'",
    )
    project = Project(tmp_path, "postgresql", name, postgres)
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    yield project
    postgres.drop(name)


@pytest.mark.parametrize("encoding", ["UTF8"], indirect=True)
@pytest.mark.parametrize(("stored", "typed"), SPELLINGS)
def test_case_counts_for_nothing_under_the_language_c(
    plain_project: Project, stored: str, typed: str
) -> None:
    """One account for all spellings: found, searched for, and in conflict with a second one."""
    user_id = str(plain_project.add_user(stored, superuser=True))
    assert plain_project.json("admin", "show", typed)["id"] == user_id
    searched = plain_project.json("admin", "list", "--search", typed.partition("@")[0])
    assert [row["id"] for row in searched] == [user_id]
    assert_failed(plain_project.run(*CREATE, typed, stdin=PASSWORD), 4)
    again = plain_project.json("admin", "create", "--if-not-exists", "--email", typed)
    assert again["id"] == user_id
    assert plain_project.count("user") == 2


@pytest.mark.parametrize(("stored", "typed"), SPELLINGS)
def test_case_counts_for_nothing_on_either_backend(
    project: Project, stored: str, typed: str
) -> None:
    """The locale of the database makes no difference, nor does the backend."""
    user_id = project.add_user(stored)
    assert asyncio.run(find_account(project.settings, typed)).id == user_id


@pytest.mark.parametrize("encoding", ["UTF8"], indirect=True)
def test_a_file_means_an_account_in_any_case(plain_project: Project, tmp_path: Path) -> None:
    """Applying a file compares as the query does: no second account is created."""
    user_id = str(plain_project.add_user("ÉLAN@example.org"))
    file = tmp_path / "accounts.json"
    file.write_text('[{"email": "élan@example.org", "is_verified": true}]', encoding="utf-8")
    (applied,) = plain_project.json("admin", "apply", str(file))
    assert (applied["id"], applied["result"]) == (user_id, "updated")


def test_addresses_are_found_in_every_encoding(plain_project: Project) -> None:
    """No letter is asked for that the database's encoding has not."""
    user_id = plain_project.add_user("INKI@example.org")
    for typed in ("inki@example.org", "inKI@example.org"):
        assert asyncio.run(find_account(plain_project.settings, typed)).id == user_id


@pytest.mark.parametrize("encoding", ["LATIN1"], indirect=True)
def test_letters_of_a_small_encoding_are_folded_too(plain_project: Project) -> None:
    """Capitals that the encoding has are compared, others cannot be stored."""
    user_id = plain_project.add_user("ÉLÅN@example.org")
    assert asyncio.run(find_account(plain_project.settings, "élån@example.org")).id == user_id


def test_user_agents_are_searched_in_any_case(project: Project) -> None:
    """A text in a user agent is found in any case."""
    token = project.add_session(project.add_user("ada@example.org"), user_agent="Élan/1")
    found = project.json("session", "list", "--agent", "éLAN")
    assert [row["id"] for row in found] == [token[:8]]


@pytest.mark.parametrize("name", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_every_encoding_of_a_sqlite_file_is_folded(tmp_path: Path, name: str) -> None:
    """The bytes are read as the file's encoding has them."""
    project = Project(tmp_path, "sqlite", "clarinet")
    project.write_settings()
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        connection.execute(f"PRAGMA encoding = '{name}'")
        connection.execute("CREATE TABLE other (a)")
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    user_id = project.add_user("ÉLAN@example.org")
    assert asyncio.run(find_account(project.settings, "élan@example.org")).id == user_id


def test_every_letter_folds_to_one_and_has_its_capitals() -> None:
    """What str.lower makes of any letter is what its capitals are found by."""
    letters = map(chr, range(sys.maxunicode + 1))
    cased = {letter: small for letter in letters if (small := fold_case(letter)) != letter}
    assert fold_map("".join(set(cased.values()))) == cased
    assert all(len(small) == 1 and fold_case(small) == small for small in cased.values())
    assert fold_map("ik") == {"I": "i", "K": "k", "İ": "i", "\u212a": "k"}
