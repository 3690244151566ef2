"""Listing of sessions in pages, in constant memory.

The reader of a listing may be slow (``| less``), so no transaction stays open between two pages.
There is no index on ``created_at``; each backend has its own strategy.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Optional, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    String,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import User
from clarinet_cli.models.functions import OLDEST, is_readable_timestamp
from clarinet_cli.repositories.expiry_policy import CREATED, EXPIRES, LAST_ACCESSED, ExpiryPolicy
from clarinet_cli.repositories.listing_sqlite import (
    ADDRESS,
    AGENT,
    NEWEST_FIRST,
    PUBLIC_ID,
    CopiedPages,
    page_of,
)
from clarinet_cli.repositories.session_filter import ITS_USER, filter_conditions
from clarinet_cli.repositories.sessions import ID_LENGTH, SAME_USER, TOKEN, USER_ID, FoundSession
from clarinet_cli.results import SessionPage, SessionRow
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import SessionFilter, SortKey

FIRST_PAGE = 100
SORTED_PAGE = 2500
KEYSET_PAGE = 1000
KEY_BATCH = 40_000  # keys of one scan of the table; a key takes about 100 bytes


class Pages(Protocol):
    """The pages of a listing, each read in its own transaction."""

    async def prepare(self) -> None:
        """Prepare the listing; called once before the first page."""

    async def next_page(self) -> SessionPage:
        """Return the next page; empty at the end."""

    async def close(self) -> None:
        """Remove what the listing has left on its connection, for other queries there."""


async def session_pages(
    session: AsyncSession,
    policy: ExpiryPolicy,
    where: SessionFilter,
    *,
    user_id: Optional[UUID] = None,
) -> Pages:
    """Return the pages of a listing.

    Args:
        session: The session for all pages.
        policy: The timestamp of the states.
        where: The conditions.
        user_id: Only sessions of this user.
    """
    query = session_rows(policy).where(*await filter_conditions(session, policy, where, user_id))
    sort = where.sort or SortKey("created_at", descending=True)
    key, descending = _sort_key(policy, sort.name), sort.descending
    if session.get_bind().dialect.name == "sqlite":
        sizes = (FIRST_PAGE, SORTED_PAGE)
        rows = session_rows(policy)
        order: tuple[ColumnElement[Any], ...] = NEWEST_FIRST
        if where.sort is not None:
            order = key.desc() if descending else key, PUBLIC_ID
        return CopiedPages(session, rows, query, where.limit, order=order, sizes=sizes)
    return KeysetPages(session, query, where.limit, key, descending=descending)


def session_rows(policy: ExpiryPolicy, same_user: ColumnElement[bool] = ITS_USER) -> Select[Any]:
    """Return the query for the fields of ``SessionRow``, in no particular order."""
    return select(
        func.substr(TOKEN, 1, ID_LENGTH).label("id"),
        USER_ID,
        col(User.email),
        policy.state.label("state"),
        CREATED,
        EXPIRES,
        LAST_ACCESSED,
        ADDRESS,
        AGENT,
    ).outerjoin(User, same_user)


async def session_row(
    session: AsyncSession, policy: ExpiryPolicy, found: FoundSession
) -> SessionRow:
    """Return the fields of one session."""
    query = session_rows(policy, SAME_USER).where(TOKEN == found.token)
    row = SessionRow(*(await session.execute(query)).one())
    row.id, row.user_id = row.id or "", "" if row.user_id is None else row.user_id
    return row


class KeysetPages:
    """Keyset pagination for PostgreSQL, with tokens fetched in large batches.

    Each batch of tokens continues after the last session of the previous one and takes one
    scan of the table, which may be parallel. A cursor would keep a transaction open while the
    reader waits, hold back vacuum and not work behind a pooler; a replica has no temporary
    tables. Sessions that are revoked during the listing are omitted.

    Args:
        session: The session for all pages.
        query: The unordered query for the rows.
        limit: The maximum number of sessions; None: all.
        key: The expression to order by, never NULL; sessions with the same one by their token.
        descending: The highest key first.
    """

    def __init__(
        self,
        session: AsyncSession,
        query: Select[Any],
        limit: Optional[int],
        key: ColumnElement[Any],
        *,
        descending: bool,
    ) -> None:
        self.session = session
        self.key = key
        self.descending = descending
        self.query = query.add_columns(TOKEN.label("token"), key.label("sort_key")).order_by(
            key.desc() if descending else key, TOKEN
        )
        self.left = limit
        self.last: Optional[tuple[Any, str]] = None
        self.tokens: list[str] = []
        self.more = True

    async def prepare(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def next_page(self) -> SessionPage:
        """Return the next page; empty at the end."""
        if self.last is None:
            # Without fetching a batch of tokens first.
            size = FIRST_PAGE if self.left is None else min(self.left, KEYSET_PAGE)
            rows = await self._rows(self.query.limit(size))
            self.more = len(rows) == size
            if rows:
                self.last = rows[-1].sort_key, rows[-1].token
            return self._page(rows)
        while self.tokens or await self._next_tokens(self.last):
            tokens, self.tokens = self.tokens[:KEYSET_PAGE], self.tokens[KEYSET_PAGE:]
            rows = await self._rows(self.query.where(any_(literal(tokens, ARRAY(String))) == TOKEN))
            if rows:
                return self._page(rows)
        return SessionPage(())

    async def _next_tokens(self, last: tuple[datetime, str]) -> bool:
        """Fetch the next batch of tokens; return whether there are any."""
        size = KEY_BATCH if self.left is None else min(self.left, KEY_BATCH)
        if not self.more or not size:
            return False
        reached, token = last
        beyond = self.key < reached if self.descending else self.key > reached
        following = or_(beyond, and_(self.key == reached, token < TOKEN))
        within = self.key <= reached if self.descending else self.key >= reached
        query = self.query.where(within, following).limit(size)
        columns = TOKEN, self.key.label("sort_key")
        keys = query.with_only_columns(*columns, maintain_column_froms=True).subquery()
        # One array: an object for each row would take more memory than the tokens. The last key
        # is the current one: a session in use may have another one in its page.
        end = func.min(keys.c.sort_key) if self.descending else func.max(keys.c.sort_key)
        found, key = (await self.session.execute(select(func.array_agg(keys.c.token), end))).one()
        self.tokens = found or []
        if self.tokens:
            self.last = key, self.tokens[-1]
        self.more = len(self.tokens) == size
        return bool(self.tokens)

    async def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        rows: Sequence[Row[Any]] = (await self.session.execute(query)).all()
        return rows

    def _page(self, rows: Sequence[Row[Any]]) -> SessionPage:
        """Return rows as a page, and record the remaining number."""
        if self.left is not None:
            self.left -= len(rows)
        return page_of(rows, as_id=str, as_timestamps=_iso_texts, as_texts=list)


def _sort_key(policy: ExpiryPolicy, name: str) -> ColumnElement[Any]:
    """Return the value of a field to order by; a missing one is the lowest."""
    timestamps = {"created_at": CREATED, "expires_at": EXPIRES, "last_accessed": LAST_ACCESSED}
    if name in timestamps:
        timestamp = timestamps[name]
        return case((is_readable_timestamp(timestamp), timestamp), else_=OLDEST)
    texts: dict[str, Any] = {
        "id": func.substr(TOKEN, 1, ID_LENGTH),
        "user_id": USER_ID,
        "email": col(User.email),
        "state": policy.state,
        "ip_address": ADDRESS,
        "user_agent": AGENT,
    }
    return func.coalesce(cast(texts[name], String), "")


def _iso_texts(timestamps: Sequence[Optional[datetime]], *, valid: bool) -> list[Optional[str]]:
    del valid  # the driver has converted them
    return [None if timestamp is None else iso_text(timestamp) for timestamp in timestamps]
