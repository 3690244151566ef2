"""Queries on accounts."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import String, cast, func, or_, select
from sqlmodel import col

from clarinet_cli.models import AccessToken, RoleLink, User
from clarinet_cli.repositories.base import BaseRepository
from clarinet_cli.repositories.session_state import Moment
from clarinet_cli.results import UserRow
from clarinet_cli.types import ANY_USER, UserFilter

ID = col(User.id)
EMAIL = col(User.email)
UUID_DIGITS = 32
ROWS_AT_ONCE = 500
SEPARATOR = "\x1f"  # the unit separator: no role has it in its name


class UserRepository(BaseRepository[User]):
    """Rows of ``user``."""

    model = User

    async def with_email(self, email: str, *also: str) -> Sequence[User]:
        """Return the accounts that *email* means.

        An exact spelling wins, by the unique index. Else the server's comparison,
        ``lower(email) = lower(:email)``, which can match several rows.

        Args:
            email: The address.
            *also: Further spellings of it, which count after it.
        """
        spellings = dict.fromkeys((email, *also))
        for text in spellings:
            if exact := await self.find(EMAIL == text):
                return exact
        folded = func.lower(EMAIL)
        for text in spellings:
            same = or_(folded == func.lower(text), folded == text.lower())
            if found := await self.find(same):
                return found
        return []

    async def with_id_prefix(self, digits: str) -> Sequence[User]:
        """Return the accounts whose UUID begins with these hexadecimal digits.

        SQLite compares the column as text: its declared type gives it numeric affinity,
        which makes a number of a bound such as ``99999999000…``.
        """
        if self.session.get_bind().dialect.name == "sqlite":
            return await self.find(func.substr(cast(ID, String), 1, len(digits)) == digits)
        first = UUID(digits.ljust(UUID_DIGITS, "0"))
        last = UUID(digits.ljust(UUID_DIGITS, "f"))
        return await self.find(first <= ID, last >= ID)

    async def addresses(self, start: str, *, limit: int) -> list[str]:
        """Return at most *limit* addresses that begin with *start*, in order."""
        begins = EMAIL.startswith(start, autoescape=True)
        return list(
            await self.session.scalars(select(EMAIL).where(begins).order_by(EMAIL).limit(limit))
        )

    async def active_superusers(self) -> Sequence[User]:
        """Return the accounts that can administer the server."""
        return await self.find(col(User.is_superuser).is_(True), col(User.is_active).is_(True))

    async def stream(
        self,
        moment: Moment,
        *,
        superusers_only: bool,
        where: UserFilter = ANY_USER,
        user_id: Optional[UUID] = None,
    ) -> AsyncGenerator[UserRow, None]:
        """Yield accounts with roles, live sessions and last access, in one query.

        Args:
            moment: When to judge which sessions are live.
            superusers_only: Only those with the superuser flag.
            where: Only those for which this holds too.
            user_id: Only this one.
        """
        used_by: Any = select(
            col(AccessToken.user_id).label("user_id"),
            func.count().filter(moment.live).label("live"),
            func.max(col(AccessToken.last_accessed)).label("last_accessed"),
        ).group_by(col(AccessToken.user_id))
        if user_id is not None:
            used_by = used_by.where(col(AccessToken.user_id) == user_id)
        used = used_by.subquery()
        roles = (
            select(
                col(RoleLink.user_id).label("user_id"),
                func.aggregate_strings(col(RoleLink.role_name), SEPARATOR).label("names"),
            )
            .group_by(col(RoleLink.user_id))
            .subquery()
        )
        query = (
            select(User, roles.c.names, used.c.live, used.c.last_accessed)
            .outerjoin(used, used.c.user_id == ID)
            .outerjoin(roles, roles.c.user_id == ID)
            .order_by(EMAIL)
        )
        if superusers_only:
            query = query.where(col(User.is_superuser))
        if where.inactive_only:
            query = query.where(col(User.is_active).is_(False))
        if where.role is not None:
            has_role = select(col(RoleLink.user_id)).where(col(RoleLink.role_name) == where.role)
            query = query.where(ID.in_(has_role))
        if where.search is not None:
            query = query.where(func.lower(EMAIL).contains(where.search.lower(), autoescape=True))
        if user_id is not None:
            query = query.where(ID == user_id)
        options = {"yield_per": ROWS_AT_ONCE}
        async for user, names, live, last_accessed in await self.session.stream(
            query, execution_options=options
        ):
            yield UserRow(
                id=user.id,
                email=user.email,
                is_active=user.is_active,
                is_superuser=user.is_superuser,
                is_verified=user.is_verified,
                roles=tuple(sorted(names.split(SEPARATOR))) if names else (),
                sessions=(live or 0) if user.is_active else 0,
                last_accessed=last_accessed,
            )

    async def rows(
        self,
        moment: Moment,
        *,
        superusers_only: bool,
        where: UserFilter = ANY_USER,
        user_id: Optional[UUID] = None,
    ) -> list[UserRow]:
        """Return what ``stream`` yields, as a list."""
        found = self.stream(moment, superusers_only=superusers_only, where=where, user_id=user_id)
        return [row async for row in found]
