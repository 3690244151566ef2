"""Checks of an application's tables: whether the mapping fits, and the usual faults of such tables.

No repair of them changes the schema, which is the application's.
"""

from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.exceptions import ConfigurationError, RefusedError
from clarinet_cli.repositories.health import HealthRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.types import Capabilities, CheckGroup
from clarinet_cli.utils.logger import logger

INDEX_HINT = "in the application's migrations: {}"


async def check_mapping(context: DoctorContext) -> list[Problem]:
    """Find that the mapping does not fit the tables, or that no account can be created."""
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
    """Find columns of the sessions that queries read whole tables for."""
    async with context.session() as session:
        missing = await HealthRepository(session).unindexed_columns()
    costs = {
        "user_id": "each revoke, and deleting an account, reads all sessions",
        "created_at": "each clean-up reads all sessions",
        "expires_at": "each clean-up reads all sessions",
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
    """Find that nothing prevents two accounts with the same address."""
    async with context.session() as session:
        column = await HealthRepository(session).address_without_constraint()
    if column is None:
        return []
    text = f"{column} is not unique: with two accounts of one address neither can log in by it"
    return [Problem("warning", text, INDEX_HINT.format(f"a unique index on {column}"))]


def _is_application(capabilities: Capabilities) -> bool:
    return not capabilities.own_schema


MAPPING = Check(
    "mapping",
    CheckGroup.SCHEMA,
    "the mapping fits the tables of the application",
    check_mapping,
    applies=_is_application,
)
CHECKS = (
    MAPPING,
    Check(
        "application-indexes",
        CheckGroup.SCHEMA,
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
