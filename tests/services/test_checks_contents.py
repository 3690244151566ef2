"""``db check``: each thing that can be wrong with what a database holds, and its remedy."""

import asyncio
import contextlib
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from clarinet_cli.results import Finding
from clarinet_cli.services.backup.sqlite import copy_database
from clarinet_cli.services.checks import check_database
from clarinet_cli.services.checks import sqlite_file as sqlite_file_module
from tests.support import SOME_HASH, Project

NAMES = ["integrity", "foreign-keys", "schema", "nulls"]
COLUMNS = "token, user_id, created_at, expires_at, last_accessed"
SOUND = "'2026-11-22 18:00:00.000000'"
ORPHAN = uuid4()


def check(project: Project) -> list[Finding]:
    """Return all findings of the check."""
    return asyncio.run(check_database(project.settings))


def wrong(project: Project) -> list[Finding]:
    """Return what the check finds wrong."""
    return [item for item in check(project) if item.status != "ok"]


def run_remedy(project: Project, finding: Finding) -> None:
    """Run the command that a finding advises."""
    assert finding.hint is not None
    program, *words = shlex.split(finding.hint)
    assert program == "clarinet", finding
    result = project.run_process(*words)
    assert result.code == 0, result


def unchecked(project: Project, *statements: str) -> None:
    """Change a SQLite database without its foreign keys and with no rule but the types."""
    with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def loosen(project: Project, table: str) -> None:
    """Rebuild a table of SQLite without NOT NULL, as no server would create it."""
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = ?", [table]
        )
        connection.commit()


def test_a_database_of_a_server_is_sound(server_project: Project) -> None:
    """The server's own tables and additions are accepted, and each check has a line."""
    found = check(server_project)
    assert [item for item in found if item.status != "ok"] == []
    assert [item.check for item in found][:4] == NAMES
    assert {item.check for item in found} >= {"timestamps", "tokens", "orphans", "addresses"}


def test_progress_ends_with_the_total(server_project: Project) -> None:
    """The number of rows only grows, up to that of all parts."""
    seen: list[tuple[int, int]] = []
    asyncio.run(check_database(server_project.settings, progress=lambda *done: seen.append(done)))
    assert seen[-1][0] == seen[-1][1] > 0


# --- Rows of SQLite ------------------------------------------------------------------------


class Case(NamedTuple):
    """A row that should not be there."""

    check: str
    column: str
    statement: str
    has_remedy: bool = True


def session(token: str, *values: str) -> str:
    """Return the statement that inserts a session of the fixture's first user."""
    given = list(values) + [SOUND] * (3 - len(values))
    return (
        f"INSERT INTO access_token ({COLUMNS}) SELECT {token}, id, {', '.join(given)} "
        'FROM "user" LIMIT 1'
    )


