"""The log file, whose failures never stop a command and are reported once."""

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


class LogSink(Protocol):
    """The interface of loguru's file sink."""

    def write(self, message: str) -> object:
        """Append a record, and rotate the file before if necessary."""

    def stop(self) -> object:
        """Close the file."""


class LogFile:
    """A rotating log file that reports in one line if writing or rotating it failed.

    After that it writes to the existing file without rotation; every record is still tried,
    since there may be space again.

    Args:
        path: The file, for the message.
        rotating: Opens the file with rotation and retention.
        plain: Opens the file without them, on the first record.

    Raises:
        OSError: The file cannot be opened.
        ValueError: Rotation or retention cannot be understood.
    """

    def __init__(
        self, path: Path, *, rotating: Callable[[], LogSink], plain: Callable[[], LogSink]
    ) -> None:
        self._path = path
        self._sink = rotating()
        self._plain: Optional[Callable[[], LogSink]] = plain

    def write(self, message: str) -> None:
        """Append a record."""
        try:
            self._sink.write(message)
        except OSError as error:
            if self._plain is None:  # reported already; the record stays in the buffer
                return
            warn_about_log_file(self._path, error)
            self.stop()
            self._sink, self._plain = self._plain(), None
            with suppress(OSError):
                self._sink.write(message)

    def stop(self) -> None:
        """Close the file; records that cannot be written are lost."""
        try:
            self._sink.stop()
        except OSError:
            file: Optional[IO[str]] = getattr(self._sink, "_file", None)
            if file is None:
                return
            # Its finaliser would write the buffered records; since Python 3.13 it prints the error.
            devnull = os.open(os.devnull, os.O_WRONLY)
            with suppress(OSError, ValueError):
                os.dup2(devnull, file.fileno())
                file.close()
            os.close(devnull)


def open_log_file(path: Path, flags: int, *, like: Optional[Path]) -> int:
    """Open a log file for appending.

    A last line without a line end, left by a full disk, is completed first.

    Args:
        path: The file; links in it must belong to the user or root.
        flags: The flags of ``os.open``.
        like: The database whose owner, group and mode a new file gets.

    Raises:
        OSError: It cannot be opened.
    """
    path = trusted_path(path)
    descriptor = open_file(path, flags | nofollow(path), like=like)
    with suppress(OSError):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with path.open("rb") as file:
                last = os.pread(file.fileno(), 1, status.st_size - 1)
            if last != LINE_END:
                os.write(descriptor, LINE_END)
    return descriptor


def warn_about_log_file(path: Path, error: OSError) -> None:
    """Report on standard error, in one line and also with ``-q``, that records may be lost.

    Args:
        path: The file.
        error: The error.
    """
    named = os.fsdecode(error.filename or path)
    text = f"warning: log file {named}: {os_error_reason(error, path)}".replace("\n", "\\n")
    with suppress(OSError, ValueError):
        sys.stderr.write(text.encode(errors="backslashreplace").decode() + "\n")
