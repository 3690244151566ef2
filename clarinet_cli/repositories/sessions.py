"""Queries that find log-in sessions."""

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple, Optional, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import OLDEST, canonical_id
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.repositories.base import BaseRepository, batches
from clarinet_cli.repositories.expiry_policy import CREATED

ID_LENGTH = 8
OTHER_DIGEST = "other"
MATCHES_SHOWN = 10
TOKEN = col(AccessToken.token)
USER_ID = col(AccessToken.user_id)
SAME_USER = or_(col(User.id) == USER_ID, col(User.id) == canonical_id(USER_ID))
AFTER_ANY_TOKEN = "z" * 200  # sorts after the rest of any token
VISIBLE = range(33, 127)  # the characters of tokens
HIGHEST_CODE_POINT = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


class OwnSession(NamedTuple):
    """A session of a known user. Its token must not leave the services."""

    token: str
    created_at: Optional[datetime]

    @property
    def id(self) -> str:
        """The public id."""
        return self.token[:ID_LENGTH]


class FoundSession(NamedTuple):
    """A session and its user. Its token must not leave the services."""

    token: str
    created_at: Optional[datetime]
    user_id: UUID
    email: Optional[str]

    @property
    def id(self) -> str:
        """The public id."""
        return self.token[:ID_LENGTH]


def session_key(session: AsyncSession) -> ColumnElement[Any]:
    """Return the key that ranges of sessions are ordered by; on SQLite the order in the file."""
    if session.get_bind().dialect.name == "sqlite":
        return literal_column("access_token.rowid")
    return cast("ColumnElement[Any]", TOKEN)


class SessionRepository(BaseRepository[AccessToken]):
    """Rows of ``access_token``."""

    model = AccessToken

    async def for_user(self, user_id: UUID) -> list[OwnSession]:
        """Return a user's sessions, newest first.

        They are sorted here: SQLite may sort in a temporary file, which would contain tokens.
        """
        query = select(TOKEN, CREATED).where(USER_ID == user_id)
        found = [OwnSession(*row) for row in await self.session.execute(query)]
        found.sort(key=lambda session: session.token or "")
        return sorted(found, key=lambda session: session.created_at or OLDEST, reverse=True)

    async def find_by_id(
        self, session_id: str, *, user_id: Optional[UUID] = None
    ) -> list[FoundSession]:
        """Return sessions whose token begins with an id, newest first, limited to a few.

        Args:
            session_id: The first characters of the token.
            user_id: Only those of this user.
        """
        exact = func.substr(TOKEN, 1, len(session_id)) == session_id
        found = await self._found(exact, await self._range(session_id), user_id)
        if found or self.session.get_bind().dialect.name == "sqlite":
            return found
        # A token that the server did not create may be outside of the collation's range.
        return await self._found(exact, None, user_id)

    async def find_by_token(
        self, token: str, *, user_id: Optional[UUID] = None
    ) -> list[FoundSession]:
        """Return the session with this token, as a list of one or none.

        An application may store a digest of it.
        """
        name = self.token_digest
        if name and name != OTHER_DIGEST:
            token = hashlib.new(name, token.encode()).hexdigest()
        return await self._found(TOKEN == token, None, user_id)

    @property
    def token_digest(self) -> str:
        """The digest that an application stores of a token; empty: the token itself."""
        tables = mapped_tables(self.session.get_bind().dialect)
        return "" if tables is None else tables.mapping.token_digest

    async def users_with_sessions(self, users: Collection[UUID]) -> list[UUID]:
        """Return those of some users that have a session, ordered by id."""
        found: set[UUID] = set()
        for some in batches(sorted(users)):
            query = select(USER_ID).where(USER_ID.in_(some)).distinct()
            found |= set(await self.session.scalars(query))
        return sorted(found)

    async def _found(
        self,
        exact: ColumnElement[bool],
        within: Optional[ColumnElement[bool]],
        user_id: Optional[UUID],
    ) -> list[FoundSession]:
        query = (
            select(TOKEN, CREATED, USER_ID, col(User.email))
            .outerjoin(User, SAME_USER)
            .where(exact)
            .order_by(CREATED.desc(), TOKEN)
            .limit(MATCHES_SHOWN + 1)
        )
        if within is not None:
            query = query.where(within)
        if user_id is not None:
            query = query.where(USER_ID == user_id)
        return [FoundSession(*row) for row in await self.session.execute(query)]

    async def _range(self, start: str) -> Optional[ColumnElement[bool]]:
        """Return an indexed condition that holds for all tokens with this start, or None.

        PostgreSQL compares by its collation, which may ignore hyphens and treat two letters as
        one. So the server checks the range with a token for each two characters that may
        follow.
        """
        ends = [end for end in (_successor(start), start + AFTER_ANY_TOKEN) if end]
        if self.session.get_bind().dialect.name == "sqlite":
            return and_(start <= TOKEN, *[TOKEN < end for end in ends[:-1]])
        pairs = func.generate_series(0, len(VISIBLE) ** 2 - 1, type_=Integer)
        pair = pairs.column_valued("pair")
        codes = (pair // len(VISIBLE), pair % len(VISIBLE))
        first, second = (func.chr(VISIBLE.start + code, type_=String) for code in codes)
        token = literal(start, String) + first + second + "z" * ID_LENGTH
        query = select(*(func.bool_and(and_(start <= token, token < end)) for end in ends))
        holds = (await self.session.execute(query)).one()
        for end, is_range in zip(ends, holds, strict=True):
            if is_range:
                return and_(start <= TOKEN, TOKEN < end)
        return None


def _successor(start: str) -> Optional[str]:
    """Return the first text after all that begin with *start*, by code points, or None."""
    code = ord(start[-1]) + 1
    if code > HIGHEST_CODE_POINT:
        return None
    return start[:-1] + chr(SURROGATES.stop if code in SURROGATES else code)
