"""The only writer to standard output and standard error.

Standard output carries the data alone, one document. Everything else goes to standard
error: notes, hints, prompts, progress, errors.
"""

import io
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from clarinet_cli.cli import formats
from clarinet_cli.cli.invocation import ColorMode, current
from clarinet_cli.cli.text import escaped, printable
from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.types import OutputFormat

_closed: set[str] = set()
UNLIMITED_WIDTH = 1_000_000
TABLE_LIMIT = 500  # Rich takes about 0.9 s for 1000 rows


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of results looks like.

    Attributes:
        row_type: The type of the rows, for the header of an empty CSV document.
        columns: The fields that a table on a terminal has room for; all by default.
        empty: What to say about an empty table.
    """

    row_type: type
    columns: Sequence[str] = ()
    empty: str = "nothing to show"


def render(
    result: Any,
    output: Optional[OutputFormat],
    listing: Optional[Listing] = None,
) -> None:
    """Write a result to standard output.

    Args:
        result: A dataclass, or a list of dataclasses of one type.
        output: The format; None when nobody asked for one: a table, and with ``-q``
            nothing but a generated password.
        listing: What a list looks like; None for a single result.
    """
    rows = [result] if listing is None else list(result)
    values = [formats.fields_of(row) for row in rows]
    secret = any(row.get("password") for row in values)
    try:
        _show(values, output, listing)
    except ClarinetError as error:
        if not secret:
            raise
        raise FAILURE.with_context(
            f"the new password is set, but can't be shown: {error.message}",
            hint="'clarinet admin reset-password' sets another one",
        ) from error


def _show(
    values: list[formats.Fields], output: Optional[OutputFormat], listing: Optional[Listing]
) -> None:
    """Write a result in one of the formats."""
    if output is None and current().quiet:
        told = [row for row in values if row.get("password")]
        write(formats.told_password(row, listed=listing is not None) for row in told)
    elif output in (None, OutputFormat.TABLE):
        _render_table(values, listing)
    elif listing is None:
        write(_record(values[0], output))
    else:
        write(_rows(values, output, listing.row_type))


async def render_stream(
    results: AsyncGenerator[Any, None],
    output: Optional[OutputFormat],
    listing: Listing,
) -> None:
    """Write a long listing to standard output while it is read, in constant memory.

    A table stops at a limit and says so; a reader that went away ends the reading.

    Args:
        results: Dataclasses of one type, without nested tables.
        output: As in ``render``.
        listing: What the listing looks like.
    """
    async with aclosing(results) as rows:
        if output in (None, OutputFormat.TABLE):
            few = [row async for row in _first(rows, TABLE_LIMIT + 1)]
            render(few, output, listing)
            return
        document = formats.RowsDocument(output, formats.header_of(listing.row_type))
        async for row in rows:
            # The beginning waits for the first row: a failed query leaves no half document.
            start = "" if document.rows else document.begin()
            text = start + document.row(formats.fields_of(row))
            if not write([text], flush=document.rows == 1):
                return
        write(["" if document.rows else document.begin(), document.end()])


def write(pieces: Iterable[str], *, flush: bool = True) -> bool:
    """Write text to standard output.

    A reader that went away (``| head -1``) has what it wanted: the rest is dropped, and the
    command goes on to its end.

    Args:
        pieces: The text.
        flush: Hand it to the reader at once.

    Returns:
        False when the reader went away.

    Raises:
        ClarinetError: Standard output can't be written, as on a full disk.
    """
    if _closed:
        _refuse_if_any(pieces)
        return True
    try:
        _write_all(pieces, flush=flush)
    except BrokenPipeError:
        forget_stdout()
        return False
    except OSError as error:
        forget_stdout()
        raise FAILURE.with_context(f"standard output: {error.strerror}") from error
    return True


def note(text: str) -> None:
    """Tell a person something that is not data, unless they asked for quiet."""
    if not current().quiet:
        _to_stderr(f"{printable(text)}\n")


def report_error(error: ClarinetError) -> None:
    """Write an error as one line, then its hint; with ``-q`` only the line."""
    _to_stderr(f"{_styled('error:', '1;31')} {printable(error.message)}\n")
    if error.hint and not current().quiet:
        _to_stderr(f"{_styled('hint:', '1;36')} {printable(error.hint)}\n")


def end_line() -> None:
    """End the line of a prompt that nobody answered."""
    _to_stderr("\n")


def console(*, stderr: bool = False) -> Any:
    """Return a Rich console that obeys ``--color`` and takes text as it is."""
    from rich.console import Console

    mode = current().color
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal={ColorMode.ALWAYS: True, ColorMode.NEVER: False}.get(mode),
        color_system=None if mode is ColorMode.NEVER else "auto",
    )


def open_missing_streams() -> None:
    """Give the standard streams that the caller closed (``<&-``) an empty stand-in.

    They stay open to the end of the process, as the standard streams do.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            _closed.update({name} & {"stdout"})
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _render_table(values: list[formats.Fields], listing: Optional[Listing]) -> None:
    if listing is not None and not values:
        note(listing.empty)
        return
    from clarinet_cli.cli.tables import record_table, rows_table

    terminal = sys.stdout.isatty()
    shown = values[:TABLE_LIMIT]
    table = (
        record_table(values[0], compact=terminal)
        if listing is None
        else rows_table(shown, listing.columns if terminal else (), compact=terminal)
    )
    write([_painted(table, width=None if terminal else UNLIMITED_WIDTH)])
    if len(values) > len(shown):
        note(f"only the first {len(shown)} rows are shown; '-o plain' or '-o jsonl' shows all")


