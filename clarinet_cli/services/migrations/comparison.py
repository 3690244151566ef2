"""How Alembic compares our models with a database: its options, in one place."""

from typing import Any, Optional

from sqlalchemy import Column
from sqlalchemy.types import NUMERIC, TypeEngine, Uuid

from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.models.types import UTCDateTime


def _only_our_tables(name: Optional[str], kind: str, _: Any) -> bool:
    """Leave the other tables of a server's database out of every comparison."""
    return kind != "table" or name in TABLE_NAMES


def _render_item(kind: str, item: Any, _: Any) -> str | bool:
    """Write plain SQLAlchemy types into revisions, so that they outlive this package."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _types_differ(
    _: Any,
    __: Column[Any],
    ___: Column[Any],
    found: TypeEngine[Any],
    wanted: TypeEngine[Any],
) -> Optional[bool]:
    """SQLite has no UUID type and reports the declared ``UUID`` by its affinity, NUMERIC."""
    return False if isinstance(found, NUMERIC) and isinstance(wanted, Uuid) else None


COMPARISON: dict[str, Any] = {
    "include_name": _only_our_tables,
    "render_item": _render_item,
    "compare_type": _types_differ,
    "render_as_batch": True,
}
