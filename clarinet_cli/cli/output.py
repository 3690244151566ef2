"""The only writer to standard output and standard error.

Standard output carries the data alone, one document. Everything else goes to standard
error: notes, hints, prompts, progress, errors.
"""

import errno
import io
import os
import select
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TextIO

from clarinet_cli.cli import formats
from clarinet_cli.cli.invocation import ColorMode, current
from clarinet_cli.cli.text import printable
from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.types import OutputFormat

_closed: set[str] = set()
LONGEST_MESSAGE = 2000  # characters: what is quoted in it may be as long as anybody likes
BEGINNING_SHOWN, END_SHOWN = 600, 300
_required: list[bool] = []
READER_SECONDS = 10.0  # a transaction waits meanwhile
TABLE_LIMIT = 500  # of a table that is made as a whole: Rich takes about 0.9 s for 1000 rows
UTF_8 = "utf-8"
LINE = "─"


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
    *,
    done: bool = False,
) -> None:
    """Write a result to standard output.

    Args:
        result: A dataclass, or a list of dataclasses of one type.
        output: The format; None when nobody asked for one: a table, and with ``-q``
            nothing but a generated password.
        listing: What a list looks like; None for a single result.
        done: Whether it tells of a change that is made. The exit code is about the change
            then: a result that can't be written is a warning.

    Raises:
        ClarinetError: Standard output can't be written.
    """
    rows = [result] if listing is None else list(result)
    values = [formats.fields_of(row) for row in rows]
    try:
        _show(values, output, listing)
    except ClarinetError as error:
        if not done:
            raise
        warn(f"the result can't be shown: {error.message}")


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
    *,
    every: bool = False,
) -> None:
    """Write a long listing to standard output while it is read, in constant memory.

    A table on a terminal stops at a limit and says so; a reader that went away ends the
    reading.

    Args:
        results: Dataclasses of one type, without nested tables.
        output: As in ``render``.
        listing: What the listing looks like.
        every: All rows on a terminal too, as somebody said how many.
    """
    async with aclosing(results) as rows:
        if output in (None, OutputFormat.TABLE):
            await _render_table_stream(rows, output, listing, every=every)
            return
        document = formats.RowsDocument(output, formats.header_of(listing.row_type))
        async for row in rows:
            # The beginning waits for the first row: a failed query leaves no half document.
            start = "" if document.rows else document.begin()
            text = start + document.row(formats.fields_of(row))
            if not write([text], flush=document.rows == 1):
                return
        write(["" if document.rows else document.begin(), document.end()])


def write(pieces: Iterable[str], *, flush: bool = True, encoding: str = UTF_8) -> bool:
    """Write text to standard output.

    A reader that went away (``| head -1``) has what it wanted: the rest is dropped, and the
    command goes on to its end.

    Args:
        pieces: The text.
        flush: Hand it to the reader at once.
        encoding: UTF-8 for data, whatever the locale; that of the stream for people.

    Returns:
        False when the reader went away.

    Raises:
        ClarinetError: Standard output can't be written, as on a full disk.
    """
    if _closed:
        _refuse_if_any(pieces)
        return True
    if _required:
        _hand_over("".join(pieces).encode(encoding, "backslashreplace"))
        return True
    try:
        _write_all(pieces, flush=flush, encoding=encoding)
    except BrokenPipeError:
        forget_stdout()
        return False
    except OSError as error:
        forget_stdout()
        raise FAILURE.with_context(f"standard output: {error.strerror}") from error
    return True


@contextmanager
def required() -> Iterator[None]:
    """Let no text in the block be lost: nobody who reads it is an error too."""
    _required.append(True)
    try:
        yield
    finally:
        _required.pop()


def warn(text: str) -> None:
    """Tell of something that went wrong beside the work, also with ``-q``."""
    _to_stderr(f"warning: {printable(text)}\n")


def note(text: str) -> None:
    """Tell a person something that is not data, unless they asked for quiet."""
    if not current().quiet:
        _to_stderr(f"{printable(text)}\n")


def report_error(error: ClarinetError) -> None:
    """Write an error as one line, then its hint; with ``-q`` only the line."""
    _to_stderr(f"{_styled('error:', '1;31')} {_one_line(error.message)}\n")
    if error.hint and not current().quiet:
        _to_stderr(f"{_styled('hint:', '1;36')} {_one_line(error.hint)}\n")


def _one_line(text: str) -> str:
    """Return a message harmless, and not much longer than it is without what it quotes."""
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:BEGINNING_SHOWN]} … {text[-END_SHOWN:]}"
    return printable(text)


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
    if sys.stdout.isatty():
        _render_terminal_table(values, listing)
        return
    from clarinet_cli.cli.aligned import AlignedRows, aligned_record

    styled = _wants_style(sys.stdout)
    if listing is None:
        _write_table(aligned_record(values[0], styled=styled))
        return
    rows = AlignedRows(values, (), compact=False, styled=styled)
    _write_table([rows.header(), *map(rows.row, values)])