def _painted(table: Any, *, width: Optional[int]) -> str:
    """Return a table as text, with the colours that standard output may have.

    Rich itself never writes to standard output: a full disk or a closed pipe is met in one
    place, ``write``.
    """
    from rich.console import Console

    screen = console()
    buffer = io.StringIO()
    Console(
        file=buffer,
        width=width or screen.width,
        color_system=screen.color_system,
        force_terminal=screen.is_terminal,
        no_color=screen.no_color,
        highlight=False,
    ).print(table)
    unicode_lines = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return buffer.getvalue() if unicode_lines else buffer.getvalue().replace("─", "-")


def _record(values: formats.Fields, output: Optional[OutputFormat]) -> Iterable[str]:
    """Return the document of a single result."""
    match output:
        case OutputFormat.JSON:
            return [formats.as_json(values)]
        case OutputFormat.JSONL:
            return [formats.as_json(values, lines=False)]
        case OutputFormat.CSV:
            document = formats.RowsDocument(OutputFormat.CSV, list(formats.flat(values)))
            return [document.begin(), document.row(values)]
        case _:
            return formats.as_plain_record(values)


def _rows(values: list[formats.Fields], output: OutputFormat, row_type: type) -> Iterator[str]:
    document = formats.RowsDocument(output, formats.header_of(row_type, values))
    yield document.begin()
    yield from map(document.row, values)
    yield document.end()


def _styled(text: str, style: str) -> str:
    mode = current().color
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    automatic = (sys.stderr.isatty() and not plain) or os.environ.get("FORCE_COLOR")
    wanted = mode is ColorMode.ALWAYS or (mode is ColorMode.AUTO and automatic)
    return f"\x1b[{style}m{text}\x1b[0m" if wanted else text


def _refuse_if_any(pieces: Iterable[str]) -> None:
    """Fail when there is something to say and standard output was closed by the caller."""
    if any(pieces):
        raise FAILURE.with_context("standard output is closed")


def _write_all(pieces: Iterable[str], *, flush: bool) -> None:
    for piece in pieces:
        sys.stdout.write(_encodable(piece, sys.stdout.encoding))
    if flush:
        sys.stdout.flush()


async def _first(rows: AsyncIterator[Any], number: int) -> AsyncIterator[Any]:
    """Yield the first rows only."""
    left = number
    async for row in rows:
        yield row
        left -= 1
        if not left:
            return


def forget_stdout() -> None:
    """Point standard output at nothing, so that no later flush fails once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_stderr(text: str) -> None:
    sys.stderr.write(_encodable(text, sys.stderr.encoding))
    sys.stderr.flush()


def _encodable(text: str, encoding: Optional[str]) -> str:
    r"""Replace what a stream's encoding lacks by ``\uXXXX``, which JSON understands too."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if letter.isascii() else escaped(letter) for letter in text)
    return text
