"""Running an Alembic environment: the four Clarinet tables, in one transaction, on one connection.

``clarinet migrate`` and ``clarinet db init`` pass their connection (with the lock held and a
transaction begun); the ``alembic`` command connects to the database of the project's settings.
"""

import asyncio
from typing import Any

from alembic import context
from alembic.command import upgrade
from alembic.operations import MigrationScript
from alembic.util import CommandError
from sqlalchemy import Connection

from clarinet_cli.database.commits import writing
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import configured_settings, get_connection
from clarinet_cli.database.sqlite import create_sqlite_file
from clarinet_cli.database.url import database_url, display_url, require_sqlite_file, sqlite_file
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.models import metadata
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.services.schema.comparison import COMPARISON
from clarinet_cli.services.schema.preconditions import (
    dangling_references,
    require_no_new_dangling_references,
)
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.utils.logger import configure_logging, logger


def _drop_empty_revision(_: Any, __: Any, directives: list[MigrationScript]) -> None:
    """Write no revision if autogenerate found no differences."""
    if (
        directives
        and directives[0].upgrade_ops is not None
        and directives[0].upgrade_ops.is_empty()
    ):
        directives[:] = []


OPTIONS: dict[str, Any] = {
    **COMPARISON,
    "target_metadata": metadata,
    "process_revision_directives": _drop_empty_revision,
}


def _migrate(connection: Connection) -> None:
    """Run the revisions; the caller owns the transaction."""
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


async def _migrate_database(settings: Settings) -> None:
    """Run the revisions on the configured database, under the migration lock."""
    url = database_url(settings)
    # Only 'alembic upgrade' creates a missing SQLite file.
    file = sqlite_file(url)
    (operation, *_) = getattr(context.config.cmd_opts, "cmd", [None])
    if file is not None and operation is upgrade and create_sqlite_file(file):
        logger.info(f"created {display_url(url)}")
    require_sqlite_file(url, settings.project_dir)
    async with (
        job_lock(settings, Job.MIGRATION),
        get_connection(settings, access=Access.WRITE, foreign_keys=False) as connection,
        writing(connection),
    ):
        before = await connection.run_sync(dangling_references)
        await connection.run_sync(_migrate)
        await connection.run_sync(require_no_new_dangling_references, before)


def _write_sql(settings: Settings) -> None:
    """Print the revisions as SQL (``--sql``)."""
    dialect = database_url(settings).get_backend_name()
    context.configure(dialect_name=dialect, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_environment() -> None:
    """Run the environment that Alembic has loaded; called by ``env.py``.

    Raises:
        CommandError: The ``alembic`` command failed.
        ClarinetError: Running on the caller's connection failed.
    """
    attributes = context.config.attributes
    if "connection" in attributes:
        _migrate(attributes["connection"])
    elif "settings" in attributes:
        _write_sql(attributes["settings"])
    else:
        configure_logging(verbosity=1)
        try:
            settings = configured_settings()
            if context.is_offline_mode():
                _write_sql(settings)
            else:
                with SIGNALS.handling():
                    asyncio.run(_migrate_database(settings))
        except ClarinetError as error:
            hint = f" (hint: {error.hint})" if error.hint else ""
            raise CommandError(f"{error.message}{hint}") from error
