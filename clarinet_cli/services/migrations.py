"""Schema revisions: where a database stands, and moving it, under the lock."""

import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Optional

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from alembic import command
from clarinet_cli.exceptions import (
    CHECK_FAILED,
    CONFLICT,
    FAILURE,
    NOT_FOUND,
    REFUSED,
    ClarinetError,
)
from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.results import FileChange, MigrationRun, MigrationStatus, RevisionRow, Step
from clarinet_cli.services.comparison import COMPARISON
from clarinet_cli.services.environments import Environment, find_environment
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS, Job, exclusive
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import Access, get_connection
from clarinet_cli.utils.logger import logger

FOREIGN = "another Alembic environment migrates this database"
CREATE_HINT = "'clarinet migrate init' puts one into the project directory"


async def migration_status(settings: Settings) -> MigrationStatus:
    """Compare the database's revision with the environment's.

    Args:
        settings: Which database and which project directory.
    """
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        current = await connection.run_sync(current_heads)
    return _status(environment, current)


def current_heads(connection: Connection) -> tuple[str, ...]:
    """Return the revisions that the database says it is at; empty when it never migrated."""
    return tuple(MigrationContext.configure(connection).get_current_heads())


async def upgrade(
    settings: Settings,
    target: str = "head",
    *,
    dry_run: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Bring the schema to *target*, in one transaction, and create a missing SQLite file.

    Args:
        settings: Which database and which project directory.
        target: A revision, a prefix of one, ``head``, or a relative one such as ``+1``.
        dry_run: Change nothing, report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: There is no such revision.
        RefusedError: Another Alembic environment migrates this database.
        BusyError: The lock was not free in time.
    """
    access = Access.READ if dry_run else Access.CREATE
    return await _move(settings, target, UP, access, lock_timeout)


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
        RefusedError: Another Alembic environment migrates this database.
        BusyError: The lock was not free in time.
    """
    access = Access.READ if dry_run else Access.WRITE
    return await _move(settings, target, DOWN, access, lock_timeout)


def migration_sql(settings: Settings, target: str, *, down: bool = False) -> str:
    """Return the SQL of an upgrade from nothing, or of a downgrade from head, to *target*.

    Args:
        settings: Which dialect and which project directory; no connection is made.
        target: Where to go; ``FROM:TO`` names another start.
        down: A downgrade.

    Raises:
        NotFoundError: There is no such revision.
    """
    environment = find_environment(settings.project_dir)
    buffer = io.StringIO()
    environment.config.output_buffer = buffer
    environment.config.attributes["settings"] = settings
    with _alembic_errors(target):
        if not down:
            command.upgrade(environment.config, target, sql=True)
        else:
            way = target if ":" in target else f"head:{target}"
            command.downgrade(environment.config, way, sql=True)
    return buffer.getvalue()


async def history(settings: Settings) -> list[RevisionRow]:
    """Return the environment's revisions, newest first, with marks for current and head."""
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        current = await connection.run_sync(current_heads)
    scripts = environment.scripts
    heads = scripts.get_heads()
    return [
        RevisionRow(
            revision=script.revision,
            down_revision=_joined(_parents(script)),
            message=script.doc,
            current=script.revision in current,
            head=script.revision in heads,
        )
        for script in scripts.walk_revisions()
    ]


async def create_revision(
    settings: Settings, message: str, *, empty: bool = False, dry_run: bool = False
) -> list[FileChange]:
    """Write a new revision into the project's environment.

    Args:
        settings: Which database to compare the models with, and which project directory.
        message: What the revision does; its slug becomes part of the file's name.
        empty: Write one without operations instead of comparing.
        dry_run: Write nothing, report what would be written.

    Returns:
        The file, or nothing when there is nothing to do.

    Raises:
        RefusedError: The project has no environment of its own.
        CheckFailedError: The database is not at head.
    """
    environment = find_environment(settings.project_dir)
    if environment.packaged:
        raise REFUSED.with_context(
            "this project has no migration environment of its own", hint=CREATE_HINT
        )
    directory = environment.location / "versions"
    if empty and dry_run:
        return [FileChange(str(directory), "would_create")]
    if empty:
        with _alembic_errors(message):
            return _files(command.revision(environment.config, message))
    async with get_connection(settings) as connection, connection.begin():
        status = _status(environment, await connection.run_sync(current_heads))
        require_ours(status)
        if not status.up_to_date:
            raise CHECK_FAILED.with_context(
                f"the database is not at head: pending {', '.join(status.pending)}",
                hint="'clarinet migrate upgrade' first",
            )
        if dry_run:
            differences = await connection.run_sync(_differences)
            return [FileChange(str(directory), "would_create")] if differences else []
        with _alembic_errors(message):
            return _files(
                await connection.run_sync(
                    _on(environment, command.revision, message, autogenerate=True)
                )
            )


async def ensure_schema(settings: Settings, *, dry_run: bool = False) -> Step:
    """Bring the schema to head, unless somebody else looks after it.

    Tables that another Alembic environment migrates, or that another program made among
    tables of its own, are left alone. Our four tables without a revision are adopted when
    they are what our revisions would have made.

    Args:
        settings: Which database and which project directory.
        dry_run: Change nothing, report what would be done.

    Raises:
        ConflictError: Some of our tables exist, but not as our revisions make them.
    """
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        # First the tables: a migration that commits between the two looks shows in both.
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        status = _status(environment, await connection.run_sync(current_heads))
        differences = await connection.run_sync(_differences)
    if status.unknown:
        return Step("schema", "unchanged", f"{FOREIGN} ({_joined(status.unknown)}), left alone")
    present = tables.intersection(TABLE_NAMES)
    if status.current or not present:
        run = await upgrade(settings, dry_run=dry_run)
        verb = {"updated": "created" if run.from_revision is None else "updated"}
        verb |= {"would_update": "would_create" if run.from_revision is None else "would_update"}
        return Step("schema", verb.get(run.result, run.result), f"revision {run.to_revision}")
    if tables - present - {"alembic_version"} and len(present) == len(TABLE_NAMES):
        return Step("schema", "unchanged", "made by another program, left alone")
    if differences:
        raise CONFLICT.with_context(
            f"tables exist already, but not as our revisions make them: {', '.join(differences)}",
            hint="name an empty database, or run the migrations of the server that owns this one",
        )
    if not dry_run:
        await _stamp_head(settings, environment)
    return Step("schema", "would_update" if dry_run else "updated", "existing tables adopted")


async def database_has_tables(settings: Settings) -> bool:
    """Return whether all of our tables exist."""
    async with get_connection(settings) as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return set(TABLE_NAMES) <= set(tables)


def _differences(connection: Connection) -> list[str]:
    """Name what an upgrade of the existing tables to our models would have to do."""
    found = compare_metadata(MigrationContext.configure(connection, opts=COMPARISON), metadata)
    flat = [item[0] if isinstance(item, list) else item for item in found]
    return sorted({str(item[0]) for item in flat})


async def _stamp_head(settings: Settings, environment: Environment) -> None:
    async with _migration_connection(settings, Access.WRITE, DEFAULT_TIMEOUT_SECONDS) as connection:
        with _alembic_errors("head"):
            await connection.run_sync(_on(environment, command.stamp, "head"))


@dataclass(frozen=True, slots=True)
class _Direction:
    """Up or down: the operation, and the revisions that it would pass, in order."""

    command: Callable[..., Any]
    steps: Callable[[ScriptDirectory, tuple[str, ...], str], list[Script]]
    after: Callable[[Script], tuple[str, ...]]


def _steps_up(scripts: ScriptDirectory, current: tuple[str, ...], target: str) -> list[Script]:
    return list(reversed(list(scripts.iterate_revisions(target, current, implicit_base=True))))


def _steps_down(scripts: ScriptDirectory, current: tuple[str, ...], target: str) -> list[Script]:
    return list(scripts.iterate_revisions(current, target, select_for_downgrade=True))


def _parents(script: Script) -> tuple[str, ...]:
    down = script.down_revision
    return (down,) if isinstance(down, str) else tuple(down or ())


UP = _Direction(command.upgrade, _steps_up, lambda script: (script.revision,))
DOWN = _Direction(command.downgrade, _steps_down, _parents)


async def _move(
    settings: Settings, target: str, direction: _Direction, access: Access, lock_timeout: float
) -> MigrationRun:
    environment = find_environment(settings.project_dir)
    dry_run = access is Access.READ
    async with _migration_connection(settings, access, lock_timeout) as connection:
        before = await connection.run_sync(current_heads)
        require_ours(_status(environment, before))
        with _alembic_errors(target):
            steps = direction.steps(environment.scripts, before, target)
        if not steps:
            return MigrationRun("unchanged", _joined(before), _joined(before), ())
        if not dry_run:
            with _alembic_errors(target):
                await connection.run_sync(_on(environment, direction.command, target))
    return MigrationRun(
        result="would_update" if dry_run else "updated",
        from_revision=_joined(before),
        to_revision=_joined(direction.after(steps[-1])),
        revisions=tuple(step.revision for step in steps),
    )


@asynccontextmanager
async def _migration_connection(
    settings: Settings, access: Access, lock_timeout: float
) -> AsyncIterator[AsyncConnection]:
    """Open a connection with a transaction begun and, unless for reading, the lock taken."""
    async with AsyncExitStack() as stack:
        if access is not Access.READ:
            await stack.enter_async_context(
                exclusive(settings, Job.MIGRATION, timeout=lock_timeout)
            )
        connection = await stack.enter_async_context(
            get_connection(settings, access=access, foreign_keys=False, busy_timeout=lock_timeout)
        )
        await stack.enter_async_context(connection.begin())
        yield connection


def _on(
    environment: Environment, action: Callable[..., Any], *arguments: Any, **options: Any
) -> Callable[..., Any]:
    """Return *action* as a function of the connection that the environment is to use."""

    def run(connection: Connection) -> object:
        environment.config.attributes["connection"] = connection
        return action(environment.config, *arguments, **options)

    return run


def _status(environment: Environment, current: tuple[str, ...]) -> MigrationStatus:
    scripts = environment.scripts
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = tuple(revision for revision in current if revision not in known)
    heads = tuple(scripts.get_heads())
    pending = (
        () if unknown else tuple(step.revision for step in _steps_up(scripts, current, "heads"))
    )
    return MigrationStatus(
        environment=str(environment.location),
        current=current,
        heads=heads,
        pending=pending,
        unknown=unknown,
        up_to_date=not unknown and not pending,
    )


def require_ours(status: MigrationStatus) -> None:
    """Refuse to touch a schema that another Alembic environment migrates.

    Raises:
        RefusedError: The database is at a revision that our environment does not have.
    """
    if status.unknown:
        raise REFUSED.with_context(
            f"{FOREIGN} (revision {', '.join(status.unknown)}); its schema is left alone",
            hint="run the migrations of the server that owns it",
        )


@contextmanager
def _alembic_errors(target: str) -> Iterator[None]:
    """Turn Alembic's errors inside the block into errors in the operator's words."""
    try:
        yield
    except (CommandError, RevisionError) as error:
        logger.bind(reported=True).error(f"alembic: {error}")
        raise _explained(error, target) from error


def _explained(error: Exception, target: str) -> ClarinetError:
    text = str(error)
    if "Multiple" in text or "more than one" in text.lower():
        return REFUSED.with_context(f"revision {target!r} is ambiguous: {text}")
    if (
        "locate" in text
        or "No such revision" in text
        or "Relative revision" in text
        or "not a valid" in text
        or "not an ancestor" in text
    ):
        return NOT_FOUND.with_context(
            f"no revision {target!r}", hint="'clarinet migrate history' lists them"
        )
    return FAILURE.with_context(text)


def _files(scripts: object) -> list[FileChange]:
    found = scripts if isinstance(scripts, list) else [scripts]
    return [FileChange(script.path, "created") for script in found if isinstance(script, Script)]


def _joined(revisions: Sequence[str]) -> Optional[str]:
    return ", ".join(revisions) or None
