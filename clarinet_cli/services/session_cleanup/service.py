"""The clean-up as a service: again and again, whatever the database does meanwhile."""

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
from clarinet_cli.services.session_cleanup.once import clean_up
from clarinet_cli.services.session_cleanup.plan import CleanupPlan, CleanupStoppedError, Stop
from clarinet_cli.services.supervisor import Supervisor
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

FIRST_RETRY_SECONDS = 1.0
PASSING = (
    UnreachableError,
    BusyError,
    ClocksDifferError,
    NoSpaceError,
)  # may be over by the next run
JITTER = 0.1  # several hosts that started together shall not clean together

Chance = Callable[[], float]


async def clean_up_for_ever(
    settings: Settings,
    plan: CleanupPlan,
    *,
    interval: float,
    stop: Stop,
    report: Callable[[CleanupReport], None],
    chance: Chance = random.random,
) -> None:
    """Clean up, wait, and so on until asked to stop.

    A database that is away or busy for a while, or whose clock is wrong, does not end the
    service: it tries again after a time that doubles up to the interval. Other errors end it
    before its first success only: they are mistakes of who started it. Each wait is up to a
    tenth longer or shorter, by chance.

    Under systemd (``NOTIFY_SOCKET``) it tells when it is ready, what it did, that it is
    alive, and that it ends.

    Args:
        settings: Which database, and the idle limit.
        plan: What to remove in each run.
        interval: Seconds between the starts of two runs.
        stop: Ends the service.
        report: Called after each run.
        chance: Returns a number from 0 to below 1.
    """
    clock = asyncio.get_running_loop().time
    waits = _Waits(interval, chance)
    supervisor = Supervisor.from_environment()
    async with supervisor.told():
        while not stop.asked:
            started = clock()
            try:
                found = await clean_up(settings, plan, stop=stop)
            except ClarinetError as error:
                if not waits.survives(error):
                    raise
                seconds = waits.after_failure()
                if isinstance(error, CleanupStoppedError):
                    report(error.report)
                message = f"clean-up failed, next try in {seconds:.0f} s: {error.message}"
                logger.warning(message)
                supervisor.tell(STATUS=message)
            else:
                seconds = max(started + waits.after_success() - clock(), 0)
                report(found)
                supervisor.tell(
                    STATUS=f"deleted {found.deleted} of {found.matched} dead sessions, "
                    f"next run in {seconds:.0f} s"
                )
            await stop.sleep(seconds)


@dataclass(slots=True)
class _Waits:
    """How long to wait after a run."""

    interval: float
    chance: Chance
    retry: float = field(init=False)
    succeeded: bool = False

    def __post_init__(self) -> None:
        self.retry = min(FIRST_RETRY_SECONDS, self.interval)

    def survives(self, error: ClarinetError) -> bool:
        """Whether the service goes on after an error."""
        return self.succeeded or isinstance(error, PASSING)

    def after_success(self) -> float:
        """Return the seconds between the starts of this run and the next one."""
        self.succeeded = True
        self.retry = min(FIRST_RETRY_SECONDS, self.interval)
        return self._about(self.interval)

    def after_failure(self) -> float:
        """Return the seconds to the next try."""
        seconds = self._about(self.retry)
        self.retry = min(self.retry * 2, self.interval)
        return seconds

    def _about(self, seconds: float) -> float:
        return seconds * (1 - JITTER + 2 * JITTER * self.chance())
