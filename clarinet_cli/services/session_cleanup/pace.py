"""How much one transaction does: as much as fits into the time that it may take."""

from dataclasses import dataclass
from typing import Optional

MOST_GROWTH = 2.0
MOST_SHRINKING = 0.25
LEAST = 100
SHARE_OF_ROOM = 16
A_MOMENT = 0.0001  # what is faster is as fast


@dataclass(slots=True)
class Pace:
    """A size that follows the time that work of this size takes.

    Attributes:
        goal: Seconds that a transaction should take.
        size: How much to do in the next one.
        largest: The most that it may become; None: no limit.
        room: The most that a full disk has room for; more is tried bit by bit.
    """

    goal: float
    size: int
    largest: Optional[int] = None
    room: Optional[int] = None

    def aim(self, goal: float) -> None:
        """Give a transaction less time from now on, which takes effect at once, or more."""
        if goal < self.goal:
            self._become(int(self.size * goal / self.goal))
        self.goal = goal

    def shrink(self) -> bool:
        """Do half of it, as there was no room for all; return whether there is a half."""
        if self.size <= 1:
            return False
        self.size = self.room = self.size // 2
        return True

    def learn(self, seconds: float) -> None:
        """Adapt to how long a transaction of this size took."""
        if self.room is not None:
            self.room += max(self.room // SHARE_OF_ROOM, 1)
        factor = self.goal / max(seconds, A_MOMENT)
        self._become(int(self.size * min(max(factor, MOST_SHRINKING), MOST_GROWTH)))

    def _become(self, size: int) -> None:
        size = max(size, min(LEAST, self.size))
        limits = [limit for limit in (self.largest, self.room) if limit is not None]
        self.size = min([size, *limits])
