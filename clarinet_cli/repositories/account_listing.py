"""Listings of accounts, with their roles and sessions."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import Select, Subquery, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, RoleLink, User
from clarinet_cli.models.functions import (
    canonical_id,
    has_readable_timestamps,
    is_readable_timestamp,
)
from clarinet_cli.models.types import NonCanonicalId
from clarinet_cli.repositories.base import folded_column
from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.users import EMAIL, ID, STATE
from clarinet_cli.results import DeclaredAccount, UserRow
from clarinet_cli.spelling import fold_case
from clarinet_cli.types import ANY_USER, SortKey, StateName, UserFilter

FETCH_SIZE = 500
STATES = tuple(state.value for state in StateName)
SEPARATOR = "\x1f"  # the unit separator, which no role name contains


class AccountListing:
    """Queries on accounts for display.

    Args:
        session: The session for all queries.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def sessions_by_state(self, policy: ExpiryPolicy, user_id: UUID) -> dict[str, int]:
        """Return the number of an account's sessions by state, and in total."""
        owned = select(
            func.count(), *(func.count().filter(policy.state == state) for state in STATES)
        )
        query = owned.select_from(AccessToken).outerjoin(User, ID == col(AccessToken.user_id))
        row = (await self.session.execute(query.where(col(AccessToken.user_id) == user_id))).one()
        counts = dict(zip(("total", *STATES), row, strict=True))
        return {name: count for name, count in counts.items() if count or name != "invalid"}

    async def stream(
        self,
        policy: ExpiryPolicy,
        *,
        superusers_only: bool,
        where: UserFilter = ANY_USER,
        user_id: Optional[UUID] = None,
    ) -> AsyncGenerator[list[UserRow], None]:
        """Yield accounts with roles, live sessions and last access, in batches of one query.

        Args:
            policy: The timestamp at which sessions are live.
            superusers_only: Only accounts with the superuser flag.
            where: Only accounts that match this filter.
            user_id: Only this account.
        """
        used_at, created_at = col(AccessToken.last_accessed), col(AccessToken.created_at)
        used_by: Any = select(
            col(AccessToken.user_id).label("user_id"),
            func.count().filter(policy.live, has_readable_timestamps()).label("live"),
            func.max(used_at).filter(is_readable_timestamp(used_at)).label("last_accessed"),
            func.max(created_at).filter(is_readable_timestamp(created_at)).label("last_login"),
        ).group_by(col(AccessToken.user_id))
        if user_id is not None:
            used_by = used_by.where(col(AccessToken.user_id) == user_id)
        used = _by_canonical_id(used_by.subquery())
        roles = _role_names()
        # Columns without the hash: the server may sort in a temporary file.
        flags = map(col, (User.is_active, User.is_superuser, User.is_verified))
        fields: list[Any] = [
            ID,
            EMAIL,
            *flags,
            roles.c.names,
            used.c.live,
            used.c.last_accessed,
            used.c.last_login,
        ]
        query: Select[Any] = (
            select(*fields)
            .select_from(User)
            .outerjoin(used, used.c.user_id == canonical_id(ID))
            .outerjoin(roles, roles.c.user_id == canonical_id(ID))
            .order_by(*_order(where.sort, used))
            .limit(where.limit)
        )
        if superusers_only:
            query = query.where(col(User.is_superuser))
        if where.inactive_only:
            query = query.where(col(User.is_active).is_(False))
        if where.role is not None:
            has_role = select(col(RoleLink.user_id)).where(col(RoleLink.role_name) == where.role)
            query = query.where(ID.in_(has_role))
        if where.search is not None:
            matches = func.lower(EMAIL).contains(where.search.lower(), autoescape=True)
            same = (await folded_column(self.session, EMAIL, where.search)).contains(
                fold_case(where.search), autoescape=True
            )
            query = query.where(or_(matches, same))
        if user_id is not None:
            query = query.where(ID == user_id)
        options = {"yield_per": FETCH_SIZE}
        found = await self.session.stream(query, execution_options=options)
        async for some in found.partitions():
            yield [_user_row(*values) for values in some]

    async def stream_declared(self) -> AsyncGenerator[list[DeclaredAccount], None]:
        """Yield all accounts by address, as a file declares them, in batches of one query."""
        roles = _role_names()
        query = (
            select(*STATE[1:], roles.c.names)
            .select_from(User)
            .outerjoin(roles, roles.c.user_id == canonical_id(ID))
            .order_by(EMAIL)
        )
        found = await self.session.stream(query, execution_options={"yield_per": FETCH_SIZE})
        async for some in found.partitions():
            yield [
                DeclaredAccount(
                    email or "", bool(active), bool(superuser), bool(verified), _sorted_names(names)
                )
                for email, active, superuser, verified, names in some
            ]

    async def rows(
        self,
        policy: ExpiryPolicy,
        *,
        superusers_only: bool,
        where: UserFilter = ANY_USER,
        user_id: Optional[UUID] = None,
    ) -> list[UserRow]:
        """Return the rows of ``stream`` as a list."""
        found = self.stream(policy, superusers_only=superusers_only, where=where, user_id=user_id)
        return [row async for some in found for row in some]

    async def row(self, policy: ExpiryPolicy, user_id: UUID) -> UserRow:
        """Return the row of an account that exists."""
        return (await self.rows(policy, superusers_only=False, user_id=user_id))[0]


def _order(sort: Optional[SortKey], used: Subquery) -> list[Any]:
    """Return the order of accounts: missing values lowest, then by address, then by id."""
    if sort is None:
        return [EMAIL]
    counted = case((col(User.is_active), func.coalesce(used.c.live, 0)), else_=0)
    others = {
        "sessions": counted,
        "last_accessed": used.c.last_accessed,
        "last_login": used.c.last_login,
    }
    key: Any = others.get(sort.name)
    key = col(getattr(User, sort.name)) if key is None else key
    ordered = key.desc().nulls_last() if sort.descending else key.asc().nulls_first()
    return [ordered, EMAIL, ID]


def _role_names() -> Subquery:
    """Return the names of each account's roles as one text, by canonical id."""
    role_id = canonical_id(col(RoleLink.user_id))
    names = func.aggregate_strings(col(RoleLink.role_name), SEPARATOR).label("names")
    return select(role_id.label("user_id"), names).group_by(role_id).subquery()


def _sorted_names(names: Optional[str]) -> tuple[str, ...]:
    return tuple(sorted(names.split(SEPARATOR))) if names else ()


def _user_row(
    id_: Any,
    email: Optional[str],
    active: object,
    superuser: object,
    verified: object,
    names: Optional[str],
    live: Any,
    last_accessed: Optional[datetime],
    last_login: Optional[datetime],
) -> UserRow:
    counted = active and live and not isinstance(id_, NonCanonicalId)
    return UserRow(
        "" if id_ is None else id_,
        email or "",
        bool(active),
        bool(superuser),
        None if verified is None else bool(verified),
        _sorted_names(names),
        int(live) if counted else 0,
        last_accessed,
        last_login,
    )


def _by_canonical_id(used: Subquery) -> Subquery:
    """Return the session counts by stored id, grouped by canonical id."""
    same = canonical_id(used.c.user_id)
    return (
        select(
            same.label("user_id"),
            func.sum(used.c.live).label("live"),
            func.max(used.c.last_accessed).label("last_accessed"),
            func.max(used.c.last_login).label("last_login"),
        )
        .group_by(same)
        .subquery()
    )
