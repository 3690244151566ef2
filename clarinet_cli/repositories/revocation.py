"""Revoking log-in sessions.

A session that rows of other tables refer to is expired instead of deleted.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, delete, func, not_, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.models import AccessToken
from clarinet_cli.models.functions import stored_timestamp
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.repositories.base import (
    BATCH_SIZE,
    BaseRepository,
    batches,
    execute_dml,
)
from clarinet_cli.repositories.expiry_policy import CREATED, EXPIRES
from clarinet_cli.repositories.references import (
    SESSION_TABLE,
    Reference,
    is_referenced,
    references_to,
)
from clarinet_cli.repositories.sessions import TOKEN, USER_ID, FoundSession, OwnSession, session_key


class RevocationRepository(BaseRepository[AccessToken]):
    """Deletes rows of ``access_token``, or expires them."""

    model = AccessToken

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session)
        self._references: Optional[tuple[Reference, ...]] = None

    async def revoke_of_user(self, user_id: UUID, *, keep: Sequence[OwnSession] = ()) -> int:
        """Revoke a user's sessions except those to keep; return the number revoked.

        Many sessions to keep are not excluded in SQL: SQLite would write the list to a temporary
        file.

        Raises:
            PreventedError: A trigger or rule prevented a deletion.
        """
        if not self._are_rows:
            return 0
        kept = {session.token for session in keep if session.token is not None}
        if len(kept) <= BATCH_SIZE:
            others_only = [or_(TOKEN.is_(None), TOKEN.not_in(kept))] if kept else []
            return await self._revoke(USER_ID == user_id, *others_only)
        tokens = await self.session.scalars(select(TOKEN).where(USER_ID == user_id))
        others = [token for token in tokens if token not in kept]
        number = 0
        for some in batches(others):
            number += await self._revoke(TOKEN.in_(some))
        return number

    async def delete_of_user(self, user_id: UUID) -> int:
        """Delete a user's sessions, with rows that cascade; return the number deleted.

        Raises:
            IntegrityError: Rows of another table refer to one and do not cascade.
            PreventedError: A trigger or rule prevented a deletion.
        """
        return await self.remove_where(USER_ID == user_id) if self._are_rows else 0

    async def revoke_of_users(self, users: Collection[UUID]) -> Counter[UUID]:
        """Revoke the sessions of many users; return the number revoked by user.

        Raises:
            PreventedError: A trigger or rule prevented a deletion.
        """
        removed: Counter[UUID] = Counter()
        if not self._are_rows:
            return removed
        for some in batches(sorted(users)):
            removed.update([owner for _, owner in await self._expire(USER_ID.in_(some))])
            here = and_(USER_ID.in_(some), *await self._unreferenced())
            query = delete(AccessToken).where(here).returning(USER_ID)
            options = {"synchronize_session": False}
            for _ in range(2):  # the second time for sessions created concurrently
                removed.update(await self.session.scalars(query, execution_options=options))
                if not await self.count(here):
                    break
            else:
                raise self.prevented_error()
        return removed

    async def revoke(self, sessions: Collection[FoundSession]) -> set[str]:
        """Revoke sessions; return the tokens of those that still existed.

        Raises:
            PreventedError: A trigger or rule prevented a deletion.
        """
        options = {"synchronize_session": False}
        gone: set[str] = set()
        for some in batches([session.token for session in sessions]):
            gone |= {token for token, _ in await self._expire(TOKEN.in_(some))}
            unreferenced = await self._unreferenced()
            query = delete(AccessToken).where(TOKEN.in_(some), *unreferenced).returning(TOKEN)
            gone |= set(await self.session.scalars(query, execution_options=options))
            remaining = set(some) - gone
            if remaining and await self.count(TOKEN.in_(remaining), *unreferenced):
                raise self.prevented_error()
        return gone

    async def count_others(self, users: Collection[UUID], keep: Collection[str] = ()) -> int:
        """Return the number of sessions of all users except some, and except some tokens."""
        return await self.count(*_excluding(users, keep))

    async def count_unless_revoked(self) -> int:
        """Return the number of sessions that were not revoked by expiring; see ``_expire``."""
        return await self.count(*await self.unless_revoked())

    async def unless_revoked(self) -> list[ColumnElement[bool]]:
        """Return the condition for sessions that were not revoked by expiring."""
        return [EXPIRES > CREATED] if await self._referring() else []

    async def last_key(self) -> Any:
        """Return the highest key for ``revoke_key_range``; None if there is no session."""
        return await self.session.scalar(select(func.max(self._key)).select_from(AccessToken))

    async def revoke_key_range(
        self,
        after: Any,
        last: Any,
        size: int,
        *,
        excluded: Collection[UUID],
        keep: Collection[str] = (),
    ) -> tuple[Any, int]:
        """Revoke the sessions in the next range of keys.

        The server never changes keys, so that consecutive ranges up to the highest key include
        every session that existed at the beginning.

        Args:
            after: The key at which the previous range ended; None for the first range.
            last: The highest key.
            size: The number of sessions in the range.
            excluded: The users whose sessions are kept.
            keep: The tokens of other sessions that are kept.

        Returns:
            The key at which this range ended, None if no key is left; and the number of
            sessions revoked.

        Raises:
            PreventedError: A trigger or rule prevented a deletion.
        """
        ahead = [self._key <= last, *([] if after is None else [self._key > after])]
        others = _excluding(excluded, keep)
        to_revoke = and_(true(), *others)
        inner = (
            select(self._key.label("key"), case((to_revoke, 1), else_=0).label("to_revoke"))
            .select_from(AccessToken)
            .where(*ahead)
            .order_by(self._key)
            .limit(size)
            .subquery()
        )
        found = select(func.max(inner.c.key), func.sum(inner.c.to_revoke))
        end, number = (await self.session.execute(found)).one()
        if end is None:
            return None, 0
        here = [*ahead, self._key <= end, *others]
        revoked = len(await self._expire(*here))
        here += await self._unreferenced()
        revoked += await execute_dml(self.session, delete(AccessToken).where(*here))
        if revoked < number:  # concurrent changes, or a trigger
            revoked += await self.remove_where(*here)
        return end, revoked

    async def _revoke(self, *criteria: ColumnElement[bool]) -> int:
        """Revoke the sessions for which all *criteria* hold; return their number."""
        expired = len(await self._expire(*criteria))
        return expired + await self.remove_where(*criteria, *await self._unreferenced())

    async def _expire(self, *criteria: ColumnElement[bool]) -> Sequence[tuple[str, UUID]]:
        """Expire sessions that rows of other tables refer to; return their tokens and users.

        They are not deleted, since that would delete the other rows or fail. They expire at
        their creation, which is in the past by any clock.

        Raises:
            ConflictError: Rows of other tables refer to sessions whose expiry is not stored.
            PreventedError: A trigger or rule prevented an update.
        """
        references = await self._referring()
        if not references:
            return []
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is not None and not tables.has(str(AccessToken.__tablename__), "expires_at"):
            if await self.count(*criteria, is_referenced(references)):
                names = ", ".join(reference.name for reference in references)
                raise CONFLICT.with_context(
                    f"sessions referred to by {names} cannot be expired: no column expires_at"
                )
            return []
        here = [*criteria, is_referenced(references), EXPIRES > CREATED]
        query = update(AccessToken).where(*here).values(expires_at=stored_timestamp(CREATED))
        options = {"synchronize_session": False}
        expired = await self.session.execute(
            query.returning(TOKEN, USER_ID), execution_options=options
        )
        found = [(token, owner) for token, owner in expired]
        if await self.count(*here):
            raise self.prevented_error()
        return found

    @property
    def _are_rows(self) -> bool:
        """Whether sessions are rows of a table."""
        tables = mapped_tables(self.session.get_bind().dialect)
        return tables is None or tables.capabilities.sessions

    async def _unreferenced(self) -> list[ColumnElement[bool]]:
        """Return the condition for sessions that no other table refers to; empty: all of them."""
        references = await self._referring()
        return [not_(is_referenced(references))] if references else []

    async def _referring(self) -> tuple[Reference, ...]:
        if self._references is None:
            self._references = await references_to(self.session, SESSION_TABLE)
        return self._references

    @property
    def _key(self) -> ColumnElement[Any]:
        return session_key(self.session)


def _excluding(users: Collection[UUID], keep: Collection[str]) -> list[ColumnElement[bool]]:
    """Return the condition for the sessions of all users except some, and except some tokens."""
    found: list[ColumnElement[bool]] = [USER_ID.not_in(users)] if users else []
    return [*found, or_(TOKEN.is_(None), TOKEN.not_in(keep))] if keep else found
