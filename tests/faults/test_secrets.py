"""A canary in every place where a secret is given: it is seen nowhere."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults.processes import CLOSED_PORT, end_of, running
from tests.forked import Process
from tests.postgres import LOCKED_ROLE, PostgresServer
from tests.support import Project, Result, run_in_process

# 'db wait' with a short timeout tries once, and is not cut off while a busy machine opens a file.
pytestmark = pytest.mark.usefixtures("one_patient_try")

CANARY = "CANARY"
# Signs that URLs, JSON, TOML and shells treat in their own ways; each part has the word.
PASSWORD = f"{CANARY}1 @{CANARY}/%40{CANARY}:ö#{CANARY}"
DATABASE_PASSWORD = f"{CANARY}-db @{CANARY}/%41{CANARY}?{CANARY}"
IN_URL = f"{CANARY}%40{CANARY}%2F{CANARY}%25"
# A session's id is its first eight characters; the rest is the secret.
IDS = ("deadbee0", "livebee0", "livebee1")
TOKENS = [f"{name}-{CANARY}-{name}" for name in IDS]
LOGGING = 'log_to_file = true\nlog_level = "TRACE"\naudit_log = "logs/audit.jsonl"\n'
POLL_SECONDS = 0.03
HASHES = ("$argon2", "$2b$")
STORED = f"$argon2id$v=19$m=7168,t=5,p=1${CANARY * 3}CANA${CANARY * 7}A"


def settings_text(project: Project) -> str:
    """Everything secret that settings can hold, and a log file that takes every record."""
    lines = project.database_settings.replace(
        'database_password = ""', f'database_password = "{DATABASE_PASSWORD}"'
    )
    return f'{lines}admin_password = "{PASSWORD}"\n{LOGGING}'


@pytest.fixture
def secretive(project: Project) -> Project:
    """A ready project full of secrets, with stale and live sessions of the administrator."""
    project.write_settings()
    file = project.directory / "settings.toml"
    cost = file.read_text().removeprefix(project.database_settings)
    file.write_text(settings_text(project) + cost)
    owner = project.add_user("ada@example.org", superuser=True)
    for token in TOKENS:
        hours = -1 if token.startswith("dead") else 1
        project.add_session(owner, token=token, expires=timedelta(hours=hours))
    return project


def password_file(project: Project, content: str = PASSWORD) -> str:
    """Write a file with a password and return its path."""
    path = project.directory / "secret.txt"
    path.write_text(f"{content}\n")
    path.chmod(0o600)
    return str(path)


def logged(directory: Path) -> str:
    """Return everything in the log files."""
    return "".join(file.read_text() for file in sorted((directory / "logs").glob("*")))


def assert_hidden(result: Result, directory: Path) -> None:
    """Neither output nor log holds the canary or a hash."""
    texts = {"stdout": result.stdout, "stderr": result.stderr, "log": logged(directory)}
    for where, text in texts.items():
        for secret in (CANARY, *HASHES):
            found = text.find(secret)
            context = text[max(found - 300, 0) : found + 100]
            assert found < 0, f"{where}: …{context}…"


def run(project: Project, *words: str, code: int, stdin: str | bytes = "") -> Result:
    """Run a command that logs all it can; it ends with *code* and shows no secret."""
    result = project.run("-vv", *words, stdin=stdin)
    assert result.code == code, result
    assert_hidden(result, project.directory)
    return result


def test_nothing_is_shown_on_success(secretive: Project) -> None:
    """Every command that succeeds keeps passwords, tokens and hashes to itself."""
    project = secretive
    create = ("admin", "create", "--email")
    run(project, *create, "a@example.org", "--password-stdin", code=0, stdin=PASSWORD)
    run(project, *create, "b@example.org", "--password-file", password_file(project), code=0)
    run(project, *create, "a@example.org", "--update", "--password-stdin", code=0, stdin=PASSWORD)
    run(project, "admin", "reset-password", code=0)
    run(
        project,
        "admin",
        "reset-password",
        "a@example.org",
        "--password-stdin",
        code=0,
        stdin=PASSWORD,
    )
    run(project, "admin", "list", "--all", "-o", "json", code=0)
    run(project, "admin", "ensure", code=0)
    shown = run(project, "session", "list-user", "ada@example.org", "-o", "json", code=0)
    assert {row["id"] for row in shown.json} == set(IDS)
    run(project, "session", "stats", code=0)
    for form in ("table", "json", "jsonl", "csv", "plain"):
        run(project, "session", "list", "-o", form, code=0)
    run(project, "session", "show", TOKENS[1], code=0)
    run(project, "session", "revoke", *TOKENS, "--dry-run", code=0)
    run(project, "session", "revoke-all", "--dry-run", code=0)
    run(project, "session", "cleanup", code=0)
    revoke = ("session", "revoke-user", "ada@example.org")
    run(project, *revoke, "--keep-current", TOKENS[1], code=0)
    assert project.tokens() == {TOKENS[1]}
    run(project, "db", "status", code=0)
    run(project, "db", "wait", "--for", "schema", code=0)
    run(project, "db", "init", code=0)
    for words in (("status",), ("history",), ("upgrade",), ("upgrade", "--sql"), ("init",)):
        run(project, "migrate", *words, code=0)
    run(project, "migrate", "create", "-m", "nothing", "--empty", "--dry-run", code=0)
    run(project, "init-migrations", code=0)
    run(project, "help", "exit-codes", code=0)
    run(project, "migrate", "downgrade", "base", "--yes", code=0)
    run(project, "db", "init", code=0)
    assert logged(project.directory)


@pytest.fixture
def revealing(secretive: Project) -> Project:
    """The same, and ada's hash has the canary in salt and digest."""
    query = 'UPDATE "user" SET hashed_password = ? WHERE email = ?'
    secretive.rows(query, STORED, "ada@example.org")
    return secretive


