"""Queries on roles and on who has them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlmodel import col

from clarinet_cli.models import Role, RoleLink
from clarinet_cli.repositories.base import BaseRepository


class RoleRepository(BaseRepository[Role]):
    """Rows of ``userrole`` and of ``userroleslink``."""

    model = Role

    async def names(self) -> set[str]:
        """Return the names of all roles."""
        return set(await self.session.scalars(select(col(Role.name))))

    async def of_user(self, user_id: UUID) -> set[str]:
        """Return the names of a user's roles."""
        query = select(col(RoleLink.role_name)).where(col(RoleLink.user_id) == user_id)
        return set(await self.session.scalars(query))

    async def add_missing(self, names: Iterable[str]) -> None:
        """Create the roles that do not exist; harmless when another process does the same."""
        await self._insert_missing(Role, [{"name": name} for name in names])

    async def grant(self, user_id: UUID, names: Iterable[str]) -> None:
        """Give a user roles; those that it has already are left as they are."""
        rows = [{"user_id": user_id, "role_name": name} for name in names]
        await self._insert_missing(RoleLink, rows)

    async def _insert_missing(self, model: type[Any], rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        # Each dialect is imported where it is used: PostgreSQL's brings its driver along.
        if self.session.get_bind().dialect.name == "sqlite":
            from sqlalchemy.dialects.sqlite import insert as sqlite_insert

            await self.session.execute(sqlite_insert(model).values(rows).on_conflict_do_nothing())
        else:
            from sqlalchemy.dialects.postgresql import insert

            await self.session.execute(insert(model).values(rows).on_conflict_do_nothing())
