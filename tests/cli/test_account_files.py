"""``admin export`` and ``admin apply`` on the command line."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from clarinet_cli.database.engine import make_engine
from clarinet_cli.results import AppliedAccount, DeclaredAccount
from tests.cli.scenes import (
    ADA,
    ADMIN,
    all_commands,
    assert_failed,
    database_locked,
    everything,
    make_tables_missing,
    options_of,
    populate,
)
from tests.cli.shown import filtered
from tests.cli.terminal import terminal
from tests.oracle import SERVER_HASHER
from tests.support import Project, Result

NEW = "new@example.org"
HASH = "$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHRzb21l$" + "A" * 43
ROWS = [
    {"email": NEW, "password": HASH, "roles": ["doctor"]},
    {"email": ADA, "is_superuser": True},
    {"email": ADMIN},
]


def file_of(project: Project, rows: object = ROWS, name: str = "accounts.json") -> str:
    """Write a file of accounts and return its path."""
    path = project.directory / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return str(path)


def apply(project: Project, rows: object, *options: str) -> Result:
    """Apply rows from standard input."""
    text = rows if isinstance(rows, str) else json.dumps(rows)
    return project.run("admin", "apply", "-", *options, stdin=text)


def rows_in(text: str, form: str) -> list[dict[str, Any]]:
    """Return the rows of a document."""
    match form:
        case "json":
            return list(json.loads(text))
        case "jsonl":
            return [json.loads(line) for line in text.splitlines()]
        case "csv":
            return list(csv.DictReader(io.StringIO(text)))
        case _:
            return [{"mark": line.split("\t")[0]} for line in text.splitlines()]


# --- Export --------------------------------------------------------------------------------


def test_export_is_json_unless_asked_otherwise(project: Project) -> None:
    """The names are those of the contract; what 'admin apply' does not read is not there."""
    populate(project)
    result = project.run("admin", "export")
    assert (result.code, result.stderr) == (0, "")
    names = [item.name for item in dataclasses.fields(DeclaredAccount)]
    assert [list(row) for row in result.json] == [names, names]
    assert result.json[0] == {
        "email": ADA,
        "is_active": True,
        "is_superuser": False,
        "is_verified": False,
        "roles": [],
    }
    assert result.json[1]["roles"] == ["admin"]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_what_export_writes_apply_reads(project: Project, form: str) -> None:
    """In each format: nothing changes, also with hostile names and formulas."""
    populate(project)
    project.add_user("=cmd@example.org", active=False)
    project.add_user("o'brien,x@example.org", superuser=True)
    project.rows("INSERT INTO userrole (name) VALUES (?)", '=a, "b"')
    assert project.run("admin", "grant-role", ADA, '=a, "b"').code == 0
    text = project.run("admin", "export", "-o", form).stdout
    before = everything(project)
    rows = project.json("admin", "apply", "-", "--prune", stdin=text)
    assert {row["result"] for row in rows} == {"unchanged"}
    assert len(rows) == 4
    assert everything(project) == before


def test_export_holds_no_secret(server_project: Project) -> None:
    """Neither a hash nor a token nor an id."""
    for form in ("json", "csv", "jsonl", "plain", "table"):
        text = server_project.run("admin", "export", "-o", form).stdout
        hashes = [row[0] for row in server_project.rows('SELECT hashed_password FROM "user"')]
        for secret in (*hashes, *server_project.tokens()):
            assert secret not in text
        assert "$2b$" not in text


# --- Apply ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "plain"])
def test_apply_reports_each_row(project: Project, form: str) -> None:
    """One document, one row an account, in the order of the file."""
    populate(project)
    result = project.run("admin", "apply", file_of(project), "-o", form)
    assert result.code == 0, result
    assert "1 created, 1 updated, 1 unchanged" in result.stderr
    marks = [row["mark"] for row in rows_in(result.stdout, form)]
    assert marks == (["'+", "~", "'="] if form == "csv" else ["+", "~", "="])
    if form == "json":
        names = [item.name for item in dataclasses.fields(AppliedAccount)]
        assert list(result.json[0]) == [name for name in names if name != "password"]
    roles = project.rows("SELECT role_name FROM userroleslink WHERE role_name = 'doctor'")
    assert len(roles) == 1


def test_a_dry_run_changes_nothing(project: Project) -> None:
    """The same marks, 'would' in the words, and not one row or byte."""
    populate(project)
    path = file_of(project, [*ROWS, {"email": "x@example.org", "password": "generate"}])
    before = everything(project)
    rows = project.json("admin", "apply", path, "--dry-run")
    assert [row["result"] for row in rows] == [
        "would_create",
        "would_update",
        "unchanged",
        "would_create",
    ]
    assert all("password" not in row for row in rows)
    assert everything(project) == before


def test_the_table_of_a_dry_run_says_would_revoke(project: Project) -> None:
    """As with the other commands; the table of a real run has 'sessions revoked'."""
    populate(project)
    path = file_of(project, [{"email": ADA, "is_active": False}])
    for options, title in ((("--dry-run",), "would revoke"), ((), "sessions revoked")):
        header = project.run("admin", "apply", path, *options).stdout.splitlines()[0]
        assert f"  {title}  " in header
        assert header.count("revoke") == 1


def test_generated_passwords_are_shown_once_and_with_q_beside_their_account(
    project: Project,
) -> None:
    """With -q: nothing but a line an account, the address, a tab, the password."""
    rows = [{"email": f"user{n}@example.org"} for n in (1, 2)]
    text = json.dumps([*rows, {"email": ADMIN}])
    result = project.run("-q", "admin", "apply", "-", "--generate-password", stdin=text)
    assert (result.code, result.stderr) == (0, "")
    told = dict(line.split("\t") for line in result.stdout.splitlines())
    assert list(told) == ["user1@example.org", "user2@example.org"]
    for email, password in told.items():
        ((stored,),) = project.rows('SELECT hashed_password FROM "user" WHERE email = ?', email)
        assert SERVER_HASHER.verify(password, stored)
    again = project.run("-q", "admin", "apply", "-", "--generate-password", stdin=text)
    assert (again.code, again.stdout, again.stderr) == (0, "", "")


def test_the_file_is_looked_for_where_the_person_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FILE is relative to the current directory, as any argument, not to the project."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").write_text(json.dumps([{"email": ADMIN}]))
    assert project.run("admin", "apply", "here.json").code == 0


CASES: list[tuple[str, int, str]] = [
    ("", 2, "standard input: empty"),
    ("[{]", 2, "line 1, column 3: not valid JSON"),
    ('[{"email": "nobody"}]', 2, "(email): 'nobody' is not a usable e-mail address"),
    (f'[{{"email": "{NEW}"}}]', 2, "(password): the new account"),
    (f'[{{"email": "{NEW}", "password": "geheim-1"}}]', 2, "(password): neither"),
    (f'[{{"email": "{ADA}"}}, {{"email": "{ADA}"}}]', 2, "is given twice"),
    (f"email,roles\n{ADA},nonsense\n", 3, "line 2, column 2 (roles): no role 'nonsense'"),
    (f'[{{"email": "{ADMIN}", "is_active": false}}]', 5, "no active superuser would be left"),
]


@pytest.mark.parametrize(("text", "code", "expected"), CASES)
def test_what_can_not_be_applied_changes_nothing(
    project: Project, text: str, code: int, expected: str
) -> None:
    """Each failure ends with its code, one line that has the place, and no password."""
    populate(project)
    before = everything(project)
    for options in ((), ("--dry-run",)):
        result = apply(project, text, *options)
        assert_failed(result, code)
        assert expected in result.stderr
        assert "geheim-1" not in result.stderr
    assert everything(project) == before


def test_every_bad_row_is_reported_in_the_order_of_the_file(project: Project) -> None:
    """Errors of the file itself and those found in the database, in one list."""
    populate(project)
    for email in ("Grace@example.org", "GRACE@example.org"):
        project.add_user(email)
    before = everything(project)
    text = (
        "email,is_active,roles,password\n"
        f"{ADA},perhaps,,\n"
        "grace@example.org,,,\n"
        f"{ADMIN},,,\n"
        f"{ADMIN},,,\n"
        "new@example.org,,nonsense,generate\n"
        "nobody,,,generate\n"
        "too,few\n"
        "late@example.org,,,geheim-1\n"
    )
    result = apply(project, text)
    assert_failed(result, 2, lines_of_errors=7)
    *errors, hint = result.stderr.splitlines()
    places = [re.search(r"line (\d+), column (\d+)", line) for line in errors]
    assert [match and (int(match[1]), int(match[2])) for match in places] == [
        (2, 2),
        (3, 1),
        (5, 1),
        (6, 3),
        (7, 1),
        (8, 2),
        (9, 4),
    ]
    assert all(line.startswith("error: standard input: line ") for line in errors)
    assert hint.startswith("hint: ")
    assert "geheim-1" not in result.stderr
    assert everything(project) == before


def test_the_code_is_that_of_the_first_bad_row(project: Project) -> None:
    """An unknown role before a bad flag ends with 3, behind it with 2."""
    rows = [f"{ADMIN},nonsense,", f"{ADMIN},,perhaps"]
    header = "email,roles,is_active\n"
    assert_failed(apply(project, header + "\n".join(rows)), 3, lines_of_errors=2)
    assert_failed(apply(project, header + "\n".join(reversed(rows))), 2, lines_of_errors=2)


def test_a_long_list_of_bad_rows_is_cut(project: Project) -> None:
    """The first twenty are shown, the others counted."""
    result = apply(project, "email,is_active\n" + f"{ADA},perhaps\n" * 50)
    assert_failed(result, 2, lines_of_errors=21)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 21
    assert "line 21," in errors[19]
    assert errors[20] == "error: 30 more rows cannot be used"


def test_all_errors_of_a_header_are_reported_at_once(project: Project) -> None:
    """They are on the header's line, and hide those of the rows."""
    result = apply(project, f"email,rols,is_activ,email\n{ADA},x,perhaps,\n")
    assert_failed(result, 2, lines_of_errors=3)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    places = [line.partition("line ")[2].partition(": ")[0] for line in errors]
    assert places == [
        "1, column 2 (rols)",
        "1, column 3 (is_activ)",
        "1, column 4 (email)",
    ]


