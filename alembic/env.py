"""The environment that Alembic runs: our four tables, in one transaction, on one connection.

``clarinet migrate`` and ``clarinet db init`` hand their connection in (with the lock taken
and a transaction begun); the ``alembic`` command finds the database by the project's settings.
"""

import asyncio
from typing import Any

from alembic import context
from alembic.operations import MigrationScript
from alembic.util import CommandError
from sqlalchemy import Connection

from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.models import metadata
from clarinet_cli.services.locks import Job, exclusive
from clarinet_cli.services.migrations.comparison import COMPARISON
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import (
    Access,
    configured_settings,
    database_url,
    get_connection,
)
from clarinet_cli.utils.logger import configure_logging


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


async def migrate_database(settings: Settings) -> None:
    """Run the revisions on the database that the settings name, under the lock."""
    async with (
        exclusive(settings, Job.MIGRATION),
        get_connection(settings, access=Access.CREATE, foreign_keys=False) as connection,
        connection.begin(),
    ):
        await connection.run_sync(migrate)


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
            asyncio.run(migrate_database(settings))
    except ClarinetError as error:
        raise CommandError(error.message) from error


given = context.config.attributes
if "connection" in given:
    migrate(given["connection"])
elif "settings" in given:
    write_sql(given["settings"])
else:
    run_from_command_line()