def test_nothing_is_shown_by_changes_of_an_account(revealing: Project) -> None:
    """Each change, looked at before and after: no hash, no token, in the audit log neither."""
    project = revealing
    ada = "ada@example.org"
    shown = run(project, "admin", "show", ada, "-o", "json", code=0)
    assert shown.json["password_scheme"] == "argon2id"
    run(project, "admin", "roles", code=0)
    run(project, "admin", "grant-role", ada, "doctor", code=0)
    run(project, "admin", "revoke-role", ada, "doctor", code=0)
    run(project, "admin", "demote", ada, "--dry-run", code=0)
    assert run(project, "admin", "demote", ada, "-o", "json", code=0).json["sessions_revoked"] == 3
    run(project, "admin", "promote", ada, code=0)
    for token in TOKENS:
        project.add_session(UUID(shown.json["id"]), token=token)
    run(project, "admin", "deactivate", ada, code=0)
    assert project.tokens() == set()
    run(project, "admin", "show", ada, code=0)
    run(project, "admin", "activate", ada, code=0)
    run(project, "admin", "delete", ada, "--dry-run", code=0)
    run(project, "admin", "delete", ada, "--yes", code=0)
    lines = (project.directory / "logs" / "audit.jsonl").read_text().splitlines()
    assert len(lines) == 7
    assert "audit" in logged(project.directory)


def test_nothing_is_shown_by_backup_maintenance_and_checks(revealing: Project) -> None:
    """What reads every row, every setting and every file keeps them to itself; refusals too."""
    project = revealing
    backup, portable = (str(project.directory / name) for name in ("backup", "portable"))
    run(project, "db", "backup", backup, code=0)
    run(project, "db", "backup", portable, "--accounts-only", code=0)
    run(project, "db", "backup", backup, code=4)
    for words in (("db", "inspect"), ("db", "vacuum"), ("config", "path"), ("migrate", "check")):
        run(project, *words, code=0)
    run(project, "migrate", "stamp", "head", code=0)
    for output in ("table", "json", "csv", "plain"):
        shown = run(project, "config", "show", "-o", output, code=0)
        assert "****" in shown.stdout
    for check in ("db check", "doctor", "config check"):
        result = project.run("-vv", *check.split(), "-o", "json")
        assert result.code in (0, 6), result
        assert_hidden(result, project.directory)
    run(project, "doctor", "--fix", "--dry-run", code=0)
    run(project, "db", "restore", portable, "--accounts-only", "--dry-run", code=0)
    run(project, "db", "restore", portable, "--accounts-only", code=5)
    run(project, "db", "restore", portable, "--accounts-only", "--yes", "--keep-sessions", code=0)
    assert project.tokens() == set(TOKENS)
    Path(portable).write_bytes(Path(portable).read_bytes()[:-5000])
    run(project, "db", "restore", portable, "--accounts-only", "--yes", code=6)
    run(project, "db", "reset", code=5)
    run(project, "db", "reset", "--yes", code=0)


