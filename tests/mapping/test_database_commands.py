"""The commands on the database as a whole, on the tables of other applications."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import (
    ADA,
    BOB,
    EVE,
    Application,
    application,
    mapped,
    populated,
    token_of,
)
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

OWN_SCHEMA_WORDS = ("db init", "migrate", "Clarinet tables")


def names_of(shop: Application) -> list[str]:
    """Return the tables of accounts and sessions as they are reported."""
    return [shop.layout.users.strip('"'), shop.layout.tokens]


def has_no_advice_for_own_tables(text: str) -> bool:
    """Return whether a text recommends nothing that the tables of an application refuse."""
    return not any(words in text for words in OWN_SCHEMA_WORDS)


def test_the_status_counts_the_mapped_tables(shop: Application) -> None:
    """By their own names; the schema is the application's, so there is no head revision."""
    status = shop.project.json("db", "status")
    users, tokens = names_of(shop)
    assert status["tables"] == {users: 3, tokens: 5}
    assert (status["revision"], status["head"]) == (None, None)
    assert status["managed_by"] == "the application"


def test_the_check_reads_the_mapped_tables(shop: Application) -> None:
    """Valid rows pass each check."""
    result = shop.project.run("db", "check", "-o", "json")
    assert result.code == 0, result
    assert {row["status"] for row in result.json} == {"ok"}
    assert {"schema", "ids", "timestamps", "orphans"} <= {row["check"] for row in result.json} | {
        "ids"
    }
    assert has_no_advice_for_own_tables(result.stdout)


@pytest.mark.parametrize("session_name", ["official-sqlite", "created-on-sqlite"])
def test_the_check_finds_wrong_rows(shop: Application) -> None:
    """A session without a user and an unreadable timestamp are errors that name the column."""
    tokens, created = shop.layout.tokens, shop.layout.created
    shop.project.rows("PRAGMA foreign_keys = OFF")
    shop.project.rows(f"UPDATE {tokens} SET {created} = 'soon' WHERE token LIKE 'bob%'")
    shop.project.rows(
        f"UPDATE {tokens} SET user_id = '00000000-0000-4000-8000-000000000000'"
        " WHERE token LIKE 'eve%'"
    )
    result = shop.project.run("db", "check", "-o", "json")
    assert result.code == ExitCode.CHECK_FAILED
    found = {row["check"]: row["detail"] for row in result.json if row["status"] == "error"}
    assert f"{tokens}.{created}: 1 row" in found["timestamps"]
    assert f"{tokens}.user_id: 1 row" in found["orphans"]


@pytest.mark.parametrize("session_name", ["official-pg", "schema-qualified-pg"])
def test_the_check_says_why_no_account_can_be_created(shop: Application) -> None:
    """A column without a default and without a value in the mapping is a warning."""
    users = shop.layout.users
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN birthday date")
    shop.project.rows(f"UPDATE {users} SET birthday = now()")
    shop.project.rows(f"ALTER TABLE {users} ALTER COLUMN birthday SET NOT NULL")
    rows = shop.project.json("db", "check")
    (warning,) = [row for row in rows if row["status"] == "warning"]
    assert "birthday" in warning["detail"]


@pytest.mark.parametrize("command", ["status", "check", "backup"])
def test_a_mapping_that_does_not_fit_is_refused(
    shop: Application, command: str, tmp_path: Path
) -> None:
    """Exit 78 with key, expected and found, and no backup."""
    file = shop.project.directory / "settings.toml"
    text = file.read_text().replace("[mapping]", '[mapping]\nlogin = "nickname"')
    file.write_text(text)
    target = tmp_path / "a.backup"
    result = shop.project.run("db", command, *([str(target)] if command == "backup" else []))
    assert result.code == ExitCode.CONFIGURATION, result
    assert "mapping.login: expected a column nickname, found none" in result.stderr
    assert not target.exists()


