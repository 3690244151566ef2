"""``db inspect``: the mapping that each application's catalogue suggests."""

import tomllib
from typing import Any

import pytest

from clarinet_cli.exceptions import ExitCode
from clarinet_cli.services.inspection.service import ANSWERS_HINT
from tests.cli.terminal import terminal
from tests.mapping.applications import ANSWERS, mapped
from tests.support import Project

BASE = {
    "preset": "fastapi-users",
    "session_strategy": "database",
    "session_lifetime_seconds": 3600,
}
PLURAL = {"users": "users", "tokens": "access_tokens"}
ROLES = {
    "table": "user_role_mapping",
    "role_table": "user_roles",
}
STAFF = (
    "CREATE TABLE staff (id char(36) PRIMARY KEY, email varchar(320) NOT NULL,"
    " hashed_password varchar(1024) NOT NULL, is_active boolean, is_superuser boolean)"
)
LOGIN = (
    "CREATE TABLE logins (token varchar(43) PRIMARY KEY, created_at timestamp,"
    ' user_id char(36) REFERENCES "user"(id))'
)
RESET_TOKENS = (
    "CREATE TABLE reset_tokens (id integer PRIMARY KEY, token text UNIQUE, created_at timestamp,"
    ' user_id char(36) REFERENCES "user"(id))'
)
EXPECTED: dict[str, dict[str, Any]] = {
    "official-pg": {},
    "official-sqlite": {"id_form": "uuid-dashed"},
    "same-names-dashed-sqlite": {"tokens": "access_token", "id_form": "uuid-dashed"},
    "created-on-sqlite": {
        "id_form": "uuid-dashed",
        "token_columns": {"created_at": "created_on"},
        "create_values": {"username": "{email}", "created_on": "{now}"},
    },
    "plural-int-pg": PLURAL | {"id_form": "integer"},
    "plural-int-username-pg": PLURAL
    | {"id_form": "integer", "create_values": {"username": "{email}"}},
    "schema-qualified-pg": PLURAL | {"schema": "shop"},
    "composite-pk-jwt-pg": {
        "users": "users",
        "tokens": "user_access_tokens",
        "id_form": "integer",
        "roles": "link",
        "role_link": ROLES,
    },
}


def table_of(project: Project) -> Any:
    """Return ``[mapping]`` of the project's settings file."""
    return tomllib.loads((project.directory / "settings.toml").read_text("utf-8")).get("mapping")


def test_the_mapping_of_each_application_is_written(app: Project, name: str) -> None:
    """In a script with both answers the file has the mapping, and the next run changes nothing."""
    mapped(app)
    assert table_of(app) == BASE | EXPECTED[name]
    again = app.json("--no-input", "db", "inspect", "--write")
    assert again["result"] == "unchanged"
    assert table_of(app) == BASE | EXPECTED[name]


def test_what_no_catalogue_shows_is_uncertain(app: Project) -> None:
    """Without answers the strategy and the lifetime are uncertain; --write is refused."""
    shown = app.json("--no-input", "db", "inspect")
    assert shown["result"] == "proposed"
    assert {"session_strategy", "session_lifetime_seconds"} <= shown["uncertain"].keys()
    assert "session_strategy" not in tomllib.loads(shown["settings"])["mapping"]
    refused = app.run("--no-input", "db", "inspect", "--write")
    assert refused.code == ExitCode.REFUSED
    assert "session_strategy" in refused.stderr
    assert "session_lifetime_seconds" in refused.stderr
    assert table_of(app) is None


@pytest.mark.parametrize("name", ["official-sqlite"])
@pytest.mark.parametrize("missing", ANSWERS)
def test_one_answer_is_not_enough(app: Project, missing: str) -> None:
    """The refusal names only the missing value; the hint names the variables."""
    given = {key: value for key, value in ANSWERS.items() if key != missing}
    refused = app.run("--no-input", "db", "inspect", "--write", env=given)
    assert refused.code == ExitCode.REFUSED
    assert f"{missing.removeprefix('CLARINET_').lower()}: " in refused.stderr
    assert f"hint: {ANSWERS_HINT}" in refused.stderr
    assert table_of(app) is None


@pytest.mark.parametrize("name", ["composite-pk-jwt-pg"])
def test_sessions_outside_of_the_database_need_no_lifetime(app: Project) -> None:
    """With JWT the unused table of sessions does not prevent the mapping."""
    env = {"CLARINET_SESSION_STRATEGY": "jwt"}
    result = app.run("--no-input", "db", "inspect", "--write", env=env)
    assert result.code == 0, result
    assert table_of(app)["session_strategy"] == "jwt"
    assert "session_lifetime_seconds" not in table_of(app)


@pytest.mark.parametrize("name", ["official-sqlite"])
def test_comments_and_other_keys_stay(app: Project) -> None:
    """The rest of the file is as it was, to the letter."""
    file = app.directory / "settings.toml"
    before = (
        f"# the file of a colleague\n{file.read_text()}\n[other]  # and a table\nkey = 1 # one\n"
    )
    file.write_text(before)
    file.chmod(0o640)
    mapped(app)
    assert file.read_text().startswith(before)
    assert file.stat().st_mode & 0o777 == 0o640
    assert not list(app.directory.glob(".settings*"))


