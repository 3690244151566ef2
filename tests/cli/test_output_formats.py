"""Each command that prints data, in each format: one document, the same values everywhere."""

import csv
import dataclasses
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Optional

import pytest
from syrupy.assertion import SnapshotAssertion

from clarinet_cli import results
from tests.cli.scenes import (
    ADA,
    ADMIN,
    EXIT_CODES,
    FORMATS,
    all_commands,
    back_up,
    options_of,
    run_line,
)
from tests.support import Project, Result

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FORMULA = ("=", "+", "-", "@")
# What two runs in a row need not agree about.
DONE_BY_A_CLEANUP = ("deleted", "remaining", "batches", "complete")  # in no table of a dry run
VOLATILE = {"seconds", "lock_seconds", "attempts", "size_bytes", "bytes_before", "bytes_after"}
# These have tables of their own: a file is read (test_account_files.py), or what is printed is
# psql's or sqlite3's own (test_maintenance.py).
ELSEWHERE = {"admin apply", "db shell"}


FOR_WHOLE_SQLITE_FILES = "lock_seconds"


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, run so that five runs in a row give the same data.

    Attributes:
        line: Command and options; ``DIR`` is the project directory.
        row: The type of its result.
        many: Whether it prints a list.
        code: How it ends; a check that found something prints its findings and ends with 6.
        omitted: Fields that are there only on occasion.
    """

    line: str
    row: type
    many: bool = False
    code: int = 0
    omitted: frozenset[str] = frozenset(
        {"password", "invalid", "protected_by", "cascaded", "problem"}
        | {FOR_WHOLE_SQLITE_FILES, "removed", "dangling_references"}
    )

    @property
    def fields(self) -> list[str]:
        """The names that the result has."""
        return [item.name for item in dataclasses.fields(self.row) if item.name not in self.omitted]


def command(line: str, row: type, *, many: bool = False, code: int = 0) -> Command:
    """Return the case of a command line."""
    return Command(line, row, many, code)


COMMANDS = [
    command("db init", results.Step, many=True),
    command("db init --dry-run", results.Step, many=True),
    command("db status", results.DatabaseStatus),
    command("db wait --for schema", results.WaitReport),
    command("db inspect", results.Inspection),
    command("db check", results.Finding, many=True, code=6),  # tokens that are too short
    command("db vacuum", results.VacuumReport),
    command("db reset --dry-run", results.ResetReport),
    command("db backup DIR/again --force", results.BackupReport),
    command("db backup DIR/accounts --accounts-only --force", results.BackupReport),
    command("db restore DIR/saved --clean --dry-run", results.RestoreReport),
    command("config show", results.SettingRow, many=True),
    command("config show --changed", results.SettingRow, many=True),
    command("config check", results.Finding, many=True),
    command("config path", results.SettingsFile, many=True),
    command("doctor --skip reachable --skip disk", results.Finding, many=True),
    command("doctor --list", results.CheckRow, many=True),
    command("migrate check", results.Finding, many=True),
    command("migrate stamp head", results.MigrationRun),
    command("migrate stamp base --force --dry-run", results.MigrationRun),
    command(f"admin create --email {ADA} --update", results.AccountChange),
    command("admin create --email new@example.org --dry-run", results.AccountChange),
    command(f"admin reset-password {ADMIN} --dry-run", results.AccountChange),
    command("admin list", results.UserRow, many=True),
    command("admin list --all", results.UserRow, many=True),
    command("admin ensure", results.AccountChange),
    command("admin export", results.DeclaredAccount, many=True),
    command(f"admin show {ADA}", results.AccountDetail),
    command("admin roles", results.RoleRow, many=True),
    command(f"admin promote {ADA}", results.AccountChange),
    command(f"admin demote {ADA} --dry-run", results.AccountChange),
    command(f"admin activate {ADA}", results.AccountChange),
    command(f"admin deactivate {ADA} --dry-run", results.AccountChange),
    command(f"admin set-email {ADA} new@example.org --dry-run", results.AccountChange),
    command(f"admin verify {ADA} --dry-run", results.AccountChange),
    command(f"admin unverify {ADA}", results.AccountChange),
    command(f"admin delete {ADA} --dry-run", results.AccountChange),
    command(f"admin grant-role {ADA} admin", results.AccountChange),
    command(f"admin revoke-role {ADA} doctor", results.AccountChange),
    command("session stats", results.SessionStats),
    command(f"session list-user {ADA}", results.SessionRow, many=True),
    command("session list", results.SessionRow, many=True),
    command("session show 11111111", results.SessionDetail),
    command("session revoke 11111111 22222222 --dry-run", results.SessionChange, many=True),
    command(f"session revoke-user {ADA} --dry-run", results.RevokeReport),
    command(f"session revoke-all --except {ADA} --dry-run", results.RevokeAllReport),
    command("session cleanup --dry-run", results.CleanupReport),
    command("migrate init", results.FileChange, many=True),
    command("migrate upgrade", results.MigrationRun),
    command("migrate downgrade base --dry-run", results.MigrationRun),
    command("migrate status", results.MigrationStatus),
    command("migrate history", results.RevisionRow, many=True),
    command("migrate create -m later --empty --dry-run", results.FileChange, many=True),
    command("init-migrations", results.FileChange, many=True),
    command("help exit-codes", results.ExitCodeRow, many=True),
]


@pytest.fixture
def populated(project: Project) -> Project:
    """A project with sessions in each state, a backup and an environment of its own."""
    back_up(project)
    assert project.run("migrate", "init").code == 0
    assert project.run("admin", "create", "--email", ADA, "--update").code == 0
    return project


def flattened(record: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with nested objects as ``name.key``, volatile values left out."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name not in VOLATILE:
            found[name] = value
    return found


def word(value: Any) -> str:
    """Return a JSON value as scripts get it from the text formats."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(value)
        case _:
            return str(value)


