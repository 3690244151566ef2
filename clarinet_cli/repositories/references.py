"""Rows of other tables that refer to an account."""

from typing import Optional
from uuid import UUID

from sqlalchemy import Column, MetaData, Table, func, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.models import TABLE_NAMES, User
from clarinet_cli.models.types import StoredId

INFORMATION = "information_schema"  # views of the server's own


class ReferenceRepository:
    """Foreign keys that lead to ``user`` from tables that are not ours.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def to_user(self, user_id: UUID) -> dict[str, int]:
        """Return how many rows of which column refer to an account.

        Args:
            user_id: The account.

        Returns:
            Counts by ``table.column``; columns without such rows are left out.
        """
        connection = await self.session.connection()
        found = {}
        for schema, table, column in await connection.run_sync(_columns_to_user):
            place = Table(table, MetaData(), Column(column, StoredId), schema=schema)
            query = select(func.count()).select_from(place).where(place.c[column] == user_id)
            if count := int(await self.session.scalar(query) or 0):
                found[f"{place.fullname}.{column}"] = count
        return found


def _columns_to_user(connection: Connection) -> list[tuple[Optional[str], str, str]]:
    """Return each column with a foreign key to ``user.id``, the tables that are ours left out.

    Tables in other schemas are looked at too: their rows could be deleted along.
    """
    inspector = inspect(connection)
    own = inspector.default_schema_name
    others = [name for name in inspector.get_schema_names() if name not in (own, INFORMATION)]
    return [
        (schema, name, key["constrained_columns"][0])
        for schema in (None, *sorted(others))
        for (_, name), found in sorted(inspector.get_multi_foreign_keys(schema=schema).items())
        for key in found
        if not (schema is None and name in TABLE_NAMES)
        and key["referred_table"] == User.__tablename__
        and key["referred_schema"] in (None, own)
        and key["referred_columns"] in (["id"], [])
    ]
