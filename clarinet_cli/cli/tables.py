"""Tables for display: values as words, aligned text for pipes, Rich tables for terminals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Optional
from uuid import UUID

from clarinet_cli.cli.formats import Fields, column_names, flatten
from clarinet_cli.cli.text import printable
from clarinet_cli.timefmt import iso_text

SHORT_ID = 8
SHORT_AGENT = 15  # so that the sessions of a user fit into 80 columns
TIME_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
KIBI = 1024.0
TITLES = {"last_accessed": "last used", "ip_address": "address", "user_agent": "agent"}
COLUMN_GAP = "  "
BOLD, RESET = "\x1b[1m", "\x1b[0m"


class AlignedRows:
    """Rows as aligned text, made one at a time; in a pipe never cut, as wide as the content.

    Rich would ask the environment for a width, and takes about 0.9 s for 1000 rows.

    Args:
        first: The rows that determine the widths; a wider cell in a later row widens its
            column from there on.
        columns: The fields to show; all those of the first rows when empty.
        compact: Short ids and relative times, for a terminal.
        styled: Whether the header is bold.
        titles: The titles of some columns, by field; the others' are made of the names.
    """

    def __init__(
        self,
        first: Sequence[Fields],
        columns: Sequence[str],
        *,
        compact: bool,
        styled: bool,
        titles: Optional[Mapping[str, str]] = None,
    ) -> None:
        self._names = columns or column_names(first)
        self._compact = compact
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
        return f"{_bold(titles) if self._styled else titles}\n{rule}\n"

    def row(self, values: Fields) -> str:
        """Return the line of one row."""
        cells = self._cells(values)
        self._widen(cells)
        return f"{self._line(cells)}\n"

    def _cells(self, values: Fields) -> list[str]:
        flattened = flatten(values)
        return [
            format_cell(name, flattened.get(name), compact=self._compact) for name in self._names
        ]

    def _widen(self, cells: Iterable[str]) -> None:
        self._widths = [
            max(known, display_width(text)) for known, text in zip(self._widths, cells, strict=True)
        ]

    def _line(self, cells: Sequence[str]) -> str:
        columns = zip(cells, self._widths, self._right, strict=True)
        return COLUMN_GAP.join([_pad(*column) for column in columns]).rstrip()


def aligned_record(record: Fields, *, styled: bool) -> Iterator[str]:
    """Yield a line for each field: its title and its value."""
    named = [
        (column_title(name), format_cell(name, value, compact=False))
        for name, value in flatten(record).items()
    ]
    widest = max(display_width(name) for name, _ in named)
    for name, value in named:
        padded = _pad(name, widest, right=False)
        yield f"{_bold(padded) if styled else padded}{COLUMN_GAP}{value}\n"


def rich_table() -> Any:
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
    marks: Sequence[str] = (),
) -> Any:
    """Return a Rich table with a header and a line for each row.

    Args:
        rows: The fields of each row; not empty.
        columns: The fields to show; all when empty.
        screen_width: The columns that the terminal has.
        marks: For each row the character before it; the row is bold unless it is a space.
    """
    from rich.text import Text

    flattened = [flatten(row) for row in rows]
    shown = columns or column_names(rows)
    table = rich_table()
    if marks:
        table.add_column("", width=1)
        screen_width -= 1 + len(COLUMN_GAP)
    cells = [
        [format_cell(name, row.get(name), compact=True) for name in shown] for row in flattened
    ]
    titled = [[column_title(name) for name in shown], *cells]
    widths = _fit_widths([list(column) for column in zip(*titled, strict=True)], screen_width)
    for name, wanted in zip(shown, widths, strict=True):
        right = is_numeric([row.get(name) for row in flattened])
        table.add_column(
            Text(column_title(name)),
            justify="right" if right else "left",
            overflow="fold",
            width=wanted,
        )
    for number, row in enumerate(cells):
        mark = [Text(marks[number])] if marks else []
        changed = bool(marks) and not marks[number].isspace()
        table.add_row(*mark, *map(Text, row), style="bold" if changed else None)
    return table


def _fit_widths(columns: Sequence[Sequence[str]], screen_width: int) -> list[int]:
    """Return the widths of columns: the widest are wrapped first, and words broken last.

    Args:
        columns: The cells of each column, its title included.
        screen_width: The columns that the terminal has.
    """
    widths = [max(map(display_width, cells)) for cells in columns]
    words = [
        max((display_width(word) for text in cells for word in text.split()), default=0)
        for cells in columns
    ]
    # The first column is what a row is named by: its words are broken last of all.
    for least in (words, [words[0], *(1 for _ in words[1:])], [1 for _ in words]):
        while sum(widths) + len(COLUMN_GAP) * (len(widths) - 1) > screen_width:
            wider = [
                number for number, least_width in enumerate(least) if widths[number] > least_width
            ]
            if not wider:
                break
            widths[max(wider, key=widths.__getitem__)] -= 1
    return widths


def rich_record(record: Fields, changes: Optional[Mapping[str, str]] = None) -> Any:
    """Return a Rich table with a line for each field.

    Args:
        record: The fields.
        changes: What to show behind the values of some fields, by name.
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


def column_title(name: str) -> str:
    """Return a field's name as words, short enough for a column's head."""
    if name in TITLES:
        return TITLES[name]
    for suffix in ("_seconds", "_bytes", "_at"):
        name = name.removesuffix(suffix)
    return name.removeprefix("is_").replace("_", " ").replace(".", " ")


def relative_time(then: datetime, now: datetime) -> str:
    """Return a timestamp relative to another, such as ``3 h ago`` or ``in 2 d``."""
    seconds = (then - now).total_seconds()
    text = format_duration(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def format_duration(seconds: float) -> str:
    """Return a time span, which may be negative, in its largest whole unit."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    for unit, length in TIME_UNITS:
        if seconds >= length or unit == "s":
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def is_numeric(values: Sequence[object]) -> bool:
    """Return whether a column has only numbers, which are aligned to the right."""
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in present
    )


def format_cell(name: str, value: Any, *, compact: bool) -> str:
    """Return the value of a field for display, untrusted text escaped."""
    match value:
        case None | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return relative_time(value, datetime.now(UTC)) if compact else iso_text(value)
        case UUID():
            return str(value)[:SHORT_ID] if compact else str(value)
        case tuple() | list():
            return ", ".join(printable(str(item)) for item in value)
        case int() if name.endswith("_bytes"):
            return _format_size(value)
        case int() | float() if name.endswith("_seconds") and abs(value) >= TIME_UNITS[2][1]:
            return str(format_duration(timedelta(seconds=value).total_seconds()))
        case str() if compact and name == "user_agent":
            # It only distinguishes rows; pipes get all of it.
            text = printable(value)
            return text if len(text) <= SHORT_AGENT else f"{text[: SHORT_AGENT - 1]}…"
        case _:
            return printable(str(value))


def display_width(text: str) -> int:
    """Return the columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _bold(text: str) -> str:
    return f"{BOLD}{text}{RESET}"


def _pad(text: str, wanted: int, right: bool) -> str:
    space = " " * (wanted - display_width(text))
    return f"{space}{text}" if right else f"{text}{space}"


def _format_size(count: float) -> str:
    for unit in BYTE_UNITS:
        if count < KIBI or unit == BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}"
        count /= KIBI
    return str(count)
