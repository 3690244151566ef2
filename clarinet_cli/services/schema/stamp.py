"""Recording the revision of a schema without running migrations (``alembic stamp``)."""

from contextlib import nullcontext

from alembic import command
from sqlalchemy import Connection, MetaData, inspect

from clarinet_cli.database.engine import Access, scratch_connection
from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import VERSION_TABLE
from clarinet_cli.results import MigrationRun
from clarinet_cli.services.audit import TransactionAudit, audit_transaction
from clarinet_cli.services.locks import DEFAULT_TIMEOUT_SECONDS
from clarinet_cli.services.schema.commands import (
    BASE,
    abbreviate_names,
    migration_connection,
    write_revisions,
)
from clarinet_cli.services.schema.comparison import EXTRA, differences
from clarinet_cli.services.schema.environments import Environment, find_environment
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    join_revisions,
    present_tables,
    require_known_revisions,
    require_revision,
    revision_status,
    with_connection,
)
from clarinet_cli.settings import Settings


async def stamp(
    settings: Settings,
    target: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> MigrationRun:
    """Record that the schema is at *target*, without changing a table.

    Args:
        settings: The database and the project directory.
        target: A revision, a prefix of one, ``head`` or ``base``.
        force: Do not compare the tables with the revision.
        dry_run: Change nothing, report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: The revision does not exist.
        RefusedError: The tables do not match the revision, another Alembic environment migrates
            this database, or the project's revisions belong to others.
        BusyError: The lock was not free in time.
    """
    require_revision(target)
    environment = find_environment(settings.project_dir)
    access = Access.READ if dry_run else Access.WRITE
    with nullcontext(TransactionAudit()) if dry_run else audit_transaction() as audit:
        async with migration_connection(settings, access, lock_timeout, audit) as connection:
            before = await connection.run_sync(current_heads)
            require_known_revisions(revision_status(environment, before))
            with alembic_errors(target):
                found = environment.scripts.get_revisions(target)
            after = tuple(script.revision for script in found if script is not None)
            if set(before) == set(after):
                return MigrationRun("unchanged", join_revisions(before), join_revisions(after), ())
            if not force:
                await connection.run_sync(_require_matching_tables, environment, after)
            if not dry_run:
                await connection.run_sync(write_revisions, environment, after)
                audit.add(
                    join_revisions(after) or BASE, "updated", from_revision=join_revisions(before)
                )
    result = "would_update" if dry_run else "updated"
    return MigrationRun(result, join_revisions(before), join_revisions(after), after)


def _require_matching_tables(
    connection: Connection, environment: Environment, revisions: tuple[str, ...]
) -> None:
    """Refuse revisions that do not make the Clarinet tables as they are."""
    if revisions:
        at_head = set(revisions) == set(environment.scripts.get_heads())
        different = differences(connection) if at_head else ()
        if not (at_head and environment.packaged):
            made = _tables_made_by(environment, revisions)
            different += differences(connection, made, types=False)
        # Columns and indexes that only the server has are not checked.
        found = [
            text for text in dict.fromkeys(different) if not (at_head and text.startswith(EXTRA))
        ]
    else:
        found = [f"{EXTRA}table {name}" for name in sorted(present_tables(connection))]
    if found:
        raise REFUSED.with_context(
            f"the tables do not match revision {join_revisions(revisions) or BASE}: "
            f"{abbreviate_names(found)}",
            hint="'clarinet migrate upgrade' changes the tables; --force stamps anyway",
        )


def _tables_made_by(environment: Environment, revisions: tuple[str, ...]) -> MetaData:
    """Return the tables that revisions make, by running them on an empty database."""
    made = MetaData()
    with scratch_connection() as connection:
        for revision in revisions:
            with alembic_errors(revision):
                with_connection(environment, command.upgrade, revision)(connection)
        names = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
        made.reflect(connection, only=sorted(names))
    return made
