"""Granting and revoking roles in the tables of an application.

A role is a row of a link table, or the value of a column.
"""

# ruff: noqa: S608 - all names in it are quoted

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.models.mapped import MappedTables
from clarinet_cli.models.stored_tables import ROLE_LINKS, USERS
from clarinet_cli.models.types import StoredId
from clarinet_cli.repositories.base import execute_dml, prevented_error

SQLITE_COLUMN = text("""SELECT "notnull" FROM pragma_table_xinfo(:place) WHERE name = :name""")
POSTGRESQL_COLUMN = text(
    "SELECT a.attnotnull, format_type(a.atttypid, NULL), CASE WHEN t.typtype = 'e' THEN ARRAY("
    "SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder"
    ") END FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = to_regclass(:place) AND a.attname = :name"
)


class MappedRoles:
    """The roles of an application's accounts.

    Args:
        session: For the statements.
        tables: The mapping, which has roles.
    """

    def __init__(self, session: AsyncSession, tables: MappedTables) -> None:
        self._session = session
        self._tables = tables

    async def grant(self, user_id: UUID, names: Iterable[str]) -> None:
        """Grant roles to an account; one in a column replaces the role before it.

        Raises:
            ConflictError: The type of the column has no such value.
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented it.
        """
        link = self._tables.mapping.role_link
        for name in names:
            if link is None:
                mapping = self._tables.mapping
                value = await self._value(mapping.users, mapping.role_column, name)
                await self._update(value, user=user_id, name=name)
            else:
                links, owner, role = self._link_columns(link)
                if link.role_table:
                    key, named = self._role_by_name(link)
                    statement = f"INSERT INTO {links} ({owner}, {role}) SELECT :user, {key} {named}"
                else:
                    value = await self._value(link.table, link.role, name)
                    statement = f"INSERT INTO {links} ({owner}, {role}) VALUES (:user, {value})"
                await self._execute(statement, ROLE_LINKS, user=user_id, name=name)

    async def revoke(self, user_id: UUID, names: Iterable[str]) -> None:
        """Revoke roles of an account, as far as it has them.

        Raises:
            ConflictError: The column of the role cannot be empty.
            IntegrityError: A constraint forbids it.
            PreventedError: A trigger or rule prevented it.
        """
        link = self._tables.mapping.role_link
        for name in names:
            if link is None:
                mapping = self._tables.mapping
                required, *_ = await self._column(mapping.users, mapping.role_column)
                if required:
                    role_column = f"{mapping.users}.{mapping.role_column}"
                    raise CONFLICT.with_context(
                        f"{role_column} cannot be NULL: an account has a role",
                        hint="'clarinet admin grant-role USER ROLE' replaces the role",
                    )
                await self._update("NULL", user=user_id)
            else:
                links, owner, role = self._link_columns(link)
                same = f"CAST({role} AS VARCHAR) = :name"
                if link.role_table:
                    key, named = self._role_by_name(link)
                    same = f"{role} IN (SELECT {key} {named})"
                statement = f"DELETE FROM {links} WHERE {owner} = :user AND {same}"
                await self._execute(statement, ROLE_LINKS, user=user_id, name=name)

    def _link_columns(self, link: Any) -> tuple[str, str, str]:
        """Return the table of links, and its columns of the account and of the role."""
        quote = self._tables.quote
        return self._tables.qualified_name(link.table), quote(link.user_id), quote(link.role)

    def _role_by_name(self, link: Any) -> tuple[str, str]:
        """Return the key of a role in its own table, and the rest of the query by its name."""
        quote = self._tables.quote
        roles = self._tables.qualified_name(link.role_table)
        named = f"CAST(r.{quote(link.role_name)} AS VARCHAR) = :name"
        return f"r.{quote(link.role_key)}", f"FROM {roles} AS r WHERE {named}"

    async def _update(self, value: str, **parameters: Any) -> None:
        mapping, quote = self._tables.mapping, self._tables.quote
        users, role = self._tables.qualified_name(mapping.users), quote(mapping.role_column)
        key = quote(mapping.user_columns.id)
        statement = f"UPDATE {users} SET {role} = {value} WHERE {key} = :user"
        await self._execute(statement, USERS, **parameters)

    async def _value(self, table: str, column: str, name: str) -> str:
        """Return the expression of a role's name in the type of its column."""
        if self._tables.on_sqlite:
            return ":name"
        _, kind, labels = await self._column(table, column)
        if labels is not None and name not in labels:
            raise CONFLICT.with_context(
                f"the type {kind} of {table}.{column} has no value {name!r}",
                hint=f"values: {', '.join(labels)}",
            )
        return f"CAST(CAST(:name AS VARCHAR) AS {kind})"

    async def _column(self, table: str, column: str) -> tuple[Any, ...]:
        """Return whether a column requires a value; on PostgreSQL also its type and labels."""
        on_sqlite = self._tables.on_sqlite
        place = table if on_sqlite else self._tables.qualified_name(table)
        query = SQLITE_COLUMN if on_sqlite else POSTGRESQL_COLUMN
        rows = await self._session.execute(query, {"place": place, "name": column})
        return tuple(rows.one())

    async def _execute(self, statement: str, table: str, **parameters: Any) -> None:
        typed = text(statement).bindparams(bindparam("user", type_=StoredId()))
        if await execute_dml(self._session, typed.bindparams(**parameters)) < 1:
            raise prevented_error(self._session.get_bind().dialect, table)
