"""The SQL conditions of a session filter, and the sessions that match it."""

from typing import Any, Optional
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import in_network, is_readable_timestamp
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.networks import network_forms
from clarinet_cli.repositories.base import folded_column
from clarinet_cli.repositories.expiry_policy import CREATED, LAST_ACCESSED, ExpiryPolicy
from clarinet_cli.repositories.listing_sqlite import ADDRESS, AGENT
from clarinet_cli.repositories.sessions import TOKEN, USER_ID, FoundSession, session_key
from clarinet_cli.spelling import fold_case
from clarinet_cli.types import SessionFilter

ITS_USER = col(User.id) == USER_ID


async def matching_sessions(
    session: AsyncSession,
    policy: ExpiryPolicy,
    where: SessionFilter,
    *criteria: ColumnElement[bool],
    user_id: Optional[UUID] = None,
    after: Any = None,
) -> tuple[list[FoundSession], Any]:
    """Return sessions that match a filter, ordered by their key.

    Args:
        session: The session for the query.
        policy: The timestamp of the states.
        where: The conditions, and the maximum number.
        *criteria: Further conditions.
        user_id: Only sessions of this user.
        after: The key of the last session of the previous page; None for the first page.

    Returns:
        The sessions, and the key of the last one; None if there is no next page.
    """
    conditions = await filter_conditions(session, policy, where, user_id)
    key = session_key(session)
    query = (
        select(TOKEN, CREATED, USER_ID, col(User.email), key)
        .outerjoin(User, ITS_USER)
        .where(*conditions, *criteria, TOKEN.is_not(None))
        .where(*([] if after is None else [key > after]))
        .order_by(key)
        .limit(where.limit)
    )
    rows = (await session.execute(query)).all()
    last = rows[-1][-1] if rows and len(rows) == where.limit else None
    return [FoundSession(*row[:-1]) for row in rows], last


async def count_matching(
    session: AsyncSession,
    policy: ExpiryPolicy,
    where: SessionFilter,
    *criteria: ColumnElement[bool],
    user_id: Optional[UUID] = None,
) -> tuple[int, int]:
    """Return the number of sessions that match a filter, and that of their users.

    The arguments are those of ``matching_sessions``.
    """
    conditions = await filter_conditions(session, policy, where, user_id)
    query = (
        select(func.count(), func.count(USER_ID.distinct()))
        .select_from(AccessToken)
        .outerjoin(User, ITS_USER)
        .where(*conditions, *criteria, TOKEN.is_not(None))
    )
    sessions, users = (await session.execute(query)).one()
    return sessions, users


async def filter_conditions(
    session: AsyncSession, policy: ExpiryPolicy, where: SessionFilter, user_id: Optional[UUID]
) -> list[ColumnElement[bool]]:
    """Return the SQL conditions of a filter; all of them must hold.

    Raises:
        RefusedError: An application stores no such column.
    """
    tables = mapped_tables(session.get_bind().dialect)
    wanted = {
        "ip_address": where.ips or None,
        "user_agent": where.agent,
        "last_accessed": where.idle_for,
    }
    for name, value in wanted.items():
        if value is not None and tables is not None and not tables.has(SESSIONS, name):
            raise REFUSED.with_context(
                f"the sessions have no column {name}",
                hint=f"set {name} in [mapping.token_columns] if the application has such a column",
            )
    found: list[ColumnElement[bool]] = []
    if user_id is not None:
        found.append(USER_ID == user_id)
    if where.agent is not None:
        agent = await folded_column(session, AGENT, where.agent)
        found.append(agent.contains(fold_case(where.agent), autoescape=True))
    if where.states:
        found.append(policy.state.in_(where.states))
    if where.ips:
        networks = [network for ip in where.ips for network in network_forms(ip)]
        found.append(or_(*(in_network(ADDRESS, network) for network in networks)))
    if where.older_than is not None:
        found += [policy.ago(where.older_than) > CREATED, is_readable_timestamp(CREATED)]
    if where.idle_for is not None:
        found += [policy.ago(where.idle_for) >= LAST_ACCESSED, is_readable_timestamp(LAST_ACCESSED)]
    return found
