"""What a mapped application's tables contradict or do not have is refused, never "0, unchanged"."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import (
    ADA,
    ANSWERS,
    BOB,
    EVE,
    HASH,
    Application,
    application,
    populated,
    token_of,
)
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

COMMANDS = (
    ("admin", "list", "--all"),
    ("admin", "show", ADA),
    ("admin", "export"),
    ("admin", "promote", BOB),
    ("admin", "demote", ADA),
    ("admin", "deactivate", BOB),
    ("admin", "delete", BOB, "--yes"),
    ("session", "stats"),
    ("session", "list"),
    ("session", "list-user", ADA),
    ("session", "revoke-user", ADA),
    ("session", "revoke-all", "--yes"),
    ("session", "cleanup"),
    ("session", "cleanup", "--dry-run"),
)


def settings_of(shop: Application, *changes: tuple[str, str]) -> None:
    """Change lines of the mapping."""
    file = shop.project.directory / "settings.toml"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("session_name", ["official-sqlite", "plural-int-pg"])
@pytest.mark.parametrize(
    ("key", "line", "expected"),
    [
        ("users", 'users = "accounts"', "accounts"),
        ("tokens", 'tokens = "logins"', "logins"),
        ("token_columns.created_at", 'token_columns = {created_at = "made"}', "a column made"),
        ("user_columns.email", 'user_columns = {email = "mail"}', "a column mail"),
        ("user_columns.id", 'id_form = "other"', "id_form "),
    ],
)
def test_a_wrong_mapping_is_refused_by_each_command(
    shop: Application, words: tuple[str, ...], key: str, line: str, expected: str
) -> None:
    """Exit 78 with the key, what was expected and what was found; nothing is changed."""
    before = (shop.users(), shop.tokens())
    name, _, value = line.partition(" = ")
    other = "uuid-dashed" if shop.layout.ids == "integer" else "integer"
    lines = [f"{name} = {value.replace('other', other)}"]
    if name != "tokens" and shop.layout.tokens != "accesstoken":
        lines.append(f'tokens = "{shop.layout.tokens}"')
    if name != "users" and shop.layout.users != '"user"':
        lines.append(f'users = "{shop.layout.users}"')
    if name != "id_form":
        form = "integer" if shop.layout.ids == "integer" else "uuid-dashed"
        lines.append(f'id_form = "{form}"')
    shop.project.write_settings("[mapping]\n" + "\n".join(lines) + "\n")
    result = shop.project.run(*words, env=ANSWERS)
    assert result.code == ExitCode.CONFIGURATION, result
    assert f"mapping.{key}: expected " in result.stderr
    assert expected in result.stderr
    assert ", found " in result.stderr
    assert result.stdout == ""
    assert (shop.users(), shop.tokens()) == before


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("session_name", ["same-names-dashed-sqlite"])
def test_ids_in_another_form_are_refused(shop: Application, words: tuple[str, ...]) -> None:
    """Tables with Clarinet's names and ids with dashes are not read as if they had none."""
    settings_of(shop, ('id_form = "uuid-dashed"', 'id_form = "uuid-hex"'))
    result = shop.project.run(*words)
    assert result.code == ExitCode.CONFIGURATION
    assert "mapping.user_columns.id: expected id_form uuid-hex" in result.stderr
    assert len(shop.tokens()) == 5


@pytest.mark.parametrize("session_name", ["official-sqlite"])
def test_rows_that_contradict_the_declared_type_are_refused(shop: Application) -> None:
    """A CHAR(36) that holds ids without dashes is seen by its rows."""
    shop.project.rows("UPDATE accesstoken SET user_id = replace(user_id, '-', '')")
    shop.project.rows("""UPDATE "user" SET id = replace(id, '-', '')""")
    result = shop.project.run("session", "revoke-user", ADA)
    assert result.code == ExitCode.CONFIGURATION
    assert "found '" in result.stderr
    assert len(shop.tokens()) == 5


