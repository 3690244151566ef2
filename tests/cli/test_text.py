"""Untrusted text in output: safe on terminals and in spreadsheets, exact in JSON."""

import csv
import io
import json
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarinet_cli.cli import formats, text
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import OutputFormat
from tests.cli.scenes import ADMIN, assert_failed, everything
from tests.support import Project

BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1+1", "=1\n+1")
AGENTS = {
    "escape sequences": "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\x08\x08",
    "eight-bit controls": "\x9b31m\x85\x90q\x9c",
    "bidi marks": "user\u202egnp.exe\u2066\u2069\u200f",
    "markup": "[red]x[/red] [link=http://x]y[/link] [/] :smile: [bold",
    "512 characters": "M" * 512,
    "right to left": "متصفح الويب דפדפן",
    "line breaks": "a\nb\r\nc\u2028d\u2029e\vf\fg",
    "invisible": "zero\u200bwidth\ufeff\U000e0041",
    "wide": "浏览器🎷e\u0301",
    "quotes": "\"'`;,|\\",
    "format strings": "{user} %s %(x)s {0} $HOME",
    "backslashes": "\\x1b[31m",
} | {f"formula {number}": formula for number, formula in enumerate(FORMULAS)}
EVIL_EMAIL = "evil\x1b[31m\u202e[red]\x07@example.org"


def assert_harmless(stream: str) -> None:
    """The text has no control character but line breaks and tabs, and none of direction."""
    for letter in stream:
        kind = unicodedata.category(letter)
        assert letter in "\n\t" or kind not in {"Cc", "Cs", "Zl", "Zp"}, ascii(stream)
        assert letter not in BIDI_CONTROLS, ascii(stream)


def add_hostile_user(project: Project) -> tuple[UUID, dict[str, str]]:
    """Store a hostile superuser with a session for each agent; return their ids and agents."""
    user = project.add_user(EVIL_EMAIL, superuser=True)
    stored = {f"{number:08}": agent for number, agent in enumerate(AGENTS.values())}
    for key, agent in stored.items():
        project.add_session(user, token=f"{key}-evil", user_agent=agent, ip_address=agent[:45])
    return user, stored


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_has_exactly_what_is_stored(project: Project, form: str) -> None:
    """JSON and JSON lines parse back to the stored text and are safe to print."""
    user, stored = add_hostile_user(project)
    result = project.run("session", "list-user", str(user), "-o", form)
    assert (result.code, result.stderr) == (0, "")
    assert_harmless(result.stdout)
    assert "\t" not in result.stdout
    rows = result.json if form == "json" else [*map(json.loads, result.stdout.splitlines())]
    assert {row["id"]: row["user_agent"] for row in rows} == stored
    assert {row["id"]: row["ip_address"] for row in rows} == {
        key: agent[:45] for key, agent in stored.items()
    }
    assert {row["email"] for row in rows} == {EVIL_EMAIL}


