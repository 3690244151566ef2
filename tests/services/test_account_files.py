"""Files that declare accounts: their values, and the positions of errors."""

import csv
import io
import json
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarinet_cli.cli import formats
from clarinet_cli.exceptions import ClarinetError, InvalidInputError
from clarinet_cli.results import DeclaredAccount
from clarinet_cli.services.accounts.file import AccountEntry, read_accounts
from clarinet_cli.services.accounts.json_reader import JsonReader
from clarinet_cli.types import OutputFormat

FIELDS = ["email", "is_active", "is_superuser", "is_verified", "roles"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def declared(text: str) -> list[AccountEntry]:
    """Read a file's text."""
    return read_accounts(text.encode(), "file")


def said(row: AccountEntry) -> dict[str, Any]:
    """Return the values of a row as one table."""
    roles = {} if row.roles is None else {"roles": list(row.roles)}
    password = {} if row.password is None else {"password": row.password}
    return {"email": row.email, **row.flags, **roles, **password}


def refusal(text: str | bytes) -> str:
    """Return why a file is refused."""
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidInputError) as caught:
        read_accounts(content, "file")
    return caught.value.message


# --- What files say ------------------------------------------------------------------------

JSON = '[{"email": "a@b.de", "is_active": false, "roles": ["x", "y"]},\n {"email": "c@d.de"}]'
LINES = '{"email": "a@b.de", "is_active": false, "roles": ["x", "y"]}\n\n{"email": "c@d.de"}\n'


