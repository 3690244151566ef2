"""The files of a SQLite database, and whether this user may leave or use some beside it."""

import os
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path
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
from clarinet_cli.utils.logger import logger

WAL_SUFFIXES = ("-wal", "-shm")
SIDE_SUFFIXES = (*WAL_SUFFIXES, "-journal")
# Of a database's header: https://sqlite.org/fileformat2.html#file_format_version_numbers
READ_VERSION = slice(19, 20)
WAL_VERSION = b"\2"
LONGEST_PATH = 504  # bytes that SQLite takes: its limit of 512, less room for "-journal"
UNFINISHED = (
    "SQLITE_READONLY_ROLLBACK",
    "SQLITE_READONLY_RECOVERY",
    "SQLITE_READONLY_CANTINIT",
)


def refuse_unusable_name(file: Path) -> None:
    """Refuse a name that can't be a database's.

    Args:
        file: As the settings name it.

    Raises:
        UnreachableError: A directory, a link that leads nowhere, or too long a name.
    """
    try:
        reason = _unusable(file)
    except OSError as error:
        logger.bind(reported=True).error(f"looking for {file}: {error}")
        raise UNREACHABLE.with_context(
            f"the SQLite file {file} can't be reached: {os_error_reason(error, file)}"
        ) from error
    if reason:
        raise UNREACHABLE.with_context(f"{file} can't be the SQLite database: it is {reason}")


def is_file(path: Path) -> bool:
    """Return whether there is a file, as far as this user can tell.

    Args:
        path: A name of any length.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def prepare_sqlite_file(file: Path) -> None:
    """See to it that reading a database leaves nothing that its owner can't write.

    In WAL mode whoever comes first makes ``-wal`` and ``-shm``, and who can't write the
    database never removes them. For root SQLite itself gives them to the database's owner.

    Args:
        file: The database, which has to exist.

    Raises:
        ClarinetError: This user would leave such files.
    """
    real = Path(os.path.realpath(file))
    missing = [side for side in _side_files(real, WAL_SUFFIXES) if not side.exists()]
    if not missing or os.geteuid() in (0, real.stat().st_uid) or not _is_wal(real):
        return
    if not os.access(real, os.W_OK):
        raise FAILURE.with_context(
            f"{file} is in WAL mode and can't be written by this user: {describe_owner(real)}; "
            "reading it now would leave files that its owner can't write",
            hint=sudo_hint(real),
        )
    if real.stat().st_gid != os.getegid():  # else SQLite makes them right
        for side in missing:
            with suppress(OSError):
                os.close(open_file(side, os.O_RDWR | os.O_CREAT | os.O_EXCL, like=real))


def explain_file_error(error: Exception, file: Path) -> Optional[ClarinetError]:
    """Return the error to show when owner or mode of a file are why SQLite failed.

    Args:
        error: What SQLAlchemy raised.
        file: The database.
    """
    original = error.orig if isinstance(error, DBAPIError) else None
    name = getattr(original, "sqlite_errorname", "")  # the driver's own errors have none
    if not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return None
    real = Path(os.path.realpath(file))
    writable = os.access(real, os.W_OK)
    wanted = os.R_OK | (os.W_OK if writable else 0)
    for side in _side_files(real, SIDE_SUFFIXES):
        if os.path.lexists(side) and not os.access(side, wanted):
            verb = "written" if writable else "read"
            return FAILURE.with_context(
                f"{side} can't be {verb}: {describe_owner(side)}", hint=repair_commands(side, real)
            )
    if name in UNFINISHED:
        return FAILURE.with_context(
            f"{file}: a change that was cut short has to be finished or undone first, which "
            f"this user may not: {describe_owner(real)}",
            hint=sudo_hint(real),
        )
    return _missing_right(real, name)


def _missing_right(file: Path, name: str) -> Optional[ClarinetError]:
    """Return the error when owner or mode of the file or its directory are why."""
    if _on_read_only_mount(file):
        return None
    places = (file, file.parent) if name.startswith("SQLITE_READONLY") else (file.parent,)
    for place in places:
        if place.exists() and not os.access(place, os.W_OK):
            own = place.stat().st_uid == os.geteuid()
            return FAILURE.with_context(
                f"{place} can't be written by this user: {describe_owner(place)}",
                hint=f"chmod u+w {shlex.quote(str(place))}" if own else sudo_hint(file),
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
    if len(os.fsencode(os.path.realpath(file))) > LONGEST_PATH:
        return f"a path of more than the {LONGEST_PATH} bytes that SQLite takes"
    return _broken_link(file) if file.is_symlink() else None


def _broken_link(file: Path) -> Optional[str]:
    try:
        file.stat()
    except OSError as error:
        target = os.readlink(file)  # noqa: PTH115 - its text, and not a cleaned-up one
        return f"a link to {target}: {error.strerror}"
    return None


def _side_files(file: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [file.with_name(f"{file.name}{suffix}") for suffix in suffixes]


def _is_wal(file: Path) -> bool:
    try:
        found = file.stat()
        descriptor = _kept_open(file, found.st_dev, found.st_ino)
    except OSError:
        return False  # opening it will say why
    return os.pread(descriptor, READ_VERSION.stop, 0)[READ_VERSION] == WAL_VERSION


@cache
def _kept_open(file: Path, _device: int, _inode: int) -> int:
    """Open a database for reading its header, once for this process.

    It is never closed: with any descriptor of a file the kernel takes away all the locks
    that this process has on it, those of SQLite's connections too.
    """
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