LONG = "'abcdefgh" + "x" * 35 + "'"
CASES = [
    Case("timestamps", "access_token.created_at", session(LONG, "'yesterday'")),
    Case("timestamps", "access_token.expires_at", session(LONG, SOUND, "'2026-11-22T18:00+05'")),
    Case("timestamps", "access_token.last_accessed", session(LONG, SOUND, SOUND, "1764000000")),
    Case("tokens", "access_token.token", session("'short'")),
    Case(
        "orphans",
        "access_token.user_id",
        f"INSERT INTO access_token ({COLUMNS}) "
        f"VALUES ({LONG}, '{ORPHAN.hex}', {SOUND}, {SOUND}, {SOUND})",
    ),
    Case(
        "orphans",
        "userroleslink.user_id",
        f"INSERT INTO userroleslink VALUES ('{ORPHAN.hex}', 'admin')",
    ),
    Case(
        "orphans",
        "userroleslink.role_name",
        """INSERT INTO userroleslink SELECT id, 'gone' FROM "user" LIMIT 1""",
    ),
    Case("nulls", "access_token.expires_at", session(LONG, SOUND, "NULL")),
    Case(
        "nulls", "user.email", 'UPDATE "user" SET email = NULL WHERE is_superuser', has_remedy=False
    ),
    Case("values", "user.is_active", """UPDATE "user" SET is_active = 'yes'""", has_remedy=False),
    Case(
        "values",
        "user.email",
        """UPDATE "user" SET email = X'6162' WHERE is_superuser""",
        has_remedy=False,
    ),
]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.check}-{case.column}")
def test_a_row_that_should_not_be_there(server_project: Project, case: Case) -> None:
    """One finding with the column, the number and ids; its remedy ends it."""
    for table in ("user", "access_token"):
        loosen(server_project, table)
    unchecked(server_project, case.statement)
    found = [item for item in wrong(server_project) if item.check not in ("schema", "integrity")]
    (finding,) = [item for item in found if item.check == case.check]
    assert finding.detail.startswith(f"{case.column}: ")
    assert finding.status == "error"
    assert "x" * 35 not in f"{finding.detail}{finding.hint}"
    if case.has_remedy:
        run_remedy(server_project, finding)
        assert case.check not in {item.check for item in wrong(server_project)}
    else:
        assert "db shell" in str(finding.hint)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_ids_in_another_form_are_named(server_project: Project) -> None:
    """An account whose id has dashes: the server would not find it."""
    spelt = str(uuid4()).upper()
    unchecked(
        server_project,
        f"INSERT INTO \"user\" VALUES ('a@b.example', '{SOME_HASH}', 1, 0, 1, '{spelt}')",
    )
    (finding,) = wrong(server_project)
    assert finding.check == "ids"
    assert f"user.id: 1 row with an id that is not 32 hexadecimal digits: {spelt};" in (
        finding.detail
    )


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_number_and_five_ids(server_project: Project) -> None:
    """Of many rows the number and the first five ids."""
    tokens = [f"'tokn{number:04d}" + "x" * 35 + "'" for number in range(7)]
    unchecked(server_project, *(session(token, "'never'") for token in tokens))
    (finding,) = wrong(server_project)
    ids = ", ".join(f"tokn{number:04d}" for number in range(5))
    assert f"7 rows with a timestamp that the server cannot read: {ids}, …;" in finding.detail


def test_addresses_that_the_server_takes_for_one(server_project: Project) -> None:
    """Both accounts are named; deleting one of them ends it."""
    kept = server_project.add_user("Twice@example.org")
    server_project.add_user("twice@example.org")
    (finding,) = wrong(server_project)
    assert finding.check == "addresses"
    assert kept.hex[:8] in finding.detail
    assert "clarinet admin delete ID" in str(finding.hint)
    assert server_project.run("admin", "delete", str(kept), "--yes").code == 0
    assert wrong(server_project) == []


