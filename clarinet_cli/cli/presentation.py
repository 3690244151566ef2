"""How a list of rows is presented: its columns, order and number of rows."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional, get_origin

from clarinet_cli.cli.cells import column_title
from clarinet_cli.cli.options import MAX_INTEGER
from clarinet_cli.cli.parsers import require_known
from clarinet_cli.types import SortKey


@dataclass(frozen=True, slots=True)
class Presentation:
    """The presentation of a list.

    Attributes:
        row_type: The type of the rows, for the header of an empty CSV document.
        columns: The fields of a table on a terminal, those that matter most first; elsewhere
            the others follow. All by default.
        kept: How many of the first columns are shown even if the terminal is too narrow for
            them; None: all.
        empty: The note for an empty table.
        complete: Show all rows on a terminal too, since they cannot be queried again.
        titles: The titles of some columns of a table, by field.
        chosen: The value of ``--columns``.
        order: The value of ``--sort``.

    Raises:
        InvalidInputError: *chosen* or *order* names a field that the rows don't have.
    """

    row_type: type
    columns: Sequence[str] = ()
    kept: Optional[int] = None
    empty: str = "nothing to show"
    complete: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)
    chosen: Optional[str] = None
    order: Optional[str] = None

    def __post_init__(self) -> None:
        """Check the options."""
        known = [item.name for item in fields(self.row_type)]
        titles = {name: self.titles.get(name) or column_title(name) for name in known}
        require_known("--columns", self.selected, known, titles=titles)
        if self.sort is not None:
            lists = [item.name for item in fields(self.row_type) if get_origin(item.type) is tuple]
            sortable = [name for name in known if name not in lists]
            titles = {name: titles[name] for name in sortable}
            require_known("--sort", [self.sort.name], sortable, "key", titles)

    @property
    def selected(self) -> Sequence[str]:
        """The fields to write in every format, each once; empty: all."""
        if self.chosen is None:
            return ()
        return tuple(dict.fromkeys(name.strip() for name in self.chosen.split(",")))

    @property
    def sort(self) -> Optional[SortKey]:
        """The order; None: that of the presentation."""
        if self.order is None:
            return None
        name, _, direction = self.order.partition(":")
        require_known("--sort", [direction or "asc"], ("asc", "desc"), "direction")
        return SortKey(name.strip(), descending=direction == "desc")

    def sorted(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Return rows in the order of ``--sort``; missing values come before all others."""
        key = self.sort
        if key is None:
            return rows
        found = [(getattr(row, key.name), row) for row in rows]
        found.sort(
            key=lambda pair: (pair[0] is not None, pair[0]) if pair[0] is not None else (False,),
            reverse=key.descending,
        )
        return [row for _, row in found]


@dataclass(frozen=True, slots=True)
class RowLimit:
    """How many rows a listing shows.

    Attributes:
        given: The value of ``--limit``.
        default: The limit on a terminal without ``--limit``; None: that of a table.
    """

    given: Optional[int] = None
    default: Optional[int] = None

    @property
    def fetched(self) -> Optional[int]:
        """How many rows to query: one more than are shown, to know whether there are more."""
        shown = self.shown
        return None if shown is None else min(shown + 1, MAX_INTEGER)

    @property
    def shown(self) -> Optional[int]:
        """How many rows to show; None: all, or those of a table."""
        if self.given is not None:
            return self.given
        return self.default if sys.stdout.isatty() else None

    @property
    def note(self) -> str:
        """The advice when there are more rows."""
        return "there are more" if self.given is not None else "'--limit N' shows more"


DEFAULT_LIMIT = RowLimit()
