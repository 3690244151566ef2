"""Text for output: escapes for untrusted values, counts of rows, and lines of a given width."""

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Optional

# Control characters, DEL and C1, marks that turn the direction of text, separators that
# end a line, and lone surrogates: what could change a terminal or hide what is written.
UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
LATIN_1_END: Final = 0xFF
ESCAPE_UNENCODABLE: Final = "clarinet_cli.escape"
"""The error handler for output streams; see ``escape_unencodable``."""
SUBSTITUTES: Final = {"─": "-"}
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width signs
MIN_TEXT = 24  # a column that is wrapped gets this width, unless others need the room
MAX_WHOLE_ADDRESS = 32  # a longer address is wrapped before other columns are left out
MIN_WIDTH = 12  # a column is not narrowed below this
MESSAGE_PARTS = re.compile(r"(?<!\S)'[^']*'\S*|(?:\\ |\S)+")


def printable(text: str) -> str:
    r"""Return *text* with each unsafe character shown as an escape such as ``\x1b``."""
    return UNSAFE.sub(_escape, text)


def json_safe(document: str) -> str:
    r"""Return a JSON document with unsafe characters as ``\uXXXX``: the same values."""
    return UNSAFE.sub(_json_escape, document)


def spreadsheet_safe(text: str) -> str:
    """Return *text* so that a spreadsheet does not run it as a formula.

    If the text begins with quotes followed by a formula, one more quote is added. To restore the
    original, remove one quote from each cell that begins with quotes followed by a formula.
    """
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_STARTS) else text


def more_rows_note(count: int, advice: str) -> str:
    """Return the note below the first rows of a listing that has more."""
    rows = "row is" if count == 1 else f"{count} rows are"
    return f"only the first {rows} shown; {advice}"


def display_width(text: str) -> int:
    """Return the columns that a terminal needs for a text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def format_row_counts(rows: Mapping[str, int]) -> str:
    """Return the number of rows of each table, such as ``2 in user, 5 in access_token``."""
    return ", ".join(f"{count} in {table}" for table, count in rows.items())


def unicode_escape(character: str) -> str:
    r"""Return a character as JSON escapes it, ``\uXXXX`` or a pair of them."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    r"""Replace what an encoding lacks: lines of a table by dashes, all else by ``\u0438``.

    Args:
        error: As the codec reports it.

    Returns:
        The replacement, and where the codec continues.

    Raises:
        UnicodeError: *error* is not an encoding error.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    for character, substitute in SUBSTITUTES.items():
        lacking = lacking.replace(character, substitute)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(ESCAPE_UNENCODABLE, escape_unencodable)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= LATIN_1_END else unicode_escape(match[0])


def _json_escape(match: re.Match[str]) -> str:
    return match[0] if match[0] in "\n\t" else unicode_escape(match[0])


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: The field.
        title: Its title.
        right: Whether it is aligned to the right.
        width: The columns of the terminal that its longest cell takes.
        min_width: Those that the longest word of its title and its cells takes, or the longest
            cell if cells are not wrapped.
    """

    name: str
    title: str
    right: bool
    width: int
    min_width: int


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
        wanted = max(column.min_width, min(column.width, MIN_TEXT))
        if kept is None or number < kept or used + gap + wanted <= room:
            shown.append(column)
            used += gap + wanted
    room -= gap * (len(shown) - 1)
    widths = [max(column.min_width, min(column.width, MIN_TEXT)) for column in shown]
    spare = room - sum(widths)
    for number, column in enumerate(shown):
        more = max(min(column.width - widths[number], spare), 0)
        widths[number] += more
        spare -= more
    for floors in (
        [column.min_width for column in shown],
        # The first column identifies a row and is narrowed last.
        [min(shown[0].min_width, room // 2), *map(_narrowest, shown[1:])],
        list(map(_narrowest, shown)),
    ):
        while sum(widths) > room:
            wider = [number for number, floor in enumerate(floors) if widths[number] > floor]
            if not wider:
                break
            widths[max(wider, key=widths.__getitem__)] -= 1
    return [replace(column, width=width) for column, width in zip(shown, widths, strict=True)]


def _narrowest(column: Column) -> int:
    return min(column.min_width, max(MIN_WIDTH, display_width(column.title)))


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