def _render_terminal_table(values: list[formats.Fields], listing: Optional[Listing]) -> None:
    from clarinet_cli.cli.tables import record_table, rows_table

    shown = values[:TABLE_LIMIT]
    table = record_table(values[0]) if listing is None else rows_table(shown, listing.columns)
    _write_table([_painted(table)])
    if len(values) > len(shown):
        note(f"only the first {len(shown)} rows are shown; '-o plain' or '-o jsonl' shows all")


async def _render_table_stream(
    results: AsyncIterator[Any], output: Optional[OutputFormat], listing: Listing, *, every: bool
) -> None:
    """Write a table while it is read: its first rows give the widths."""
    few = [row async for row in _first(results, TABLE_LIMIT + 1)]
    terminal = sys.stdout.isatty()
    if len(few) <= TABLE_LIMIT or (terminal and not every) or (output is None and current().quiet):
        render(few, output, listing)
        return
    from clarinet_cli.cli.aligned import AlignedRows

    first = [formats.fields_of(row) for row in few]
    columns = listing.columns if terminal else ()
    rows = AlignedRows(first, columns, compact=terminal, styled=_wants_style(sys.stdout))
    if not _write_table([rows.header(), *map(rows.row, first)]):
        return
    async for row in results:
        if not _write_table([rows.row(formats.fields_of(row))], flush=False):
            return
    _write_table([])


def _write_table(pieces: Iterable[str], *, flush: bool = True) -> bool:
    """Write a table in the encoding of standard output, with lines that it has."""
    encoding = sys.stdout.encoding or UTF_8
    drawn = _encodable(LINE, encoding) == LINE
    lines = (piece if drawn else piece.replace(LINE, "-") for piece in pieces)
    return write(lines, flush=flush, encoding=encoding)


def _painted(table: Any) -> str:
    """Return a table as text, with the colours that standard output may have.

    Rich itself never writes to standard output: a full disk or a closed pipe is met in one
    place, ``write``.
    """
    from rich.console import Console

    screen = console()
    buffer = io.StringIO()
    Console(
        file=buffer,
        width=screen.width,
        color_system=screen.color_system,
        force_terminal=screen.is_terminal,
        no_color=screen.no_color,
        highlight=False,
    ).print(table)
    return buffer.getvalue()


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
    return f"\x1b[{style}m{text}\x1b[0m" if _wants_style(sys.stderr) else text


def _wants_style(stream: TextIO) -> bool:
    """Return whether what is written for people may have escape codes."""
    mode = current().color
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    automatic = (stream.isatty() and not plain) or os.environ.get("FORCE_COLOR")
    return mode is ColorMode.ALWAYS or (mode is ColorMode.AUTO and bool(automatic))


def _refuse_if_any(pieces: Iterable[str]) -> None:
    """Fail when there is something to say and standard output was closed by the caller."""
    if any(pieces):
        raise FAILURE.with_context("standard output is closed")


def _hand_over(content: bytes) -> None:
    """Write all of it now, and see that it can still be read.

    Raises:
        ClarinetError: The reader went away, or reads nothing for a while, or the disk is full.
    """
    try:
        sys.stdout.flush()
        _hand_over_to(sys.stdout.buffer, content)
    except OSError as error:
        forget_stdout()
        raise FAILURE.with_context(f"standard output: {error.strerror}") from error


def _hand_over_to(stream: Any, content: bytes) -> None:
    try:
        descriptor = stream.fileno()
    except OSError:  # in memory
        stream.write(content)
        return
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    while content:
        if not ready.poll(READER_SECONDS * 1000):
            raise OSError(errno.ETIMEDOUT, "nobody reads it")
        # As much as a pipe that is ready takes without waiting.
        content = content[os.write(descriptor, content[: select.PIPE_BUF]) :]
    if any(state & select.POLLERR for _, state in ready.poll(0)):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)


def _write_all(pieces: Iterable[str], *, flush: bool, encoding: str) -> None:
    stream = sys.stdout.buffer
    for piece in pieces:
        stream.write(piece.encode(encoding, "backslashreplace"))
    if flush:
        stream.flush()


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
    """Write a message; where that is impossible the exit code still tells of the work."""
    with suppress(OSError, ValueError):
        sys.stderr.write(_encodable(text, sys.stderr.encoding))
        sys.stderr.flush()


def _encodable(text: str, encoding: Optional[str]) -> str:
    r"""Replace what a stream's encoding lacks by escapes such as ``\u0438``."""
    encoding = encoding or UTF_8
    return text.encode(encoding, "backslashreplace").decode(encoding)
