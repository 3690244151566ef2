"""Inserting accounts into the tables of an application, and marking them as deleted."""

import json
import re
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
    true,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import User, metadata
from clarinet_cli.models.mapped import MappedTables
from clarinet_cli.models.stored_tables import USERS
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