@pytest.mark.parametrize("session_name", ["official-sqlite"])
def test_a_user_with_sessions_in_another_form_is_refused(shop: Application) -> None:
    """One row in another form is not left behind in silence."""
    shop.project.rows(
        "UPDATE accesstoken SET user_id = replace(user_id, '-', '') WHERE token = ?",
        token_of("ada-live-2"),
    )
    result = shop.project.run("session", "revoke-user", ADA)
    assert result.code == ExitCode.CONFIGURATION
    assert "token_columns.user_id" in result.stderr
    assert len(shop.tokens()) == 5


@pytest.mark.parametrize("session_name", ["official-sqlite", "official-pg"])
@pytest.mark.parametrize("missing", ["session_strategy", "session_lifetime_seconds"])
def test_missing_answers_are_required(shop: Application, missing: str) -> None:
    """With only the preset, without strategy or lifetime, commands are refused."""
    shop.project.write_settings('mapping = "fastapi-users"\n')
    env = {key: value for key, value in ANSWERS.items() if missing.upper() not in key}
    for words in COMMANDS:
        result = shop.project.run(*words, env=env)
        assert result.code == ExitCode.CONFIGURATION
        assert missing in result.stderr
    assert len(shop.tokens()) == 5


@pytest.mark.parametrize("session_name", ["official-sqlite", "official-pg"])
def test_the_preset_is_enough_for_the_documented_application(shop: Application) -> None:
    """One line, and the two answers by the environment."""
    shop.project.write_settings('mapping = "fastapi-users"\n')
    assert len(shop.project.json("admin", "list", "--all", env=ANSWERS)) == 3
    assert shop.project.json("session", "cleanup", env=ANSWERS)["deleted"] == 1


@pytest.mark.parametrize("session_name", ["official-sqlite", "official-pg"])
@pytest.mark.parametrize("strategy", ["jwt", "redis"])
def test_sessions_elsewhere_are_refused_before_any_query(shop: Application, strategy: str) -> None:
    """Exit 5 with the reason, even while the database cannot be reached."""
    file = shop.project.directory / "settings.toml"
    file.write_text(file.read_text().replace("database_name", "# database_name"))
    for words in COMMANDS:
        if words[0] == "session":
            result = shop.project.run(*words, env={"CLARINET_SESSION_STRATEGY": strategy})
            assert result.code == ExitCode.REFUSED
            assert f"sessions of the strategy {strategy}" in result.stderr
    assert len(shop.tokens()) == 5


@pytest.fixture
def jwt(tmp_path: Path, postgres: PostgresServer) -> Iterator[Application]:
    """An application with JWT, an unused table of sessions, and roles."""
    name = "composite-pk-jwt-pg"
    with application(name, tmp_path / "jwt", postgres) as project:
        yield populated(project, name)


def with_jwt(project: Project, *words: str, **options: Any) -> Any:
    """Run a command that must succeed, with the strategy of the application."""
    env = {"CLARINET_SESSION_STRATEGY": "jwt"}
    result = project.run(*words, "-o", "json", env=env, **options)
    assert result.code == 0, result
    return result


def test_accounts_with_tokens_elsewhere_are_changed(jwt: Application) -> None:
    """Account changes succeed, with a warning that sessions remain valid."""
    demoted = with_jwt(jwt.project, "admin", "promote", BOB)
    assert demoted.json["result"] == "updated"
    result = with_jwt(jwt.project, "admin", "deactivate", BOB)
    assert result.json["sessions_revoked"] == 0
    assert "strategy jwt stay valid for up to 3600 s" in result.stderr
    assert jwt.users()[BOB][2:4] == (False, True)
    created = with_jwt(
        jwt.project,
        *("admin", "create", "--email", "new@example.org", "--password-stdin"),
        stdin=PASSWORD,
    )
    assert jwt.users()["new@example.org"][0] == str(created.json["id"])


