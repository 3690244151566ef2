"""Files that declare accounts: JSON, JSON lines or CSV, parsed with the position of each value.

A file identifies accounts by e-mail address and sets their flags and roles, and for new ones the
source of the password. What it does not mention is not changed.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from clarinet_cli.exceptions import INVALID, ClarinetError
from clarinet_cli.services.accounts.json_reader import JsonReader
from clarinet_cli.services.accounts.resolve import storable

GENERATE = "generate"
FLAGS = ("is_active", "is_superuser", "is_verified")
FIELDS = ("email", *FLAGS, "roles", "password")
UNKNOWN_FIELD = f"unknown field; valid fields: {', '.join(FIELDS)}"
HEADER_HINT = f"the first line names the columns, such as {','.join(FIELDS[:-1])}"
DELIMITERS = (",", ";", "\t")
FORMULA_GUARD = re.compile(r"'+[=+\-@\t\r＝＋－＠]")  # noqa: RUF001 - full-width signs
MAX_FURTHER_ERRORS = 19
FIELD_NAME = re.compile(r"[a-z][a-z_ -]{0,30}")
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Position(NamedTuple):
    """A position in a file; both numbers count from 1.

    In CSV the column is the number of the cell, in JSON that of the character.
    """

    line: int
    column: int


class RowError(NamedTuple):
    """An error of a row, with its position in the file."""

    position: Position
    error: ClarinetError


class RowErrors:
    """The errors of a file, which are reported together in the order of the file."""

    def __init__(self) -> None:
        self._errors: list[RowError] = []

    def add(self, found: RowError) -> None:
        """Add an error; that of another field of the same row is reported too."""
        self._errors.append(found)

    def check(self) -> None:
        """Raise the first error of the file, with the messages of the others.

        Raises:
            ClarinetError: There is an error.
        """
        if not self._errors:
            return
        first, *others = (item.error for item in sorted(self._errors, key=lambda it: it.position))
        first.hint = first.hint or next((item.hint for item in others if item.hint), None)
        shown = [item.message for item in others[:MAX_FURTHER_ERRORS]]
        hidden = len(others) - len(shown)
        first.further = [*shown, *([f"{hidden} more rows cannot be used"] if hidden else [])]
        raise first


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """The declaration of one account in a file; None: not mentioned.

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
    ) -> RowError:
        """Return an error about one field.

        Args:
            name: The field.
            error: An instance of the class of the error.
            reason: What is wrong, without a password.
            hint: How to resolve it.
        """
        position = self.positions.get(name, self.positions["email"])
        message = _message(self.source, position, name, reason)
        return RowError(position, error.with_context(message, hint=hint))


