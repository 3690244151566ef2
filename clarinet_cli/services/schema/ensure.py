"""Upgrade the schema to head from any state of the database."""

from dataclasses import dataclass

from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import Database, as_database, database_exists
from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.results import MigrationStatus, Step
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS
from clarinet_cli.services.schema.commands import migration_connection, upgrade
from clarinet_cli.services.schema.comparison import differences, missing_parts
from clarinet_cli.services.schema.environments import (
    Environment,
    find_environment,
    foreign_environment,
)
from clarinet_cli.services.schema.preconditions import incomplete_error, unversioned_error
from clarinet_cli.services.schema.state import (
    FOREIGN,
    alembic_errors,
    current_heads,
    join_revisions,
    revision_status,
)
from clarinet_cli.settings import Settings


async def ensure_schema(
    source: Settings | Database, *, dry_run: bool = False, schema_anyway: bool = False
) -> Step:
    """Upgrade the schema to head, unless another program manages it.

    Tables that another Alembic environment migrates, or that another program created together
    with tables of its own, are not changed. The four Clarinet tables without a revision are stamped
    with head if they are what Clarinet's revisions create.

    Args:
        source: The settings, or a ``Database`` whose engine is used.
        dry_run: Only report what would be done.
        schema_anyway: See ``upgrade``.

    Raises:
        ConflictError: Some Clarinet tables exist, but not as Clarinet's revisions create them.
        RefusedError: The database is empty and the project has another program's environment.
    """
    async with as_database(source) as database:
        found = await _inspect(database)
    settings = database.settings
    status, revision = found.status, join_revisions(found.status.current)
    if status.unknown:
        return Step(
            "schema", "unchanged", f"{FOREIGN} ({join_revisions(status.unknown)}), not changed"
        )
    if status.up_to_date:
        return Step("schema", "unchanged", f"revision {revision}")
    if status.current or not found.present:
        run = await upgrade(settings, dry_run=dry_run, schema_anyway=schema_anyway)
        verb = {"updated": "created" if run.from_revision is None else "updated"}
        verb |= {"would_update": "would_create" if run.from_revision is None else "would_update"}
        return Step("schema", verb.get(run.result, run.result), f"revision {run.to_revision}")
    if found.foreign:
        return Step("schema", "unchanged", "created by another program, not changed")
    if not dry_run:
        async with migration_connection(
            settings, Access.WRITE, DEFAULT_TIMEOUT_SECONDS
        ) as connection:
            with alembic_errors("head"):
                await connection.run_sync(
                    lambda sync: MigrationContext.configure(sync).stamp(
                        found.environment.scripts, "head"
                    )
                )
    return Step("schema", "would_update" if dry_run else "updated", "existing tables adopted")


async def require_known_schema(database: Database) -> None:
    """Refuse an existing schema that ``ensure_schema`` would refuse, without changing anything.

    Args:
        database: The database.

    Raises:
        ConflictError: Some Clarinet tables exist, but not as Clarinet's revisions create them.
        RefusedError: Another program's migrations come first.
    """
    if await database_exists(database):
        await _inspect(database)


@dataclass(frozen=True, slots=True)
class _Schema:
    """The tables and revision found in a database.

    Attributes:
        environment: The environment that the revision was compared with.
        status: The revision.
        present: The Clarinet tables that exist.
        foreign: Whether another program created all of them.
    """

    environment: Environment
    status: MigrationStatus
    present: set[str]
    foreign: bool


async def _inspect(database: Database) -> _Schema:
    directory = database.settings.project_dir
    environment = find_environment(directory)
    async with database.connection() as connection:
        # Tables first: a migration that commits in between is then seen in both.
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        status = revision_status(environment, await connection.run_sync(current_heads))
        found = await connection.run_sync(differences)
    present = tables.intersection(TABLE_NAMES)
    others = tables - present - {"alembic_version"} or foreign_environment(directory)
    schema = _Schema(
        environment, status, present, bool(others) and len(present) == len(TABLE_NAMES)
    )
    if status.unknown and len(present) < len(TABLE_NAMES):
        raise REFUSED.with_context(
            f"{FOREIGN} ({join_revisions(status.unknown)}), "
            "but has not created the Clarinet tables yet",
            hint="run the migrations of the server that owns it; if another application does, "
            "'clarinet db inspect --write' maps its tables",
        )
    if status.up_to_date and (parts := missing_parts(found)):
        raise incomplete_error(join_revisions(status.current), parts)
    if present and found and not status.current and not schema.foreign:
        raise unversioned_error(found)
    return schema
