"""Texts of the database compared without regard to case.

The server compares by ``lower()``, which knows the letters of the database's language alone:
under the language C, and in SQLite, those of ASCII. So the small forms are put in here.
"""

import codecs
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, SQLColumnExpression, String, cast, func
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import FOLD
from clarinet_cli.letter_case import DOTTED_I, capitals_of


async def folded_column(
    session: AsyncSession, column: SQLColumnExpression[Any], text: str
) -> ColumnElement[str]:
    """Return *column* in the form that ``letter_case.folded`` gives the letters of *text*.

    Args:
        session: What the query will run in.
        column: A column of text.
        text: What it will be compared with.
    """
    if session.get_bind().dialect.name == "sqlite":
        folded: ColumnElement[str] = getattr(func, FOLD)(cast(column, LargeBinary), type_=String)
        return folded
    encoding = await _encoding(session)
    pairs = {
        letter: form
        for letter, form in capitals_of(text).items()
        if _can_encode(encoding, letter + form)
    }
    translated = func.translate(column, "".join(pairs), "".join(pairs.values()), type_=String)
    if DOTTED_I[0] not in text or not _can_encode(encoding, DOTTED_I):
        return translated
    return func.replace(translated, DOTTED_I, DOTTED_I[0], type_=String)


async def _encoding(session: AsyncSession) -> str:
    """Return Python's name for a PostgreSQL database's encoding; ASCII where it has none."""
    connection = await session.connection()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    name = str(driver.get_settings().server_encoding).lower().replace("win", "cp")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"


def _can_encode(encoding: str, letters: str) -> bool:
    try:
        letters.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
