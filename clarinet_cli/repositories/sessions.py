"""Log-in sessions by id and by user: found, and removed."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Optional, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    and_,
    case,
    delete,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import OLDEST, canonical_id
from clarinet_cli.repositories.base import (
    VALUES_AT_ONCE,
    BaseRepository,
    batches,
    execute_dml,
    prevented_error,
)
from clarinet_cli.repositories.references import SESSIONS, Reference, references_to, referred
from clarinet_cli.repositories.session_state import CREATED, EXPIRES

ID_LENGTH = 8
MATCHES_SHOWN = 10
TOKEN = col(AccessToken.token)
USER_ID = col(AccessToken.user_id)
SAME_USER = or_(col(User.id) == USER_ID, col(User.id) == canonical_id(USER_ID))
LONGER_THAN_A_TOKEN = "z" * 200  # what sorts behind every rest of a token
VISIBLE = range(33, 127)  # the characters that a token can have
HIGHEST_CODE_POINT = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


class OwnSession(NamedTuple):
    """A session of a known user: its token stays inside the services."""

    token: str
    created_at: Optional[datetime]

    @property
    def id(self) -> str:
        """The public id."""
        return self.token[:ID_LENGTH]


class FoundSession(NamedTuple):
    """A session found by its id, and whose it is; its token stays inside the services."""

    token: str
    created_at: Optional[datetime]
    user_id: UUID
    email: Optional[str]

    @property
    def id(self) -> str:
        """The public id."""
        return self.token[:ID_LENGTH]


class SessionRepository(BaseRepository[AccessToken]):
    """Rows of ``access_token``."""

    model = AccessToken

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session)
        self._references: Optional[tuple[Reference, ...]] = None

    async def of_user(self, user_id: UUID) -> list[OwnSession]:
        """Return a user's sessions, newest first.

        SQLite would sort many of them in a temporary file, with the whole tokens.
        """
        query = select(TOKEN, CREATED).where(USER_ID == user_id)
        found = [OwnSession(*row) for row in await self.session.execute(query)]
        found.sort(key=lambda session: session.token or "")
        return sorted(found, key=lambda session: session.created_at or OLDEST, reverse=True)

    async def with_id(
        self, session_id: str, *, user_id: Optional[UUID] = None
    ) -> list[FoundSession]:
        """Return the sessions whose token begins with an id, newest first; not all of many.

        Args:
            session_id: The first characters of the token.
            user_id: Only those of this user.
        """
        exact = func.substr(TOKEN, 1, len(session_id)) == session_id
        found = await self._found(exact, await self._range(session_id), user_id)
        if found or self.session.get_bind().dialect.name == "sqlite":
            return found
        # A token that no server made may lie outside of the range that its language has.
        return await self._found(exact, None, user_id)

    async def with_token(self, token: str, *, user_id: Optional[UUID] = None) -> list[FoundSession]:
        """Return the session with this whole token, as a list of one or none."""
        return await self._found(TOKEN == token, None, user_id)

    async def remove_of_user(self, user_id: UUID, *, keep: Sequence[OwnSession] = ()) -> int:
        """End a user's sessions but those to keep; return how many.

        A long list of values would be one that SQLite puts into a temporary file.

        Raises:
            PreventedError: A trigger or rule kept one from being deleted.
        """
        kept = {session.token for session in keep if session.token is not None}
        if len(kept) <= VALUES_AT_ONCE:
            others_only = [or_(TOKEN.is_(None), TOKEN.not_in(kept))] if kept else []
            return await self._end(USER_ID == user_id, *others_only)
        tokens = await self.session.scalars(select(TOKEN).where(USER_ID == user_id))
        others = [token for token in tokens if token not in kept]
        number = 0
        for some in batches(others):
            number += await self._end(TOKEN.in_(some))
        return number

    async def delete_of_user(self, user_id: UUID) -> int:
        """Delete a user's sessions, whatever goes with them; return how many.

        Raises:
            IntegrityError: Rows of another table refer to one and don't go along.
            PreventedError: A trigger or rule kept one from being deleted.
        """
        return await self.remove_where(USER_ID == user_id)

    async def remove_of_users(self, users: Collection[UUID]) -> Counter[UUID]:
        """End the sessions of many users; return how many of each.

        Raises:
            PreventedError: A trigger or rule kept one from being deleted.
        """
        removed: Counter[UUID] = Counter()
        for some in batches(sorted(users)):
            removed.update([owner for _, owner in await self._expire(USER_ID.in_(some))])
            here = and_(USER_ID.in_(some), *await self._free())
            query = delete(AccessToken).where(here).returning(USER_ID)
            options = {"synchronize_session": False}
            for _ in range(2):  # what is there afterwards came in meanwhile, or is kept
                removed.update(await self.session.scalars(query, execution_options=options))
                if not await self.count(here):
                    break
            else:
                raise prevented_error(str(AccessToken.__tablename__))
        return removed

    async def users_with_sessions(self, users: Collection[UUID]) -> list[UUID]:
        """Return those of some users who have a session, in the order of their ids."""
        found: set[UUID] = set()
        for some in batches(sorted(users)):
            query = select(USER_ID).where(USER_ID.in_(some)).distinct()
            found |= set(await self.session.scalars(query))
        return sorted(found)

    async def remove(self, sessions: Collection[FoundSession]) -> set[str]:
        """End sessions; return the tokens of those that were still there.

        Raises:
            PreventedError: A trigger or rule kept one from being deleted.
        """
        options = {"synchronize_session": False}
        gone: set[str] = set()
        for some in batches([session.token for session in sessions]):
            gone |= {token for token, _ in await self._expire(TOKEN.in_(some))}
            free = await self._free()
            query = delete(AccessToken).where(TOKEN.in_(some), *free).returning(TOKEN)
            gone |= set(await self.session.scalars(query, execution_options=options))
            left = set(some) - gone
            if left and await self.count(TOKEN.in_(left), *free):
                raise prevented_error(str(AccessToken.__tablename__))
        return gone

    async def count_others(self, users: Collection[UUID]) -> int:
        """Return the number of sessions of everybody but some users."""
        return await self.count(*_of_others(users))

    async def count_unless_revoked(self) -> int:
        """Return the number of sessions but those that ended by expiring; see ``_expire``."""
        not_ended = EXPIRES > CREATED
        return await self.count(*([not_ended] if await self._referring() else []))

    async def last_key(self) -> Any:
        """Return the highest key by which ``remove_key_range`` walks; None without a session."""
        return await self.session.scalar(select(func.max(self._key)).select_from(AccessToken))

    async def remove_key_range(
        self, after: Any, last: Any, size: int, *, spared: Collection[UUID]
    ) -> tuple[Any, int]:
        """End the sessions in the next stretch of keys.

        Rows keep their key whatever the server writes into them: a walk to the last key
        meets every session that was there when it began.

        Args:
            after: The key where the slice before ended; None at the beginning.
            last: Where the walk ends.
            size: How many sessions to look at.
            spared: The users whose sessions stay.

        Returns:
            The key where this slice ended, None when there is nothing behind it; and how
            many sessions were ended.

        Raises:
            PreventedError: A trigger or rule kept a session from being deleted.
        """
        ahead = [self._key <= last, *([] if after is None else [self._key > after])]
        doomed = and_(true(), *_of_others(spared))
        inner = (
            select(self._key.label("key"), case((doomed, 1), else_=0).label("doomed"))
            .select_from(AccessToken)
            .where(*ahead)
            .order_by(self._key)
            .limit(size)
            .subquery()
        )
        found = select(func.max(inner.c.key), func.sum(inner.c.doomed))
        end, number = (await self.session.execute(found)).one()
        if end is None:
            return None, 0
        here = [*ahead, self._key <= end, *_of_others(spared)]
        ended = len(await self._expire(*here))
        here += await self._free()
        ended += await execute_dml(self.session, delete(AccessToken).where(*here))
        if ended < number:  # who is faster, or a trigger
            ended += await self.remove_where(*here)
        return end, ended

    async def _end(self, *criteria: ColumnElement[bool]) -> int:
        """End the sessions for which all *criteria* hold; return how many."""
        expired = len(await self._expire(*criteria))
        return expired + await self.remove_where(*criteria, *await self._free())

    async def _expire(self, *criteria: ColumnElement[bool]) -> Sequence[tuple[str, UUID]]:
        """Let sessions end that rows of other tables refer to; return tokens and users.

        They are not deleted: the other rows would go along, or forbid it. No clock says that
        they still live.

        Raises:
            PreventedError: A trigger or rule kept one from being changed.
        """
        references = await self._referring()
        if not references:
            return []
        here = [*criteria, referred(references), EXPIRES > CREATED]
        query = update(AccessToken).where(*here).values(expires_at=CREATED)
        options = {"synchronize_session": False}
        expired = await self.session.execute(
            query.returning(TOKEN, USER_ID), execution_options=options
        )
        found = [(token, owner) for token, owner in expired]
        if await self.count(*here):
            raise prevented_error(str(AccessToken.__tablename__))
        return found

    async def _free(self) -> list[ColumnElement[bool]]:
        """Return the condition for sessions that no other table refers to; none: all are."""
        references = await self._referring()
        return [not_(referred(references))] if references else []

    async def _referring(self) -> tuple[Reference, ...]:
        if self._references is None:
            self._references = await references_to(self.session, SESSIONS)
        return self._references

    @property
    def _key(self) -> ColumnElement[Any]:
        """What to walk all sessions by: on SQLite their order in the file is the cheap one."""
        if self.session.get_bind().dialect.name == "sqlite":
            return literal_column("access_token.rowid")
        return cast("ColumnElement[Any]", TOKEN)

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
        """Return a condition for the index that all tokens with this start fulfil.

        PostgreSQL compares by the language of its collation, where a hyphen may count for
        nothing and two letters for one: it is asked whether the range would be one, by a
        token for each two characters that may follow. None: no range is.
        """
        ends = [end for end in (_successor(start), start + LONGER_THAN_A_TOKEN) if end]
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


def _of_others(users: Collection[UUID]) -> list[ColumnElement[bool]]:
    """Return the condition for the sessions of everybody but some users."""
    return [USER_ID.not_in(users)] if users else []


def _successor(start: str) -> Optional[str]:
    """Return the least text above all that begin with *start*, by code points."""
    code = ord(start[-1]) + 1
    if code > HIGHEST_CODE_POINT:
        return None
    return start[:-1] + chr(SURROGATES.stop if code in SURROGATES else code)
