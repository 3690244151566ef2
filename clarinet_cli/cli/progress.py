"""The progress of long work, on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Optional, Protocol

from clarinet_cli.cli.runtime import Runtime

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
        yield _line_progress(runtime, label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    text, rate = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), rate, Remaining())
    phases: dict[Optional[str], float] = {}  # when each began
    console = runtime.writer.console(stderr=True)
    # Standard output stays the writer's: Rich would replace it by a stream without encoding.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        began = monotonic()
        task = bar.add_task(label, total=None, rate="")

        def update(done: int, total: int, phase: Optional[str] = None) -> None:
            if phase not in phases:
                phases[phase] = began if phase is None else monotonic()
                bar.reset(task, description=phase or label, rate="")
            rate = f"{done / max(monotonic() - phases[phase], 0.001):,.0f}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield update


def _line_progress(runtime: Runtime, label: str) -> ProgressUpdate:
    last = monotonic()

    def update(done: int, total: int, phase: Optional[str] = None) -> None:
        nonlocal last
        if runtime.verbosity and monotonic() - last >= PROGRESS_LINE_SECONDS:
            last = monotonic()
            runtime.writer.note(f"{phase or label}: {done} of {total}")

    return update
