"""Schema migrations. This package is the only one that imports Alembic."""

from clarinet_cli.services.schema.authoring import create_revision, init_environment
from clarinet_cli.services.schema.commands import downgrade, migration_sql, upgrade
from clarinet_cli.services.schema.ensure import ensure_schema, require_known_schema
from clarinet_cli.services.schema.environments import find_environment
from clarinet_cli.services.schema.findings import check_migrations
from clarinet_cli.services.schema.preconditions import (
    require_runnable,
    require_schema_order,
    status_advice,
)
from clarinet_cli.services.schema.reset import reset
from clarinet_cli.services.schema.stamp import stamp
from clarinet_cli.services.schema.state import (
    FOREIGN,
    current_heads,
    database_has_tables,
    history,
    migration_status,
    revision_status,
)

__all__ = [
    "FOREIGN",
    "check_migrations",
    "create_revision",
    "current_heads",
    "database_has_tables",
    "downgrade",
    "ensure_schema",
    "find_environment",
    "history",
    "init_environment",
    "migration_sql",
    "migration_status",
    "require_known_schema",
    "require_runnable",
    "require_schema_order",
    "reset",
    "revision_status",
    "stamp",
    "status_advice",
    "upgrade",
]
