"""The base class of the repositories, and helpers that they share."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, Optional, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Executable,
    LargeBinary,
    SQLColumnExpression,
    String,
    delete,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import make_transient_to_detached

from clarinet_cli.exceptions import PREVENTED, PreventedError
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.models.stored_tables import OWN_TABLES, StoredTables
from clarinet_cli.models.tables import Base
from clarinet_cli.spelling import DOTTED_I, FOLD_FUNCTION, fold_map

ModelT = TypeVar("ModelT", bound=Base)
ValueT = TypeVar("ValueT")

BATCH_SIZE = 500  # values of one statement; drivers limit the number of parameters


def batches(values: Sequence[ValueT]) -> Iterator[Sequence[ValueT]]:
    """Yield *values* in batches for one statement each."""
    for start in range(0, len(values), BATCH_SIZE):
        yield values[start : start + BATCH_SIZE]


def stored_table(session: AsyncSession, table: str) -> tuple[Optional[str], str]:
    """Return the schema, None for the default one, and the name of a Clarinet table.

    Args:
        session: The session; its engine may have a mapping.
        table: The Clarinet name of the table.
    """
    tables = mapped_tables(session.get_bind().dialect)
    return (None, table) if tables is None else tables.stored_name(table)


def quoted_table(session: AsyncSession, table: str) -> str:
    """Return the name of a Clarinet table for the text of a statement, with its schema."""
    quote = session.get_bind().dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in stored_table(session, table) if part)


def tables_of(dialect: Dialect) -> StoredTables:
    """Return the tables of accounts, roles and sessions.

    Args:
        dialect: The dialect of the engine, which may have a mapping.
    """
    tables = mapped_tables(dialect)
    return OWN_TABLES if tables is None else tables.stored


def quoted_tables(dialect: Dialect) -> dict[str, str]:
    """Return the tables of accounts, roles and sessions for the text of a statement.

    Args:
        dialect: The dialect of the engine, which may have a mapping.

    Returns:
        The quoted name of each, with its schema, by its name in reports.
    """
    stored, quote = tables_of(dialect), dialect.identifier_preparer.quote
    prefix = f"{quote(stored.schema)}." if stored.schema else ""
    return {stored.fullname(key): f"{prefix}{quote(name)}" for key, name in stored.names.items()}


async def execute_dml(session: AsyncSession, statement: Executable) -> int:
    """Execute an INSERT, UPDATE or DELETE and return the number of rows changed."""
    options = {"synchronize_session": False}
    result = await session.execute(statement, execution_options=options)
    return cast("CursorResult[Any]", result).rowcount


def prevented_error(dialect: Dialect, table: str) -> PreventedError:
    """Return the error for a statement that changed fewer rows than matched it.

    Args:
        dialect: The dialect of the engine, which may have a mapping.
        table: The Clarinet name of the table.
    """
    name = tables_of(dialect).reported(table)
    return PREVENTED.with_context(f"a trigger or rule on {name} prevented the change")


async def folded_column(
    session: AsyncSession, column: SQLColumnExpression[Any], text: str
) -> ColumnElement[str]:
    """Return *column* folded like ``fold_case``, for the letters of *text*.

    PostgreSQL's ``lower()`` knows the letters of the database's locale only; with the locale C
    these are the ASCII letters.

    Args:
        session: The session that the query will run in.
        column: A text column.
        text: The text that the column will be compared with.
    """
    if session.get_bind().dialect.name == "sqlite":
        function = getattr(func, FOLD_FUNCTION)
        folded: ColumnElement[str] = function(sql_cast(column, LargeBinary), type_=String)
        return folded
    connection = await session.connection()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    name = str(driver.get_settings().server_encoding).lower().replace("win", "cp")
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        encoding = "ascii"
    pairs = {
        letter: form
        for letter, form in fold_map(text).items()
        if _can_encode(encoding, letter + form)
    }
    translated = func.translate(column, "".join(pairs), "".join(pairs.values()), type_=String)
    if DOTTED_I[0] not in text or not _can_encode(encoding, DOTTED_I):
        return translated
    return func.replace(translated, DOTTED_I, DOTTED_I[0], type_=String)


def _can_encode(encoding: str, letters: str) -> bool:
    try:
        letters.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class BaseRepository(Generic[ModelT]):
    """Queries on one table; the caller commits.

    Args:
        session: The session for all queries.
    """

    model: ClassVar[type[Any]]

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, row: ModelT) -> ModelT:
        """Insert *row*.

        Raises:
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented it.
        """
        model = type(row)
        names = inspect(model).columns.keys()
        values = {name: getattr(row, name) for name in names}
        if await execute_dml(self.session, insert(model).values(values)) != 1:
            raise self.prevented_error(model)
        make_transient_to_detached(row)
        self.session.add(row)
        return row

    async def remove_where(
        self, *criteria: ColumnElement[bool], model: Optional[type[Any]] = None
    ) -> int:
        """Delete the rows for which all *criteria* hold; return their number.

        Rows that match afterwards were inserted concurrently or are protected by a trigger; each
        is deleted again by its key.

        Args:
            *criteria: Conditions for the rows.
            model: The table, by default the repository's own.

        Raises:
            PreventedError: A trigger or rule prevented a deletion.
        """
        model = model or self.model
        number = await execute_dml(self.session, delete(model).where(*criteria))
        key = inspect(model).primary_key
        for values in (await self.session.execute(select(*key).where(*criteria))).all():
            one = [column == value for column, value in zip(key, values, strict=True)]
            number += await execute_dml(self.session, delete(model).where(*one))
            if await self.session.scalar(select(func.count()).select_from(model).where(*one)):
                raise self.prevented_error(model)
        return number

    def prevented_error(self, model: Optional[type[Any]] = None) -> PreventedError:
        """Return the error for a change of a table that a trigger or rule prevented.

        Args:
            model: The table, by default the repository's own.
        """
        table = str((model or self.model).__tablename__)
        return prevented_error(self.session.get_bind().dialect, table)

    async def find(self, *criteria: ColumnElement[bool]) -> Sequence[ModelT]:
        """Return the rows for which all *criteria* hold, in no particular order."""
        rows = (await self.session.scalars(select(self.model).where(*criteria))).all()
        return [row for row in rows if row is not None]  # the ORM returns None for a NULL key

    async def count(self, *criteria: ColumnElement[bool]) -> int:
        """Return the number of rows for which all *criteria* hold."""
        query = select(func.count()).select_from(self.model).where(*criteria)
        return int(await self.session.scalar(query) or 0)
