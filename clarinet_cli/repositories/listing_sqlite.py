"""SQLite: sessions are copied once, into temporary tables, and read from there page by page.

A sort for each page would take time by the square, and a query that stays open keeps writers
out (rollback journal) or the log from shrinking (WAL). The tables are a file that only this
connection sees; it goes with it. All rows are of one moment.

What SQLite copies or sorts may reach the disk, in a directory that is not the database's: of
a token it is the id alone, its first characters, and never the rest.

They are copied as they lie, in half the time that sorting them takes: the first page is picked
from the copy, and the rest is sorted once that page is shown.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final, Optional

from sqlalchemy import (
    Boolean,
    Column,
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
from clarinet_cli.repositories.listing_columns import sqlite_page
from clarinet_cli.repositories.session_state import CREATED, EXPIRES, LAST_ACCESSED
from clarinet_cli.repositories.sessions import ID_LENGTH, TOKEN, USER_ID
from clarinet_cli.repositories.stored_forms import id_in_one_form, usual_id
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
    id_in_one_form(USER_ID).label("user_id"),
    CREATED,
    EXPIRES,
    LAST_ACCESSED,
    ADDRESS,
    AGENT,
)
# The server finds no account by an id in another form: it lets nobody in with such a session.
COPIED_OF_USERS: Final = (
    id_in_one_form(col(User.id)).label("id"),
    col(User.email),
    and_(col(User.is_active), usual_id(col(User.id))).label("is_active"),
)


def _texts(names: Iterable[str]) -> list[Column[str]]:
    """Return columns of text: nothing is taken apart that is only passed on."""
    return [Column(name, String) for name in names]


SESSIONS: Final = Table(
    "access_token",
    MetaData(TEMPORARY),
    *_texts(["token", "user_id", "created_at", "expires_at", "last_accessed"]),
    *_texts(["ip_address", "user_agent"]),
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
    *_texts(field.name for field in fields(SessionRow)),
)


class CopiedPages:
    """The pages of a listing, newest first.

    Args:
        session: What to read with; its connection has to stay the same.
        rows: The query for the fields of all sessions, in no particular order.
        wanted: The same for those to list.
        limit: At most so many; None: all.
        sizes: How many sessions the first page has, and each other one.
    """

    def __init__(
        self,
        session: AsyncSession,
        rows: Select[Any],
        wanted: Select[Any],
        limit: Optional[int],
        *,
        sizes: tuple[int, int],
    ) -> None:
        self.session = session
        self.rows = rows.order_by(*NEWEST_FIRST)
        self.wanted = wanted if limit is None else wanted.order_by(*NEWEST_FIRST).limit(limit)
        self.all_wanted = limit is None and wanted.whereclause is None
        self.first, self.others = sizes
        self.read = 0

    async def prepare(self) -> None:
        """Copy the sessions and their users; the database itself is only read."""
        connection = await self.session.connection()
        for table in (SESSIONS, USERS, LISTING):
            await connection.run_sync(table.create)
        sessions = self.wanted.with_only_columns(*COPIED, maintain_column_froms=True)
        users = select(*COPIED_OF_USERS).where(col(User.id).is_not(None))
        if not self.all_wanted:
            owners = select(SESSIONS.c.user_id)
            users = users.where(id_in_one_form(col(User.id)).in_(owners))
        await self._fill(SESSIONS, sessions, IN_DATABASE)
        await self._fill(USERS, users, IN_DATABASE)
        await self._fill(LISTING, self.rows.limit(self.first), IN_COPY)

    async def next_page(self) -> SessionPage:
        """Return the next sessions; nothing at the end."""
        if self.read == self.first:
            # All of them, as SQLite sorts slowly when it has to leave some out.
            await self.session.execute(delete(LISTING))
            await self._fill(LISTING, self.rows, IN_COPY)
        size = self.others if self.read else self.first
        number, *columns = LISTING.columns
        query = select(*columns).where(number > self.read).order_by(number).limit(size)
        rows = (await self.session.execute(query)).all()
        self.read += len(rows)
        return sqlite_page(rows)

    async def _fill(
        self, table: Table, query: Select[*tuple[Any, ...]], place: dict[str, Any]
    ) -> None:
        """Put the rows of a query, made of the database or of the copies, into a table."""
        names = [column.name for column in query.selected_columns]
        # Of two accounts with one id, in different forms, a listing shows one.
        copy = insert(table).prefix_with("OR IGNORE").from_select(names, query)
        await self.session.execute(copy, execution_options=place)
