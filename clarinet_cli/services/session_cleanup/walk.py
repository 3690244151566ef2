"""The walk of one clean-up through all sessions: look, remove, and come back to what was locked."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Optional

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import driver_errors
from clarinet_cli.exceptions import BusyError, ConflictError, NoSpaceError
from clarinet_cli.repositories.dead_sessions import DeadSessions, Span
from clarinet_cli.services.audit import JobRecord
from clarinet_cli.services.locks import CheckLock
from clarinet_cli.services.session_cleanup.look import LookAtAll
from clarinet_cli.services.session_cleanup.pace import Pace
from clarinet_cli.services.session_cleanup.plan import CleanupPlan
from clarinet_cli.services.session_cleanup.transactions import (
    BETWEEN_TRIES_SECONDS,
    PATIENCE_SECONDS,
    ROW_LOCK_SECONDS,
    Ended,
    Transactions,
)
from clarinet_cli.utils.logger import logger

Progress = Callable[[int, int], None]

SQLITE_BATCH_SECONDS = 0.18
ALONE_BATCH_SECONDS = 0.5  # who comes meanwhile waits once: SQLite's own patience is 5 s
POSTGRESQL_BATCH_SECONDS = 0.045  # may double in one step, and shall stay below 0.1
BETWEEN_LOOKS_AT_THE_LOCK_SECONDS = 0.2


class Removed(NamedTuple):
    """What became of a stretch: how many went, and how many are dead and still there."""

    deleted: int
    kept: int


@dataclass(slots=True)
class Walk:
    """What a run has done, and how it goes on.

    Attributes:
        transactions: What removes sessions runs in.
        plan: What to remove, and how fast.
        record: The records of what is removed.
        dead: The way through the sessions.
        look: The look at all of them; with a connection of its own it runs ahead.
        pace: The size of the batches.
        goal: Seconds that a batch should take beside others.
        pause: Seconds between two batches; what the engine needs after one counts, unless the
            plan says how long.
        still_held: Fails when somebody else may clean up now.
        progress: Called after each batch.
        deleted: Those that are gone.
        batches: The transactions that deleted some.
        settled: Those that are gone, or were seen to be alive again, or were kept.
        kept: Those that are dead and still there after their delete.
        ended: Whether the removal did.
        no_space: Why it ended before: a full disk.
        lock_seen: When the lock was last seen to be held, by the event loop's clock.
        contested: Stretches with rows that somebody else had locked, and how many went.
    """

    transactions: Transactions
    plan: CleanupPlan
    record: JobRecord
    dead: DeadSessions
    look: LookAtAll
    pace: Pace
    goal: float
    pause: float
    still_held: CheckLock
    progress: Progress
    deleted: int = 0
    batches: int = 0
    settled: int = 0
    kept: int = 0
    ended: bool = False
    no_space: Optional[NoSpaceError] = None
    lock_seen: float = 0.0
    contested: deque[tuple[Span, int]] = field(default_factory=deque)

    async def go(self) -> None:
        """Look at all sessions and remove the dead ones, as far as the plan goes."""
        try:
            await self._look_and_remove()
        except Ended:
            logger.debug("clean-up: ended while it waited for a lock")
        except NoSpaceError as error:
            logger.debug("clean-up: the disk is full")
            self.no_space = error

    @property
    def matched(self) -> int:
        """The dead sessions that the look found, as far as it came."""
        return self.look.found

    @property
    def has_met_all(self) -> bool:
        """Whether every dead session that the look found was met: what is left was kept."""
        if not self.look.complete or self.contested:
            return False
        return self.deleted == self.matched or (self.ended and self.dead.keys_stay)

    @property
    def has_tried_all(self) -> bool:
        """Whether it came to its end, and no lock of others was in the way."""
        return self.ended and not self.contested

    async def _look_and_remove(self) -> None:
        if self.look.transactions is self.transactions or self.plan.dry_run:
            try:
                await self.look.go()
            except NoSpaceError as error:
                logger.debug("clean-up: no room to note down what is dead")
                self.no_space = error
            if (self.look.complete or self.no_space) and not self.plan.dry_run:
                await self._remove_all()
            return
        ahead = asyncio.create_task(self.look.go())
        try:
            await self._remove_all()
            await ahead
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _remove_all(self) -> None:
        while self._may_go_on and not self.ended:
            await self._look_at_the_lock()
            looked_at_all, next_step = self.look.over, self.look.await_next_step()
            if await self._remove_next():
                await self._keep_up()
                await self._rest()
            elif looked_at_all:
                self.ended = True
            else:
                await next_step.wait()
        await self._keep_up(last=True)
        await self._come_back()

    async def _look_at_the_lock(self) -> None:
        """Fail when it was lost; every now and then, as it costs a round trip."""
        now = asyncio.get_running_loop().time()
        if now - self.lock_seen >= BETWEEN_LOOKS_AT_THE_LOCK_SECONDS:
            await self.still_held()
            self.lock_seen = now

    @property
    def _next_size(self) -> int:
        """How many sessions the next transaction may remove."""
        limit = self.plan.limit
        return self.pace.size if limit is None else min(self.pace.size, limit - self.deleted)

    @property
    def _may_go_on(self) -> bool:
        return self._next_size > 0 and not self.transactions.ended

    async def _keep_up(self, *, last: bool = False) -> None:
        """Let the engine do what is due after a transaction."""
        if self.dead.upkeep_is_due(last=last):
            with driver_errors(self.transactions.url):
                await self.dead.keep_up(last=last)

    async def _rest(self) -> None:
        """Leave a gap, unless this was the last batch."""
        if self._may_go_on and not (self.look.over and self.settled >= self.matched):
            over = self.transactions.since_the_last if self.plan.pause is None else 0.0
            await self.transactions.sleep(self._pause - over)

    @property
    def _pause(self) -> float:
        """Seconds between two batches; where there is no room for more, they are short ones."""
        if self.pace.room is None or self.plan.pause is not None:
            return self.pause
        return min(self.pause, 2 * self.transactions.seconds)

    async def _remove_next(self) -> bool:
        """Delete the next stretch; what somebody else has locked waits to the end.

        Returns:
            False when no stretch is known.
        """
        span: Optional[Span] = None

        async def work() -> Removed:
            nonlocal span
            span = span or await self._next_span()
            return await self._remove(span, span.number) if span else Removed(0, 0)

        try:
            removed = await self._write(self.transactions.once, work)
        except BusyError as error:
            logger.debug(f"clean-up: {error.message}")
            if span is not None:
                await self._go_around(span)
                return True
            # It was not the rows: nobody else may write now.
            removed = await self._write(self.transactions.patiently, work)
        except NoSpaceError as error:
            logger.debug(f"clean-up: {error.message}")
            if span is None or not self.pace.shrink() or not await self._begin_again(span):
                raise
            return True
        if span is None:
            return False
        if span.full:
            self.pace.learn(self.transactions.seconds)
        self._add(removed, settled=span.number)
        return True

    async def _begin_again(self, span: Span) -> bool:
        """Make room for a stretch, and let smaller ones take its place."""
        with driver_errors(self.transactions.url):
            return await self.dead.begin_again(span)

    async def _remove(self, span: Span, number: int, *, skip_locked: bool = False) -> Removed:
        """Delete a stretch; where fewer go than were seen, count what is dead and still there."""
        deleted = await self.dead.remove(span, skip_locked=skip_locked)
        asked = self.dead.keys_stay and not skip_locked
        kept = await self.dead.count(span) if asked and deleted < number else 0
        return Removed(deleted, kept)

    async def _next_span(self) -> Optional[Span]:
        """Take the next stretch, a longer one where nobody else is there to wait."""
        await self.dead.look_around()
        goal = ALONE_BATCH_SECONDS if self.dead.alone else self.goal
        if goal != self.pace.goal:
            logger.debug(f"clean-up: {goal} s a batch; alone: {self.dead.alone}")
            self.pace.aim(goal)
        return await self.dead.next_span(self._next_size)

    async def _go_around(self, span: Span) -> None:
        """Delete what nobody has locked, and remember to come back."""
        work = partial(self._remove, span, span.number, skip_locked=True)
        removed = await self._write(self.transactions.patiently, work)
        self.contested.append((span, removed.deleted))
        self._add(removed, settled=removed.deleted)

    async def _come_back(self) -> None:
        """Try locked rows again for a while."""
        give_up = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while self.contested and not self.transactions.ended:
            span, before = self.contested[0]
            if self._next_size < span.number - before:
                return
            await self._look_at_the_lock()
            number = span.number - before
            try:
                removed = await self._write(
                    self.transactions.once, partial(self._remove, span, number)
                )
            except BusyError as error:
                logger.debug(f"clean-up: still locked: {error.message}")
                if asyncio.get_running_loop().time() >= give_up:
                    return
                self.contested.rotate()
                await self.transactions.sleep(BETWEEN_TRIES_SECONDS)
            else:
                self.contested.popleft()
                self._add(removed, settled=number)

    async def _write(
        self, way: Callable[..., Awaitable[Removed]], work: Callable[[], Awaitable[Removed]]
    ) -> Removed:
        async def recorded() -> Removed:
            removed = await work()
            self.record.before_commit(removed.deleted)
            return removed

        try:
            removed = await way(Access.WRITE, recorded, lock_seconds=ROW_LOCK_SECONDS)
        except ConflictError as error:
            # Another table began to refer to one meanwhile: it is left out the second time.
            logger.debug(f"clean-up: {error.message}")
            removed = await way(Access.WRITE, recorded, lock_seconds=ROW_LOCK_SECONDS)
        self.record.committed()
        return removed

    def _add(self, removed: Removed, *, settled: int) -> None:
        self.deleted += removed.deleted
        self.kept += removed.kept
        self.settled += settled
        self.batches += 1 if removed.deleted else 0
        logger.debug(f"clean-up: batch {self.batches}, {self.deleted} of {self.matched} deleted")
        self.progress(self.deleted, self.matched)
