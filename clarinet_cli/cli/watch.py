"""``--watch``: read and show a result repeatedly."""

import asyncio
import io
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Self, TextIO, TypeVar, cast

from clarinet_cli.cli import formats
from clarinet_cli.cli.cells import format_duration
from clarinet_cli.cli.charts import Canvas
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.sinks import write_rich
from clarinet_cli.cli.text import printable
from clarinet_cli.cli.views import LiveView
from clarinet_cli.cli.writer import Writer
from clarinet_cli.exceptions import INVALID, ClarinetError
from clarinet_cli.timefmt import iso_text, machine_now
from clarinet_cli.utils.logger import logger

if TYPE_CHECKING:
    from rich.console import RenderableType

ResultT = TypeVar("ResultT")
JSON_FORMATS = ("json", "jsonl")
DUMB_TERMINALS = ("dumb", "unknown")
QUIT_KEYS = b"qQ"


async def watch(
    runtime: Runtime, view: LiveView[Any], output: Optional[str], interval: float
) -> None:
    """Read and show a result after each interval, until a signal or ``q`` ends the command.

    On a terminal each frame replaces the one before, and the last one stays. In a pipe, or
    with ``-o json``, each is one JSON line, until the reader closes the pipe. One connection
    is used, without a transaction between two readings. When the first reading fails, the
    command fails; later the failure is shown, and the next reading tries a new connection.

    Args:
        runtime: The context of the run.
        view: The result.
        output: The value of ``--output``.
        interval: Seconds between the end of a reading and the next one.

    Raises:
        InvalidInputError: The format has no form for many results.
        ClarinetError: The first reading failed, or standard output cannot be written.
    """
    if output not in (None, "table", *JSON_FORMATS):
        raise INVALID.with_context(
            f"--watch does not support -o {output}",
            hint="-o json writes a JSON line after each interval",
        )
    if output is None and runtime.writer.quiet:
        raise INVALID.with_context(
            "--watch cannot be used with -q", hint="-o json writes JSON lines"
        )
    if sys.stdout.isatty() and output not in JSON_FORMATS:
        await _show_frames(runtime, view, interval)
    else:
        await _write_lines(runtime, view, interval)


async def _repeat(
    runtime: Runtime,
    view: LiveView[Any],
    interval: float,
    show: Callable[[Any, Optional[ClarinetError]], bool],
) -> None:
    """Read a result after each interval as long as *show* returns True.

    Args:
        runtime: The context of the run.
        view: The result.
        interval: Seconds between the end of a reading and the next one.
        show: Shows the last result, and the error of a later reading that failed.
    """
    from clarinet_cli.services.unit_of_work import open_database

    async with open_database(runtime.settings) as database:
        await database.disconnect_if_replaced()
        result = await view.read(database, warn=True)
        continuing = show(result, None)
        while continuing:
            await asyncio.sleep(interval)
            error = None
            try:
                await database.disconnect_if_replaced()
                result = await view.read(database, warn=False)
            except ClarinetError as failure:
                logger.bind(reported=True).error(failure.message)
                await database.disconnect()
                error = failure
            continuing = show(result, error)


async def _write_lines(runtime: Runtime, view: LiveView[Any], interval: float) -> None:
    """Write each result as one line; note once that readings fail."""
    failing = False

    def show(result: Any, error: Optional[ClarinetError]) -> bool:
        nonlocal failing
        if error is not None and not failing:
            runtime.writer.warn(f"{error.message}; trying again")
        failing = error is not None
        return failing or runtime.writer.write([_json_line(result, view)])

    await _repeat(runtime, view, interval, show)


def _json_line(result: Any, view: LiveView[Any]) -> str:
    """Return a result, or a list of them, as one line."""
    if not isinstance(result, list):
        return formats.as_json(formats.as_fields(result), pretty=False)
    rows = (formats.select(formats.as_fields(row), view.columns) for row in result[: view.limit])
    return f"[{', '.join(formats.as_json(row, pretty=False).rstrip() for row in rows)}]\n"


