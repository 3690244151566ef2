"""Applications whose tables differ more from the documented ones than the fixtures do."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import ADA, ANSWERS, BOB, HASH, database, mapped, token_of
from tests.postgres import PostgresServer
from tests.support import Project

FLAGS = "is_active boolean NOT NULL, is_superuser boolean NOT NULL, is_verified boolean NOT NULL"
ACCOUNT = "email varchar(320) NOT NULL UNIQUE, hashed_password varchar(1024) NOT NULL, " + FLAGS
TOKEN = "token varchar(43) PRIMARY KEY, created_at {instant} NOT NULL, user_id {id} NOT NULL"
IDS = ("3f0c5f5e-0000-4000-8000-00000000000a", "3f0c5f5e-0000-4000-8000-00000000000b")
Made = Callable[..., Project]


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return str(request.param)


@pytest.fixture
def made(backend: str, tmp_path: Path, postgres: PostgresServer) -> Iterator[Made]:
    """Create the project of a schema; ``{id}`` and ``{instant}`` are types of the backend."""
    on_sqlite = backend == "sqlite"
    opened = []

    def make(*tables: str, **types: str) -> Project:
        names = {
            "id": "char(36)" if on_sqlite else "uuid",
            "instant": "timestamp" if on_sqlite else "timestamptz",
            "account": ACCOUNT,
            "token": TOKEN,
        } | types
        script = ";".join(tables)
        for _ in range(2):
            for name, value in names.items():
                script = script.replace(f"{{{name}}}", value)
        context = database(script, tmp_path / "app", None if on_sqlite else postgres)
        opened.append(context)
        return context.__enter__()

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def tables(users: str = "", tokens: str = "") -> tuple[str, str]:
    """Return plain tables ``users`` and ``access_tokens`` with further columns."""
    return (
        f"CREATE TABLE users (id {{id}} PRIMARY KEY, {{account}}{users})",
        f"CREATE TABLE access_tokens ({{token}} REFERENCES users(id) ON DELETE CASCADE{tokens})",
    )


def add_users(project: Project, ids: tuple[Any, Any] = IDS, **further: str) -> None:
    """Insert a superuser and another account without the tool; *further* is SQL."""
    names, values = (
        "".join(f", {name}" for name in further),
        "".join(f", {value}" for value in further.values()),
    )
    for key, email, superuser in zip(ids, (ADA, BOB), ("true", "false"), strict=True):
        project.rows(
            "INSERT INTO users (id, email, hashed_password, is_active, is_superuser, is_verified"
            f"{names}) VALUES ('{key}', '{email}', '{HASH}', true, {superuser}, true{values})"
        )


def add_token(project: Project, created: str, key: str = IDS[0]) -> None:
    """Insert a session without the tool; *created* is SQL."""
    project.rows(
        "INSERT INTO access_tokens (token, created_at, user_id)"
        f" VALUES ('{token_of('live')}', {created}, '{key}')"
    )


def mapping_of(project: Project) -> Any:
    """Return the mapping that ``db inspect`` has written."""
    mapped(project)
    return tomllib.loads((project.directory / "settings.toml").read_text("utf-8"))["mapping"]


def uncertain(project: Project) -> Any:
    """Return what ``db inspect`` is uncertain of, with both answers given."""
    return project.json("--no-input", "db", "inspect", env=ANSWERS)["uncertain"]


def emails(project: Project) -> set[str]:
    """Return the addresses of all accounts that are listed."""
    return {row["email"] for row in project.json("admin", "list", "--all")}


def test_a_unique_column_beside_a_type_with_a_length_is_seen(made: Made) -> None:
    """A token that is unique and not the key makes a table of sessions; the address is unique."""
    project = made(
        "CREATE TABLE auth__user (id {id} PRIMARY KEY, {account})",
        "CREATE TABLE sessions (id integer PRIMARY KEY, token varchar(43) NOT NULL UNIQUE,"
        " user_id {id} NOT NULL REFERENCES auth__user(id), created_on {instant} NOT NULL,"
        " last_seen {instant}, ip varchar(45), agent text)",
    )
    assert uncertain(project) == {}
    found = mapping_of(project)
    assert (found["users"], found["tokens"]) == ("auth__user", "sessions")
    assert found["token_columns"] == {
        "created_at": "created_on",
        "last_accessed": "last_seen",
        "ip_address": "ip",
        "user_agent": "agent",
    }


@pytest.mark.parametrize("backend", ["postgresql"])
def test_names_in_camel_case_are_recognised(made: Made) -> None:
    """``hashedPassword`` is a password's hash, and the commands work with such names."""
    project = made(
        'CREATE TABLE "User" ("id" uuid PRIMARY KEY, "email" text NOT NULL UNIQUE,'
        ' "hashedPassword" text NOT NULL, "isActive" boolean NOT NULL,'
        ' "isSuperuser" boolean NOT NULL, "isVerified" boolean NOT NULL)',
        'CREATE TABLE "AccessToken" ("token" text PRIMARY KEY, "createdAt" timestamptz NOT NULL,'
        ' "userId" uuid NOT NULL REFERENCES "User"("id"))',
    )
    found = mapping_of(project)
    assert found["token_columns"] == {"user_id": "userId", "created_at": "createdAt"}
    assert project.run("admin", "create", "--email", ADA, "--generate-password").code == 0
    assert emails(project) == {ADA}


@pytest.mark.parametrize("backend", ["postgresql"])
def test_further_values_may_be_json_and_arrays(made: Made) -> None:
    """Braces without a name are not a placeholder."""
    project = made(
        *tables(", tags jsonb NOT NULL, options text[] NOT NULL, birthday date NOT NULL")
    )
    mapped(project)
    with (project.directory / "settings.toml").open("a", encoding="utf-8") as file:
        file.write(
            "[mapping.create_values]\ntags = '{}'\noptions = '{}'\nbirthday = '2000-01-01'\n"
        )
    result = project.run("admin", "create", "--email", ADA, "--generate-password")
    assert result.code == 0, result
    assert project.rows("SELECT tags::text, options FROM users") == [("{}", [])]


@pytest.mark.parametrize("name", ["password_reset_tokens", "refresh_token", "api_keys"])
def test_tokens_of_another_purpose_are_not_taken_for_sessions(made: Made, name: str) -> None:
    """The only table with tokens is uncertain if its name has another meaning: exit 5."""
    project = made(tables()[0], f"CREATE TABLE {name} ({{token}} REFERENCES users(id))")
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert f"tokens: {name} may have another purpose" in refused.stderr
    assert "there is no table of sessions" not in refused.stderr
    assert "[mapping]" in refused.stderr
    assert "CLARINET_SESSION_STRATEGY" not in refused.stderr


def test_one_reason_for_tokens_that_are_uncertain(made: Made) -> None:
    """Several candidates are not "no table of sessions" as well."""
    project = made(*tables(), "CREATE TABLE logins ({token} REFERENCES users(id))")
    assert uncertain(project).keys() == {"tokens"}
    assert "there is no table" not in uncertain(project)["tokens"]


@pytest.mark.parametrize("kind", ["json", "integer"])
def test_a_role_that_is_no_name_is_not_mapped(made: Made, kind: str) -> None:
    """A list in JSON or a number is not a role that can be granted."""
    assert "roles" not in mapping_of(made(*tables(f", role {kind}")))


