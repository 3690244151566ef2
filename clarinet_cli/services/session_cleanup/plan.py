"""The plan of a clean-up, and the request to stop it."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Optional

from clarinet_cli.exceptions import NoSpaceError, UnreachableError
from clarinet_cli.results import CleanupReport

DISCONNECTED_HINT = "run it again when the server or the new primary answers; it continues"


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """The sessions that a clean-up deletes, and its limits.

    Attributes:
        batch_size: Sessions in the first transaction; later ones adapt to the time it took.
        largest_batch: Maximum sessions in a transaction; None: as many as time allows.
        older_than: Also delete sessions created longer ago than this; None: do not.
        expired_only: Keep idle sessions.
        limit: Stop after this many sessions; None: no limit.
        max_time: Stop after this many seconds; None: no limit.
        pause: Seconds between two transactions; None: a default that depends on the database.
        trust_clock: Use the database's clock, even if this machine's differs much.
        dry_run: Count, and delete nothing.
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


class CleanupOutOfSpaceError(NoSpaceError):
    """A full disk ended a clean-up that had already deleted sessions.

    Args:
        error: The database's error.
        report: What was deleted before it.
    """

    def __init__(self, error: NoSpaceError, report: CleanupReport) -> None:
        super().__init__(error.message, hint=error.hint)
        self.report = report


class CleanupDisconnectedError(UnreachableError):
    """A lost connection ended a clean-up that had already deleted sessions.

    Args:
        error: The error of the connection.
        report: What was deleted before it, as far as it is known without the database.
    """

    def __init__(self, error: UnreachableError, report: CleanupReport) -> None:
        number = f"{report.deleted} session{'s' if report.deleted != 1 else ''}"
        super().__init__(
            f"{error.message}; {number} had been deleted before",
            hint=DISCONNECTED_HINT,
            outcome_unknown=error.outcome_unknown,
        )
        self.report = report


@dataclass(slots=True)
class StopRequest:
    """A request to end after the current batch.

    Attributes:
        signal: Number of the signal that requested it; None: no request.
    """

    signal: Optional[int] = None
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def requested(self) -> bool:
        """Whether the run should end."""
        return self._event.is_set()

    def request(self, signal: int) -> None:
        """Request the end; the first signal counts."""
        if self.signal is None:
            self.signal = signal
        self._event.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or return early on a request."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return
