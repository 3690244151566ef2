"""Each command with each exit code that it can end with, and the faults of old."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clarinet_cli.database.engine import make_engine
from clarinet_cli.services.locks import Job
from clarinet_cli.services.session_cleanup import transaction
from tests.cli.scenes import (
    ADA,
    ADMIN,
    EXIT_CODES,
    Dump,
    assert_failed,
    back_to_nothing,
    back_up,
    database_locked,
    environment,
    everything,
    job_running,
    make_tables_missing,
    nothing,
    populate,
    run_line,
)
from tests.postgres import LOCKED_ROLE
from tests.support import Project

NEW = "admin create --email new@example.org --generate-password"
RESET = "admin reset-password --generate-password"
# A working line for each command that looks into the database.
LINES = {
    "db init": "db init --generate-password",
    "db status": "db status",
    "db wait": "db wait",
    "db check": "db check",
    "db backup": "db backup --directory DIR",
    "db vacuum": "db vacuum",
    "db shell": "db shell -c SELECT(1)",
    "db reset": "db reset --yes --lock-timeout 0.2s",
    "db inspect": "db inspect",
    "admin create": NEW,
    "admin reset-password": RESET,
    "admin list": "admin list",
    "admin ensure": "admin ensure",
    "admin show": f"admin show {ADMIN}",
    "admin roles": "admin roles",
    "admin promote": f"admin promote {ADA}",
    "admin demote": f"admin demote {ADA}",
    "admin activate": f"admin activate {ADA}",
    "admin deactivate": f"admin deactivate {ADA}",
    "admin delete": f"admin delete {ADA} --yes",
    "admin grant-role": f"admin grant-role {ADA} doctor",
    "admin revoke-role": f"admin revoke-role {ADA} doctor",
    "session stats": "session stats",
    "session list-user": f"session list-user {ADMIN}",
    "session list": "session list",
    "session show": "session show 44444444",
    "session revoke": "session revoke 44444444",
    "session revoke-user": f"session revoke-user {ADMIN}",
    "session revoke-all": "session revoke-all --yes",
    "session cleanup": "session cleanup",
    "migrate upgrade": "migrate upgrade --lock-timeout 0.2s",
    "migrate downgrade": "migrate downgrade base --yes --lock-timeout 0.2s",
    "migrate status": "migrate status",
    "migrate history": "migrate history",
    "migrate check": "migrate check",
    "migrate stamp": "migrate stamp head --lock-timeout 0.2s",
}
NEEDS_TABLES = [
    *(name for name in LINES if name.startswith("admin ")),
    "session stats",
    "session list-user",
    "session list",
    "session show",
    "session revoke",
    "session revoke-user",
    "session revoke-all",
    "session cleanup",
]
# The commands of one account, without any other argument.
USER_COMMANDS = ["show", "promote", "demote", "activate", "deactivate", "delete --yes"]
# The same with less patience, for a database that never comes.
IMPATIENT_LINES = LINES | {"db wait": "db wait --timeout 0.2s"}
NAMED = (ADA, "44444444")  # what 'populate' makes
# Findings are data, with any exit code.
FINDINGS = ("migrate status --check", "migrate check", "db check", "config check", "doctor")
WITHOUT_DATABASE = ["migrate init", "init-migrations"]
Prepare = Callable[[Project], object]


def ambiguous(project: Project) -> None:
    """Give two accounts ids that begin alike."""
    for number in (1, 2):
        user = project.add_user(f"user{number}@example.org", superuser=True)
        same = f"abcdef12-0000-4000-8000-00000000000{number}"
        value = same if project.server else same.replace("-", "")
        project.rows('UPDATE "user" SET id = ? WHERE id = ?', value, user)


def referred(project: Project) -> None:
    """Let a row of another program's table refer to ada."""
    ada = populate(project)
    kind = "uuid" if project.server else "CHAR(32)"
    project.rows(f'CREATE TABLE notes (author {kind} REFERENCES "user" (id))')
    project.rows("INSERT INTO notes (author) VALUES (?)", ada)


