"""The clean-up as a service: runs at an interval until a request to stop."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from clarinet_cli.exceptions import (
    BusyError,
    ClarinetError,
    ClocksDifferError,
    NoSpaceError,
    UnreachableError,
)
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup.cleanup import clean_up
from clarinet_cli.services.session_cleanup.plan import (
    CleanupDisconnectedError,
    CleanupOutOfSpaceError,
    CleanupPlan,
    StopRequest,
)
from clarinet_cli.services.systemd import Notifier
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

FIRST_RETRY_SECONDS = 1.0
TRANSIENT = (UnreachableError, BusyError, ClocksDifferError, NoSpaceError)
JITTER = 0.1  # several hosts that started together should not clean up together
RandomFloat = Callable[[], float]


async def serve(
    settings: Settings,
    plan: CleanupPlan,
    *,
    interval: float,
    stop: StopRequest,
    report: Callable[[CleanupReport], None],
    finished: Callable[[CleanupReport | ClarinetError], None] = lambda outcome: None,
    random_float: RandomFloat = random.random,
) -> None:
    """Clean up at an interval, until a request to stop.

    A database that is unreachable or busy, whose disk is full or whose clock is wrong, does
    not end the service: it tries again after a time that doubles up to the interval. Other
    errors end it only before its first success, as they are errors of its configuration. Each
    wait varies by a tenth at random.

    Under systemd it sends notifications: ready, status after each run, watchdog, stopping.

    Args:
        settings: The database, and the idle limit.
        plan: What to delete in each run.
        interval: Seconds between the starts of two runs.
        stop: Ends the service.
        report: Called after each run.
        finished: Called after each run with its report, or with the error that ended it.
        random_float: Returns a random number from 0 to below 1.
    """
    clock = asyncio.get_running_loop().time
    schedule = _Schedule(interval, random_float)
    notifier = Notifier.from_environment()
    async with notifier.running():
        while not stop.requested:
            started = clock()
            try:
                result = await clean_up(settings, plan, stop=stop)
            except ClarinetError as error:
                finished(error)
                if not schedule.is_retryable(error):
                    raise
                seconds = schedule.after_failure()
                if isinstance(error, (CleanupDisconnectedError, CleanupOutOfSpaceError)):
                    report(error.report)
                message = f"clean-up failed, next try in {seconds:.0f} s: {error.message}"
                logger.warning(message)
                notifier.notify(STATUS=message)
            else:
                seconds = max(started + schedule.after_success() - clock(), 0)
                report(result)
                finished(result)
                notifier.notify(
                    STATUS=f"deleted {result.deleted} of {result.matched} stale sessions, "
                    f"next run in {seconds:.0f} s"
                )
            await stop.sleep(seconds)


@dataclass(slots=True)
class _Schedule:
    """Computes the wait after each run."""

    interval: float
    random_float: RandomFloat
    retry: float = field(init=False)
    succeeded: bool = False

    def __post_init__(self) -> None:
        self.retry = min(FIRST_RETRY_SECONDS, self.interval)

    def is_retryable(self, error: ClarinetError) -> bool:
        """Return whether the service continues after an error."""
        return self.succeeded or isinstance(error, TRANSIENT)

    def after_success(self) -> float:
        """Return the seconds from the start of this run to that of the next one."""
        self.succeeded = True
        self.retry = min(FIRST_RETRY_SECONDS, self.interval)
        return self._jittered(self.interval)

    def after_failure(self) -> float:
        """Return the seconds until the next try."""
        seconds = self._jittered(self.retry)
        self.retry = min(self.retry * 2, self.interval)
        return seconds

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER + 2 * JITTER * self.random_float())