def test_nothing_is_shown_by_refused_changes_of_an_account(revealing: Project) -> None:
    """Refusals, conflicts and errors of the database keep rows to themselves."""
    project = revealing
    ada = "ada@example.org"
    before = project.rows('SELECT email, hashed_password FROM "user" ORDER BY 1')
    run(project, "admin", "delete", ada, code=5)
    run(project, "admin", "grant-role", ada, "nobody", code=3)
    run(project, "admin", "show", f"nobody-{ada}", code=3)
    run(project, "--audit-log", "/dev/full", "admin", "demote", ada, code=1)
    project.rows("CREATE TABLE sums (token varchar NOT NULL REFERENCES access_token (token))")
    for token in TOKENS:
        project.rows("INSERT INTO sums (token) VALUES (?)", token)
    run(project, "admin", "delete", ada, "--yes", code=4)
    project.rows('UPDATE "user" SET is_active = false WHERE email <> ?', ada)
    for words in (("demote", ada), ("deactivate", ada), ("delete", ada, "--yes")):
        run(project, "admin", *words, code=5)
    assert project.rows('SELECT email, hashed_password FROM "user" ORDER BY 1') == before
    assert project.tokens() == set(TOKENS)


MIXED_UP = (
    f"email,is_active\nada@example.org,{STORED}\n",
    f"email,is_active\n{STORED},true\n",
    f"email,roles\nada@example.org,{STORED}\n",
    f"email,{STORED}\nada@example.org,true\n",
    f'[{{"email": "{STORED}"}}]',
    f'[{{"email": "ada@example.org", "is_active": "{STORED}"}}]',
    f'[{{"email": "ada@example.org", "{STORED}": true}}]',
    f'[{{"email": "ada@example.org", "hashed_password": "{STORED}", "id": "{STORED}"}}]',
)


@pytest.mark.parametrize("content", MIXED_UP)
def test_nothing_is_shown_of_a_file_with_mixed_up_columns(secretive: Project, content: str) -> None:
    """A hash in the wrong column is refused without being quoted."""
    file = secretive.directory / ("a.json" if content.startswith("[") else "a.csv")
    file.write_text(content)
    result = secretive.run("-vv", "admin", "apply", str(file))
    assert result.code in {2, 3}, result
    assert_hidden(result, secretive.directory)


def test_nothing_is_shown_in_a_dry_run(secretive: Project) -> None:
    """Trying out keeps secrets as well as doing does, and changes nothing."""
    project = secretive
    before = project.rows('SELECT email, hashed_password FROM "user" ORDER BY 1')
    create = ("admin", "create", "--email", "a@example.org", "--password-stdin")
    run(project, *create, "--dry-run", code=0, stdin=PASSWORD)
    run(project, "admin", "reset-password", "--dry-run", code=0)
    run(project, "admin", "ensure", "--dry-run", code=0)
    run(project, "session", "cleanup", "--dry-run", code=0)
    revoke = ("session", "revoke-user", "ada@example.org", "--keep-current", TOKENS[1])
    run(project, *revoke, "--dry-run", code=0)
    run(project, "db", "init", "--dry-run", code=0)
    run(project, "migrate", "downgrade", "base", "--dry-run", code=0)
    assert project.rows('SELECT email, hashed_password FROM "user" ORDER BY 1') == before
    assert project.tokens() == set(TOKENS)


def test_nothing_is_shown_on_refusal(secretive: Project) -> None:
    """Every command that refuses its input keeps it to itself."""
    project = secretive
    create = ("admin", "create", "--email", "a@example.org")
    again = ("admin", "create", "--email", "ada@example.org")
    stdin = (*create, "--password-stdin")
    run(project, *again, "--password-stdin", code=4, stdin=PASSWORD)
    run(project, *stdin, "--role", "nobody", code=3, stdin=PASSWORD)
    for bad in ("CANARY", PASSWORD * 50, f"{PASSWORD}\0", PASSWORD.encode() + b"\xff"):
        run(project, *stdin, code=2, stdin=bad)
        run(project, "admin", "reset-password", "--password-stdin", code=2, stdin=bad)
    run(project, *stdin, "--password-file", password_file(project), code=2, stdin=PASSWORD)
    run(project, *create, "--password", PASSWORD, code=2)
    run(project, *create, f"--password={PASSWORD}", code=2)
    run(
        project,
        "admin",
        "reset-password",
        "x@example.org",
        "--password-stdin",
        code=3,
        stdin=PASSWORD,
    )
    revoke = ("session", "revoke-user", "ada@example.org", "--keep-current")
    run(project, *revoke, f"unknown1-{CANARY}", code=3)
    assert project.tokens() == set(TOKENS)


