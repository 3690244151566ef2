"""Comparing the tables of a database with the models, and describing the differences."""

import warnings
from collections.abc import Iterable
from typing import Any, Optional

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, MetaData
from sqlalchemy.exc import SAWarning
from sqlalchemy.types import NUMERIC, TypeEngine

from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.models.types import StoredId, StoredText, UTCDateTime
from clarinet_cli.results.database import MISSING_PARTS


def _render_item(kind: str, item: Any, _: Any) -> str | bool:
    """Render plain SQLAlchemy types in revisions, so that they don't import this package."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, StoredId):
        return "sa.UUID()"
    if kind == "type" and isinstance(item, StoredText):
        length = getattr(item.impl, "length", None)
        return "sa.String()" if length is None else f"sa.String(length={length})"
    return False


def _types_differ(
    _: Any,
    __: Column[Any],
    ___: Column[Any],
    found: TypeEngine[Any],
    wanted: TypeEngine[Any],
) -> Optional[bool]:
    """Ignore that SQLite reports the declared type ``UUID`` by its affinity, NUMERIC."""
    return False if isinstance(found, NUMERIC) and isinstance(wanted, StoredId) else None


COMPARISON: dict[str, Any] = {
    # A server's other tables are excluded from every comparison.
    "include_name": lambda name, kind, _: kind != "table" or name in TABLE_NAMES,
    "render_item": _render_item,
    "compare_type": _types_differ,
    "render_as_batch": True,
}

MISSING = "missing "
EXTRA = "extra "


def differences(
    connection: Connection, expected: MetaData = metadata, *, types: bool = True
) -> tuple[str, ...]:
    """Return how the tables differ from the models, such as ``missing column t.c``.

    Args:
        connection: A connection to the database.
        expected: The tables to compare with, by default the models.
        types: Compare the types of columns, which differ between backends.
    """
    options = {
        **COMPARISON,
        "include_name": lambda name, kind, _: kind != "table" or name in expected.tables,
        "compare_type": COMPARISON["compare_type"] if types else False,
    }
    context = MigrationContext.configure(connection, opts=options)
    with warnings.catch_warnings():
        # About indexes on expressions, of which the models have none.
        warnings.simplefilter("ignore", SAWarning)
        found = compare_metadata(context, expected)
    flat = [part for item in found for part in (item if isinstance(item, list) else [item])]
    tables = {item[1].name for item in flat if item[0] == "add_table"}
    return tuple(
        sorted(
            {_describe(item) for item in flat if _table_name(item) not in tables}
            | {f"{MISSING}table {name}" for name in tables}
        )
    )


def missing_parts(found: Iterable[str]) -> list[str]:
    """Return those differences that make commands on rows fail.

    Args:
        found: What ``differences`` returned.
    """
    return [text for text in found if text.startswith(MISSING_PARTS)]


def _table_name(item: tuple[Any, ...]) -> str:
    kind, subject = item[0], item[1]
    if kind.endswith("_table"):
        return str(subject.name)
    return str(subject.table.name) if hasattr(subject, "table") else str(item[2])


def _describe(item: tuple[Any, ...]) -> str:
    kind, table = item[0], _table_name(item)
    match kind.split("_", 1):
        case ["modify", what]:
            column, found, expected = f"{table}.{item[3]}", item[5], item[6]
            if what == "nullable":
                return f"column {column} {'may' if found else 'may not'} be null"
            return f"{what} of {column} is {found}, expected {expected}"
        case [verb, "column"]:
            return f"{_prefix(verb)}column {table}.{item[3].name}"
        case [verb, "fk"]:
            columns = ", ".join(f"{table}.{column.name}" for column in item[1].columns)
            return f"{_prefix(verb)}foreign key of {columns}"
        case [verb, what]:
            name = getattr(item[1], "name", None)
            return f"{_prefix(verb)}{what} {name or 'without a name'} on {table}"
    return f"{kind} {table}"


def _prefix(verb: str) -> str:
    return MISSING if verb == "add" else EXTRA
