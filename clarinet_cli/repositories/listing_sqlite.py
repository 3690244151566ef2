"""Listing of sessions on SQLite: copied once into temporary tables, and read from there.

Sorting for each page would take quadratic time, and an open query blocks writers (rollback
journal) or keeps the log from shrinking (WAL). The temporary tables belong to the connection and
are one consistent snapshot.

Temporary tables and sorts may be written to disk outside of the database's directory. They
contain the public ids of sessions only, never whole tokens.

The copy is unsorted, which takes half the time: the first page is selected from the copy, and
the rest is sorted after that page has been shown.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final, Optional

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import canonical_id, is_canonical_id
from clarinet_cli.models.types import iso_texts, parse_uuid, text_of
from clarinet_cli.repositories.expiry_policy import CREATED, EXPIRES, LAST_ACCESSED
from clarinet_cli.repositories.sessions import ID_LENGTH, TOKEN, USER_ID
from clarinet_cli.results import SessionPage, SessionRow

TEMPORARY: Final = "temp"  # the schema of this connection's own tables
IN_DATABASE: Final = {"schema_translate_map": {None: "main"}}
IN_COPY: Final = {"schema_translate_map": {None: TEMPORARY}}
PUBLIC_ID: Final = func.substr(TOKEN, 1, ID_LENGTH)
NEWEST_FIRST: Final = (CREATED.desc(), PUBLIC_ID)
ADDRESS: Final = col(AccessToken.ip_address)
AGENT: Final = col(AccessToken.user_agent)
COPIED: Final = (
    PUBLIC_ID.label("token"),
    canonical_id(USER_ID).label("user_id"),
    CREATED,
    EXPIRES,
    LAST_ACCESSED,
    ADDRESS,
    AGENT,
)
# The server finds no account by a non-canonical id, and refuses its sessions.
COPIED_OF_USERS: Final = (
    canonical_id(col(User.id)).label("id"),
    col(User.email),
    and_(col(User.is_active), is_canonical_id(col(User.id))).label("is_active"),
)


def _text_columns(names: Iterable[str]) -> list[Column[str]]:
    """Return text columns, which pass values on without conversion."""
    return [Column(name, String) for name in names]


SESSIONS: Final = Table(
    "access_token",
    MetaData(TEMPORARY),
    *_text_columns(["token", "user_id", "created_at", "expires_at", "last_accessed"]),
    *_text_columns(["ip_address", "user_agent"]),
)
USERS: Final = Table(
    "user",
    MetaData(TEMPORARY),
    Column("id", String, primary_key=True),
    Column("email", String),
    Column("is_active", Boolean),
    sqlite_with_rowid=False,
)
LISTING: Final = Table(
    "clarinet_listing",
    MetaData(TEMPORARY),
    Column("number", Integer, primary_key=True),
    *_text_columns(field.name for field in fields(SessionRow)),
)


class CopiedPages:
    """The pages of a listing.

    Args:
        session: The session for all pages, on one connection.
        rows: The unordered query for the fields of all sessions.
        wanted: The unordered query for the sessions to list.
        limit: The maximum number of sessions; None: all.
        order: The order, without whole tokens in it.
        sizes: The sizes of the first page and of the others.
    """

    def __init__(
        self,
        session: AsyncSession,
        rows: Select[Any],
        wanted: Select[Any],
        limit: Optional[int],
        *,
        order: Sequence[ColumnElement[Any]],
        sizes: tuple[int, int],
    ) -> None:
        self.session = session
        self.rows = rows.order_by(*order)
        self.wanted = wanted if limit is None else wanted.order_by(*order).limit(limit)
        self.all_wanted = limit is None and wanted.whereclause is None
        self.first, self.others = sizes
        self.read = 0

    async def prepare(self) -> None:
        """Copy the sessions and their users into the temporary tables."""
        connection = await self.session.connection()
        for table in (SESSIONS, USERS, LISTING):
            await connection.run_sync(table.create)
        sessions = self.wanted.with_only_columns(*COPIED, maintain_column_froms=True)
        users = select(*COPIED_OF_USERS).where(col(User.id).is_not(None))
        if not self.all_wanted:
            owners = select(SESSIONS.c.user_id)
            users = users.where(canonical_id(col(User.id)).in_(owners))
        await self._fill(SESSIONS, sessions, IN_DATABASE)
        await self._fill(USERS, users, IN_DATABASE)
        await self._fill(LISTING, self.rows.limit(self.first), IN_COPY)

    async def next_page(self) -> SessionPage:
        """Return the next page; empty at the end."""
        if self.read == self.first:
            # Including the first page: SQLite sorts faster without an offset.
            await self.session.execute(delete(LISTING))
            await self._fill(LISTING, self.rows, IN_COPY)
        size = self.others if self.read else self.first
        number, *columns = LISTING.columns
        query = select(*columns).where(number > self.read).order_by(number).limit(size)
        rows = (await self.session.execute(query)).all()
        self.read += len(rows)
        return page_of(rows, as_id=_stored_id, as_timestamps=iso_texts, as_texts=_stored_texts)

    async def close(self) -> None:
        """Drop the temporary tables: their names hide those of the database."""
        connection = await self.session.connection()
        for table in (SESSIONS, USERS, LISTING):
            await connection.run_sync(table.drop)

    async def _fill(
        self, table: Table, query: Select[*tuple[Any, ...]], options: dict[str, Any]
    ) -> None:
        """Put the rows of a query, made of the database or of the copies, into a table."""
        names = [column.name for column in query.selected_columns]
        # Of two accounts with one id, in different forms, a listing shows one.
        copy = insert(table).prefix_with("OR IGNORE").from_select(names, query)
        await self.session.execute(copy, execution_options=options)


def page_of(
    rows: Sequence[Sequence[Any]],
    *,
    as_id: Callable[[Any], str],
    as_timestamps: Callable[..., list[Optional[str]]],
    as_texts: Callable[[Sequence[Any]], Sequence[Optional[str]]],
) -> SessionPage:
    """Return rows as a page, converted column by column.

    Args:
        rows: Rows with the fields of ``SessionRow``; further columns are ignored.
        as_id: Converts the id of a user.
        as_timestamps: Converts a column of timestamps; ``valid=True`` means that each is one.
        as_texts: Converts a column of texts.
    """
    if not rows:
        return SessionPage(())
    names, users, emails, states, *others = zip(*rows, strict=True)
    timestamps, texts = others[:3], others[3:5]
    ids = [name or "" for name in as_texts(names)]
    owners = list(map(as_id, users))
    valid = "invalid" not in states
    times = (as_timestamps(column, valid=valid) for column in timestamps)
    return SessionPage((ids, owners, as_texts(emails), states, *times, *map(as_texts, texts)))


@lru_cache(10_000)  # many sessions belong to few users
def _stored_id(stored: object) -> str:
    return str(parse_uuid(stored) or text_of(stored) or "")


def _stored_texts(column: Sequence[object]) -> Sequence[Optional[str]]:
    return [text_of(value) for value in column]