async def _show_frames(runtime: Runtime, view: LiveView[Any], interval: float) -> None:
    """Show each result in place of the one before."""
    from rich.console import Group
    from rich.text import Text

    before: Any = None
    read_at = machine_now()

    def show(result: Any, error: Optional[ClarinetError]) -> bool:
        nonlocal before, read_at
        canvas = screen.canvas
        if error is None:
            read_at = canvas.now
        every = f"{interval:g} s" if interval < 60 else format_duration(interval)
        when = f"{iso_text(read_at)[:19]}Z, every {every}"
        lines = [Text(f"{when}; q to quit" if screen.reads_keys else when)]
        if error is not None:
            text = f"error: {printable(error.message)}; trying again"
            lines.append(Text(text, style="bold red"))
        frame = view.draw(result, result if before is None else before, canvas)
        before = result
        screen.show(Group(*lines, Text(), frame))
        return True

    with Screen(runtime.writer) as screen:
        try:
            await _repeat(runtime, view, interval, show)
        except asyncio.CancelledError:
            if not screen.quit:
                raise


@dataclass(slots=True)
class Screen:
    """A terminal on which each frame replaces the one before, and whose keys are read.

    The cursor is hidden and typed keys are not echoed until the block ends, or the command is
    suspended by Ctrl-Z. A terminal that cannot move its cursor gets one frame after another.
    ``q`` cancels the task that opened the screen.

    Attributes:
        writer: Writes to the terminal.
        quit: ``q`` was pressed.
    """

    writer: Writer
    quit: bool = False
    _console: Any = None
    _live: Any = None
    _width: int = 0
    _modes: Optional[list[Any]] = None
    _task: Any = None

    def __enter__(self) -> Self:
        """Begin to read keys; the first frame hides the cursor."""
        from rich.console import Console

        self._task = asyncio.current_task()
        console = self.writer.console()
        self._console = Console(
            file=cast("TextIO", _WriterStream(self.writer)),
            color_system=console.color_system,
            no_color=console.no_color,
            force_terminal=True,
            force_interactive=True,
            highlight=False,
        )
        self._read_keys()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal; the last frame stays."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        try:
            self._stop()
        finally:
            self._restore_modes()

    @property
    def reads_keys(self) -> bool:
        """Whether ``q`` ends the command."""
        return self._modes is not None

    @property
    def canvas(self) -> Canvas:
        """The terminal as it is now."""
        return Canvas.of(self._console.width, sys.stdout.encoding, machine_now())

    def show(self, frame: "RenderableType") -> None:
        """Replace the frame.

        Args:
            frame: The frame.
        """
        from rich.live import Live

        if os.environ.get("TERM") in DUMB_TERMINALS:
            write_rich(self.writer, frame)
            self.writer.write(["\n"], utf8=False)
            return
        before, self._width = self._width, self._console.width
        if self._live is not None and self._width != before:
            # The terminal has wrapped the frame differently: its lines cannot be replaced.
            self._stop()
            self._console.clear()
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(frame, refresh=True)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _read_keys(self) -> None:
        """Read single keys without echo, if the command is in the foreground of its terminal."""
        with suppress(OSError, ValueError):
            descriptor = sys.stdin.fileno()
            if sys.stdin.isatty() and os.tcgetpgrp(descriptor) == os.getpgrp():
                self._modes = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor, termios.TCSANOW)
                asyncio.get_running_loop().add_reader(descriptor, self._on_key, descriptor)

    def _restore_modes(self) -> None:
        """Restore the modes of the terminal, unless it is closed."""
        modes, self._modes = self._modes, None
        if modes is not None:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            with suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)

    def _on_key(self, descriptor: int) -> None:
        try:
            keys = os.read(descriptor, 1024)
        except OSError:
            keys = b""
        if not keys:  # the terminal is closed
            asyncio.get_running_loop().remove_reader(descriptor)
        if not self.quit and set(QUIT_KEYS) & set(keys):
            self.quit = True
            self._task.cancel()

    def _suspend(self) -> None:
        """Restore the terminal, stop until SIGCONT, and set the terminal up again."""
        self._stop()
        self._restore_modes()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._read_keys()


class _WriterStream(io.TextIOBase):
    """A text stream for Rich, whose content the writer writes to standard output."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8: the writer replaces characters that standard output cannot encode."""
        return "utf-8"

    def write(self, text: str, /) -> int:
        """Write text, flushed."""
        self._writer.write([text], utf8=False)
        return len(text)
