"""Checks of space: on the disk, in the database, and in its log."""

import shutil
from typing import Final

from clarinet_cli.repositories.health import HealthRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.vacuum import sqlite_pages
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.textfmt import format_size
from clarinet_cli.types import CheckGroup

MEBIBYTE: Final = 2**20
MIN_FREE_BYTES: Final = 100 * MEBIBYTE
MIN_UNUSED_BYTES: Final = 10 * MEBIBYTE
FREE_SHARE: Final = 0.25
DEAD_SHARE: Final = 0.2
DEAD_ROWS: Final = 10_000
LARGE_LOG: Final = 256 * MEBIBYTE
LARGE_SLOT: Final = 1000 * MEBIBYTE
VACUUM_HINT = "clarinet db vacuum"


async def check_disk(context: DoctorContext) -> list[Problem]:
    """Compare the free space of the disk with the size of the database."""
    async with context.session() as session:
        size = await ServerRepository(session).size()
    if context.file is None:
        text = (
            f"the database is {format_size(size)}; the free space of the server's disk is unknown"
        )
        return [Problem("ok", text)]
    free = shutil.disk_usage(context.file.parent).free
    text = f"the database is {format_size(size)}, and its disk has {format_size(free)} free"
    hint = f"free space on the disk of {context.file.parent}"
    if free < MIN_FREE_BYTES:
        return [Problem("error", f"{text}: log-ins will soon fail", hint)]
    if free < 2 * size:
        return [Problem("warning", f"{text}: a backup or a vacuum may not fit", hint)]
    return [Problem("ok", text)]


async def check_unused_space(context: DoctorContext) -> list[Problem]:
    """Find the unused space of deleted rows."""
    async with context.session() as session:
        if context.file is not None:
            pages = await sqlite_pages(await session.connection())
            unused = pages.free * pages.page_bytes
            if unused < MIN_UNUSED_BYTES or pages.free < FREE_SHARE * pages.total:
                return []
            text = f"{format_size(unused)} of the file are unused"
            return [Problem("warning", f"{text}: backups and caches include them", VACUUM_HINT)]
        tables = await HealthRepository(session).dead_tuples()
    return [
        Problem(
            "warning",
            f"{dead} of {dead + live} rows of {table} are dead: queries read them all",
            VACUUM_HINT,
        )
        for table, live, dead in tables
        if dead > DEAD_ROWS and dead > DEAD_SHARE * (dead + live)
    ]


async def check_log(context: DoctorContext) -> list[Problem]:
    """Find a large write-ahead log."""
    if context.file is not None:
        log = context.file.with_name(f"{context.file.name}-wal")
        size = log.stat().st_size if log.exists() else 0
        if size < LARGE_LOG:
            return []
        text = f"{log} is {format_size(size)}: a long read prevents a checkpoint, or did"
        return [Problem("warning", text, "clarinet db shell -c 'PRAGMA wal_checkpoint(TRUNCATE)'")]
    async with context.session() as session:
        slots = await HealthRepository(session).wal_of_inactive_slots()
    return [
        Problem(
            "warning",
            f"replication slot {name} has no reader and keeps {format_size(size)} of log, "
            "which can fill the server's disk",
            f"start its reader, or SELECT pg_drop_replication_slot('{name}')",
        )
        for name, size in slots
        if size > LARGE_SLOT
    ]


GROUP = CheckGroup.SPACE
CHECKS = (
    Check("disk", GROUP, "the disk has room for a backup and a vacuum", check_disk),
    Check("unused-space", GROUP, "the database has little unused space", check_unused_space),
    Check("log", GROUP, "the write-ahead log is small", check_log),
)
