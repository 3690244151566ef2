"""Replace this process by the database's own shell, with the same connection parameters."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS
from clarinet_cli.database.session import get_connection
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import FAILURE
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.services.backup.make import is_encrypted
from clarinet_cli.services.backup.postgresql import SERVICE, connection_environment, find_program
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

PSQL, SQLITE = "psql", "sqlite3"
SQLITE_PACKAGES = "install sqlite3 (Debian, Ubuntu), sqlite (Fedora, RHEL) or sqlite (Homebrew)"
READ_ONLY = "-c default_transaction_read_only=on"


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A program to run, with arguments that hold no secret.

    Attributes:
        arguments: The program and its arguments.
        variables: Its environment.
        pass_phrase: The pass phrase of the client certificate's key.
    """

    arguments: Sequence[str]
    variables: dict[str, str]
    pass_phrase: Optional[str] = None


async def shell_command(
    settings: Settings, *, statement: Optional[str] = None, read_only: bool = False
) -> ShellCommand:
    """Return the command of the database's shell; the database is connected to first.

    Args:
        settings: The settings, which name the database.
        statement: What to run instead of reading standard input.
        read_only: Open the database read-only.

    Raises:
        UnreachableError: The database cannot be reached.
        ClarinetError: The shell is not installed.
    """
    url = database_url(settings)
    file = sqlite_file(url)
    if file is not None:
        async with get_connection(settings):
            return _sqlite_shell(file, statement, read_only=read_only)
    async with get_connection(settings) as connection, AsyncSession(connection) as session:
        version = await ServerRepository(session).version()
        encrypted = await is_encrypted(session)
    program = shutil.which(PSQL) or str((await find_program(PSQL, version)).path)
    variables = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    variables |= connection_environment(url, encrypted=encrypted)
    del variables["PGCLIENTENCODING"]  # that of the terminal
    if read_only:
        variables["PGOPTIONS"] = f"{variables.get('PGOPTIONS', '')} {READ_ONLY}".strip()
    options = [] if statement is None else ["--no-psqlrc", "--command", statement]
    phrase = url.query.get("sslpassword")
    return ShellCommand([program, *options], variables, None if phrase is None else str(phrase))


def exec_shell(command: ShellCommand) -> NoReturn:
    """Run a shell in place of this process.

    Args:
        command: What ``shell_command`` returned.

    Raises:
        ClarinetError: The program cannot be run.
    """
    variables = dict(command.variables)
    if command.pass_phrase is not None:
        # Only a service file can give it to psql; this one ends with the process that inherits it.
        with tempfile.TemporaryFile() as file:
            file.write(f"[{SERVICE}]\nsslpassword={command.pass_phrase}\n".encode())
            file.seek(0)
            descriptor = os.dup(file.fileno())
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the only form that it has
        variables |= {"PGSERVICE": SERVICE, "PGSERVICEFILE": f"/dev/fd/{descriptor}"}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Python ignores it, and a pager would too.
    previous = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(command.arguments[0], [*command.arguments], variables)  # noqa: S606 - no shell meant
    except OSError as error:
        logger.bind(reported=True).error(f"running {command.arguments[0]}: {error}")
        raise FAILURE.with_context(
            f"{command.arguments[0]} cannot be run: {error.strerror}"
        ) from error
    finally:
        signal.signal(signal.SIGPIPE, previous)


def _sqlite_shell(file: Path, statement: Optional[str], *, read_only: bool) -> ShellCommand:
    variables = dict(os.environ)
    # What begins with '-' would be an option.
    statements = (
        [] if statement is None else [f" {statement}" if statement[:1] == "-" else statement]
    )
    if program := shutil.which(SQLITE):
        options = ["-cmd", f".timeout {BUSY_TIMEOUT_SECONDS * 1000}"]
        options += ["-readonly"] if read_only else ["-cmd", "PRAGMA foreign_keys=ON"]
        return ShellCommand([program, *options, str(file), *statements], variables)
    if find_spec("sqlite3.__main__") is None or read_only:
        reason = "" if not read_only else ", and Python's sqlite3 shell has no --read-only"
        raise FAILURE.with_context(f"{SQLITE} is not installed{reason}", hint=SQLITE_PACKAGES)
    return ShellCommand([sys.executable, "-m", "sqlite3", str(file), *statements], variables)
