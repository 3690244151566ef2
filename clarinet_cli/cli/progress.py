"""The progress of long work, on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Optional, Protocol

from clarinet_cli.cli.runtime import Runtime

if TYPE_CHECKING:
    from rich.progress import Progress

PROGRESS_LINE_SECONDS = 30.0


class ProgressUpdate(Protocol):
    """Shows the progress of work."""

    def __call__(self, done: int, total: int, phase: Optional[str] = None) -> None:
        """Show it.

        Args:
            done: The number of items done so far.
            total: The number of all.
            phase: The name of the work, where it has several parts.
        """

    def stop(self) -> None:
        """Clear what is shown, so that data can be written to the same terminal."""


@contextmanager
def progress(runtime: Runtime, label: str) -> Iterator[ProgressUpdate]:
    """Yield a callback for the number done and the total.

    It shows a bar with the rate and the time left when standard error is a terminal, else
    with ``-v`` a line every 30 s.

    Args:
        runtime: The context of the run.
        label: The name of the work, unless the callback gets another.
    """
    if not sys.stderr.isatty() or runtime.writer.quiet:
        yield _ProgressLines(runtime, label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    text, rate = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), rate, Remaining())
    console = runtime.writer.console(stderr=True)
    # Standard output stays the writer's: Rich would replace it by a stream without encoding.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        yield _ProgressBar(bar, label)


class _ProgressBar:
    """Shows a bar on a terminal.

    Args:
        bar: The bar of Rich.
        label: The name of the work, unless a phase is named.
    """

    def __init__(self, bar: "Progress", label: str) -> None:
        self.stop = bar.stop
        self._bar = bar
        self._label = label
        self._began = monotonic()
        self._phases: dict[Optional[str], float] = {}  # when each began
        self._task = bar.add_task(label, total=None, rate="")

    def __call__(self, done: int, total: int, phase: Optional[str] = None) -> None:
        if phase not in self._phases:
            self._phases[phase] = self._began if phase is None else monotonic()
            self._bar.reset(self._task, description=phase or self._label, rate="")
        rate = f"{done / max(monotonic() - self._phases[phase], 0.001):,.0f}/s"
        self._bar.update(self._task, completed=done, total=total, rate=rate)


class _ProgressLines:
    """Logs a line every 30 s with ``-v``.

    Args:
        runtime: The context of the run.
        label: The name of the work, unless a phase is named.
    """

    def __init__(self, runtime: Runtime, label: str) -> None:
        self._runtime = runtime
        self._label = label
        self._last = monotonic()

    def __call__(self, done: int, total: int, phase: Optional[str] = None) -> None:
        if self._runtime.verbosity and monotonic() - self._last >= PROGRESS_LINE_SECONDS:
            self._last = monotonic()
            self._runtime.writer.note(f"{phase or self._label}: {done} of {total}")

    def stop(self) -> None:
        """Do nothing: a line is complete."""
