"""How far long work has come, told on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from clarinet_cli.cli.invocation import current
from clarinet_cli.cli.output import console, note

PROGRESS_LINE_SECONDS = 30.0


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with what is done and the total.

    A bar with the rate and the time left on standard error when that is a terminal, else
    with ``-v`` a line each 30 s.

    Args:
        label: What is going on.
    """
    if not sys.stderr.isatty() or current().quiet:
        yield _line_progress(label)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    text, rate = TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), rate, Remaining())
    began = monotonic()
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, rate="")

        def tell(done: int, total: int) -> None:
            rate = f"{done / max(monotonic() - began, 0.001):,.0f}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield tell


def _line_progress(label: str) -> Callable[[int, int], None]:
    last = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if current().verbosity and monotonic() - last >= PROGRESS_LINE_SECONDS:
            last = monotonic()
            note(f"{label}: {done} of {total}")

    return tell
