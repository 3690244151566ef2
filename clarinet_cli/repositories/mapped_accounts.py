"""Inserting accounts into the tables of an application, granting and revoking their roles.

A role is a row of a link table, or the value of a column.
"""

# ruff: noqa: S608 - all names in it are quoted

import json
import re
from collections.abc import Iterable
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import (
    bindparam,
    column,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    true,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import CONFLICT, REFUSED
from clarinet_cli.models import User, metadata
from clarinet_cli.models.mapped import MappedTables
from clarinet_cli.models.stored_tables import ROLE_LINKS, USERS
from clarinet_cli.models.types import StoredId, UTCDateTime, parse_uuid
from clarinet_cli.repositories.base import execute_dml, prevented_error
from clarinet_cli.repositories.catalogue import CatalogueTable, read_catalogue, table_named
from clarinet_cli.timefmt import machine_now

NOW = "{now}"
UUID_LENGTH = 36  # of the text, with dashes
HEX_LENGTH = 32  # without dashes
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
PLACEHOLDER = re.compile(r"\{(email|local_part)\}")
LITERAL: dict[str, Any] = {"compile_kwargs": {"literal_binds": True}}
HINT = "set values for further columns in [mapping.create_values]"
SQLITE_COLUMN = text("""SELECT "notnull" FROM pragma_table_xinfo(:place) WHERE name = :name""")
POSTGRESQL_COLUMN = text(
    "SELECT a.attnotnull, format_type(a.atttypid, NULL), CASE WHEN t.typtype = 'e' THEN ARRAY("
    "SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder"
    ") END FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = to_regclass(:place) AND a.attname = :name"
)


async def require_creatable(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse to create accounts while a column that requires a value has none.

    Args:
        session: For the catalogue.
        tables: The mapping.

    Raises:
        RefusedError: There are such columns; the message names each with its setting. Or the
            accounts extend the rows of another table.
    """
    schema, name = tables.stored_name(USERS)
    found = table_named(await read_catalogue(session), schema, name)
    if found is None:  # a view, of which the catalogue does not show what it requires
        return
    if extended := _extended(found):
        raise REFUSED.with_context(
            f"the rows of {found.fullname} extend those of {extended}: "
            "only the application can create accounts"
        )
    given = {name for key, name in tables.names[USERS].items() if key != "id"}
    given |= set(tables.mapping.create_values)
    if missing := _required(found, tables) - given:
        listed = ", ".join(
            f"{found.fullname}.{column} (create_values.{_toml_key(column)})"
            for column in sorted(missing)
        )
        raise REFUSED.with_context(f"no value for {listed}", hint=HINT)
    if unknown := sorted(set(tables.mapping.create_values) - found.columns.keys()):
        raise REFUSED.with_context(f"{found.fullname} has no column {', '.join(unknown)}")


async def extended_table(session: AsyncSession, tables: MappedTables) -> Optional[str]:
    """Return the table whose rows those of the accounts extend, if there is one.

    Args:
        session: For the catalogue.
        tables: The mapping.
    """
    found = table_named(await read_catalogue(session), *tables.stored_name(USERS))
    return None if found is None else _extended(found)


def _toml_key(name: str) -> str:
    """Return a name as a settings file has it before the equals sign."""
    return name if BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _extended(found: CatalogueTable) -> Optional[str]:
    extended = [key.table for key in found.keys if set(key.columns) == set(found.primary_key)]
    return next((".".join(filter(None, name)) for name in extended), None)


def _required(found: CatalogueTable, tables: MappedTables) -> set[str]:
    """Return the columns that require a value; not the id where one can be generated."""
    required = {name for name, described in found.columns.items() if described.required}
    key = found.columns.get(tables.mapping.user_columns.id)
    if key is None:
        return required
    too_short = tables.id_form == "text" and key.length is not None and key.length < UUID_LENGTH
    needs_value = not key.has_default and (too_short or tables.id_form == "integer")
    return required | {key.name} if needs_value else required - {key.name}


async def _generates_id(session: AsyncSession, tables: MappedTables) -> bool:
    """Return whether the database generates the id of a new account."""
    if tables.id_form != "text":
        return tables.id_form == "integer"
    schema, name = tables.stored_name(USERS)
    found = table_named(await read_catalogue(session), schema, name)
    key = found.columns.get(tables.mapping.user_columns.id) if found else None
    return key is not None and key.has_default


async def insert_account(session: AsyncSession, tables: MappedTables, user: User) -> None:
    """Insert an account with its further columns, and give the object its id.

    Args:
        session: For the statement.
        tables: The mapping.
        user: The account.

    Raises:
        IntegrityError: A constraint forbids it.
        PreventedError: A trigger or rule prevented it.
    """
    names, columns = tables.names[USERS], metadata.tables[USERS].columns
    given = tables.mapping.create_values
    generated = names["id"] in given or await _generates_id(session, tables)
    written = [key for key in names if not (key == "id" and generated)]
    values: dict[str, Any] = {names[key]: getattr(user, key) for key in written}
    if "id" in written and tables.id_form == "text":
        # As the application writes UUIDs, which are text of any form here.
        stored: Any = await session.scalar(select(col(User.id)).limit(1))
        if len(str(stored)) == HEX_LENGTH and parse_uuid(stored) is not None:
            values[names["id"]] = user.id.hex
    typed = [column(names[key], columns[key].type) for key in names]
    for name, template in given.items():
        if name not in names.values():
            typed.append(column(name))
        if template == NOW:
            values[name] = _present(tables, name)
        else:
            values[name] = _value(template, user.email, session.get_bind().dialect)
    schema, name = tables.stored_name(USERS)
    target = table(name, *typed, schema=schema)
    query = insert(target).values(values).returning(target.c[names["id"]])
    found = (await session.execute(query)).scalar_one_or_none()
    if found is None:
        raise prevented_error(session.get_bind().dialect, USERS)
    user.id = found


async def mark_deleted(session: AsyncSession, tables: MappedTables, user_id: UUID) -> None:
    """Set the soft-delete column of an account to the present, or to true if it is a flag.

    Args:
        session: For the statement.
        tables: The mapping, which has such a column.
        user_id: The id of the account.

    Raises:
        PreventedError: A trigger or rule prevented it.
    """
    schema, name = tables.stored_name(USERS)
    key, deleted = tables.mapping.user_columns.id, tables.mapping.soft_delete
    mark = true() if tables.mapping.soft_delete_flag else _present(tables, deleted)
    target = table(name, column(key, StoredId()), column(deleted), schema=schema)
    query = update(target).where(target.c[key] == user_id).values({deleted: mark})
    if await execute_dml(session, query) != 1:
        raise prevented_error(session.get_bind().dialect, USERS)


def _present(tables: MappedTables, name: str) -> Any:
    """Return the present for a column of accounts, in UTC if its type has no time zone."""
    if tables.on_sqlite:
        return bindparam(None, machine_now(), UTCDateTime())
    return func.timezone("UTC", func.now()) if name in tables.naive else func.now()


def _value(template: Any, email: str, dialect: Dialect) -> Any:
    """Return the value of a further column.

    PostgreSQL gets constants as literals, which take the type of the column: a date or an array
    too, for which a text parameter is refused.
    """
    if isinstance(template, str) and PLACEHOLDER.search(template):
        parts = {"email": email, "local_part": email.rpartition("@")[0]}
        return PLACEHOLDER.sub(lambda match: parts[match[1]], template)
    if dialect.name == "sqlite":
        return template
    # The name of a parameter would be that of the column, which may not be one.
    return literal_column(str(literal(str(template)).compile(dialect=dialect, **LITERAL)))


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
