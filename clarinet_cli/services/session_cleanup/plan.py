"""What a clean-up is asked to do, and to stop doing."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Optional

from clarinet_cli.exceptions import NoSpaceError
from clarinet_cli.results import CleanupReport


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What a clean-up removes, and how fast.

    Attributes:
        batch_size: Sessions in the first transaction; later ones adapt to the time it took.
        largest_batch: The most sessions a transaction; None: as many as time allows.
        older_than: Remove sessions created longer ago than this too; None: don't.
        expired_only: Leave idle sessions.
        limit: Stop after this many sessions; None: no limit.
        max_time: Stop after this many seconds; None: no limit.
        pause: Seconds between two transactions; None: what suits the database.
        trust_clock: Go by the database's clock, whatever this machine's says.
        dry_run: Only count.
    """

    batch_size: int
    largest_batch: Optional[int] = None
    older_than: Optional[timedelta] = None
    expired_only: bool = False
    limit: Optional[int] = None
    max_time: Optional[float] = None
    pause: Optional[float] = None
    trust_clock: bool = False
    dry_run: bool = False


class CleanupStoppedError(NoSpaceError):
    """A full disk ended a clean-up before its time.

    Args:
        error: What the database said.
        report: What was done until then.
    """

    def __init__(self, error: NoSpaceError, report: CleanupReport) -> None:
        super().__init__(error.message, hint=error.hint)
        self.report = report


@dataclass(slots=True)
class Stop:
    """A request to end after the batch at hand.

    Attributes:
        signal: The number of the signal that asked for it; None while nobody did.
    """

    signal: Optional[int] = None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def ask(self, signal: int) -> None:
        """Ask the job to stop; the first request counts."""
        if self.signal is None:
            self.signal = signal
        self._asked.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or wake up early when asked to stop."""
        try:
            await asyncio.wait_for(self._asked.wait(), seconds)
        except TimeoutError:
            return