@pytest.mark.parametrize("name", ["official-sqlite"])
def test_another_mapping_is_replaced_only_with_force(app: Project) -> None:
    """A conflict, exit 4; with --force the new mapping is there once."""
    app.write_settings('mapping = "fastapi-users"\n')
    refused = app.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert refused.code == ExitCode.CONFLICT
    assert table_of(app) == "fastapi-users"
    forced = app.run("--no-input", "db", "inspect", "--write", "--force", env=ANSWERS)
    assert forced.code == 0, forced
    assert table_of(app) == BASE | EXPECTED["official-sqlite"]


@pytest.mark.parametrize("name", ["official-sqlite"])
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ('CREATE TABLE staff AS SELECT * FROM "user"', None),
        (
            STAFF,
            "users",
        ),
        (
            LOGIN,
            "tokens",
        ),
        ('ALTER TABLE "user" RENAME COLUMN is_superuser TO boss', "user_columns.is_superuser"),
        ("DROP TABLE accesstoken", "tokens"),
    ],
)
def test_several_candidates_and_none_are_uncertain(
    app: Project, change: str, key: str | None
) -> None:
    """Two similar tables, or a missing column: refused by key, never guessed."""
    app.rows(change)
    result = app.run("--no-input", "db", "inspect", "--write", env=ANSWERS)
    if key is None:  # a copy without a primary key is no candidate
        assert result.code == 0, result
        return
    assert result.code == ExitCode.REFUSED
    assert f"{key}: " in result.stderr
    assert table_of(app) is None
    assert key in app.json("--no-input", "db", "inspect", env=ANSWERS)["uncertain"]


@pytest.mark.parametrize("name", ["official-sqlite"])
def test_the_likeliest_table_of_sessions_is_proposed(app: Project) -> None:
    """A table of tokens with another purpose is reported as uncertain, and does not refuse."""
    app.rows(RESET_TOKENS)
    written = app.json("--no-input", "db", "inspect", "--write", env=ANSWERS)
    assert table_of(app) == BASE | EXPECTED["official-sqlite"]
    assert "reset_tokens" in written["uncertain"]["tokens"]


@pytest.mark.parametrize("name", ["official-sqlite"])
def test_the_forms_of_the_output(app: Project) -> None:
    """A table for people ends with the text for the file; other formats carry it in a field."""
    people = app.run("db", "inspect", env=ANSWERS)
    assert people.stdout.endswith("session_lifetime_seconds = 3600\n")
    assert "\n[mapping]\n" in people.stdout
    for form in ("json", "jsonl", "csv", "plain"):
        result = app.run("db", "inspect", "-o", form, env=ANSWERS)
        assert result.code == 0, result
        assert "[mapping]" in result.stdout
    assert app.run("-q", "db", "inspect", env=ANSWERS).stdout == ""


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_tables_of_clarinet_need_no_mapping(project: Project) -> None:
    """The default preset is recognised, and nothing is asked or written."""
    shown = project.json("--no-input", "db", "inspect", "--write")
    assert shown["settings"] == 'mapping = "clarinet"'
    assert (shown["result"], shown["uncertain"]) == ("unchanged", {})


@pytest.mark.parametrize("name", ["official-sqlite"])
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('mapping = "other"', "not a table, 'clarinet' or 'fastapi-users'"),
        ('[mapping]\nuser = "users"', "mapping: user: Extra inputs are not permitted"),
        ('[mapping]\nid_form = "number"', "mapping: id_form: "),
        ('[mapping]\nroles = "link"', "requires the table role_link"),
        ("[mapping]\nsession_lifetime_seconds = 0", "above 0, or none"),
        ('[mapping]\ncreate_values = {name = "{nick}"}', "unknown placeholder {nick}"),
        ("session_lifetime_seconds = 0", "session_lifetime_seconds: "),
        ('session_strategy = "cookie"', "session_strategy: "),
    ],
)
def test_an_invalid_mapping_is_refused(app: Project, lines: str, reason: str) -> None:
    """Exit 78 with the file, the key and the reason."""
    app.write_settings(f"{lines}\n")
    result = app.run("admin", "list")
    assert result.code == ExitCode.CONFIGURATION
    assert reason in result.stderr
    assert "settings.toml" in result.stderr


def test_a_database_that_does_not_exist_is_not_to_be_created(empty_project: Project) -> None:
    """The hint is to name the application's database, not to make one of this tool."""
    result = empty_project.run("db", "inspect")
    assert result.code == ExitCode.UNREACHABLE
    assert "hint: set database_url, or database_driver and database_name" in result.stderr


def test_other_commands_are_refused_rather_than_wrong(app: Project) -> None:
    """A command that does not support the mapping reads nothing: exit 5."""
    mapped(app)
    for words in (("db", "init"), ("migrate", "upgrade"), ("migrate", "status")):
        result = app.run(*words)
        assert result.code == ExitCode.REFUSED, result
        assert "the schema is the application's" in result.stderr
        assert "run the application's migrations" in result.stderr


@pytest.mark.parametrize("name", ["official-sqlite"])
def test_a_terminal_is_prompted_for_what_no_catalogue_shows(app: Project) -> None:
    """Both answers end in the file; what is neither a number nor none is prompted for again."""
    with terminal(app, "db", "inspect", "--write") as shown:
        shown.answer("keep its sessions", "database")
        shown.answer("How many seconds", "an hour")
        shown.answer("neither a number", "7200")
        assert shown.end() == ExitCode.OK, shown.text
    expected = BASE | EXPECTED["official-sqlite"] | {"session_lifetime_seconds": 7200}
    assert table_of(app) == expected
