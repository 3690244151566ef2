"""Queries for the backup and the restore of a PostgreSQL database."""

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

OBJECTS = text(
    "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND nspname <> 'information_schema' "
    "AND nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT 1 FROM pg_depend "
    "WHERE objid = pg_class.oid AND classid = 'pg_class'::regclass AND deptype = 'e')"
)
ROLES = text("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')")
WAITING = text(
    "SELECT extract(epoch FROM clock_timestamp() - state_change) FROM pg_stat_activity "
    "WHERE application_name = :name AND wait_event_type = 'Lock' AND state = 'active'"
).bindparams(bindparam("name"))


async def export_snapshot(session: AsyncSession) -> str:
    """Return the name of this transaction's snapshot, for another connection to see the same.

    Args:
        session: In a transaction of isolation level ``REPEATABLE READ``.
    """
    return str((await session.scalars(text("SELECT pg_export_snapshot()"))).one())


async def count_objects(session: AsyncSession) -> int:
    """Return the number of tables, views and sequences, without those of extensions."""
    return int((await session.scalars(OBJECTS)).one())


async def parent_tables(session: AsyncSession) -> set[str]:
    """Return the names of tables that others inherit from, such as partitioned ones."""
    query = text("SELECT relname FROM pg_class WHERE oid IN (SELECT inhparent FROM pg_inherits)")
    return {str(name) for name in await session.scalars(query)}


async def usable_roles(session: AsyncSession) -> set[str]:
    """Return the roles that this user can make the owner of objects."""
    return {str(name) for name in await session.scalars(ROLES)}


async def lock_wait_seconds(session: AsyncSession, application: str) -> float:
    """Return how long a statement of an application has been waiting for a lock.

    Args:
        session: The session for the query.
        application: The ``application_name`` of its connection.
    """
    found = (await session.scalars(WAITING, {"name": application})).first()
    return 0.0 if found is None else float(found)
