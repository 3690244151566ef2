"""Rows of other tables that refer to accounts and sessions: counted, kept, or lost knowingly."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from tests import oracle
from tests.support import Project

ADMIN = "admin@clarinet.ru"
ADA = "ada@example.org"
LIVE = "live-" + "a" * 30
NUMBER = "id integer PRIMARY KEY"
TOKEN = "token varchar REFERENCES access_token (token)"
TABLES = {
    "audit_entry": f"{NUMBER}, {TOKEN}",
    "strict_entry": f"{NUMBER}, {TOKEN} ON DELETE RESTRICT",
    "login_note": f"{NUMBER}, {TOKEN} ON DELETE CASCADE",
    "note_part": f"{NUMBER}, note_id integer REFERENCES login_note (id)",
    "note_copy": f"{NUMBER}, note_id integer REFERENCES login_note (id) ON DELETE CASCADE",
    "pointer": f"{NUMBER}, {TOKEN} ON DELETE SET NULL",
}


def create(project: Project, *names: str) -> None:
    """Make some of the other tables."""
    for name in names:
        project.rows(f"CREATE TABLE {name} ({TABLES[name]})")


def refer(project: Project, table: str, *values: Any) -> None:
    """Add rows that refer to something."""
    column = project.rows(f"SELECT * FROM {table} LIMIT 0") or TABLES[table].split(", ")[1]
    name = str(column).split()[0]
    for value in values:
        number = project.count(table) + 1
        project.rows(f"INSERT INTO {table} (id, {name}) VALUES (?, ?)", number, value)


@pytest.fixture
def ada(project: Project) -> Project:
    """A project with an account that has a live session and four stale ones."""
    user = project.add_user(ADA)
    project.add_session(user, token=LIVE)
    oracle.add_sessions(project, user, 4, now=datetime.now(UTC), dead=True)
    return project


def dead_of(project: Project) -> list[str]:
    """Return the tokens of the stale sessions, in order."""
    return sorted(project.tokens() - {LIVE})


OPTIONS = pytest.mark.parametrize(
    "options",
    [(), ("--expired-only",), ("--batch-size", "1"), ("--limit", "3")],
    ids=["", "by expiry", "one by one", "limited"],
)


class TestCleanup:
    """What a clean-up does to sessions that other tables refer to."""

    @OPTIONS
    @pytest.mark.parametrize("table", ["audit_entry", "strict_entry"])
    def test_only_protected_sessions_are_kept(
        self, ada: Project, table: str, options: tuple[str, ...]
    ) -> None:
        """It is counted, its table is named, and the run is complete."""
        create(ada, table)
        kept = dead_of(ada)[1]
        refer(ada, table, kept)
        planned = ada.json("session", "cleanup", *options, "--dry-run")
        assert (planned["matched"], planned["protected"]) == (3, 1)
        assert planned["protected_by"] == {f"{table}.token": 1}
        result = ada.run("session", "cleanup", *options, "-o", "json")
        assert result.code == 0, result
        report = result.json
        assert (report["deleted"], report["remaining"], report["protected"]) == (3, 0, 1)
        assert report["complete"] is True
        assert f"protected by other tables and kept: 1 ({table}.token)" in result.stderr
        assert ada.tokens() == {LIVE, kept}
        again = ada.json("session", "cleanup", *options, "--fail-incomplete")
        assert (again["matched"], again["protected"]) == (0, 1)

    @OPTIONS
    def test_rows_that_go_along_are_counted_before_and_after(
        self, ada: Project, options: tuple[str, ...]
    ) -> None:
        """Also those that go along with them; those of live sessions stay."""
        create(ada, "login_note", "note_copy")
        first, second, *_ = dead_of(ada)
        refer(ada, "login_note", first, first, second, LIVE)
        refer(ada, "note_copy", 1, 4)
        words = ("session", "cleanup", *(word for word in options if word != "3"))
        words = tuple(word for word in words if word != "--limit")
        expected = {"login_note.token": 3, "note_copy.note_id": 1}
        planned = ada.run(*words, "--dry-run", "-o", "json")
        assert planned.json["cascaded"] == expected
        assert "deleted by cascade: 3 in login_note.token, 1 in note_copy.note_id" in planned.stderr
        assert ada.count("login_note") == 4
        report = ada.json(*words)
        assert (report["deleted"], report["cascaded"]) == (4, expected)
        assert "protected_by" not in report
        assert (ada.count("login_note"), ada.count("note_copy")) == (1, 1)

    @OPTIONS
    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_a_table_that_can_not_be_read_protects_too(
        self, ada: Project, options: tuple[str, ...]
    ) -> None:
        """Its rows are unknown: the sessions they may refer to are kept, and the table is named."""
        create(ada, "audit_entry")
        first, second, *_ = dead_of(ada)
        refer(ada, "audit_entry", first, second)
        role = f"clerk_{uuid4().hex}"
        ada.rows(f"CREATE ROLE {role} LOGIN")
        ada.rows(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        ada.rows(f"REVOKE ALL ON audit_entry FROM {role}")
        try:
            clerk = replace(ada, environment={"CLARINET_DATABASE_USERNAME": role})
            result = clerk.run("session", "cleanup", *options, "-o", "json")
        finally:
            ada.rows(f"DROP OWNED BY {role}")
            ada.rows(f"DROP ROLE {role}")
        assert result.code == 0, result
        report = result.json
        assert (report["deleted"], report["remaining"], report["protected"]) == (2, 0, 2)
        assert report["protected_by"] == {"audit_entry.token": 2}
        assert "protected by other tables and kept: 2 (audit_entry.token)" in result.stderr
        assert ada.tokens() == {LIVE, first, second}

    def test_rows_that_would_go_along_may_be_protected_themselves(self, ada: Project) -> None:
        """Then their session is."""
        create(ada, "login_note", "note_part")
        first, second, *_ = dead_of(ada)
        refer(ada, "login_note", first, second)
        refer(ada, "note_part", 1)
        report = ada.json("session", "cleanup")
        assert (report["deleted"], report["remaining"], report["protected"]) == (3, 0, 1)
        assert report["protected_by"] == {"note_part.note_id": 1}
        assert report["cascaded"] == {"login_note.token": 1}
        assert ada.tokens() == {LIVE, first}

    def test_what_only_loses_its_reference_protects_nothing(self, ada: Project) -> None:
        """ON DELETE SET NULL: the session is deleted, the row stays."""
        create(ada, "pointer")
        refer(ada, "pointer", *dead_of(ada))
        report = ada.json("session", "cleanup")
        assert (report["deleted"], report["protected"]) == (4, 0)
        assert ada.rows("SELECT count(*) FROM pointer WHERE token IS NULL") == [(4,)]

    @pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
    def test_references_to_a_child_of_the_table_protect_too(self, ada: Project) -> None:
        """PostgreSQL: a foreign key may refer to a table that inherits from access_token."""
        ada.rows("CREATE TABLE access_token_old (PRIMARY KEY (token)) INHERITS (access_token)")
        ada.rows("CREATE TABLE entry (id integer, token varchar REFERENCES access_token_old)")
        token = dead_of(ada)[0]
        ada.rows(
            "WITH gone AS (DELETE FROM ONLY access_token WHERE token = ? RETURNING *)"
            " INSERT INTO access_token_old SELECT * FROM gone",
            token,
        )
        ada.rows("INSERT INTO entry VALUES (1, ?)", token)
        report = ada.json("session", "cleanup")
        assert (report["deleted"], report["protected"]) == (3, 1)
        assert ada.tokens() == {LIVE, token}


class TestRevoke:
    """A session that another table refers to ends all the same, and nothing is lost."""

    @pytest.mark.parametrize("table", ["audit_entry", "login_note"])
    @pytest.mark.parametrize(
        "words",
        [
            ("session", "revoke", LIVE[:8]),
            ("session", "revoke-user", ADA),
            ("session", "revoke-all", "--yes"),
            ("admin", "deactivate", ADA),
            ("admin", "reset-password", ADA, "--any-user", "--generate-password"),
        ],
        ids=lambda words: words[1],
    )
    def test_it_expires(self, ada: Project, table: str, words: tuple[str, ...]) -> None:
        """By every clock: it ends when it began. The other rows stay."""
        create(ada, table)
        refer(ada, table, LIVE)
        result = ada.run(*words, "-o", "json")
        assert result.code == 0, result
        ended = result.json
        if isinstance(ended, list):
            assert [change["result"] for change in ended] == ["revoked"]
        else:
            assert ended["sessions_revoked"] == 5
            assert ended.get("sessions_kept", 0) == 0
            assert ada.tokens() == {LIVE}
        assert ada.json("session", "show", LIVE[:8])["state"] == "expired"
        assert ada.count(table) == 1
        again = ada.run(*words, "-o", "json")
        assert again.code == 0, again

    def test_what_it_is_kept_for_can_be_deleted_later(self, ada: Project) -> None:
        """The next clean-up takes it with the rows that go along, and counts them."""
        create(ada, "login_note")
        refer(ada, "login_note", LIVE)
        assert ada.json("session", "revoke-user", ADA)["sessions_revoked"] == 5
        report = ada.json("session", "cleanup")
        assert (report["deleted"], report["cascaded"]) == (1, {"login_note.token": 1})


class TestDelete:
    """The rows that are deleted with an account, and those that prevent it."""

    def test_rows_that_go_along_are_counted_before_and_after(self, ada: Project) -> None:
        """Those of other tables that refer to the account, and to its sessions."""
        ada.rows(
            f"CREATE TABLE profile ({NUMBER}, user_id"
            f' {"uuid" if ada.server else "char(32)"} REFERENCES "user" (id) ON DELETE CASCADE)'
        )
        create(ada, "login_note")
        ada.rows("INSERT INTO profile VALUES (1, ?)", oracle.user_id_of(ada, ADA))
        ada.rows("INSERT INTO profile VALUES (2, ?)", oracle.user_id_of(ada, ADMIN))
        refer(ada, "login_note", LIVE)
        expected = {"profile.user_id": 1, "login_note.token": 1}
        planned = ada.json("admin", "delete", ADA, "--dry-run")
        assert (planned["result"], planned["cascaded"]) == ("would_delete", expected)
        assert ada.count("profile") == 2
        done = ada.json("admin", "delete", ADA, "--yes")
        assert (done["result"], done["cascaded"]) == ("deleted", expected)
        assert done["sessions_revoked"] == 5
        assert (ada.count("profile"), ada.count("login_note"), ada.count("access_token")) == (
            1,
            0,
            0,
        )

    @pytest.mark.parametrize("deep", [False, True])
    def test_a_protected_session_keeps_its_account(self, ada: Project, deep: bool) -> None:
        """4, naming the table, and nothing is changed."""
        if deep:
            create(ada, "login_note", "note_part")
            refer(ada, "login_note", LIVE)
            refer(ada, "note_part", 1)
        else:
            create(ada, "audit_entry")
            refer(ada, "audit_entry", LIVE)
        before = oracle.snapshot(ada)
        result = ada.run("admin", "delete", ADA, "--yes")
        assert (result.code, result.stdout) == (4, ""), result
        where = "note_part.note_id" if deep else "audit_entry.token"
        assert f"error: other rows refer to {ADA}: 1 in {where}" in result.stderr
        assert oracle.snapshot(ada) == before
