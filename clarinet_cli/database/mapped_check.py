"""Checks that a mapping fits the catalogue, before a command reads or writes rows."""

from time import monotonic
from typing import Any, Optional
from uuid import UUID

from sqlalchemy import and_, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.exceptions import CONFIGURATION, ConfigurationError
from clarinet_cli.models import AccessToken, User
from clarinet_cli.models.functions import is_canonical_id
from clarinet_cli.models.mapped import IDS, NAIVE_TIMESTAMP, TIMESTAMP_COLUMNS, MappedTables
from clarinet_cli.models.stored_tables import SESSIONS, USERS
from clarinet_cli.models.types import parse_uuid

CHECK_SECONDS = 60.0
TIMESTAMP_FORM = "YYYY-MM-DD HH:MM:SS.ffffff in UTC"
TIMESTAMP_HINT = "sessions are compared in the form in which SQLAlchemy's DateTime stores them"
NAIVE_HINT = 'set naive_timestamps = "utc" in [mapping] if the application stores them in UTC'
SQLITE_READABLE = (
    "{0} GLOB '[0-9]???-??-?? ??:??:??*' AND (substr({0}, 20) NOT GLOB '*[^.0-9]*'"
    " OR {0} GLOB '*+00:00' OR {0} GLOB '*Z')"
)
VIEW_HINT = "name the table that the view reads instead"
INSPECT_HINT = "'clarinet db inspect' proposes a mapping"
TEXT_HINT = "'[mapping] id_form = \"text\"' accepts ids of any form"
KEYS = {USERS: "users", SESSIONS: "tokens"}
COLUMN_KEYS = {USERS: "user_columns", SESSIONS: "token_columns"}
POSTGRESQL_IDS = {
    "uuid": ("uuid",),
    "integer": ("smallint", "integer", "bigint"),
}
FLAGS = ("bool", "tinyint")
POSTGRESQL_TEXTS = ("text", "character varying", "character", "citext")
SQLITE_KIND = text(
    "SELECT CASE WHEN type = 'table' AND upper(sql) LIKE '%WITHOUT ROWID%' THEN 'WITHOUT ROWID'"
    " WHEN type = 'view' THEN type END FROM sqlite_master WHERE lower(name) = lower(:name)"
)
POSTGRESQL_KIND = text(
    "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'"
    " WHEN 'f' THEN 'foreign table' END FROM pg_class WHERE oid = to_regclass(:name)"
)
SQLITE_COLUMNS = text('SELECT name, lower(type), "notnull" FROM pragma_table_xinfo(:name)')
SQLITE_KEYS = text('SELECT "from", "table" FROM pragma_foreign_key_list(:name)')
POSTGRESQL_COLUMNS = text(
    "SELECT a.attname::text, format_type(COALESCE(NULLIF(t.typbasetype, 0), a.atttypid), NULL),"
    " a.attnotnull"
    " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped"
)
POSTGRESQL_KEYS = text(
    "SELECT a.attname::text, c.confrelid::regclass::text FROM pg_constraint c"
    " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
    " WHERE c.conrelid = to_regclass(:name) AND c.contype = 'f'"
    " AND c.confrelid <> COALESCE(to_regclass(:users), 0)"
    " AND c.conparentid = 0"  # others are those to the partitions
)


