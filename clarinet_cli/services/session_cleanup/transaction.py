"""Transactions of a clean-up: bounded in time and size, and retried while a lock is held."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access, milliseconds
from clarinet_cli.database.session import driver_errors
from clarinet_cli.exceptions import BusyError, ConflictError
from clarinet_cli.services.session_cleanup.plan import StopRequest
from clarinet_cli.utils.logger import logger

ResultT = TypeVar("ResultT")

LOCK_SECONDS = 1.0  # for one wait, so that a request to stop is noticed
ROW_LOCK_SECONDS = 0.05  # while the transaction holds locks that the server may want
RETRY_SECONDS = 10.0
RETRY_INTERVAL_SECONDS = 0.05
STATEMENT_SECONDS = 60.0

MAX_FACTOR = 2.0
MIN_FACTOR = 0.25
MIN_BATCH = 100
DISK_GROWTH_DIVISOR = 16  # a sixteenth more with each batch
MIN_SECONDS = 0.0001


class CleanupStopped(Exception):  # noqa: N818 - not an error
    """The run was stopped, or ran out of time, while it waited for a lock."""


@dataclass(slots=True)
class TransactionRunner:
    """Runs transactions on one connection.

    Attributes:
        session: The session they run on.
        url: The database's, for error messages.
        stop: Once requested, no transaction is retried.
        deadline: The same from this time on, by the event loop's clock; None: no limit.
        parameters: PostgreSQL settings for each transaction.
        seconds: Duration of the last transaction, without the wait for its start.
        finished: End of the last transaction, by the event loop's clock.
    """

    session: AsyncSession
    url: URL
    stop: StopRequest
    deadline: Optional[float] = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    finished: float = 0.0

    @property
    def stopped(self) -> bool:
        """Whether no further transaction should begin."""
        return self.stop.requested or (self.deadline is not None and _clock() >= self.deadline)

    async def run_with_retry(
        self,
        access: Access,
        operation: Callable[[], Awaitable[ResultT]],
        *,
        lock_timeout: float = LOCK_SECONDS,
        wait: bool = True,
    ) -> ResultT:
        """Run *operation* in a transaction, and retry while another one holds a lock.

        A conflict, such as a concurrent reference from another table, is retried once.

        Args:
            access: READ or WRITE.
            operation: The whole transaction.
            lock_timeout: Seconds to wait for each lock on PostgreSQL.
            wait: False: a lock that is held is an error at once.

        Raises:
            BusyError: The lock was held for ``RETRY_SECONDS``.
            CleanupStopped: The run was stopped during the wait.
        """
        give_up = _clock() + RETRY_SECONDS
        conflicts = 0
        while True:
            try:
                async with self._begin(access, lock_timeout):
                    return await operation()
            except BusyError as error:
                logger.debug(f"clean-up: a lock is held: {error.message}")
                if not wait or _clock() >= give_up:
                    raise
                if self.stopped:
                    raise CleanupStopped from error
            except ConflictError as error:
                logger.debug(f"clean-up: {error.message}")
                if conflicts:
                    raise
                conflicts += 1
            await self.sleep(RETRY_INTERVAL_SECONDS)

    async def sleep(self, seconds: float) -> None:
        """Sleep; return early at the deadline or on a request to stop."""
        left = seconds if self.deadline is None else min(seconds, self.deadline - _clock())
        if left > 0:
            await self.stop.sleep(left)

    @asynccontextmanager
    async def _begin(self, access: Access, lock_timeout: float) -> AsyncIterator[None]:
        limits = {
            "lock_timeout": milliseconds(lock_timeout),
            "statement_timeout": milliseconds(STATEMENT_SECONDS),
        }
        with driver_errors(self.url):
            async with transaction(self.session, access, limits | {**self.parameters}):
                began = _clock()
                yield
            self.finished = _clock()
            self.seconds = self.finished - began


@dataclass(slots=True)
class BatchSizer:
    """Adapts the size of batches to the time that they take.

    Attributes:
        target: Seconds that a batch should take.
        size: Size of the next batch.
        largest: The maximum size; None: no limit.
        disk_limit: The size that a nearly full disk had room for; it grows with each success.
            None: no batch failed for lack of space.
    """

    target: float
    size: int
    largest: Optional[int] = None
    disk_limit: Optional[int] = None

    def set_target(self, seconds: float) -> None:
        """Change the target; a lower one makes the next batch smaller at once."""
        if seconds < self.target:
            self._resize(int(self.size * seconds / self.target))
        self.target = seconds

    def shrink(self) -> bool:
        """Halve the size after a batch found no disk space; return False if it is 1 already."""
        if self.size <= 1:
            return False
        self.size = self.disk_limit = self.size // 2
        return True

    def observe(self, seconds: float) -> None:
        """Adapt to the duration of a batch of the present size."""
        if self.disk_limit is not None:
            self.disk_limit += max(self.disk_limit // DISK_GROWTH_DIVISOR, 1)
        factor = self.target / max(seconds, MIN_SECONDS)
        self._resize(int(self.size * min(max(factor, MIN_FACTOR), MAX_FACTOR)))

    def _resize(self, size: int) -> None:
        size = max(size, min(MIN_BATCH, self.size))
        limits = [limit for limit in (self.largest, self.disk_limit) if limit is not None]
        self.size = min([size, *limits])


def _clock() -> float:
    return asyncio.get_running_loop().time()