def test_nothing_is_shown_of_short_ids(secretive: Project) -> None:
    """An ambiguous session id is refused without more of the tokens than their ids."""
    owner = secretive.add_user("twice@example.org")
    for end in "ab":
        secretive.add_session(owner, token=f"samesame-{CANARY}-{end}")
    words = ("session", "revoke-user", "twice@example.org", "--keep-current", "samesame")
    run(secretive, *words, code=5)
    assert set(TOKENS) < secretive.tokens()


def test_nothing_is_shown_of_protected_sessions(secretive: Project) -> None:
    """Sessions that other rows refer to stay, expired; only the table's name is shown."""
    project = secretive
    project.rows("CREATE TABLE audit (token varchar NOT NULL REFERENCES access_token (token))")
    for token in TOKENS:
        project.rows("INSERT INTO audit (token) VALUES (?)", token)
    run(project, "session", "cleanup", code=0)
    run(project, "session", "revoke-user", "ada@example.org", code=0)
    assert project.tokens() == set(TOKENS)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_nothing_is_shown_of_a_refused_row(secretive: Project) -> None:
    """A row that a constraint refuses is not quoted: it holds the hash of a password."""
    secretive.rows("ALTER TABLE \"user\" ADD CHECK (email <> 'a@example.org')")
    words = ("admin", "create", "--email", "a@example.org", "--password-stdin")
    run(secretive, *words, code=4, stdin=PASSWORD)
    assert secretive.count("user") == 2


def test_nothing_is_shown_of_missing_tables(secretive: Project) -> None:
    """Commands on a database without the Clarinet tables do not repeat their input."""
    secretive.rows("DROP TABLE access_token")
    secretive.rows("DROP TABLE userroleslink")
    run(secretive, "session", "cleanup", code=1)
    run(secretive, "session", "revoke-user", "ada@example.org", code=1)
    run(secretive, "admin", "reset-password", code=1)
    words = ("admin", "create", "--email", "a@example.org", "--password-stdin")
    run(secretive, *words, code=1, stdin=PASSWORD)


# Rows as no server writes them: what a driver says of them may quote them whole.
SICK_SQLITE = {
    "token-invalid": "UPDATE access_token SET token = CAST(token || x'ff' AS TEXT)",
    "token-blob": "UPDATE access_token SET token = CAST(token || x'ff' AS BLOB)",
    "dates": "UPDATE access_token SET created_at = 'never', expires_at = 1, last_accessed = x'ff'",
    "owner": "UPDATE access_token SET user_id = 'nobody'",
    "hash-invalid": "UPDATE \"user\" SET hashed_password = CAST(hashed_password || x'ff' AS TEXT)",
    "hash-blob": 'UPDATE "user" SET hashed_password = CAST(hashed_password AS BLOB)',
    "email-invalid": "UPDATE \"user\" SET email = CAST(email || x'ff' AS TEXT)",
    "id": "UPDATE \"user\" SET id = 7 WHERE email LIKE 'ada%'",
    "version-invalid": "UPDATE alembic_version SET version_num = CAST(x'ff' AS TEXT)",
}


SICK_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("db", "status"),
    ("db", "init"),
    ("db", "wait", "--for", "schema", "--timeout", "200ms"),
    ("migrate", "status"),
    ("migrate", "upgrade"),
    ("admin", "list", "--all"),
    ("admin", "show", "ada@example.org"),
    ("admin", "export"),
    ("admin", "ensure"),
    ("admin", "roles"),
    ("admin", "promote", "ada@example.org"),
    ("session", "stats", "--by", "user"),
    ("session", "list", "-o", "jsonl"),
    ("session", "list-user", "ada@example.org"),
    ("session", "show", "livebee0"),
    ("session", "revoke", "livebee0"),
    ("session", "revoke-user", "ada@example.org", "--keep-newest", "1"),
    ("session", "cleanup"),
    ("admin", "reset-password", "ada@example.org", "--password-stdin"),
    ("admin", "delete", "ada@example.org", "--yes"),
)