def environment_not_at_head(project: Project) -> None:
    """Give it one, and take the schema back."""
    environment(project)
    assert project.run("migrate", "downgrade", "base", "--yes").code == 0


def other_files(project: Project) -> None:
    """Put another file where the environment is to be written."""
    (project.directory / "alembic").mkdir()
    (project.directory / "alembic" / "env.py").write_text("print('mine')\n")


def half_a_schema(project: Project) -> None:
    """Keep two of the tables, and forget the revision."""
    project.rows("DELETE FROM alembic_version")
    project.rows("DROP TABLE access_token")
    project.rows("DROP TABLE userroleslink")


def no_superuser(project: Project) -> None:
    """Take the first superuser's flag away."""
    project.rows('UPDATE "user" SET is_superuser = false')


def sick_row(project: Project) -> None:
    """Add a session whose token is too short."""
    populate(project)


def no_role(project: Project) -> None:
    """Remove one of the roles."""
    project.rows("DELETE FROM userrole WHERE name = 'expert'")


def other_table(project: Project) -> None:
    """Add a table of another program."""
    project.rows("CREATE TABLE study (id INTEGER PRIMARY KEY)")


def misspelled_key(project: Project) -> None:
    """Set a number to a text."""
    project.write_settings('database_port = "many"\n')


def prepared_for(line: str) -> Prepare:
    """Return what makes the account or the session that a working line names."""
    return populate if set(NAMED) & set(line.split()) else nothing


