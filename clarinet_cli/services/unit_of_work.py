"""The unit of work: one audited transaction.

An operation takes a ``UnitOfWork`` and calls repositories. Only jobs, which need several
transactions or connections, take settings or a ``Database`` and open transactions themselves.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Optional, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import Database, as_database, open_database
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.services.audit import TransactionAudit, audit_transaction
from clarinet_cli.settings import Settings
from clarinet_cli.types import planned_result

__all__ = [
    "Access",
    "Database",
    "UnitOfWork",
    "as_database",
    "open_database",
    "run_operation",
    "unit_of_work",
]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One transaction and the record of what it changes.

    Attributes:
        session: The session of the transaction.
        settings: The project's settings.
        audit: The audit records of the transaction.
        dry_run: Whether it is rolled back at the end.
        revoked_users: The accounts whose sessions it revoked because their rights or password
            changed; see ``ConcurrentLogins``.
    """

    session: AsyncSession
    settings: Settings
    audit: TransactionAudit
    dry_run: bool = False
    revoked_users: set[UUID] = field(default_factory=set)

    def record_change(self, target: Optional[UUID | str], result: str, **counts: object) -> None:
        """Add a change to the audit records; ``unchanged`` is ignored.

        Args:
            target: The id of the account or session; None for many.
            result: ``created``, ``updated``, ``deleted`` or ``revoked``.
            **counts: Further values, such as ``sessions_revoked``; no secret, no address.
        """
        self.audit.add(target, result, **counts)

    def result(self, result: str) -> str:
        """Return a result as it is reported: ``would_update`` in a dry run."""
        return planned_result(result) if self.dry_run else result


@asynccontextmanager
async def unit_of_work(
    source: Settings | Database,
    *,
    access: Access = Access.READ,
    dry_run: bool = False,
    check_tables: bool = True,
) -> AsyncIterator[UnitOfWork]:
    """Run the block in one transaction, and commit it together with its audit records.

    Args:
        source: The settings, or a ``Database`` whose engine is shared with other units.
        access: WRITE when the block changes rows.
        dry_run: Roll back at the end and write no audit record.
        check_tables: Refuse tables that are not those of the server.

    Raises:
        ClarinetError: The driver's error, translated, or an audit record cannot be written.
            Nothing was changed, unless ``outcome_unknown`` is set.
    """
    audited = access is Access.WRITE and not dry_run
    with audit_transaction() if audited else nullcontext(TransactionAudit()) as audit:
        async with (
            as_database(source) as database,
            database.session(access=access) as session,
            transaction(
                session,
                access,
                dry_run=dry_run,
                before_commit=audit.write,
                committed=audit.committed,
            ),
        ):
            if check_tables:
                await require_server_tables(session)
            yield UnitOfWork(session, database.settings, audit, dry_run=dry_run)


async def require_fitting_tables(settings: Settings) -> None:
    """Refuse an application's tables that the mapping does not fit; Clarinet's own are accepted.

    Args:
        settings: The database, and the mapping.

    Raises:
        ConfigurationError: They differ; the message has the key, the expected and the actual.
    """
    if not settings.capabilities.own_schema:
        async with unit_of_work(settings):
            pass


async def run_operation(
    source: Settings | Database,
    operation: Callable[[UnitOfWork], Awaitable[ResultT]],
    *,
    check_tables: bool = True,
) -> ResultT:
    """Run one operation in a unit of work of its own, for reading, and return its result.

    Args:
        source: See ``unit_of_work``.
        operation: Takes the unit of work.
        check_tables: See ``unit_of_work``.
    """
    async with unit_of_work(source, check_tables=check_tables) as work:
        return await operation(work)