@pytest.mark.parametrize("form", ["table", "csv", "plain"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_control_character_reaches_a_text_format(project: Project, form: str) -> None:
    """Escape sequences, C1, bidi marks and line breaks are shown escaped, one line a session."""
    user, stored = add_hostile_user(project)
    result = project.run("session", "list-user", str(user), "-o", form)
    assert (result.code, result.stderr) == (0, "")
    assert_harmless(result.stdout)
    for key in stored:
        assert len([line for line in result.stdout.splitlines() if key in line]) == 1
    assert r"\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\x08\x08" in result.stdout
    assert r"\x9b31m\x85\x90q\x9c" in result.stdout
    assert r"user\u202egnp.exe" in result.stdout
    assert "[red]x[/red] [link=http://x]y[/link] [/] :smile: [bold" in result.stdout
    assert "متصفح" in result.stdout
    assert "M" * 512 in result.stdout


@pytest.mark.parametrize("form", ["table", "csv", "plain"])
def test_a_hostile_address_is_shown_escaped(project: Project, form: str) -> None:
    """E-mail addresses are escaped like user agents."""
    add_hostile_user(project)
    result = project.run("admin", "list", "-o", form)
    assert result.code == 0
    assert_harmless(result.stdout)
    assert r"evil\x1b[31m\u202e[red]\x07@example.org" in result.stdout


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_nul_is_carried_and_shown(project: Project) -> None:
    """SQLite can hold NUL: exact in JSON, escaped elsewhere (PostgreSQL refuses it itself)."""
    user = project.add_user("nul\0@example.org")
    project.add_session(user, user_agent="before\0after")
    row = project.json("session", "list-user", str(user))[0]
    assert (row["user_agent"], row["email"]) == ("before\0after", "nul\0@example.org")
    for form in ("table", "csv", "plain"):
        result = project.run("session", "list-user", str(user), "-o", form)
        assert r"before\x00after" in result.stdout
        assert "\0" not in result.stdout


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_formula_is_text_in_a_spreadsheet(project: Project, formula: str) -> None:
    """No CSV cell begins as a formula does; the mark is a leading quote."""
    user = project.add_user(f"{formula[:1].strip() or '='}evil@example.org")
    project.add_session(user, token="99999999-evil", user_agent=formula, ip_address=formula[:45])
    result = project.run("session", "list-user", str(user), "-o", "csv")
    row = next(csv.DictReader(io.StringIO(result.stdout)))
    for name in ("user_agent", "ip_address", "email"):
        assert not row[name].lstrip().startswith(("=", "+", "-", "@", "\t", "\r")), row
    assert row["user_agent"].startswith(("'", "\\"))
    assert row["email"] == "'" + (formula[:1].strip() or "=") + "evil@example.org"


@pytest.mark.parametrize("verbosity", [(), ("-v",), ("-vv",), ("-q",)])
def test_messages_show_hostile_addresses_escaped(
    project: Project, verbosity: tuple[str, ...]
) -> None:
    """An error that names a hostile account steers no terminal, with a log or without."""
    user = project.add_user(EVIL_EMAIL)
    before = everything(project)
    result = project.run(*verbosity, "admin", "reset-password", str(user), "--generate-password")
    assert (result.code, result.stdout) == (5, "")
    assert_harmless(result.stderr)
    assert r"evil\x1b[31m\u202e[red]\x07@example.org" in result.stderr
    assert everything(project)[0] == before[0]


@pytest.mark.parametrize("name", ["demote", "deactivate", "delete"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_refusals_show_a_hostile_address_escaped(project: Project, name: str) -> None:
    """The last superuser, or one that a question is about, may have any address."""
    user = project.add_user(EVIL_EMAIL, superuser=True)
    if name == "delete":
        question = project.run("admin", name, str(user))
        assert_failed(question, 5)
        assert_harmless(question.stderr)
        assert r"evil\x1b[31m\u202e[red]\x07@example.org" in question.stderr
    project.rows('UPDATE "user" SET is_superuser = false WHERE email = ?', ADMIN)
    result = project.run("admin", name, str(user))
    assert_failed(result, 5)
    assert_harmless(result.stderr)
    assert r"evil\x1b[31m\u202e[red]\x07@example.org is the last" in result.stderr


@pytest.mark.parametrize("form", ["table", "csv", "plain", "json"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_hostile_account_is_shown_escaped(project: Project, form: str) -> None:
    """Address and hash of one account, and what a change of it reports."""
    user = project.add_user(EVIL_EMAIL, superuser=True, hashed_password="\x1b[2J[red]")
    project.rows("INSERT INTO userrole (name) VALUES (?)", "=\x1b[31m[red]")
    for words in (("show",), ("grant-role", "=\x1b[31m[red]"), ("show",), ("demote",)):
        result = project.run("admin", words[0], str(user), *words[1:], "-o", form)
        assert result.code == 0, result
        assert_harmless(result.stdout + result.stderr)
        assert "[2J" not in result.stdout
        if form == "json":
            assert result.json["email"] == EVIL_EMAIL
    listed = project.run("admin", "roles", "-o", form)
    assert_harmless(listed.stdout)
    assert "31m[red]" in listed.stdout


def test_an_ambiguous_prefix_lists_hostile_addresses_escaped(project: Project) -> None:
    """The list of matches is as harmless as a table."""
    for number in (1, 2):
        user = project.add_user(f"{number}{EVIL_EMAIL}")
        same = UUID(f"abcdef12-0000-4000-8000-00000000000{number}")
        project.rows('UPDATE "user" SET id = ? WHERE id = ?', same, user)
    result = project.run("session", "list-user", "abcdef12")
    assert_failed(result, 5)
    assert_harmless(result.stderr)
    assert r"1evil\x1b[31m" in result.stderr
    assert r"2evil\x1b[31m" in result.stderr


HOSTILE_WORDS = [
    "\x1b[31mred",
    "[red]markup[/red]",
    "\u202eevil@example.org",
    "line\nbreak",
    "é" * 3000,
    "{braces} %s",
    "-\x9b",
    "\udcff\udcfe",
    "a\udcff@example.org",
    "@",
    "'; DROP TABLE user; --@example.org",
    "%@_",
    "",
    "\0",
]


def assert_answered(project: Project, words: tuple[str, ...], codes: set[int]) -> None:
    """Each hostile word at the end ends the command with one of *codes*, in plain words."""
    before = everything(project)[0]
    wrong = {}
    for word in HOSTILE_WORDS:
        result = project.run(*words, word)
        if result.code in codes:
            assert_failed(result, result.code)
        else:
            wrong[ascii(word)] = result
        assert_harmless(result.stderr)
        assert everything(project)[0] == before
    assert wrong == {}


@pytest.mark.parametrize("words", [("session", "list-user"), ("session", "revoke-user")])
def test_a_hostile_user_argument_is_answered_in_plain_words(
    project: Project, words: tuple[str, ...]
) -> None:
    """Any text as USER: not found or invalid, one line, no control character."""
    assert_answered(project, (*words, "--"), {2, 3})


@pytest.mark.parametrize(
    "words",
    [
        *(("admin", name, "--") for name in ("show", "promote", "demote", "activate")),
        ("admin", "deactivate", "--"),
        ("admin", "delete", "--yes", "--"),
        ("admin", "grant-role", ADMIN, "--"),
        ("admin", "revoke-role", ADMIN, "--"),
        ("admin", "create", "--generate-password", "--email"),
        ("session", "revoke-user", ADMIN, "--keep-current"),
        ("admin", "create", "--generate-password", "--email", "new@example.org", "--role"),
        ("admin", "list", "-o"),
        ("db", "wait", "--timeout"),
        ("migrate", "upgrade", "--"),
        ("migrate", "downgrade", "--yes", "--"),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_hostile_value_of_an_option_is_answered_in_plain_words(
    project: Project, words: tuple[str, ...]
) -> None:
    """A value that cannot be used ends with 2 or 3, one error line, nothing written."""
    assert_answered(project, words, {2, 3})


@pytest.mark.parametrize("words", [("[red]x[/red]",), ("session", "\x1b[31mstats"), ("--\x07",)])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_hostile_command_is_answered_in_plain_words(
    project: Project, words: tuple[str, ...]
) -> None:
    """The parser's own errors are escaped too, markup is plain text."""
    result = project.run(*words)
    assert_failed(result, 2)
    assert_harmless(result.stderr)
    assert "red" not in result.stderr or "[red]x[/red]" in result.stderr or "31m" in result.stderr


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_terminal_without_unicode_gets_escapes(project: Project) -> None:
    """Where standard output can only hold ASCII, letters are escaped instead of a crash."""
    project.add_user("zoë@example.org", superuser=True)
    project.environment["PYTHONIOENCODING"] = "ascii"
    result = project.run_process("admin", "list")
    assert (result.code, result.stderr) == (0, "")
    assert r"zo\xeb@example.org" in result.stdout


# The pure functions.

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
INSTANTS = st.datetimes(timezones=st.just(UTC))


@dataclass(frozen=True)
class Record:
    """A result with one field of each kind."""

    name: str
    note: Optional[str]
    flag: bool
    number: int
    ratio: float
    when: Optional[datetime]
    key: UUID
    items: tuple[str, ...]
    table: dict[str, int]


RECORDS = st.builds(
    Record,
    name=ANY_TEXT,
    note=st.none() | ANY_TEXT,
    flag=st.booleans(),
    number=st.integers(),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    when=st.none() | INSTANTS,
    key=st.uuids(),
    items=st.lists(ANY_TEXT, max_size=3).map(tuple),
    table=st.just({"a": 1, "b": 2}),
)


@given(ANY_TEXT)
def test_printable_is_harmless_and_keeps_the_rest(value: str) -> None:
    """No control character is left, not even a line break; harmless text is as it was."""
    shown = text.printable(value)
    assert_harmless(shown)
    assert not set("\n\t\r") & set(shown)
    if value.isascii() and value.isprintable():
        assert shown == value
    for letter in value:
        if unicodedata.category(letter)[0] in "LNS":
            assert letter in shown


@given(ANY_TEXT)
def test_printable_again_changes_nothing(value: str) -> None:
    """What is harmless already stays as it is."""
    assert text.printable(text.printable(value)) == text.printable(value)


@given(ANY_TEXT)
def test_a_safe_cell_starts_no_formula(value: str) -> None:
    """A cell never starts a formula, and at most a quote is put before it."""
    cell = text.spreadsheet_safe(value)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in {value, f"'{value}"}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff20"])
def test_a_formula_start_gets_a_quote(first: str) -> None:
    """Each character that a spreadsheet takes for a formula, wide forms included."""
    assert text.spreadsheet_safe(f"{first}1+1") == f"'{first}1+1"
    assert text.spreadsheet_safe(f"x{first}") == f"x{first}"


@given(st.characters(codec=None, exclude_categories=()))
def test_an_escaped_character_is_json(letter: str) -> None:
    """Each character's escape is read by JSON as that character."""
    assert json.loads(f'"{text.unicode_escape(letter)}"') == letter


@given(st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=4))
def test_json_parses_back_and_is_harmless(values: dict[str, Any]) -> None:
    """Any values: the document means exactly them and can be shown on a terminal."""
    for lines in (True, False):
        document = formats.as_json(values, pretty=lines)
        assert json.loads(document) == values
        assert_harmless(document)
    assert document.count("\n") == 1


@given(RECORDS)
def test_a_record_keeps_its_types_in_json(record: Record) -> None:
    """Booleans, numbers and null stay; a UUID is text; a timestamp ends with Z."""
    parsed = json.loads(formats.as_json(formats.as_fields(record)))
    assert list(parsed) == [*Record.__dataclass_fields__]
    assert parsed["flag"] is record.flag
    assert parsed["number"] == record.number
    assert parsed["ratio"] == record.ratio
    assert parsed["name"] == record.name
    assert parsed["note"] == record.note
    assert parsed["items"] == list(record.items)
    assert parsed["key"] == str(record.key)
    if record.when is not None:
        assert parsed["when"].endswith("Z")
        assert datetime.fromisoformat(parsed["when"]) == record.when


@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_csv_has_one_line_a_row_and_no_formula(records: list[Record]) -> None:
    """Every reader sees as many rows and cells as there are; text cells start no formula."""
    rows = [formats.as_fields(record) for record in records]
    names = list(formats.flatten(rows[0]))
    document = formats.Document(OutputFormat.CSV, names)
    lines = [document.begin(), *map(document.row, rows)]
    assert document.end() == ""
    assert_harmless("".join(lines))
    assert all(line.count("\n") == 1 for line in lines)
    parsed = list(csv.reader(io.StringIO("".join(lines)), strict=True))
    assert parsed[0] == names == [*list(Record.__dataclass_fields__)[:-1], "table.a", "table.b"]
    assert len(parsed) == len(records) + 1
    for cells, record in zip(parsed[1:], records, strict=True):
        cell = dict(zip(names, cells, strict=True))
        for name in ("name", "note", "items"):
            assert not cell[name].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert cell["name"] in {text.printable(record.name), f"'{text.printable(record.name)}"}
        assert cell["number"] == str(record.number)
        assert cell["flag"] == str(record.flag).lower()


@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_plain_has_one_line_a_row_and_a_tab_a_cell(records: list[Record]) -> None:
    """``cut`` finds the same cell in each line."""
    rows = [formats.as_fields(record) for record in records]
    lines = list(map(formats.Document(OutputFormat.PLAIN, []).row, rows))
    assert len(lines) == len(records)
    for line, row in zip(lines, rows, strict=True):
        assert line.count("\n") == 1
        cells = line.removesuffix("\n").split("\t")
        assert len(cells) == len(formats.flatten(row))
        assert cells[0] == text.printable(row["name"])
    assert_harmless("".join(lines))


@given(st.lists(RECORDS, max_size=3))
def test_a_json_list_written_in_pieces_is_one_document(records: list[Record]) -> None:
    """However many rows there are, the pieces make one list of the same values."""
    rows = [formats.as_fields(record) for record in records]
    document = formats.Document(OutputFormat.JSON, [])
    whole = "".join([document.begin(), *map(document.row, rows), document.end()])
    assert json.loads(whole) == [json.loads(formats.as_json(row)) for row in rows]
    assert whole.endswith("]\n")
    assert_harmless(whole)


@given(RECORDS)
def test_a_plain_record_is_names_and_values(record: Record) -> None:
    """One line a field: its name, a tab, its value."""
    lines = list(formats.as_plain_record(formats.as_fields(record)))
    assert [line.split("\t")[0] for line in lines][-2:] == ["table.a", "table.b"]
    assert all(line.count("\t") == 1 and line.count("\n") == 1 for line in lines)


@given(INSTANTS)
def test_a_timestamp_is_iso_8601_in_utc(when: datetime) -> None:
    """In any time zone the text ends with Z and means the same timestamp."""
    shown = iso_text(when)
    assert shown.endswith("Z")
    assert datetime.fromisoformat(shown) == when
