"""Moving a schema up and down, under the lock and in one transaction."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import get_connection, writing
from clarinet_cli.database.url import database_url, require_sqlite_file
from clarinet_cli.results import MigrationRun
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS, Job, job_lock
from clarinet_cli.services.schema.dependents import (
    references_to_nothing,
    require_no_dependents,
    require_no_more_to_nothing,
)
from clarinet_cli.services.schema.environments import Environment, find_environment
from clarinet_cli.services.schema.order import require_no_tables, require_schema_order
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    joined,
    on,
    parents_of,
    require_ours,
    require_revision,
    status_of,
    steps_up,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger


async def upgrade(
    settings: Settings,
    target: str = "head",
    *,
    dry_run: bool = False,
    schema_anyway: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Bring the schema to *target*, in one transaction.

    Args:
        settings: Which database and which project directory.
        target: A revision, a prefix of one, ``head``, or a relative one such as ``+1``.
        dry_run: Change nothing, report what would be done.
        schema_anyway: Make our tables in the empty database of a project with migrations of
            another program.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: There is no such revision.
        ConflictError: Our tables exist without a revision, or other tables point at ones
            that would be dropped.
        RefusedError: Another Alembic environment migrates this database, or the project has
            one; or the project's revisions belong to others.
        UnreachableError: There is no database.
        BusyError: The lock was not free in time.
    """
    if not schema_anyway:
        await require_schema_order(settings)
    return await _move(settings, target, UP, dry_run=dry_run, lock_timeout=lock_timeout)


async def downgrade(
    settings: Settings,
    target: str,
    *,
    dry_run: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Take the schema back to *target*, in one transaction; data in dropped tables is lost.

    Args:
        settings: Which database and which project directory.
        target: A revision, a prefix of one, ``base``, or a relative one such as ``-1``.
        dry_run: Change nothing, report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: There is no such revision below the current one.
        ConflictError: Other tables point at ones that would be dropped.
        RefusedError: Another Alembic environment migrates this database, or the project's
            revisions belong to others.
        BusyError: The lock was not free in time.
    """
    return await _move(settings, target, DOWN, dry_run=dry_run, lock_timeout=lock_timeout)


def migration_sql(settings: Settings, target: str, *, down: bool = False) -> str:
    """Return the SQL of an upgrade from nothing, or of a downgrade from head, to *target*.

    Args:
        settings: Which dialect and which project directory; no connection is made.
        target: Where to go; ``FROM:TO`` names another start.
        down: A downgrade.

    Raises:
        NotFoundError: There is no such revision.
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
            way = target if ":" in target else f"head:{target}"
            command.downgrade(config, way, sql=True)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Direction:
    """Up or down: the operation, and the revisions that it would pass, in order."""

    command: Callable[..., Any]
    steps: Callable[[ScriptDirectory, tuple[str, ...], str], list[Script]]
    after: Callable[[Script], tuple[str, ...]]

    @property
    def name(self) -> str:
        """``upgrade`` or ``downgrade``: the function of a revision too."""
        return self.command.__name__


def _steps_down(scripts: ScriptDirectory, current: tuple[str, ...], target: str) -> list[Script]:
    return list(scripts.iterate_revisions(current, target, select_for_downgrade=True))


UP = _Direction(command.upgrade, steps_up, lambda script: (script.revision,))
DOWN = _Direction(command.downgrade, _steps_down, parents_of)


async def _move(
    settings: Settings, target: str, direction: _Direction, *, dry_run: bool, lock_timeout: float
) -> MigrationRun:
    require_revision(target)
    environment = find_environment(settings.project_dir)
    access = Access.READ if dry_run else Access.WRITE
    async with migration_connection(settings, access, lock_timeout) as connection:
        before = await connection.run_sync(current_heads)
        require_ours(status_of(environment, before))
        with alembic_errors(target):
            steps = direction.steps(environment.scripts, before, target)
        if not steps:
            return MigrationRun("unchanged", joined(before), joined(before), ())
        if direction is UP and not before:
            await connection.run_sync(require_no_tables)
        await connection.run_sync(require_no_dependents, steps, direction.name)
        if not dry_run:
            await connection.run_sync(_run, environment, direction, target)
        elif reason := environment.why_not_run():
            logger.warning(f"the {direction.name} itself would be refused: {reason}")
    return MigrationRun(
        result="would_update" if dry_run else "updated",
        from_revision=joined(before),
        to_revision=joined(direction.after(steps[-1])),
        revisions=tuple(step.revision for step in steps),
    )


def _run(
    connection: Connection, environment: Environment, direction: _Direction, target: str
) -> None:
    """Run the revisions; what leaves tables pointing at nothing is taken back."""
    before = references_to_nothing(connection)
    with alembic_errors(target):
        on(environment, direction.command, target)(connection)
    require_no_more_to_nothing(connection, before)


@asynccontextmanager
async def migration_connection(
    settings: Settings, access: Access, lock_timeout: float
) -> AsyncIterator[AsyncConnection]:
    """Open a connection with a transaction begun and, unless for reading, the lock taken.

    Raises:
        UnreachableError: The SQLite file is missing; nothing is made beside it.
    """
    require_sqlite_file(database_url(settings), settings.project_dir)
    async with AsyncExitStack() as stack:
        if access is not Access.READ:
            await stack.enter_async_context(job_lock(settings, Job.MIGRATION, timeout=lock_timeout))
        connection = await stack.enter_async_context(
            get_connection(settings, access=access, foreign_keys=False, busy_timeout=lock_timeout)
        )
        if access is Access.READ:
            await stack.enter_async_context(connection.begin())
        else:
            await stack.enter_async_context(writing(connection))
        yield connection
