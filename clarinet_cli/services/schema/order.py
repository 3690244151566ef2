"""Who makes our tables first, and what to do when they are there otherwise."""

from collections.abc import Sequence
from typing import Optional

from sqlalchemy import Connection

from clarinet_cli.database.session import get_connection
from clarinet_cli.exceptions import CONFLICT, REFUSED, ConflictError
from clarinet_cli.results import MigrationStatus
from clarinet_cli.services.bootstrap import database_exists
from clarinet_cli.services.schema.comparison import differences
from clarinet_cli.services.schema.environments import find_environment, foreign_environment
from clarinet_cli.services.schema.state import current_heads, our_tables
from clarinet_cli.settings import Settings

WRITE_REVISION = "'clarinet migrate create -m mend' and 'clarinet migrate upgrade'"
MEND = f"restore a backup, or 'clarinet migrate init', {WRITE_REVISION}"


async def require_schema_order(settings: Settings, *, creates: bool = False) -> None:
    """Refuse to make our tables where the project's server would make them by its migrations.

    Args:
        settings: Which database and which project directory.
        creates: Whether a missing database would be made; otherwise its absence is left to
            be said by who needs it.

    Raises:
        RefusedError: The project has another Alembic environment, and the database is empty.
    """
    foreign = foreign_environment(settings.project_dir)
    if foreign is None:
        return
    if await database_exists(settings):
        async with get_connection(settings) as connection:
            current = await connection.run_sync(current_heads)
            tables = await connection.run_sync(our_tables)
        if current or tables:
            return
    elif not creates:
        return
    raise REFUSED.with_context(
        f"{foreign} is the migration environment of another program, which has not made the "
        "tables yet; after ours its migrations would fail",
        hint="first that program's migrations, such as 'alembic upgrade head', then "
        "'clarinet db init'; --schema-anyway makes our tables all the same",
    )


async def require_runnable(settings: Settings) -> None:
    """Refuse before a database is made that would stay empty.

    Args:
        settings: Which database and which project directory.

    Raises:
        RefusedError: It is missing, and the project's migrations would not be run.
    """
    if not await database_exists(settings):
        _ = find_environment(settings.project_dir).config


def require_no_tables(connection: Connection) -> None:
    """Refuse to run the first revision where our tables are already.

    Args:
        connection: To a database without a revision.

    Raises:
        ConflictError: They are, and what to do about it.
    """
    if our_tables(connection):
        raise unversioned(differences(connection))


def unversioned(found: Sequence[str]) -> ConflictError:
    """Return the error that says that our tables exist without a revision.

    Args:
        found: What distinguishes them from ours.
    """
    message = "our tables exist already, and the database has no revision"
    if not found:
        hint = "'clarinet db init' takes them over as they are"
        return CONFLICT.with_context(message, hint=hint)
    return CONFLICT.with_context(
        f"{message}; they are not as our revisions make them: {', '.join(found)}",
        hint="if a server owns them, run its migrations; else 'clarinet migrate init', "
        f"'alembic stamp head' in the project directory, {WRITE_REVISION}",
    )


def status_advice(status: MigrationStatus) -> list[str]:
    """Return what to do about what a status shows; nothing when all is well.

    Args:
        status: It.
    """
    if status.unknown:
        return ["another Alembic environment migrates this database: see the server that owns it"]
    if not status.current and status.differences:
        return [str(unversioned(status.differences).hint)]
    if status.up_to_date and status.differences:
        return [f"tables that differ: {MEND}"]
    return []


def incomplete(revision: Optional[str], missing: Sequence[str]) -> ConflictError:
    """Return the error that says that a database lacks parts of what its revision makes.

    Args:
        revision: Where the database says that it is.
        missing: The parts.
    """
    return CONFLICT.with_context(
        f"the database says it is at revision {revision}, but differs: {', '.join(missing)}",
        hint=MEND,
    )
