"""Queries on roles and their members."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import PreventedError
from clarinet_cli.models import Role, RoleLink, User
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.repositories.base import BaseRepository, batches, execute_dml
from clarinet_cli.results import RoleRow


class RoleRepository(BaseRepository[Role]):
    """Rows of ``userrole`` and of ``userroleslink``."""

    model = Role

    def __init__(self, session: AsyncSession) -> None:
        super().__init__(session)
        self._mapped = mapped_tables(session.get_bind().dialect)

    @property
    def creates_admin(self) -> bool:
        """Whether the role ``admin`` is created when it is granted."""
        return self._mapped is None

    @property
    def is_single(self) -> bool:
        """Whether an account has at most one role, in a column."""
        return self._mapped is not None and self._mapped.mapping.roles == "column"

    @property
    def are_rows(self) -> bool:
        """Whether each role is a row of a table of its own, and no other can be granted."""
        link = self._mapped and self._mapped.mapping.role_link
        return self._mapped is None or bool(link and link.role_table)

    async def names(self) -> set[str]:
        """Return the names of all roles."""
        query = select(col(Role.name)).where(col(Role.name).is_not(None))
        return set(await self.session.scalars(query))

    async def for_user(self, user_id: UUID) -> set[str]:
        """Return the names of a user's roles."""
        named = col(RoleLink.role_name).is_not(None)
        query = select(col(RoleLink.role_name)).where(col(RoleLink.user_id) == user_id, named)
        return set(await self.session.scalars(query))

    async def for_users(self, user_ids: Sequence[UUID]) -> dict[UUID, set[str]]:
        """Return the roles of many users; an empty set for those without roles."""
        found: dict[UUID, set[str]] = {user_id: set() for user_id in user_ids}
        for some in batches(user_ids):
            query = select(col(RoleLink.user_id), col(RoleLink.role_name))
            named = col(RoleLink.role_name).is_not(None)
            rows = await self.session.execute(query.where(col(RoleLink.user_id).in_(some), named))
            for user_id, name in rows:
                found[user_id].add(name)
        return found

    async def add_missing(self, names: Iterable[str]) -> None:
        """Create the roles that do not exist; safe if another process does the same."""
        await self._insert_missing(Role, [{"name": name} for name in set(names)])

    async def grant(self, user_id: UUID, names: Iterable[str]) -> None:
        """Grant roles to a user that does not have them yet.

        Raises:
            ConflictError: The type of an application's column has no such value.
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented it.
        """
        if self._mapped is not None:
            from clarinet_cli.repositories.mapped_roles import MappedRoles

            granted = list(names)
            await MappedRoles(self.session, self._mapped).grant(user_id, granted)
            expected = set(granted[-1:] if self.is_single else granted)
            if not expected <= await self.for_user(user_id):
                raise self._prevented_role_error()
            return
        rows = [{"user_id": user_id, "role_name": name} for name in set(names)]
        await self._insert_missing(RoleLink, rows)

    def _prevented_role_error(self) -> PreventedError:
        """Return the error for a change of an application's roles that a trigger reverted."""
        return self.prevented_error(User if self.is_single else RoleLink)

    async def grant_many(self, links: Sequence[tuple[UUID, str]]) -> None:
        """Grant roles to many users, as pairs of a user id and a role name; see ``grant``."""
        if self._mapped is not None:
            for user_id, name in links:
                await self.grant(user_id, [name])
            return
        for some in batches(links):
            rows = [{"user_id": user_id, "role_name": name} for user_id, name in some]
            await self._insert_missing(RoleLink, rows)

    async def revoke_many(self, links: Iterable[tuple[UUID, str]]) -> None:
        """Revoke roles from many users, as pairs of a user id and a role name; see ``revoke``."""
        if self._mapped is not None:
            for user_id, name in links:
                await self.revoke(user_id, [name])
            return
        members: dict[str, list[UUID]] = {}
        for user_id, name in links:
            members.setdefault(name, []).append(user_id)
        for name, user_ids in members.items():
            for some in batches(user_ids):
                await self.remove_where(
                    col(RoleLink.role_name) == name,
                    col(RoleLink.user_id).in_(some),
                    model=RoleLink,
                )

    async def revoke(self, user_id: UUID, names: Iterable[str]) -> None:
        """Revoke roles from a user, as far as it has them.

        Raises:
            ConflictError: An application's column of the role cannot be empty.
            PreventedError: A trigger or rule prevented it.
        """
        if self._mapped is not None:
            from clarinet_cli.repositories.mapped_roles import MappedRoles

            revoked = set(names)
            await MappedRoles(self.session, self._mapped).revoke(user_id, revoked)
            if revoked & await self.for_user(user_id):
                raise self._prevented_role_error()
            return
        await self.remove_where(
            col(RoleLink.user_id) == user_id,
            col(RoleLink.role_name).in_(list(names)),
            model=RoleLink,
        )

    async def revoke_all(self, user_id: UUID) -> None:
        """Revoke all roles from a user, where they are rows of their own."""
        if self._mapped is not None and self._mapped.mapping.roles != "link":
            return
        await self.remove_where(col(RoleLink.user_id) == user_id, model=RoleLink)

    async def with_members(self) -> list[RoleRow]:
        """Return all roles ordered by name, with the numbers of their members."""
        members = func.count(col(RoleLink.user_id))
        active = func.count(col(User.id)).filter(col(User.is_active))
        query = (
            select(col(Role.name), members, active)
            .outerjoin(RoleLink, col(RoleLink.role_name) == col(Role.name))
            .outerjoin(User, col(User.id) == col(RoleLink.user_id))
            .group_by(col(Role.name))
            .order_by(col(Role.name))
        )
        rows = await self.session.execute(query)
        return [RoleRow(name or "", *counts) for name, *counts in map(tuple[Any, ...], rows)]

    async def _insert_missing(self, model: type[Any], rows: list[dict[str, Any]]) -> None:
        """Insert the rows that do not exist.

        Raises:
            PreventedError: A trigger or rule prevented an insertion.
        """
        if not rows:
            return
        # Imported here: PostgreSQL's dialect imports its driver.
        insert: Any
        if self.session.get_bind().dialect.name == "sqlite":
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert

        query = insert(model).values(rows).on_conflict_do_nothing()
        await execute_dml(self.session, query)
        columns = model.__table__.columns
        same = [and_(*(columns[name] == value for name, value in row.items())) for row in rows]
        found = select(*(columns[name] for name in rows[0])).where(or_(*same)).distinct()
        if len((await self.session.execute(found)).all()) != len(rows):
            raise self.prevented_error(model)