async def require_mapped_tables(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse a mapping that does not match the tables.

    Once it does, the transactions of the engine rely on that for ``CHECK_SECONDS``.

    Args:
        session: The session of the command.
        tables: The mapping.

    Raises:
        ConfigurationError: The mapping is incomplete, or a table, a column, its type, the form
            of an id or a foreign key differs; the message has key, expected and found.
    """
    if tables.checked_at is not None and monotonic() - tables.checked_at < CHECK_SECONDS:
        return
    _require_complete(tables)
    checked = [USERS, *([SESSIONS] if tables.capabilities.sessions else [])]
    for table in checked:
        name = tables.stored_name(table)[1]
        found, required = await _columns(session, tables, KEYS[table], name)
        await _require_ordinary(session, tables, table)
        _require_columns(tables, table, found)
        if table == SESSIONS:
            columns = tables.names[SESSIONS].items()
            tables.required = frozenset(key for key, name in columns if name in required)
        else:
            tables.naive = frozenset(name for name in found if found[name] == NAIVE_TIMESTAMP)
    if tables.capabilities.sessions:
        await _require_key(session, tables)
    if tables.on_sqlite or tables.id_form in ("uuid-dashed", "uuid-hex"):
        await _require_form(session, tables, USERS, col(User.id), "id")
        if tables.capabilities.sessions:
            await _require_form(session, tables, SESSIONS, col(AccessToken.user_id), "user_id")
    if tables.id_form == "text" and tables.capabilities.sessions:
        await _require_common_form(session, tables)
    if tables.on_sqlite and tables.capabilities.sessions:
        for key in sorted(TIMESTAMP_COLUMNS & tables.names[SESSIONS].keys()):
            await _require_timestamps(session, tables, key)
    await _require_role_links(session, tables)
    tables.checked_at = monotonic()


async def require_one_form(session: AsyncSession, tables: MappedTables, user: User) -> None:
    """Refuse an account that sessions refer to by its UUID in another form.

    Args:
        session: The session of the command.
        tables: The mapping.
        user: The account.

    Raises:
        ConfigurationError: There is such a session.
    """
    stored: Any = user.id
    uuid = parse_uuid(stored) if isinstance(stored, str) else stored
    if not (tables.capabilities.sessions and isinstance(uuid, UUID) and _may_differ(tables)):
        return
    owner: Any = literal_column(tables.column(SESSIONS, "user_id"))
    here = and_(owner.in_(_uuid_forms(uuid)), col(AccessToken.user_id) != user.id)
    found = await session.scalar(select(owner).select_from(AccessToken).where(here).limit(1))
    if found is not None:
        raise _other_form(tables, found)


async def _require_common_form(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse sessions whose first one refers to its account by the UUID in another form.

    An ``id_form`` of text accepts each form, but compares ids as they are.
    """
    owner: Any = literal_column(tables.column(SESSIONS, "user_id"))
    found = await session.scalar(select(owner).select_from(AccessToken).limit(1))
    uuid = parse_uuid(found)
    if uuid is None:
        return
    ids: Any = literal_column(tables.column(USERS, "id"))
    others = ids.in_([form for form in _uuid_forms(uuid) if form != found])
    has_other = await session.scalar(select(ids).select_from(User).where(others).limit(1))
    has_same = await session.scalar(select(ids).select_from(User).where(ids == found).limit(1))
    if has_other is not None and has_same is None:
        raise _other_form(tables, found)


def _may_differ(tables: MappedTables) -> bool:
    """Return whether the columns of ids can hold a UUID in several forms."""
    return tables.on_sqlite or tables.id_form not in POSTGRESQL_IDS


def _uuid_forms(uuid: UUID) -> list[str]:
    return sorted({str(uuid), uuid.hex, str(uuid).upper(), uuid.hex.upper()})


def _other_form(tables: MappedTables, found: object) -> ConfigurationError:
    """Return the error for a session that refers to an account by another form of its id."""
    return _mismatch(
        "token_columns.user_id",
        f"ids in the form of {tables.names[USERS]['id']} in {tables.stored.fullname(USERS)}",
        repr(found),
        hint="where all sessions have the other form, '[mapping] user_id_form' names it",
    )


def _require_complete(tables: MappedTables) -> None:
    mapping = tables.mapping
    if mapping.session_strategy is None:
        raise CONFIGURATION.with_context(
            "session_strategy is not set: database, jwt or redis", hint=INSPECT_HINT
        )
    known = mapping.token_columns.expires_at or mapping.session_lifetime_seconds is not None
    if tables.capabilities.sessions and not known:
        raise CONFIGURATION.with_context(
            "session_lifetime_seconds is not set: a number, or none", hint=INSPECT_HINT
        )
    if tables.on_sqlite and mapping.schema_name:
        raise _mismatch("schema", "none on SQLite", mapping.schema_name)


async def _require_role_links(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse a mapping whose tables of roles do not exist or lack a column."""
    link = tables.mapping.role_link
    if link is None or not tables.capabilities.roles:
        return
    places = {
        "table": (link.table, ("user_id", "role")),
        "role_table": (link.role_table, ("role_key", "role_name")),
    }
    for key, (name, columns) in places.items():
        if not name:
            continue
        found, _ = await _columns(session, tables, f"role_link.{key}", name)
        for column in columns:
            wanted = getattr(link, column)
            if wanted not in found:
                raise _mismatch(f"role_link.{column}", f"a column {wanted}", "none")


async def _columns(
    session: AsyncSession, tables: MappedTables, key: str, name: str
) -> tuple[dict[str, str], set[str]]:
    """Return the types of a table's columns by name, and the columns that cannot be NULL.

    Args:
        session: For the catalogue.
        tables: The mapping.
        key: The key of the mapping that names the table.
        name: The table.

    Raises:
        ConfigurationError: The table does not exist.
    """
    if tables.on_sqlite:
        rows = await session.execute(SQLITE_COLUMNS, {"name": name})
    else:
        rows = await session.execute(POSTGRESQL_COLUMNS, {"name": tables.qualified_name(name)})
    described = rows.all()
    if not described:
        raise _mismatch(key, f"a table {tables.qualified_name(name)}", "none")
    types = {column: str(kind) for column, kind, _ in described}
    return types, {column for column, _, required in described if required}


async def _require_ordinary(session: AsyncSession, tables: MappedTables, table: str) -> None:
    """Refuse a view, whose rows have no address, and a table of sessions without rowids."""
    name = tables.stored_name(table)[1]
    if tables.on_sqlite:
        kind = await session.scalar(SQLITE_KIND, {"name": name})
    else:
        kind = await session.scalar(POSTGRESQL_KIND, {"name": tables.qualified_name(name)})
    if kind is not None and (table == SESSIONS or kind != "WITHOUT ROWID"):
        expected = f"an ordinary table {tables.qualified_name(name)}"
        raise _mismatch(KEYS[table], expected, kind, hint=VIEW_HINT if "view" in kind else None)


def _require_columns(tables: MappedTables, table: str, found: dict[str, str]) -> None:
    for key, name in tables.names[table].items():
        setting = f"{COLUMN_KEYS[table]}.{key}"
        if name not in found:
            raise _mismatch(setting, f"a column {name}", "none")
        if key in IDS:
            form = tables.user_id_form if key == "user_id" else tables.id_form
            _require_id_type(tables, setting, found[name], form)
        elif (wanted := tables.timestamp_type(key)) and found[name] != wanted:
            hint = NAIVE_HINT if found[name] == NAIVE_TIMESTAMP else INSPECT_HINT
            raise _mismatch(setting, wanted, found[name], hint=hint)
        elif key.startswith("is_") and not found[name].startswith(FLAGS):
            raise _mismatch(setting, "boolean", found[name])
    if table == USERS:
        _require_further_columns(tables, found)


def _require_further_columns(tables: MappedTables, found: dict[str, str]) -> None:
    """Refuse accounts that lack the column of deletion, role or log-in."""
    mapping = tables.mapping
    wanted = {"soft_delete": mapping.soft_delete}
    if mapping.roles == "column":
        wanted["role_column"] = mapping.role_column
    if mapping.login != "email":
        wanted["login"] = mapping.login
    for key, name in wanted.items():
        if name and name not in found:
            raise _mismatch(key, f"a column {name}", "none")
    is_flag = found.get(mapping.soft_delete, "").startswith(FLAGS)
    if mapping.soft_delete and is_flag != mapping.soft_delete_flag:
        raise _mismatch("soft_delete_flag", str(is_flag).lower(), str(not is_flag).lower())


def _require_id_type(tables: MappedTables, setting: str, kind: str, form: str) -> None:
    """Refuse an id whose type cannot hold the form."""
    if tables.on_sqlite:
        is_number = "int" in kind
        other_length = {"uuid-dashed": "(32)", "uuid-hex": "(36)"}.get(form, "(no)")
        if is_number != (form == "integer") or other_length in kind:
            raise _mismatch(setting, f"id_form {form}", kind)
    elif kind not in POSTGRESQL_IDS.get(form, POSTGRESQL_TEXTS):
        raise _mismatch(setting, f"id_form {form}", kind)


async def _require_key(session: AsyncSession, tables: MappedTables) -> None:
    """Refuse sessions whose foreign key refers to a table other than that of the accounts."""
    owner, users = tables.names[SESSIONS]["user_id"], tables.stored_name(USERS)[1]
    name = tables.stored_name(SESSIONS)[1]
    if tables.on_sqlite:
        rows = await session.execute(SQLITE_KEYS, {"name": name})
        others = [target for column, target in rows if column == owner]
        others = [] if users.lower() in map(str.lower, others) else others
    else:
        places = {"name": tables.qualified_name(name), "users": tables.qualified_name(users)}
        rows = await session.execute(POSTGRESQL_KEYS, places)
        others = [target for column, target in rows if column == owner]
    if others:
        raise _mismatch("token_columns.user_id", f"a key to {users}", others[0])


async def _require_form(
    session: AsyncSession, tables: MappedTables, table: str, column: Any, key: str
) -> None:
    """Refuse a table whose first id has another form, unless another row has the right one."""
    found = await session.scalar(_stored(tables, table, key, column.is_not(None)))
    if found is None:
        return
    first = await session.scalar(
        _stored(tables, table, key, column.is_not(None), is_canonical_id(column))
    )
    if first is None:
        setting, hint = f"{COLUMN_KEYS[table]}.{key}", TEXT_HINT
        if table == SESSIONS and parse_uuid(found) is not None:
            raise _other_form(tables, found)
        raise _mismatch(setting, f"id_form {tables.id_form}", repr(found), hint=hint)


async def _require_timestamps(session: AsyncSession, tables: MappedTables, key: str) -> None:
    """Refuse timestamps that cannot be compared, unless another row has one that can.

    Those that fastapi-users writes are text with a space between date and time, in UTC.
    """
    name = tables.column(SESSIONS, key, nullable=True)
    stored: Any = literal_column(name)
    rows = select(stored).select_from(AccessToken).where(stored.is_not(None)).limit(1)
    found = await session.scalar(rows)
    readable: Any = literal_column(SQLITE_READABLE.format(name))
    if found is not None and await session.scalar(rows.where(readable)) is None:
        raise _mismatch(f"token_columns.{key}", TIMESTAMP_FORM, repr(found), hint=TIMESTAMP_HINT)


def _stored(tables: MappedTables, table: str, key: str, *criteria: Any) -> Any:
    """Return the query for one id as it is stored."""
    model = User if table == USERS else AccessToken
    stored: Any = literal_column(tables.column(table, key))
    return select(stored).select_from(model).where(*criteria).limit(1)


def _mismatch(
    key: str, expected: str, found: Optional[str], *, hint: Optional[str] = INSPECT_HINT
) -> ConfigurationError:
    return CONFIGURATION.with_context(
        f"mapping.{key}: expected {expected}, found {found}", hint=hint
    )