def assert_all_hidden(project: Project) -> None:
    """Run every command on the present database: none shows a secret."""
    for words in SICK_COMMANDS:
        result = project.run("-vv", *words, stdin=PASSWORD)
        assert_hidden(result, project.directory)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("sick", SICK_SQLITE)
def test_nothing_is_shown_of_an_invalid_row(revealing: Project, sick: str) -> None:
    """A row that cannot be read is not quoted, however it ends: not by -vv, not in the log."""
    with contextlib.closing(sqlite3.connect(revealing.file)) as connection, connection:
        connection.execute(SICK_SQLITE[sick])
    assert_all_hidden(revealing)


REFUSING_SQLITE = (
    "CREATE TRIGGER {0}_{1} BEFORE {1} ON \"{0}\" BEGIN SELECT RAISE(ABORT, '%s'); END",
)
REFUSING_POSTGRESQL = (
    (
        "CREATE FUNCTION {0}_{1}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'refused: %s %%', OLD USING DETAIL = '%s', HINT = '%s'; END $$"
    ),
    'CREATE TRIGGER {0}_{1} BEFORE {1} ON "{0}" FOR EACH ROW EXECUTE FUNCTION {0}_{1}()',
)


def test_nothing_is_shown_of_what_a_trigger_says(revealing: Project) -> None:
    """The text of an error that the database's own code raises may quote a row: it is kept."""
    lines = REFUSING_SQLITE if revealing.server is None else REFUSING_POSTGRESQL
    for table in ("user", "access_token"):
        for event in ("UPDATE", "DELETE"):
            for line in lines:
                statement = line.format(table, event).replace("%s", STORED)
                revealing.rows(statement.replace("%%", "%"))
    assert_all_hidden(revealing)


COMMANDS = (
    ("db", "status"),
    ("db", "wait", "--timeout", "200ms"),
    ("db", "init"),
    ("admin", "list"),
    ("admin", "create", "--email", "a@example.org", "--password-stdin"),
    ("admin", "reset-password"),
    ("admin", "ensure"),
    ("admin", "show", "ada@example.org"),
    ("admin", "roles"),
    ("admin", "promote", "ada@example.org"),
    ("admin", "delete", "ada@example.org", "--yes"),
    ("session", "stats"),
    ("session", "cleanup"),
    ("migrate", "status"),
    ("migrate", "upgrade"),
    ("migrate", "check"),
    ("migrate", "stamp", "head"),
    ("db", "inspect"),
    ("db", "check"),
    ("db", "vacuum"),
    ("db", "shell"),
    ("db", "reset", "--yes"),
    ("db", "backup", "-"),
)


def run_all(directory: Path, settings: str, code: int) -> None:
    """Run all commands with settings that cannot work."""
    directory.joinpath("settings.toml").write_text(settings + LOGGING)
    for words in COMMANDS:
        result = run_in_process(["-C", str(directory), "-vv", *words], stdin=PASSWORD)
        assert result.code == code, (words, result)
        assert_hidden(result, directory)


def test_nothing_is_shown_of_a_refused_log_in(tmp_path: Path, postgres: PostgresServer) -> None:
    """The password that a server refuses appears nowhere, however it was given."""
    parts = (
        f'database_driver = "postgresql"\ndatabase_host = "{postgres.host}"\n'
        f'database_port = {postgres.port}\ndatabase_username = "{LOCKED_ROLE}"\n'
        f'database_name = "postgres"\nadmin_password = "{PASSWORD}"\n'
    )
    run_all(tmp_path, f'{parts}database_password = "{DATABASE_PASSWORD}"\n', 7)
    url = f"postgresql://{LOCKED_ROLE}:{IN_URL}@/postgres?host={postgres.host}"
    run_all(tmp_path, f'database_url = "{url}"\n', 7)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://app:{IN_URL}@127.0.0.1:{CLOSED_PORT}/main",
        f"postgresql://app:{IN_URL}@not-a-host-/main",
        f"postgresql://app:{CANARY}@{CANARY}@127.0.0.1:{CLOSED_PORT}/main",
        f"postgresql://app:{CANARY}/{CANARY}@127.0.0.1:{CLOSED_PORT}/main",
        f"postgresql://app:{CANARY}#?{CANARY}@127.0.0.1:{CLOSED_PORT}/main",
        f"postgresql://app@127.0.0.1:{CLOSED_PORT}/main?password={CANARY}",
        f"postgresql://app@127.0.0.1:{CLOSED_PORT}/main?sslpassword={CANARY}",
        f"postgresql://app:{CLOSED_PORT}/x?{CANARY}=1@127.0.0.1/main",
        f"postgresql://app:{CLOSED_PORT}/x?{CANARY}@127.0.0.1=/main",
    ],
    ids=["port", "name", "at-sign", "slash", "hash", "query", "key", "option", "at-option"],
)
def test_nothing_is_shown_of_a_url_that_leads_nowhere(tmp_path: Path, url: str) -> None:
    """The password in ``database_url`` appears nowhere, also when it was badly written."""
    directory = tmp_path
    directory.joinpath("settings.toml").write_text(f'database_url = "{url}"\n{LOGGING}')
    for words in COMMANDS:
        result = run_in_process(["-C", str(directory), "-vv", *words], stdin=PASSWORD)
        assert result.code in {7, 78}, (words, result)
        assert_hidden(result, directory)


