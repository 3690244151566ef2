"""Results as text: JSON, JSON lines, CSV and plain, from the fields of a dataclass."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from functools import cache
from textwrap import indent
from typing import TYPE_CHECKING, Any

from clarinet_cli.cli.text import json_safe, printable, spreadsheet_safe
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fields = dict[str, Any]


def fields_of(result: "DataclassInstance") -> Fields:
    """Return a result's public fields by name, in their declared order."""
    names, optional = _names_of(type(result))
    values = {name: getattr(result, name) for name in names}
    for name in optional:
        if values[name] is None:
            del values[name]
    return values


@cache
def _names_of(row_type: "type[DataclassInstance]") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a type's fields, and of those that are left out when None."""
    every = fields(row_type)
    optional = tuple(item.name for item in every if item.metadata.get("omit_none"))
    return tuple(item.name for item in every), optional


def flat(values: Fields) -> Fields:
    """Return fields with those of nested tables beside them, as ``table.key``."""
    flattened: Fields = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flattened |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flattened[name] = value
    return flattened


def as_json(values: Fields, *, lines: bool = True) -> str:
    """Return a JSON document that carries the exact text and keeps the types.

    Args:
        values: The fields.
        lines: A line a field, for people; else all in one line.
    """
    encode = _in_lines if lines else _in_one_line
    return json_safe(encode(values)) + "\n"


class RowsDocument:
    """One document of many rows, written piece by piece in constant memory.

    Args:
        output: JSON, JSONL, CSV or PLAIN.
        header: The names of the CSV columns.
    """

    def __init__(self, output: OutputFormat, header: list[str]) -> None:
        self.output = output
        self.header = header
        self.rows = 0

    def begin(self) -> str:
        """Return what stands before the first row."""
        match self.output:
            case OutputFormat.JSON:
                return "["
            case OutputFormat.CSV:
                return _csv_line(self.header)
            case _:
                return ""

    def row(self, values: Fields) -> str:
        """Return one row."""
        self.rows += 1
        match self.output:
            case OutputFormat.JSON:
                separator = "\n" if self.rows == 1 else ",\n"
                return separator + indent(as_json(values).rstrip("\n"), "  ")
            case OutputFormat.JSONL:
                return as_json(values, lines=False)
            case OutputFormat.CSV:
                flattened = flat(values)
                return _csv_line([_csv_cell(flattened.get(name)) for name in self.header])
            case _:
                return "\t".join(plain_cell(value) for value in flat(values).values()) + "\n"

    def end(self) -> str:
        """Return what stands behind the last row."""
        if self.output is not OutputFormat.JSON:
            return ""
        return "\n]\n" if self.rows else "]\n"


def header_of(row_type: type, rows: Iterable[Fields] = ()) -> list[str]:
    """Return the names of the columns: those of the type, or those that the rows have."""
    names: dict[str, None] = {}
    for row in rows:
        names |= dict.fromkeys(flat(row))
    declared = [item.name for item in fields(row_type) if not item.metadata.get("omit_none")]
    return list(names) or declared


def told_password(record: Fields, *, listed: bool) -> str:
    """Return a generated password as one line; one of several with its account before it."""
    account = f"{plain_cell(record['email'])}\t" if listed and "email" in record else ""
    return f"{account}{record['password']}\n"


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
            return iso_text(value)
        case tuple() | list():
            return _csv_line([plain_cell(item) for item in value]).rstrip("\n") if value else ""
        case _:
            return printable(str(value))


def _csv_cell(value: object) -> str:
    text = plain_cell(value)
    return text if isinstance(value, (int, float, datetime)) else spreadsheet_safe(text)


def _csv_line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def plain_type(value: object) -> object:
    """Return what JSON has no word for as text."""
    return iso_text(value) if isinstance(value, datetime) else str(value)


_in_lines = json.JSONEncoder(default=plain_type, ensure_ascii=False, indent=2).encode
_in_one_line = json.JSONEncoder(default=plain_type, ensure_ascii=False).encode