def test_the_database_is_backed_up_and_restored(shop: Application, tmp_path: Path) -> None:
    """All rows are restored but sessions, which are revoked unless they are kept."""
    users, tokens = names_of(shop)
    before, sessions = shop.users(), shop.tokens()
    backup = str(tmp_path / "a.backup")
    report = shop.project.json("db", "backup", backup)
    assert report["rows"] == {users: 3, tokens: 5}
    shop.project.json("session", "revoke-user", ADA)
    shop.project.json("admin", "delete", BOB, "--yes")
    clean = [] if shop.project.server is None else ["--clean"]
    plan = shop.project.json("db", "restore", backup, *clean, "--dry-run")
    assert (plan["rows"], plan["sessions_revoked"]) == ({users: 3, tokens: 0}, 5)
    assert plan["replaced"] == {users: 2, tokens: 1}
    assert shop.users().keys() == {ADA, EVE}
    kept = shop.project.json("db", "restore", backup, *clean, "--yes", "--keep-sessions")
    assert (kept["rows"], kept["sessions_revoked"]) == ({users: 3, tokens: 5}, 0)
    assert (shop.users(), shop.tokens()) == (before, sessions)
    report = shop.project.json("db", "restore", backup, *clean, "--yes")
    assert (report["rows"], report["sessions_revoked"]) == ({users: 3, tokens: 0}, 5)
    assert (shop.users(), shop.tokens()) == (before, set())


def test_a_copy_of_the_accounts_is_refused(shop: Application, tmp_path: Path) -> None:
    """Exit 5: it would be of tables that the application does not have."""
    target = tmp_path / "accounts.db"
    result = shop.project.run("db", "backup", str(target), "--accounts-only")
    assert result.code == ExitCode.REFUSED, result
    assert "--accounts-only" in result.stderr
    assert not target.exists()


@pytest.mark.parametrize("session_name", ["official-sqlite", "plural-int-pg"])
def test_accounts_of_a_backup_are_not_restored_alone(shop: Application, tmp_path: Path) -> None:
    """Exit 5 before anything is changed."""
    target = str(tmp_path / "whole.backup")
    assert shop.project.run("db", "backup", target).code == 0
    shop.project.json("session", "revoke-user", ADA)
    before = (shop.users(), shop.tokens())
    result = shop.project.run("db", "restore", target, "--accounts-only", "--yes")
    assert result.code == ExitCode.REFUSED, result
    assert (shop.users(), shop.tokens()) == before


@pytest.mark.parametrize("session_name", ["official-sqlite", "plural-int-pg", "official-pg"])
def test_accounts_that_are_marked_as_deleted_are_sound(shop: Application) -> None:
    """A session of one refers to a row that exists, and its rows are checked by queries."""
    users = shop.layout.users
    kind = "timestamptz" if shop.project.server else "timestamp"
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN deleted_at {kind}")
    shop.project.rows(f"UPDATE {users} SET deleted_at = CURRENT_TIMESTAMP WHERE email = ?", BOB)
    file = shop.project.directory / "settings.toml"
    text = file.read_text().replace("[mapping]", '[mapping]\nsoft_delete = "deleted_at"')
    file.write_text(text)
    result = shop.project.run("db", "check", "-o", "json")
    assert result.code == 0, result
    assert {row["status"] for row in result.json} == {"ok"}
    assert doctor(shop.project)["mapping"][0]["status"] == "ok"
    assert shop.project.json("db", "status")["tables"][names_of(shop)[0]] == 3


def test_an_archive_without_the_tables_is_refused(
    shop: Application, tmp_path: Path, created: Project
) -> None:
    """A backup of another program cannot be restored."""
    backup = tmp_path / "other.backup"
    assert created.run("db", "backup", str(backup)).code == 0
    before = shop.users()
    result = shop.project.run("db", "restore", str(backup), "--yes")
    assert result.code in (ExitCode.CHECK_FAILED, ExitCode.REFUSED, ExitCode.CONFLICT)
    assert has_no_advice_for_own_tables(result.stderr)
    assert shop.users() == before


def test_space_is_given_back(shop: Application) -> None:
    """The tables are vacuumed, and the rows stay."""
    before = (shop.users(), shop.tokens())
    for full in ([], ["--full", "--yes"]):
        report = shop.project.json("db", "vacuum", *full)
        assert report["bytes_after"] > 0
    assert (shop.users(), shop.tokens()) == before


@pytest.mark.parametrize(
    "words",
    [
        ("db", "init"),
        ("db", "reset", "--yes"),
        ("migrate", "upgrade"),
        ("migrate", "downgrade", "-1", "--yes"),
        ("migrate", "status"),
        ("migrate", "create", "-m", "x"),
        ("migrate", "stamp", "head"),
    ],
)
def test_the_schema_is_not_changed(app: Project, words: tuple[str, ...]) -> None:
    """Exit 5 names the owner of the schema, and the command that creates the first superuser."""
    mapped(app)
    result = app.run(*words)
    assert result.code == ExitCode.REFUSED, result
    assert "the schema is the application's" in result.stderr
    assert "db init --admin-only" in result.stderr


