"""Column types: the one place where stored forms become Python values and back."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID, uuid4

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from clarinet_cli.instants import iso_text

_FORM = "0000-00-00 00:00:00.000000"
_ANY_DIGIT = str.maketrans("123456789", "000000000")
_NUMBER = re.compile(r"\d+(e\d+)?")


class UTCDateTime(TypeDecorator[datetime]):
    """An instant, timezone-aware UTC in Python.

    PostgreSQL stores ``timestamptz``. SQLite stores the naive text
    ``YYYY-MM-DD HH:MM:SS.ffffff``, meaning UTC, as the server writes it.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Optional[datetime], dialect: Dialect) -> Optional[datetime]:
        """Return *value* as the driver wants it.

        Raises:
            ValueError: *value* is naive, so that nobody knows which instant it means.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a timestamp without a time zone can't be stored"
            raise ValueError(msg)
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return what makes a Python value of a stored one; for SQLite the quickest way."""
        return (
            _from_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)
        )

    def process_result_value(
        self, value: Optional[datetime], dialect: Dialect
    ) -> Optional[datetime]:
        """Return the stored instant as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _from_text(value: Optional[str]) -> Optional[datetime]:
    """Return the instant that SQLite's text means; ValueError when it is none."""
    return None if value is None else datetime.fromisoformat(f"{value}+00:00")


def iso_texts(stored: Sequence[str]) -> list[str]:
    """Return the instants that SQLite's texts mean, as ISO 8601 in UTC with ``Z``.

    Many at once: when all have the form that the server writes, none is taken apart.

    Raises:
        ValueError: One is no instant.
    """
    if set(map(type, stored)) == {str}:
        lines = "\n".join(stored)
        if lines.translate(_ANY_DIGIT) == "\n".join([_FORM] * len(stored)):
            lines = lines.replace(" ", "T").replace("\n", "Z\n") + "Z"
            return lines.replace(".000000Z", "Z").split("\n")
    return [iso_text(datetime.fromisoformat(f"{text}+00:00")) for text in stored]


def new_user_id() -> UUID:
    """Return a random UUID that SQLite keeps as text.

    The server declares the column as ``UUID``, which gives it numeric affinity: hex digits
    that read as a number (all decimal, or with a single ``e``) would be stored as a rounded
    float. About one random UUID in a million is such a number.
    """
    while True:
        candidate = uuid4()
        if not _NUMBER.fullmatch(candidate.hex):
            return candidate
