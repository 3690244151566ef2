"""The tables of a database as its catalogue describes them."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from sqlalchemy import UUID, Connection, Enum, column, inspect, select, table, text
from sqlalchemy.dialects.postgresql import DOMAIN, TIMESTAMP
from sqlalchemy.engine import Inspector
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import NullType

from clarinet_cli.models.mapped import NAIVE_TIMESTAMP

FOLDED = re.compile(r"(?:lower\()*\(*\"?(\w+)\"?\)*(?:::\w+)?\)*$")
INHERITED = text(
    "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE cn.nspname::text END,"
    " c.relname::text,"
    " CASE WHEN pg_table_is_visible(p.oid) THEN NULL ELSE pn.nspname::text END, p.relname::text"
    " FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace cn"
    " ON cn.oid = c.relnamespace JOIN pg_class p ON p.oid = inhparent JOIN pg_namespace pn"
    " ON pn.oid = p.relnamespace WHERE c.relkind IN ('r', 'f') AND NOT c.relispartition"
)
OMITTED = text(
    "SELECT nspname::text, relname::text, relispartition, pg_table_is_visible(c.oid)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
    " WHERE (relispartition OR pg_table_is_visible(c.oid)) AND relkind IN ('r', 'p', 'f')"
)
SQLITE_UUIDS = {"UUID": UUID, "GUID": UUID}  # which SQLAlchemy would read as numbers
SYSTEM_SCHEMAS = ("information_schema", "pg_")


@dataclass(frozen=True, slots=True)
class CatalogueColumn:
    """A column.

    Attributes:
        name: Its name.
        kind: Its type in lower case, without the length; ``enum`` for an enumeration.
        length: The length of a text, where it is limited.
        required: Whether an INSERT has to give it a value.
        nullable: Whether it can be NULL.
        has_default: Whether the database gives it a value.
    """

    name: str
    kind: str
    length: Optional[int]
    required: bool
    nullable: bool
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class CatalogueKey:
    """A foreign key."""

    columns: tuple[str, ...]
    table: tuple[Optional[str], str]
    referred: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """A table.

    Attributes:
        schema: Its schema; None if the search path leads to the table.
        name: Its name.
        columns: Its columns by name, in order.
        primary_key: The columns of its primary key.
        unique: The sets of columns that are unique, the primary key included.
        keys: Its foreign keys.
        indexed: The columns that an index begins with.
        parents: The schemas and names of the tables that it inherits from, on PostgreSQL.
    """

    schema: Optional[str]
    name: str
    columns: dict[str, CatalogueColumn]
    primary_key: tuple[str, ...]
    unique: tuple[frozenset[str], ...]
    keys: tuple[CatalogueKey, ...]
    indexed: frozenset[str] = frozenset()
    parents: frozenset[tuple[Optional[str], str]] = frozenset()

    @property
    def fullname(self) -> str:
        """The name, with the schema unless the search path leads to the table."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def refers_to(self, other: "CatalogueTable") -> list[CatalogueKey]:
        """Return the foreign keys of one column to another table."""
        target = (other.schema, other.name)
        return [key for key in self.keys if key.table == target and len(key.columns) == 1]


def table_named(
    tables: Sequence[CatalogueTable], schema: Optional[str], name: str
) -> Optional[CatalogueTable]:
    """Return a table; one of another schema if the search path leads to it.

    Args:
        tables: All tables.
        schema: Its schema; None for the default one.
        name: Its name.
    """
    same = [item for item in tables if item.name.lower() == name.lower()]

    def likeness(item: CatalogueTable) -> tuple[bool, bool, bool]:
        return item.name == name, item.schema == schema, item.schema is None

    return max(same, key=likeness, default=None)


async def read_catalogue(session: AsyncSession) -> list[CatalogueTable]:
    """Return all tables of the database but partitions and the database system's own.

    Args:
        session: The session for the queries; no row of a table is read.
    """
    connection = await session.connection()
    return await connection.run_sync(read_tables)


async def read_any_id(session: AsyncSession, name: str, key: str) -> Optional[object]:
    """Return the key of one row of a table as it is stored; None if there is no row.

    Args:
        session: For the query.
        name: The table.
        key: Its column.
    """
    query = select(column(key, NullType())).select_from(table(name)).limit(1)
    return await session.scalar(query)


