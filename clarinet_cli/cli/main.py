"""The way into the command line."""

import gc
import io
import os
import re
import sys
from typing import Any

SIZES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")
POSSIBLE_SIZE = re.compile(r"[1-9][0-9]{1,2}")


def main() -> None:
    """Run the command line and exit with its code."""
    from clarinet_cli.signals import SIGNALS

    SIGNALS.install()
    _start_quickly()
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from clarinet_cli.cli.output import open_missing_streams

        open_missing_streams()
    _lose_what_standard_error_does_not_take()
    code = run_command_line(sys.argv[1:])
    SIGNALS.restore_defaults()
    gc.freeze()  # the end of the process would look once more for garbage among all that
    sys.exit(code)


class _Forgiving(io.FileIO):
    """A stream that loses what it can't write, as on a full disk or a terminal that is gone."""

    def write(self, content: Any, /) -> int:
        """Write, or lose, the whole content."""
        try:
            return super().write(content) or len(content)
        except OSError:
            return len(content)


def _lose_what_standard_error_does_not_take() -> None:
    """Let no message that can't be written stop the work: this is for every writer to it."""
    if sys.stderr is not sys.__stderr__ or sys.stderr is None:  # a stand-in takes everything
        return
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(sys.stderr.fileno(), "w", closefd=False)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _start_quickly() -> None:
    """Spare the start what only a long run gains by; before anything else is loaded.

    Loading the libraries makes some hundred thousand objects that all stay: looking for
    garbage among them again and again takes an eighth of the start. It begins when the work
    does (``groups.run``). Pydantic's search for plugins reads the metadata of every
    installed distribution.
    """
    gc.disable()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


def run_command_line(arguments: list[str]) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words after the program's name.
    """
    _forget_impossible_sizes()
    _escape_letters_that_a_stream_lacks()
    from typer.main import get_command

    from clarinet_cli.cli.groups import execute
    from clarinet_cli.cli.root import app

    return execute(get_command(app), arguments)


def _forget_impossible_sizes() -> None:
    """Leave out sizes that no terminal has: the libraries take 0, or a thousand million."""
    for name in SIZES:
        if not POSSIBLE_SIZE.fullmatch(os.environ.get(name, "80")):
            del os.environ[name]


def _escape_letters_that_a_stream_lacks() -> None:
    """Let help that has more letters than the locale be shown, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
