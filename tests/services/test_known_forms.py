"""Tables and ids in another form than the server's: served right, or refused by name."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.cli.scenes import ADA, ADMIN, assert_failed, populate
from tests.support import PASSWORD, Project

COMMANDS = [
    "session list",
    "session stats",
    "session stats --by user",
    "session cleanup",
    "session cleanup --dry-run",
    f"session list-user {ADMIN}",
    f"session revoke-user {ADMIN}",
    "session revoke 11111111",
    "session show 11111111",
    "session revoke-all --yes",
    "admin list --all",
    "admin roles",
    "admin export",
    f"admin show {ADMIN}",
    f"admin deactivate {ADMIN}",
    f"admin promote {ADMIN}",
    f"admin delete {ADMIN} --yes",
    f"admin reset-password {ADMIN} --generate-password",
    f"admin grant-role {ADMIN} admin",
    "admin create --email new@example.org --generate-password",
    "admin ensure --generate-password",
]
IDS = [("user", "id"), ("userroleslink", "user_id"), ("access_token", "user_id")]
DASHED = (
    "substr({0},1,8)||'-'||substr({0},9,4)||'-'||substr({0},13,4)||'-'||substr({0},17,4)"
    "||'-'||substr({0},21)"
)
FORMS = {
    "dashed": DASHED,
    "upper": "upper({0})",
    "braces": "'{{'||{0}||'}}'",
    "mixed": "upper(substr({0},1,16))||substr({0},17)",
}
sqlite_only = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
FIXED_ID = UUID("abcdefab-cdef-4abc-8def-abcdefabcdef")


def rewrite(project: Project, form: str) -> None:
    """Put the ids of all tables into another form."""
    for table, column in IDS:
        project.rows(f'UPDATE "{table}" SET {column} = {FORMS[form].format(column)}')


@sqlite_only
@pytest.mark.parametrize("form", FORMS)
def test_tables_with_ids_in_another_form_are_refused(project: Project, form: str) -> None:
    """Every command: 78 with table, column, what is expected and found; nothing is changed."""
    populate(project)
    rewrite(project, form)
    before = project.tokens()
    for words in COMMANDS:
        result = project.run(*words.split())
        assert_failed(result, 78)
        assert "user.id: expected 32 hexadecimal digits, found '" in result.stderr
    assert project.tokens() == before
    assert project.count("user") == 2
    assert project.run("db", "status").code == 0


@sqlite_only
@pytest.mark.parametrize("kind", ["char(36)", "INTEGER"])
def test_empty_tables_of_another_application_are_refused_too(
    empty_project: Project, kind: str
) -> None:
    """Without rows the declared type decides."""
    empty_project.rows(
        f'CREATE TABLE "user" (id {kind} PRIMARY KEY, email varchar, hashed_password varchar,'
        " is_active boolean, is_superuser boolean, is_verified boolean)"
    )
    empty_project.rows(f"CREATE TABLE access_token (token varchar PRIMARY KEY, user_id {kind})")
    result = empty_project.run("admin", "create", "--email", ADA, "--generate-password")
    assert_failed(result, 78)
    assert f"found {kind.lower()}" in result.stderr
    assert empty_project.count("user") == 0
    assert "'clarinet db inspect --write' maps them" in result.stderr
    assert "'clarinet db inspect' proposes a mapping" in empty_project.run("db", "init").stderr


@postgresql_only
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "ALTER TABLE access_token DROP COLUMN user_id, ADD COLUMN user_id integer",
            "access_token.user_id: expected uuid, found integer",
        ),
        (
            "ALTER TABLE access_token ALTER COLUMN expires_at TYPE timestamp",
            "expected timestamp with time zone, found timestamp without time zone",
        ),
        (
            'ALTER TABLE "user" ALTER COLUMN is_active TYPE integer USING 1',
            "user.is_active: expected boolean, found integer",
        ),
    ],
)
def test_columns_of_another_type_are_refused(project: Project, change: str, said: str) -> None:
    """Every command: 78 before anything is read or written."""
    project.rows(change)
    for words in COMMANDS:
        result = project.run(*words.split())
        assert_failed(result, 78)
        assert said in result.stderr
    assert project.count("user") == 1


@pytest.mark.parametrize(
    ("table", "column"), [("access_token", "ip_address"), ("access_token", "user_agent")]
)
def test_a_missing_column_is_named(project: Project, table: str, column: str) -> None:
    """Table, column and hint, the same on each command."""
    project.rows(f"ALTER TABLE {table} DROP COLUMN {column}")
    for words in COMMANDS:
        result = project.run(*words.split())
        assert_failed(result, 1)
        assert f"table {table} has no column {column}" in result.stderr
        assert "migrat" in result.stderr
    assert project.count("user") == 1


@sqlite_only
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("table", ["access_token", "userroleslink"])
def test_rows_of_an_account_in_another_form_are_never_missed(
    project: Project, table: str, form: str
) -> None:
    """A command on the account names the column; nothing is called unchanged."""
    ada = populate(project)
    project.rows("INSERT INTO userroleslink VALUES (?, 'doctor')", ada)
    project.rows(
        f"UPDATE {table} SET user_id = {FORMS[form].format('user_id')} WHERE user_id = ?", ada
    )
    for words in (f"session revoke-user {ADA}", f"admin deactivate {ADA}", f"admin show {ada}"):
        result = project.run(*words.split())
        assert_failed(result, 78)
        assert f"{table}.user_id of {ADA}: expected {ada.hex}, found '" in result.stderr
    assert project.run("session", "revoke-user", ADMIN).code == 0
    result = project.run("session", "revoke-all", "--except", ADA, "--yes")
    assert_failed(result, 78)


@sqlite_only
@pytest.mark.parametrize("form", FORMS)
def test_listings_join_ids_in_all_forms(project: Project, form: str) -> None:
    """A session with another form of the user's id is that user's, as for the server."""
    ada = populate(project)
    before = project.json("session", "list"), project.json("admin", "list", "--all")
    stats = project.json("session", "stats")
    for table in ("access_token", "userroleslink"):
        project.rows(
            f"UPDATE {table} SET user_id = {FORMS[form].format('user_id')} WHERE user_id = ?", ada
        )
    assert (project.json("session", "list"), project.json("admin", "list", "--all")) == before
    again = project.json("session", "stats")
    assert {**again, "age": 0} == {**stats, "age": 0}
    found = project.json("session", "show", "11111111")
    assert (found["email"], found["state"]) == (ADA, "active")


@sqlite_only
@pytest.mark.parametrize("form", FORMS)
def test_an_account_whose_id_is_in_another_form_is_found_by_all_its_names(
    project: Project, form: str
) -> None:
    """By address, by UUID and by its first digits; its own sessions end with it."""
    project.add_user("other@example.org")
    project.rows(
        'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)'
        " VALUES (?, ?, '!', 1, 0, 1)",
        FIXED_ID,
        ADA,
    )
    project.add_session(FIXED_ID, token="55555555-odd")
    rewrite(project, form)
    rewrite_back(project)
    for who in (ADA, str(FIXED_ID), FIXED_ID.hex[:8], FIXED_ID.hex.upper()):
        assert project.json("admin", "show", who)["email"] == ADA
    report = project.json("session", "revoke-user", ADA)
    assert (report["result"], report["sessions_revoked"]) == ("revoked", 1)
    assert project.json("admin", "deactivate", ADA)["result"] == "updated"
    assert project.json("admin", "delete", ADA, "--yes")["result"] == "deleted"
    assert [row["email"] for row in project.json("admin", "list", "--all")] == [
        ADMIN,
        "other@example.org",
    ]


def rewrite_back(project: Project) -> None:
    """Put the ids of all accounts but ada's into the server's form."""
    for (stored,) in project.rows('SELECT id FROM "user" WHERE email <> ?', ADA):
        usual = UUID(stored).hex
        for table, column in IDS:
            project.rows(f'UPDATE "{table}" SET {column} = ? WHERE {column} = ?', usual, stored)


@sqlite_only
def test_a_file_is_not_applied_beside_rows_in_another_form(
    project: Project, tmp_path: Path
) -> None:
    """Sessions that would have to end might be missed: nothing is changed."""
    ada = populate(project)
    project.rows("UPDATE access_token SET user_id = upper(user_id) WHERE user_id = ?", ada)
    file = tmp_path / "accounts.json"
    file.write_text(f'[{{"email": "{ADA}", "is_active": false}}]')
    assert_failed(project.run("admin", "apply", str(file)), 78)
    assert project.rows('SELECT is_active FROM "user" WHERE email = ?', ADA) == [(1,)]


@sqlite_only
def test_blob_and_number_ids_are_refused_or_served(project: Project) -> None:
    """An account by the bytes of its UUID is that account, and keeps its sessions."""
    user_id = uuid4()
    project.rows(
        'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)'
        f" VALUES (X'{user_id.hex}', ?, '!', 1, 0, 1), (77, 'number@example.org', '!', 1, 0, 1)",
        ADA,
    )
    for stored in (f"X'{user_id.hex}'", "77"):
        project.rows(
            "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed)"
            f" SELECT 'odd' || {len(stored)}, {stored}, datetime(), datetime('now', '1 day'),"
            " datetime()"
        )
    assert project.json("admin", "show", str(user_id))["email"] == ADA
    for email in (ADA, "number@example.org"):
        assert project.json("session", "revoke-user", email)["sessions_revoked"] == 1


def test_a_sound_database_passes_before_each_command(project: Project) -> None:
    """The check finds nothing on what 'db init' made, with and without rows."""
    assert project.run("session", "list").code == 0
    populate(project)
    for words in ("session list", "admin list", f"admin show {ADA}"):
        assert project.run(*words.split()).code == 0
    result = project.run("db", "init", "--password-stdin", stdin=PASSWORD)
    assert result.code == 0, result