def words_of(record: dict[str, Any]) -> dict[str, str]:
    """Return a JSON object as the names and words of the text formats."""
    return {name: word(value) for name, value in flattened(record).items()}


def without_mark(cell: str) -> str:
    """Return a CSV cell without the mark before a formula."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(FORMULA) else cell


def rows_of_csv(text: str) -> list[dict[str, str]]:
    """Parse CSV, volatile columns left out, and undo the mark before formulas."""
    rows = []
    for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
        assert None not in row
        assert None not in row.values()
        rows.append({name: without_mark(cell) for name, cell in row.items()})
    return [{n: c for n, c in row.items() if n not in VOLATILE} for row in rows]


def stable(stream: str) -> str:
    """Return text without the numbers that two runs need not agree about."""
    return re.sub(r"\d+(\.\d+)?", "N", stream)


GROUPS = pytest.mark.parametrize(
    "group",
    ["db", "admin", "session", "migrate", "config", "doctor", "init-migrations", "help"],
)


@GROUPS
@pytest.mark.parametrize("backend", ["sqlite"])
def test_every_format_has_the_same_values(populated: Project, group: str) -> None:
    """Exit code 0 and one document per format, with the same names and values."""
    cases = [case for case in COMMANDS if case.line.split()[0] == group]
    assert cases
    for case in cases:
        assert_formats_agree(populated, case)


@GROUPS
@pytest.mark.parametrize("backend", ["postgresql"])
def test_postgresql_gives_the_same_fields(populated: Project, group: str) -> None:
    """Each command has one JSON document there too, with every field."""
    for case in COMMANDS:
        if case.line.split()[0] == group:
            document = run_line(populated, case.line, "-o", "json").json
            records = document if case.many else [document]
            assert records
            assert all(list(record) == case.fields for record in records), case


def assert_formats_agree(populated: Project, case: Command) -> None:
    """Run a command in each format and compare all that it prints."""
    runs = {form: run_line(populated, case.line, "-o", form) for form in FORMATS}
    assert {run.code for run in runs.values()} == {case.code}, runs
    assert len({stable(run.stderr) for run in runs.values()}) == 1, runs
    loud = run_line(populated, f"-vv {case.line}", "-o", "json")
    assert stable(loud.stdout) == stable(runs["json"].stdout)
    document = runs["json"].json
    assert isinstance(document, list) is case.many
    records = document if case.many else [document]
    assert records
    for record in records:
        assert [name for name in record if name != FOR_WHOLE_SQLITE_FILES] == case.fields
    expected = [words_of(record) for record in records]

    assert [words_of(json.loads(line)) for line in runs["jsonl"].stdout.splitlines()] == expected
    assert runs["jsonl"].stdout.endswith("}\n")
    assert rows_of_csv(runs["csv"].stdout) == expected

    lines = runs["plain"].stdout.splitlines()
    if case.many:
        assert [line.split("\t") for line in lines] == [list(row.values()) for row in expected]
    else:
        pairs = (line.split("\t") for line in lines)
        record_lines = {name: value for name, value in pairs if name not in VOLATILE}
        assert record_lines == expected[0]

    shown = runs["table"].stdout
    for record in records:
        for name, value in flattened(record).items():
            if record.get("dry_run") and name in DONE_BY_A_CLEANUP:
                continue
            items = value if isinstance(value, list) else [value]
            assert all(table_word(name, item) in shown for item in items), (name, value, shown)


def table_word(name: str, value: Any) -> str:
    """Return what a table must contain for a value."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str() if name == "result":
            return value.replace("_", " ")
        case float() | int() if name.endswith("_seconds"):
            return ""  # a table rounds spans of time
        case _:
            return str(value)


