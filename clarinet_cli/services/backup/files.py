"""Backup files: written under a temporary name, and renamed when complete."""

import errno
import fcntl
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Optional

from clarinet_cli.database.sqlite import SIDE_SUFFIXES
from clarinet_cli.exceptions import CONFLICT, FAILURE, INVALID, NO_SPACE, NOT_FOUND, ClarinetError
from clarinet_cli.filesystem.ownership import describe_owner, open_file, os_error_reason
from clarinet_cli.filesystem.trust import trusted_path
from clarinet_cli.signals import SIGNALS
from clarinet_cli.utils.logger import logger

MODE = stat.S_IRUSR | stat.S_IWUSR
PREFIX, SUFFIX = ".clarinet-", ".part"
NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SHELL = "/bin/sh"
# Reads 'pid N' for a child to be ended and 'done' at a good end; the end of the input without
# that means that the process was killed.
WATCHDOG_SCRIPT = (
    'while read -r word number; do case "$word" in pid) child=$number;; done) exit 0;; esac; done;'
    ' [ -z "$child" ] || kill "$child"; rm -f -- "$@"'
)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(slots=True)
class NewFile:
    """A file that is being written.

    Attributes:
        path: Its temporary name, in the directory of the target.
        descriptor: Its file descriptor.
        watchdog: Removes the file if this process is killed; None without a shell.
    """

    path: Path
    descriptor: int
    watchdog: Optional["subprocess.Popen[bytes]"] = None

    @property
    def size(self) -> int:
        """The size in bytes."""
        return os.fstat(self.descriptor).st_size

    @property
    def open_path(self) -> str:
        """The path at which a child process that inherits the descriptor opens the file.

        By the temporary name it would create the file again if that was removed meanwhile.
        """
        path = f"/dev/fd/{self.descriptor}"
        return path if Path(path).exists() else str(self.path)

    def terminate_with_parent(self, process_id: int) -> None:
        """Terminate a child process if this one is killed.

        Args:
            process_id: The id of the child process.
        """
        self._send(f"pid {process_id}")

    def publish(self, target: Path, *, replace: bool) -> None:
        """Sync the file to disk, then give it its name.

        Args:
            target: The name, in the same directory.
            replace: Replace an existing file.

        Raises:
            ConflictError: There is a file of that name.
        """
        with file_errors(target):
            os.fchmod(self.descriptor, MODE)
            os.fsync(self.descriptor)
        SIGNALS.check_interrupted()
        with SIGNALS.deferred(), file_errors(target):
            _rename(self.path, target, replace=replace)
            SIGNALS.mark_changed()
            sync_directory(target.parent)

    def close(self) -> None:
        """Remove the temporary name, if it still exists."""
        for path in _with_side_files(self.path):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        os.close(self.descriptor)
        self._send("done")
        if self.watchdog is not None and self.watchdog.stdin is not None:
            with suppress(OSError):
                self.watchdog.stdin.close()
            self.watchdog.wait()

    def _send(self, line: str) -> None:
        if self.watchdog is not None and self.watchdog.stdin is not None:
            with suppress(OSError):
                os.write(self.watchdog.stdin.fileno(), f"{line}\n".encode())


@contextmanager
def new_file(directory: Path, *, like: Optional[Path] = None) -> Iterator[NewFile]:
    """Create an empty file under a temporary name, which is removed at the end of the block.

    It is also removed if this process is killed; after a crash of the machine, the next call for
    the directory removes it.

    Args:
        directory: The directory of the target.
        like: The database whose owner it gets; else the owner of the directory.

    Raises:
        ClarinetError: It cannot be made or written.
    """
    remove_stale(directory)
    path = directory / f"{PREFIX}{token_hex(8)}{SUFFIX}"
    with file_errors(path):
        watchdog = _start_watchdog(_with_side_files(path))
        file = NewFile(path, open_file(path, NEW_FLAGS, like=like, mode=MODE), watchdog)
    try:
        with file_errors(path):
            os.fchmod(file.descriptor, MODE)
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    finally:
        file.close()


