"""Text for output: escapes for untrusted values such as user agents, and counts of rows."""

import codecs
import re
from collections.abc import Mapping
from typing import Final

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


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 session`` or ``2 sessions``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


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
