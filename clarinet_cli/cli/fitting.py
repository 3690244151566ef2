"""Fitting columns of text into the width of a terminal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from clarinet_cli.cli.text import display_width

MIN_TEXT = 24  # a column that is wrapped gets this width, unless others need the room
MAX_WHOLE_ADDRESS = 32  # a longer address is wrapped before other columns are left out
MIN_WIDTH = 12  # a column is not narrowed below this
MESSAGE_PARTS = re.compile(r"(?<!\S)'[^']*'\S*|\S+")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: The field.
        title: Its title.
        right: Whether it is aligned to the right.
        width: The columns of the terminal that its longest cell takes.
        least: Those that its longest word takes; equal to *width* if cells are not wrapped.
    """

    name: str
    title: str
    right: bool
    width: int
    least: int


def fit_columns(
    columns: Sequence[Column], room: int, gap: int, kept: Optional[int] = None
) -> list[Column]:
    """Return the columns that fit, with the widths to show them in.

    Columns with several words are wrapped before others are left out. Columns that must be
    shown are narrowed if they don't fit: their longest cells do not fit then.

    Args:
        columns: The columns, those that matter most first; not empty.
        room: The columns that the terminal has.
        gap: The space between two columns.
        kept: How many of the first columns must be shown; None: all.
    """
    shown: list[Column] = []
    used = -gap
    for number, column in enumerate(columns):
        wanted = max(column.least, min(column.width, MIN_TEXT))
        if kept is None or number < kept or used + gap + wanted <= room:
            shown.append(column)
            used += gap + wanted
    room -= gap * (len(shown) - 1)
    widths = [max(column.least, min(column.width, MIN_TEXT)) for column in shown]
    spare = room - sum(widths)
    for number, column in enumerate(shown):
        more = max(min(column.width - widths[number], spare), 0)
        widths[number] += more
        spare -= more
    for floors in (
        [column.least for column in shown],
        # The first column identifies a row and is narrowed last.
        [min(shown[0].least, room // 2), *map(_narrowest, shown[1:])],
        list(map(_narrowest, shown)),
    ):
        while sum(widths) > room:
            wider = [number for number, floor in enumerate(floors) if widths[number] > floor]
            if not wider:
                break
            widths[max(wider, key=widths.__getitem__)] -= 1
    return [replace(column, width=width) for column, width in zip(shown, widths, strict=True)]


def _narrowest(column: Column) -> int:
    return min(column.least, max(MIN_WIDTH, display_width(column.title)))


def wrap_words(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken between words, and addresses after ``@`` and dots.

    Args:
        text: The text, in one line.
        width: The columns for it; a longer part has a line for itself and is not broken.
    """
    return [text] if display_width(text) <= width else _fill(text.split(" "), width)


def wrap_message(text: str, width: int) -> list[str]:
    """Return the lines of a message, broken between words but not inside quotes.

    A quoted command stays on one line, so that it can be copied.

    Args:
        text: The text, in one line.
        width: The columns for it, as in ``wrap_words``.
    """
    return [text] if display_width(text) <= width else _fill(MESSAGE_PARTS.findall(text), width)


def _fill(words: Sequence[str], width: int) -> list[str]:
    """Return lines of as many words as fit."""
    lines: list[str] = []
    for word in words:
        fits = display_width(word) <= width or "@" not in word
        parts = [word] if fits else address_parts(word)
        for number, part in enumerate(parts):
            space = "" if number else " "
            longer = f"{lines[-1]}{space}{part}" if lines else part
            if lines and display_width(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(part)
    return lines


def address_parts(address: str) -> list[str]:
    """Return an address in the parts between which it can be wrapped."""
    return [part for part in re.split(r"(?<=[@.])", address) if part]