def remove_stale(directory: Path) -> None:
    """Remove the temporary files of processes that have ended.

    Args:
        directory: The directory of the files.
    """
    for path in directory.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for file in _with_side_files(path):
                    file.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def resolve_target(given: Path, *, replace: bool, protected: Sequence[Path] = ()) -> Path:
    """Return the path of a new backup, or refuse it before anything is written.

    Args:
        given: The path as the operator wrote it.
        replace: Replace an existing file.
        protected: The files of the database.

    Raises:
        NotFoundError: The directory does not exist.
        ConflictError: There is a file of that name.
        InvalidInputError: It cannot be the name of a new file.
        ClarinetError: It is the database itself, or a link of another user leads there.
    """
    with file_errors(given):
        target = trusted_path(given.absolute())
        names = {os.path.realpath(path) for path in protected}
        found = target.lstat() if os.path.lexists(target) else None
    if os.path.realpath(target) in names:
        raise INVALID.with_context(f"{given} is a file of the database itself")
    if found is not None and not stat.S_ISREG(found.st_mode):
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        hint = f"--directory {given} writes a file into it" if what == "a directory" else None
        raise INVALID.with_context(f"{given} is {what}", hint=hint)
    if found is not None and not replace:
        raise CONFLICT.with_context(f"{given} already exists", hint="--force replaces it")
    require_directory(target.parent)
    return target


def require_directory(directory: Path) -> None:
    """Refuse a directory that does not exist.

    Raises:
        NotFoundError: The directory does not exist.
    """
    if not directory.is_dir():
        raise NOT_FOUND.with_context(
            f"directory {directory} does not exist",
            hint=f"create it: install -d -m 700 {shlex.quote(str(directory))}",
        )


def remove_oldest(directory: Path, pattern: re.Pattern[str], keep: int) -> list[Path]:
    """Remove the oldest files of a series, by their names, and return them.

    Args:
        directory: Their directory.
        pattern: Matches their whole names, whose order is that of their age.
        keep: How many of them to keep.
    """
    own = sorted(
        path
        for path in directory.iterdir()
        if pattern.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    )
    surplus = own[:-keep]
    for path in surplus:
        with file_errors(path):
            path.unlink(missing_ok=True)
    return surplus


def sync_directory(directory: Path) -> None:
    """Sync a directory to disk, if the file system supports that."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Translate the operating system's errors inside the block.

    Args:
        path: The file of the errors.
    """
    try:
        yield
    except FileExistsError as error:
        logger.bind(reported=True).error(f"{path}: {error}")
        raise CONFLICT.with_context(f"{path} already exists", hint="--force replaces it") from error
    except OSError as error:
        logger.bind(reported=True).error(f"{path}: {error}")
        raise _translate(error, path) from error


def _translate(error: OSError, path: Path) -> ClarinetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NO_SPACE.with_context(f"{path.parent}: {error.strerror}")
    if isinstance(error, PermissionError) and path.name.startswith(PREFIX):
        owner = describe_owner(path.parent)
        return FAILURE.with_context(f"{path.parent} cannot be written by this user: {owner}")
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND.with_context(f"{path}: {error.strerror}")
    return FAILURE.with_context(f"{path}: {os_error_reason(error, path)}")


def _rename(path: Path, target: Path, *, replace: bool) -> None:
    """Rename a file; without *replace* only where no other file has that name."""
    if replace:
        path.replace(target)
        return
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        logger.debug(f"{target.parent} has no hard links: {error}")
    else:
        path.unlink()
        return
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    path.replace(target)


def _with_side_files(path: Path) -> list[Path]:
    """Return a file and those that SQLite creates beside it, the file itself last."""
    return [*(path.with_name(f"{path.name}{suffix}") for suffix in SIDE_SUFFIXES), path]


def _start_watchdog(paths: Sequence[Path]) -> Optional["subprocess.Popen[bytes]"]:
    """Start a process that removes files if this process is killed."""
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed script; the names are its arguments
            [SHELL, "-c", WATCHDOG_SCRIPT, "clarinet-remove", *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        logger.debug(f"{SHELL}: {error}")
        return None
