"""Files that declare accounts: JSON, JSON lines or CSV, parsed with the position of each value.

A file identifies accounts by e-mail address and sets their flags and roles, and for new ones the
source of the password. What it does not mention is not changed.
"""

import csv
import io
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any, NamedTuple, Optional

from clarinet_cli.exceptions import INVALID, ClarinetError
from clarinet_cli.services.accounts.resolve import storable

SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object; ``offset`` is where its value begins."""

    name: str
    value: Any
    offset: int


class Members(list[Member]):
    """The members of one object; ``offset`` is where the object begins."""

    offset: int = 0


class JsonReader:
    """Reads a list of objects, or objects one after the other.

    Args:
        text: The document.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def locate(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, from 1."""
        line = bisect_left(self._ends, offset)
        start = self._ends[line - 1] + 1 if line else 0
        return line + 1, offset - start + 1

    def locate_error(self, error: Exception) -> tuple[int, int]:
        """Return the position of an error of ``objects``."""
        return self.locate(error.pos if isinstance(error, JSONDecodeError) else self.position)

    def objects(self) -> Iterator[Members]:
        """Yield the objects of the document.

        Raises:
            JSONDecodeError: It is no JSON, or holds something else.
            ValueError: A number is too long.
            RecursionError: A value is nested too deeply.
        """
        if self._accept("["):
            yield from self._list()
        else:
            while not self._at_end():
                yield self._object()
        if not self._at_end():
            message = "more behind the end"
            raise JSONDecodeError(message, self.text, self.position)

    def _list(self) -> Iterator[Members]:
        if self._accept("]"):
            return
        while True:
            yield self._object()
            if not self._accept(","):
                self._require("]")
                return

    def _object(self) -> Members:
        self._skip()
        members = Members()
        members.offset = self.position
        self._require("{")
        if self._accept("}"):
            return members
        while True:
            name, _ = self._value(str)
            self._require(":")
            value, offset = self._value()
            members.append(Member(name, value, offset))
            if not self._accept(","):
                self._require("}")
                return members

    def _value(self, kind: type = object) -> tuple[Any, int]:
        self._skip()
        offset = self.position
        value, self.position = self._decoder.raw_decode(self.text, offset)
        if not isinstance(value, kind):
            message = "a name in quotation marks is missing"
            raise JSONDecodeError(message, self.text, offset)
        return value, offset

    def _skip(self) -> None:
        match = SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _accept(self, token: str) -> bool:
        """Consume a token if it comes next, and return whether it did."""
        self._skip()
        found = self.text.startswith(token, self.position)
        self.position += found
        return found

    def _require(self, token: str) -> None:
        if not self._accept(token):
            message = f"expected {token!r}"
            raise JSONDecodeError(message, self.text, self.position)

    def _at_end(self) -> bool:
        self._skip()
        return self.position >= len(self.text)


GENERATE = "generate"
FLAGS = ("is_active", "is_superuser", "is_verified")
FIELDS = ("email", *FLAGS, "roles", "password")
DELIMITERS = (",", ";", "\t")
FORMULA_GUARD = re.compile(r"'+[=+\-@\t\r＝＋－＠]")  # noqa: RUF001 - full-width signs
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Position(NamedTuple):
    """A position in a file; both numbers count from 1.

    In CSV the column is the number of the cell, in JSON that of the character.
    """

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """What a file declares for one account; None: not mentioned.

    Attributes:
        source: The file's name.
        email: The address as written in the file.
        flags: ``is_active``, ``is_superuser``, ``is_verified``: those that the file mentions.
        roles: All the roles that the account has.
        password: ``generate``, or a prepared hash; for a new account only.
        positions: The position of each field.
    """

    source: str
    email: str
    flags: dict[str, bool]
    roles: Optional[tuple[str, ...]]
    password: Optional[str] = field(repr=False)
    positions: dict[str, Position] = field(repr=False)

    def field_error(
        self, name: str, error: ClarinetError, reason: str, hint: Optional[str] = None
    ) -> ClarinetError:
        """Return an error about one field, with its position.

        Args:
            name: The field.
            error: An instance of the class to raise.
            reason: What is wrong, without a password.
            hint: How to resolve it.
        """
        position = self.positions.get(name, self.positions["email"])
        return error.with_context(_message(self.source, position, name, reason), hint=hint)


def read_accounts(content: bytes, source: str) -> list[AccountEntry]:
    """Read a file that declares accounts.

    Args:
        content: JSON that begins with ``[``, JSON lines that begin with ``{``, or CSV with
            a header.
        source: Its name, for messages.

    Raises:
        InvalidInputError: It can't be parsed; the message has line and column.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise INVALID.with_context(
            f"{source}: line {line}: not UTF-8 text", hint="a spreadsheet saves it as 'CSV UTF-8'"
        ) from None
    start = text.lstrip()[:1]
    if not start:
        raise INVALID.with_context(f"{source}: empty", hint="use '[]' for an empty list")
    records = _json_records(text, source) if start in ("[", "{") else _csv_records(text, source)
    return [_to_entry(source, values, positions) for values, positions in records]


Record = tuple[dict[str, Any], dict[str, Position]]


def _json_records(text: str, source: str) -> Iterator[Record]:
    reader = JsonReader(text)
    try:
        objects = list(reader.objects())
    except (ValueError, RecursionError) as error:
        line, column = reader.locate_error(error)
        reason = getattr(error, "msg", None) or "nested too deeply, or a number too long"
        where = _message(source, Position(line, column), None, f"not valid JSON: {reason}")
        raise INVALID.with_context(where) from None
    for members in objects:
        values = {item.name: item.value for item in members}
        positions = {item.name: Position(*reader.locate(item.offset)) for item in members}
        start = Position(*reader.locate(members.offset))
        if len(values) < len(members):
            names = [item.name for item in members]
            twice = next(item for item in members if names.count(item.name) > 1)
            raise _error(source, positions[twice.name], twice.name, "is given twice")
        yield values, {"email": start, **positions}


def _csv_records(text: str, source: str) -> Iterator[Record]:
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    while (cells := _next_row(reader, source)) is not None:
        start, line = line, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip().casefold() for cell in cells]
            position = Position(start, 1)
            if len(set(header)) < len(header):
                raise _error(source, position, None, "the header names a column twice")
            if "email" not in header:
                raise _error(
                    source,
                    position,
                    None,
                    "not a list of accounts: no column 'email' in the header",
                )
            continue
        if len(cells) != len(header):
            reason = f"{len(cells)} cells, where the header has {len(header)}"
            raise _error(source, Position(start, min(len(cells), len(header))), None, reason)
        positions = {name: Position(start, number) for number, name in enumerate(header, 1)}
        yield dict(_csv_values(header, cells, positions, source)), positions


def _next_row(reader: Any, source: str) -> Optional[list[str]]:
    try:
        row: Optional[list[str]] = next(reader, None)
    except csv.Error as error:
        where = Position(max(reader.line_num, 1), 1)
        raise _error(source, where, None, f"not valid CSV: {error}") from None
    return row


def _csv_values(
    header: list[str], cells: list[str], positions: dict[str, Position], source: str
) -> Iterator[tuple[str, Any]]:
    """Yield the values of one row with their types; empty cells are left out."""
    for name, cell in zip(header, cells, strict=True):
        # Exports quote cells that a spreadsheet would run as a formula.
        text = cell[1:] if FORMULA_GUARD.match(cell) else cell
        if name == "roles":
            yield name, _names_in(text)
        elif name in FLAGS and text.strip():
            value = WORDS.get(text.strip().casefold())
            if value is None:
                raise _error(
                    source, positions[name], name, f"{text!r} is not true, false, yes or no"
                )
            yield name, value
        elif text or name not in FIELDS:
            yield name, text


def _names_in(cell: str) -> Optional[list[str]]:
    """Return the names in a cell, which is a row of CSV itself; None when it is not one."""
    try:
        rows = list(csv.reader(io.StringIO(cell, newline=""), strict=True))
    except csv.Error:
        return None
    return None if len(rows) > 1 else [name for row in rows for name in row]


def _to_entry(source: str, values: dict[str, Any], positions: dict[str, Position]) -> AccountEntry:
    """Return one record as an entry, after checking the types."""
    if unknown := [name for name in values if name not in FIELDS]:
        reason = f"unknown field; known are {', '.join(FIELDS)}"
        raise _error(source, positions[unknown[0]], unknown[0], reason)
    for name, value in values.items():
        wanted, is_right = _CHECKS.get(
            name, ("true or false", lambda value: isinstance(value, bool))
        )
        if not is_right(value):
            raise _error(source, positions[name], name, f"not {wanted}")
    if "email" not in values:
        raise _error(source, positions["email"], "email", "missing")
    roles = values.get("roles")
    return AccountEntry(
        source=source,
        email=values["email"].strip(),
        flags={name: values[name] for name in FLAGS if name in values},
        roles=None if roles is None else tuple(dict.fromkeys(roles)),
        password=values.get("password"),
        positions=positions,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and storable(value)


_CHECKS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "email": ("text", _is_text),
    "roles": (
        "a list of names",
        lambda value: isinstance(value, list) and all(_is_text(item) and item for item in value),
    ),
    "password": ("text", _is_text),
}


def _error(source: str, position: Position, name: Optional[str], reason: str) -> ClarinetError:
    return INVALID.with_context(_message(source, position, name, reason))


def _message(source: str, position: Position, name: Optional[str], reason: str) -> str:
    what = "" if name is None else f" ({name})"
    return f"{source}: line {position.line}, column {position.column}{what}: {reason}"
