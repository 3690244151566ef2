"""The transactions of one clean-up: bounded, patient with locks, ended on request."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access, milliseconds
from clarinet_cli.database.session import driver_errors, transaction
from clarinet_cli.exceptions import BusyError
from clarinet_cli.services.session_cleanup.plan import Stop
from clarinet_cli.utils.logger import logger

ResultT = TypeVar("ResultT")

LOCK_SECONDS = 1.0  # a single wait, so that a request to stop is heard
ROW_LOCK_SECONDS = 0.05  # with rows deleted and not committed, which the server may want
PATIENCE_SECONDS = 10.0
BETWEEN_TRIES_SECONDS = 0.05
STATEMENT_SECONDS = 60.0


class Ended(Exception):  # noqa: N818 - no error
    """The run was asked to stop, or its time is over, while it waited for a lock."""


@dataclass(slots=True)
class Transactions:
    """Transactions on one connection.

    Attributes:
        session: What they run on.
        url: Whose errors to explain.
        stop: When asked, nothing begins any more.
        deadline: When nothing begins any more, by the event loop's clock.
        seconds: How long the last transaction took, once it had begun.
        finished: When it ended, by the event loop's clock.
        parameters: What a PostgreSQL server is told in each transaction.
    """

    session: AsyncSession
    url: URL
    stop: Stop
    deadline: Optional[float] = None
    seconds: float = 0.0
    finished: float = 0.0
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing should begin any more."""
        return self.stop.asked or (self.deadline is not None and _clock() >= self.deadline)

    @property
    def since_the_last(self) -> float:
        """Seconds since the last transaction ended."""
        return _clock() - self.finished

    async def once(
        self,
        access: Access,
        work: Callable[[], Awaitable[ResultT]],
        *,
        lock_seconds: float = LOCK_SECONDS,
    ) -> ResultT:
        """Do work in a transaction.

        Args:
            access: READ or WRITE.
            work: All of it.
            lock_seconds: How long to wait for somebody else's lock on PostgreSQL.

        Raises:
            BusyError: Somebody else holds a lock.
        """
        limits = {
            "lock_timeout": milliseconds(lock_seconds),
            "statement_timeout": milliseconds(STATEMENT_SECONDS),
        }
        with driver_errors(self.url):
            async with transaction(self.session, access, limits | {**self.parameters}):
                began = _clock()
                result = await work()
            self.finished = _clock()
            self.seconds = self.finished - began
        return result

    async def patiently(
        self, access: Access, work: Callable[[], Awaitable[ResultT]], **options: float
    ) -> ResultT:
        """Do work in a transaction, again and again while somebody else holds a lock.

        Args:
            access: READ or WRITE.
            work: All of it.
            **options: See ``once``.

        Raises:
            BusyError: Somebody else held it all the time.
            Ended: The run ended first.
        """
        give_up = _clock() + PATIENCE_SECONDS
        while True:
            try:
                return await self.once(access, work, **options)
            except BusyError as error:
                logger.debug(f"clean-up waits: {error.message}")
                if self.ended:
                    raise Ended from error
                if _clock() >= give_up:
                    raise
            await self.sleep(BETWEEN_TRIES_SECONDS)

    async def sleep(self, seconds: float) -> None:
        """Sleep until the time is over, the run's time is over, or it is asked to stop."""
        left = seconds if self.deadline is None else min(seconds, self.deadline - _clock())
        if left > 0:
            await self.stop.sleep(left)


def _clock() -> float:
    return asyncio.get_running_loop().time()
