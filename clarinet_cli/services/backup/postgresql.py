"""Find and run ``pg_dump`` and ``pg_restore``.

The connection parameters are passed in the environment, not as arguments; those of the caller's
environment and home directory are not used.
"""

import asyncio
import os
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Optional

from sqlalchemy import URL

from clarinet_cli.database.engine import CONNECT_TIMEOUT_SECONDS
from clarinet_cli.database.password_guard import CLEAR_TEXT, READABLE_FORMS
from clarinet_cli.database.postgresql import SOCKET_DIRECTORIES, default_user
from clarinet_cli.database.servers import DEFAULT_PORT, LOCALHOST, PORT_OPTION, url_servers
from clarinet_cli.database.tls import ALWAYS_TLS, ca_file
from clarinet_cli.exceptions import BUSY, FAILURE, INVALID, NO_SPACE, UNREACHABLE, ClarinetError
from clarinet_cli.utils.logger import logger

DUMP, RESTORE = "pg_dump", "pg_restore"
# Where packages put several versions side by side, and Homebrew its own.
SEARCH_PATHS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/opt/libpq/bin",
)
VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
VERSION_SECONDS = 10.0
END_SECONDS = 10.0  # for a child to end after it was asked to
MISSING_FILE = "/dev/null/none"  # libpq warns of a password file that is not a plain file
SERVICE = "clarinet"
ERROR = re.compile(r"^\w+: (?:error|detail|fatal): (.*)$", re.MULTILINE)
QUOTED_VALUE = re.compile(r': ".*"|: \S+=.*$')  # of a row, after the reason
CONNECTION_ERRORS = ("connection to server", "could not connect", "server closed the connection")
METHODS = {CLEAR_TEXT: "password", READABLE_FORMS[5]: "md5"}  # by libpq's names
VARIABLES = {
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "options": "PGOPTIONS",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


@dataclass(frozen=True, slots=True, order=True)
class Program:
    """An installed program of PostgreSQL.

    Attributes:
        version: Major and minor.
        path: The file.
    """

    version: tuple[int, int]
    path: Path

    @property
    def name(self) -> str:
        """Such as ``pg_dump 18.4``."""
        return f"{self.path.name} {self.version[0]}.{self.version[1]}"


async def find_program(name: str, server_version: str) -> Program:
    """Return the program to use with a server.

    The first one of the server's own major version is used, since the dump of a later one cannot
    be restored into an earlier server as one transaction; without it the newest one.

    Args:
        name: ``DUMP`` or ``RESTORE``.
        server_version: Such as ``18.4``.

    Raises:
        ClarinetError: There is none, or all are older than the server.
    """
    digits = re.match(r"\d+", server_version)
    major = int(digits[0]) if digits else 0
    found: list[Program] = []
    for path in _installed(name):
        program = await _program(path)
        if program is not None and program.version[0] == major:
            return program
        found += [program] if program else []
    found.sort()
    if found and found[-1].version[0] >= major:
        return found[-1]
    hint = package_hint(major)
    if not found:
        raise FAILURE.with_context(
            f"{name} is not installed; the server is PostgreSQL {server_version}", hint=hint
        )
    raise FAILURE.with_context(
        f"{found[-1].name} ({found[-1].path}) is older than the server, PostgreSQL "
        f"{server_version}",
        hint=hint,
    )


def package_hint(major: int) -> str:
    """Return which packages have the programs of a major version."""
    return (
        f"install postgresql-client-{major} (Debian, Ubuntu), postgresql{major} (Fedora, RHEL) or "
        f"postgresql@{major} (Homebrew)"
    )


def _installed(name: str) -> list[Path]:
    """Return the programs of a name, each once, those on the search path first.

    A link to a program of another name comes last, such as Debian's to ``pg_wrapper``: which
    version that runs depends on the connection, so it may be another one than it reports.
    """
    directories = [Path(part) for part in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    for pattern in SEARCH_PATHS:
        directories += sorted(Path("/").glob(pattern[1:]))
    found: dict[str, Path] = {}
    for directory in directories:
        path = directory / name
        if directory.is_absolute() and os.access(path, os.X_OK) and path.is_file():
            found.setdefault(os.path.realpath(path), path)
    ordered = sorted(found, key=lambda real: not Path(real).name.startswith(name))
    return [found[real] for real in ordered]


async def _program(path: Path) -> Optional[Program]:
    """Return a program with its version; None if it does not report one."""
    try:
        async with (
            asyncio.timeout(VERSION_SECONDS),
            start_program(Program((0, 0), path), ["--version"], {}, stdout=PIPE) as process,
        ):
            stdout, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        logger.info(f"{path}: {error}")
        return None
    match = VERSION.search(stdout.decode("utf-8", "replace"))
    return Program((int(match[1]), int(match[2] or 0)), path) if match else None


def connection_environment(url: URL, *, encrypted: bool) -> dict[str, str]:
    """Return the variables that make libpq connect as this tool does.

    Args:
        url: The URL of the database.
        encrypted: Whether this tool's own connection uses TLS: the program must use it too.

    Raises:
        ConfigurationError: No database user is named, and this user has no name.
    """
    options = {name: str(value) for name, value in url.query.items()}
    user = url.username or default_user()
    found = {
        "PGHOST": url.host or ",".join((*SOCKET_DIRECTORIES, LOCALHOST)),
        "PGPORT": str(url.query.get(PORT_OPTION) or url.port or DEFAULT_PORT),
        "PGUSER": user,
        "PGPASSWORD": str(url.password or ""),
        "PGDATABASE": url.database or user,
        "PGPASSFILE": MISSING_FILE,
        "PGGSSENCMODE": "disable",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "clarinet",
        "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_SECONDS),
        **{VARIABLES[name]: value for name, value in options.items() if name in VARIABLES},
    }
    if ca := ca_file(options):
        found["PGSSLROOTCERT"] = ca
    mode = options.get("sslmode", "prefer")
    if mode not in ALWAYS_TLS:
        found["PGSSLMODE"] = "require" if encrypted else "disable"
    if not encrypted and not all(server.is_local for server in url_servers(url)):
        # A password that others on the network could use is not sent.
        readable = [CLEAR_TEXT] if mode == "disable" else list(READABLE_FORMS.values())
        found["PGREQUIREAUTH"] = ",".join(f"!{METHODS[form]}" for form in readable)
    if "search_path" in options:
        path = options["search_path"].replace("\\", "\\\\").replace(" ", "\\ ")
        found["PGOPTIONS"] = f"{found.get('PGOPTIONS', '')} -c search_path={path}".strip()
    return found


@contextmanager
def connection_variables(url: URL, *, encrypted: bool) -> Iterator[dict[str, str]]:
    """Yield the variables that make libpq connect as this tool does.

    The pass phrase of a key has no variable of its own: it is in a file that only this user can
    read, for the duration of the block.

    Args:
        url: The URL of the database.
        encrypted: Whether this tool's own connection uses TLS: the program must use it too.
    """
    variables = connection_environment(url, encrypted=encrypted)
    phrase = url.query.get("sslpassword")
    if phrase is None:
        yield variables
        return
    with NamedTemporaryFile("w", prefix="clarinet-", encoding="utf-8") as file:  # mode 0600
        file.write(f"[{SERVICE}]\nsslpassword={phrase}\n")
        file.flush()
        yield {**variables, "PGSERVICE": SERVICE, "PGSERVICEFILE": file.name}


@asynccontextmanager
async def start_program(
    program: Program,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    stdin: Optional[int] = DEVNULL,
    stdout: Optional[int] = DEVNULL,
    inherited: Sequence[int] = (),
) -> AsyncIterator[Process]:
    """Run a program for the duration of the block; it is terminated at the end of the block.

    Args:
        program: The program.
        arguments: Its arguments, without secrets: other users can read them.
        variables: Its environment.
        stdin: As ``asyncio.create_subprocess_exec`` takes it.
        stdout: As ``asyncio.create_subprocess_exec`` takes it.
        inherited: Further descriptors that it gets.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    process = await asyncio.create_subprocess_exec(
        str(program.path),
        *arguments,
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE,
        pass_fds=inherited,
        env={**kept, "HOME": MISSING_FILE, "LC_ALL": "C", **variables},
        start_new_session=True,  # Ctrl-C at the terminal is for this process to handle
    )
    try:
        yield process
    finally:
        await asyncio.shield(_end(process))


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def program_error(program: Program, code: int, stderr: bytes, target: str) -> ClarinetError:
    """Return the error to show when a program failed; never a value of a row.

    Args:
        program: The program.
        code: Its exit code.
        stderr: Its standard error.
        target: The redacted URL of the database, or a file.
    """
    text = stderr.decode("utf-8", "replace")
    said = QUOTED_VALUE.sub("", next(iter(ERROR.findall(text)), "")) or f"exit code {code}"
    logger.bind(reported=True).error(f"{program.name}: {said}")
    if "lock timeout" in text or "could not obtain lock" in text:
        return BUSY.with_context(f"{target}: locked by another process")
    if any(part in text for part in CONNECTION_ERRORS):
        return UNREACHABLE.with_context(f"{target}: {program.name}: {said}")
    if "No space left" in text:
        return NO_SPACE.with_context(f"{program.name}: {said}")
    if "compression" in said:
        return INVALID.with_context(f"--compress: {said}")
    return FAILURE.with_context(f"{program.name} failed: {said}")
