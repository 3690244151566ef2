"""Checks that the tables are those of the server, before a command reads or writes rows.

Another application's tables may have the same names. A query by an id would find nothing if ids
are stored in another form, so such tables are refused.
"""

from itertools import product
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    String,
    and_,
    func,
    literal,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.database.errors import SCHEMA_HINT
from clarinet_cli.exceptions import CONFIGURATION, FAILURE
from clarinet_cli.models import TABLE_NAMES, AccessToken, RoleLink, User, metadata
from clarinet_cli.models.functions import canonical_id, is_canonical_id
from clarinet_cli.models.mapped import TIMESTAMP, mapped_tables
from clarinet_cli.models.types import NonCanonicalId, parse_uuid

ROW_HINT = "correct that row; 'clarinet session revoke ID' revokes a single session of any user"
HEX_DIGITS = "32 hexadecimal digits"
IDS: tuple[Any, ...] = (col(User.id), col(RoleLink.user_id), col(AccessToken.user_id))
TEXTS = frozenset({"text", "character varying", "citext"})
OTHER_TYPES = {"id": "uuid", "user_id": "uuid"} | dict.fromkeys(
    ("created_at", "expires_at", "last_accessed"), TIMESTAMP
)
AFTER_DIGITS = "\x7f"  # sorts after all digits, and keeps a text from being a number
PREFIX_DIGITS = 3  # each combination of their cases is one range of the index
SQLITE_COLUMNS = (
    "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c"
    " WHERE m.name IN ('user', 'userrole', 'userroleslink', 'access_token')"
)
POSTGRESQL_COLUMNS = (
    "SELECT r.name, a.attname::text,"
    " format_type(COALESCE(NULLIF(t.typbasetype, 0), a.atttypid), NULL)"
    " FROM unnest(ARRAY['user', 'userrole', 'userroleslink', 'access_token']) r(name)"
    " JOIN pg_attribute a ON a.attrelid = to_regclass(quote_ident(r.name))"
    " JOIN pg_type t ON t.oid = a.atttypid WHERE a.attnum > 0 AND NOT a.attisdropped"
)
Columns = dict[tuple[str, str], str]


async def require_server_tables(session: AsyncSession) -> None:
    """Refuse tables whose columns are not those of the server.

    A missing table is reported by the query that needs it. A single row with an id in another
    form is accepted here; see ``require_consistent_id``.

    Args:
        session: The session of the command.

    Raises:
        ConfigurationError: A column has another type, or all ids have another form; the
            message names the column, the expected and the actual form.
        ClarinetError: A column is missing.
    """
    if (tables := mapped_tables(session.get_bind().dialect)) is not None:
        from clarinet_cli.database.mapped_check import require_mapped_tables

        await require_mapped_tables(session, tables)
        return
    if session.get_bind().dialect.name == "sqlite":
        columns = await _columns(session, SQLITE_COLUMNS)
        await _require_canonical_ids(session, columns)
    else:
        columns = await _columns(session, POSTGRESQL_COLUMNS)
        _require_types(columns)
    present = {table for table, _ in columns}
    for table in TABLE_NAMES:
        names = [column.name for column in metadata.tables[table].columns]
        missing = [name for name in names if (table, name) not in columns]
        if missing and table in present:
            many = "s" if len(missing) > 1 else ""
            raise FAILURE.with_context(
                f"table {table} has no column{many} {', '.join(missing)}", hint=SCHEMA_HINT
            )


async def require_consistent_id(session: AsyncSession, user: User) -> None:
    """Refuse an account whose id is stored in different forms in different rows.

    Args:
        session: The session of the command.
        user: The account.

    Raises:
        ConfigurationError: There is such a row; the message names its column and form.
    """
    if (tables := mapped_tables(session.get_bind().dialect)) is not None:
        from clarinet_cli.database.mapped_check import require_one_form

        await require_one_form(session, tables, user)
        return
    uuid = parse_uuid(user.id.stored) if isinstance(user.id, NonCanonicalId) else user.id
    if uuid is None or session.get_bind().dialect.name != "sqlite":
        return
    for column in IDS:
        same = canonical_id(column) == uuid
        near = _in_any_form(column, uuid) if column is IDS[-1] else same
        query = select(column).where(near, same, column != user.id).limit(1)
        for (other,) in await session.execute(query):
            raise _other_form(column, user.email, _form(user.id), other)


