"""The scan that a clean-up begins with: how many sessions are dead, and where."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Optional

from clarinet_cli.database.engine import Access
from clarinet_cli.repositories.purge import PurgeStrategy
from clarinet_cli.services.session_cleanup.transaction import BatchSizer, TransactionRunner

STEP_SECONDS = 0.05


@dataclass(slots=True)
class Scanner:
    """Counts dead sessions, each step in a transaction of its own.

    Attributes:
        transactions: Runs the steps.
        strategy: What to scan with.
        found: Dead sessions found so far.
        invalid: Sessions with an unreadable instant so far; None if the scan does not read all.
        complete: Whether all sessions were scanned.
        finished: Whether nothing more will be found: complete, stopped or failed.
    """

    transactions: TransactionRunner
    strategy: PurgeStrategy
    found: int = 0
    invalid: Optional[int] = 0
    complete: bool = False
    finished: bool = False
    _step_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Scan all sessions, or as many as there is time for; at least one step.

        Raises:
            BusyError: Another transaction held a lock all the time.
            CleanupStopped: The run was stopped while it waited for a lock.
        """
        sizer = BatchSizer(STEP_SECONDS, self.strategy.first_scan_size)
        try:
            while not self.complete:
                scan = partial(self.strategy.scan, sizer.size)
                result = await self.transactions.run_with_retry(Access.READ, scan)
                sizer.observe(self.transactions.seconds)
                self.found, self.complete = self.found + result.found, result.done
                if self.invalid is not None:
                    self.invalid = None if result.invalid is None else self.invalid + result.invalid
                self._step_done.set()
                if self.transactions.stopped:
                    break
        finally:
            self.finished = True
            self._step_done.set()

    def next_step(self) -> asyncio.Event:
        """Return an event that is set by the next step, or by the end of the scan."""
        if not self.finished:
            self._step_done = asyncio.Event()
        return self._step_done
