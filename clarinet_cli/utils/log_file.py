"""The log file, which never keeps a command from its work: what fails is said once."""

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Optional, Protocol

from clarinet_cli.filesystem.ownership import open_file, os_error_reason
from clarinet_cli.filesystem.trust import nofollow, trusted_path

LINE_END = b"\n"


class Sink(Protocol):
    """What loguru's own file is to us."""

    def write(self, message: str) -> object:
        """Append a record, after a rotation if it is time for one."""

    def stop(self) -> object:
        """Close the file."""


class LogFile:
    """A rotating log file that says in one line when a record or the rotation failed.

    It then goes on without rotation, in whatever file is there; each record is tried again,
    since room may come back.

    Args:
        path: The file, for the message.
        rotating: Opens the file with its rotation and retention.
        plain: Opens it without them, when the first record comes.

    Raises:
        OSError: The file can't be opened.
        ValueError: Rotation or retention can't be understood.
    """

    def __init__(
        self, path: Path, *, rotating: Callable[[], Sink], plain: Callable[[], Sink]
    ) -> None:
        self._path = path
        self._sink = rotating()
        self._plain: Optional[Callable[[], Sink]] = plain

    def write(self, message: str) -> None:
        """Append a record."""
        try:
            self._sink.write(message)
        except OSError as error:
            self._go_on(message, error)

    def stop(self) -> None:
        """Close the file; what it could not take is lost."""
        try:
            self._sink.stop()
        except OSError:
            _discard(getattr(self._sink, "_file", None))

    def _go_on(self, message: str, error: OSError) -> None:
        if self._plain is None:  # said already; the file keeps the record until there is room
            return
        warn_of_log_file(self._path, error)
        self.stop()
        self._sink, self._plain = self._plain(), None
        with suppress(OSError):
            self._sink.write(message)


def _discard(file: Optional[IO[str]]) -> None:
    """Close a file whose last records can't be written.

    Python would try once more when it removes the file, and from 3.13 on print that it failed.
    """
    if file is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, file.fileno())
        file.close()
    os.close(nowhere)


def open_log_file(path: Path, flags: int, *, like: Optional[Path]) -> int:
    """Open a log file, a new one as the database's owner would have made it.

    A line that a full disk cut short is ended, so that the next record has one of its own.

    Args:
        path: The file; a link to it, or in its name, has to be the user's own or root's.
        flags: For appending.
        like: The database.

    Raises:
        OSError: It can't be opened.
    """
    path = trusted_path(path)
    descriptor = open_file(path, flags | nofollow(path), like=like)
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_cut_short(path):
            os.write(descriptor, LINE_END)
    return descriptor


def warn_of_log_file(path: Path, error: OSError) -> None:
    """Say in one line on standard error, also with ``-q``, that records may be lost.

    Args:
        path: The file.
        error: Why.
    """
    named = os.fsdecode(error.filename or path)
    text = f"warning: log file {named}: {os_error_reason(error, path)}".replace("\n", "\\n")
    with suppress(OSError, ValueError):
        sys.stderr.write(text.encode(errors="backslashreplace").decode() + "\n")


def _is_cut_short(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return size > 0 and os.pread(file.fileno(), 1, size - 1) != LINE_END
