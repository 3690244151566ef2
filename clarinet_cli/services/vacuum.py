"""Reclaim the space of deleted rows."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS, Access
from clarinet_cli.database.errors import TABLE_HINT
from clarinet_cli.database.session import get_connection
from clarinet_cli.database.url import database_url, display_url, sqlite_file
from clarinet_cli.exceptions import FAILURE, NO_SPACE
from clarinet_cli.filesystem.ownership import describe_owner, sudo_hint
from clarinet_cli.repositories.vacuum import (
    VACUUM_SECONDS,
    postgresql_tables,
    sqlite_pages,
    vacuum_postgresql,
    vacuum_sqlite,
)
from clarinet_cli.results import VacuumReport
from clarinet_cli.settings import Settings
from clarinet_cli.textfmt import format_size

OWNER_HINT = "connect as the owner of the tables, or GRANT MAINTAIN (PostgreSQL 17 and later)"


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """The plan of a vacuum.

    Attributes:
        url: The database, without the password.
        bytes_before: The size of what is vacuumed.
        bytes_needed: The maximum free space that it needs.
        waiting: What it blocks.
        full: Whether tables are rewritten.
        requires_confirmation: Whether it requires a confirmation.
    """

    url: str
    bytes_before: int
    bytes_needed: int
    waiting: str
    full: bool
    requires_confirmation: bool = False


async def plan_vacuum(settings: Settings, *, full: bool = False) -> VacuumPlan:
    """Return what a vacuum would do; check the free disk space.

    Args:
        settings: The settings, which name the database.
        full: PostgreSQL: rewrite the tables.

    Raises:
        NoSpaceError: The disk of the SQLite file has too little free space.
        ClarinetError: No Clarinet table exists, or SQLite cannot create a file beside the database.
    """
    url = database_url(settings)
    file = sqlite_file(url)
    if file is not None:
        return await _plan_sqlite(settings, file.resolve(), display_url(url))
    async with get_connection(settings, writes=True) as connection:
        tables = await postgresql_tables(connection)
    if not tables:
        raise FAILURE.with_context("the tables do not exist", hint=TABLE_HINT)
    waiting = "does not block reads or writes"
    if full:
        waiting = "blocks all access to each table during its rewrite"
    needed = max(tables.values()) if full else 0
    return VacuumPlan(
        display_url(url), sum(tables.values()), needed, waiting, full, requires_confirmation=full
    )


async def vacuum(settings: Settings, plan: VacuumPlan) -> VacuumReport:
    """Vacuum the SQLite file, or the Clarinet tables of a PostgreSQL database.

    Args:
        settings: The settings, which name the database.
        plan: What ``plan_vacuum`` returned.

    Raises:
        BusyError: Another process held a lock for too long.
        ClarinetError: It failed, or the user lacks the permission; no row was lost.
    """
    began = monotonic()
    file = sqlite_file(database_url(settings))
    if file is not None:
        file = file.resolve()
        async with get_connection(settings, access=Access.WRITE) as connection:
            complete = await vacuum_sqlite(connection, file.parent, BUSY_TIMEOUT_SECONDS)
        after = _size(file)
    else:
        complete = True
        options = {"statement_timeout": VACUUM_SECONDS}
        async with get_connection(settings, access=Access.WRITE, **options) as connection:
            tables = list(await postgresql_tables(connection))
            permitted = await vacuum_postgresql(
                connection, tables, full=plan.full, timeout=BUSY_TIMEOUT_SECONDS
            )
            after = sum((await postgresql_tables(connection)).values())
        if not permitted:
            raise FAILURE.with_context(
                f"{plan.url}: the database user cannot vacuum the tables", hint=OWNER_HINT
            )
    seconds = round(monotonic() - began, 3)
    return VacuumReport(plan.bytes_before, after, seconds, plan.full, complete)


async def _plan_sqlite(settings: Settings, file: Path, url: str) -> VacuumPlan:
    async with get_connection(settings) as connection:
        pages = await sqlite_pages(connection)
    if not os.access(file.parent, os.W_OK):
        raise FAILURE.with_context(
            f"{file.parent} cannot be written by this user: {describe_owner(file.parent)}",
            hint=sudo_hint(file),
        )
    used = (pages.total - pages.free) * pages.page_bytes
    # A copy of what is used, and the log of all pages that it replaces, or of those it writes.
    needed = used + (used if pages.wal else pages.total * pages.page_bytes)
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise NO_SPACE.with_context(
            f"{file.parent} has {format_size(free)} free, but a vacuum may need "
            f"{format_size(needed)}",
            hint="free disk space and try again; nothing was changed",
        )
    waiting = "blocks writers"
    if not pages.wal:
        waiting += ", and readers briefly at the end"
    return VacuumPlan(url, _size(file), needed, waiting, full=True)


def _size(file: Path) -> int:
    """Return the bytes of a SQLite file and of its log."""
    files = (file, file.with_name(f"{file.name}-wal"))
    return sum(path.stat().st_size for path in files if path.exists())