def read_tables(connection: Connection) -> list[CatalogueTable]:
    """Return what ``read_catalogue`` returns.

    Args:
        connection: The connection for the queries.
    """
    inspector: Inspector = inspect(connection)
    if connection.dialect.name == "sqlite":
        dialect: Any = inspector.dialect
        dialect.ischema_names = {**dialect.ischema_names, **SQLITE_UUIDS}
    default = inspector.default_schema_name
    found: list[CatalogueTable] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # a type that SQLAlchemy does not know
        for name in inspector.get_schema_names():
            if not name.startswith(SYSTEM_SCHEMAS):
                found += _tables_in_schema(inspector, None if name == default else name)
    if connection.dialect.name == "sqlite":
        return found
    omitted: set[tuple[Optional[str], str]] = set()
    for schema, name, is_partition, is_visible in connection.execute(OMITTED):
        omitted.add((schema, name))  # if it is visible, it is also among those without a schema
        if is_partition and is_visible:
            omitted.add((None, name))
    parents: dict[Any, set[tuple[Optional[str], str]]] = {}
    for schema, name, *parent in connection.execute(INHERITED):
        parents.setdefault((schema, name), set()).add((parent[0], parent[1]))
    return [
        replace(item, parents=frozenset(parents.get((item.schema, item.name), ())))
        for item in found
        if (item.schema, item.name) not in omitted
    ]


def _tables_in_schema(inspector: Inspector, schema: Optional[str]) -> list[CatalogueTable]:
    columns = inspector.get_multi_columns(schema)
    primary = inspector.get_multi_pk_constraint(schema)
    constraints = inspector.get_multi_unique_constraints(schema)
    # Of a constraint UNIQUE beside a type with a length SQLite shows only the index.
    on_sqlite = inspector.dialect.name == "sqlite"
    automatic: dict[str, Any] = {"include_auto_indexes": True} if on_sqlite else {}
    indexes = inspector.get_multi_indexes(schema, **automatic)
    keys = inspector.get_multi_foreign_keys(schema)
    tables: list[CatalogueTable] = []
    for name, described in columns.items():
        key = tuple(primary[name]["constrained_columns"])
        unique = [frozenset(key)]
        unique += [frozenset(item["column_names"]) for item in constraints.get(name) or ()]
        unique += [
            frozenset(_index_columns(item)) for item in indexes.get(name) or () if item["unique"]
        ]
        ordered: list[Sequence[Optional[str]]] = [key]
        ordered += [item["column_names"] for item in constraints.get(name) or ()]
        ordered += [item["column_names"] for item in indexes.get(name) or ()]
        generated = key[0] if on_sqlite and len(key) == 1 else None
        tables.append(
            CatalogueTable(
                schema,
                name[1],
                {item["name"]: _column(item, generated) for item in described},
                key,
                tuple(unique),
                tuple(
                    CatalogueKey(
                        tuple(item["constrained_columns"]),
                        (item["referred_schema"], item["referred_table"]),
                        tuple(item["referred_columns"]),
                    )
                    for item in keys.get(name) or ()
                ),
                frozenset(names[0] for names in ordered if names and names[0]),
            )
        )
    return tables


def _index_columns(item: Any) -> list[str]:
    """Return the columns of an index, of an expression such as ``lower(email)`` its argument."""
    expressions = item.get("expressions") or item["column_names"]
    found = [FOLDED.match(text or "") for text in expressions]
    return [match[1] for match in found if match]


def _column(item: Any, generated: Optional[str]) -> CatalogueColumn:
    base = item["type"].data_type if isinstance(item["type"], DOMAIN) else item["type"]
    kind = "enum" if isinstance(base, Enum) else str(base).lower()
    if isinstance(base, TIMESTAMP) and not base.timezone:
        kind = NAIVE_TIMESTAMP
    automatic = item.get("identity") or item.get("computed")
    # SQLite numbers the rows of an integer primary key itself.
    automatic = automatic or (item["name"] == generated and kind.startswith("int"))
    has_default = item["default"] is not None or bool(automatic)
    return CatalogueColumn(
        item["name"],
        kind.partition("(")[0],
        getattr(base, "length", None),
        not (item["nullable"] or has_default),
        item["nullable"],
        has_default,
    )
