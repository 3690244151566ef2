"""Queries on PostgreSQL's catalogue and statistics about the Clarinet tables."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.base import quoted_tables

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


class CatalogueRepository:
    """Queries about the Clarinet tables that read the catalogue alone.

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
