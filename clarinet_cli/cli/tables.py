"""Tables for a terminal: as wide as it is, and never a stranger's markup."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rich import box
from rich.table import Table
from rich.text import Text

from clarinet_cli.cli.cells import cell, columns_of, numeric, title
from clarinet_cli.cli.formats import Fields, flat


def rows_table(rows: list[Fields], columns: Sequence[str]) -> Table:
    """Return a table with a header and one line a row.

    Args:
        rows: The fields of each row; not empty.
        columns: The fields to show; all when empty.
    """
    flattened = [flat(row) for row in rows]
    shown = columns or columns_of(rows)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for name in shown:
        right = numeric([row.get(name) for row in flattened])
        table.add_column(Text(title(name)), justify="right" if right else "left", overflow="fold")
    for row in flattened:
        table.add_row(*(_text(name, row.get(name)) for name in shown))
    return table


def record_table(record: Fields) -> Table:
    """Return a table with one line a field."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in flat(record).items():
        # One record has room for its whole id, and somebody may want to copy it.
        table.add_row(Text(title(name)), _text(name, value, compact=not isinstance(value, UUID)))
    return table


def _text(name: str, value: Any, *, compact: bool = True) -> Text:
    return Text(cell(name, value, compact=compact))
