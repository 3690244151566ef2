"""The look at all sessions that a clean-up begins with: how many are dead, and where."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Optional

from clarinet_cli.database.engine import Access
from clarinet_cli.repositories.dead_sessions import DeadSessions
from clarinet_cli.services.session_cleanup.pace import Pace
from clarinet_cli.services.session_cleanup.transactions import Transactions

LOOK_SECONDS = 0.05


@dataclass(slots=True)
class LookAtAll:
    """Counts dead sessions, step by step, each step in a transaction of its own.

    Attributes:
        transactions: What the steps run in.
        dead: The way through the sessions.
        found: The dead sessions that were found so far.
        invalid: The sessions so far that nobody can judge; None where it does not meet all.
        complete: Whether all sessions were looked at.
        over: Whether nothing more will be found: it is complete, or was asked to stop, or failed.
    """

    transactions: Transactions
    dead: DeadSessions
    found: int = 0
    invalid: Optional[int] = 0
    complete: bool = False
    over: bool = False
    _step_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def go(self) -> None:
        """Look at all sessions, or at as many as there is time for.

        Raises:
            BusyError: Somebody else held a lock all the time.
            Ended: The run ended while it waited for a lock.
        """
        pace = Pace(LOOK_SECONDS, self.dead.first_look)
        try:
            while not self.complete:
                await self._step(pace)
                if self.transactions.ended:
                    break
        finally:
            self.over = True
            self._step_done.set()

    def await_next_step(self) -> asyncio.Event:
        """Return an event that is set with the next step, or with the end of the look."""
        if not self.over:
            self._step_done = asyncio.Event()
        return self._step_done

    async def _step(self, pace: Pace) -> None:
        step = await self.transactions.patiently(Access.READ, partial(self.dead.look, pace.size))
        pace.learn(self.transactions.seconds)
        self.found, self.complete = self.found + step.found, step.done
        if self.invalid is not None:
            self.invalid = None if step.invalid is None else self.invalid + step.invalid
        self._step_done.set()
