"""The only writer to standard output and standard error.

Standard output carries one document, the data of the command. Notes, hints, prompts, progress
and errors go to standard error.
"""

import errno
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Optional, TextIO

from clarinet_cli.cli.text import ESCAPE_UNENCODABLE, printable, wrap_message
from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.signals import SIGNALS

READER_TIMEOUT_SECONDS = 10.0  # while a transaction is open
MAX_MESSAGE_LENGTH = 2000  # characters; a value quoted in a message may be of any length
MESSAGE_HEAD_LENGTH, MESSAGE_TAIL_LENGTH = 600, 300


class ColorMode(StrEnum):
    """When to colour the output."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(slots=True)
class Writer:
    """Writes the output of one run.

    Attributes:
        quiet: Suppress notes and hints.
        color: When to colour.
        stdout_closed: The caller closed standard output (``>&-``).
        rewrite: Adapts the commands in notes and messages to those that the operator can run.
        rewrite_hint: The same for hints.
    """

    quiet: bool = False
    color: ColorMode = ColorMode.AUTO
    stdout_closed: bool = False
    rewrite: Callable[[str], str] = str
    rewrite_hint: Callable[[str], str] = str
    _reader_required: bool = False

    def write(self, pieces: Iterable[str], *, utf8: bool = True, flush: bool = True) -> bool:
        """Write text to standard output.

        When the reader closed the pipe (``| head -1``), the rest is dropped and the command
        continues.

        Args:
            pieces: The text.
            utf8: Encode as UTF-8 in every locale, for programs; else in the encoding of the
                locale, with escapes for characters that it lacks.
            flush: Write out the buffer at once.

        Returns:
            False when the reader closed the pipe.

        Raises:
            ClarinetError: Standard output cannot be written, as on a full disk.
        """
        if self.stdout_closed:
            if any(pieces):
                raise FAILURE.with_context("standard output is closed")
            return True
        if utf8:
            stream: Any = sys.stdout  # TextIO has no reconfigure(), which the real one has
            if (stream.encoding or "utf-8").lower() != "utf-8":  # io.StringIO has none
                stream.reconfigure(encoding="utf-8", errors=ESCAPE_UNENCODABLE)
        try:
            self._write(pieces, flush=flush)
        except OSError as error:
            discard_stdout()
            if isinstance(error, BrokenPipeError) and not self._reader_required:
                return False
            raise FAILURE.with_context(f"standard output: {error.strerror}") from error
        return True

    def _write(self, pieces: Iterable[str], *, flush: bool) -> None:
        if self._reader_required:
            _write_unbuffered("".join(pieces))
            return
        with SIGNALS.raising():  # a blocked pipe blocks the event loop too
            sys.stdout.writelines(pieces)
            if flush:
                sys.stdout.flush()

    @contextmanager
    def require_reader(self) -> Iterator[None]:
        """Raise an error for output in the block that is not read, as when the pipe is closed."""
        self._reader_required = True
        try:
            yield
        finally:
            self._reader_required = False

    def note(self, text: str) -> None:
        """Write a line to standard error, unless the run is quiet."""
        if not self.quiet:
            _write_stderr(_lines(printable(self.rewrite(text))))

    def warn(self, text: str) -> None:
        """Write a warning to standard error, also when the run is quiet."""
        _write_stderr(_lines(f"warning: {printable(self.rewrite(text))}"))

    def error(self, error: ClarinetError) -> None:
        """Write an error as one line, further ones below it, then the hint unless quiet."""
        for message in (error.message, *error.further):
            self._write_labelled("error:", "1;31", self.rewrite(message))
        hint = self.rewrite_hint(error.hint or "")
        if hint and not self.quiet:
            self._write_labelled("hint:", "1;36", hint)

    def note_aborted(self) -> None:
        """End the line of a prompt that a signal interrupted, with a note."""
        _write_stderr("\naborted\n")

    def end_line(self) -> None:
        """End the line of a prompt that got no answer."""
        _write_stderr("\n")

    def is_styled(self, stream: TextIO) -> bool:
        """Return whether text on a stream can have escape sequences."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        automatic = (stream.isatty() and not plain) or os.environ.get("FORCE_COLOR")
        if self.color is ColorMode.AUTO:
            return bool(automatic)
        return self.color is ColorMode.ALWAYS

    def console(self, *, stderr: bool = False) -> Any:
        """Return a Rich console that obeys ``--color`` and takes text literally."""
        from rich.console import Console

        return Console(
            stderr=stderr,
            highlight=False,
            markup=False,
            emoji=False,
            force_terminal={ColorMode.ALWAYS: True, ColorMode.NEVER: False}.get(self.color),
            color_system=None if self.color is ColorMode.NEVER else "auto",
        )

    def _write_labelled(self, label: str, style: str, message: str) -> None:
        if len(message) > MAX_MESSAGE_LENGTH:
            message = f"{message[:MESSAGE_HEAD_LENGTH]} … {message[-MESSAGE_TAIL_LENGTH:]}"
        text = _lines(f"{label} {printable(message)}")
        if self.is_styled(sys.stderr):
            text = f"\x1b[{style}m{label}\x1b[0m{text.removeprefix(label)}"
        _write_stderr(text)


def discard_stdout() -> None:
    """Redirect standard output to the null device, so that no later flush fails again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _lines(message: str) -> str:
    """Return a message as one line, on a terminal as several that fit its width."""
    width = _terminal_width(sys.stderr)
    return "".join(f"{line}\n" for line in (wrap_message(message, width) if width else [message]))


def _terminal_width(stream: TextIO) -> Optional[int]:
    """Return the columns of a terminal, from ``COLUMNS`` as for tables; None if unknown."""
    columns = os.environ.get("COLUMNS", "")
    with suppress(OSError, ValueError):
        if stream.isatty():
            if columns.isdecimal():
                return int(columns)
            return os.get_terminal_size(stream.fileno()).columns
    return None


def _write_stderr(text: str) -> None:
    """Write a message; errors are ignored, as when standard error is closed."""
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _write_unbuffered(text: str) -> None:
    """Write text without buffering, up to the timeout of its reader.

    Raises:
        OSError: The reader closed the pipe or timed out, or the disk is full.
    """
    sys.stdout.flush()
    content = text.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # in memory
        sys.stdout.write(text)
        return
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    while content:
        if not ready.poll(READER_TIMEOUT_SECONDS * 1000):
            raise OSError(errno.ETIMEDOUT, "timed out waiting for the reader")
        # As much as a pipe that is ready accepts without blocking.
        content = content[os.write(descriptor, content[: select.PIPE_BUF]) :]
    if any(state & select.POLLERR for _, state in ready.poll(0)):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)