def test_roles_of_a_link_table_are_shown_and_deleted(jwt: Application) -> None:
    """The role's name comes from its own table; a deleted account loses its links."""
    rows = jwt.project.rows
    rows("INSERT INTO user_roles (name) VALUES ('editor')")
    rows(
        "INSERT INTO user_role_mapping SELECT u.id, r.id FROM users u, user_roles r"
        " WHERE u.email IN (?, ?)",
        ADA,
        BOB,
    )
    found = with_jwt(jwt.project, "admin", "list", "--all").json
    assert {row["email"]: row["roles"] for row in found} == {
        ADA: ["editor"],
        BOB: ["editor"],
        EVE: [],
    }
    only = with_jwt(jwt.project, "admin", "list", "--all", "--role", "editor").json
    assert [row["email"] for row in only] == [ADA, BOB]
    with_jwt(jwt.project, "admin", "delete", BOB, "--yes")
    assert jwt.users().keys() == {ADA, EVE}
    assert rows("SELECT count(*) FROM user_role_mapping") == [(1,)]


def test_a_reference_that_objects_is_a_conflict(jwt: Application) -> None:
    """Exit 4 names the table; the account stays."""
    jwt.project.rows("INSERT INTO builds (owner_id) SELECT id FROM users WHERE email = ?", BOB)
    env = {"CLARINET_SESSION_STRATEGY": "jwt"}
    result = jwt.project.run("admin", "delete", BOB, "--yes", env=env)
    assert result.code == ExitCode.CONFLICT
    assert "builds.owner_id" in result.stderr
    assert BOB in jwt.users()


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_accounts_that_are_marked_as_deleted_are_left_out(shop: Application) -> None:
    """They are in no list and cannot be named; the rest is as before."""
    table = shop.layout.users
    shop.project.rows(f"ALTER TABLE {table} ADD COLUMN deleted_at timestamp")
    shop.project.rows(f"UPDATE {table} SET deleted_at = CURRENT_TIMESTAMP WHERE email = ?", BOB)
    settings_of(shop, ("[mapping]\n", '[mapping]\nsoft_delete = "deleted_at"\n'))
    rows = shop.project.json("admin", "list", "--all")
    assert [row["email"] for row in rows] == [ADA, EVE]
    assert shop.project.run("admin", "promote", BOB).code == ExitCode.NOT_FOUND
    assert shop.project.json("admin", "activate", EVE)["result"] == "updated"
    assert shop.users()[BOB] == (str(shop.ids[BOB]), HASH, True, False, True)


@pytest.mark.parametrize("session_name", ["plural-int-pg"])
def test_a_role_column_is_shown(shop: Application) -> None:
    """An enumeration counts as the one role of an account."""
    shop.project.rows("CREATE TYPE kind AS ENUM ('editor', 'reader')")
    shop.project.rows("ALTER TABLE users ADD COLUMN role kind NOT NULL DEFAULT 'reader'")
    settings_of(shop, ("[mapping]\n", '[mapping]\nroles = "column"\nrole_column = "role"\n'))
    assert shop.project.json("admin", "show", ADA)["roles"] == ["reader"]
    by_role = shop.project.json("session", "stats", "--by", "role")
    assert [(row["key"], row["total"]) for row in by_role] == [("reader", 5)]
    assert shop.project.json("admin", "promote", BOB)["roles"] == ["reader"]


@pytest.mark.parametrize("session_name", ["official-sqlite"])
def test_ids_that_are_any_text_name_their_account(shop: Application) -> None:
    """A text id is compared as it is."""
    shop.project.rows("PRAGMA foreign_keys = OFF")
    shop.project.rows("""UPDATE "user" SET id = 'usr_ada' WHERE email = ?""", ADA)
    shop.project.rows("UPDATE accesstoken SET user_id = 'usr_ada' WHERE token LIKE 'ada%'")
    settings_of(shop, ('id_form = "uuid-dashed"', 'id_form = "text"'))
    assert shop.project.json("admin", "show", "usr_ada")["sessions"] == 2
    assert shop.project.json("session", "revoke-user", "usr_ada")["sessions_revoked"] == 3
    assert len(shop.tokens()) == 2


