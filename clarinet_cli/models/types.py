"""Column types: conversion between stored and Python values.

An unexpected stored value is not an error but is read as text or None, so that one such row does
not break every listing.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Optional, Self
from uuid import UUID, uuid4

import sqlalchemy
from sqlalchemy import BigInteger, ColumnElement, DateTime, String
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator

from clarinet_cli.timefmt import iso_text

_FORM = "0000-00-00 00:00:00.000000"
_ANY_DIGIT = str.maketrans("123456789", "000000000")
PYTHON_YEARS = "BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"
_HEX_ID = re.compile("[0-9a-f]{32}")  # an id as the server writes it into SQLite
_DASHED_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as fastapi-users does
_NUMBER = re.compile(r"\d+(e\d+)?")


def parse_uuid(stored: object) -> Optional[UUID]:
    """Return the UUID that a stored value represents in any form, or None."""
    try:
        return UUID(bytes=stored) if isinstance(stored, bytes) else UUID(str(stored))
    except ValueError:
        return None


def as_text(stored: object) -> str:
    """Return a stored value of any type as text; bytes that are not UTF-8 become hex digits."""
    if not isinstance(stored, bytes):
        return str(stored)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.hex()


class in_python_years(GenericFunction[datetime]):  # noqa: N801 - the name of an SQL function
    """A timestamp, or NULL if the driver cannot represent it.

    PostgreSQL has timestamps before the year 1 and after the year 9999, and infinite ones. On
    SQLite the stored value is returned unchanged.
    """

    type = DateTime(timezone=True)
    inherit_cache = True


@compiles(in_python_years, "sqlite")
def _sqlite_years(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(in_python_years, "postgresql")
def _postgresql_years(element: Any, compiler: Any, **options: Any) -> str:
    timestamp = compiler.process(element.clauses, **options)
    return f"CASE WHEN {timestamp} {PYTHON_YEARS} THEN {timestamp} END"


class UTCDateTime(TypeDecorator[datetime]):
    """A timestamp, timezone-aware UTC in Python; None if the stored value is not a timestamp.

    PostgreSQL stores ``timestamptz``. SQLite stores the naive text
    ``YYYY-MM-DD HH:MM:SS.ffffff``, in UTC, as the server writes it.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the expression that is selected for a column."""
        return in_python_years(column, type_=self)

    def process_bind_param(self, value: Optional[datetime], dialect: Dialect) -> Optional[datetime]:
        """Return *value* for the driver.

        Raises:
            ValueError: *value* has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a timestamp without a time zone cannot be stored"
            raise ValueError(msg)
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the function that converts a stored value."""
        return (
            _from_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)
        )

    def process_result_value(
        self, value: Optional[datetime], dialect: Dialect
    ) -> Optional[datetime]:
        """Return the stored timestamp as aware UTC."""
        return None if value is None else _in_utc(value)


def _from_text(value: object) -> Optional[datetime]:
    """Return the timestamp that a value stored in SQLite represents, or None."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return _in_utc(found)


def _in_utc(found: datetime) -> Optional[datetime]:
    """Return a timestamp as aware UTC, or None if that is outside of Python's years."""
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


def iso_texts(stored: Sequence[object], *, valid: bool = False) -> list[Optional[str]]:
    """Return SQLite's stored timestamps as ISO 8601 in UTC with ``Z``; None for other values.

    Args:
        stored: The values of a column.
        valid: Each value is a timestamp in some form. If all have the server's form they are
            converted together, without parsing each.
    """
    if valid and set(map(type, stored)) == {str}:
        lines = "\n".join(map(str, stored))
        if lines.translate(_ANY_DIGIT) == "\n".join([_FORM] * len(stored)):
            lines = lines.replace(" ", "T").replace("\n", "Z\n") + "Z"
            return list(lines.replace(".000000Z", "Z").split("\n"))
    found = map(_from_text, stored)
    return [None if timestamp is None else iso_text(timestamp) for timestamp in found]


class NonCanonicalId(str):
    """An id that is not stored in the server's form, as text; it need not be a UUID.

    Attributes:
        stored: The stored value, which identifies the row in queries.
    """

    __slots__ = ("stored",)

    stored: object

    def __new__(cls, stored: object) -> Self:
        """Return an id for a stored value."""
        made = super().__new__(cls, as_text(stored))
        made.stored = stored
        return made


def id_of(stored: object) -> Optional[UUID | NonCanonicalId]:
    """Return the id for a value stored in SQLite."""
    if isinstance(stored, str) and _HEX_ID.fullmatch(stored):
        return UUID(stored)
    return None if stored is None else NonCanonicalId(stored)


def text_of(stored: object) -> Optional[str]:
    """Return a stored value as text, or None for NULL."""
    return stored if stored is None or isinstance(stored, str) else as_text(stored)


def dialect_id_form(dialect: Dialect) -> Optional[str]:
    """Return how an application stores ids; None for the server's own form."""
    tables = getattr(dialect, "clarinet_tables", None)
    return None if tables is None else str(tables.id_form)


def _dashed_id_of(stored: object) -> Optional[UUID | NonCanonicalId]:
    if isinstance(stored, str) and _DASHED_ID.fullmatch(stored):
        return UUID(stored)
    return None if stored is None else NonCanonicalId(stored)


def _number_of(stored: object) -> Any:
    return stored if stored is None or isinstance(stored, int) else NonCanonicalId(stored)


def _stored(value: Any) -> Any:
    """Return the id that is stored unchanged."""
    return value.stored if isinstance(value, NonCanonicalId) else value


_BINDS: dict[str, Any] = {
    "uuid-dashed": lambda value: str(value) if isinstance(value, UUID) else _stored(value),
    "uuid-hex": lambda value: value.hex if isinstance(value, UUID) else _stored(value),
    "text": lambda value: str(value) if isinstance(value, UUID) else _stored(value),
    "integer": _stored,
}
_RESULTS: dict[str, Any] = {
    "uuid-dashed": _dashed_id_of,
    "uuid-hex": id_of,
    "text": text_of,
    "integer": _number_of,
}


class StoredId(TypeDecorator[UUID]):
    """The id of an account: a UUID, or a ``NonCanonicalId``, which only SQLite can store."""

    impl = sqlalchemy.UUID
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type of the column: a UUID, or what an application has in its place."""
        form = dialect_id_form(dialect)
        if form in (None, "uuid"):
            return super().load_dialect_impl(dialect)
        return dialect.type_descriptor(BigInteger() if form == "integer" else String())

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the function that converts an id for storage."""
        form = dialect_id_form(dialect)
        if form is not None and form != "uuid":
            return _BINDS[form]
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)
        return lambda value: (
            value.stored if isinstance(value, NonCanonicalId) else value and value.hex
        )

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the function that converts a stored value to an id."""
        form = dialect_id_form(dialect)
        if form is not None and form != "uuid":
            return _RESULTS[form]
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        return id_of


class StoredText(TypeDecorator[str]):
    """A text; SQLite may store a number or bytes instead, which are read as text."""

    impl = String
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the function that converts a stored value to text."""
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        return text_of


def new_user_id() -> UUID:
    """Return a random UUID whose hex digits SQLite stores as text.

    The server declares the column as ``UUID``, which has numeric affinity: hex digits that form
    a number (all decimal, or with a single ``e``) would be stored as a rounded float. About one
    random UUID in a million is such a number.
    """
    while True:
        candidate = uuid4()
        if not _NUMBER.fullmatch(candidate.hex):
            return candidate
