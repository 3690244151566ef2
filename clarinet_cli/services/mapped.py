"""The commands that know a mapping; all others are refused where there is one."""

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.mapping import capabilities_of
from clarinet_cli.settings import Settings

WHERE_HINT = "'clarinet config show mapping' shows where the mapping is set"
MAPPED_COMMANDS = frozenset({"db inspect"})


def require_known_command(settings: Settings, command: str) -> None:
    """Refuse a command that would use the tables of the server instead of those mapped.

    Args:
        settings: The project's settings.
        command: The words of the command.

    Raises:
        RefusedError: There is a mapping, which the command does not know.
    """
    if settings.table_mapping is None or command in MAPPED_COMMANDS:
        return
    if command == "db init" or command.startswith("migrate "):
        require_own_schema(settings)
    raise REFUSED.with_context(
        f"'clarinet {command}' is for the tables of Clarinet, and [mapping] names others",
        hint=WHERE_HINT,
    )


def require_own_schema(settings: Settings) -> None:
    """Refuse to change the schema of an application.

    Args:
        settings: The project's settings.

    Raises:
        RefusedError: There is a mapping.
    """
    if not capabilities_of(settings.table_mapping).own_schema:
        raise REFUSED.with_context(
            "the schema is the application's, whose own migrations change it", hint=WHERE_HINT
        )
