"""Checks of the tables: the revision and differences of the schema, or how the mapping fits.

No repair changes the schema of an application.
"""

import re
from operator import attrgetter
from typing import Final

from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.exceptions import ConfigurationError, RefusedError
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.repositories.health import HealthRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import Finding
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.schema import migration_status, status_advice
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import Capabilities, CheckGroup
from clarinet_cli.utils.logger import logger

MISSING_INDEX: Final = re.compile(r"missing index (\w+) on (\w+)")
SERVER_HINT = "run the migrations of the server that owns the database"
COSTS: Final = {
    "ix_user_email": "two accounts may get the same address, and each log-in scans all accounts",
    "ix_access_token_expires_at": "each clean-up scans all sessions",
    "ix_access_token_user_id": "each log-in, and each revocation, scans all sessions",
    "ix_access_token_token": "no effect, since the primary key serves the same queries",
}
INDEX_HINT = "in the application's migrations: {}"


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
    """Find differences between tables and models, except indexes and additions."""
    return [
        Problem("error", item.detail, item.hint)
        for item in await _model_errors(context)
        if not MISSING_INDEX.match(item.detail)
    ]


async def check_indexes(context: DoctorContext) -> list[Problem]:
    """Find missing indexes, with the consequence of each."""
    missing = await missing_indexes(context)
    owned = await owns_schema(context) if missing else True
    return [
        Problem(
            "error" if name == "ix_user_email" else "warning",
            f"index {name} is missing: {COSTS.get(name, 'queries scan whole tables')}",
            "clarinet doctor --fix" if owned else SERVER_HINT,
        )
        for name in missing
    ]


async def check_other_tables(context: DoctorContext) -> list[Problem]:
    """Report the number of tables that are not Clarinet's."""
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
    found = await context.migrations()
    return [item for item in found if item.check == "models" and item.status == "error"]


async def check_mapping(context: DoctorContext) -> list[Problem]:
    """Report that the mapping does not fit the tables, or that no account can be created."""
    async with context.session() as session:
        try:
            await require_server_tables(session)
        except ConfigurationError as error:
            logger.debug(error.message)
            return [Problem("error", error.message, error.hint)]
        try:
            await UserRepository(session).require_creatable()
        except RefusedError as error:
            logger.debug(error.message)
            text = f"no account can be created: {error.message}"
            return [Problem("warning", text, error.hint)]
    return []


async def check_application_indexes(context: DoctorContext) -> list[Problem]:
    """Find columns of the sessions that lack an index."""
    async with context.session() as session:
        missing = await HealthRepository(session).unindexed_columns()
    costs = {
        "user_id": "each revocation, and the deletion of an account, scans all sessions",
        "created_at": "each clean-up scans all sessions",
        "expires_at": "each clean-up scans all sessions",
    }
    return [
        Problem(
            "warning",
            f"no index on {column}: {costs[key]}",
            INDEX_HINT.format(statement),
        )
        for key, column, statement in missing
    ]


async def check_unique_addresses(context: DoctorContext) -> list[Problem]:
    """Report that two accounts can have the same address."""
    async with context.session() as session:
        column = await HealthRepository(session).address_without_constraint()
    if column is None:
        return []
    text = f"{column} is not unique: two accounts with the same address cannot log in with it"
    return [Problem("warning", text, INDEX_HINT.format(f"a unique index on {column}"))]


def _is_application(capabilities: Capabilities) -> bool:
    return not capabilities.own_schema


GROUP = CheckGroup.SCHEMA
OWN = attrgetter("own_schema")
MAPPING = Check(
    "mapping",
    GROUP,
    "the mapping fits the tables of the application",
    check_mapping,
    applies=_is_application,
)
CHECKS = (
    Check("revision", GROUP, "the schema is at the newest revision", check_revision, applies=OWN),
    Check("drift", GROUP, "tables and columns match the models", check_drift, applies=OWN),
    Check("indexes", GROUP, "no index is missing", check_indexes, applies=OWN),
    Check("other-tables", GROUP, "no tables of other programs", check_other_tables, applies=OWN),
    MAPPING,
    Check(
        "application-indexes",
        GROUP,
        "the sessions of the application have the usual indexes",
        check_application_indexes,
        applies=lambda capabilities: not capabilities.own_schema and capabilities.sessions,
    ),
    Check(
        "unique-addresses",
        CheckGroup.ACCOUNTS,
        "addresses in the tables of the application are unique",
        check_unique_addresses,
        applies=_is_application,
    ),
)
