"""The type of a result for ``--watch``; not in ``watch``, which few runs import."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Optional, Protocol, TypeVar

if TYPE_CHECKING:
    from clarinet_cli.cli.charts import Canvas
    from clarinet_cli.services.unit_of_work import Database

ResultT = TypeVar("ResultT")
ReadT = TypeVar("ReadT", covariant=True)


class ReadResult(Protocol[ReadT]):
    """Reads a result; see ``LiveView``."""

    def __call__(self, database: "Database", *, warn: bool) -> Awaitable[ReadT]:
        """Read it, with or without warnings about the database."""


@dataclass(frozen=True, slots=True)
class LiveView(Generic[ResultT]):
    """A result that can be refreshed.

    Attributes:
        read: Reads it; its transactions have ended when it returns.
        draw: Returns a Rich renderable of a result for a terminal, with the changes since an
            earlier result unless that is None.
        columns: The fields of a JSON line; empty: all.
        limit: The maximum number of rows in a JSON line; None: all.
    """

    read: ReadResult[ResultT]
    draw: Callable[[ResultT, Optional[ResultT], "Canvas"], Any]
    columns: Sequence[str] = ()
    limit: Optional[int] = None
