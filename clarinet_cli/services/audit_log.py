"""The audit log: a file that is only appended to, a line a record, each on the disk at once.

It is a writer of its own, so that a program which sets up its logging anew loses no record.
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

LOCK_SECONDS = 2.0  # another writer needs far less
POLL_SECONDS = 0.005
NEWLINE = b"\n"
NOTHING_CHANGED = "nothing was changed"


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    home: Path
    like: Optional[Path]


_place: ContextVar[Optional[_Place]] = ContextVar("audit_log", default=None)


def configure_audit_log(
    path: Optional[Path], *, project: Path, like: Optional[Path] = None
) -> None:
    """Name the file that gets a line for each change, and nothing else.

    It is opened with the first change: who only looks, or tries out, needs no right to
    write it and does not create it.

    Args:
        path: The file; None: records go to the ordinary log alone.
        project: Only in this directory a missing directory is made for it.
        like: The database whose owner, group and mode a new file gets.
    """
    _place.set(None if path is None else _Place(path, project, like))


class AuditLog:
    """The open file, or nothing when none is named.

    Nobody is waited for, since a change may hold locks: a pipe without a reader, or a full
    one, is an error. Writers of several processes take turns by a lock on the file.

    Args:
        descriptor: Of the file, opened for appending.
        path: Its name, for messages.
    """

    def __init__(self, descriptor: Optional[int] = None, path: Optional[Path] = None) -> None:
        self.descriptor = descriptor
        self.path = path

    @property
    def can_undo(self) -> bool:
        """Whether lines that could not be written whole are gone again: a pipe keeps them."""
        return self.descriptor is None or stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def append(self, lines: Sequence[str], *, hint: Optional[str] = None) -> None:
        """Append lines, all of them or none, and wait until they are on the disk.

        A line that another writer, or a full disk, left without its end is ended first.

        Args:
            lines: Each becomes one write.
            hint: What to say with an error.

        Raises:
            ClarinetError: They can't be written; nothing of them is left in a regular file.
        """
        if self.descriptor is None:
            return
        try:
            with _alone(self.descriptor):
                _append(self.descriptor, [line.encode() + NEWLINE for line in lines])
        except OSError as error:
            logger.bind(reported=True).error(f"audit log {self.path}: {error}")
            raise FAILURE.with_context(
                f"can't write the audit log {self.path}: {error.strerror}", hint=hint
            ) from error


@contextmanager
def open_audit_log() -> Iterator[AuditLog]:
    """Open the file for the records of changes, if one is named, and see that it can be written.

    Its directory has to exist, unless it is in the project: a mistyped one would hide the
    records. A long job opens it once a run, so that a log that was moved away begins anew.

    Raises:
        ClarinetError: The file can't be opened or written.
    """
    place = _place.get()
    if place is None:
        yield AuditLog()
        return
    try:
        descriptor = _open(place)
    except OSError as error:
        logger.bind(reported=True).error(f"audit log {place.path}: {error}")
        raise FAILURE.with_context(
            f"can't open the audit log {os.fsdecode(error.filename or place.path)}: "
            f"{os_error_reason(error, place.path)}",
            hint=NOTHING_CHANGED,
        ) from error
    log = AuditLog(descriptor, place.path)
    try:
        log.append([], hint=NOTHING_CHANGED)
        yield log
    finally:
        os.close(descriptor)


def _open(place: _Place) -> int:
    """Open the file, which may be a pipe; a link to it has to be the user's own."""
    if place.path.is_relative_to(place.home):
        make_directory(trusted_path(place.path.parent), like=place.like)
    path = trusted_path(place.path)
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | nofollow(path)
    # A pipe that is opened for reading too would be its own reader.
    plain = path.is_file() or not path.exists()
    try:
        return open_file(path, flags | (os.O_RDWR if plain else os.O_WRONLY), like=place.like)
    except PermissionError:
        return open_file(path, flags | os.O_WRONLY, like=place.like)


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
    """Return the last byte; of a file that may be written and not read, a newline."""
    try:
        return os.pread(descriptor, 1, size - 1)
    except OSError:
        return NEWLINE


def _write(descriptor: int, lines: Sequence[bytes]) -> None:
    for line in lines:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Keep other writers of a regular file out."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        yield
        return
    deadline = monotonic() + LOCK_SECONDS
    while not _locked(descriptor):
        if monotonic() >= deadline:
            raise OSError(errno.EAGAIN, "another process keeps it locked")
        sleep(POLL_SECONDS)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        logger.debug(f"audit log: {error}")
    return True
