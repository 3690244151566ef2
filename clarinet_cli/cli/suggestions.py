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
        "login": "session",
        "logins": "session",
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
        "migrate": "migrate",
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
        "enable": "admin activate",
        "reactivate": "admin activate",
        "disable": "admin deactivate",
        "users": "admin list --all",
        "info": "admin show",
        "import": "admin apply",
    },
    "session": {
        "clean": "session cleanup",
        "cleanup-once": "session cleanup",
        "purge": "session cleanup",
        "prune": "session cleanup",
        "delete": "session revoke",
        "kill": "session revoke",
        "logout": "session revoke-user",
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
AMBIGUOUS = {
    ("session", "cleanup-all"): (
        "'clarinet session cleanup' removes stale sessions, "
        "'clarinet session revoke-all' revokes all sessions"
    ),
}


def alias_hint(group: str, word: str) -> Optional[str]:
    """Return the hint for a command of other tools, or None.

    Args:
        group: The group that it was given to; empty for the root.
        word: The command.
    """
    if (group, word) in AMBIGUOUS:
        return AMBIGUOUS[group, word]
    target = ALIASES.get(group, {}).get(word)
    return target and f"use 'clarinet {target}'"


def misspelt_commands(word: str, names: Iterable[str]) -> list[str]:
    """Return the commands that a word misspells; the first letter must be right.

    Otherwise ``deactivate`` would be suggested for ``reactivate``.
    """
    from clarinet_cli.spelling import find_misspellings

    return find_misspellings(word, (name for name in names if name[:1] == word[:1].lower()))