def test_roles_in_an_array_are_not_mapped(tmp_path: Path, postgres: PostgresServer) -> None:
    """Nor is an array of PostgreSQL."""
    script = ";".join(tables(", role text[]"))
    for name, value in {"{account}": ACCOUNT, "{token}": TOKEN, "{instant}": "timestamptz"}.items():
        script = script.replace(name, value)
    script = script.replace("{id}", "uuid").replace("{instant}", "timestamptz")
    with database(script, tmp_path / "app", postgres) as project:
        assert "roles" not in mapping_of(project)


def test_accounts_that_a_flag_marks_as_deleted(made: Made) -> None:
    """They are in no list; ``--soft`` sets the flag; a new account gets false."""
    project = made(*tables(", is_deleted boolean NOT NULL"))
    add_users(project, is_deleted="false")
    assert "soft_delete" in uncertain(project)
    found = mapping_of(project)
    assert (found["soft_delete"], found["soft_delete_flag"]) == ("is_deleted", True)
    assert found["create_values"] == {"is_deleted": False}
    assert emails(project) == {ADA, BOB}
    assert project.run("admin", "delete", BOB, "--soft", "--yes").code == 0
    assert emails(project) == {ADA}
    assert {bool(row[0]) for row in project.rows("SELECT is_deleted FROM users")} == {False, True}
    made_ = project.run("admin", "create", "--email", "new@example.org", "--generate-password")
    assert made_.code == 0, made_
    assert emails(project) == {ADA, "new@example.org"}
    file = project.directory / "settings.toml"
    file.write_text(file.read_text().replace("soft_delete_flag = true\n", ""))
    refused = project.run("admin", "list")
    assert refused.code == ExitCode.CONFIGURATION
    assert "mapping.soft_delete_flag: expected true, found false" in refused.stderr


def test_a_text_that_is_too_short_for_a_uuid_needs_a_value(made: Made) -> None:
    """Accounts with ids of 21 characters are found; creating one is refused, 5, with the key."""
    project = made(*tables(), id="varchar(21)")
    add_users(project, ("V1StGXR8_Z5jdHi6B-myT", "0tGXR8_Z5jdHi6B-myTVa"))
    assert mapping_of(project)["id_form"] == "text"
    assert project.json("admin", "show", "0tGXR8_Z5jdHi6B-myTVa")["email"] == BOB
    words = ("admin", "create", "--email", "new@example.org", "--generate-password")
    refused = project.run(*words)
    assert refused.code == ExitCode.REFUSED
    assert "users.id (create_values.id)" in refused.stderr
    assert emails(project) == {ADA, BOB}
    with (project.directory / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('[mapping.create_values]\nid = "{local_part}"\n')
    assert project.json(*words)["id"] == "new"
    assert emails(project) == {ADA, BOB, "new@example.org"}


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_id_that_the_database_generates_is_left_to_it(made: Made) -> None:
    """A text with a default gets the default."""
    project = made(*tables(), id="varchar(12) DEFAULT 'usr_' || substr(md5(random()::text), 1, 8)")
    mapped(project)
    found = project.json("admin", "create", "--email", ADA, "--generate-password")
    assert found["id"].startswith("usr_")


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_number_that_the_database_does_not_generate_needs_a_value(made: Made) -> None:
    """An integer key without a default is refused before the INSERT."""
    project = made(*tables(), id="integer")
    mapped(project)
    refused = project.run("admin", "create", "--email", ADA, "--generate-password")
    assert refused.code == ExitCode.REFUSED
    assert "create_values.id" in refused.stderr


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("stored", ["hex", "upper"])
def test_ids_of_text_in_another_form_are_refused_on_postgresql(made: Made, stored: str) -> None:
    """A column of 36 characters that holds other forms than dashes and lower case: exit 78."""
    project = made(*tables(), id="varchar(36)")
    forms = {"hex": [key.replace("-", "") for key in IDS], "upper": [key.upper() for key in IDS]}
    first, second = forms[stored]
    mapped(project)
    add_users(project, (first, second))
    for words in (("admin", "list"), ("admin", "show", first), ("session", "revoke-user", ADA)):
        refused = project.run(*words)
        assert refused.code == ExitCode.CONFIGURATION
        assert "mapping.user_columns.id: expected id_form uuid-dashed" in refused.stderr
        assert 'id_form = "text"' in refused.stderr
    file = project.directory / "settings.toml"
    file.write_text(file.read_text().replace('id_form = "uuid-dashed"', 'id_form = "text"'))
    assert project.json("admin", "show", first)["email"] == ADA


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    "stored",
    ["strftime('%s')", "strftime('%Y-%m-%dT%H:%M:%SZ')", "strftime('%Y-%m-%d %H:%M:%S+02:00')"],
)
@pytest.mark.parametrize("kind", ["timestamp", "integer", "text"])
def test_timestamps_that_cannot_be_compared_are_refused(made: Made, stored: str, kind: str) -> None:
    """Seconds since 1970, or ISO 8601 with T: exit 78, and not "0 expired"."""
    project = made(*tables(), instant="timestamp")
    mapped(project)
    if kind != "timestamp":
        project.rows("DROP TABLE access_tokens")
        project.rows(
            f"CREATE TABLE access_tokens (token varchar PRIMARY KEY, created_at {kind},"
            " user_id char(36))"
        )
    add_users(project)
    add_token(project, stored)
    for words in (("session", "cleanup"), ("session", "stats"), ("session", "list")):
        refused = project.run(*words)
        assert refused.code == ExitCode.CONFIGURATION, refused
        assert "mapping.token_columns.created_at: expected YYYY-MM-DD" in refused.stderr
    project.rows("UPDATE access_tokens SET created_at = datetime('now')")
    assert project.json("session", "stats")["active"] == 1


def test_views_are_refused(made: Made) -> None:
    """A view has no rows that can be addressed: exit 78 instead of "0, unchanged"."""
    project = made(
        "CREATE TABLE people (id {id} PRIMARY KEY, {account})",
        "CREATE TABLE logins ({token} REFERENCES people(id))",
        "CREATE VIEW users AS SELECT * FROM people",
        "CREATE VIEW access_tokens AS SELECT * FROM logins",
    )
    assert (mapping_of(project)["users"], mapping_of(project)["tokens"]) == ("people", "logins")
    file = project.directory / "settings.toml"
    before = file.read_text()
    for key, old, new in (("users", "people", "users"), ("tokens", "logins", "access_tokens")):
        file.write_text(before.replace(f'"{old}"', f'"{new}"'))
        for words in (("session", "revoke-all", "--yes"), ("db", "check"), ("admin", "list")):
            refused = project.run(*words)
            assert refused.code == ExitCode.CONFIGURATION, refused
            assert f"mapping.{key}: expected an ordinary table" in refused.stderr
            assert "found view" in refused.stderr
            assert "hint: name the table that the view reads" in refused.stderr


@pytest.mark.parametrize("backend", ["sqlite"])
def test_sessions_without_rowids_are_refused(made: Made) -> None:
    """Batches of SQLite go by rowid: exit 78; accounts need none."""
    users, tokens = tables()
    project = made(f"{users} WITHOUT ROWID", tokens)
    mapped(project)
    add_users(project)
    assert emails(project) == {ADA, BOB}
    project.rows("ALTER TABLE access_tokens RENAME TO logins")
    project.rows(
        "CREATE TABLE access_tokens (token varchar(43) PRIMARY KEY, created_at timestamp,"
        " user_id char(36)) WITHOUT ROWID"
    )
    refused = project.run("session", "revoke-all", "--yes")
    assert refused.code == ExitCode.CONFIGURATION
    assert "found WITHOUT ROWID" in refused.stderr


