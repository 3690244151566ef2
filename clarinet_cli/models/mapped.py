"""The tables of an application as SQL, under the names of the Clarinet models.

A dialect whose ``clarinet_tables`` is a ``MappedTables`` renders the Clarinet tables as those
of an application; ``clarinet_cli.database.mapped_sql`` sets it. Queries stay as they are.
"""

# ruff: noqa: S608 - all names in it are quoted

from typing import TYPE_CHECKING, Any, Optional

from sqlalchemy.engine import Dialect

from clarinet_cli.models.stored_tables import ROLE_LINKS, ROLES, SESSIONS, USERS, stored_tables
from clarinet_cli.models.tables import Base

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping
    from clarinet_cli.types import Capabilities

DIALECT_ATTRIBUTE = "clarinet_tables"
EXPIRES_AT = "expires_at"
NEVER_YEAR = 9999  # of the expiry of a session that does not expire
TIMESTAMP = "timestamp with time zone"
NAIVE_TIMESTAMP = "timestamp without time zone"
TIMESTAMP_COLUMNS = frozenset({"created_at", EXPIRES_AT, "last_accessed"})
IDS = frozenset({"id", "user_id"})
SQLITE_MAIN = "main"  # a temporary table would hide an unqualified name
POSTGRESQL_IDS = {"uuid": "UUID", "integer": "BIGINT"}


def mapped_tables(dialect: Dialect) -> Optional["MappedTables"]:
    """Return the mapping of a dialect's engine; None for the tables of the server."""
    return getattr(dialect, DIALECT_ATTRIBUTE, None)


def is_own(table: Any) -> bool:
    """Return whether a FROM clause is a Clarinet table itself, not an alias or query."""
    return getattr(table, "metadata", None) is Base.metadata


