"""The commands that support a mapping; with a mapping all others are refused."""

from collections.abc import Iterable
from typing import Optional

from clarinet_cli.database import errors
from clarinet_cli.database.sqlite import MISSING_HINT
from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models.stored_tables import StoredTables, stored_tables
from clarinet_cli.settings import Settings
from clarinet_cli.types import get_capabilities
from clarinet_cli.utils.logger import logger

WHERE_HINT = "'clarinet config show mapping' shows where the mapping is set"
APPLICATION_HINT = (
    "the application creates its database and tables; 'clarinet db inspect' proposes a mapping"
)
DATABASE_HINT = (
    "set database_url, or database_driver and database_name, in settings.toml to the "
    "application's database"
)
OWN_SCHEMA_HINTS = (errors.INIT_HINT, errors.TABLE_HINT, errors.SCHEMA_HINT, MISSING_HINT)
SCHEMA_HINT = (
    "run the application's migrations; 'clarinet db init --admin-only' creates the first superuser"
)
ROLE_COMMANDS = frozenset({"admin roles", "admin grant-role", "admin revoke-role"})
MAPPED_COMMANDS = frozenset(
    {
        "doctor",
        "db inspect",
        "db init",
        "db status",
        "db check",
        "db backup",
        "db restore",
        "db vacuum",
        "db wait",
        "db shell",
        "session stats",
        "session list",
        "session list-user",
        "session show",
    }
    | {"session revoke", "session revoke-user", "session revoke-all", "session cleanup"}
    | {f"admin {name}" for name in ("list", "show", "export", "promote", "demote", "delete")}
    | {f"admin {name}" for name in ("activate", "deactivate", "reset-password")}
    | {f"admin {name}" for name in ("apply", "create", "ensure")}
    | {f"admin {name}" for name in ("set-email", "verify", "unverify")}
    | ROLE_COMMANDS
)


def require_known_command(settings: Settings, command: str) -> None:
    """Refuse a command that would use the tables of the server instead of those mapped.

    Args:
        settings: The project's settings.
        command: The words of the command.

    Raises:
        RefusedError: The command does not support the mapping.
    """
    mapping = settings.table_mapping
    if mapping is None:
        return
    if command.startswith("session ") and mapping.session_strategy in ("jwt", "redis"):
        raise REFUSED.with_context(
            f"sessions of the strategy {mapping.session_strategy} are not in the database: "
            "they cannot be listed or revoked here",
            hint=WHERE_HINT,
        )
    if command in MAPPED_COMMANDS:
        if command in ROLE_COMMANDS:
            require_role_changes(settings, [command])
        return
    if command in ("db reset", "init-migrations") or command.startswith("migrate "):
        require_own_schema(settings)
    raise REFUSED.with_context(
        f"'clarinet {command}' is for the tables of Clarinet, but [mapping] names others",
        hint=WHERE_HINT,
    )


def require_role_changes(settings: Settings, names: Iterable[str]) -> None:
    """Refuse to grant or revoke roles where accounts have none.

    Args:
        settings: The project's settings.
        names: The roles; without any nothing would change.

    Raises:
        RefusedError: The mapping has no roles, and there is a role to change.
    """
    if set(names) and not settings.capabilities.role_changes:
        raise REFUSED.with_context(
            'the accounts have no roles: roles = "none" in [mapping]', hint=WHERE_HINT
        )


def require_soft_delete(settings: Settings) -> None:
    """Refuse to mark an account as deleted if there is no column for that.

    Args:
        settings: The project's settings.

    Raises:
        RefusedError: The column does not exist.
    """
    if not settings.capabilities.soft_delete:
        raise REFUSED.with_context(
            "there is no column that marks an account as deleted",
            hint="set soft_delete in [mapping] if the application has such a column",
        )


def require_verified_flag(settings: Settings) -> None:
    """Refuse to mark an address as verified if there is no column for that.

    Args:
        settings: The project's settings.

    Raises:
        RefusedError: The mapping has no such column.
    """
    if not settings.capabilities.verified:
        raise REFUSED.with_context(
            "the accounts have no column is_verified",
            hint="set is_verified in [mapping.user_columns] if the application has such a column",
        )


def warn_about_other_sessions(settings: Settings) -> None:
    """Warn, where sessions are not rows, that those of the account cannot be revoked.

    Args:
        settings: The project's settings.
    """
    mapping = settings.table_mapping
    if mapping is None or settings.capabilities.sessions:
        return
    seconds = mapping.session_lifetime_seconds
    until = f"for up to {seconds} s" if isinstance(seconds, int) else "until they expire"
    logger.warning(f"sessions of the strategy {mapping.session_strategy} stay valid {until}")


def stored_tables_of(settings: Settings) -> StoredTables:
    """Return the names of the tables of accounts, roles and sessions.

    Args:
        settings: The project's settings.
    """
    return stored_tables(settings.table_mapping, settings.capabilities)


def application_hint(settings: Settings, hint: Optional[str], command: str = "") -> Optional[str]:
    """Return a hint that fits an application, whose tables this tool does not create.

    Args:
        settings: The project's settings.
        hint: As for the Clarinet tables.
        command: The words of the command.
    """
    is_inspection = command == "db inspect"
    if hint is None or (settings.capabilities.own_schema and not is_inspection):
        return hint
    fitting = DATABASE_HINT if is_inspection else APPLICATION_HINT
    return fitting if any(own in hint for own in OWN_SCHEMA_HINTS) else hint


def require_accounts_copy(settings: Settings) -> None:
    """Refuse a copy of only the accounts if the tables are an application's.

    Args:
        settings: The project's settings.

    Raises:
        RefusedError: There is a mapping.
    """
    if not settings.capabilities.own_schema:
        raise REFUSED.with_context(
            "--accounts-only copies the tables of Clarinet, but accounts of an application have "
            "columns that such a copy lacks",
            hint="without it the whole database is copied; 'clarinet admin export' lists accounts",
        )


def require_own_schema(settings: Settings) -> None:
    """Refuse to change the schema of an application.

    Args:
        settings: The project's settings.

    Raises:
        RefusedError: There is a mapping.
    """
    if not get_capabilities(settings.table_mapping).own_schema:
        raise REFUSED.with_context(
            "the schema is the application's, whose own migrations change it", hint=SCHEMA_HINT
        )