def read_accounts(
    content: bytes, source: str, errors: Optional[RowErrors] = None
) -> list[AccountEntry]:
    """Read a file that declares accounts.

    Args:
        content: JSON that begins with ``[``, JSON lines that begin with ``{``, or CSV with
            a header.
        source: Its name, for messages.
        errors: Gets the errors of rows, which are left out then; by default they are raised.

    Raises:
        InvalidInputError: It cannot be parsed; the message has line and column.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise INVALID.with_context(
            f"{source}: line {line}: not UTF-8 text",
            hint="save it as UTF-8 ('CSV UTF-8' in a spreadsheet)",
        ) from None
    start = text.lstrip()[:1]
    if not start:
        raise INVALID.with_context(f"{source}: empty", hint="use '[]' for an empty list")
    found = RowErrors() if errors is None else errors
    read = _json_records if start in ("[", "{") else _csv_records
    entries: list[AccountEntry] = []
    for record in read(text, source):
        entry = record if isinstance(record, RowError) else _to_entry(source, *record)
        if isinstance(entry, RowError):
            found.add(entry)
        else:
            entries.append(entry)
    if errors is None:
        found.check()
    return entries


Record = tuple[dict[str, Any], dict[str, Position]]


def _json_records(text: str, source: str) -> Iterator[Record | RowError]:
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
            yield _error(source, positions[twice.name], twice.name, "is given twice")
            continue
        yield values, {"email": start, **positions}


def _csv_records(text: str, source: str) -> Iterator[Record | RowError]:
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
            _check_header(header, start, source)
        elif len(cells) != len(header):
            reason = f"{len(cells)} cell{'s' * (len(cells) != 1)}, but the header has {len(header)}"
            yield _error(source, Position(start, min(len(cells), len(header))), None, reason)
        else:
            positions = {name: Position(start, number) for number, name in enumerate(header, 1)}
            values = dict(_csv_values(header, cells))
            wrong = [name for name in FLAGS if isinstance(values.get(name), str)]
            if wrong:
                reason = "not true, false, yes or no"  # the cell may be a misplaced password
                yield _error(source, positions[wrong[0]], wrong[0], reason)
            else:
                yield values, positions


def _check_header(header: list[str], line: int, source: str) -> None:
    """Check the names of the columns.

    Raises:
        InvalidInputError: A name is unknown or given twice, or there is no e-mail address.
    """
    errors = RowErrors()
    if "email" not in header:  # perhaps no header at all, but an account
        reason = "not a list of accounts: no column 'email' in the header"
        message = _message(source, Position(line, 1), None, reason)
        raise INVALID.with_context(message, hint=HEADER_HINT)
    for number, name in enumerate(header, 1):
        if name in header[: number - 1]:
            reason = "the header names a column twice"
            errors.add(_error(source, Position(line, number), name, reason))
        elif name not in FIELDS:
            shown = name if FIELD_NAME.fullmatch(name) else None  # it may be part of a hash
            errors.add(_error(source, Position(line, number), shown, UNKNOWN_FIELD))
    errors.check()


def _next_row(reader: Any, source: str) -> Optional[list[str]]:
    try:
        row: Optional[list[str]] = next(reader, None)
    except csv.Error as error:
        where = Position(max(reader.line_num, 1), 1)
        raise _error(source, where, None, f"not valid CSV: {error}").error from None
    return row


def _csv_values(header: list[str], cells: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the values of one row with their types; empty cells are left out.

    A cell that is not a valid flag stays text.
    """
    for name, cell in zip(header, cells, strict=True):
        # Exports quote cells that a spreadsheet would run as a formula.
        text = cell[1:] if FORMULA_GUARD.match(cell) else cell
        if name == "roles":
            yield name, _names_in(text)
        elif name in FLAGS and text.strip():
            yield name, WORDS.get(text.strip().casefold(), text)
        elif text:
            yield name, text


def _names_in(cell: str) -> Optional[list[str]]:
    """Return the names in a cell, which is a row of CSV itself; None when it is not one."""
    try:
        rows = list(csv.reader(io.StringIO(cell, newline=""), strict=True))
    except csv.Error:
        return None
    return None if len(rows) > 1 else [name for row in rows for name in row]


def _to_entry(
    source: str, values: dict[str, Any], positions: dict[str, Position]
) -> AccountEntry | RowError:
    """Return one record as an entry, or its first error."""
    for name, value in values.items():
        if name not in FIELDS:
            return _error(source, positions[name], name, UNKNOWN_FIELD)
        wanted, is_right = _CHECKS.get(
            name, ("true or false", lambda value: isinstance(value, bool))
        )
        if not is_right(value):
            return _error(source, positions[name], name, f"not {wanted}")
    if "email" not in values:
        return _error(source, positions["email"], "email", "missing")
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


def _error(source: str, position: Position, name: Optional[str], reason: str) -> RowError:
    return RowError(position, INVALID.with_context(_message(source, position, name, reason)))


def _message(source: str, position: Position, name: Optional[str], reason: str) -> str:
    what = "" if name is None else f" ({name})"
    return f"{source}: line {position.line}, column {position.column}{what}: {reason}"