@pytest.mark.parametrize("session_name", ["plural-int-username-pg", "created-on-sqlite"])
def test_a_user_is_named_by_the_column_of_the_log_in(shop: Application) -> None:
    """With login = "username" that name is accepted beside address and id."""
    settings_of(shop, ("[mapping]\n", '[mapping]\nlogin = "username"\n'))
    assert shop.project.json("admin", "show", "ada")["email"] == ADA
    assert shop.project.run("admin", "show", "zoe").code == ExitCode.NOT_FOUND


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_optional_columns_of_a_session_are_used(shop: Application) -> None:
    """A stored expiry counts, and the address is shown; the lifetime is not needed."""
    table = shop.layout.tokens
    kind = "timestamptz" if shop.project.server else "timestamp"
    shop.project.rows(f"ALTER TABLE {table} ADD COLUMN expires_on {kind}")
    shop.project.rows(f"ALTER TABLE {table} ADD COLUMN ip varchar")
    later = "created_at + interval '10 years'"
    if not shop.project.server:
        later = "strftime('%Y-%m-%d %H:%M:%f000', created_at, '+10 years')"
    shop.project.rows(f"UPDATE {table} SET expires_on = {later}, ip = '10.0.0.1'")
    result = shop.project.run("db", "inspect", "--write", "--force")
    assert result.code == 0, result
    settings_of(shop, ("session_lifetime_seconds = 3600\n", ""))
    rows = shop.project.json("session", "list")
    assert {row["state"] for row in rows} == {"active", "blocked"}
    assert {row["ip_address"] for row in rows} == {"10.0.0.1"}
    assert shop.project.json("session", "cleanup")["matched"] == 0
    assert len(shop.project.json("session", "list", "--ip", "10.0.0.1")) == 5


@pytest.mark.parametrize("kind", ["varchar(45)", "inet"])
@pytest.mark.parametrize("session_name", ["plural-int-pg"])
def test_networks_are_found_in_columns_of_either_type(shop: Application, kind: str) -> None:
    """The address may be text or ``inet``; it is shown and compared alike."""
    table = shop.layout.tokens
    shop.project.rows(f"ALTER TABLE {table} ADD COLUMN ip_address {kind}")
    shop.project.rows(f"UPDATE {table} SET ip_address = '203.0.113.7' WHERE token LIKE 'ada%'")
    shop.project.rows(f"UPDATE {table} SET ip_address = '2001:db8::1' WHERE token LIKE 'bob%'")
    result = shop.project.run("db", "inspect", "--write", "--force", env=ANSWERS)
    assert result.code == 0, result
    rows = shop.project.json("session", "list", "--ip", "203.0.113.0/24")
    assert [row["ip_address"] for row in rows] == ["203.0.113.7"] * 3
    (row,) = shop.project.json("session", "list", "--ip", "2001:DB8::/32")
    assert row["ip_address"] == "2001:db8::1"
    changes = shop.project.json("session", "revoke", "--ip", "203.0.113.7", "--yes")
    assert [change["result"] for change in changes] == ["revoked"] * 3
    assert shop.tokens() == {token_of("bob-live-1"), token_of("eve-live-1")}


@pytest.mark.parametrize("command", ["list", "revoke"])
@pytest.mark.parametrize(
    ("option", "column"),
    [
        ("--ip=10.0.0.1", "ip_address"),
        ("--agent=curl", "user_agent"),
        ("--idle-for=1h", "last_accessed"),
    ],
)
def test_a_filter_by_a_column_that_is_not_stored_is_refused(
    shop: Application, command: str, option: str, column: str
) -> None:
    """Exit 5 names the column: no session would match, which is not what was meant."""
    before = shop.tokens()
    result = shop.project.run("session", command, option)
    assert result.code == ExitCode.REFUSED
    assert f"no column {column}" in result.stderr
    assert shop.tokens() == before


