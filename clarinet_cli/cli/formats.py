"""Results as documents: JSON, JSON lines, CSV and plain, from the fields of a dataclass."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache, lru_cache
from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from clarinet_cli.cli.text import json_safe, printable, spreadsheet_safe
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from clarinet_cli.results import SessionPage

Fields = dict[str, Any]
RowChunk: TypeAlias = "Sequence[Any] | SessionPage"
"""Some of the rows of a listing: dataclasses of one type, or sessions field by field."""
CACHED_VALUES = 4096


def as_fields(result: "DataclassInstance") -> Fields:
    """Return a result's public fields by name, in their declared order."""
    row_type = type(result)
    values = {name: getattr(result, name) for name in _field_names(row_type)}
    for name in _optional_fields(row_type):
        if values[name] is None:
            del values[name]
    return values


@cache
def _field_names(row_type: "type[DataclassInstance]") -> tuple[str, ...]:
    return tuple(item.name for item in fields(row_type))


@cache
def _optional_fields(row_type: "type[DataclassInstance]") -> tuple[str, ...]:
    """Return the names of a type's fields that are left out when they are None."""
    return tuple(item.name for item in fields(row_type) if item.metadata.get("omit_none"))


def select(values: Fields, names: Sequence[str]) -> Fields:
    """Return only the named fields, in this order; without names all."""
    return {name: values.get(name) for name in names} if names else values


def flatten(values: Fields) -> Fields:
    """Return fields with those of nested tables as ``table.key``."""
    flattened: Fields = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flattened |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flattened[name] = value
    return flattened


def as_json(values: Fields, *, pretty: bool = True) -> str:
    """Return a JSON document that carries the exact text and keeps the types.

    Args:
        values: The fields.
        pretty: One line per field; else all in one line.
    """
    encode = _encode_pretty if pretty else _encode_compact
    return json_safe(encode(values)) + "\n"


class Document:
    """One document of many rows, written chunk by chunk in constant memory.

    Args:
        output: JSON, JSONL, CSV or PLAIN.
        header: The names of the columns.
        selected: Write only these fields, in this order; else all.
    """

    def __init__(
        self, output: OutputFormat, header: Sequence[str], *, selected: bool = False
    ) -> None:
        self.output = output
        self.header = header
        self.selected = selected
        self.rows = 0

    def begin(self) -> str:
        """Return the text before the first row."""
        match self.output:
            case OutputFormat.JSON:
                return "["
            case OutputFormat.CSV:
                return _csv_line(self.header)
            case _:
                return ""

    def chunk(self, rows: "RowChunk") -> str:
        """Return some rows.

        JSON lines are made column by column, without an object for each row.
        """
        if self.output is OutputFormat.JSONL:
            if not isinstance(rows, Sequence):
                return columns_as_jsonl(self.header, rows.select(self.header))
            if all(map(self._has_its_columns, set(map(type, rows)))):
                columns = [[getattr(row, name, None) for row in rows] for name in self.header]
                return columns_as_jsonl(self.header, columns)
        return "".join([self.row(as_fields(row)) for row in rows])

    def _has_its_columns(self, row_type: "type[DataclassInstance]") -> bool:
        """Return whether the fields of all rows of a type are those of the header."""
        if _optional_fields(row_type):
            return False
        return self.selected or tuple(self.header) == _field_names(row_type)

    def row(self, values: Fields) -> str:
        """Return one row."""
        self.rows += 1
        if self.selected:
            values = select(values, self.header)
        match self.output:
            case OutputFormat.JSON:
                separator = "\n" if self.rows == 1 else ",\n"
                return separator + indent(as_json(values).rstrip("\n"), "  ")
            case OutputFormat.JSONL:
                return as_json(values, pretty=False)
            case OutputFormat.CSV:
                flattened = flatten(values)
                return _csv_line([_csv_cell(flattened.get(name)) for name in self.header])
            case _:
                return "\t".join(plain_cell(value) for value in flatten(values).values()) + "\n"

    def end(self) -> str:
        """Return the text after the last row."""
        if self.output is not OutputFormat.JSON:
            return ""
        return "\n]\n" if self.rows else "]\n"


def column_names(rows: Iterable[Fields]) -> list[str]:
    """Return the names of all fields of some rows."""
    return list(dict.fromkeys(name for row in rows for name in flatten(row)))


def header(row_type: type, rows: RowChunk = ()) -> list[str]:
    """Return the names of the columns.

    Args:
        row_type: The type of the rows.
        rows: The first of them; fields that are None in all of them may be left out.
    """
    if isinstance(rows, Sequence) and (names := column_names(map(as_fields, rows))):
        return names
    return [item.name for item in fields(row_type) if not item.metadata.get("omit_none")]


def password_line(record: Fields, *, listed: bool) -> str:
    """Return a generated password as one line; in a list the account's address precedes it."""
    account = f"{plain_cell(record['email'])}\t" if listed and "email" in record else ""
    return f"{account}{record['password']}\n"


def as_plain_record(record: Fields) -> Iterator[str]:
    """Yield one line per field: its name, a tab, its value."""
    for name, value in flatten(record).items():
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


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def columns_as_jsonl(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> str:
    """Return rows as JSON lines, equal to those of ``as_json`` but faster.

    A column of text that needs no escapes is copied as it is, and the encoding of repeated values
    (an address, a user agent, a flag) is cached.

    Args:
        names: The names of the fields.
        columns: The values of each field.
    """
    parts, values = [], []
    for name, column in zip(names, columns, strict=True):
        types = set(map(type, column))
        texts = list(map(str, column)) if types == {UUID} else column
        plain = _is_plain(texts)
        parts.append(f'"{name}": "%s"' if plain else f'"{name}": %s')
        encode = _json_value.__wrapped__ if dict in types else _json_value  # a dict is no key
        values.append(texts if plain else map(encode, texts))
    line = "{" + ", ".join(parts) + "}\n"
    return "".join(map(line.__mod__, zip(*values, strict=True)))


def _is_plain(column: Sequence[object]) -> bool:
    """Return whether all values are text that JSON carries without escapes."""
    if set(map(type, column)) != {str}:
        return False
    text = "".join(map(str, column))
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


@lru_cache(CACHED_VALUES, typed=True)  # 1 and True are equal, but differ in JSON
def _json_value(value: object) -> str:
    return json_safe(_encode_compact(value))


def _json_type(value: object) -> object:
    """Return a value of a type that JSON lacks as text."""
    return iso_text(value) if isinstance(value, datetime) else str(value)


_encode_pretty = json.JSONEncoder(default=_json_type, ensure_ascii=False, indent=2).encode
_encode_compact = json.JSONEncoder(default=_json_type, ensure_ascii=False).encode
