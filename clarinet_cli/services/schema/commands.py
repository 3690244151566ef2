"""Upgrading and downgrading the schema, each in one transaction, under a lock."""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Optional

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from clarinet_cli.database.commits import writing
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_connection
from clarinet_cli.database.url import database_url, require_sqlite_file
from clarinet_cli.results import MigrationRun
from clarinet_cli.services.audit import TransactionAudit
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS, Job, job_lock
from clarinet_cli.services.schema.environments import (
    Environment,
    find_environment,
)
from clarinet_cli.services.schema.preconditions import (
    dangling_references,
    require_no_dependents,
    require_no_new_dangling_references,
    require_no_other_schema,
    require_no_tables,
)
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    join_revisions,
    parent_revisions,
    require_known_revisions,
    require_revision,
    revision_status,
    steps_up,
    with_connection,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

BASE = "base"
MAX_NAMED = 5


async def upgrade(
    settings: Settings,
    target: str = "head",
    *,
    dry_run: bool = False,
    schema_anyway: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Upgrade the schema to *target*, in one transaction.

    Args:
        settings: The database and the project directory.
        target: A revision, a prefix of one, ``head``, or a relative one such as ``+1``.
        dry_run: Only report what would be done.
        schema_anyway: Create the Clarinet tables even in the empty database of a project that has
            another program's migrations.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: The revision does not exist.
        ConflictError: Clarinet tables exist without a revision, or other tables refer to a table
            that would be dropped.
        RefusedError: Another Alembic environment migrates this database, or the project has
            one; or the project's revisions are not trusted.
        UnreachableError: The database does not exist.
        BusyError: The lock was not free in time.
    """
    return await _migrate(
        settings,
        target,
        UP,
        dry_run=dry_run,
        schema_anyway=schema_anyway,
        lock_timeout=lock_timeout,
    )


async def downgrade(
    settings: Settings,
    target: str,
    *,
    dry_run: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Downgrade the schema to *target*, in one transaction; data in dropped tables is lost.

    Args:
        settings: The database and the project directory.
        target: A revision, a prefix of one, ``base``, or a relative one such as ``-1``.
        dry_run: Only report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: No such revision is below the current one.
        ConflictError: Other tables refer to a table that would be dropped.
        RefusedError: Another Alembic environment migrates this database, or the project's
            revisions are not trusted.
        BusyError: The lock was not free in time.
    """
    return await _migrate(settings, target, DOWN, dry_run=dry_run, lock_timeout=lock_timeout)


def migration_sql(settings: Settings, target: str, *, down: bool = False) -> str:
    """Return the SQL of an upgrade from base, or of a downgrade from head, to *target*.

    Args:
        settings: The dialect and the project directory; no connection is opened.
        target: A revision; ``FROM:TO`` names another start.
        down: Return the SQL of a downgrade.

    Raises:
        NotFoundError: The revision does not exist.
    """
    for revision in target.split(":"):
        require_revision(revision)
    config = find_environment(settings.project_dir).config
    buffer = io.StringIO()
    config.output_buffer = buffer
    config.attributes["settings"] = settings
    with alembic_errors(target):
        if not down:
            command.upgrade(config, target, sql=True)
        else:
            command.downgrade(config, target if ":" in target else f"head:{target}", sql=True)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Direction:
    """An upgrade or a downgrade.

    Attributes:
        command: Alembic's command.
        steps: Returns the revisions to run, in order.
        after: Returns the current revisions after a step.
    """

    command: Callable[..., Any]
    steps: Callable[[ScriptDirectory, tuple[str, ...], str], list[Script]]
    after: Callable[[Script], tuple[str, ...]]

    @property
    def name(self) -> str:
        """``upgrade`` or ``downgrade``, which is also the name of a revision's function."""
        return self.command.__name__


UP = _Direction(command.upgrade, steps_up, lambda script: (script.revision,))
DOWN = _Direction(
    command.downgrade,
    lambda scripts, current, target: list(
        scripts.iterate_revisions(current, target, select_for_downgrade=True)
    ),
    parent_revisions,
)


async def _migrate(
    settings: Settings,
    target: str,
    direction: _Direction,
    *,
    dry_run: bool,
    lock_timeout: float,
    schema_anyway: bool = False,
) -> MigrationRun:
    require_revision(target)
    environment = find_environment(settings.project_dir)
    access = Access.READ if dry_run else Access.WRITE
    async with migration_connection(settings, access, lock_timeout) as connection:
        before = await connection.run_sync(current_heads)
        if direction is UP and not (before or schema_anyway):
            await connection.run_sync(require_no_other_schema, settings.project_dir)
        require_known_revisions(revision_status(environment, before))
        with alembic_errors(target):
            steps = direction.steps(environment.scripts, before, target)
        if not steps:
            return MigrationRun("unchanged", join_revisions(before), join_revisions(before), ())
        if direction is UP and not before:
            await connection.run_sync(require_no_tables)
        await connection.run_sync(require_no_dependents, steps, direction.name)
        if not dry_run:
            await connection.run_sync(_run, environment, direction, target)
        elif reason := environment.refusal():
            logger.warning(f"the {direction.name} itself would be refused: {reason}")
    return MigrationRun(
        result="would_update" if dry_run else "updated",
        from_revision=join_revisions(before),
        to_revision=join_revisions(direction.after(steps[-1])),
        revisions=tuple(step.revision for step in steps),
    )


def _run(
    connection: Connection, environment: Environment, direction: _Direction, target: str
) -> None:
    """Run the revisions.

    Raises:
        ConflictError: They left foreign keys to missing tables; the caller rolls back.
    """
    before = dangling_references(connection)
    with alembic_errors(target):
        with_connection(environment, direction.command, target)(connection)
    require_no_new_dangling_references(connection, before)


@asynccontextmanager
async def migration_connection(
    settings: Settings,
    access: Access,
    lock_timeout: float,
    audit: Optional[TransactionAudit] = None,
) -> AsyncIterator[AsyncConnection]:
    """Open a connection and begin a transaction; for writing, take the migration lock before.

    Args:
        settings: The database.
        access: READ or WRITE.
        lock_timeout: Seconds to wait for the lock and for other writers.
        audit: The audit records of the transaction.

    Raises:
        UnreachableError: The SQLite file is missing; no lock file is created.
    """
    require_sqlite_file(database_url(settings), settings.project_dir)
    async with AsyncExitStack() as stack:
        if access is not Access.READ:
            await stack.enter_async_context(job_lock(settings, Job.MIGRATION, timeout=lock_timeout))
        connection = await stack.enter_async_context(
            get_connection(
                settings,
                access=access,
                foreign_keys=False,
                busy_timeout=lock_timeout,
                writes=True,  # also before a prompt
            )
        )
        if access is Access.READ:
            await stack.enter_async_context(connection.begin())
        else:
            audit = audit or TransactionAudit()
            await stack.enter_async_context(writing(connection, audit.write, audit.committed))
        yield connection


def write_revisions(
    connection: Connection, environment: Environment, revisions: tuple[str, ...]
) -> None:
    """Replace the recorded revisions of the schema.

    Args:
        connection: The connection of the migration.
        environment: The environment that has the revisions.
        revisions: Their names; none for the base.
    """
    context = MigrationContext.configure(connection)
    for revision in (BASE, *revisions):
        with alembic_errors(revision):
            context.stamp(environment.scripts, revision)


def abbreviate_names(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