@pytest.mark.parametrize(
    "line",
    [
        f'admin_password = "{CANARY}',
        f"admin_password = {CANARY}",
        f'admin_password = ["{CANARY}"]',
        f'admin_password = {{ first = "{CANARY}" }}',
        f'database_password = {{ first = "{CANARY}" }}',
        f'database_url = ["{CANARY}"]',
        f'database_url = "{CANARY}"',
        f'database_url = "mysql://app:{CANARY}@127.0.0.1/main"',
        f'database_url = "postgresql://app:{CANARY}@127.0.0.1:{CANARY}/main"',
        f'database_url = "postgresql//app:{CANARY}@127.0.0.1/main"',
        f'admin_password = "{PASSWORD}"\ndatabase_port = "none"',
    ],
)
def test_nothing_is_shown_of_broken_settings(tmp_path: Path, line: str) -> None:
    """A settings file that cannot be used is named with its key, not with the secret in it."""
    run_all(tmp_path, f"{line}\n", 78)


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_PASSWORD", "ADMIN_PASSWORD"])
def test_nothing_is_shown_of_the_environment(secretive: Project, name: str) -> None:
    """Secrets from the environment, some of them wrong, stay hidden too."""
    for words in (("db", "status"), ("admin", "ensure"), ("session", "stats")):
        result = secretive.run("-vv", *words, env={f"CLARINET_{name}": f"{CANARY}:{PASSWORD}"})
        assert result.code == (78 if name == "DATABASE_URL" else 0), result
        assert_hidden(result, secretive.directory)


def test_generated_password_is_shown_once(secretive: Project) -> None:
    """It is on standard output once, and neither in the log nor on standard error."""
    words = ("admin", "create", "--email", "a@example.org", "--generate-password", "-o", "json")
    result = secretive.run("-vv", *words)
    password = result.json["password"]
    assert len(password) >= 20
    assert result.stdout.count(password) == 1
    assert password not in result.stderr + logged(secretive.directory)


def command_lines() -> Iterator[bytes]:
    """Yield what every user of the machine can read about each process."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield file.read_bytes()


def assert_not_in_process_list(process: Process) -> None:
    """Read all command lines until the process ends."""
    looks = 0
    while process.poll() is None:
        assert not [line for line in command_lines() if CANARY.encode() in line]
        looks += 1
        time.sleep(POLL_SECONDS)
    assert looks > 0


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_nothing_is_in_the_process_list(secretive: Project) -> None:
    """A password reaches the tool past the arguments, also those of processes it starts."""
    project = secretive
    file = password_file(project)
    scenes = (
        (("admin", "create", "--email", "a@example.org", "--password-stdin"), 0),
        (("admin", "create", "--email", "b@example.org", "--password-file", file), 0),
        (("admin", "reset-password"), 0),
        (("admin", "reset-password", "a@example.org", "--password-file", file), 0),
        (("admin", "show", "ada@example.org"), 0),
        (("admin", "demote", "ada@example.org"), 0),
        (("admin", "delete", "ada@example.org", "--yes"), 0),
        (("db", "init", "--password-stdin"), 0),
    )
    for words, code in scenes:
        with running(project, "-vv", *words, stdin=PASSWORD) as process:
            assert_not_in_process_list(process)
            result = end_of(process)
        assert result.code == code, result
        assert_hidden(result, project.directory)