def test_json_keeps_types_and_times(populated: Project) -> None:
    """Booleans, null, numbers and lists are JSON's own; timestamps are ISO 8601 with Z."""
    users = {row["email"]: row for row in populated.json("admin", "list", "--all")}
    assert users[ADA]["is_active"] is True
    assert users[ADA]["is_verified"] is False
    assert users[ADA]["roles"] == ["admin"]
    assert users[ADA]["sessions"] == 1
    assert isinstance(users[ADA]["sessions"], int)
    assert INSTANT.fullmatch(users[ADA]["last_accessed"])

    sessions = {row["id"]: row for row in populated.json("session", "list-user", ADA)}
    assert sessions["33333333"]["ip_address"] is None
    assert sessions["33333333"]["user_agent"] is None
    assert {key: row["state"] for key, row in sessions.items()} == {
        "11111111": "active",
        "22222222": "idle",
        "33333333": "expired",
    }
    for row in sessions.values():
        for name in ("created_at", "expires_at", "last_accessed"):
            assert INSTANT.fullmatch(row[name])

    stats = populated.json("session", "stats")
    assert stats["total"] == 4
    assert isinstance(stats["average_life_seconds"], float)
    assert isinstance(stats["age"], dict)
    status = populated.json("migrate", "status")
    assert status["up_to_date"] is True
    assert status["pending"] == []
    assert populated.json("migrate", "history")[-1]["down_revision"] is None


@pytest.mark.parametrize("words", ["admin list --all", "migrate history", "db check"])
def test_json_lines_are_the_rows_of_json(populated: Project, words: str) -> None:
    """Each line is one row, with the same text: 1 and true are equal in Python, not in JSON."""
    rows = json.loads(populated.run(*words.split(), "-o", "json").stdout)
    lines = populated.run(*words.split(), "-o", "jsonl").stdout.splitlines()
    assert lines == [json.dumps(row, ensure_ascii=False) for row in rows]


def test_timestamps_are_what_is_stored(populated: Project) -> None:
    """The timestamp in JSON is the stored one, to the microsecond, in UTC."""
    user = populated.add_user("exact@example.org")
    now = datetime(2026, 11, 22, 18, 32, 1, 234567, tzinfo=UTC)
    populated.add_session(user, now=now, created=timedelta(0), expires=timedelta(days=9999))
    row = populated.json("session", "list-user", "exact@example.org")[0]
    assert row["created_at"] == "2026-11-22T18:32:01.234567Z"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("session", "list-user", ADA), [f.name for f in dataclasses.fields(results.SessionRow)]),
        (("admin", "list"), [f.name for f in dataclasses.fields(results.UserRow)]),
        (("migrate", "create", "-m", "nothing"), ["path", "result"]),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_nothing_is_an_empty_document(
    project: Project, words: tuple[str, ...], names: list[str]
) -> None:
    """Empty lists: ``[]``, no line, only a header; a note on standard error for a table."""
    project.add_user(ADA)
    project.rows('UPDATE "user" SET is_superuser = false')
    assert project.run("migrate", "init").code == 0
    runs = {form: project.run(*words, "-o", form) for form in FORMATS}
    assert {run.code for run in runs.values()} == {0}, runs
    assert runs["json"].stdout == "[]\n"
    assert runs["jsonl"].stdout == ""
    assert runs["plain"].stdout == ""
    assert runs["table"].stdout == ""
    assert runs["table"].stderr.strip() != ""
    assert next(csv.reader(io.StringIO(runs["csv"].stdout))) == names
    assert runs["csv"].stdout.count("\n") == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_note_about_the_cache_is_no_data(project: Project, form: str) -> None:
    """The note after a revocation is on standard error in each format."""
    back_up(project)
    result = project.run("session", "revoke-user", ADA, "-o", form)
    assert result.code == 0
    assert "30 s" in result.stderr
    assert "cache" not in result.stdout
    assert len(project.tokens()) == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_variable_chooses_the_format(populated: Project, form: str) -> None:
    """CLARINET_OUTPUT means what -o means."""
    words = ("session", "list-user", ADA)
    by_variable = populated.run(*words, env={"CLARINET_OUTPUT": form})
    assert by_variable == populated.run(*words, "-o", form)
    assert by_variable.stdout


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_option_beats_the_variable(populated: Project) -> None:
    """-o wins over CLARINET_OUTPUT."""
    result = populated.run("admin", "list", "-o", "jsonl", env={"CLARINET_OUTPUT": "csv"})
    assert json.loads(result.stdout.splitlines()[0])["email"] == ADA


