"""Results as text: JSON, JSON lines, CSV and plain, from the fields of a dataclass."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from clarinet_cli.cli.text import json_safe, printable, spreadsheet_safe

Fields = dict[str, Any]


def fields_of(result: object) -> Fields:
    """Return a result's public fields by name, in their declared order."""
    values = {item.name: getattr(result, item.name) for item in fields(result)}  # type: ignore[arg-type]
    absent = {
        item.name
        for item in fields(result)  # type: ignore[arg-type]
        if item.metadata.get("omit_none") and values[item.name] is None
    }
    return {name: value for name, value in values.items() if name not in absent}


def flat(values: Fields) -> Fields:
    """Return fields with those of nested tables beside them, as ``table.key``."""
    flattened: Fields = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flattened |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flattened[name] = value
    return flattened


def instant(value: datetime) -> str:
    """Return an instant as ISO 8601 in UTC with ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def as_json(values: Fields | list[Fields], *, indent: int | None = 2) -> str:
    """Return a JSON document that carries the exact text and keeps the types."""
    document = json.dumps(values, default=_plain_type, ensure_ascii=False, indent=indent)
    return json_safe(document) + "\n"


def as_csv(rows: Iterable[Fields], names: list[str]) -> Iterator[str]:
    """Yield a header line, then one line a row."""
    yield _csv_line(names)
    for row in rows:
        values = flat(row)
        yield _csv_line([_csv_cell(values.get(name)) for name in names])


def as_plain(rows: Iterable[Fields]) -> Iterator[str]:
    """Yield one line a row: the values, separated by tabs, without a header."""
    for row in rows:
        yield "\t".join(plain_cell(value) for value in flat(row).values()) + "\n"


def as_plain_record(record: Fields) -> Iterator[str]:
    """Yield one line a field: its name, a tab, its value."""
    for name, value in flat(record).items():
        yield f"{name}\t{plain_cell(value)}\n"


def plain_cell(value: object) -> str:
    """Return a value as one word or line for scripts."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return instant(value)
        case tuple() | list():
            return ",".join(plain_cell(item) for item in value)
        case _:
            return printable(str(value))


def _csv_cell(value: object) -> str:
    text = plain_cell(value)
    return text if isinstance(value, (int, float, datetime)) else spreadsheet_safe(text)


def _csv_line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _plain_type(value: object) -> object:
    return instant(value) if isinstance(value, datetime) else str(value)
