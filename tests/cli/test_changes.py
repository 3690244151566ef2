"""What differs between two readings of a listing or a record."""

import pytest

from clarinet_cli.cli.views import compare_rows, field_changes


def compared(before: str, after: str, limit: int | None = None) -> str:
    """Return rows and marks; a row is a letter, in upper case after a change."""
    rows = compare_rows(before, after, str.lower, limit=limit)
    return " ".join(f"{mark}{row}".strip() for row, mark in rows)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", ""),
        ("abc", "abc", "a b c"),
        ("", "ab", "+a +b"),
        ("ab", "", "-a -b"),
        ("abc", "xabc", "+x a b c"),
        ("abcd", "ad", "a -b -c d"),
        ("abc", "bc", "-a b c"),
        ("abc", "aBc", "a ~B c"),
        ("ab", "xy", "-a -b +x +y"),
    ],
)
def test_rows_are_marked_where_they_stand(before: str, after: str, expected: str) -> None:
    """New ones and changed ones in the order of the later reading, lost ones where they were."""
    assert compared(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("abc", "xab", "+x a b"),
        ("abc", "acd", "a -b c d"),
        ("abc", "xyz", "+x +y +z"),
        ("abc", "xac", "+x a -b c"),
        ("abc", "ab", "a b -c"),
        ("ab", "abc", "a b +c"),
    ],
)
def test_moving_across_the_limit_is_no_change(before: str, after: str, expected: str) -> None:
    """Of a full listing the rows behind the last common one may exist before and after."""
    assert compared(before, after, limit=3) == expected


def test_fields_change_by_a_difference_or_in_a_word() -> None:
    """Numbers with a sign and their unit; a field of a nested table by its own name."""
    before = {"rows": {"user": 7, "role": 5}, "size_bytes": 4096, "head": "a", "life": 1.5, "n": 1}
    after = {"rows": {"user": 5, "role": 5}, "size_bytes": 12288, "head": "b", "life": None}
    assert field_changes(before, after) == {
        "rows.user": "-2",
        "size_bytes": "+8 KiB",
        "head": "changed",
        "life": "changed",
        "n": "changed",
    }
    assert field_changes(after, after) == {}