@pytest.mark.parametrize("backend", ["postgresql"])
def test_timestamps_without_a_time_zone_need_one_in_the_mapping(made: Made) -> None:
    """No catalogue shows their zone: uncertain, and 78; as UTC they are compared as such."""
    project = made(*tables(), instant="timestamp")
    name = project.database
    project.rows(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert "naive_timestamps: access_tokens.created_at has no time zone" in refused.stderr
    lines = '[mapping]\nusers = "users"\ntokens = "access_tokens"\n'
    project.write_settings(lines)
    refused = project.run("session", "cleanup", env=ANSWERS)
    assert refused.code == ExitCode.CONFIGURATION
    assert 'naive_timestamps = "utc"' in refused.stderr
    project.write_settings(f'{lines}naive_timestamps = "utc"\n')
    add_users(project)
    add_token(project, "now() AT TIME ZONE 'UTC' - interval '59 minutes'")
    found = project.json("session", "list", env=ANSWERS)
    assert [row["state"] for row in found] == ["active"]
    assert project.json("session", "cleanup", env=ANSWERS)["deleted"] == 0
    project.rows("UPDATE access_tokens SET created_at = created_at - interval '2 minutes'")
    assert project.json("session", "stats", env=ANSWERS)["expired"] == 1
    assert project.json("session", "cleanup", env=ANSWERS)["deleted"] == 1
    project.rows("ALTER TABLE access_tokens ALTER created_at TYPE timestamptz")
    refused = project.run("session", "cleanup", env=ANSWERS)
    assert "expected timestamp without time zone" in refused.stderr


@pytest.mark.parametrize("backend", ["postgresql"])
def test_columns_of_a_domain_are_those_of_its_type(made: Made) -> None:
    """A domain over text is a text, one over uuid an id."""
    project = made(
        "CREATE DOMAIN mail AS varchar(320)",
        "CREATE DOMAIN user_id AS uuid",
        tables()[0].replace("{account}", ACCOUNT.replace("varchar(320)", "mail")),
        tables()[1],
        id="user_id",
    )
    assert mapping_of(project).get("id_form", "uuid") == "uuid"
    assert project.run("admin", "create", "--email", ADA, "--generate-password").code == 0
    assert emails(project) == {ADA}


def test_a_trigger_that_refuses_a_change_is_an_error(made: Made, backend: str) -> None:
    """Exit 1 with the reason; the account and its session stay."""
    project = made(*tables())
    mapped(project)
    add_users(project)
    add_token(project, "CURRENT_TIMESTAMP", IDS[1])
    if backend == "sqlite":
        action = "BEGIN SELECT RAISE(ABORT, 'no deletes'); END"
    else:
        project.rows(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'no deletes'; END $$"
        )
        action = "FOR EACH ROW EXECUTE FUNCTION refuse()"
    project.rows(f"CREATE TRIGGER no_deletes BEFORE DELETE ON users {action}")
    refused = project.run("admin", "delete", BOB, "--yes")
    assert refused.code == ExitCode.FAILURE
    assert "of the database refused the change" in refused.stderr
    assert emails(project) == {ADA, BOB}
    assert len(project.rows("SELECT token FROM access_tokens")) == 1


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_value_that_does_not_fit_its_column_is_a_conflict(made: Made) -> None:
    """Exit 4 instead of a number of PostgreSQL's; nothing is created."""
    project = made(*tables(", born date NOT NULL"))
    mapped(project)
    with (project.directory / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('[mapping.create_values]\nborn = "yesteryear"\n')
    refused = project.run("admin", "create", "--email", ADA, "--generate-password")
    assert refused.code == ExitCode.CONFLICT
    assert "not of the type of its column" in refused.stderr
    assert emails(project) == set()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_expiry_without_a_time_zone_is_read_and_written_in_utc(made: Made) -> None:
    """It is compared in UTC, and a session that another table refers to expires at its creation."""
    project = made(
        tables()[0],
        tables(tokens=", expires_at timestamp NOT NULL DEFAULT now()")[1],
        "CREATE TABLE uses (token varchar(43) REFERENCES access_tokens(token))",
        instant="timestamp",
    )
    name = project.rows("SELECT current_database()")[0][0]
    project.rows(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    lines = '[mapping]\nusers = "users"\ntokens = "access_tokens"\nsession_strategy = "database"\n'
    expiry = '[mapping.token_columns]\nexpires_at = "expires_at"\n'
    project.write_settings(f"{lines}{expiry}")
    refused = project.run("session", "list")
    assert refused.code == ExitCode.CONFIGURATION
    assert 'naive_timestamps = "utc"' in refused.stderr
    project.write_settings(f'{lines}naive_timestamps = "utc"\n{expiry}')
    add_users(project)
    add_token(project, "now() AT TIME ZONE 'UTC' - interval '59 minutes'")
    project.rows("UPDATE access_tokens SET expires_at = created_at + interval '1 hour'")
    project.rows("INSERT INTO uses SELECT token FROM access_tokens")
    assert [row["state"] for row in project.json("session", "list")] == ["active"]
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 1
    assert project.rows("SELECT expires_at = created_at FROM access_tokens") == [(True,)]
    assert [row["state"] for row in project.json("session", "list")] == ["expired"]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (", role_id integer REFERENCES role(id)", "users.role_id refers to role"),
        (", role json", "users.role is of the type json"),
    ],
)
def test_roles_that_no_mapping_describes_are_uncertain(
    made: Made, column: str, reason: str
) -> None:
    """A key of a role, or a list of roles: that there are none is not taken for granted."""
    roles = "CREATE TABLE role (id integer PRIMARY KEY, name varchar(30) NOT NULL UNIQUE)"
    project = made(roles, *tables(column))
    assert reason in uncertain(project)["roles"]
    assert "roles" not in mapping_of(project)


def test_links_to_roles_that_are_not_unique_are_uncertain(made: Made) -> None:
    """Without a unique pair a revoked role could still be granted by another row."""
    roles = "CREATE TABLE role (id integer PRIMARY KEY, name varchar(30) NOT NULL UNIQUE)"
    links = (
        "CREATE TABLE memberships (id integer PRIMARY KEY, user_id {id} REFERENCES users(id),"
        " role_id integer REFERENCES role(id))"
    )
    project = made(roles, *tables(), links)
    assert "memberships may link accounts to roles" in uncertain(project)["roles"]


def swallow(project: Project, backend: str, event: str, table: str) -> None:
    """Create a trigger that leaves out an UPDATE or DELETE of a table."""
    if backend == "sqlite":
        action = "BEGIN SELECT RAISE(IGNORE); END"
    else:
        project.rows(
            "CREATE OR REPLACE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NULL; END'"
        )
        action = "FOR EACH ROW EXECUTE FUNCTION nothing()"
    project.rows(f"CREATE TRIGGER no_{event} BEFORE {event} ON {table} {action}")


def test_a_swallowed_change_is_reported_with_the_applications_table(
    made: Made, backend: str
) -> None:
    """The table that has the trigger is named, not that of Clarinet."""
    project = made(*tables())
    mapped(project)
    add_users(project)
    age = "'2020-01-01 00:00:00.000000'"
    add_token(project, age if backend == "sqlite" else f"CAST({age} AS timestamptz)")
    for event, table in (("UPDATE", "users"), ("DELETE", "access_tokens")):
        swallow(project, backend, event, table)
    for words in (("deactivate", BOB), ("promote", BOB), ("set-email", BOB, "bo@example.org")):
        result = project.run("admin", *words)
        assert (result.code, "a trigger or rule on users prevented" in result.stderr) == (1, True)
    result = project.run("session", "revoke-user", ADA)
    assert "error: a trigger or rule on access_tokens prevented" in result.stderr
    result = project.run("session", "cleanup")
    expected = "1 stale session was not deleted; check triggers and rules on access_tokens"
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("action", "code", "reason"),
    [
        ("RAISE(IGNORE)", ExitCode.FAILURE, "prevented the deletion of 1 of the backup's sessions"),
        ("RAISE(ABORT, 'no')", ExitCode.CONFLICT, "refuses to delete sessions of the backup"),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_backup_whose_sessions_a_trigger_keeps_is_not_restored(
    made: Made, action: str, code: ExitCode, reason: str
) -> None:
    """Sessions that are live after the restore are never reported as revoked."""
    project = made(*tables())
    mapped(project)
    add_users(project)
    add_token(project, "strftime('%Y-%m-%d %H:%M:%f000')")
    trigger = f"CREATE TRIGGER t BEFORE DELETE ON access_tokens BEGIN SELECT {action}; END"
    project.rows(trigger)
    copy = str(project.directory / "copy.db")
    assert project.run("db", "backup", copy).code == 0
    project.rows("DROP TRIGGER t")
    project.rows("DELETE FROM access_tokens")
    refused = project.run("db", "restore", copy, "--yes")
    assert (refused.code, reason in refused.stderr) == (code, True)
    assert "--keep-sessions" in refused.stderr
    assert project.rows("SELECT count(*) FROM access_tokens") == [(0,)]
    assert project.run("db", "restore", copy, "--yes", "--keep-sessions").code == 0
    assert project.rows("SELECT count(*) FROM access_tokens") == [(1,)]


def test_names_stay_as_they_are_in_tables_and_statements(made: Made) -> None:
    """Underscores, dots, upper case: a name can be copied, and the statement be run."""
    project = made(
        'CREATE TABLE "My_Users.v2" (id {id} PRIMARY KEY, {account})',
        'CREATE TABLE "AccessToken" (token varchar(43) PRIMARY KEY, "createdAt" {instant}'
        ' NOT NULL, "userId" {id} NOT NULL REFERENCES "My_Users.v2"(id))',
    )
    mapped(project)
    assert "\ntables My_Users.v2 " in project.run("db", "status").stdout
    findings = project.json("doctor", "--only", "schema")
    hints = [item["hint"] for item in findings if item["check"] == "application-indexes"]
    assert len(hints) == 2
    for hint in hints:
        project.rows(hint.partition(": ")[2])
    findings = project.json("doctor", "--only", "schema")
    indexes = [item for item in findings if item["check"] == "application-indexes"]
    assert [item["status"] for item in indexes] == ["ok"]


@pytest.mark.parametrize("roles", ["column", "link"])
def test_a_change_that_a_trigger_puts_back_is_an_error(
    made: Made, backend: str, roles: str
) -> None:
    """A role that was not granted and an account that was not deleted are errors."""
    column = ", deleted_at {instant}" + (", role varchar(20)" if roles == "column" else "")
    links = (
        "CREATE TABLE user_roles (user_id {id} NOT NULL REFERENCES users(id),"
        " role varchar(20) NOT NULL, PRIMARY KEY (user_id, role))"
    )
    project = made(*tables(column), *([links] if roles == "link" else []))
    mapped(project)
    add_users(project)
    undo = "UPDATE users SET deleted_at = NULL WHERE deleted_at IS NOT NULL"
    undo_role = "UPDATE users SET role = NULL WHERE role IS NOT NULL"
    if roles == "link":
        undo_role = "DELETE FROM user_roles"
    event = "UPDATE ON users" if roles == "column" else "INSERT ON user_roles"
    for number, (place, statement) in enumerate(
        (("UPDATE ON users", undo), (event, undo_role)), start=1
    ):
        action = f"BEGIN {statement}; END"
        if backend == "postgresql":
            project.rows(
                f"CREATE FUNCTION undo{number}() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$BEGIN {statement}; RETURN NULL; END$$"
            )
            action = f"FOR EACH ROW EXECUTE FUNCTION undo{number}()"
        project.rows(f"CREATE TRIGGER undo{number} AFTER {place} {action}")
    place = "users" if roles == "column" else "user_roles"
    result = project.run("admin", "grant-role", BOB, "editor")
    assert (result.code, f"a trigger or rule on {place} prev" in result.stderr) == (1, True), result
    result = project.run("admin", "delete", BOB, "--soft", "--yes")
    assert (result.code, "a trigger or rule on users prev" in result.stderr) == (1, True), result
    assert emails(project) == {ADA, BOB}


def test_a_role_where_there_is_none_yet_is_not_found(made: Made) -> None:
    """The hint does not list roles that do not exist."""
    roles = "CREATE TABLE role (id integer PRIMARY KEY, name varchar(30) NOT NULL UNIQUE)"
    links = (
        "CREATE TABLE user_roles (user_id {id} NOT NULL REFERENCES users(id),"
        " role_id integer NOT NULL REFERENCES role(id), PRIMARY KEY (user_id, role_id))"
    )
    project = made(roles, *tables(), links)
    mapped(project)
    add_users(project)
    result = project.run("admin", "grant-role", BOB, "editor")
    assert result.code == ExitCode.NOT_FOUND
    assert result.stderr == "error: no role 'editor'\nhint: there are no roles yet\n"


def test_hashes_of_other_tables_are_not_those_of_accounts(made: Made) -> None:
    """Requests for an account have an address and a hash, but not the flags of fastapi-users."""
    project = made(
        *tables(),
        "CREATE TABLE access_requests (id integer PRIMARY KEY, email varchar(254) UNIQUE,"
        " hashed_password varchar(255), reviewed_by {id} REFERENCES users(id))",
    )
    assert uncertain(project) == {}
    assert mapping_of(project)["users"] == "users"


@pytest.mark.parametrize("session", ["varchar(43) PRIMARY KEY", "varchar(43) UNIQUE"])
def test_sessions_are_distinguished_from_tokens_of_other_purposes(made: Made, session: str) -> None:
    """API keys and refresh tokens are uncertain; a clean-up deletes only sessions."""
    columns = "token varchar(64) UNIQUE, created_at {instant}, user_id {id} REFERENCES users(id)"
    project = made(
        *tables(),
        f"CREATE TABLE api_keys (id integer PRIMARY KEY, {columns})",
        f"CREATE TABLE refresh_tokens (id integer PRIMARY KEY, {columns})",
        token=TOKEN.replace("varchar(43) PRIMARY KEY", session),
    )
    listed = ", ".join(sorted(("access_tokens", "api_keys", "refresh_tokens")))
    assert set(uncertain(project)) == {"tokens"}
    for name in listed.split(", "):
        assert name in uncertain(project)["tokens"]
    assert mapping_of(project)["tokens"] == "access_tokens"


def test_the_table_of_fastapi_users_is_likelier_than_others(made: Made) -> None:
    """Its key is a token of 43 characters; links that are shared have an id of their own."""
    project = made(
        *tables(),
        "CREATE TABLE share_links (id integer PRIMARY KEY, token varchar(43) UNIQUE,"
        " created_at {instant}, user_id {id} REFERENCES users(id))",
    )
    assert "share_links" in uncertain(project)["tokens"]
    assert mapping_of(project)["tokens"] == "access_tokens"


def test_two_tables_without_a_sign_of_sessions_stay_uncertain(made: Made) -> None:
    """A key of another length does not identify sessions: exit 5 instead of a guess."""
    project = made(
        tables()[0],
        *(f"CREATE TABLE {name} ({{token}} REFERENCES users(id))" for name in ("pushes", "shares")),
        token=TOKEN.replace("43", "255"),
    )
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert "tokens: several tables look like sessions: pushes, shares" in refused.stderr


def test_an_id_of_another_type_is_reported(made: Made, backend: str) -> None:
    """No mapping is written, and the message names the type; the sessions do not matter."""
    kind = "blob" if backend == "sqlite" else "bytea"
    project = made(*tables(), id=kind)
    assert uncertain(project) == {"id_form": f"users.id is of the type {kind}"}
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert f"id_form: users.id is of the type {kind}" in refused.stderr


def test_a_session_may_refer_to_two_accounts(made: Made) -> None:
    """The one is its owner, the other who impersonates it."""
    project = made(*tables(tokens=", impersonator_id {id} REFERENCES users(id)"))
    assert uncertain(project) == {}
    mapped(project)
    add_users(project)
    add_token(project, "CURRENT_TIMESTAMP")
    assert [row["email"] for row in project.json("session", "list")] == [ADA]


@pytest.mark.parametrize("strategy", ["jwt", "redis"])
def test_refresh_tokens_are_no_obstacle_without_sessions_in_rows(made: Made, strategy: str) -> None:
    """The mapping has no table of sessions, so that its uncertainties do not matter."""
    project = made(tables()[0], "CREATE TABLE refresh_tokens ({token} REFERENCES users(id))")
    result = project.run(
        "--no-input", "db", "inspect", "--write", env={"CLARINET_SESSION_STRATEGY": strategy}
    )
    assert result.code == 0, result
    found = tomllib.loads((project.directory / "settings.toml").read_text("utf-8"))["mapping"]
    assert found["tokens"] == ""
    add_users(project)
    assert emails(project) == {ADA, BOB}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_mapping_that_rows_contradict_is_not_written(made: Made) -> None:
    """Exit 5 with what differs, instead of a file with which each command is refused."""
    project = made(*tables())
    add_users(project)
    add_token(project, "strftime('%s')")
    before = (project.directory / "settings.toml").read_text()
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert "since rows contradict it: mapping.token_columns.created_at: expected" in refused.stderr
    assert (project.directory / "settings.toml").read_text() == before


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("form", ["uuid-hex", "uuid-dashed"])
def test_ids_of_the_type_uuid_are_mapped_as_sqlite_stores_them(made: Made, form: str) -> None:
    """SQLAlchemy's type stores hexadecimal digits, that of fastapi-users dashes too."""
    project = made(*tables(), id="uuid")
    assert "no row shows whether it has dashes" in uncertain(project)["id_form"]
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    keys = IDS if form == "uuid-dashed" else (IDS[0].replace("-", ""), IDS[1].replace("-", ""))
    add_users(project, keys)
    add_token(project, "CURRENT_TIMESTAMP", keys[0])
    assert uncertain(project) == {}
    assert mapping_of(project)["id_form"] == form
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 1


def test_text_ids_that_sessions_have_in_another_form_are_refused(made: Made) -> None:
    """Each id is a text, but no session would be found by that of its account: exit 78, not 0."""
    users, tokens = tables()
    project = made(users, tokens.partition(" REFERENCES")[0] + ")", id="varchar")
    mapping = 'users = "users"\ntokens = "access_tokens"\nid_form = "text"\n'
    project.write_settings(f"[mapping]\n{mapping}")
    add_users(project)
    add_token(project, "CURRENT_TIMESTAMP", IDS[0].replace("-", ""))
    for words in (("session", "revoke-user", ADA), ("session", "list"), ("admin", "list")):
        refused = project.run(*words, env=ANSWERS)
        assert refused.code == ExitCode.CONFIGURATION, refused
        assert "mapping.token_columns.user_id: expected ids in the form of id" in refused.stderr
    project.rows(f"UPDATE access_tokens SET user_id = '{IDS[1]}'")
    add_token_of = "INSERT INTO access_tokens (token, created_at, user_id) VALUES"
    project.rows(f"{add_token_of} ('second', CURRENT_TIMESTAMP, '{IDS[0].upper()}')")
    refused = project.run("session", "revoke-user", ADA, env=ANSWERS)
    assert refused.code == ExitCode.CONFIGURATION, refused
    assert IDS[0].upper() in refused.stderr
    assert len(project.rows("SELECT token FROM access_tokens")) == 2


def test_groups_beside_a_role_are_not_roles(made: Made) -> None:
    """The column of the account is its role; that there are both is uncertain."""
    project = made(
        *tables(", role varchar(20) NOT NULL DEFAULT 'basic'"),
        "CREATE TABLE teams (id integer PRIMARY KEY, name varchar(50) UNIQUE)",
        "CREATE TABLE user_group (team_id integer REFERENCES teams(id),"
        " user_id {id} REFERENCES users(id), PRIMARY KEY (team_id, user_id))",
    )
    assert "both users.role and user_group" in uncertain(project)["roles"]
    assert mapping_of(project)["role_column"] == "role"


@pytest.mark.parametrize("lifetime", ["3600", "none"])
def test_a_session_may_lack_an_expiry_and_a_last_use(made: Made, lifetime: str) -> None:
    """It expires by the lifetime, or never, and was last used when it was created."""
    project = made(*tables(tokens=", expires_at {instant}, last_seen {instant}, agent text"))
    env = ANSWERS | {"CLARINET_SESSION_LIFETIME_SECONDS": lifetime}
    assert project.run("--no-input", "db", "inspect", "--write", env=env).code == 0
    add_users(project)
    on_sqlite = project.server is None

    def ago(minutes: int) -> str:
        if on_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{-minutes} minutes')"
        return f"now() - interval '{minutes} minutes'"

    rows = {
        "fresh": (ago(50), "NULL", "NULL"),
        "old": (ago(70), "NULL", ago(40)),
        "dead": (ago(20), ago(10), ago(15)),
        "long": (ago(90), ago(-10), "NULL"),
    }
    for token, values in rows.items():
        project.rows(
            "INSERT INTO access_tokens (token, user_id, created_at, expires_at, last_seen)"
            f" VALUES ('{token_of(token)}', '{IDS[0]}', {', '.join(values)})"
        )
    dead = {"dead", "old"} if lifetime == "3600" else {"dead"}
    listed = {row["id"].rstrip("x"): row for row in project.json("session", "list")}
    assert {name for name, row in listed.items() if row["state"] == "expired"} == dead
    assert {row["state"] for row in listed.values()} == {"expired", "active"}
    assert (listed["fresh"]["expires_at"] is None) == (lifetime == "none")
    assert listed["fresh"]["last_accessed"] == listed["fresh"]["created_at"]
    found = project.json("session", "stats")
    assert (found["active"], found["expired"], found.get("invalid")) == (
        4 - len(dead),
        len(dead),
        None,
    )
    assert found["next_expiry"] is not None
    average = 3450 if lifetime == "3600" else 3300  # of those that expire
    lives = (found["average_life_seconds"], found["longest_life_seconds"])
    assert lives == pytest.approx((average, 6000), abs=0.01)
    idle = project.json("session", "list", "--idle-for", "45m")
    assert {row["id"].rstrip("x") for row in idle} == {"fresh", "long"}
    assert project.json("session", "cleanup")["deleted"] == len(dead)
    left = {row[0].rstrip("x") for row in project.rows("SELECT token FROM access_tokens")}
    assert left == rows.keys() - dead
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 4 - len(dead)


def test_a_timestamp_and_a_flag_of_deletion_are_both_named(made: Made) -> None:
    """The timestamp is mapped; a new account has the flag unset."""
    project = made(*tables(", deleted_at {instant}, is_deleted boolean NOT NULL"))
    assert "users.is_deleted, which '--soft' does not set" in uncertain(project)["soft_delete"]
    found = mapping_of(project)
    assert (found["soft_delete"], found["create_values"]) == ("deleted_at", {"is_deleted": False})
    assert project.run("admin", "create", ADA, "--generate-password").code == 0
    assert [bool(row[0]) for row in project.rows("SELECT is_deleted FROM users")] == [False]


@pytest.mark.parametrize("column", ["revoked_at {instant}", "is_revoked boolean"])
def test_a_mark_of_revoked_sessions_is_uncertain(made: Made, column: str) -> None:
    """No mapping has it: sessions with it are listed in the state that the others have."""
    project = made(*tables(tokens=f", {column}"))
    assert f"access_tokens.{column.split()[0]} may mark revoked" in uncertain(project)["tokens"]
    assert mapping_of(project)["tokens"] == "access_tokens"


def test_hyphens_in_names_are_ignored(made: Made) -> None:
    """``E-Mail`` is an address, also in names that SQL has words for."""
    project = made(
        'CREATE TABLE "Order" (id {id} PRIMARY KEY, {account})'.replace(
            "{account}", ACCOUNT.replace("email", '"E-Mail"')
        ),
        'CREATE TABLE "table" ({token} REFERENCES "Order"(id))',
    )
    found = mapping_of(project)
    assert (found["users"], found["tokens"]) == ("Order", "table")
    assert found["user_columns"] == {"email": "E-Mail"}
    assert project.run("admin", "create", ADA, "--generate-password").code == 0
    assert emails(project) == {ADA}
    assert project.run("admin", "show", BOB).code == ExitCode.NOT_FOUND
    assert project.run("admin", "show", "somebody").code == ExitCode.NOT_FOUND


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    "types", [("char(36)", "char(32)"), ("char(32)", "char(36)"), ("char(36)", "uuid")]
)
def test_sessions_may_have_another_type_of_uuid_than_accounts(
    made: Made, types: tuple[str, str]
) -> None:
    """SQLAlchemy's own type stores no dashes, that of fastapi-users does: they are the same id."""
    users, tokens = tables()
    own, other = types
    token = TOKEN.replace("{id}", other)
    project = made(users.replace("{id}", own), tokens, token=token)
    dashed = (IDS, tuple(key.replace("-", "") for key in IDS))
    stored, referred = dashed if own == "char(36)" else dashed[::-1]
    add_users(project, (stored[0], stored[1]))
    for name, key in zip(("a", "b", "c"), (0, 0, 1), strict=True):
        add_token(project, "CURRENT_TIMESTAMP", referred[key])
        project.rows(
            f"UPDATE access_tokens SET token = '{token_of(name)}' WHERE token LIKE 'live%'"
        )
    mapped(project)
    rows = project.json("session", "list")
    assert sorted(row["email"] for row in rows) == [ADA, ADA, BOB]
    assert {row["state"] for row in rows} == {"active"}
    found = {row["check"]: row["status"] for row in project.run("db", "check", "-o", "json").json}
    assert (found["ids"], found["orphans"]) == ("ok", "ok")
    assert project.json("admin", "show", ADA)["sessions"] == 2
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 2
    assert project.json("session", "stats")["total"] == 1
    assert project.run("admin", "delete", BOB, "--yes").code == 0
    assert project.rows("SELECT token FROM access_tokens") == []


def test_sessions_without_a_foreign_key_are_known_by_their_shape(made: Made) -> None:
    """A table like fastapi-users' own is proposed, and that nothing refers is uncertain."""
    project = made(tables()[0], "CREATE TABLE access_tokens ({token})")
    assert "no foreign key to users" in uncertain(project)["tokens"]
    assert mapping_of(project)["tokens"] == "access_tokens"
    add_users(project)
    add_token(project, "CURRENT_TIMESTAMP")
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 1


def test_tokens_of_other_lengths_without_a_foreign_key_are_no_sessions(made: Made) -> None:
    """Nothing but the shape of fastapi-users' own table speaks for sessions: exit 5 without it."""
    token = TOKEN.replace("43", "64")
    project = made(tables()[0], "CREATE TABLE access_tokens ({token})", token=token)
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert "there is no table of sessions" in refused.stderr


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_table_of_the_same_name_in_another_schema_is_another(made: Made) -> None:
    """What a new account requires is that of the mapped table, whose schema is not searched."""
    project = made(
        "CREATE TABLE users (id serial PRIMARY KEY, company text NOT NULL)",
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.users (id {id} PRIMARY KEY, {account}, plan text NOT NULL)",
        "CREATE TABLE shop.access_tokens ({token} REFERENCES shop.users(id))",
    )
    assert mapping_of(project)["schema"] == "shop"
    refused = project.run("admin", "create", ADA, "--generate-password")
    assert refused.code == ExitCode.REFUSED
    assert "no value for shop.users.plan (create_values.plan)" in refused.stderr
    found = {row["check"]: row for row in project.run("doctor", "-o", "json").json}
    assert found["unique-addresses"]["status"] == "ok"


@pytest.mark.parametrize("backend", ["postgresql"])
def test_tables_of_several_schemas_are_found_by_the_search_path(made: Made) -> None:
    """Without it the reason names it; with it the mapping names no schema, and works."""
    project = made(
        "CREATE SCHEMA auth",
        "CREATE SCHEMA log_ins",
        "CREATE TABLE auth.users (id {id} PRIMARY KEY, {account})",
        "CREATE TABLE log_ins.access_tokens ({token} REFERENCES auth.users(id))",
    )
    refused = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.REFUSED
    assert "requires both in search_path" in refused.stderr
    project.rows(f'ALTER DATABASE "{project.database}" SET search_path = auth, log_ins')
    assert uncertain(project) == {}
    assert mapping_of(project).keys() == {
        "preset", "users", "tokens", "session_strategy", "session_lifetime_seconds"
    }  # fmt: skip
    assert project.run("admin", "create", ADA, "--generate-password").code == 0
    project.rows(
        "INSERT INTO log_ins.access_tokens (token, created_at, user_id)"
        " SELECT 'x', now(), id FROM auth.users"
    )
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 1
    assert project.rows("SELECT * FROM log_ins.access_tokens") == []


@pytest.mark.parametrize("backend", ["postgresql"])
def test_accounts_may_be_in_partitions(made: Made) -> None:
    """The key of sessions to the accounts is not one to a partition of them."""
    project = made(
        "CREATE TABLE users (id {id} PRIMARY KEY, email varchar(320) NOT NULL,"
        f" hashed_password varchar(1024) NOT NULL, {FLAGS}) PARTITION BY HASH (id)",
        "CREATE TABLE users_0 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE users_1 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE access_tokens ({token} REFERENCES users(id) ON DELETE CASCADE)",
    )
    assert mapping_of(project)["users"] == "users"
    add_users(project)
    add_token(project, "now()", IDS[1])
    assert project.json("admin", "deactivate", BOB)["sessions_revoked"] == 1
    assert project.rows("SELECT is_active FROM users ORDER BY email") == [(True,), (False,)]


@pytest.mark.parametrize("backend", ["postgresql"])
def test_the_present_is_stored_in_utc_where_a_type_has_no_time_zone(made: Made) -> None:
    """It is that of the application, whatever the time zone of the database."""
    project = made(*tables(", created_at timestamp NOT NULL, deleted_at timestamp"))
    project.rows(f"ALTER DATABASE \"{project.database}\" SET timezone = 'Asia/Tokyo'")
    assert mapping_of(project)["create_values"] == {"created_at": "{now}"}
    for address in (ADA, BOB):
        assert project.run("admin", "create", address, "--generate-password").code == 0
    assert project.run("admin", "delete", BOB, "--soft", "--yes").code == 0
    utc = "now() AT TIME ZONE 'UTC'"
    assert project.rows(
        f"SELECT max(@ extract(epoch FROM {utc} - created_at)) < 600,"
        f" max(@ extract(epoch FROM {utc} - deleted_at)) < 600 FROM users"
    ) == [(True, True)]


def test_a_role_whose_link_requires_more_is_not_granted(made: Made) -> None:
    """It is uncertain before, and the error names the column; roles can be revoked."""
    project = made(
        *tables(),
        "CREATE TABLE roles (id integer PRIMARY KEY, name text NOT NULL UNIQUE)",
        "CREATE TABLE user_roles (user_id {id} NOT NULL REFERENCES users(id), role_id integer"
        " NOT NULL REFERENCES roles(id), granted_by text NOT NULL, PRIMARY KEY (user_id, role_id))",
        "INSERT INTO roles VALUES (1, 'editor'), (2, 'admin')",
    )
    assert uncertain(project) == {
        "roles": "user_roles.granted_by has no default, so that 'admin grant-role' fails"
    }
    mapped(project)
    add_users(project)
    project.rows(f"INSERT INTO user_roles VALUES ('{IDS[1]}', 1, 'x')")
    failed = project.run("admin", "grant-role", BOB, "admin")
    assert failed.code == ExitCode.CONFLICT
    assert "user_roles.granted_by requires a value" in failed.stderr
    assert project.run("admin", "revoke-role", BOB, "editor").code == 0
    assert project.rows("SELECT * FROM user_roles") == []


@pytest.mark.parametrize("backend", ["postgresql"])
def test_roles_of_another_schema_are_uncertain(made: Made) -> None:
    """No mapping with them is proposed, since a mapping has one schema."""
    project = made(
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.users (id {id} PRIMARY KEY, {account})",
        "CREATE TABLE shop.access_tokens ({token} REFERENCES shop.users(id))",
        "CREATE TABLE roles (id integer PRIMARY KEY, name text NOT NULL UNIQUE)",
        "CREATE TABLE shop.user_roles (user_id {id} REFERENCES shop.users(id),"
        " role_id integer REFERENCES roles(id), PRIMARY KEY (user_id, role_id))",
    )
    assert "its tables are in several schemas" in uncertain(project)["roles"]
    assert "roles" not in mapping_of(project)


def test_a_flag_that_the_database_generates_is_not_set(made: Made) -> None:
    """The error gives the reason; other changes of the account are made."""
    project = made(
        "CREATE TABLE users (id {id} PRIMARY KEY, email varchar(320) NOT NULL UNIQUE,"
        " hashed_password varchar(1024) NOT NULL, status text NOT NULL DEFAULT 'ok',"
        " is_active boolean GENERATED ALWAYS AS (status = 'ok') STORED,"
        " is_superuser boolean NOT NULL, is_verified boolean NOT NULL)",
        "CREATE TABLE access_tokens ({token} REFERENCES users(id))",
        f"INSERT INTO users (id, email, hashed_password, is_superuser, is_verified)"
        f" VALUES ('{IDS[1]}', '{BOB}', '{HASH}', false, true)",
    )
    mapped(project)
    failed = project.run("admin", "deactivate", BOB)
    assert failed.code == ExitCode.CONFLICT
    assert "a column that the database generates cannot be set" in failed.stderr
    assert project.run("admin", "promote", BOB).code == 0


def test_a_generated_column_requires_no_value(made: Made) -> None:
    """No value is proposed for it, and accounts can be created."""
    length = "email_length integer NOT NULL GENERATED ALWAYS AS (length(email)) STORED"
    project = made(*tables(f", {length}"))
    assert "create_values" not in mapping_of(project)
    assert project.run("admin", "create", ADA, "--generate-password").code == 0
    assert project.rows("SELECT email_length FROM users") == [(len(ADA),)]


def test_further_columns_may_have_any_name(made: Made) -> None:
    """A percent sign or a colon in it is not interpreted."""
    project = made(
        *tables(', "100% name" text NOT NULL, "a:b" text NOT NULL, "displayName" text NOT NULL')
    )
    mapped(project)
    refused = project.run("admin", "create", ADA, "--generate-password")
    assert 'no value for users.100% name (create_values."100% name")' in refused.stderr
    with (project.directory / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('"100% name" = "{local_part}"\n"a:b" = "it\'s"\n')
    assert project.run("admin", "create", ADA, "--generate-password").code == 0
    assert project.rows('SELECT "100% name", "a:b", "displayName" FROM users') == [
        ("ada", "it's", "ada")
    ]


def test_an_application_with_bcrypt_only_is_warned_of_argon2(made: Made) -> None:
    """Each command that writes such a hash warns while there is no other; the doctor does too."""
    project = made(*tables())
    mapped(project)
    add_users(project)
    fresh = project.run("admin", "create", "eve@example.org", "--generate-password")
    assert "bcrypt" not in fresh.stderr
    project.run("admin", "delete", "eve@example.org", "--yes")
    bcrypt = "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW"
    project.rows(f"UPDATE users SET hashed_password = '{bcrypt}'")
    (found,) = [row for row in project.run("doctor", "-o", "json").json if row["check"] == "hashes"]
    assert "all password hashes are bcrypt" in found["detail"]
    accounts = project.directory / "accounts.json"
    accounts.write_text('[{"email": "eve@example.org", "password": "generate"}]', "utf-8")
    for command in (
        ("admin", "create", "eve@example.org", "--generate-password"),
        ("admin", "reset-password", BOB, "--any-user", "--generate-password"),
        ("admin", "apply", str(accounts)),
    ):
        result = project.run(*command)
        assert result.code == 0
        assert "all password hashes of the application are bcrypt" in result.stderr
        project.run("admin", "delete", "eve@example.org", "--yes")
        project.rows(f"UPDATE users SET hashed_password = '{bcrypt}'")


def test_the_row_that_an_account_extends_is_left(made: Made) -> None:
    """Only the account of an inherited class is deleted, with a warning."""
    project = made(
        "CREATE TABLE party (id integer PRIMARY KEY, kind text NOT NULL)",
        "CREATE TABLE users (id integer PRIMARY KEY REFERENCES party(id), {account})",
        "CREATE TABLE access_tokens ({token} REFERENCES users(id) ON DELETE CASCADE)",
        "INSERT INTO party VALUES (1, 'user'), (2, 'user')",
        id="integer",
    )
    mapped(project)
    add_users(project, (1, 2))
    refused = project.run("admin", "create", "eve@example.org", "--generate-password")
    assert refused.code == ExitCode.REFUSED
    assert "the rows of users extend those of party" in refused.stderr
    deleted = project.run("admin", "delete", BOB, "--yes")
    assert deleted.code == 0
    assert "the row of party that the account extended is left" in deleted.stderr
    assert emails(project) == {ADA}
    assert project.rows("SELECT id FROM party ORDER BY id") == [(1,), (2,)]


def test_a_violated_check_is_a_conflict_with_its_name(made: Made) -> None:
    """A refused value of ``create_values`` is not reported as a duplicate."""
    project = made(*tables(", username text NOT NULL CONSTRAINT plain CHECK (username = 'x')"))
    mapped(project)
    failed = project.run("admin", "create", ADA, "--generate-password")
    assert failed.code == ExitCode.CONFLICT
    assert "a value violates a check of the database (constraint plain)" in failed.stderr


def test_an_address_of_several_accounts_means_none_of_them(made: Made) -> None:
    """Neither a command nor a file changes one of them; an id selects one."""
    project = made(
        "CREATE TABLE users (id integer PRIMARY KEY, email varchar(320) NOT NULL,"
        f" hashed_password varchar(1024) NOT NULL, {FLAGS})",
        "CREATE TABLE access_tokens ({token} REFERENCES users(id))",
        id="integer",
    )
    mapped(project)
    add_users(project, (1, 2))
    project.rows(
        "INSERT INTO users (id, email, hashed_password, is_active, is_superuser, is_verified)"
        f" VALUES (3, '{BOB}', '{HASH}', true, false, true)"
    )
    refused = project.run("admin", "promote", BOB)
    assert refused.code == ExitCode.REFUSED
    assert refused.stderr.endswith("hint: give the id\n")
    accounts = project.directory / "accounts.json"
    accounts.write_text(f'[{{"email": "{BOB}", "is_superuser": true}}]', "utf-8")
    refused = project.run("admin", "apply", str(accounts))
    assert refused.code == ExitCode.REFUSED
    assert f"'{BOB}' is ambiguous: {BOB} (2), {BOB} (3)" in refused.stderr
    assert project.run("admin", "promote", "3").code == 0
    rows = project.rows("SELECT id, is_superuser FROM users ORDER BY id")
    assert [(key, bool(flag)) for key, flag in rows] == [(1, True), (2, False), (3, True)]


def test_an_expiry_that_is_no_timestamp_is_uncertain(made: Made) -> None:
    """Sessions expire by the lifetime then, which has to be said."""
    project = made(*tables("", ", expires_at bigint"))
    assert uncertain(project) == {
        "token_columns.expires_at": "access_tokens.expires_at is of the type bigint, which is not "
        "read as a timestamp"
    }


@pytest.mark.parametrize("backend", ["postgresql"])
def test_partitions_are_restored_into_a_new_database(made: Made) -> None:
    """pg_restore cannot drop them: the hint says what to do, and that works."""
    project = made(
        "CREATE TABLE users (id {id} PRIMARY KEY, {account})",
        "CREATE TABLE access_tokens (token varchar(43) NOT NULL, created_at {instant} NOT NULL,"
        " user_id {id} NOT NULL REFERENCES users(id), PRIMARY KEY (token, created_at))"
        " PARTITION BY RANGE (created_at)",
        "CREATE TABLE recent PARTITION OF access_tokens FOR VALUES FROM ('2000-01-01') TO"
        " (MAXVALUE)",
    )
    mapped(project)
    add_users(project)
    file = str(project.directory / "all.dump")
    assert project.run("db", "backup", file).code == 0
    failed = project.run("db", "restore", file, "--clean", "--yes")
    assert failed.code == ExitCode.FAILURE
    assert "set another database_name, and --create restores into a new database" in failed.stderr
    settings = project.directory / "settings.toml"
    other = f"{project.database}_new"
    settings.write_text(settings.read_text().replace(project.database, other))
    try:
        assert project.run("db", "restore", file, "--create", "--yes").code == 0
        assert emails(project) == {ADA, BOB}
    finally:
        assert project.server is not None
        project.server.drop(other)


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("has_table", [False, True])
def test_names_of_linked_roles_may_be_an_enumeration(made: Made, has_table: bool) -> None:
    """Whether the link has the name itself or refers to a table of roles."""
    column = "role_id integer NOT NULL REFERENCES roles(id)" if has_table else "role kind NOT NULL"
    project = made(
        "CREATE TYPE kind AS ENUM ('editor', 'admin')",
        *tables(),
        "CREATE TABLE roles (id integer PRIMARY KEY, name kind NOT NULL UNIQUE)",
        "INSERT INTO roles VALUES (1, 'editor'), (2, 'admin')",
        f"CREATE TABLE user_roles (id serial PRIMARY KEY, user_id {{id}} NOT NULL"
        f" REFERENCES users(id), {column}, UNIQUE (user_id, {column.split()[0]}))",
    )
    assert mapping_of(project)["role_link"]["table"] == "user_roles"
    add_users(project)
    assert project.run("admin", "grant-role", BOB, "admin").code == 0
    assert project.json("admin", "show", BOB)["roles"] == ["admin"]
    assert project.run("admin", "grant-role", BOB, "nobody").code != 0
    assert project.run("admin", "revoke-role", BOB, "admin").code == 0
    assert project.rows("SELECT * FROM user_roles") == []


@pytest.mark.parametrize("backend", ["postgresql"])
def test_tables_that_inherit_are_parts_of_their_parents(made: Made) -> None:
    """The parents of accounts and of sessions are mapped, and the rows of both are found."""
    project = made(
        *tables(),
        "CREATE TABLE staff (PRIMARY KEY (id)) INHERITS (users)",
        "CREATE TABLE old_tokens (PRIMARY KEY (token), FOREIGN KEY (user_id) REFERENCES users(id))"
        " INHERITS (access_tokens)",
    )
    assert uncertain(project) == {}
    found = mapping_of(project)
    assert (found["users"], found["tokens"]) == ("users", "access_tokens")
    add_users(project)
    project.rows(
        "INSERT INTO old_tokens (token, created_at, user_id) SELECT md5(i::text),"
        f" now() - interval '1 day', '{IDS[0]}' FROM generate_series(1, 30000) i"
    )
    add_token(project, "now()")
    assert project.json("session", "cleanup")["deleted"] == 30_000
    assert project.json("session", "revoke-user", ADA)["sessions_revoked"] == 1


@pytest.mark.parametrize("form", ["hex", "dashed"])
def test_a_new_id_of_text_has_the_form_of_the_others(made: Made, form: str) -> None:
    """Where they are UUIDs without dashes, so is the new one."""
    ids = tuple(key.replace("-", "") if form == "hex" else key for key in IDS)
    project = made(*tables(), id="text")
    mapped(project)
    add_users(project, (ids[0], ids[1]))
    assert project.run("admin", "create", "eve@example.org", "--generate-password").code == 0
    assert {len(key) for (key,) in project.rows("SELECT id FROM users")} == {len(ids[0])}
    (key,) = project.rows("SELECT id FROM users WHERE email = 'eve@example.org'")[0]
    assert project.json("admin", "show", key)["email"] == "eve@example.org"
