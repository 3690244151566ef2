"""Checks of the schema: its revision, and how it differs from the models."""

import re
from operator import attrgetter
from typing import Final

from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import Finding
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.checks.rows import pluralize
from clarinet_cli.services.schema import check_migrations, migration_status, status_advice
from clarinet_cli.types import CheckGroup

MISSING_INDEX: Final = re.compile(r"missing index (\w+) on (\w+)")
FIX_HINT = "clarinet doctor --fix"
SERVER_HINT = "run the migrations of the server that owns the database"
COSTS: Final = {
    "ix_user_email": "two accounts may get the same address, and each log-in reads all accounts",
    "ix_access_token_expires_at": "each clean-up reads all sessions",
    "ix_access_token_user_id": "each log-in, and each revoke, reads all sessions",
    "ix_access_token_token": "little, as the primary key serves the same look-ups",
}


async def check_revision(context: DoctorContext) -> list[Problem]:
    """Compare the database's revision with that of the migrations."""
    status = await migration_status(context.settings)
    advice = status_advice(status)
    current = ", ".join(status.current) or "none"
    if status.unknown:
        text = f"revision {current} of the server's own migrations"
        return [Problem("ok", text)]
    if status.pending:
        text = f"revision {current}, and {pluralize(len(status.pending), 'migration')} pending"
        hint = "clarinet migrate upgrade" if status.current else "clarinet db init"
        return [Problem("error", text, hint)]
    return [Problem("ok", f"revision {current}", *advice[:1])]


async def check_drift(context: DoctorContext) -> list[Problem]:
    """Find what distinguishes the tables from the models, indexes and additions apart."""
    return [
        Problem("error", item.detail, item.hint)
        for item in await _model_errors(context)
        if not MISSING_INDEX.match(item.detail)
    ]


async def check_indexes(context: DoctorContext) -> list[Problem]:
    """Find indexes that are missing, and what that costs."""
    missing = await missing_indexes(context)
    owned = await owns_schema(context) if missing else True
    return [
        Problem(
            "error" if name == "ix_user_email" else "warning",
            f"index {name} is missing: {COSTS.get(name, 'queries read whole tables')}",
            FIX_HINT if owned else SERVER_HINT,
        )
        for name in missing
    ]


async def check_other_tables(context: DoctorContext) -> list[Problem]:
    """Say how many tables are not Clarinet's."""
    async with context.session() as session:
        names = await ServerRepository(session).table_names()
    others = names - set(TABLE_NAMES) - {"alembic_version"}
    if not others:
        return []
    return [Problem("ok", f"{pluralize(len(others), 'table')} of other programs, not changed")]


async def missing_indexes(context: DoctorContext) -> list[str]:
    """Return the names of the indexes of the models that are missing, while the tables exist.

    Args:
        context: The project.
    """
    found = [MISSING_INDEX.match(item.detail) for item in await _model_errors(context)]
    return [match[1] for match in found if match]


async def owns_schema(context: DoctorContext) -> bool:
    """Return whether Clarinet's own revisions made the schema, so that it may be changed.

    Args:
        context: The project.
    """
    status = await migration_status(context.settings)
    return bool(status.current) and not status.unknown


async def _model_errors(context: DoctorContext) -> list[Finding]:
    found = await check_migrations(context.settings)
    return [item for item in found if item.check == "models" and item.status == "error"]


GROUP = CheckGroup.SCHEMA
OWN = attrgetter("own_schema")
CHECKS = (
    Check("revision", GROUP, "the schema is at the newest revision", check_revision, applies=OWN),
    Check("drift", GROUP, "tables and columns match the models", check_drift, applies=OWN),
    Check("indexes", GROUP, "no index is missing", check_indexes, applies=OWN),
    Check("other-tables", GROUP, "no table is of another program", check_other_tables, applies=OWN),
)