CASES: list[tuple[str, int, Prepare]] = [
    # 0: done, or nothing to do
    *(
        (line, 0, populate if set(NAMED) & set(line.split()) else nothing)
        for line in LINES.values()
    ),
    (f"admin deactivate {ADA}", 0, referred),
    ("admin list --all", 0, populate),
    (f"admin create --email {ADMIN} --if-not-exists", 0, nothing),
    (f"admin create --email {ADMIN} --update", 0, nothing),
    ("db wait --for schema", 0, nothing),
    ("migrate init", 0, nothing),
    ("init-migrations", 0, nothing),
    ("init-migrations --force", 0, other_files),
    ("migrate create -m nothing", 0, environment),
    ("migrate create -m later --empty", 0, environment),
    ("migrate status --check", 0, nothing),
    ("migrate upgrade --sql", 0, nothing),
    ("migrate downgrade base --sql", 0, nothing),
    ("session cleanup --fail-incomplete", 0, populate),
    ("help exit-codes", 0, nothing),
    ("db backup DIR/saved --force", 0, back_up),
    ("db backup DIR/accounts --accounts-only", 0, back_up),
    ("db restore DIR/saved --clean --yes", 0, back_up),
    ("db restore DIR/saved --clean --yes --accounts-only", 0, back_up),
    ("db inspect --write", 0, nothing),
    ("doctor", 0, nothing),
    ("doctor --list", 0, nothing),
    ("doctor --fix --yes", 0, no_role),
    ("config show", 0, nothing),
    ("config show", 0, misspelled_key),
    ("config check", 0, nothing),
    ("config path", 0, misspelled_key),
    ("migrate stamp base --force", 0, nothing),
    # 2: usage
    ("db init --password-stdin --generate-password", 2, nothing),
    ("db wait --timeout soon", 2, nothing),
    ("db wait --for ever", 2, nothing),
    ("admin create --email nobody --generate-password", 2, nothing),
    ("admin create --email a@b.org --username c@b.org --generate-password", 2, nothing),
    (f"{NEW} --update --if-not-exists", 2, nothing),
    ("admin create --email new@example.org", 2, nothing),
    ("admin reset-password", 2, nothing),
    ("admin list extra", 2, nothing),
    *((f"admin {name}", 2, nothing) for name in USER_COMMANDS),
    *((f"admin {name} {ADMIN} extra", 2, nothing) for name in USER_COMMANDS),
    ("admin roles extra", 2, nothing),
    (f"admin grant-role {ADMIN}", 2, nothing),
    (f"admin revoke-role {ADMIN}", 2, nothing),
    (f"admin promote {ADMIN} --audit-log here", 2, nothing),
    ("session list-user", 2, nothing),
    (f"session revoke-user {ADMIN} --keep-newest -1", 2, nothing),
    ("session list --state dead", 2, nothing),
    ("session list --older-than soon", 2, nothing),
    ("session list --limit 0", 2, nothing),
    ("session show", 2, nothing),
    ("session revoke", 2, nothing),
    ("session cleanup --days -1", 2, nothing),
    ("session cleanup --batch-size 0", 2, nothing),
    ("session cleanup --limit many", 2, nothing),
    ("session cleanup --expired-only --days 3", 2, nothing),
    ("session cleanup --max-time soon", 2, nothing),
    ("migrate create", 2, environment),
    ("migrate downgrade", 2, nothing),
    ("migrate upgrade --lock-timeout soon", 2, nothing),
    ("help nonsense", 2, nothing),
    ("db backup", 2, nothing),
    ("db backup DIR/saved --directory DIR", 2, nothing),
    ("db backup DIR/saved --keep 2", 2, nothing),
    ("db backup --directory DIR --keep 0", 2, nothing),
    ("db restore", 2, nothing),
    ("db restore DIR/settings.toml --yes", 2, nothing),
    ("db reset --lock-timeout soon", 2, nothing),
    ("db vacuum extra", 2, nothing),
    ("db check extra", 2, nothing),
    ("db shell extra", 2, nothing),
    ("doctor --only nonsense", 2, nothing),
    ("doctor --skip nonsense", 2, nothing),
    ("config show nonsense", 2, nothing),
    ("config check extra", 2, nothing),
    ("config path extra", 2, nothing),
    ("migrate stamp", 2, nothing),
    ("migrate check extra", 2, nothing),
    # 3: not found
    ("db init --password-file missing", 3, nothing),
    ("admin create --email new@example.org --password-file missing", 3, nothing),
    (f"{NEW} --role nonsense", 3, nothing),
    ("admin reset-password nobody@example.org --generate-password", 3, nothing),
    ("admin reset-password nobody --generate-password", 3, nothing),
    ("admin reset-password 00000000 --generate-password", 3, nothing),
    ("admin ensure --password-file missing", 3, nothing),
    *((f"admin {name} nobody@example.org", 3, nothing) for name in USER_COMMANDS),
    *((f"admin {name} 00000000", 3, nothing) for name in USER_COMMANDS),
    ("admin delete nobody@example.org", 3, nothing),
    ("admin grant-role nobody@example.org doctor", 3, nothing),
    ("admin revoke-role nobody@example.org doctor", 3, nothing),
    (f"admin grant-role {ADMIN} nonsense", 3, nothing),
    (f"admin revoke-role {ADMIN} nonsense", 3, nothing),
    ("session list-user nobody@example.org", 3, nothing),
    ("session list-user 12345678-1234-4234-8234-123456789abc", 3, nothing),
    ("session list-user 1234567", 3, nothing),
    ("session revoke-user nobody@example.org", 3, nothing),
    (f"session revoke-user {ADA} --keep-current 99999999", 3, populate),
    (f"session revoke-user {ADA} --keep-current 1", 3, populate),
    (f"session revoke-user {ADA} --keep-current 44444444", 3, populate),
    ("session list --user nobody@example.org", 3, nothing),
    ("session show 99999999", 3, populate),
    ("session show 1", 3, populate),
    (f"session show 44444444 --user {ADA}", 3, populate),
    ("session revoke 11111111 99999999", 3, populate),
    ("session revoke 11111111 --user nobody@example.org", 3, populate),
    ("session revoke-all --except nobody@example.org --yes", 3, populate),
    ("migrate upgrade nonsense", 3, nothing),
    ("migrate upgrade +7", 3, nothing),
    ("migrate downgrade nonsense --yes", 3, nothing),
    ("migrate downgrade -7 --yes", 3, nothing),
    ("migrate upgrade nonsense --sql", 3, nothing),
    ("migrate stamp nonsense", 3, nothing),
    ("db restore DIR/missing --yes", 3, nothing),
    # 4: conflict
    (f"admin create --email {ADMIN} --generate-password", 4, nothing),
    (f"admin create --email {ADMIN}", 4, nothing),
    ("admin create --username admin --generate-password", 4, nothing),
    (f"admin delete {ADA} --yes", 4, referred),
    (f"admin delete {ADA}", 4, referred),
    (f"admin delete {ADA} --dry-run", 4, referred),
    ("migrate init", 4, other_files),
    ("init-migrations", 4, other_files),
    ("db backup DIR/saved", 4, back_up),
    ("db init --generate-password", 4, half_a_schema),
    # 5: refused
    (f"admin reset-password {ADA} --generate-password", 5, populate),
    ("admin reset-password abcdef12 --generate-password", 5, ambiguous),
    *((f"admin {name} abcdef12", 5, ambiguous) for name in USER_COMMANDS),
    ("admin grant-role abcdef12 doctor", 5, ambiguous),
    ("admin revoke-role abcdef12 doctor", 5, ambiguous),
    (f"admin demote {ADMIN}", 5, populate),
    (f"admin deactivate {ADMIN}", 5, populate),
    (f"admin delete {ADMIN} --yes", 5, populate),
    (f"admin delete {ADMIN}", 5, populate),
    (f"admin delete {ADA}", 5, populate),
    ("session list-user abcdef12", 5, ambiguous),
    ("session revoke-user abcdef12", 5, ambiguous),
    ("session list --user abcdef12", 5, ambiguous),
    ("session revoke-all --except abcdef12 --yes", 5, ambiguous),
    ("session revoke-all", 5, populate),
    ("migrate downgrade base", 5, nothing),
    ("migrate downgrade -1", 5, nothing),
    ("migrate create -m later", 5, nothing),
    ("migrate stamp base", 5, nothing),
    ("db restore DIR/saved --clean", 5, back_up),
    ("db reset", 5, populate),
    ("db reset --yes", 5, other_table),
    ("doctor --fix", 5, no_role),
    # 6: the check failed; the data is printed where there is some
    ("migrate create -m later", 6, environment_not_at_head),
    ("migrate status --check", 6, back_to_nothing),
    ("migrate check", 6, back_to_nothing),
    ("db check", 6, sick_row),
    ("doctor", 6, no_superuser),
    ("doctor", 6, misspelled_key),
    ("config check", 6, misspelled_key),
    # 7: not ready in time
    ("db wait --for schema --timeout 0.2s", 7, back_to_nothing),
]
GROUPS = sorted({(code, prepare) for _, code, prepare in CASES if code}, key=str)


