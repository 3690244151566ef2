"""What every way to remove dead sessions has in common."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Optional, Protocol

from sqlalchemy import ColumnElement, func, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.models import AccessToken
from clarinet_cli.models.functions import all_instants_readable

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
VALID = all_instants_readable()
INVALID: ColumnElement[bool] = not_(VALID)


class Look(NamedTuple):
    """What one step of the first look found.

    Attributes:
        found: Dead sessions in this step.
        done: Whether it was the last step.
        invalid: Sessions in it that nobody can judge; None where it does not meet all sessions.
    """

    found: int
    done: bool
    invalid: Optional[int]


class Span(NamedTuple):
    """A stretch of neighbouring rows for one transaction.

    Attributes:
        low: The stretch begins after this key.
        high: It ends with this key.
        number: How many dead sessions were seen in it, or its share of those in a larger one.
        full: Whether it is as large as was asked for.
    """

    low: Any
    high: Any
    number: int
    full: bool


class DeadSessions(Protocol):
    """A way through all sessions that suits an engine: look at all, then remove by spans.

    A step of the look is meant for a transaction of its own, and so is a span. A delete
    repeats the predicate, so that a session that the server revives between look and delete
    survives.

    Attributes:
        first_look: How much one step of the look takes at first; the unit is the engine's.
        parameters: What the server has to be told in each transaction.
        keys_stay: Whether a row keeps its place when it is updated. Where it does, a walk
            that came to its end has met every dead session that the look found.
        looks_ahead: Whether the look may run beside the removal, on a session of its own:
            only what it has found is removed.
        alone: Whether nobody else has written for a while, so that a transaction that lasts
            longer keeps nobody waiting.
    """

    first_look: int
    keys_stay: bool
    looks_ahead: bool
    parameters: Mapping[str, str]
    alone: bool

    async def look(self, size: int) -> Look:
        """Go on looking for dead sessions, a step of about this size."""

    async def look_around(self) -> None:
        """Look whether somebody else writes, in the transaction that will remove a span."""

    async def next_span(self, size: int) -> Optional[Span]:
        """Return the next stretch, of about this many dead sessions; None at the end."""

    async def remove(self, span: Span, *, skip_locked: bool = False) -> int:
        """Delete what is dead in a stretch; return how many.

        Args:
            span: Where.
            skip_locked: Leave rows that somebody else has locked, instead of waiting.
        """

    async def count(self, span: Span) -> int:
        """Return how many are dead in a stretch; asked where ``keys_stay``."""

    async def begin_again(self, span: Span) -> bool:
        """Make what room one can for a stretch that did not fit on the disk, and go back to it.

        Returns:
            False when smaller stretches need no less room.
        """

    def upkeep_is_due(self, *, last: bool) -> bool:
        """Return whether the engine needs some work after a transaction.

        Args:
            last: Nothing more will be removed.
        """

    async def keep_up(self, *, last: bool) -> None:
        """Do that work, outside of any transaction.

        Args:
            last: Nothing more will be removed.
        """


async def number_of(session: AsyncSession, *criteria: ColumnElement[bool]) -> int:
    """Return the number of sessions for which all *criteria* hold."""
    query = select(func.count()).select_from(AccessToken).where(*criteria)
    return int((await session.scalars(query)).one())


class NoUpkeep:
    """For engines that look after themselves, and whose writers wait for no one."""

    alone = False

    async def begin_again(self, span: Span) -> bool:
        """Return that nothing helps: deleted rows take no room but in the server's log."""
        del span
        return False

    async def look_around(self) -> None:
        """Do nothing."""

    def upkeep_is_due(self, *, last: bool) -> bool:
        """Return that nothing is due."""
        del last
        return False

    async def keep_up(self, *, last: bool) -> None:
        """Do nothing."""
        del last