def test_the_first_superuser_is_created(app: Project, name: str) -> None:
    """``db init --admin-only`` makes the one of the settings, and nothing the second time."""
    mapped(app)
    environment = {"CLARINET_ADMIN_EMAIL": ADA, "CLARINET_ADMIN_PASSWORD": PASSWORD}
    planned = app.run("db", "init", "--admin-only", "--dry-run", "-o", "json", env=environment)
    assert planned.json == [{"step": "superuser", "result": "would_create", "detail": ADA}]
    for result in ("created", "unchanged"):
        found = app.run("db", "init", "--admin-only", "-o", "json", env=environment)
        assert found.code == 0, found
        assert found.json == [{"step": "superuser", "result": result, "detail": ADA}]
    (row,) = app.json("admin", "list")
    assert (row["email"], row["is_superuser"]) == (ADA, True)


@pytest.mark.parametrize("name", ["official-sqlite", "plural-int-pg"])
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["", "dry run"])
@pytest.mark.parametrize("words", ["db init --admin-only", "admin ensure", "admin create"])
def test_an_application_has_no_administrator_by_default(
    app: Project, words: str, dry_run: tuple[str, ...]
) -> None:
    """The server's own address is at a domain of others, who would get its mail."""
    mapped(app)
    environment = {"CLARINET_ADMIN_PASSWORD": PASSWORD}
    result = app.run(*words.split(), *dry_run, env=environment)
    assert result.code == ExitCode.USAGE, result
    assert "the settings have no admin_email" in result.stderr
    assert "CLARINET_ADMIN_EMAIL" in result.stderr
    assert app.json("admin", "list", "--all") == []


@pytest.mark.parametrize("name", ["official-sqlite", "plural-int-pg"])
def test_a_name_gets_no_domain_of_the_server(app: Project) -> None:
    """Neither an account nor a hint is at the domain of the Clarinet server."""
    mapped(app)
    for words in (["--username", "ada"], ["ada"]):
        result = app.run("admin", "create", *words, "--generate-password")
        assert result.code == ExitCode.USAGE, result
        assert "clarinet.ru" not in result.stderr
    assert app.json("admin", "list", "--all") == []
    assert app.run("admin", "create", "--username", ADA, "--generate-password").code == 0
    for words in ([], ["--username", "nobody"]):
        result = app.run("admin", "reset-password", *words, "--generate-password")
        assert result.code == (ExitCode.NOT_FOUND if words else ExitCode.USAGE), result
        assert "clarinet.ru" not in result.stderr
    assert f"superusers: {ADA}" in app.run("admin", "reset-password").stderr


def test_a_password_is_required_for_the_first_superuser(app: Project) -> None:
    """In a script without one: exit 2 names the ways."""
    mapped(app)
    environment = {"CLARINET_ADMIN_EMAIL": ADA}
    result = app.run("--no-input", "db", "init", "--admin-only", env=environment)
    assert result.code == ExitCode.USAGE
    assert "--generate-password" in result.stderr


def doctor(project: Project, *words: str) -> dict[str, list[dict[str, Any]]]:
    """Return the findings by check, without those on the files and settings of the test."""
    result = project.run("doctor", "-o", "json", *words)
    assert result.code in (0, ExitCode.CHECK_FAILED), result
    assert has_no_advice_for_own_tables(result.stdout), result.stdout
    found: dict[str, list[dict[str, Any]]] = {}
    for row in result.json:
        found.setdefault(row["check"], []).append(row)
    return found


def test_the_doctor_knows_the_usual_faults(shop: Application) -> None:
    """A missing index is named with its cost; checks of the Clarinet schema are not made."""
    found = doctor(shop.project)
    assert not {"revision", "drift", "indexes", "roles", "other-tables"} & found.keys()
    assert found["mapping"][0]["status"] == "ok"
    assert found["unique-addresses"][0]["status"] == "ok"
    assert found["superuser"][0]["status"] in ("ok", "error")
    missing = " ".join(row["detail"] for row in found["application-indexes"])
    tokens = names_of(shop)[1]
    assert f"no index on {tokens}.user_id" in missing
    no_index = shop.layout.created == "created_on"
    assert (f"no index on {tokens}.{shop.layout.created}" in missing) == no_index


