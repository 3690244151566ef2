"""Which timestamps of SQLite are readable: the quick tests and the thorough one agree."""

import contextlib
import re
import sqlite3
from datetime import datetime
from itertools import product

import pytest
from sqlalchemy import literal_column
from sqlalchemy.dialects import sqlite

from clarinet_cli.models.functions import is_readable_timestamp

YEARS = (0, 1, 999, 1900, 2000, 2024, 2026, 9999)
HOURS = (0, 9, 19, 20, 23, 24, 25)
RESTS = ("00:00.000000", "59:59.999499", "59:59.999500", "59:59.999999", "60:00.000000")
ODD_RESTS = ("00:60.000000", "00:00.12345 ", "00:00.1234 5", "00:00.x23456", "00:00,123456")
TEXTS = [
    f"{year:04}-{month:02}-{day:02} {hour:02}:{rest}"
    for year, month, day, hour, rest in product(
        YEARS, range(14), range(33), HOURS, RESTS + ODD_RESTS
    )
]


FORM = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.\d{6}")


def is_timestamp(text: str) -> bool:
    """Return whether a text has the server's form, and means a timestamp."""
    found = FORM.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        datetime(year, month, day, hour, minute, second)
    except ValueError:
        return False
    return True


@pytest.fixture
def judged() -> list[tuple[str, int, int]]:
    """Return texts of the server's length with the result for each, also as bytes."""
    test = is_readable_timestamp(literal_column("instant")).compile(dialect=sqlite.dialect())
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE texts (instant DATETIME)")
        connection.executemany("INSERT INTO texts VALUES (?)", ((text,) for text in TEXTS))
        as_bytes = str(test).replace("instant", "CAST(instant AS BLOB)")
        query = f"SELECT instant, {test}, {as_bytes} FROM texts"
        return connection.execute(query).fetchall()


def test_what_can_be_read_is_a_timestamp(judged: list[tuple[str, int, int]]) -> None:
    """Each day of each kind of year, each kind of hour, and invalid days, hours and fractions."""
    wrong = [text for text, readable, _ in judged if bool(readable) != is_timestamp(text)]
    assert wrong == []
    assert {readable for _, readable, _ in judged} == {0, 1}


def test_bytes_are_never_a_timestamp(judged: list[tuple[str, int, int]]) -> None:
    """SQLite compares them otherwise than text."""
    assert {readable for _, _, readable in judged} == {0}
