"""The files of a SQLite database: their names, owners and permissions."""

import os
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Optional

from sqlalchemy.exc import DBAPIError

from clarinet_cli.exceptions import FAILURE, UNREACHABLE, ClarinetError
from clarinet_cli.filesystem.ownership import (
    describe_owner,
    open_file,
    os_error_reason,
    repair_commands,
    sudo_hint,
)
from clarinet_cli.sources import DOTENV_FILE, TOML_FILES
from clarinet_cli.utils.logger import logger

WAL_SUFFIXES = ("-wal", "-shm")
SIDE_SUFFIXES = (*WAL_SUFFIXES, "-journal")
BUSY_ERRORS = ("SQLITE_BUSY", "SQLITE_LOCKED")
# In the database header: https://sqlite.org/fileformat2.html#file_format_version_numbers
READ_VERSION = slice(19, 20)
WAL_VERSION = b"\2"
MAX_PATH_BYTES = 504  # SQLite's limit of 512, less "-journal"
RECOVERY_ERRORS = (
    "SQLITE_READONLY_ROLLBACK",
    "SQLITE_READONLY_RECOVERY",
    "SQLITE_READONLY_CANTINIT",
)
PRIVATE_FILE_MODE = 0o660  # less the umask; hashes and tokens must not be readable by others
MISSING_HINT = "'clarinet db init' creates it; use '-C DIR' to choose another project directory"
SETTINGS_FILES = (*TOML_FILES, DOTENV_FILE)


def refuse_unusable_name(file: Path) -> None:
    """Refuse a path that cannot be a database.

    Args:
        file: The path from the settings.

    Raises:
        UnreachableError: It is a directory or a broken link, or it is too long.
    """
    try:
        reason = _unusable(file)
    except OSError as error:
        logger.bind(reported=True).error(f"looking for {file}: {error}")
        raise UNREACHABLE.with_context(
            f"the SQLite file {file} cannot be reached: {os_error_reason(error, file)}"
        ) from error
    if reason:
        raise UNREACHABLE.with_context(f"{file} cannot be the SQLite database: it is {reason}")


