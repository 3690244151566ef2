"""The environment that Alembic runs: our four tables, in one transaction, on one connection.

``clarinet migrate`` and ``clarinet db init`` hand their connection in (with the lock taken
and a transaction begun); the ``alembic`` command finds the database by the project's settings.
"""

import asyncio
from typing import Any

from alembic import context
from alembic.command import upgrade
from alembic.operations import MigrationScript
from alembic.util import CommandError
from sqlalchemy import Connection

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import configured_settings, get_connection, writing
from clarinet_cli.database.url import (
    create_sqlite_file,
    database_url,
    display_url,
    require_sqlite_file,
    sqlite_file,
)
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.models import metadata
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.services.schema.comparison import COMPARISON
from clarinet_cli.services.schema.dependents import (
    references_to_nothing,
    require_no_more_to_nothing,
)
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.utils.logger import configure_logging, logger


def drop_empty_revision(_: Any, __: Any, directives: list[MigrationScript]) -> None:
    """Write no file when autogenerate found nothing to do."""
    if (
        directives
        and directives[0].upgrade_ops is not None
        and directives[0].upgrade_ops.is_empty()
    ):
        directives[:] = []


OPTIONS: dict[str, Any] = {
    **COMPARISON,
    "target_metadata": metadata,
    "process_revision_directives": drop_empty_revision,
}


def migrate(connection: Connection) -> None:
    """Run the revisions on a connection whose transaction somebody else ends."""
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def require_database(settings: Settings) -> None:
    """Make a missing SQLite file for ``alembic upgrade``, and say which; for nothing else."""
    url = database_url(settings)
    file = sqlite_file(url)
    (operation, *_) = getattr(context.config.cmd_opts, "cmd", [None])
    if file is not None and operation is upgrade and create_sqlite_file(file):
        logger.info(f"created {display_url(url)}")
    require_sqlite_file(url, settings.project_dir)


async def migrate_database(settings: Settings) -> None:
    """Run the revisions on the database that the settings name, under the lock."""
    require_database(settings)
    async with (
        job_lock(settings, Job.MIGRATION),
        get_connection(settings, access=Access.WRITE, foreign_keys=False) as connection,
        writing(connection),
    ):
        before = await connection.run_sync(references_to_nothing)
        await connection.run_sync(migrate)
        await connection.run_sync(require_no_more_to_nothing, before)


def write_sql(settings: Settings) -> None:
    """Print the revisions as SQL (``--sql``)."""
    dialect = database_url(settings).get_backend_name()
    context.configure(dialect_name=dialect, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_from_command_line() -> None:
    """Do what the ``alembic`` command was asked for."""
    configure_logging(verbosity=1)
    try:
        settings = configured_settings()
        if context.is_offline_mode():
            write_sql(settings)
        else:
            with SIGNALS.handling():
                asyncio.run(migrate_database(settings))
    except ClarinetError as error:
        hint = f" (hint: {error.hint})" if error.hint else ""
        raise CommandError(f"{error.message}{hint}") from error


given = context.config.attributes
if "connection" in given:
    migrate(given["connection"])
elif "settings" in given:
    write_sql(given["settings"])
else:
    run_from_command_line()