@pytest.mark.parametrize("text", [JSON, LINES, f"\ufeff{JSON}", f"\n \t{LINES}"])
def test_json_is_read_as_written(text: str) -> None:
    """A list, or objects one a line, with or without a byte order mark: absent means unsaid."""
    first, second = declared(text)
    assert said(first) == {"email": "a@b.de", "is_active": False, "roles": ["x", "y"]}
    assert (said(second), second.roles, second.password) == ({"email": "c@d.de"}, None, None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_as_written(delimiter: str, end: str) -> None:
    """Spreadsheets write other delimiters, line ends, and TRUE; an empty flag is unsaid."""
    lines = [
        ["Email ", "IS_ACTIVE", "is_verified", "roles", "password"],
        ["a@b.de", "FALSE", "", "x", "generate"],
        [],
        ["c@d.de", "yes", "1", "", ""],
    ]
    text = end.join(delimiter.join(cells) for cells in lines)
    first, second = declared(text)
    expected = {"email": "a@b.de", "is_active": False, "roles": ["x"], "password": "generate"}
    assert said(first) == expected
    expected = {"email": "c@d.de", "is_active": True, "is_verified": True, "roles": []}
    assert said(second) == expected


def test_csv_roles_may_hold_the_delimiter() -> None:
    """A cell holds several roles; a name with a comma is quoted in it."""
    assert declared('email,roles\na@b.de,"x,y"\n')[0].roles == ("x", "y")
    assert declared('email,roles\na@b.de,"""x,y"",z"\n')[0].roles == ("x,y", "z")


def test_a_role_named_twice_counts_once() -> None:
    """Roles are a set."""
    assert declared('{"email": "a@b.de", "roles": ["x", "x"]}')[0].roles == ("x",)


@pytest.mark.parametrize("text", ["[]", "[ \n]", "email,roles\n", "\ufeffemail\r\n\r\n"])
def test_a_list_without_accounts_is_a_list(text: str) -> None:
    """An empty list is valid."""
    assert declared(text) == []


accounts = st.builds(
    DeclaredAccount,
    email=TEXT.map(str.strip).filter(bool),
    is_active=st.booleans(),
    is_superuser=st.booleans(),
    is_verified=st.booleans(),
    roles=st.lists(TEXT, unique=True, max_size=3).map(tuple),
)


@given(st.lists(accounts, max_size=4))
def test_what_is_written_as_json_is_read_as_it_was(rows: list[DeclaredAccount]) -> None:
    """Any text round-trips, control characters, quotes and formulas included."""
    for output in (OutputFormat.JSON, OutputFormat.JSONL):
        text = written(rows, output)
        if text.strip():
            assert list(map(said, declared(text))) == list(map(as_declared, rows))


PRINTABLE = TEXT.filter(lambda text: text.isprintable() and not text.startswith("\u200b"))


@given(
    st.lists(
        st.builds(
            DeclaredAccount,
            email=st.one_of(PRINTABLE, st.from_regex(r"'*[=+@-][a-z']{1,5}", fullmatch=True))
            .map(str.strip)
            .filter(bool),
            is_active=st.booleans(),
            is_superuser=st.booleans(),
            is_verified=st.booleans(),
            roles=st.lists(PRINTABLE, unique=True, max_size=3).map(tuple),
        ),
        max_size=4,
    )
)
def test_what_is_written_as_csv_is_read_as_it_was(rows: list[DeclaredAccount]) -> None:
    """Commas, quotes, and escaped formulas round-trip."""
    text = written(rows, OutputFormat.CSV)
    assert list(map(said, declared(text))) == list(map(as_declared, rows))


def written(rows: list[DeclaredAccount], output: OutputFormat) -> str:
    """Return the document that ``admin export`` writes."""
    document = formats.Document(output, formats.header(DeclaredAccount))
    body = "".join(document.row(formats.as_fields(row)) for row in rows)
    return document.begin() + body + document.end()


def as_declared(row: DeclaredAccount) -> dict[str, Any]:
    """Return the values of a row of the file after reading it."""
    return {name: getattr(row, name) for name in FIELDS} | {"roles": list(row.roles)}


# --- Where files are wrong -----------------------------------------------------------------

ACCOUNT = '{"email": "a@b.de"'
WRONG: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "file: empty"),
    "white space": (" \n\ufeff".strip("\ufeff"), "file: empty"),
    "not UTF-8": (b"email\n\xff@b.de\n", "file: line 2: not UTF-8 text"),
    "no JSON": ('[{"email": nonsense}]', "line 1, column 12: not valid JSON"),
    "cut off": ('[{"email": "a@b.de"}', "line 1, column 21: not valid JSON: expected ']'"),
    "comma at the end": (f"[{ACCOUNT}}},]", "line 1, column 22: not valid JSON: expected '{'"),
    "something behind": (f"[{ACCOUNT}}}]\n}}", "line 2, column 1: not valid JSON: extra data"),
    "a name that is none": ("[{1: 2}]", "line 1, column 3: not valid JSON: a name in quotation"),
    "no colon": ('[{"email"}]', "line 1, column 10: not valid JSON: expected ':'"),
    "a list in the list": ("[[]]", "line 1, column 2: not valid JSON: expected '{'"),
    "deep": ("[{" + '"email":' + "[" * 100_000, "nested too deeply"),
    "a long number": ('[{"email": ' + "1" * 5000, "a number too long"),
    "no address": ('[\n {"roles": []}]', "line 2, column 2 (email): missing"),
    "no text": ('[{"email": 7}]', "line 1, column 12 (email): not text"),
    "a NUL": ('[{"email": "\\u0000"}]', "line 1, column 12 (email): not text"),
    "half a pair": ('[{"email": "\\ud800@b.de"}]', "line 1, column 12 (email): not text"),
    "no flag": (f'[{ACCOUNT},\n"is_active": 1}}]', "line 2, column 14 (is_active): not true or"),
    "no list": (f'[{ACCOUNT}, "roles": "x"}}]', "(roles): not a list of names"),
    "no names": (f'[{ACCOUNT}, "roles": [""]}}]', "(roles): not a list of names"),
    "unknown": (f'[{ACCOUNT},\n  "rols": []}}]', "line 2, column 11 (rols): unknown field"),
    "twice": (f'[{ACCOUNT}, "email": "c@d.de"}}]', "(email): is given twice"),
    "no header": ("a@b.de,true\n", "line 1, column 1: not a list of accounts"),
    "a column twice": ("email,email\n", "line 1, column 2 (email): the header names a column"),
    "few cells": ("email,roles\n\na@b.de\n", "line 3, column 1: 1 cell, but the header has 2"),
    "many cells": ("email\na@b.de,x\n", "line 2, column 1: 2 cells, but the header has 1"),
    "no word": ("email,is_active\na@b.de,perhaps\n", "(is_active): not true, false, yes"),
    "no end of a quote": ('email\n"a@b.de\n', "not valid CSV"),
    "an unknown column": ("email,id\na@b.de,7\n", "line 1, column 2 (id): unknown field"),
    "roles in two lines": ('email,roles\na@b.de,"x\ny"\n', "column 2 (roles): not a list"),
    "roles with an open quote": ('email,roles\na@b.de,"""x"\n', "(roles): not a list of names"),
    "an empty address": ("email,roles\n,x\n", "line 2, column 1 (email): missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_line_and_column(name: str) -> None:
    """The message has position and reason."""
    content, expected = WRONG[name]
    message = refusal(content)
    assert message.startswith("file: ")
    assert expected in message


MISPLACED = {
    "no header": "ada@b.de,hunter2hunter2\nbob@b.de,correct-horse\n",
    "no header, another delimiter": "hunter2hunter2;ada@b.de;true\n",
    "one column": "hunter2hunter2\n",
    "a flag": "email,is_active\na@b.de,hunter2hunter2\n",
    "a flag in a second row": "email,is_active\na@b.de,yes\nc@b.de,hunter2hunter2\n",
}


@pytest.mark.parametrize("name", MISPLACED)
def test_no_cell_that_may_be_a_password_is_quoted(name: str) -> None:
    """A file without a header, or with its columns mixed up, gives one error without content."""
    with pytest.raises(InvalidInputError) as caught:
        read_accounts(MISPLACED[name].encode(), "file")
    assert not caught.value.further
    shown = f"{caught.value.message} {caught.value.hint}"
    assert "line " in shown
    assert not any(text in shown for text in ("hunter2", "correct-horse", "@b.de"))
    if "flag" not in name:
        assert str(caught.value.hint).startswith("the first line names the columns, such as email,")


def test_a_line_in_quotes_counts() -> None:
    """A cell may hold line ends; the line of a later mistake is that of the file."""
    text = 'email,roles\na@b.de,"""x\ny"""\nc@d.de\n'
    assert "line 4, column 1" in refusal(text)
    assert declared(text.replace("c@d.de", "c@d.de,"))[0].roles == ("x\ny",)


@given(st.one_of(st.text(), st.binary()))
def test_any_content_is_read_or_refused(content: str | bytes) -> None:
    """No content ends in anything but rows or a refusal."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    assert isinstance(rows_or_none(data), list | None)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_json_is_read_or_refused(value: object) -> None:
    """A value of any type, at any position, is handled."""
    for document in (value, [value], [{"email": value}], [{"email": "a@b.de", "roles": value}]):
        rows_or_none(json.dumps(document).encode())


def rows_or_none(content: bytes) -> Optional[list[AccountEntry]]:
    """Return the rows of a file, or None when it is refused in one line."""
    try:
        return read_accounts(content, "file")
    except ClarinetError as error:
        message = error.message
    assert message.startswith("file: ")
    return None


def test_a_password_is_no_part_of_a_representation() -> None:
    """A row that is logged by accident shows no hash."""
    row = declared('{"email": "a@b.de", "password": "secret"}')[0]
    assert "secret" not in repr(row)
    assert row.password == "secret"


def test_the_field_size_of_csv_is_limited() -> None:
    """A cell that is larger than any address is refused before it is read completely."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["email"], ["a" * 200_000]])
    assert "line 2" in refusal(buffer.getvalue())


def test_a_place_costs_no_search_from_the_beginning() -> None:
    """Places are right everywhere, and found without counting the lines before each."""

    class Text(str):
        """Text that refuses to be counted through."""

        __slots__ = ()

        def count(self, *arguments: object) -> int:
            """Fail: for 50,000 accounts that took minutes."""
            pytest.fail("each place was searched from the beginning")

    text = Text('[{"a": 1,\n"b": "x\\n"},\n\n {"c": 2}]\n\n')
    reader = JsonReader(text)
    for offset in range(len(text) + 1):
        lines = text[:offset].split("\n")
        assert reader.locate(offset) == (len(lines), len(lines[-1]) + 1)
