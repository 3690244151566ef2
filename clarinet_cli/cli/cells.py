"""Values in words, for tables: titles, times, sizes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from clarinet_cli.cli.formats import Fields, flat
from clarinet_cli.cli.text import printable
from clarinet_cli.timefmt import iso_text

SHORT_ID = 8
SHORT_AGENT = 15  # so that the sessions of a user fit into 80 columns
UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
TITLES = {"last_accessed": "last used", "ip_address": "address", "user_agent": "agent"}
KIBI = 1024.0


def columns_of(rows: Sequence[Fields]) -> list[str]:
    """Return the names of all fields of some rows."""
    return list(dict.fromkeys(name for row in rows for name in flat(row)))


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
    """Return a time span, which may be negative, in its largest whole unit."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for unit, length in UNITS:
        if seconds >= length or unit == "s":
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def numeric(values: Sequence[object]) -> bool:
    """Return whether a column holds numbers alone, which are aligned to the right."""
    present = [value for value in values if value is not None]
    return bool(present) and all(map(_is_number, present))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def cell(name: str, value: Any, *, compact: bool) -> str:
    """Return a value of a field as people read it; a stranger's text is made harmless."""
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
        case int() | float() if name.endswith("_seconds") and abs(value) >= UNITS[2][1]:
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