def test_the_doctor_finds_a_backlog_and_removes_it(shop: Application) -> None:
    """Expired sessions that were not deleted; ``--fix`` removes only these."""
    shop.add_session(ADA, token_of("ada-old-1"), timedelta(days=40))
    live = {token for token in shop.tokens() if "live" in token}
    (row,) = doctor(shop.project)["backlog"]
    assert row["status"] == "warning"
    assert "fastapi-users itself never deletes them" in row["detail"]
    result = shop.project.run("doctor", "--fix", "--yes", "-o", "json")
    assert result.code in (0, ExitCode.CHECK_FAILED), result
    assert shop.tokens() == live
    assert "application-indexes" in {row["check"] for row in result.json}


def test_a_mapping_that_does_not_fit_ends_the_checks(shop: Application) -> None:
    """The finding has the key, and the number of skipped checks."""
    file = shop.project.directory / "settings.toml"
    file.write_text(file.read_text().replace("[mapping]", '[mapping]\nlogin = "nickname"'))
    found = doctor(shop.project)
    (row,) = found["mapping"]
    assert row["status"] == "error"
    assert "mapping.login" in row["detail"]
    assert "skipped" in row["detail"]
    assert "backlog" not in found


@pytest.mark.parametrize("session_name", ["official-sqlite", "plural-int-pg"])
def test_an_address_that_is_not_unique_is_found(shop: Application) -> None:
    """Without the index a warning; with one of the folded address none."""
    index = "ix_user_email" if shop.project.server is None else "ix_users_email"
    shop.project.rows(f"DROP INDEX {index}")
    assert doctor(shop.project)["unique-addresses"][0]["status"] == "warning"
    shop.project.rows(f"CREATE UNIQUE INDEX folded ON {shop.layout.users} (lower(email))")
    assert doctor(shop.project)["unique-addresses"][0]["status"] == "ok"


def test_no_active_superuser_is_found(shop: Application) -> None:
    """The remedy is a command that works on an application."""
    shop.project.rows(f"UPDATE {shop.layout.users} SET is_superuser = false")
    (row,) = doctor(shop.project)["superuser"]
    assert row["status"] == "error"
    assert row["hint"].startswith("clarinet admin ensure")


def test_a_missing_database_is_the_applications(tmp_path: Path, postgres: PostgresServer) -> None:
    """No hint recommends to create the tables of Clarinet."""
    with application("official-sqlite", tmp_path / "gone", postgres) as project:
        mapped(project)
        project.file.unlink()
        for words in (["db", "status"], ["db", "check"], ["doctor"], ["admin", "list"]):
            result = project.run(*words)
            assert result.code != 0
            assert has_no_advice_for_own_tables(result.stdout + result.stderr), result


@pytest.fixture
def jwt(tmp_path: Path, postgres: PostgresServer) -> Any:
    """An application with JWT, an unused table of sessions, and roles."""
    with application("composite-pk-jwt-pg", tmp_path / "jwt", postgres) as project:
        found = populated(project, "composite-pk-jwt-pg")
        file = project.directory / "settings.toml"
        text = file.read_text().replace('session_strategy = "database"', 'session_strategy = "jwt"')
        file.write_text(text)
        yield found


def test_an_application_with_other_sessions_is_maintained(jwt: Application, tmp_path: Path) -> None:
    """Its unused table of sessions is not counted, and no session is revoked by a restore."""
    counted = {"users": 3, "user_roles": 0, "user_role_mapping": 0}
    assert jwt.project.json("db", "status")["tables"] == counted
    assert jwt.project.run("db", "check").code == 0
    found = doctor(jwt.project)
    assert not {"backlog", "application-indexes", "absolute-limit"} & found.keys()
    before = jwt.users()
    backup = str(tmp_path / "a.dump")
    assert jwt.project.json("db", "backup", backup)["rows"] == counted
    jwt.project.json("admin", "delete", BOB, "--yes")
    report = jwt.project.json("db", "restore", backup, "--clean", "--yes")
    assert (report["rows"], report["sessions_revoked"]) == (counted, 0)
    assert jwt.users() == before
