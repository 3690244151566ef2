"""Differences between two readings of the same data, for ``--watch``."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Optional, TypeVar

from clarinet_cli.cli.cells import format_cell
from clarinet_cli.cli.formats import Fields, flatten

RowT = TypeVar("RowT")

NEW, GONE, CHANGED, SAME = "+", "-", "~", " "
MARKS = f"{NEW} new  {GONE} gone  {CHANGED} changed"


def field_changes(before: Fields, after: Fields) -> dict[str, str]:
    """Return what has changed in a record, by field: ``+3`` for a number, else ``changed``.

    Args:
        before: The fields of the earlier reading.
        after: Those of the later one.
    """
    older, newer = flatten(before), flatten(after)
    return {
        name: _change(name, older.get(name), newer.get(name))
        for name in {**older, **newer}
        if older.get(name) != newer.get(name)
    }


def _change(name: str, before: Any, after: Any) -> str:
    if isinstance(before, int) and isinstance(after, int):
        sign = "+" if after > before else "-"
        return f"{sign}{format_cell(name, abs(after - before), compact=True)}"
    return "changed"


def compare_rows(
    before: Sequence[RowT],
    after: Sequence[RowT],
    identity: Callable[[RowT], Hashable],
    *,
    limit: Optional[int] = None,
) -> Iterator[tuple[RowT, str]]:
    """Yield the rows of the later reading with a mark; removed rows keep their position.

    Of a listing that has as many rows as its limit, those after the last row that both readings
    have are neither new nor removed: they may only have moved across the limit. If there is no such
    row, all are new.

    Args:
        before: The rows of the earlier reading.
        after: Those of the later one, in the same order.
        identity: Returns what identifies a row.
        limit: The maximum number of rows in a reading.
    """
    older = {identity(row): row for row in before}
    newer = {identity(row) for row in after}
    common = [identity(row) for row in before if identity(row) in newer]
    common_after = [number for number, row in enumerate(after) if identity(row) in older]
    end_after = common_after[-1] + 1 if common_after else len(after)
    gone: dict[Hashable, list[RowT]] = {}
    place: Hashable = None
    for row in before:
        if identity(row) in newer:
            place = identity(row)
        elif len(after) != limit or (common and place != common[-1]):
            gone.setdefault(place, []).append(row)
    yield from ((row, GONE) for row in gone.get(None, []))
    for number, row in enumerate(after):
        known = older.get(identity(row))
        if known is None:
            yield row, SAME if len(before) == limit and number >= end_after else NEW
        else:
            yield row, SAME if known == row else CHANGED
        yield from ((lost, GONE) for lost in gone.get(identity(row), []))