class MappedTables:
    """The SQL of an application's tables.

    Args:
        mapping: The mapping.
        capabilities: The capabilities of the installation.
        dialect: The dialect of the engine.

    Attributes:
        mapping: The mapping.
        capabilities: The capabilities of the installation.
        id_form: How ids are stored on this backend.
        user_id_form: How sessions store the ids of their accounts.
        names: The columns that exist, by table.
        stored: The names of the tables.
        checked_at: When the mapping was found to fit the tables, by ``time.monotonic``.
        required: The columns of sessions that cannot be NULL, as far as that is known.
        naive: The application's columns of accounts that are timestamps without a time zone.
    """

    def __init__(self, mapping: "Mapping", capabilities: "Capabilities", dialect: Dialect) -> None:
        self.mapping = mapping
        self.capabilities = capabilities
        self.checked_at: Optional[float] = None
        self.required: frozenset[str] = frozenset()
        self.naive: frozenset[str] = frozenset()
        self.stored = stored_tables(mapping, capabilities)
        self.on_sqlite = dialect.name == "sqlite"
        self.id_form = mapping.stored_form(dialect.name)
        self.user_id_form = mapping.user_id_form or self.id_form
        self.quote = dialect.identifier_preparer.quote
        users, tokens = mapping.user_columns.model_dump(), mapping.token_columns.model_dump()
        link = mapping.role_link if mapping.roles == "link" else None
        self.names: dict[str, dict[str, str]] = {
            USERS: {key: name for key, name in users.items() if name},
            SESSIONS: {key: name for key, name in tokens.items() if name}
            if self.capabilities.sessions
            else {},
            ROLES: {},
            ROLE_LINKS: {} if link is None else {"user_id": link.user_id},
        }

    @property
    def never_expires(self) -> bool:
        """Whether sessions have no expiry at all."""
        return self.capabilities.sessions and not self.capabilities.expiry

    @property
    def derives_expiry(self) -> bool:
        """Whether a session expires a fixed time after its creation, without a column for it."""
        return (
            bool(self.names[SESSIONS]) and self.has_lifetime and not self.has(SESSIONS, EXPIRES_AT)
        )

    @property
    def may_never_expire(self) -> bool:
        """Whether sessions without an expiry do not expire, and there may be such sessions."""
        stored = self.has(SESSIONS, EXPIRES_AT)
        lacks = not stored or self.may_lack(EXPIRES_AT)
        return self.capabilities.sessions and not self.has_lifetime and lacks

    @property
    def has_lifetime(self) -> bool:
        """Whether a session expires a fixed time after its creation, unless it has an expiry."""
        return isinstance(self.mapping.session_lifetime_seconds, int)

    def has(self, table: str, column: str) -> bool:
        """Return whether a column exists in the application's table."""
        return column in self.names[table]

    def stored_name(self, table: str) -> tuple[Optional[str], str]:
        """Return the schema, None for the default one, and the name of a table."""
        name = self.mapping.users if table == USERS else self.mapping.tokens
        return self.mapping.schema_name or None, name

    def qualified_name(self, name: str) -> str:
        """Return the quoted name of an application's table."""
        schema = SQLITE_MAIN if self.on_sqlite else self.mapping.schema_name
        return f"{self.quote(schema)}.{self.quote(name)}" if schema else self.quote(name)

    def written_table(self, table: str) -> str:
        """Return a table that is changed, under its Clarinet name."""
        if table == ROLE_LINKS and self.mapping.role_link is not None:
            return f"{self.qualified_name(self.mapping.role_link.table)} AS {self.quote(table)}"
        return f"{self.qualified_name(self.stored_name(table)[1])} AS {self.quote(table)}"

    def read_table(self, table: str) -> str:
        """Return a table that is read, under its Clarinet name."""
        query = self._query(table)
        return self.written_table(table) if query is None else f"({query}) AS {self.quote(table)}"

    def is_query(self, table: str) -> bool:
        """Return whether a table is read by a query, so that its rows have no address."""
        return self._query(table) is not None

    def may_lack(self, name: str) -> bool:
        """Return whether a timestamp of sessions is stored and may be NULL.

        Such a session expires as if there were no column, and was last used when it was created.

        Args:
            name: The name of the Clarinet column.
        """
        return name in (EXPIRES_AT, "last_accessed") and name not in self.required

    def column(
        self, table: str, name: str, *, qualified: bool = True, nullable: bool = False
    ) -> str:
        """Return a column that is read.

        Args:
            table: The name of the Clarinet table.
            name: The name of its column.
            qualified: With the name of the table.
            nullable: As it is stored, with NULL for a timestamp that is absent.
        """
        known = self.names[table]
        prefix = f"{self.quote(table)}." if qualified else ""
        if name in known:
            stored = f"{prefix}{self.quote(known[name])}"
            is_naive = table == SESSIONS and self.timestamp_type(name) == NAIVE_TIMESTAMP
            stored = f"({stored} AT TIME ZONE 'UTC')" if is_naive else stored
            if table == SESSIONS and name == "user_id":
                return self._as_account_id(stored)
            if nullable or not (table == SESSIONS and self.may_lack(name)):
                return stored
            created = self.column(table, "created_at", qualified=qualified)
            absent = self._expiry(created) if name == EXPIRES_AT else created
            return f"COALESCE({stored}, {absent})"
        if table == SESSIONS and known:
            is_expiry = name == EXPIRES_AT
            created = self.column(table, "created_at", qualified=qualified)
            return self._expiry(created) if is_expiry else self.null(name)
        if table == USERS:
            return self.null(name)
        return f"{prefix}{self.quote(name)}"

    def _as_account_id(self, stored: str) -> str:
        """Return the id of a session's account in the form that the accounts have."""
        if self.user_id_form == self.id_form:
            return stored
        if self.user_id_form == "uuid-dashed":
            return f"replace({stored}, '-', '')"
        parts = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        dashed = " || '-' || ".join(f"substr({stored}, {at}, {size})" for at, size in parts)
        return f"CASE WHEN length({stored}) = 32 THEN {dashed} ELSE {stored} END"

    def timestamp_type(self, name: str) -> Optional[str]:
        """Return the type of a column of sessions that holds a timestamp.

        Args:
            name: The name of the Clarinet column; None is returned for others, and on SQLite.
        """
        if self.on_sqlite or name not in TIMESTAMP_COLUMNS:
            return None
        return NAIVE_TIMESTAMP if self.mapping.naive_timestamps else TIMESTAMP

    def login(self) -> str:
        """Return the column that users log in by."""
        return f"{self.quote(USERS)}.{self.quote(self.mapping.login)}"

    def null(self, name: str) -> str:
        """Return NULL with the type of a Clarinet column."""
        if self.on_sqlite:
            return "NULL"
        kind = TIMESTAMP.upper() if name in TIMESTAMP_COLUMNS else "VARCHAR"
        if name in IDS:
            kind = POSTGRESQL_IDS.get(self.id_form, "VARCHAR")
        return f"CAST(NULL AS {'BOOLEAN' if name.startswith('is_') else kind})"

    def latest_creation(self, expiry: str) -> str:
        """Return when a session was created that expires at a timestamp.

        Args:
            expiry: The timestamp as SQL, in the form that the column stores.
        """
        seconds = self.mapping.session_lifetime_seconds
        if self.on_sqlite:
            whole = f"strftime('%Y-%m-%d %H:%M:%S', substr({expiry}, 1, 19), '-{seconds} seconds')"
            return f"({whole} || substr({expiry}, 20))"
        return f"({expiry} - INTERVAL '{seconds} seconds')"

    def _expiry(self, created: str) -> str:
        seconds = self.mapping.session_lifetime_seconds
        if not isinstance(seconds, int):
            never = f"{NEVER_YEAR}-12-31 00:00:00"
            if self.on_sqlite:
                return f"'{never}.000000'"
            return f"CAST('{never}+00' AS TIMESTAMP WITH TIME ZONE)"
        if self.on_sqlite:
            whole = f"strftime('%Y-%m-%d %H:%M:%S', substr({created}, 1, 19), '+{seconds} seconds')"
            return f"({whole} || substr({created}, 20))"
        return f"({created} + INTERVAL '{seconds} seconds')"

    def _query(self, table: str) -> Optional[str]:
        """Return the query that a table is read by; None if it is read itself."""
        mapping = self.mapping
        if table == USERS and mapping.soft_delete:
            deleted = self.quote(mapping.soft_delete)
            present = "IS NOT TRUE" if mapping.soft_delete_flag else "IS NULL"
            return f"SELECT * FROM {self.qualified_name(mapping.users)} WHERE {deleted} {present}"
        if table == SESSIONS and not self.capabilities.sessions:
            return self._empty(table)
        if table in (ROLES, ROLE_LINKS):
            return self._roles(table) if self.capabilities.roles else self._empty(table)
        return None

    def _empty(self, table: str) -> str:
        names = [column.name for column in Base.metadata.tables[table].columns]
        nulls = ", ".join(f"{self.null(name)} AS {self.quote(name)}" for name in names)
        return f"SELECT {nulls} WHERE 1 = 0"

    def _roles(self, table: str) -> str:
        """Return the query for the roles, or for those of each account."""
        link, users = self.mapping.role_link, self.mapping.user_columns
        if link is None:
            role, source = (
                self.quote(self.mapping.role_column),
                self.qualified_name(self.mapping.users),
            )
            name = f"CAST({role} AS VARCHAR)"
            if table == ROLES:
                return f"SELECT DISTINCT {name} AS name FROM {source} WHERE {role} IS NOT NULL"
            owner = self.quote(users.id)
            return (
                f"SELECT {owner} AS user_id, {name} AS role_name FROM {source}"
                f" WHERE {role} IS NOT NULL"
            )
        links, role = self.qualified_name(link.table), self.quote(link.role)
        if not link.role_table:
            if table == ROLES:
                return f"SELECT DISTINCT CAST({role} AS VARCHAR) AS name FROM {links}"
            return f"SELECT *, CAST({role} AS VARCHAR) AS role_name FROM {links}"
        name = f"CAST(r.{self.quote(link.role_name)} AS VARCHAR)"
        roles = f"{self.qualified_name(link.role_table)} AS r"
        if table == ROLES:
            return f"SELECT {name} AS name FROM {roles}"
        return (
            f"SELECT l.{self.quote(link.user_id)}, {name} AS role_name FROM {links} AS l"
            f" JOIN {roles} ON r.{self.quote(link.role_key)} = l.{role}"
        )
