"""JSON lines in large numbers: the very lines that one row at a time would give."""

from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from clarinet_cli.cli import formats
from clarinet_cli.cli.formats import columns_as_jsonl

NAMES = ("id", "agent", "address")
PLAIN_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5)
HOSTILE_TEXT = st.text(st.sampled_from('a"\\\x1b\0\n\x7f\u202eé\ud800%s[]'), max_size=5)
ROWS = st.lists(st.tuples(PLAIN_TEXT, HOSTILE_TEXT, st.none() | PLAIN_TEXT), max_size=5)


@given(ROWS)
def test_a_line_is_the_document_of_its_row(rows: list[tuple[str, str, Optional[str]]]) -> None:
    """With and without escapes the line equals the document of a single row."""
    expected = [formats.as_json(dict(zip(NAMES, row, strict=True)), pretty=False) for row in rows]
    columns = tuple(zip(*rows, strict=True)) or ((), (), ())
    assert columns_as_jsonl(NAMES, columns) == "".join(expected)


def test_one_hostile_value_does_not_go_with_the_plain_ones() -> None:
    """A value that needs escapes gets them, also among many that need none."""
    column = ["plain"] * 999 + ['the "last" \x1b[31m']
    lines = columns_as_jsonl(["agent"], [column]).splitlines()
    assert lines[:999] == ['{"agent": "plain"}'] * 999
    assert lines[999] == '{"agent": "the \\"last\\" \\u001b[31m"}'
