"""Schema revisions: where a database stands, and moving it. Only here is Alembic imported."""

from clarinet_cli.services.schema.commands import downgrade, migration_sql, upgrade
from clarinet_cli.services.schema.order import (
    require_runnable,
    require_schema_order,
    status_advice,
)
from clarinet_cli.services.schema.revisions import create_revision, history
from clarinet_cli.services.schema.state import (
    FOREIGN,
    current_heads,
    database_has_tables,
    migration_status,
)
from clarinet_cli.services.schema.tables import ensure_schema, require_known_schema

__all__ = [
    "FOREIGN",
    "create_revision",
    "current_heads",
    "database_has_tables",
    "downgrade",
    "ensure_schema",
    "history",
    "migration_sql",
    "migration_status",
    "require_known_schema",
    "require_runnable",
    "require_schema_order",
    "status_advice",
    "upgrade",
]
