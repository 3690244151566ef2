"""How much one transaction does: as much as fits into the time that it may take."""

from dataclasses import dataclass
from typing import Optional

MOST_GROWTH = 2.0
MOST_SHRINKING = 0.25
LEAST = 100
A_MOMENT = 0.0001  # what is faster is as fast


@dataclass(slots=True)
class Pace:
    """A size that follows the time that work of this size takes.

    Attributes:
        goal: Seconds that a transaction should take.
        size: How much to do in the next one.
        largest: The most that it may become; None: no limit.
    """

    goal: float
    size: int
    largest: Optional[int] = None

    def aim(self, goal: float) -> None:
        """Give a transaction less time from now on, which takes effect at once, or more."""
        if goal < self.goal:
            self._become(int(self.size * goal / self.goal))
        self.goal = goal

    def learn(self, seconds: float) -> None:
        """Adapt to how long a transaction of this size took."""
        factor = self.goal / max(seconds, A_MOMENT)
        self._become(int(self.size * min(max(factor, MOST_SHRINKING), MOST_GROWTH)))

    def _become(self, size: int) -> None:
        size = max(size, min(LEAST, self.size))
        self.size = size if self.largest is None else min(size, self.largest)
