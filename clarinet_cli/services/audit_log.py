"""The audit log: an append-only file with one line per record, synced to disk.

It does not use the logging library, so that a program that resets its logging loses no records.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Optional

from clarinet_cli.exceptions import FAILURE
from clarinet_cli.filesystem.ownership import make_directory, open_file, os_error_reason
from clarinet_cli.filesystem.trust import nofollow, trusted_path
from clarinet_cli.utils.logger import logger

LOCK_TIMEOUT_SECONDS = 2.0  # other writers hold the lock much shorter
POLL_SECONDS = 0.005
NEWLINE = b"\n"
NOTHING_CHANGED = "nothing was changed"


@dataclass(frozen=True, slots=True)
class _LogLocation:
    path: Path
    home: Path
    like: Optional[Path]


_location: ContextVar[Optional[_LogLocation]] = ContextVar("audit_log", default=None)


def configure_audit_log(
    path: Optional[Path], *, project: Path, like: Optional[Path] = None
) -> None:
    """Set the file for the records of changes.

    It is opened by the first change: read-only commands and dry runs need no permission to
    write it and do not create it.

    Args:
        path: The file; None: records go to the ordinary log only.
        project: Missing directories are created in this directory only.
        like: The database whose owner, group and mode a new file gets.
    """
    _location.set(None if path is None else _LogLocation(path, project, like))


class AuditLog:
    """An open audit log, or one that discards records if no file is set.

    Writes never block for long, since a change may hold locks: a pipe that is full or has no
    reader is an error. A lock on the file serialises the writers of several processes.

    Args:
        descriptor: The file, opened for appending.
        path: The path, for messages.
    """

    def __init__(self, descriptor: Optional[int] = None, path: Optional[Path] = None) -> None:
        self.descriptor = descriptor
        self.path = path

    @property
    def can_undo(self) -> bool:
        """Whether lines of a failed ``append`` are removed again, unlike those in a pipe."""
        return self.descriptor is None or stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def append(self, lines: Sequence[str], *, hint: Optional[str] = None) -> None:
        """Append lines atomically and sync them to disk.

        A last line without a line end, left by a full disk, is completed first.

        Args:
            lines: The lines, each written by one call.
            hint: The hint of an error.

        Raises:
            ClarinetError: They cannot be written; a regular file contains none of them.
        """
        if self.descriptor is None:
            return
        try:
            with _locked(self.descriptor):
                _append(self.descriptor, [line.encode() + NEWLINE for line in lines])
        except OSError as error:
            logger.bind(reported=True).error(f"audit log {self.path}: {error}")
            raise FAILURE.with_context(
                f"cannot write the audit log {self.path}: {error.strerror}", hint=hint
            ) from error


@contextmanager
def open_audit_log() -> Iterator[AuditLog]:
    """Open the audit log, if one is set, and check that it can be written.

    Its directory has to exist unless it is in the project, since records in a misspelled directory
    would not be found. Each run opens the file, so that it can be rotated.

    Raises:
        ClarinetError: The file cannot be opened or written.
    """
    location = _location.get()
    if location is None:
        yield AuditLog()
        return
    try:
        descriptor = _open(location)
    except OSError as error:
        logger.bind(reported=True).error(f"audit log {location.path}: {error}")
        raise FAILURE.with_context(
            f"cannot open the audit log {os.fsdecode(error.filename or location.path)}: "
            f"{os_error_reason(error, location.path)}",
            hint=NOTHING_CHANGED,
        ) from error
    log = AuditLog(descriptor, location.path)
    try:
        log.append([], hint=NOTHING_CHANGED)
        yield log
    finally:
        os.close(descriptor)


def _open(location: _LogLocation) -> int:
    """Open the file, which may be a pipe; see ``trusted_path`` for links."""
    if location.path.is_relative_to(location.home):
        make_directory(trusted_path(location.path.parent), like=location.like)
    path = trusted_path(location.path)
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | nofollow(path)
    # A process that opens a pipe for reading too is its reader.
    plain = path.is_file() or not path.exists()
    try:
        return open_file(path, flags | (os.O_RDWR if plain else os.O_WRONLY), like=location.like)
    except PermissionError:
        return open_file(path, flags | os.O_WRONLY, like=location.like)


def _append(descriptor: int, lines: Sequence[bytes]) -> None:
    status = os.fstat(descriptor)
    regular, end = stat.S_ISREG(status.st_mode), status.st_size
    if regular and end and _last_byte(descriptor, end) != NEWLINE:
        _write(descriptor, [NEWLINE])
        end += 1
    try:
        _write(descriptor, lines)
        if regular:
            os.fsync(descriptor)
    except OSError:
        if regular:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
        raise


def _last_byte(descriptor: int, size: int) -> bytes:
    """Return the last byte, or a newline if the file cannot be read."""
    try:
        return os.pread(descriptor, 1, size - 1)
    except OSError:
        return NEWLINE


def _write(descriptor: int, lines: Sequence[bytes]) -> None:
    for line in lines:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Hold the lock on a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        yield
        return
    deadline = monotonic() + LOCK_TIMEOUT_SECONDS
    while not _try_lock(descriptor):
        if monotonic() >= deadline:
            raise OSError(errno.EAGAIN, "locked by another process")
        sleep(POLL_SECONDS)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        logger.debug(f"audit log: {error}")
    return True
