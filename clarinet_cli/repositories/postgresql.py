"""Queries on the catalogue and the statistics of PostgreSQL."""

from collections.abc import Sequence

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.base import quoted_tables

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
INVALID_INDEXES = text(
    "SELECT i.indexrelid::regclass::text FROM pg_index i WHERE i.indrelid = ANY (CAST(:oids AS "
    "oid[])) AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
)
UNCHECKED_KEYS = text(
    "SELECT c.conrelid::regclass::text, quote_ident(c.conname) FROM pg_constraint c "
    "WHERE c.contype = 'f' AND NOT c.convalidated AND (c.conrelid = ANY (CAST(:oids AS oid[])) "
    "OR c.confrelid = ANY (CAST(:oids AS oid[]))) ORDER BY 1, 2"
)
TABLE_OIDS = text(
    "SELECT to_regclass(name)::oid::bigint FROM unnest(CAST(:names AS text[])) t(name)"
)
CHECKSUM_FAILURES = text(
    "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
)


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


class CatalogueRepository:
    """Queries about the Clarinet tables that read only the catalogue.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def invalid_indexes(self) -> Sequence[str]:
        """Return the invalid indexes of the Clarinet tables, such as those of a failed build."""
        return (await self.session.scalars(INVALID_INDEXES, await self._table_oids())).all()

    async def unchecked_keys(self) -> list[tuple[str, str]]:
        """Return table and name of foreign keys that older rows may break (``NOT VALID``)."""
        rows = await self.session.execute(UNCHECKED_KEYS, await self._table_oids())
        return [(table, name) for table, name in rows]

    async def checksum_failures(self) -> int:
        """Return the number of damaged pages that the server found; 0 without checksums."""
        return int(await self.session.scalar(CHECKSUM_FAILURES) or 0)

    async def _table_oids(self) -> dict[str, list[int]]:
        """Return the parameter of those queries: the ids of the tables that exist."""
        places = quoted_tables(self.session.get_bind().dialect)
        oids = await self.session.scalars(TABLE_OIDS, {"names": list(places.values())})
        return {"oids": [oid for oid in oids if oid is not None]}
