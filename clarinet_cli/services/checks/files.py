"""Checks of the settings and of the files around the database."""

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from shlex import quote
from typing import Final

from clarinet_cli.database.sqlite import SIDE_SUFFIXES
from clarinet_cli.database.url import database_url
from clarinet_cli.filesystem.ownership import describe_owner, repair_commands
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.configuration import CHECKS as SETTINGS_CHECKS
from clarinet_cli.settings import Settings
from clarinet_cli.types import CheckGroup

OTHERS: Final = stat.S_IRWXO
LOCKS: Final = (".migration.lock", ".cleanup.lock")
BACKUPS: Final = ("clarinet-*.db", "clarinet-*.dump")
DEFAULT_PASSWORD: Final = str(Settings.model_fields["database_password"].default.get_secret_value())
GUESSED_FIRST: Final = frozenset({"admin", "password", "clarinet", "changeme", "secret", "123456"})


def _settings_check(name: str) -> Callable[[DoctorContext], Awaitable[list[Problem]]]:
    async def run(context: DoctorContext) -> list[Problem]:
        return [
            Problem(item.status, item.detail, item.hint)
            for item in context.configuration
            if item.check == name and item.status != "ok"
        ]

    return run


async def check_secrets(context: DoctorContext) -> list[Problem]:
    """Find default passwords and insecure cookie settings."""
    settings, found = context.settings, []
    password = database_url(settings).password
    if context.file is None and password == DEFAULT_PASSWORD:
        text = f"the database's password is {DEFAULT_PASSWORD!r}, a well-known default"
        hint = "ALTER ROLE … PASSWORD in 'clarinet db shell', then database_password"
        found.append(Problem("warning", text, hint))
    admin = settings.admin_password and settings.admin_password.get_secret_value()
    if admin and admin.lower() in {*GUESSED_FIRST, settings.admin_username.lower()}:
        text = "admin_password is a well-known default"
        hint = "clarinet admin reset-password --generate-password, and remove admin_password"
        found.append(Problem("error", text, hint))
    if settings.capabilities.own_schema and not (settings.session_secure_cookie or settings.debug):
        text = "session_secure_cookie is off: browsers send the session over plain HTTP too"
        found.append(Problem("warning", text, "session_secure_cookie = true in settings.toml"))
    return found


async def check_file_modes(context: DoctorContext) -> list[Problem]:
    """Find files with secrets or personal data that every user of the machine can open."""
    problems = []
    for path in exposed_files(context):
        writable = path.stat().st_mode & stat.S_IWOTH
        verb = "written" if writable else "read"
        text = f"{path} can be {verb} by every user: it contains addresses, hashes or tokens"
        hint = f"chmod o-rwx {quote(str(path))}"
        problems.append(Problem("error" if writable else "warning", text, hint))
    return problems


def exposed_files(context: DoctorContext) -> list[Path]:
    """Return the private files that others may open, of those that ``check_file_modes`` checks.

    Args:
        context: The project.
    """
    files = [] if context.file is None else [context.file]
    for directory in sorted({context.project, *(file.parent for file in files)}):
        for pattern in BACKUPS:
            files += sorted(directory.glob(pattern))
    if context.settings.audit_log is not None:
        files.append(context.settings.project_dir / context.settings.audit_log)
    return [path for path in files if path.is_file() and path.stat().st_mode & OTHERS]


async def check_owners(context: DoctorContext) -> list[Problem]:
    """Find files beside a SQLite database that its owner cannot use, as left by a run as root."""
    file = context.file
    if file is None or not file.exists():
        return []
    owner = file.stat().st_uid
    side_files = [file.with_name(f"{file.name}{suffix}") for suffix in (*SIDE_SUFFIXES, *LOCKS)]
    return [
        Problem(
            "error",
            f"{path}: {describe_owner(path)}, the database to another user: the server may fail",
            repair_commands(path, file),
        )
        for path in side_files
        if path.exists() and path.stat().st_uid != owner
    ]


def remove_others_access(path: Path) -> None:
    """Remove all permissions of users that are neither the owner nor in the group.

    Args:
        path: The file.

    Raises:
        OSError: It belongs to another user.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~OTHERS)
    finally:
        os.close(descriptor)


CHECKS = (
    *(
        Check(name, CheckGroup.CONFIGURATION, text, _settings_check(name), needs_database=False)
        for name, text in SETTINGS_CHECKS.items()
    ),
    Check(
        "secrets",
        CheckGroup.CONFIGURATION,
        "no secret is a well-known default",
        check_secrets,
        needs_database=False,
    ),
    Check(
        "file-modes",
        CheckGroup.CONFIGURATION,
        "other users cannot access database, backups and audit log",
        check_file_modes,
        needs_database=False,
    ),
    Check(
        "owners",
        CheckGroup.CONFIGURATION,
        "the files beside the database belong to its owner",
        check_owners,
        needs_database=False,
    ),
)