def test_an_ambiguous_row_is_refused(project: Project) -> None:
    """Two accounts that differ in case, and a spelling that is neither."""
    for email in ("Grace@example.org", "GRACE@example.org"):
        project.add_user(email)
    result = apply(project, [{"email": "grace@example.org"}])
    assert_failed(result, 5)
    assert "Grace@example.org" in result.stderr


def test_a_missing_file_is_not_found(project: Project) -> None:
    """3 for a file that is not there, 2 for one that cannot be read."""
    assert_failed(project.run("admin", "apply", "missing.json"), 3)
    assert_failed(project.run("admin", "apply", str(project.directory)), 2)
    assert_failed(project.run("admin", "apply", "nul\0.json"), 2)
    assert_failed(project.run("admin", "apply"), 2)


def test_other_faults_end_with_their_codes(empty_project: Project) -> None:
    """Missing tables 1, missing database 7, broken settings 78."""
    for line in (["admin", "export"], ["admin", "apply", file_of(empty_project)]):
        assert_failed(empty_project.run(*line), 7)
    make_tables_missing(empty_project)
    for line in (["admin", "export"], ["admin", "apply", file_of(empty_project)]):
        assert_failed(empty_project.run(*line), 1)
    (empty_project.directory / "settings.toml").write_text("= broken")
    for line in (["admin", "export"], ["admin", "apply", file_of(empty_project)]):
        assert_failed(empty_project.run(*line), 78)