async def require_canonical_owners(session: AsyncSession) -> None:
    """Refuse to change many accounts if a session or role refers to a non-canonical user id.

    Args:
        session: The session of the command.

    Raises:
        ConfigurationError: There is such a row; the message names its column and form.
    """
    dialect = session.get_bind().dialect
    if dialect.name != "sqlite" or mapped_tables(dialect) is not None:
        return
    for column in IDS[1:]:
        step = select(func.min(column).label("id")).cte("step", recursive=True)
        following = select(func.min(column)).where(column > step.c.id)
        ids = step.union_all(select(following.scalar_subquery()).where(step.c.id.is_not(None)))
        non_canonical = (
            select(ids.c.id).where(ids.c.id.is_not(None), not_(is_canonical_id(ids.c.id))).limit(1)
        )
        for (other,) in await session.execute(non_canonical):
            raise _other_form(column, "an account", HEX_DIGITS, other)


async def _columns(session: AsyncSession, query: str) -> Columns:
    rows = await session.execute(text(query))
    return {(table, name): str(kind).lower() for table, name, kind in rows}


def _require_types(columns: Columns) -> None:
    """Refuse PostgreSQL columns of a type that the server does not use."""
    for table in TABLE_NAMES:
        for column in metadata.tables[table].columns:
            name = column.name
            expected = "boolean" if name.startswith("is_") else OTHER_TYPES.get(name, "text")
            found = columns.get((table, name), expected)
            if found != expected and not (expected in TEXTS and found in TEXTS):
                raise _mismatch(table, name, expected, found)


async def _require_canonical_ids(session: AsyncSession, columns: Columns) -> None:
    """Refuse SQLite tables in which no account has an id in the server's form."""
    present = [column for column in IDS if (column.table.name, column.name) in columns]
    for column in present:
        kind = columns[column.table.name, column.name]
        if "int" in kind or "(36)" in kind:
            raise _mismatch(column.table.name, column.name, HEX_DIGITS, kind)
    if IDS[0] not in present:
        return
    given = select(IDS[0]).where(IDS[0].is_not(None)).limit(1)
    canonical = select(IDS[0]).where(is_canonical_id(IDS[0])).limit(1)
    found = await session.scalar(given)
    if found is not None and await session.scalar(canonical) is None:
        raise _mismatch(User.__tablename__, "id", HEX_DIGITS, _shown(found))


def _in_any_form(column: ColumnElement[Any], uuid: UUID) -> ColumnElement[bool]:
    """Return an indexed condition that holds for all forms of an id, and for few others."""
    cases = product(*({digit, digit.upper()} for digit in uuid.hex[:PREFIX_DIGITS]))
    ranges = (
        and_(
            # A text, not a number, that sorts before all texts that begin with *start*.
            column > literal(f"{start[:-1]}{chr(ord(start[-1]) - 1)}{AFTER_DIGITS}", String()),
            column < literal(f"{start}{AFTER_DIGITS}", String()),
        )
        for start in (*map("".join, cases), "{", "u", "U")
    )
    return or_(column == literal(uuid.bytes, LargeBinary()), *ranges)


def _mismatch(table: str, column: str, expected: str, found: str) -> Exception:
    return CONFIGURATION.with_context(
        f"{table}.{column}: expected {expected}, found {found}",
        hint="if the tables are another application's, 'clarinet db inspect --write' maps them",
    )


def _other_form(column: Any, whose: Optional[str], expected: str, found: object) -> Exception:
    name = f"{column.table.name}.{column.name}"
    return CONFIGURATION.with_context(
        f"{name} of {whose or 'an account'}: expected {expected}, found {_shown(found)}",
        hint=ROW_HINT,
    )


def _shown(found: object) -> str:
    """Return an id for a message: its storage class, if not text, and its value."""
    stored = found.stored if isinstance(found, NonCanonicalId) else found
    kind = {str: "", bytes: "bytes ", UUID: ""}.get(type(stored), "number ")
    return f"{kind}{_form(found)[:40]!r}"


def _form(found: object) -> str:
    """Return an id as SQLite stores it."""
    return found.hex if isinstance(found, UUID) else str(found)
