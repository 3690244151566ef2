"""What PostgreSQL's catalogue and statistics say about our tables."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.models import TABLE_NAMES

INVALID_INDEXES = text(
    "SELECT i.indexrelid::regclass::text FROM pg_index i WHERE i.indrelid = ANY (CAST(:ours AS "
    "oid[])) AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
)
UNCHECKED_KEYS = text(
    "SELECT c.conrelid::regclass::text, quote_ident(c.conname) FROM pg_constraint c "
    "WHERE c.contype = 'f' AND NOT c.convalidated AND (c.conrelid = ANY (CAST(:ours AS oid[])) "
    "OR c.confrelid = ANY (CAST(:ours AS oid[]))) ORDER BY 1, 2"
)
OURS = text(
    "SELECT to_regclass(quote_ident(name))::oid::bigint FROM unnest(CAST(:names AS text[])) t(name)"
)
CHECKSUM_FAILURES = text(
    "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
)


class CatalogueRepository:
    """Questions about our tables, each answered by the catalogue alone.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def invalid_indexes(self) -> Sequence[str]:
        """Return the indexes of our tables that queries can't use, as a failed build leaves one."""
        return (await self.session.scalars(INVALID_INDEXES, await self._ours())).all()

    async def unchecked_keys(self) -> list[tuple[str, str]]:
        """Return table and name of foreign keys that older rows may break (``NOT VALID``)."""
        rows = await self.session.execute(UNCHECKED_KEYS, await self._ours())
        return [(table, name) for table, name in rows]

    async def checksum_failures(self) -> int:
        """Return how many damaged pages the server has met; 0 where it computes no checksums."""
        return int(await self.session.scalar(CHECKSUM_FAILURES) or 0)

    async def _ours(self) -> dict[str, list[int]]:
        """Return the parameter of those queries: the ids of our tables that exist."""
        oids = await self.session.scalars(OURS, {"names": list(TABLE_NAMES)})
        return {"ours": [oid for oid in oids if oid is not None]}