def test_an_account_without_a_password_is_shown_and_changed(jwt: Application) -> None:
    """OAuth accounts have no hash; a promotion warns that no password lets them in."""
    jwt.project.rows("UPDATE users SET hashed_password = NULL WHERE email = ?", BOB)
    assert with_jwt(jwt.project, "admin", "show", BOB).json["email"] == BOB
    assert with_jwt(jwt.project, "admin", "promote", BOB).json["result"] == "updated"
    words = ("admin", "reset-password", BOB, "--password-stdin")
    with_jwt(jwt.project, *words, stdin=PASSWORD)
    assert jwt.users()[BOB][1].startswith("$argon2id$")


@pytest.mark.parametrize("session_name", ["plural-int-pg"])
def test_a_check_that_objects_is_a_conflict(shop: Application) -> None:
    """Exit 4 names the constraint; nothing is changed."""
    rule = "CONSTRAINT staff_only CHECK (NOT is_superuser OR email LIKE 'ada%')"
    shop.project.rows(f"ALTER TABLE users ADD {rule}")
    result = shop.project.run("admin", "promote", BOB)
    assert result.code == ExitCode.CONFLICT
    assert "staff_only" in result.stderr
    assert shop.users()[BOB][3] is False


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_rows_that_refer_to_sessions_are_respected(shop: Application) -> None:
    """Without a stored expiry such a session can be neither deleted nor ended: exit 4."""
    shop.project.rows(
        f"CREATE TABLE visits (token varchar(43) NOT NULL REFERENCES {shop.layout.tokens}(token))"
    )
    shop.project.rows("INSERT INTO visits VALUES (?)", token_of("bob-live-1"))
    refused = shop.project.run("session", "revoke-user", BOB)
    assert refused.code == ExitCode.CONFLICT
    assert "visits.token" in refused.stderr
    assert shop.project.json("session", "revoke-user", ADA)["sessions_revoked"] == 3
    assert shop.tokens() == {token_of("bob-live-1"), token_of("eve-live-1")}
    report = shop.project.json("session", "cleanup", "--days", "0")
    assert report["deleted"] == 0


@pytest.mark.parametrize("words", [("db", "init", "--generate-password"), ("migrate", "upgrade")])
@pytest.mark.parametrize("schema", ["plural-int-pg", "schema-qualified-pg"])
def test_no_tables_are_created_beside_those_of_an_application(
    tmp_path: Path, postgres: PostgresServer, schema: str, words: tuple[str, ...]
) -> None:
    """Without a mapping the tables of Clarinet are missing, but others are meant."""
    query = "SELECT relname::text FROM pg_class WHERE relname IN ('user', 'access_token')"
    with application(schema, tmp_path / "app", postgres) as project:
        for options in ((), ("--dry-run",)):
            refused = project.run(*words, *options)
            assert refused.code == ExitCode.REFUSED
            assert "the database has the accounts of an application: " in refused.stderr
            assert "hint: 'clarinet db inspect --write' maps its tables" in refused.stderr
        assert project.rows(query) == []
        assert project.run(*words, "--schema-anyway").code == 0
        assert sorted(project.rows(query)) == [("access_token",), ("user",)]


def test_the_migrations_of_an_application_are_not_those_of_a_server(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """The hint names what maps its tables, since they never become those of Clarinet."""
    with application("plural-int-pg", tmp_path / "app", postgres) as project:
        project.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        project.rows("INSERT INTO alembic_version VALUES ('453584a0fa73')")
        refused = project.run("db", "init", "--generate-password")
        assert refused.code == ExitCode.REFUSED
        assert "'clarinet db inspect --write' maps its tables" in refused.stderr
