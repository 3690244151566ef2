"""A portable copy of the Clarinet tables: a SQLite file that can be restored into either backend.

It is marked by its application id. The tables are those of the models, in the forms that the
server uses on SQLite; ``clarinet_copy`` has the details of its source.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote_from_bytes
from uuid import UUID

from sqlalchemy import Boolean, String, cast, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.dml import Insert
from sqlalchemy.types import TypeEngine

from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.models.types import StoredId, UTCDateTime

APPLICATION_ID = 0x636C6172  # "clar"
FORMAT = 1
DETAILS = "clarinet_copy"
BATCH_ROWS = 5000
Row = Mapping[str, Any]


def columns_of(table: str) -> list[str]:
    """Return the names of the columns of a Clarinet table."""
    return [column.name for column in metadata.tables[table].columns]


def create_tables(connection: sqlite3.Connection, details: Mapping[str, Optional[str]]) -> None:
    """Create an empty copy.

    Args:
        connection: The connection to an empty file.
        details: The details of its source: ``made_at``, ``revision``, ``backend``.
    """
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    for name in TABLE_NAMES:
        ddl = CreateTable(metadata.tables[name]).compile(dialect=sqlite.dialect())
        connection.execute(str(ddl))
    connection.execute(f"CREATE TABLE {DETAILS} (name TEXT PRIMARY KEY, value TEXT)")
    connection.executemany(f"INSERT INTO {DETAILS} VALUES (?, ?)", details.items())  # noqa: S608 - a constant


def read_details(connection: sqlite3.Connection) -> dict[str, Optional[str]]:
    """Return the details of the source of a copy."""
    return dict(connection.execute(f"SELECT name, value FROM {DETAILS}").fetchall())  # noqa: S608 - a constant


def read_format(connection: sqlite3.Connection) -> int:
    """Return the number of the format of a copy."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def copy_from_file(connection: sqlite3.Connection, file: Path) -> None:
    """Copy the rows of a SQLite database as they are stored, from one snapshot.

    Args:
        connection: The connection to an empty copy.
        file: The database.
    """
    name = quote_from_bytes(os.fsencode(file))
    connection.execute("ATTACH DATABASE ? AS live", [f"file:{name}?mode=rw"])
    connection.execute("BEGIN")
    for table in TABLE_NAMES:
        columns = ", ".join(f'"{column}"' for column in columns_of(table))
        connection.execute(
            f'INSERT INTO main."{table}" ({columns}) SELECT {columns} FROM live."{table}"'  # noqa: S608 - names of the models
        )
    connection.execute("COMMIT")
    connection.execute("DETACH DATABASE live")


async def read_rows(session: AsyncSession, table: str) -> AsyncIterator[list[Row]]:
    """Yield all rows of a Clarinet table, in batches.

    Args:
        session: In a transaction; the rows are those that it sees.
        table: Its name.
    """
    columns = metadata.tables[table].columns
    result = await session.stream(select(*columns).execution_options(yield_per=BATCH_ROWS))
    async for batch in result.mappings().partitions(BATCH_ROWS):
        yield [dict(row) for row in batch]


def write_rows(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Write rows into a copy.

    Args:
        connection: The connection to the copy.
        table: The name of their table.
        rows: Values as the models have them.
    """
    columns = columns_of(table)
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join("?" * len(columns))
    connection.executemany(
        f'INSERT INTO "{table}" ({names}) VALUES ({marks})',  # noqa: S608 - names of the models
        ([_stored(row[column]) for column in columns] for row in rows),
    )


def stored_rows(connection: sqlite3.Connection, table: str) -> Iterator[list[Row]]:
    """Yield the rows of a SQLite file, in batches, with values as the models have them.

    Raises:
        ValueError: A value is not in a form that the server uses.
    """
    columns = columns_of(table)
    names = ", ".join(f'"{column}"' for column in columns)
    cursor = connection.execute(f'SELECT {names} FROM "{table}"')  # noqa: S608 - names of the models
    while batch := cursor.fetchmany(BATCH_ROWS):
        yield [typed_row(table, columns, values) for values in batch]


def typed_row(table: str, columns: Sequence[str], values: Sequence[Any]) -> Row:
    """Return a row with values as the models have them.

    Args:
        table: The name of its table.
        columns: The names of its columns; those that the Clarinet tables lack are left out.
        values: Text, or what SQLite stores.

    Raises:
        ValueError: A value is not in a form that the server uses.
    """
    known = metadata.tables[table].columns
    return {
        name: None if value is None else _typed(known[name].type, value)
        for name, value in zip(columns, values, strict=True)
        if name in known
    }


def _typed(kind: TypeEngine[Any], value: Any) -> Any:
    match kind:
        case StoredId():
            return UUID(str(value))
        case Boolean():
            return value in (1, "t")
        case UTCDateTime():
            found = datetime.fromisoformat(str(value))
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        case _:
            return str(value)


def _stored(value: Any) -> Any:
    match value:
        case UUID():
            return value.hex
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        case _:
            return value


class AccountTables:
    """The Clarinet tables of a database that is restored from a copy.

    Args:
        session: In a transaction for writing.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def clear_links(self) -> None:
        """Delete all sessions and all roles of users."""
        for name in ("access_token", "userroleslink"):
            await self.session.execute(metadata.tables[name].delete())

    async def replace(self, table: str, rows: Sequence[Row]) -> None:
        """Replace the rows of a table by these; a row that stays is updated in place.

        Rows of other tables that refer to it are not changed.

        Args:
            table: ``user`` or ``userrole``.
            rows: All of them.

        Raises:
            IntegrityError: Rows of other tables refer to one that is not among them.
        """
        known = metadata.tables[table]
        (key,) = known.primary_key.columns
        wanted = {row[key.name] for row in rows}
        present = set(await self.session.scalars(select(key)))
        for gone in present - wanted:
            await self.session.execute(known.delete().where(key == gone))
        if table == "user":
            # Addresses may have moved between users; each is unique at any moment.
            await self.session.execute(known.update().values(email=cast(key, String)))
        if not rows:
            return
        other = [column.name for column in known.columns if column.name != key.name]
        # Both backends have the same clause, in types of their own.
        is_sqlite = self.session.get_bind().dialect.name == "sqlite"
        insert: Any = (sqlite if is_sqlite else postgresql).insert(known)
        changes = {name: insert.excluded[name] for name in other}
        upsert: Insert = (
            insert.on_conflict_do_update(index_elements=[key.name], set_=changes)
            if changes
            else insert.on_conflict_do_nothing()
        )
        await self.session.execute(upsert, list(rows))

    async def add(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows.

        Args:
            table: Any of the four.
            rows: Values as the models have them.
        """
        if rows:
            await self.session.execute(metadata.tables[table].insert(), list(rows))
