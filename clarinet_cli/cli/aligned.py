"""Tables in a pipe: all rows, as wide as their content, whatever the environment says.

Aligned text of our own: Rich would ask the environment for a width, and takes about 0.9 s
for 1000 rows.
"""

from collections.abc import Iterable, Iterator, Sequence

from clarinet_cli.cli.cells import cell, columns_of, numeric, title
from clarinet_cli.cli.formats import Fields, flat

BETWEEN = "  "
BOLD, NORMAL = "\x1b[1m", "\x1b[0m"


class AlignedRows:
    """The text of many rows, made one at a time.

    Args:
        first: The rows that give the widths; a wider cell behind them widens its column.
        columns: The fields to show; all those of the first rows when empty.
        compact: Short ids and relative times, for a person at a terminal.
        styled: Whether the header is bold.
    """

    def __init__(
        self, first: Sequence[Fields], columns: Sequence[str], *, compact: bool, styled: bool
    ) -> None:
        self._names = columns or columns_of(first)
        self._compact = compact
        self._styled = styled
        flattened = [flat(row) for row in first]
        self._right = [numeric([row.get(name) for row in flattened]) for name in self._names]
        self._widths = [width(title(name)) for name in self._names]
        for row in first:
            self._widen(self._cells(row))

    def header(self) -> str:
        """Return the titles and a line below them."""
        titles = self._line([title(name) for name in self._names])
        rule = "─" * (sum(self._widths) + len(BETWEEN) * (len(self._widths) - 1))
        return f"{bold(titles) if self._styled else titles}\n{rule}\n"

    def row(self, values: Fields) -> str:
        """Return the line of one row."""
        cells = self._cells(values)
        self._widen(cells)
        return f"{self._line(cells)}\n"

    def _cells(self, values: Fields) -> list[str]:
        flattened = flat(values)
        return [cell(name, flattened.get(name), compact=self._compact) for name in self._names]

    def _widen(self, cells: Iterable[str]) -> None:
        self._widths = [
            max(known, width(text)) for known, text in zip(self._widths, cells, strict=True)
        ]

    def _line(self, cells: Sequence[str]) -> str:
        columns = zip(cells, self._widths, self._right, strict=True)
        return BETWEEN.join([_padded(*column) for column in columns]).rstrip()


def aligned_record(record: Fields, *, styled: bool) -> Iterator[str]:
    """Yield a line a field: its title and its value."""
    named = [
        (title(name), cell(name, value, compact=False)) for name, value in flat(record).items()
    ]
    widest = max(width(name) for name, _ in named)
    for name, value in named:
        padded = _padded(name, widest, right=False)
        yield f"{bold(padded) if styled else padded}{BETWEEN}{value}\n"


def bold(text: str) -> str:
    """Return text between the codes for bold."""
    return f"{BOLD}{text}{NORMAL}"


def width(text: str) -> int:
    """Return the columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, wanted: int, right: bool) -> str:
    space = " " * (wanted - width(text))
    return f"{space}{text}" if right else f"{text}{space}"
