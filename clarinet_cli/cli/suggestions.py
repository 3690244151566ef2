"""Suggestions for commands that do not exist.

Only misspellings are corrected, since a similar name can be another command: ``cleanup`` is not
``cleanup-all``. The names that other tools use for a command are listed here.
"""

from collections.abc import Iterable
from typing import Optional

ALIASES: dict[str, dict[str, str]] = {
    "": {
        "version": "--version",
        "user": "admin",
        "users": "admin",
        "account": "admin",
        "accounts": "admin",
        "createsuperuser": "admin create",
        "enable": "admin activate",
        "disable": "admin deactivate",
        "changepassword": "admin reset-password",
        "passwd": "admin reset-password",
        "roles": "admin roles",
        "dumpdata": "admin export",
        "export": "admin export",
        "loaddata": "admin apply",
        "import": "admin apply",
        "login": "session",
        "logins": "session",
        "sessions": "session",
        "logout": "session revoke-user",
        "stats": "session stats",
        "clearsessions": "session cleanup",
        "token": "session",
        "tokens": "session",
        "migration": "migrate",
        "migrations": "migrate",
        "alembic": "migrate",
        "upgrade": "migrate upgrade",
        "downgrade": "migrate downgrade",
        "database": "db",
        "init": "db init",
        "status": "db status",
        "cleanup": "session cleanup",
        "cleanup-once": "session cleanup",
        "cleanup-all": "session revoke-all",
        "flush": "db reset",
        "dbshell": "db shell",
        "inspectdb": "db inspect",
        "makemigrations": "migrate create",
        "showmigrations": "migrate history",
        "check": "doctor",
        "settings": "config show",
        "configuration": "config show",
        "backup": "db backup",
        "restore": "db restore",
        "vacuum": "db vacuum",
        "shell": "db shell",
    },
    "config": {
        "list": "config show",
        "get": "config show",
        "validate": "config check",
        "files": "config path",
    },
    "db": {
        "create": "db init",
        "setup": "db init",
        "upgrade": "migrate upgrade",
        "downgrade": "migrate downgrade",
        "info": "db status",
        "ping": "db wait",
        "dump": "db backup",
        "psql": "db shell",
        "compact": "db vacuum",
        "drop": "db reset",
    },
    "admin": {
        "add": "admin create",
        "new": "admin create",
        "passwd": "admin reset-password",
        "password": "admin reset-password",
        "set-password": "admin reset-password",
        "change-password": "admin reset-password",
        "remove": "admin delete",
        "rm": "admin delete",
        "ls": "admin list",
        "email": "admin set-email",
        "rename": "admin set-email",
        "enable": "admin activate",
        "unlock": "admin activate",
        "unblock": "admin activate",
        "reactivate": "admin activate",
        "disable": "admin deactivate",
        "lock": "admin deactivate",
        "block": "admin deactivate",
        "suspend": "admin deactivate",
        "users": "admin list --all",
        "info": "admin show",
        "import": "admin apply",
    },
    "session": {
        "clean": "session cleanup",
        "purge": "session cleanup",
        "prune": "session cleanup",
        "delete": "session revoke",
        "remove": "session revoke",
        "rm": "session revoke",
        "kill": "session revoke",
        "terminate": "session revoke",
        "logout": "session revoke-user",
        "logout-all": "session revoke-all",
        "ls": "session list",
        "info": "session show",
        "count": "session stats",
    },
    "migrate": {
        "up": "migrate upgrade",
        "apply": "migrate upgrade",
        "down": "migrate downgrade",
        "rollback": "migrate downgrade",
        "revision": "migrate create",
        "current": "migrate status",
        "heads": "migrate status",
        "log": "migrate history",
    },
}
MIGRATE_COMMANDS = ("init", "upgrade", "downgrade", "status", "history", "create", "check", "stamp")


def former_command(group: str, words: list[str]) -> Optional[tuple[str, list[str]]]:
    """Return the present form of a command of the tool that this one replaces.

    Args:
        group: The group that it was given to.
        words: The command and its arguments.

    Returns:
        The group and the words to use instead; None if it is not one of them.
    """
    match [group, *words]:
        case ["session", "cleanup-once", *rest]:
            return "session", ["cleanup", *rest]
        case ["session", "cleanup-all", *rest]:
            return "session", ["revoke-all", *rest]
        case ["db", "migrate", "up", *rest]:
            return "migrate", ["upgrade", *rest]
        case ["db", "migrate", "down", number, *rest] if number.isdecimal():
            return "migrate", ["downgrade", f"-{number}", *rest]
        case ["db", "migrate", "down", revision, *rest] if not revision.startswith("-"):
            return "migrate", ["downgrade", revision, *rest]
        case ["db", "migrate", "down", *rest]:
            return "migrate", ["downgrade", "-1", *rest]
        case ["db", "migrate", name, *_] if name in MIGRATE_COMMANDS:
            return "migrate", words[1:]
        case ["db", "migrate", *rest]:
            return "migrate", ["upgrade", *rest]
    return None


def alias_hint(group: str, word: str) -> Optional[str]:
    """Return the hint for a command of other tools, or None.

    Args:
        group: The group that it was given to; empty for the root.
        word: The command.
    """
    target = ALIASES.get(group, {}).get(word)
    return target and f"use 'clarinet {target}'"


def misspelled_commands(word: str, names: Iterable[str]) -> list[str]:
    """Return the commands that a word misspells; the first letter must be right.

    Otherwise ``deactivate`` would be suggested for ``reactivate``.
    """
    from clarinet_cli.spelling import find_misspellings

    return find_misspellings(word, (name for name in names if name[:1] == word[:1].lower()))
