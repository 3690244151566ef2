"""Inserting accounts into the tables of an application."""

import re
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, column, func, insert, table, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import NullType

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import User, metadata
from clarinet_cli.models.mapped import USERS, MappedTables
from clarinet_cli.models.types import StoredId, UTCDateTime
from clarinet_cli.repositories.base import execute_dml, prevented_error
from clarinet_cli.repositories.catalogue import CatalogueTable, read_catalogue, table_named
from clarinet_cli.timefmt import machine_now

NOW = "{now}"
PLACEHOLDER = re.compile(r"\{(email|local_part)\}")
HINT = "[mapping.create_values] gives further columns a value"


async def require_creatable(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse to create accounts while a column that requires a value has none.

    Args:
        session: For the catalogue.
        tables: The mapping.

    Raises:
        RefusedError: There are such columns; the message names each with its setting. Or the
            accounts extend the rows of another table.
    """
    schema, name = tables.physical(USERS)
    found = table_named(await read_catalogue(session), schema, name)
    if found is None:  # a view, of which the catalogue does not show what it requires
        return
    if any(set(key.columns) == set(found.primary_key) for key in found.keys):
        raise REFUSED.with_context(
            f"the rows of {found.fullname} extend those of another table: "
            "only the application can create accounts"
        )
    given = {*tables.names[USERS].values(), *tables.mapping.create_values}
    if missing := _required(found, tables) - given:
        listed = ", ".join(
            f"{found.fullname}.{column} (create_values.{column})" for column in sorted(missing)
        )
        raise REFUSED.with_context(f"no value for {listed}", hint=HINT)
    if unknown := sorted(set(tables.mapping.create_values) - found.columns.keys()):
        raise REFUSED.with_context(f"{found.fullname} has no column {', '.join(unknown)}")


def _required(found: CatalogueTable, tables: MappedTables) -> set[str]:
    required = {name for name, described in found.columns.items() if described.required}
    return required - {tables.mapping.user_columns.id}


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
    numbered = tables.id_form == "integer"
    written = [key for key in names if not (key == "id" and numbered)]
    values: dict[str, Any] = {names[key]: getattr(user, key) for key in written}
    typed = [column(names[key], columns[key].type) for key in names]
    for name, template in tables.mapping.create_values.items():
        is_now = template == NOW and tables.on_sqlite
        typed.append(column(name, UTCDateTime() if is_now else NullType()))
        values[name] = _value(template, user.email, on_sqlite=tables.on_sqlite)
    schema, place = tables.physical(USERS)
    target = table(place, *typed, schema=schema)
    query = insert(target).values(values).returning(target.c[names["id"]])
    found = (await session.execute(query)).scalar_one_or_none()
    if found is None:
        raise prevented_error(place)
    user.id = found


async def mark_deleted(session: AsyncSession, tables: MappedTables, user_id: UUID) -> None:
    """Set the soft-delete column of an account to the present.

    Args:
        session: For the statement.
        tables: The mapping, which has such a column.
        user_id: The id of the account.

    Raises:
        PreventedError: A trigger or rule prevented it.
    """
    schema, place = tables.physical(USERS)
    key, deleted = tables.mapping.user_columns.id, tables.mapping.soft_delete
    now: Any = bindparam("now", machine_now(), UTCDateTime()) if tables.on_sqlite else func.now()
    target = table(place, column(key, StoredId()), column(deleted), schema=schema)
    query = update(target).where(target.c[key] == user_id).values({deleted: now})
    if await execute_dml(session, query) != 1:
        raise prevented_error(place)


def _value(template: Any, email: str, *, on_sqlite: bool) -> Any:
    """Return the value of a further column; other types than text are constants."""
    if template == NOW:
        return machine_now() if on_sqlite else func.now()
    if not isinstance(template, str):
        return template
    parts = {"email": email, "local_part": email.rpartition("@")[0]}
    return PLACEHOLDER.sub(lambda match: parts[match[1]], template)
