"""The entry point of the process."""

import gc
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

SIZES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")
VALID_SIZE = re.compile(r"[1-9][0-9]{1,2}")


def main() -> None:
    """Run the command line and exit with its code."""
    from clarinet_cli.signals import SIGNALS

    SIGNALS.install()
    # Loading the libraries makes some hundred thousand permanent objects, and collecting garbage
    # among them takes an eighth of the start: the runtime enables it for the command. Pydantic's
    # search for plugins reads the metadata of every installed distribution.
    gc.disable()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    stdout_closed = sys.stdout is None
    # They stay open to the end of the process, as the standard streams do.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open until the process ends
    _ignore_stderr_errors()
    code = run_command_line(sys.argv[1:], stdout_closed=stdout_closed)
    SIGNALS.restore_defaults()
    gc.freeze()  # or the end of the process collects garbage among all objects once more
    sys.exit(code)


def run_command_line(arguments: list[str], *, stdout_closed: bool = False) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The words after the program's name.
        stdout_closed: The caller closed standard output.
    """
    for name in SIZES:
        if not VALID_SIZE.fullmatch(os.environ.get(name, "80")):
            del os.environ[name]
    from typer.main import get_command

    from clarinet_cli.cli.app import app
    from clarinet_cli.cli.execution import execute
    from clarinet_cli.cli.runtime import Runtime
    from clarinet_cli.cli.shells import register_shells
    from clarinet_cli.cli.text import ESCAPE_UNENCODABLE
    from clarinet_cli.cli.writer import Writer

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE_UNENCODABLE)
    register_shells()
    runtime = Runtime(Writer(stdout_closed=stdout_closed))
    return execute(get_command(app), arguments, runtime)


class _IgnoreWriteErrors(io.FileIO):
    """A file that ignores write errors, as on a full disk or a closed terminal."""

    def write(self, content: Any, /) -> int:
        """Write the content, or drop it."""
        try:
            return super().write(content) or len(content)
        except OSError:
            return len(content)


def _ignore_stderr_errors() -> None:
    """Ignore errors of writing to standard error, also in libraries."""
    if sys.stderr is not sys.__stderr__ or sys.stderr is None:  # replaced by a host or a test
        return
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_IgnoreWriteErrors(sys.stderr.fileno(), "w", closefd=False)),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