@pytest.mark.parametrize(("words", "env"), [(("-o", "yaml"), {}), ((), {"CLARINET_OUTPUT": "x"})])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_unknown_format_is_a_usage_error(
    populated: Project, words: tuple[str, ...], env: dict[str, str]
) -> None:
    """Exit 2 names the formats that there are."""
    result = populated.run("admin", "list", *words, env=env)
    assert (result.code, result.stdout) == (2, "")
    assert all(form in result.stderr for form in FORMATS)


def test_every_command_that_prints_data_has_the_option() -> None:
    """-o is on every command; --dry-run is a flag where it is offered."""
    for name, item in all_commands().items():
        if name != "db shell":  # what it prints is psql's or sqlite3's own
            assert {"-o", "--output"} <= options_of(item), name


def test_the_table_above_covers_every_command() -> None:
    """A command that is not in the list of this file is a gap in the tests."""
    lines = [f"{case.line} " for case in COMMANDS]
    assert set(all_commands()) >= ELSEWHERE
    for name in set(all_commands()) - ELSEWHERE:
        assert any(line.startswith(f"{name} ") for line in lines), name


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_wide_table_in_a_pipe_is_neither_cut_nor_wrapped(project: Project) -> None:
    """In a pipe a table is as wide as its content, regardless of COLUMNS."""
    user = project.add_user(f"{'long' * 15}@example.org")
    agent = "Mozilla/5.0 (X11; Linux) " * 20
    project.add_session(user, token="55555555-long", user_agent=agent[:512])
    project.environment["COLUMNS"] = "40"
    result = project.run_process("session", "list-user", str(user))
    assert result.code == 0, result
    line = next(line for line in result.stdout.splitlines() if "55555555" in line)
    assert agent[:512].rstrip() in line
    assert f"{'long' * 15}@example.org" in line
    assert str(user) in line
    assert "…" not in result.stdout


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_long_listing_is_complete_in_every_format(project: Project) -> None:
    """In a pipe a table of many rows has all of them, as the other formats have."""
    user = project.add_user(ADA)
    now = datetime.now(UTC)
    rows = [f"({number:08}-many)" for number in range(700)]
    project.rows(
        "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed)"
        " SELECT column1, ?, ?, ?, ? FROM (VALUES "
        + ", ".join(f"('{row[1:-1]}')" for row in rows)
        + ")",
        user,
        now,
        now + timedelta(hours=1),
        now,
    )
    for form, lines in (("table", 702), ("jsonl", 700), ("plain", 700), ("csv", 701)):
        result = project.run("session", "list-user", ADA, "-o", form)
        assert result.stdout.count("\n") == lines
        assert result.stderr == ""


def test_field_names_are_a_public_contract(snapshot: SnapshotAssertion) -> None:
    """The names in results.py, in their order: scripts read them."""
    names = {
        name: [item.name for item in dataclasses.fields(kind)]
        for name, kind in vars(results).items()
        if dataclasses.is_dataclass(kind)
    }
    step = {case.row.__name__ for case in COMMANDS}
    assert {name: fields for name, fields in names.items() if name in step} == snapshot