# --- The file, its indexes, and the schema -------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_an_index_without_a_row_is_rebuilt(server_project: Project) -> None:
    """SQLite finds what an index lacks; REINDEX ends it."""
    name = "ix_access_token_expires_at"
    with contextlib.closing(sqlite3.connect(server_project.file)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        query = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = ?"
        row = connection.execute(query, [name]).fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", [name])
        connection.commit()
    unchecked(server_project, session(LONG))
    with contextlib.closing(sqlite3.connect(server_project.file)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    (finding,) = wrong(server_project)
    assert (finding.check, finding.hint) == ("integrity", "clarinet db shell -c REINDEX")
    assert "missing from index ix_access_token_expires_at" in finding.detail
    run_remedy(server_project, finding)
    assert wrong(server_project) == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_damaged_page_is_an_error(server_project: Project) -> None:
    """The hint is to restore a backup; the check continues as far as possible."""
    content = bytearray(server_project.file.read_bytes())
    half = len(content) // 2
    content[half:] = b"\xa5" * (len(content) - half)
    server_project.file.write_bytes(content)
    finding = next(item for item in wrong(server_project) if item.check == "integrity")
    assert finding.status == "error"
    assert "damaged" in finding.detail


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_what_is_no_database_is_a_finding(server_project: Project) -> None:
    """Each check reports that it was not made."""
    server_project.file.write_text("no database at all, and long enough to be none" * 9)
    found = check(server_project)
    assert {item.status for item in found} == {"error"}
    assert all("the file is not a SQLite database" in item.detail for item in found)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_rows_of_another_table_that_refer_to_nothing(server_project: Project) -> None:
    """Other programs' tables are checked by their own foreign keys."""
    unchecked(
        server_project,
        'CREATE TABLE note (id INTEGER PRIMARY KEY, owner TEXT REFERENCES "user"(id))',
        "INSERT INTO note (owner) VALUES ('nobody'), (NULL), ('nobody')",
    )
    (finding,) = wrong(server_project)
    assert finding.check == "foreign-keys"
    assert "2 rows of note refer to rows of user that do not exist: row 1, 3" in finding.detail


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("free", [True, False])
def test_a_large_file_with_a_rollback_journal_is_checked_in_a_copy(
    server_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, free: bool
) -> None:
    """The copy is removed; without disk space for one the check reports it."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(sqlite_file_module, "SMALL_BYTES", 0)
    made: list[Path] = []

    def seen(file: Path, target: Path, progress: Callable[[int, int], None]) -> object:
        made.append(target)
        return copy_database(file, target, progress)

    monkeypatch.setattr(sqlite_file_module, "copy_database", seen)
    if not free:
        usage = shutil._ntuple_diskusage(1, 1, 0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = wrong(server_project)
    assert list(place.iterdir()) == []
    assert len(made) == free
    if free:
        assert found == []
        return
    (finding,) = found
    assert "no space for a copy" in finding.detail
    assert finding.hint == "TMPDIR=DIRECTORY clarinet db check"


def test_a_missing_index_and_a_column_without_default(server_project: Project) -> None:
    """Both keep the server from working as it should; a column with a default does not."""
    for statement in (
        "DROP INDEX ix_access_token_expires_at",
        'ALTER TABLE "user" ADD COLUMN nickname VARCHAR',
        "ALTER TABLE userrole ADD COLUMN weight INTEGER DEFAULT 0 NOT NULL",
    ):
        server_project.rows(statement)
    (finding,) = wrong(server_project)
    assert finding.check == "schema"
    assert "index ix_access_token_expires_at" in finding.detail
    if server_project.server is not None:
        server_project.rows("ALTER TABLE userrole ALTER COLUMN weight DROP DEFAULT")
        details = [item.detail for item in wrong(server_project)]
        assert any("userrole.weight must have a value" in detail for detail in details)


def test_an_empty_database_lacks_its_tables(empty_project: Project) -> None:
    """The hint names the command, and no row is searched for."""
    if empty_project.server is None:
        sqlite3.connect(empty_project.file).close()
    else:
        empty_project.server.create(empty_project.database)
    (finding,) = [item for item in check(empty_project) if item.status != "ok"]
    assert (finding.check, finding.status) == ("schema", "error")
    assert "db init" in str(finding.hint)


# --- PostgreSQL ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_rows_that_postgresql_let_in(server_project: Project) -> None:
    """Without its keys PostgreSQL takes orphans; it takes infinite time stamps anyway."""
    server_project.rows("ALTER TABLE userroleslink DROP CONSTRAINT userroleslink_user_id_fkey")
    server_project.rows("INSERT INTO userroleslink VALUES (?, 'admin')", ORPHAN)
    server_project.rows(
        f"INSERT INTO access_token ({COLUMNS}) SELECT ?, id, now(), 'infinity', now()"
        ' FROM "user" LIMIT 1',
        "abcdefgh" + "x" * 35,
    )
    server_project.rows(
        f"INSERT INTO access_token ({COLUMNS}) SELECT 'short', id, now(), now(), now()"
        ' FROM "user" LIMIT 1'
    )
    found = {item.check: item for item in wrong(server_project)}
    assert set(found) == {"schema", "timestamps", "tokens", "orphans"}
    assert "1 row with a timestamp that the server cannot read: abcdefgh;" in (
        found["timestamps"].detail
    )
    assert "row (" in found["tokens"].detail
    for name in ("timestamps", "tokens", "orphans"):
        run_remedy(server_project, found[name])
    assert {item.check for item in wrong(server_project)} == {"schema"}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_an_unusable_index_and_a_key_that_is_not_validated(server_project: Project) -> None:
    """What a failed CREATE INDEX CONCURRENTLY or a NOT VALID leaves; the remedies end both."""
    server_project.rows(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'ix_access_token_user_id'::regclass"
    )
    server_project.rows("ALTER TABLE access_token DROP CONSTRAINT access_token_user_id_fkey")
    server_project.rows(
        "ALTER TABLE access_token ADD CONSTRAINT access_token_user_id_fkey FOREIGN KEY (user_id)"
        ' REFERENCES "user" (id) ON DELETE CASCADE NOT VALID'
    )
    found = {item.check: item for item in wrong(server_project)}
    assert {name: item.status for name, item in found.items()} == {
        "integrity": "error",
        "foreign-keys": "warning",
    }
    for finding in found.values():
        run_remedy(server_project, finding)
    assert wrong(server_project) == []
