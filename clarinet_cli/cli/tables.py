"""Tables for people: aligned, relative times, and never a stranger's markup."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich import box
from rich.table import Table
from rich.text import Text

from clarinet_cli.cli.formats import Fields, flat
from clarinet_cli.cli.text import printable
from clarinet_cli.instants import iso_text

SHORT_ID = 8
SHORT_AGENT = 15  # so that the sessions of a user fit into 80 columns
UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
TITLES = {"last_accessed": "last used", "ip_address": "address", "user_agent": "agent"}
KIBI = 1024.0


def rows_table(rows: list[Fields], columns: Sequence[str], *, compact: bool) -> Table:
    """Return a table with a header and one line a row.

    Args:
        rows: The fields of each row; not empty.
        columns: The fields to show; all when empty.
        compact: Short ids and relative times, for a person at a terminal.
    """
    flattened = [flat(row) for row in rows]
    shown = columns or list(dict.fromkeys(name for row in flattened for name in row))
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for name in shown:
        values = [row[name] for row in flattened if row.get(name) is not None]
        numeric = bool(values) and all(_is_number(value) for value in values)
        table.add_column(
            Text(title(name)),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=not compact,
        )
    for row in flattened:
        table.add_row(*(_cell(name, row.get(name), compact=compact) for name in shown))
    return table


def record_table(record: Fields, *, compact: bool) -> Table:
    """Return a table with one line a field."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold", no_wrap=not compact)
    for name, value in flat(record).items():
        # One record has room for its whole id, and somebody may want to copy it.
        short = compact and not isinstance(value, UUID)
        table.add_row(Text(title(name)), _cell(name, value, compact=short))
    return table


def title(name: str) -> str:
    """Return a field's name as words, short enough for a column's head."""
    if name in TITLES:
        return TITLES[name]
    for suffix in ("_seconds", "_bytes", "_at"):
        name = name.removesuffix(suffix)
    return name.removeprefix("is_").replace("_", " ").replace(".", " ")


def relative(then: datetime, now: datetime) -> str:
    """Return an instant as seen from another, such as ``3 h ago`` or ``in 2 d``."""
    seconds = (then - now).total_seconds()
    text = duration(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def duration(seconds: float) -> str:
    """Return a time span in its largest whole unit."""
    for unit, length in UNITS:
        if seconds >= length or unit == "s":
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(name: str, value: Any, *, compact: bool) -> Text:
    return Text(_words(name, value, compact=compact))


def _words(name: str, value: Any, *, compact: bool) -> str:
    match value:
        case None | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return relative(value, datetime.now(UTC)) if compact else iso_text(value)
        case UUID():
            return str(value)[:SHORT_ID] if compact else str(value)
        case tuple() | list():
            return ", ".join(printable(str(item)) for item in value)
        case int() if name.endswith("_bytes"):
            return _size(value)
        case int() | float() if name.endswith("_seconds") and value >= UNITS[2][1]:
            return str(duration(timedelta(seconds=value).total_seconds()))
        case str() if compact and name == "user_agent":
            return _shortened(printable(value))
        case _:
            return printable(str(value))


def _shortened(text: str) -> str:
    """Return the beginning of a text that only tells rows apart; pipes get all of it."""
    return text if len(text) <= SHORT_AGENT else f"{text[: SHORT_AGENT - 1]}…"


def _size(count: float) -> str:
    for unit in BYTE_UNITS:
        if count < KIBI or unit == BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}"
        count /= KIBI
    return str(count)