PROMISED = {
    "admin list": "id email is_active is_superuser is_verified roles sessions last_accessed",
    f"session list-user {ADA}": (
        "id user_id email state created_at expires_at last_accessed ip_address user_agent"
    ),
    "session list": (
        "id user_id email state created_at expires_at last_accessed ip_address user_agent"
    ),
    "session show 22222222": "id user_id email state created_at expires_at last_accessed",
    "session revoke 22222222": "id result",
    "session revoke-all --yes": "result sessions_revoked",
    "session stats": "total active idle expired blocked users",
    "session cleanup": "matched deleted remaining batches seconds complete dry_run",
    f"session revoke-user {ADA}": "result sessions_revoked",
    f"admin reset-password {ADA} --generate-password": "result sessions_revoked",
    "admin create --email new@example.org --generate-password": "result",
    f"admin show {ADA}": (
        "id email is_active is_superuser is_verified roles sessions last_accessed"
        " password_scheme password_current"
    ),
    "admin roles": "name members",
    f"admin promote {ADA}": "result sessions_revoked",
    f"admin demote {ADA}": "result sessions_revoked",
    f"admin deactivate {ADA}": "result sessions_revoked",
    f"admin delete {ADA} --yes": "result sessions_revoked",
    "migrate status": "current heads pending unknown up_to_date",
    "migrate upgrade": "result",
    "db init": "step result detail",
    "config check": "check status detail hint",
    "migrate check": "check status detail hint",
    "doctor": "check status detail hint",
    "db vacuum": "bytes_before bytes_after",
}


@pytest.mark.parametrize("line", PROMISED)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_promised_names_are_there(populated: Project, line: str) -> None:
    """Each name that the contract promises to scripts is in the JSON document."""
    document = populated.json(*line.split())
    record = document[0] if isinstance(document, list) else document
    assert set(PROMISED[line].split()) <= set(record)


def results_of(document: Any) -> set[str]:
    """Return the values of ``result`` in a document."""
    rows = document if isinstance(document, list) else [document]
    return {row["result"] for row in rows}


WORDS_OF_CHANGE = [
    ("admin create --email new@example.org --generate-password", "created", None),
    (f"admin create --email {ADMIN} --update", "unchanged", "unchanged"),
    (f"admin create --email {ADMIN} --if-not-exists", "unchanged", "unchanged"),
    ("admin reset-password --generate-password", "updated", None),
    (f"admin promote {ADA}", "unchanged", "unchanged"),
    (f"admin demote {ADA}", "updated", "unchanged"),
    (f"admin activate {ADA}", "unchanged", "unchanged"),
    (f"admin deactivate {ADA}", "updated", "unchanged"),
    (f"admin delete {ADA} --yes", "deleted", None),
    (f"admin grant-role {ADA} doctor", "updated", "unchanged"),
    (f"admin revoke-role {ADA} admin", "updated", "unchanged"),
    (f"session revoke-user {ADA}", "revoked", "unchanged"),
    ("session revoke 11111111 33333333", "revoked", None),
    ("session revoke-all --yes", "revoked", "unchanged"),
    ("db init", "unchanged", "unchanged"),
    ("db reset --yes", "deleted", None),
    ("db restore DIR/saved --clean --yes --no-safety-copy", "restored", None),
    ("migrate stamp head", "unchanged", "unchanged"),
    ("migrate stamp base --force", "updated", "unchanged"),
    ("admin ensure", "unchanged", "unchanged"),
    ("migrate upgrade", "unchanged", "unchanged"),
    ("migrate init --force", "unchanged", "unchanged"),
    ("migrate downgrade base --yes", "updated", "unchanged"),
]


@pytest.mark.parametrize(("line", "first", "again"), WORDS_OF_CHANGE)
def test_changes_report_what_happened(
    populated: Project, line: str, first: str, again: Optional[str]
) -> None:
    """``result`` is one of the promised words, on the first and on the second run."""
    assert results_of(run_line(populated, line, "-o", "json").json) == {first}
    if again is not None:
        assert results_of(run_line(populated, line, "-o", "json").json) == {again}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_failure_prints_no_data(project: Project, form: str) -> None:
    """In each format a failed command leaves standard output empty."""
    result: Result = project.run("session", "list-user", "nobody@example.org", "-o", form)
    assert (result.code, result.stdout) == (3, "")
    assert result.code in EXIT_CODES


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_check_that_says_no_still_prints_its_data(empty_project: Project, form: str) -> None:
    """``migrate status --check`` prints the status, then ends with 6."""
    empty_project.file.touch()
    result = empty_project.run("migrate", "status", "--check", "-o", form)
    assert result.code == 6
    assert "c1a90e7f0001" in result.stdout
