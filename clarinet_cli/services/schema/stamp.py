"""Recording the revision of a schema without running migrations (``alembic stamp``)."""

from contextlib import nullcontext
from dataclasses import dataclass

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
    first_names,
    migration_connection,
    write_revisions,
)
from clarinet_cli.services.schema.comparison import EXTRA, differences
from clarinet_cli.services.schema.environments import Environment, find_environment
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    joined,
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
        settings: Which database and which project directory.
        target: A revision, a prefix of one, ``head`` or ``base``.
        force: Do not compare the tables with what the revision makes.
        dry_run: Change nothing, report what would be done.
        lock_timeout: Seconds to wait for another migration or writer.

    Raises:
        NotFoundError: There is no such revision.
        RefusedError: The tables are not what the revision makes, another Alembic environment
            migrates this database, or the project's revisions belong to others.
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
                return MigrationRun("unchanged", joined(before), joined(after), ())
            if not force:
                await connection.run_sync(_Requirement(environment, after).check)
            if not dry_run:
                await connection.run_sync(write_revisions, environment, after)
                audit.add(joined(after) or BASE, "updated", from_revision=joined(before))
    result = "would_update" if dry_run else "updated"
    return MigrationRun(result, joined(before), joined(after), after)


@dataclass(frozen=True, slots=True)
class _Requirement:
    """Requires that the Clarinet tables match some revisions."""

    environment: Environment
    revisions: tuple[str, ...]

    def check(self, connection: Connection) -> None:
        """Compare the tables.

        Raises:
            RefusedError: They differ.
        """
        found = self._differences(connection)
        if not found:
            return
        revisions = joined(self.revisions) or BASE
        raise REFUSED.with_context(
            f"the tables do not match revision {revisions}: {first_names(found)}",
            hint="'clarinet migrate upgrade' changes the tables; --force stamps anyway",
        )

    def _differences(self, connection: Connection) -> list[str]:
        if not self.revisions:
            return [f"{EXTRA}table {name}" for name in sorted(present_tables(connection))]
        at_head = set(self.revisions) == set(self.environment.scripts.get_heads())
        found = differences(connection) if at_head else ()
        if not (at_head and self.environment.packaged):
            found += differences(connection, self._made(), types=False)
        # Columns and indexes that only the server has are not checked.
        return [text for text in dict.fromkeys(found) if not (at_head and text.startswith(EXTRA))]

    def _made(self) -> MetaData:
        """Return the tables that the revisions make, by running them on an empty database."""
        made = MetaData()
        with scratch_connection() as connection:
            for revision in self.revisions:
                with alembic_errors(revision):
                    with_connection(self.environment, command.upgrade, revision)(connection)
            names = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
            made.reflect(connection, only=sorted(names))
        return made
