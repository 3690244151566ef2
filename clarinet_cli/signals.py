"""The signals that end a command: SIGHUP, SIGINT, SIGQUIT and SIGTERM, each in the same way.

Their handlers are installed for every command, since the kernel keeps from a container's
first process what it does not handle. A signal that the caller had ignored, as nohup does
with SIGHUP, stays ignored. A signal that arrives while a transaction commits is remembered:
the command goes on until its result is shown, and then ends by the signal.
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

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
RESULT_SECONDS = 10.0  # after a change: for its result to be shown, whatever signals arrive


class Interrupted(SystemExit):
    """A signal ended the command; the code is what a shell reports of it."""


@dataclass(slots=True)
class Signals:
    """What arrived, and what it does at the moment.

    Attributes:
        number: The first signal that arrived; None while there was none.
    """

    number: Optional[int] = None
    _commits: int = 0
    _changed: Optional[float] = None
    _stop: Optional[Callable[[int], object]] = None
    _cancel: Optional[Callable[[], object]] = None
    _before: dict[int, Any] = field(default_factory=dict)

    def install(self) -> None:
        """Handle the signals from now on, those excepted that the caller had ignored."""
        for number in ENDING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._handle)

    def restore_defaults(self) -> None:
        """Let a signal end the process at once: nothing is left to be done."""
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Handle the signals in the block, unless they are handled already."""
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
        """Hand each signal in the block to a job that ends by itself.

        Args:
            stop: Called in the event loop with the number.
            loop: The job's.
        """
        self._stop = lambda number: loop.call_soon_threadsafe(stop, number)
        try:
            yield
        finally:
            self._stop = None

    @contextmanager
    def cancelling(self, task: "asyncio.Task[Any]") -> Iterator[None]:
        """Cancel a task by a signal in the block.

        Args:
            task: What the block runs in.
        """
        loop = task.get_loop()

        def cancel() -> None:
            task.cancel()
            loop.call_soon_threadsafe(bool)  # the loop may be asleep

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
        """Only remember signals in the block, where a transaction commits."""
        self._commits += 1
        try:
            yield
        finally:
            self._commits -= 1

    def mark_changed(self) -> None:
        """A change has come to be: its result is shown before a signal ends the command."""
        self._changed = monotonic()

    def check_interrupted(self) -> None:
        """Begin another step after a change: a signal ends the command here, and from now on.

        Raises:
            Interrupted: One arrived already.
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
        elif self._commits or self._result_is_due:
            return
        elif self._cancel is not None:
            self._cancel()
        else:
            self.interrupt()

    @property
    def _result_is_due(self) -> bool:
        return self._changed is not None and monotonic() - self._changed < RESULT_SECONDS


SIGNALS = Signals()
