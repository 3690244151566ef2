"""Handling of the signals that end a command: SIGHUP, SIGINT, SIGQUIT and SIGTERM.

Handlers are installed for every command, since the first process of a container receives only
signals that it handles. A signal that the caller ignores, such as SIGHUP under nohup, stays
ignored. A signal that arrives while a transaction commits is deferred: the command ends by it
after its result has been shown.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Optional

if TYPE_CHECKING:
    import asyncio

HANDLED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
RESULT_SECONDS = 10.0  # for how long after a change signals are deferred


class Interrupted(SystemExit):
    """A signal ended the command; the exit code is that of shells, 128 plus the signal."""


@dataclass(slots=True)
class Signals:
    """The signal that arrived, and the current action of signals.

    Attributes:
        number: The first signal that arrived; None if there was none.
    """

    number: Optional[int] = None
    _commits: int = 0
    _changed: Optional[float] = None
    _stop: Optional[Callable[[int], object]] = None
    _cancel: Optional[Callable[[], object]] = None
    _before: dict[int, Any] = field(default_factory=dict)

    def install(self) -> None:
        """Install the handlers, except for signals that the caller ignores."""
        for number in HANDLED:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._handle)

    def restore_defaults(self) -> None:
        """Let a signal end the process immediately."""
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Install the handlers for the block, unless they are installed."""
        if self._before or threading.current_thread() is not threading.main_thread():
            yield
            return
        self.install()
        try:
            yield
        finally:
            for number, before in self._before.items():
                signal.signal(number, before)
            self._before.clear()
            self.number = self._changed = None

    @contextmanager
    def forwarding(
        self, stop: Callable[[int], object], loop: "asyncio.AbstractEventLoop"
    ) -> Iterator[None]:
        """Forward each signal in the block to a job, which ends itself.

        Args:
            stop: Called in the event loop with the signal number.
            loop: The event loop of the job.
        """
        self._stop = lambda number: loop.call_soon_threadsafe(stop, number)
        try:
            yield
        finally:
            self._stop = None

    @contextmanager
    def cancelling(self, task: "asyncio.Task[Any]") -> Iterator[None]:
        """Cancel a task if a signal arrives in the block.

        Args:
            task: The task that runs the block.
        """
        loop = task.get_loop()

        def cancel() -> None:
            task.cancel()
            loop.call_soon_threadsafe(bool)  # wakes the loop

        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Raise ``Interrupted`` for a signal in the block, which blocks the event loop."""
        cancel, self._cancel = self._cancel, None
        try:
            yield
        finally:
            self._cancel = cancel

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals in the block, in which a transaction commits."""
        self._commits += 1
        try:
            yield
        finally:
            self._commits -= 1

    def mark_changed(self) -> None:
        """Record that a change was committed: its result is shown before a signal takes effect."""
        self._changed = monotonic()

    def check_interrupted(self) -> None:
        """Stop deferring signals after a change, before the next step begins.

        Raises:
            Interrupted: A signal has arrived.
        """
        self._changed = None
        if self.number is not None and self._stop is None:
            self.interrupt()

    def interrupt(self) -> NoReturn:
        """End the command by the signal that arrived.

        Raises:
            Interrupted: Always.
        """
        raise Interrupted(128 + (self.number or signal.SIGINT))

    def _handle(self, number: int, _: object) -> None:
        if self.number is None:
            self.number = number
        if self._stop is not None:
            self._stop(number)
        elif self._commits or (
            self._changed is not None and monotonic() - self._changed < RESULT_SECONDS
        ):  # a result is due
            return
        elif self._cancel is not None:
            self._cancel()
        else:
            self.interrupt()


SIGNALS = Signals()