def test_a_locked_database_is_busy(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """75 in one line, and nothing changed."""
    monkeypatch.setitem(make_engine.__kwdefaults__ or {}, "busy_timeout", 0.1)
    before = everything(project)[0]
    with database_locked(project):
        result = apply(project, [{"email": NEW, "password": HASH}])
    assert_failed(result, 75)
    assert everything(project)[0] == before


def test_each_change_has_a_record(project: Project) -> None:
    """One line for each account that is different now; no address and no hash in it."""
    populate(project)
    log = project.directory / "audit.log"
    words = ("--audit-log", str(log), "admin", "apply", file_of(project))
    assert project.run(*words, "--dry-run").code == 0
    assert not log.exists() or log.read_text() == ""
    assert project.run(*words).code == 0
    records: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(record["command"], record["result"]) for record in records] == [
        ("admin apply", "created"),
        ("admin apply", "updated"),
    ]
    ids = {str(row[0]).replace("-", "") for row in project.rows('SELECT id FROM "user"')}
    assert {record["target"].replace("-", "") for record in records} <= ids
    assert "@" not in log.read_text()
    assert "$argon2" not in log.read_text()
    assert project.run(*words).code == 0
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("backend", ["sqlite"])
def test_hashing_shows_a_bar_on_a_terminal(project: Project) -> None:
    """A progress bar counts the hashes."""
    project.write_settings()
    text = project.database_settings + "argon2_time_cost = 2\nargon2_memory_cost = 19456\n"
    (project.directory / "settings.toml").write_text(text)
    rows = [{"email": f"user{number}@example.org", "password": "generate"} for number in range(20)]
    with terminal(project, "admin", "apply", file_of(project, rows)) as shown:
        assert shown.end() == 0, shown.text
    assert "hashing passwords" in shown.text
    assert re.search(r"\d+/20", shown.text)
    assert project.count("user") == 21


def test_both_commands_have_the_common_options() -> None:
    """-o on both; --dry-run on the one that changes."""
    commands = all_commands()
    assert "--output" in options_of(commands["admin export"])
    assert {"--output", "--dry-run", "--prune"} <= options_of(commands["admin apply"])


def test_what_is_shown(project: Project, snapshot: SnapshotAssertion) -> None:
    """Exit codes, data and messages are those of the snapshot."""
    populate(project)
    path = file_of(project)
    shown = []
    for words in (
        ["export", "-o", "csv"],
        ["export", "-o", "table"],
        ["apply", path, "--dry-run"],
        ["apply", path],
        ["apply", path, "-o", "plain"],
        ["apply", file_of(project, [{"email": ADA}], "some.json"), "--prune", "-o", "json"],
        ["apply", file_of(project, "email\n", "none.csv")],
        ["apply", "missing.csv"],
    ):
        line = " ".join(word.replace(f"{project.directory}/", "") for word in words)
        shown.append(f"$ clarinet admin {line}\n{filtered(project, project.run('admin', *words))}")
    assert "\n".join(shown) == snapshot