def is_file(path: Path) -> bool:
    """Return whether a path is a file that this user can see.

    Args:
        path: A path, which may be too long for the system.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def prepare_sqlite_file(file: Path) -> None:
    """Prevent this process from leaving files that the database's owner cannot write.

    In WAL mode the first process to open a database creates ``-wal`` and ``-shm``; a user who
    cannot write the database never removes them. For root SQLite sets their owner itself.

    Args:
        file: The database, which must exist.

    Raises:
        ClarinetError: This user cannot write the database and would create these files.
    """
    real = Path(os.path.realpath(file))
    missing = [side for side in _side_files(real, WAL_SUFFIXES) if not side.exists()]
    if not missing or os.geteuid() in (0, real.stat().st_uid) or not _is_wal(real):
        return
    if not os.access(real, os.W_OK):
        raise FAILURE.with_context(
            f"{file} is in WAL mode and cannot be written by this user: {describe_owner(real)}; "
            "reading it now would leave files that its owner cannot write",
            hint=sudo_hint(real),
        )
    if real.stat().st_gid != os.getegid():  # else SQLite sets group and mode
        for side in missing:
            with suppress(OSError):
                os.close(open_file(side, os.O_RDWR | os.O_CREAT | os.O_EXCL, like=real))


def explain_file_error(error: Exception, file: Path) -> Optional[ClarinetError]:
    """Return the error to show if SQLite failed because of a file's owner or mode.

    Args:
        error: What SQLAlchemy raised.
        file: The database.
    """
    original = error.orig if isinstance(error, DBAPIError) else None
    name = getattr(original, "sqlite_errorname", "")  # not an attribute of the driver's own errors
    if not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return None
    real = Path(os.path.realpath(file))
    writable = os.access(real, os.W_OK)
    wanted = os.R_OK | (os.W_OK if writable else 0)
    for side in _side_files(real, SIDE_SUFFIXES):
        if os.path.lexists(side) and not os.access(side, wanted):
            verb = "written" if writable else "read"
            return FAILURE.with_context(
                f"{side} cannot be {verb}: {describe_owner(side)}", hint=repair_commands(side, real)
            )
    if name in RECOVERY_ERRORS:
        return FAILURE.with_context(
            f"{file}: an interrupted transaction must be recovered first, and this user cannot "
            f"write the file: {describe_owner(real)}",
            hint=sudo_hint(real),
        )
    if _on_read_only_mount(real):
        return None
    paths = (real, real.parent) if name.startswith("SQLITE_READONLY") else (real.parent,)
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            own = path.stat().st_uid == os.geteuid()
            return FAILURE.with_context(
                f"{path} cannot be written by this user: {describe_owner(path)}",
                hint=f"chmod u+w {shlex.quote(str(path))}" if own else sudo_hint(real),
            )
    return None


def _on_read_only_mount(file: Path) -> bool:
    try:
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _unusable(file: Path) -> Optional[str]:
    if file.name == ":memory:":
        return "in memory, where no other process sees it"
    if file.is_dir():
        return "a directory"
    if len(os.fsencode(os.path.realpath(file))) > MAX_PATH_BYTES:
        return f"a path of more than {MAX_PATH_BYTES} bytes, the limit of SQLite"
    if file.is_symlink():
        try:
            file.stat()
        except OSError as error:
            target = os.readlink(file)  # noqa: PTH115 - Path would normalise it
            return f"a link to {target}: {error.strerror}"
    return None


def _side_files(file: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [file.with_name(f"{file.name}{suffix}") for suffix in suffixes]


def _is_wal(file: Path) -> bool:
    try:
        found = file.stat()
        descriptor = _header_descriptor(file, found.st_dev, found.st_ino)
    except OSError:
        return False  # opening the database reports the error
    return os.pread(descriptor, READ_VERSION.stop, 0)[READ_VERSION] == WAL_VERSION


@cache
def _header_descriptor(file: Path, _device: int, _inode: int) -> int:
    """Open a database for reading its header, once per process.

    The descriptor is never closed: closing any descriptor of a file releases all POSIX locks
    that the process holds on it, including those of SQLite's connections.
    """
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


def create_sqlite_file(file: Path) -> bool:
    """Create an empty SQLite file for its directory's owner that others cannot read.

    Args:
        file: The file; its directory must exist.

    Returns:
        False if the file already exists.

    Raises:
        ClarinetError: It cannot be created.
    """
    try:
        os.close(open_file(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=PRIVATE_FILE_MODE))
    except FileExistsError:
        return False
    except PermissionError as error:
        logger.bind(reported=True).error(f"creating {file}: {error}")
        raise FAILURE.with_context(
            f"cannot create {file} in its directory: {describe_owner(file.parent)}"
        ) from error
    except OSError as error:
        logger.bind(reported=True).error(f"creating {file}: {error}")
        raise FAILURE.with_context(f"cannot create {file}: {error.strerror}") from error
    return True


def missing_file(file: Path, project: Optional[Path] = None) -> ClarinetError:
    """Return the error for a SQLite file that does not exist.

    Args:
        file: The file.
        project: The project directory; if it has no settings files, the hint names the nearest
            parent directory that has settings files or a database of the same name.
    """
    message = f"the SQLite file {file} does not exist"
    if project is None or any((project / name).is_file() for name in SETTINGS_FILES):
        return UNREACHABLE.with_context(message, hint=MISSING_HINT)
    names = (*TOML_FILES, file.name)
    found = (path for path in project.parents if any((path / name).is_file() for name in names))
    above = next(found, None)
    hint = f"'clarinet -C {quote(str(above))} …' is the project above; " if above else ""
    return UNREACHABLE.with_context(
        f"{message}, and there is no {TOML_FILES[-1]} in {project}", hint=f"{hint}{MISSING_HINT}"
    )
