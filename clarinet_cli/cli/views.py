"""Results for ``--watch``: reading and drawing them, and what differs between two readings.

Not in ``watch``, which few runs import.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Optional, Protocol, TypeVar

from clarinet_cli.cli.cells import format_cell
from clarinet_cli.cli.formats import Fields, flatten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clarinet_cli.cli.charts import Canvas
    from clarinet_cli.services.unit_of_work import Database

ResultT = TypeVar("ResultT")
ReadT = TypeVar("ReadT", covariant=True)
RowT = TypeVar("RowT")

NEW, GONE, CHANGED, SAME = "+", "-", "~", " "
MARKS = f"{NEW} new  {GONE} gone  {CHANGED} changed"


class ReadResult(Protocol[ReadT]):
    """Reads a result; see ``LiveView``."""

    def __call__(self, database: "Database", *, warn: bool) -> Awaitable[ReadT]:
        """Read it, with or without warnings about the database."""


@dataclass(frozen=True, slots=True)
class LiveView(Generic[ResultT]):
    """A result that can be refreshed.

    Attributes:
        read: Reads it; its transactions have ended when it returns.
        draw: Returns a Rich renderable of a result for a terminal, with the changes since an
            earlier result unless that is None.
        columns: The fields of a JSON line; empty: all.
        limit: The maximum number of rows in a JSON line; None: all.
    """

    read: ReadResult[ResultT]
    draw: Callable[[ResultT, Optional[ResultT], "Canvas"], "RenderableType"]
    columns: Sequence[str] = ()
    limit: Optional[int] = None


def field_changes(before: Fields, after: Fields) -> dict[str, str]:
    """Return what has changed in a record, by field: ``+3`` for a number, else ``changed``.

    Args:
        before: The fields of the earlier reading.
        after: Those of the later one.
    """
    older, newer = flatten(before), flatten(after)
    changes = {}
    for name in {**older, **newer}:
        old, new = older.get(name), newer.get(name)
        if isinstance(old, int) and isinstance(new, int) and old != new:
            sign = "+" if new > old else "-"
            changes[name] = f"{sign}{format_cell(name, abs(new - old), compact=True)}"
        elif old != new:
            changes[name] = "changed"
    return changes


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
    previous: Hashable = None
    for row in before:
        if identity(row) in newer:
            previous = identity(row)
        elif len(after) != limit or (common and previous != common[-1]):
            gone.setdefault(previous, []).append(row)
    yield from ((row, GONE) for row in gone.get(None, []))
    for number, row in enumerate(after):
        known = older.get(identity(row))
        if known is None:
            yield row, SAME if len(before) == limit and number >= end_after else NEW
        else:
            yield row, SAME if known == row else CHANGED
        yield from ((lost, GONE) for lost in gone.get(identity(row), []))
