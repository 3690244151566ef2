"""Tables for display: values as words, aligned text for pipes, fitted text for terminals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Optional
from uuid import UUID

from clarinet_cli.cli.cells import (
    BOLD,
    RESET,
    cell_style,
    column_title,
    format_cell,
    is_numeric,
    relative_time,
)
from clarinet_cli.cli.formats import Fields, column_names, flatten
from clarinet_cli.cli.text import (
    MAX_WHOLE_ADDRESS,
    Column,
    address_parts,
    display_width,
    fit_columns,
    wrap_words,
)
from clarinet_cli.timefmt import machine_now

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLUMN_GAP = "  "
UNBROKEN = ("id", "email", "ip_address", "user_agent")
"""Text that is one value even with spaces in it."""


class AlignedRows:
    """Rows as aligned text, made one at a time; in a pipe never cut, as wide as the content.

    Rich would ask the environment for a width, and takes about 0.9 s for 1000 rows.

    Args:
        first: The rows that determine the widths; a wider cell in a later row widens its
            column from there on.
        columns: The fields to show; all those of the first rows when empty.
        styled: Whether the header is bold.
        titles: The titles of some columns, by field; the others are derived from the names.
    """

    def __init__(
        self,
        first: Sequence[Fields],
        columns: Sequence[str],
        *,
        styled: bool,
        titles: Optional[Mapping[str, str]] = None,
    ) -> None:
        self._names = columns or column_names(first)
        self._styled = styled
        flattened = [flatten(row) for row in first]
        self._right = [is_numeric([row.get(name) for row in flattened]) for name in self._names]
        titles = titles or {}
        self._titles = [titles.get(name) or column_title(name) for name in self._names]
        self._widths = list(map(display_width, self._titles))
        for row in first:
            self._widen(self._cells(row))

    def header(self) -> str:
        """Return the titles and a line below them."""
        titles = self._line(self._titles)
        rule = "─" * (sum(self._widths) + len(COLUMN_GAP) * (len(self._widths) - 1))
        return f"{_styled(titles, BOLD) if self._styled else titles}\n{rule}\n"

    def row(self, values: Fields) -> str:
        """Return the line of one row."""
        cells = self._cells(values)
        self._widen(cells)
        return f"{self._line(cells)}\n"

    def _cells(self, values: Fields) -> list[str]:
        flattened = flatten(values)
        return [format_cell(name, flattened.get(name), compact=False) for name in self._names]

    def _widen(self, cells: Iterable[str]) -> None:
        self._widths = [
            max(known, display_width(text)) for known, text in zip(self._widths, cells, strict=True)
        ]

    def _line(self, cells: Sequence[str]) -> str:
        columns = zip(cells, self._widths, self._right, strict=True)
        return COLUMN_GAP.join([_align(*column) for column in columns]).rstrip()


_Cell = tuple[Column, list[str], str]  # the lines of a cell, and its style


class FittedRows:
    """Rows as text for a terminal: the columns that fit, cells wrapped between words.

    Columns that identify a row are never cut: when a cell has a word that is wider than its column,
    the other cells of the row continue on the next line.

    Args:
        first: The rows that determine columns and widths; not empty.
        columns: The fields to show, those that matter most first; all when empty.
        width: The columns that the terminal has.
        kept: How many of the first columns are shown even if they don't fit; None: all.
        styled: Whether to colour states and print the header bold.
        titles: The titles of some columns, by field.
    """

    def __init__(
        self,
        first: Sequence[Fields],
        columns: Sequence[str],
        *,
        width: int,
        kept: Optional[int] = None,
        styled: bool,
        titles: Optional[Mapping[str, str]] = None,
    ) -> None:
        self._width = width
        self._styled = styled
        flattened = [flatten(row) for row in first]
        described = [
            _describe_column(name, (titles or {}).get(name), flattened)
            for name in columns or column_names(first)
        ]
        self._columns = fit_columns(described, width, len(COLUMN_GAP), kept)
        shown = {column.name for column in self._columns}
        self.hidden = [column.name for column in described if column.name not in shown]

    def header(self) -> str:
        """Return the titles and a line below them."""
        cells = ((column.title, BOLD if self._styled else "") for column in self._columns)
        gaps = len(COLUMN_GAP) * (len(self._columns) - 1)
        rule = "─" * min(sum(column.width for column in self._columns) + gaps, self._width)
        return f"{self._lines(list(cells))}{rule}\n"

    def row(self, values: Fields) -> str:
        """Return the lines of one row."""
        flattened = flatten(values)
        return self._lines(
            [
                (
                    format_cell(column.name, flattened.get(column.name), compact=True),
                    cell_style(column.name, flattened.get(column.name)) if self._styled else "",
                )
                for column in self._columns
            ]
        )

    def _lines(self, cells: Sequence[tuple[str, str]]) -> str:
        """Return the lines of some cells, each a text and its style."""
        row = [
            (column, wrap_words(text, column.width), style)
            for column, (text, style) in zip(self._columns, cells, strict=True)
        ]
        blocks: list[tuple[int, list[_Cell]]] = [(0, [])]
        offset = 0
        for cell in row:
            column, lines, _ = cell
            longest = max(map(display_width, lines))
            too_wide = longest > column.width
            if too_wide and longest <= self._width < offset + longest:
                if not blocks[-1][1]:
                    blocks.pop()
                blocks.append((self._width - longest, []))
            blocks[-1][1].append(cell)
            offset += column.width + len(COLUMN_GAP)
            if too_wide:
                blocks.append((offset, []))
        if len(blocks) > 1 and (line := self._single_line(row)):
            return line
        shown = ""
        for indent, block in blocks:
            for number in range(max((len(lines) for _, lines, _ in block), default=0)):
                parts = [
                    _pad(lines[number] if number < len(lines) else "", column, style)
                    for column, lines, style in block
                ]
                shown += f"{' ' * indent}{COLUMN_GAP.join(parts)}".rstrip() + "\n"
        return shown

    def _single_line(self, cells: "Sequence[_Cell]") -> Optional[str]:
        """Return a row whose columns are shifted by a wide cell, if it fits into one line."""
        if any(len(lines) > 1 for _, lines, _ in cells):
            return None
        widths = [max(column.width, display_width(lines[0])) for column, lines, _ in cells]
        if sum(widths) + len(COLUMN_GAP) * (len(widths) - 1) > self._width:
            return None
        parts = [_pad(lines[0], column, style) for column, lines, style in cells]
        return COLUMN_GAP.join(parts).rstrip() + "\n"


def _describe_column(name: str, title: Optional[str], rows: Sequence[Fields]) -> Column:
    """Return a column with the widths that its cells need."""
    values = [row.get(name) for row in rows]
    cells = [format_cell(name, value, compact=True) for value in values]
    title = title or column_title(name)
    wraps = name not in UNBROKEN and any(
        isinstance(value, (tuple, list)) or (isinstance(value, str) and " " in value)
        for value in values
    )
    words = [word for text in cells for word in text.split()] if wraps else cells
    width = max(map(display_width, [title, *cells]))
    min_width = max(map(display_width, [*title.split(), *words]))
    if name == "email" and min_width > MAX_WHOLE_ADDRESS:
        parts = (part for text in cells for part in address_parts(text))
        min_width = max(MAX_WHOLE_ADDRESS, *map(display_width, parts))
    return Column(name, title, right=is_numeric(values), width=width, min_width=min_width)


def aligned_record(
    record: Fields,
    *,
    styled: bool,
    width: Optional[int] = None,
    titles: Optional[Mapping[str, str]] = None,
) -> Iterator[str]:
    """Yield the lines of each field: its title and its value.

    Args:
        record: The fields.
        styled: Whether titles are bold and states coloured.
        width: The columns of a terminal, where values are wrapped between words, a word that
            does not fit beside its title is below it, and a time is also shown relative to now;
            None: none of these.
        titles: The titles of some fields.
    """
    named = [
        (name, (titles or {}).get(name) or column_title(name), value)
        for name, value in flatten(record).items()
    ]
    widest = max(display_width(title) for _, title, _ in named)
    room = None if width is None else max(width - widest - len(COLUMN_GAP), 1)
    for name, title, value in named:
        text = format_cell(name, value, compact=False)
        if room is not None and isinstance(value, datetime):
            text = f"{text} ({relative_time(value, machine_now())})"
        style = cell_style(name, value) if styled else ""
        padded = f"{title}{' ' * (widest - display_width(title))}"
        before = f"{_styled(padded, BOLD) if styled else padded}{COLUMN_GAP}"
        lines = [text] if room is None else wrap_words(text, room)
        indent = widest + len(COLUMN_GAP)
        longest = max(map(display_width, lines))
        if width is not None and room is not None and longest > room:
            yield f"{_styled(title, BOLD) if styled else title}\n"
            indent = max(0, width - longest)
            before = " " * indent
        for line in lines:
            yield f"{before}{_styled(line, style)}\n"
            before = " " * indent


def rich_table() -> "Table":
    """Return a Rich table without columns, in the style of all tables with a header."""
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )


def rich_rows(
    rows: list[Fields],
    columns: Sequence[str],
    screen_width: int,
    marks: Sequence[str],
    kept: Optional[int] = None,
) -> "Text":
    """Return rows as a Rich text with a header, for a display that is refreshed.

    Args:
        rows: The fields of each row; not empty.
        columns: The fields to show, those that matter most first; all when empty.
        screen_width: The columns that the terminal has.
        marks: For each row the character before it; the row is bold unless it is a space.
        kept: How many of the first columns are shown even if they don't fit; None: all.
    """
    from rich.text import Text

    indent = 1 + len(COLUMN_GAP)
    table = FittedRows(rows, columns, width=screen_width - indent, kept=kept, styled=True)
    shown = Text(no_wrap=True)
    texts = [(" ", table.header()), *zip(marks, map(table.row, rows), strict=True)]
    for number, (mark, text) in enumerate(texts):
        for line in text.splitlines():
            content = Text.assemble(mark, COLUMN_GAP, Text.from_ansi(line), "\n")
            content.stylize("bold" if number and not mark.isspace() else "")
            shown.append_text(content)
            mark = " "
    shown.rstrip()
    return shown


def rich_record(record: Fields, changes: Optional[Mapping[str, str]] = None) -> "Table":
    """Return a Rich table with a line for each field.

    Args:
        record: The fields.
        changes: What to show after the values of some fields, by name.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in flatten(record).items():
        # One record has room for its whole id, to be copied.
        text = format_cell(name, value, compact=not isinstance(value, UUID))
        change = [Text(changes.get(name, ""), style="bold")] if changes is not None else []
        table.add_row(Text(column_title(name)), Text(text), *change)
    return table


def _styled(text: str, style: str) -> str:
    return f"{style}{text}{RESET}" if style and text else text


def _align(text: str, wanted: int, right: bool) -> str:
    space = " " * (wanted - display_width(text))
    return f"{space}{text}" if right else f"{text}{space}"


def _pad(text: str, column: Column, style: str) -> str:
    space = " " * (column.width - display_width(text))
    shown = _styled(text, style)
    return f"{space}{shown}" if column.right else f"{shown}{space}"
