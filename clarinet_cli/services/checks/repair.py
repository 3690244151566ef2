"""The repairs that ``doctor --fix`` makes: none deletes valid data."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from clarinet_cli.database.engine import Access
from clarinet_cli.exceptions import FAILURE
from clarinet_cli.filesystem.ownership import os_error_reason
from clarinet_cli.repositories.health import create_index
from clarinet_cli.results import Finding
from clarinet_cli.services.audit import audit_transaction
from clarinet_cli.services.bootstrap import ensure_roles
from clarinet_cli.services.checks.check import DoctorContext
from clarinet_cli.services.checks.files import exposed_files, remove_others_access
from clarinet_cli.services.checks.schema import missing_indexes, owns_schema
from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from clarinet_cli.services.unit_of_work import unit_of_work
from clarinet_cli.utils.logger import logger


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair.

    Attributes:
        check: The check whose finding it resolves.
        text: Describes it.
        run: Makes it.
    """

    check: str
    text: str
    run: Callable[[], Awaitable[object]]


async def plan_repairs(context: DoctorContext, findings: Sequence[Finding]) -> list[Repair]:
    """Return the repairs for what was found, in the order in which they are to be made.

    Args:
        context: The project.
        findings: The findings of the checks.
    """
    found = {item.check for item in findings if item.status != "ok"}
    repairs = []
    if "file-modes" in found:
        repairs += [
            Repair(
                "file-modes",
                f"remove access of other users to {path}",
                partial(_remove_others_access, path),
            )
            for path in exposed_files(context)
        ]
    if "indexes" in found and await owns_schema(context):
        repairs += [
            Repair("indexes", f"create index {name}", partial(_create_index, context, name))
            for name in await missing_indexes(context)
        ]
    if "roles" in found:
        repairs.append(
            Repair("roles", "create missing roles", partial(ensure_roles, context.database))
        )
    if "backlog" in found:
        repairs.append(
            Repair(
                "backlog",
                "remove stale sessions, as 'session cleanup' does",
                partial(_clean_up, context),
            )
        )
    return repairs


async def _remove_others_access(path: Path) -> None:
    with audit_transaction() as audit:
        audit.add(str(path), "updated", closed_to="others")
        audit.write()
        try:
            remove_others_access(path)
        except OSError as error:
            logger.bind(reported=True).error(f"{path}: {error}")
            reason = os_error_reason(error, path)
            raise FAILURE.with_context(
                f"cannot remove access of others to {path}: {reason}"
            ) from error
        audit.committed()


async def _create_index(context: DoctorContext, name: str) -> None:
    async with unit_of_work(context.database, access=Access.WRITE) as work:
        await create_index(work.session, name)
        work.record_change(name, "created")


async def _clean_up(context: DoctorContext) -> None:
    settings = context.settings
    days = settings.server_limit("session_cleanup_retention_days")
    plan = CleanupPlan(
        batch_size=settings.session_cleanup_batch_size,
        older_than=timedelta(days=days) if days else None,
    )
    await clean_up(settings, plan)
