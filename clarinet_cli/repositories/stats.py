"""Statistics of log-in sessions."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Optional, cast

from sqlalchemy import (
    CTE,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    func,
    literal,
    literal_column,
    not_,
    select,
    true,
)
from sqlmodel import col

from clarinet_cli.models import AccessToken, RoleLink, User
from clarinet_cli.models.functions import (
    canonical_id,
    has_readable_timestamps,
    is_canonical_id,
    is_readable_timestamp,
    utc_day,
    utc_hour,
)
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.models.types import text_of
from clarinet_cli.repositories.base import BaseRepository
from clarinet_cli.repositories.expiry_policy import CREATED, EXPIRES, LAST_ACCESSED, ExpiryPolicy
from clarinet_cli.repositories.sessions import USER_ID
from clarinet_cli.results import SessionGroup, SessionStats
from clarinet_cli.types import GroupBy, StateName

AGE_BUCKETS = {
    "under_1h": timedelta(hours=1),
    "under_1d": timedelta(days=1),
    "under_7d": timedelta(days=7),
    "under_30d": timedelta(days=30),
}
_GROUP_KEYS: dict[GroupBy, ColumnElement[Any]] = {
    GroupBy.USER: cast("ColumnElement[Any]", col(User.email)),
    GroupBy.ROLE: cast("ColumnElement[Any]", col(RoleLink.role_name)),
    GroupBy.IP: cast("ColumnElement[Any]", col(AccessToken.ip_address)),
    GroupBy.AGENT: cast("ColumnElement[Any]", col(AccessToken.user_agent)),
    GroupBy.DAY: utc_day(CREATED),
    GroupBy.HOUR: utc_hour(CREATED),
}


class SessionStatsRepository(BaseRepository[AccessToken]):
    """Aggregate queries on ``access_token``."""

    model = AccessToken

    async def stats(self, policy: ExpiryPolicy) -> SessionStats:
        """Count all sessions in one statement, so that the numbers are consistent.

        On SQLite a second statement in the same transaction checks the form of each value if
        the first one finds one that may not be the server's.
        """
        if self.session.get_bind().dialect.name == "sqlite":
            row = await self._row(_single_scan_query(policy, exact=False))
            row = await self._row(_single_scan_query(policy, exact=True)) if row[-1] else row
        else:
            row = await self._row(_query_by_user(policy))
        numbers = [int(value or 0) for value in row[:7]]
        total, readable, live, active, expired, users, expiring = numbers
        tables = mapped_tables(self.session.get_bind().dialect)
        # The counts below each limit, as counts between two limits.
        edges = [0, *(int(value or 0) for value in row[10:-1]), readable]
        between = [high - low for low, high in pairwise(edges)]
        return SessionStats(
            total=total,
            active=active,
            idle=readable - live - expired,
            expired=expired,
            blocked=live - active,
            users=users,
            average_life_seconds=round(_seconds(row[7]) / expiring, 3) if expiring else None,
            longest_life_seconds=round(_seconds(row[8]), 3) if expiring else None,
            next_expiry=None if tables is not None and tables.never_expires else row[9],
            age=dict(zip([*AGE_BUCKETS, "older"], between, strict=True)),
            invalid=total - readable or None,
        )

    async def _row(self, query: Select[Any]) -> Sequence[Any]:
        return tuple((await self.session.execute(query)).one())

    async def grouped(
        self, policy: ExpiryPolicy, by: GroupBy, *, top: Optional[int] = None
    ) -> list[SessionGroup]:
        """Count sessions by state for each value of a column, the most frequent first.

        Args:
            policy: The reference time of the states.
            by: The column; days and hours are ordered newest first.
            top: How many groups to return, those with the most sessions, and of equal periods the
                newest; None: all.
        """
        key, is_period = _GROUP_KEYS[by], by in (GroupBy.DAY, GroupBy.HOUR)
        states = [state.value for state in StateName if state is not StateName.INVALID]
        total = func.count()
        # The server finds no account by a non-canonical id.
        same_user = col(User.id) == canonical_id(USER_ID)
        query: Select[Any] = (
            select(
                key,
                total,
                *(func.count().filter(policy.state == state) for state in states),
                func.count(canonical_id(USER_ID).distinct()),
                func.count().filter(policy.invalid),
            )
            .select_from(AccessToken)
            .outerjoin(User, same_user)
            .group_by(key)
            .order_by(*([] if is_period and top is None else [total.desc()]))
            .order_by(key.desc() if is_period else key)
            .limit(top)
        )
        if by is GroupBy.ROLE:
            query = query.outerjoin(RoleLink, col(RoleLink.user_id) == canonical_id(USER_ID))
        rows = await self.session.execute(query)
        groups = [
            SessionGroup(text_of(value), count, active, idle, expired, blocked, users, bad or None)
            for value, count, active, idle, expired, blocked, users, bad in rows
        ]
        if is_period and top is not None:
            groups.sort(key=lambda group: group.key or "", reverse=True)
        return groups


def _single_scan_query(policy: ExpiryPolicy, *, exact: bool) -> Select[Any]:
    """Return the query for SQLite: one scan in the order of the file.

    A scan by an index reads a page for each row and takes many times as long. The number of
    users comes from skipping through the index on ``user_id``.

    Args:
        policy: The reference time of the states.
        exact: Check the form of each id and timestamp, which takes half as long again. If False,
            the last column is the number of sessions whose form must be checked.
    """
    readable = has_readable_timestamps() if exact else true()
    owner = canonical_id(USER_ID) if exact else USER_ID
    active = select(col(User.id)).where(col(User.is_active), is_canonical_id(col(User.id)))
    lifetime = func.lifetime_between(CREATED, EXPIRES)
    user_id = _user_ids("other_step").c.user_id
    non_canonical = and_(user_id.is_not(None), not_(is_canonical_id(user_id)))
    form: ColumnElement[str] = literal_column("'????-??-?? ??:??:??.??????'")
    shaped = (timestamp.op("GLOB")(form) for timestamp in (CREATED, EXPIRES, LAST_ACCESSED))
    canonical = and_(*shaped, lifetime.is_not(None))
    columns: list[ColumnElement[Any]] = [
        func.count(),
        _count_if(readable),
        _count_if(and_(policy.live, readable)),
        _count_if(and_(policy.live, owner.in_(active), readable)),
        _count_if(and_(policy.expired, readable)),
        func.count(owner.distinct())
        if exact
        else select(func.count(_user_ids("step").c.user_id)).scalar_subquery(),
        func.count(lifetime).filter(readable),
        func.sum(lifetime).filter(readable),
        func.max(lifetime).filter(readable),
        _next_expiry(policy),
        *(_count_if(and_(young, readable)) for young in _younger_than_limits(policy)),
        literal(0)
        if exact
        else func.count()
        - _count_if(canonical)
        + select(_count_if(non_canonical)).scalar_subquery(),
    ]
    query: Select[Any] = select(*columns).select_from(AccessToken)
    return query


def _query_by_user(policy: ExpiryPolicy) -> Select[Any]:
    """Return the query for PostgreSQL: sums by user, then of these; it may run in parallel."""
    readable = has_readable_timestamps()
    lifetime = func.lifetime_between(CREATED, EXPIRES)
    each = (
        select(
            USER_ID.label("user_id"),
            readable.label("readable"),
            func.count().label("total"),
            _count_if(policy.expired).label("expired"),
            _count_if(policy.live).label("live"),
            func.count(lifetime).filter(readable).label("expiring"),
            func.sum(lifetime).filter(readable).label("lifetime"),
            func.max(lifetime).filter(readable).label("longest"),
            *(
                _count_if(young).label(name)
                for name, young in zip(AGE_BUCKETS, _younger_than_limits(policy), strict=True)
            ),
        )
        .group_by(USER_ID, readable)
        .subquery()
    )
    usable = func.coalesce(col(User.is_active), False)
    columns: list[ColumnElement[Any]] = [
        func.sum(each.c.total),
        func.sum(each.c.total).filter(each.c.readable),
        func.sum(each.c.live).filter(each.c.readable),
        func.sum(each.c.live).filter(each.c.readable, usable),
        func.sum(each.c.expired).filter(each.c.readable),
        func.count(each.c.user_id.distinct()),
        func.sum(each.c.expiring),
        func.sum(each.c.lifetime),
        func.max(each.c.longest),
        _next_expiry(policy),
        *(func.sum(each.c[name]).filter(each.c.readable) for name in AGE_BUCKETS),
        literal(0),
    ]
    query: Select[Any] = select(*columns)
    return query.select_from(each.outerjoin(User, col(User.id) == each.c.user_id))


def _count_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _younger_than_limits(policy: ExpiryPolicy) -> list[ColumnElement[bool]]:
    """Return the conditions for sessions younger than each limit."""
    return [policy.now - age < CREATED for age in AGE_BUCKETS.values()]


def _next_expiry(policy: ExpiryPolicy) -> ScalarSelect[Any]:
    """Return the first expiry after the reference time, by the index on ``expires_at``."""
    ahead = and_(policy.now < EXPIRES, is_readable_timestamp(EXPIRES))
    return select(EXPIRES).where(ahead).order_by(EXPIRES).limit(1).scalar_subquery()


def _user_ids(name: str) -> CTE:
    """Return the ids of the users with sessions, by a loose index scan."""
    step = select(func.min(USER_ID).label("user_id")).cte(name, recursive=True)
    following = select(func.min(USER_ID)).where(step.c.user_id < USER_ID).scalar_subquery()
    return step.union_all(select(following).where(step.c.user_id.is_not(None)))


def _seconds(lifetime: timedelta | float) -> float:
    """Convert a lifetime to seconds; SQLite returns it in days."""
    exact = lifetime if isinstance(lifetime, timedelta) else timedelta(days=lifetime)
    return exact.total_seconds()