@pytest.mark.parametrize(
    ("line", "prepare"),
    [(line, prepare) for line, code, prepare in CASES if code == 0],
    ids=[line for line, code, _ in CASES if code == 0],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_success(project: Project, line: str, prepare: Prepare) -> None:
    """A command that did its work, or had nothing to do, ends with 0 and no error line."""
    prepare(project)
    result = run_line(project, line)
    assert result.code == 0, result
    assert "error:" not in result.stderr


@pytest.mark.parametrize(
    ("code", "prepare"), GROUPS, ids=[f"{code}-{prepare.__name__}" for code, prepare in GROUPS]
)
def test_failure(project: Project, code: int, prepare: Prepare) -> None:
    """Each failure ends with its code and one error line, and changes no row and no file."""
    prepare(project)
    before = without_locks(project)
    wrong = {}
    for line, expected, needed in CASES:
        if (expected, needed) != (code, prepare):
            continue
        result = run_line(project, line)
        if result.code != code:
            wrong[line] = result
        elif line in FINDINGS:
            assert result.stdout != ""  # the answer is data all the same
        else:
            assert_failed(result, code)
        assert without_locks(project) == before, line
    assert wrong == {}


def without_locks(project: Project) -> tuple[Dump, list[tuple[str, bytes]]]:
    """Return all rows and all files but the lock files, which stay for the next run."""
    rows, found = everything(project)
    return rows, [(name, text) for name, text in found.items() if not name.endswith(".lock")]


def test_an_incomplete_clean_up_can_be_a_failure(project: Project) -> None:
    """With --fail-incomplete what is left gives 6; the report and the work are there."""
    populate(project)
    options = ("session", "cleanup", "--limit", "1", "-o", "json")
    result = project.run(*options, "--fail-incomplete")
    assert result.code == 6
    assert (result.json["deleted"], result.json["remaining"]) == (1, 1)
    assert result.json["complete"] is False
    assert project.count("access_token") == 3
    assert project.run(*options, "--fail-incomplete").code == 0
    assert project.tokens() == {"11111111-active", "44444444-admin"}


def test_missing_tables(empty_project: Project) -> None:
    """A database without tables: 1, one line, and the command that makes them."""
    make_tables_missing(empty_project)
    for name in NEEDS_TABLES:
        result = run_line(empty_project, LINES[name])
        assert_failed(result, 1)
        assert "is missing" in result.stderr, name
        assert "clarinet db init" in result.stderr, name
    for name in ("db status", "migrate status", "migrate history"):
        assert run_line(empty_project, LINES[name]).code == 0, name


def test_a_missing_database(empty_project: Project) -> None:
    """No file, or no such database on the server: 7, its name, nothing created."""
    before = without_locks(empty_project)
    for name, line in IMPATIENT_LINES.items():
        if name in {"db init", "migrate upgrade"}:
            continue  # they make it
        result = run_line(empty_project, line)
        assert_failed(result, 7)
        assert empty_project.database in result.stderr, name
        if name == "db inspect":  # it is for an application's existing database
            assert "settings.toml" in result.stderr
        elif name != "db wait":
            assert "clarinet db init" in result.stderr, name
    assert without_locks(empty_project) == before
    assert before[0] is None


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_unreachable_server(project: Project, tmp_path: Path) -> None:
    """No process listens: 7, the redacted URL and a hint, for every command."""
    text = (
        'database_driver = "postgresql"\n'
        f'database_host = "{tmp_path}"\n'
        'database_name = "clarinet"\n'
        'database_password = "geheim-1"\n'
    )
    (project.directory / "settings.toml").write_text(text)
    for name, line in IMPATIENT_LINES.items():
        result = run_line(project, line)
        assert_failed(result, 7)
        assert "postgresql://" in result.stderr, name
        assert "geheim-1" not in result.stderr, name


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_wrong_password_of_the_database(project: Project) -> None:
    """The server refuses the log-in: 7 without retries, a hint to the settings, no secret."""
    assert project.server is not None
    project.write_settings()
    text = project.database_settings.replace(
        f'database_username = "{project.server.user}"', f'database_username = "{LOCKED_ROLE}"'
    ).replace(
        f'database_password = "{project.server.password or ""}"', 'database_password = "geheim-1"'
    )
    (project.directory / "settings.toml").write_text(text)
    for name, line in LINES.items():
        result = run_line(project, line)
        assert_failed(result, 7)
        assert "database_password" in result.stderr, name
        assert "geheim-1" not in result.stderr, name


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_directory_instead_of_a_file(empty_project: Project) -> None:
    """A directory where the SQLite file should be: 7 for every command."""
    empty_project.file.mkdir()
    for line in IMPATIENT_LINES.values():
        assert_failed(run_line(empty_project, line), 7)
    assert [*empty_project.file.iterdir()] == []


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_file_that_is_no_database(empty_project: Project) -> None:
    """Other content in the file: 7, or 6 from the check of the file; the file unchanged."""
    content = b"a spreadsheet of somebody\n" * 100
    empty_project.file.write_bytes(content)
    codes = {}
    for name, line in IMPATIENT_LINES.items():
        codes[name] = run_line(empty_project, line).code
        assert empty_project.file.read_bytes() == content
    assert codes == dict.fromkeys(LINES, 7) | {"db check": 6}  # its finding


@pytest.fixture(autouse=True)
def no_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a command that would start psql or sqlite3 in place of this process with 0."""
    monkeypatch.setattr("os.execve", lambda *_: sys.exit(0))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the time for which commands wait for locks."""
    monkeypatch.setitem(make_engine.__kwdefaults__ or {}, "busy_timeout", 0.1)
    monkeypatch.setattr(transaction, "RETRY_SECONDS", 0.1)


WRITERS = [
    "admin create",
    "admin reset-password",
    "admin promote",
    "admin demote",
    "admin activate",
    "admin deactivate",
    "admin delete",
    "admin grant-role",
    "admin revoke-role",
    "session revoke",
    "session revoke-user",
    "session revoke-all",
    "session cleanup",
    "migrate upgrade",
    "migrate downgrade",
    "db reset",
]


@pytest.mark.usefixtures("impatient")
def test_a_locked_database(project: Project) -> None:
    """Another process keeps the tables: 75, one line, nothing changed."""
    ada = populate(project)
    before = everything(project)
    codes = {}
    with database_locked(project):
        for name in WRITERS:
            if name == "migrate upgrade" and project.server is not None:
                continue  # at head already: it needs none of the locked tables
            result = run_line(project, LINES[name])
            codes[name] = result.code
            if result.code == 75:
                assert_failed(result, 75)
    assert set(codes.values()) == {75}, codes
    assert everything(project)[0] == before[0]
    assert project.run("session", "revoke-user", str(ada)).code == 0


def test_another_migration_is_running(project: Project) -> None:
    """Its lock is held: 75 after the time-out, and the schema stays."""
    before = everything(project)[0]
    with job_running(project, Job.MIGRATION):
        for name in ("migrate upgrade", "migrate downgrade", "migrate stamp", "db reset"):
            result = run_line(project, LINES[name])
            assert_failed(result, 75)
            assert "migration" in result.stderr
    assert everything(project)[0] == before


def test_another_clean_up_is_running(project: Project) -> None:
    """Its lock is held: 75, with --skip-if-locked 0; nothing is deleted."""
    populate(project)
    with job_running(project, Job.CLEANUP):
        assert_failed(project.run("session", "cleanup"), 75)
        skipped = project.run("session", "cleanup", "--skip-if-locked")
        assert (skipped.code, skipped.stdout) == (0, "")
        assert "clean-up" in skipped.stderr
        assert project.json("session", "cleanup", "--dry-run")["matched"] == 2
    assert project.count("access_token") == 4
    assert project.json("session", "cleanup")["deleted"] == 2


BROKEN_SETTINGS = {
    "no TOML": ("this is = = no TOML\n", "TOML"),
    "unknown driver": ('database_driver = "oracle"\n', "database_driver"),
    "wrong type": ("session_idle_timeout_minutes = 'long'\n", "session_idle_timeout_minutes"),
    "weak hashing": ("argon2_memory_cost = 8000\nargon2_time_cost = 1\n", "argon2_memory_cost"),
    "no URL": ('database_url = "nonsense geheim-1"\n', "database_url"),
}


@pytest.mark.parametrize("kind", BROKEN_SETTINGS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_broken_configuration(project: Project, kind: str) -> None:
    """Every command that reads settings ends with 78 and names the key, nothing changed."""
    text, named = BROKEN_SETTINGS[kind]
    (project.directory / "settings.toml").write_text(text)
    before = everything(project)
    lines = [*LINES.values(), *(WITHOUT_DATABASE if kind != "no URL" else [])]
    for line in lines:
        result = run_line(project, line)
        assert_failed(result, 78)
        assert named in result.stderr, line
        assert "geheim-1" not in result.stderr
    assert everything(project) == before


@pytest.mark.parametrize("line", ["admin ensure", "admin create", "admin reset-password"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_administrator_of_the_settings_without_a_usable_address(
    project: Project, line: str
) -> None:
    """An invalid admin_email: 78 with the key, where it is needed."""
    project.rows('UPDATE "user" SET is_superuser = false')
    project.write_settings('admin_email = "nobody"\n')
    before = everything(project)
    result = project.run(*line.split(), "--generate-password")
    assert_failed(result, 78)
    assert "admin_email" in result.stderr
    assert everything(project) == before


def test_the_schema_of_a_server_is_left_alone(server_project: Project) -> None:
    """On a real server's database migrations are refused with 5, the rest works."""
    before = everything(server_project)[0]
    for line in ("migrate upgrade", "migrate downgrade base --yes", "migrate downgrade -1 --yes"):
        assert_failed(run_line(server_project, line), 5)
    check = server_project.run("migrate", "status", "--check")
    assert check.code == 6
    assert everything(server_project)[0] == before
    result = server_project.run("db", "init", "-o", "json")
    assert result.code == 0, result
    assert {row["result"] for row in result.json} <= {"unchanged", "created"}
    assert {row["step"]: row["result"] for row in result.json}["schema"] == "unchanged"
    assert server_project.run("session", "stats").code == 0


# Faults of an earlier tool, each held by a test of its own.


@pytest.mark.parametrize(
    "line",
    [
        "session list-user nobody@example.org",
        "session revoke-user nobody@example.org",
        "admin reset-password nobody@example.org --generate-password",
    ],
)
def test_an_unknown_user_is_no_success(project: Project, line: str) -> None:
    """Exit 3 with the name that was given, never 0."""
    before = everything(project)
    result = run_line(project, line)
    assert_failed(result, 3)
    assert "nobody@example.org" in result.stderr
    assert everything(project) == before


def test_admin_create_runs_without_auto_create(project: Project) -> None:
    """admin_auto_create affects only db init."""
    project.write_settings("admin_auto_create = false\n")
    assert project.json(*NEW.split())["result"] == "created"
    rows = project.rows(
        'SELECT is_superuser, is_active FROM "user" WHERE email = ?', "new@example.org"
    )
    assert [tuple(map(bool, row)) for row in rows] == [(True, True)]


def test_db_init_without_auto_create_needs_no_password(empty_project: Project) -> None:
    """With admin_auto_create off there is no account, no password and no prompt."""
    empty_project.write_settings("admin_auto_create = false\n")
    assert empty_project.run("db", "init").code == 0
    assert empty_project.count("user") == 0
    assert empty_project.count("userrole") == 5


def test_the_log_is_not_between_the_data(project: Project) -> None:
    """With logs on both the terminal and a file, standard output is one document."""
    populate(project)
    project.write_settings("log_to_file = true\n")
    result = project.run("-vv", "session", "cleanup", "-o", "json")
    assert result.json["deleted"] == 2
    assert "DEBUG" in result.stderr
    assert (project.directory / "logs" / "clarinet-cli.log").exists()


def test_addresses_are_compared_without_case(project: Project) -> None:
    """ADA@Example.ORG is ada@example.org, wherever an address is typed."""
    populate(project)
    assert len(project.json("session", "list-user", "ADA@Example.ORG")) == 3
    assert_failed(project.run("admin", "create", "--email", "ADMIN@clarinet.ru"), 4)
    assert (
        project.json("admin", "reset-password", "Admin@Clarinet.RU", "--generate-password")["email"]
        == ADMIN
    )
    assert project.json("session", "revoke-user", "aDa@example.org")["sessions_revoked"] == 3
    assert project.count("user") == 2


def test_a_stored_capital_is_found(project: Project) -> None:
    """An account that an old server stored with capitals is found in small letters."""
    user = project.add_user("Grace@Example.org", superuser=True)
    project.add_session(user)
    assert len(project.json("session", "list-user", "grace@example.org")) == 1
    assert_failed(
        project.run("admin", "create", "--email", "grace@example.org", "--generate-password"), 4
    )


def test_letters_beyond_ascii_are_compared_without_case(project: Project) -> None:
    """Ünal@example.org is found as ünal@example.org on each backend."""
    project.add_user("Ünal@example.org", superuser=True)
    assert project.run("session", "list-user", "ünal@example.org").code == 0
    assert project.run("session", "list-user", "ÜNAL@example.org").code == 0


def test_the_codes_of_this_file_are_those_of_the_contract() -> None:
    """No command is expected to end with a code that the contract does not have."""
    assert {code for _, code, _ in CASES} <= EXIT_CODES


def test_a_service_may_not_be_a_busy_loop(project: Project) -> None:
    """An interval below a second is a usage error, before anything runs."""
    result = project.run("session", "cleanup", "--every", "0s")
    assert_failed(result, 2)
    assert "--every" in result.stderr


def test_a_downgrade_is_planned_before_the_prompt(project: Project) -> None:
    """An unknown revision is not found, and the question names the true target."""
    assert_failed(project.run("migrate", "downgrade", "nonsense"), 3)
    refused = project.run("migrate", "downgrade", "-1")
    assert_failed(refused, 5)
    assert "to base, which drops the Clarinet tables" in refused.stderr
    assert project.count("user") == 1


def test_a_revision_says_nothing_that_python_could_run(project: Project) -> None:
    """Quotation marks in a message would end up in Python code: refused, and no file."""
    environment(project)
    versions = project.directory / "alembic" / "versions"
    before = sorted(versions.iterdir())
    for message in ('q"""; import os', "back\\slash", "two\nlines", ""):
        assert_failed(project.run("migrate", "create", "--empty", "-m", message), 2)
    assert sorted(versions.iterdir()) == before


@pytest.mark.filterwarnings("ignore:Revision:UserWarning")  # Alembic's own, before the error
def test_a_broken_revision_file_is_named_in_one_line(project: Project) -> None:
    """A revision that follows a missing one is an error that names the file."""
    environment(project)
    file = project.directory / "alembic" / "versions" / "bbbb_lost.py"
    file.write_text('revision = "bbbb"\ndown_revision = "aaaa"\n')
    for words in ("migrate status", "migrate history", "migrate upgrade", "db init"):
        result = project.run(*words.split())
        assert_failed(result, 1)
        assert "alembic/versions cannot be read" in result.stderr


def test_a_relative_revision_may_stand_behind_two_dashes(project: Project) -> None:
    """``-- -1`` is the standard way to write an argument that begins with a dash."""
    result = project.run("migrate", "downgrade", "--dry-run", "--", "-1")
    assert result.code == 0, result
    assert "would update" in result.stdout


@pytest.mark.parametrize("wait", ["0", "30d"])
def test_any_lock_timeout_is_one_that_the_database_takes(project: Project, wait: str) -> None:
    """0 means no wait, and a month is not too large a number."""
    result = project.run("migrate", "downgrade", "-1", "--yes", "--lock-timeout", wait)
    assert result.code == 0, result
    assert project.run("migrate", "downgrade", "-1", "--lock-timeout", "9" * 400).code == 2


def test_a_foreign_database_without_clarinet_tables_is_refused(project: Project) -> None:
    """Its migrations have not created the tables: 'db init' names them instead of itself."""
    assert project.run("migrate", "downgrade", "base", "--yes").code == 0
    project.rows("INSERT INTO alembic_version (version_num) VALUES ('abc')")
    result = project.run("db", "init", "--generate-password")
    assert_failed(result, 5)
    assert "has not created the Clarinet tables yet" in result.stderr
