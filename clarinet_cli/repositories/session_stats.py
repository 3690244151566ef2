"""Counts of log-in sessions."""

from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, select
from sqlmodel import col

from clarinet_cli.models import AccessToken, RoleLink, User
from clarinet_cli.repositories.base import BaseRepository
from clarinet_cli.repositories.session_state import (
    CREATED,
    EXPIRES,
    Moment,
    utc_day,
)
from clarinet_cli.repositories.sessions import USER_ID
from clarinet_cli.results import SessionGroup, SessionStats
from clarinet_cli.types import GroupBy

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
}


class SessionStatsRepository(BaseRepository[AccessToken]):
    """Rows of ``access_token``, counted."""

    model = AccessToken

    async def stats(self, moment: Moment) -> SessionStats:
        """Count all sessions in one statement, so at one moment."""
        on_sqlite = self.session.get_bind().dialect.name == "sqlite"
        query = _in_one_pass(moment) if on_sqlite else _by_user(moment)
        row = (await self.session.execute(query)).one()
        total, live, active, expired, users = (int(value or 0) for value in row[:5])
        return SessionStats(
            total=total,
            active=active,
            idle=total - live - expired,
            expired=expired,
            blocked=live - active,
            users=users,
            average_life_seconds=round(_seconds(row[5]) / total, 3) if total else None,
            longest_life_seconds=round(_seconds(row[6]), 3) if total else None,
            next_expiry=row[7],
            age=_buckets(total, [int(value or 0) for value in row[8:]]),
        )

    async def grouped(self, moment: Moment, by: GroupBy) -> list[SessionGroup]:
        """Count sessions by state for each value of something, the most frequent first.

        Args:
            moment: When to judge the state.
            by: The something; days come newest first.
        """
        key = _GROUP_KEYS[by]
        states = ("active", "idle", "expired", "blocked")
        total = func.count()
        query = (
            select(
                key,
                total,
                *(func.count().filter(moment.state == state) for state in states),
                func.count(USER_ID.distinct()),
            )
            .select_from(AccessToken)
            .outerjoin(User, col(User.id) == USER_ID)
            .group_by(key)
            .order_by(*([key.desc()] if by is GroupBy.DAY else [total.desc(), key]))
        )
        if by is GroupBy.ROLE:
            query = query.outerjoin(RoleLink, col(RoleLink.user_id) == USER_ID)
        return [SessionGroup(*row) for row in await self.session.execute(query)]


def _in_one_pass(moment: Moment) -> Select[Any]:
    """Return the query for SQLite: one pass in the order of the file.

    Every index leads to the rows in another order, each a page of its own: counting by one
    takes many times as long. The users are the steps of a walk through their index.
    """
    usable = USER_ID.in_(select(col(User.id)).where(col(User.is_active)))
    life = func.life_between(CREATED, EXPIRES)
    columns: list[ColumnElement[Any]] = [
        func.count(),
        _number(moment.live),
        _number(and_(moment.live, usable)),
        _number(moment.expired),
        _distinct_users(),
        func.sum(life),
        func.max(life),
        _next_expiry(moment),
        *_ages(moment),
    ]
    query: Select[Any] = select(*columns).select_from(AccessToken)
    return query


def _by_user(moment: Moment) -> Select[Any]:
    """Return the query for PostgreSQL: sums of the users' sums, which may run in parallel."""
    life = func.life_between(CREATED, EXPIRES)
    each = (
        select(
            USER_ID.label("user_id"),
            func.count().label("total"),
            _number(moment.expired).label("expired"),
            _number(moment.live).label("live"),
            func.sum(life).label("life"),
            func.max(life).label("longest"),
            *(age.label(name) for name, age in zip(AGE_BUCKETS, _ages(moment), strict=True)),
        )
        .group_by(USER_ID)
        .subquery()
    )
    usable = func.coalesce(col(User.is_active), False)
    columns: list[ColumnElement[Any]] = [
        func.sum(each.c.total),
        func.sum(each.c.live),
        func.sum(each.c.live).filter(usable),
        func.sum(each.c.expired),
        func.count(),
        func.sum(each.c.life),
        func.max(each.c.longest),
        _next_expiry(moment),
        *(func.sum(each.c[name]) for name in AGE_BUCKETS),
    ]
    query: Select[Any] = select(*columns)
    return query.select_from(each.outerjoin(User, col(User.id) == each.c.user_id))


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _ages(moment: Moment) -> list[ColumnElement[int]]:
    """Return the counts of sessions younger than each limit."""
    return [_number(moment.now - age < CREATED) for age in AGE_BUCKETS.values()]


def _next_expiry(moment: Moment) -> ScalarSelect[Any]:
    """Return the first expiry after the moment, which the index finds."""
    return select(func.min(EXPIRES)).where(moment.now < EXPIRES).scalar_subquery()


def _distinct_users() -> ScalarSelect[Any]:
    """Return the number of users with sessions: from each the index leads to the next."""
    step = select(func.min(USER_ID).label("user_id")).cte("step", recursive=True)
    following = select(func.min(USER_ID)).where(step.c.user_id < USER_ID).scalar_subquery()
    steps = step.union_all(select(following).where(step.c.user_id.is_not(None)))
    return select(func.count(steps.c.user_id)).scalar_subquery()


def _seconds(life: timedelta | float) -> float:
    """Return the seconds of a life, which SQLite counts in days."""
    exact = life if isinstance(life, timedelta) else timedelta(days=life)
    return exact.total_seconds()


def _buckets(total: int, at_most: list[int]) -> dict[str, int]:
    """Turn "younger than" counts into the counts between two limits."""
    edges = [0, *at_most, total]
    between = [high - low for low, high in pairwise(edges)]
    return dict(zip([*AGE_BUCKETS, "older"], between, strict=True))
