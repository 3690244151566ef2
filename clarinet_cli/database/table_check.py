"""Whether the tables are those of the server, before a command reads or writes rows.

Tables of another application may have the same names. With ids in another form a query finds
nothing, and says so: what can't be served right is refused.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, literal_column, not_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import CONFIGURATION, FAILURE
from clarinet_cli.models import TABLE_NAMES, AccessToken, RoleLink, User, metadata
from clarinet_cli.models.functions import canonical_id, is_canonical_id
from clarinet_cli.models.types import NonCanonicalId, uuid_of

FOREIGN_HINT = "are these the tables of another application?"
SCHEMA_HINT = "'clarinet migrate status' lists what differs, and what to do about it"
ROW_HINT = "correct that row; 'clarinet session revoke ID' ends a single session whatever its user"
HEX_DIGITS = "32 hexadecimal digits"
IDS: tuple[Any, ...] = (col(User.id), col(RoleLink.user_id), col(AccessToken.user_id))
TEXTS = frozenset({"text", "character varying", "citext"})
INSTANT = "timestamp with time zone"
OTHERS = {"id": "uuid", "user_id": "uuid"} | dict.fromkeys(
    ("created_at", "expires_at", "last_accessed"), INSTANT
)
BEHIND_ALL_DIGITS = "\x7f"  # it keeps a text from being a number, too
SAME_START = 3  # digits; in each case of its letters, a range of the index
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
    """Refuse tables that are not as the server has them.

    A table that is missing is left to the query that needs it. A single row in another form
    is no reason to refuse: see ``require_consistent_id``.

    Args:
        session: What the command will run in.

    Raises:
        ConfigurationError: The ids, or what a column holds, are in another form; the message
            names the column, what is expected and what was found.
        ClarinetError: A column is missing.
    """
    if session.get_bind().dialect.name == "sqlite":
        columns = await _columns(session, SQLITE_COLUMNS)
        await _require_usual_ids(session, columns)
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
    """Refuse to go on with an account whose id stands in different forms in some rows.

    Args:
        session: What the command runs in.
        user: The account.

    Raises:
        ConfigurationError: Such a row; the message names its column and its form.
    """
    meant = uuid_of(user.id.stored) if isinstance(user.id, NonCanonicalId) else user.id
    if meant is None or session.get_bind().dialect.name != "sqlite":
        return
    for column in IDS:
        same = canonical_id(column) == meant
        near = _in_any_form(column, meant) if column is IDS[-1] else same
        query = select(column).where(near, same, column != user.id).limit(1)
        for (other,) in await session.execute(query):
            raise _other_form(column, user.email, _form(user.id), other)


async def require_canonical_owners(session: AsyncSession) -> None:
    """Refuse to change many accounts when a session or role has its user in another form.

    Raises:
        ConfigurationError: The first such row.
    """
    if session.get_bind().dialect.name != "sqlite":
        return
    for column in IDS[1:]:
        step = select(func.min(column).label("id")).cte("step", recursive=True)
        following = select(func.min(column)).where(column > step.c.id)
        ids = step.union_all(select(following.scalar_subquery()).where(step.c.id.is_not(None)))
        odd = (
            select(ids.c.id).where(ids.c.id.is_not(None), not_(is_canonical_id(ids.c.id))).limit(1)
        )
        for (other,) in await session.execute(odd):
            raise _other_form(column, "an account", HEX_DIGITS, other)


async def _columns(session: AsyncSession, query: str) -> Columns:
    rows = await session.execute(text(query))
    return {(table, name): str(kind).lower() for table, name, kind in rows}


def _require_types(columns: Columns) -> None:
    """Refuse columns of PostgreSQL whose type is none that the server would use."""
    for table in TABLE_NAMES:
        for column in metadata.tables[table].columns:
            name = column.name
            usual = "boolean" if name.startswith("is_") else OTHERS.get(name, "text")
            found = columns.get((table, name), usual)
            if found != usual and not (usual in TEXTS and found in TEXTS):
                raise _foreign(table, name, usual, found)


async def _require_usual_ids(session: AsyncSession, columns: Columns) -> None:
    """Refuse tables of SQLite whose accounts have ids, and not one in the server's form."""
    present = [column for column in IDS if (column.table.name, column.name) in columns]
    for column in present:
        kind = columns[column.table.name, column.name]
        if "int" in kind or "(36)" in kind:
            raise _foreign(column.table.name, column.name, HEX_DIGITS, kind)
    if IDS[0] not in present:
        return
    given = select(IDS[0]).where(IDS[0].is_not(None)).limit(1)
    usual = select(IDS[0]).where(is_canonical_id(IDS[0])).limit(1)
    found = await session.scalar(given)
    if found is not None and await session.scalar(usual) is None:
        raise _foreign(User.__tablename__, "id", HEX_DIGITS, _shown(found))


def _in_any_form(column: ColumnElement[Any], meant: UUID) -> ColumnElement[bool]:
    """Return a condition for the index that an id fulfils in all of its forms."""
    starts = [*_cases(meant.hex[:SAME_START]), "{", "u", "U"]
    ranges = (
        and_(column > literal_column(f"'{_before(start)}'"), column < _literal(start))
        for start in starts
    )
    return or_(column == literal_column(f"X'{meant.hex}'"), *ranges)


def _cases(digits: str) -> Iterator[str]:
    for letters in product(*({digit, digit.upper()} for digit in digits)):
        yield "".join(letters)


def _before(start: str) -> str:
    """Return a text before all that begin with *start*, and no number."""
    return f"{start[:-1]}{chr(ord(start[-1]) - 1)}{BEHIND_ALL_DIGITS}"


def _literal(start: str) -> ColumnElement[str]:
    behind: ColumnElement[str] = literal_column(f"'{start}{BEHIND_ALL_DIGITS}'")
    return behind


def _foreign(table: str, column: str, expected: str, found: str) -> Exception:
    return CONFIGURATION.with_context(
        f"{table}.{column}: expected {expected}, found {found}", hint=FOREIGN_HINT
    )


def _other_form(column: Any, whose: Optional[str], expected: str, found: object) -> Exception:
    place = f"{column.table.name}.{column.name}"
    return CONFIGURATION.with_context(
        f"{place} of {whose or 'an account'}: expected {expected}, found {_shown(found)}",
        hint=ROW_HINT,
    )


def _shown(found: object) -> str:
    """Return an id for a message: its kind and what it is."""
    stored = found.stored if isinstance(found, NonCanonicalId) else found
    kind = {str: "", bytes: "bytes ", UUID: ""}.get(type(stored), "number ")
    return f"{kind}{_form(found)[:40]!r}"


def _form(found: object) -> str:
    """Return an id as SQLite stores it."""
    return found.hex if isinstance(found, UUID) else str(found)
