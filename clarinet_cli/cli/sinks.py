"""The sinks of rows: documents, tables, and passwords for quiet runs."""

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

from clarinet_cli.cli import formats, tables
from clarinet_cli.cli.formats import Document, Fields, RowChunk
from clarinet_cli.cli.writer import Writer
from clarinet_cli.types import OutputFormat

WHOLE_TABLE_ROWS = 500  # Rich takes about 0.9 s for 1000 rows


class Sink(Protocol):
    """Where rows are written to."""

    def add(self, rows: RowChunk) -> bool:
        """Write some rows; False when no more are needed."""

    def end(self) -> None:
        """Write the text after the last row."""


class DocumentSink:
    """Writes a document in a machine-readable format."""

    def __init__(self, writer: Writer, output: OutputFormat, row_type: type) -> None:
        self._writer = writer
        self._output = output
        self._row_type = row_type
        self._document: Optional[Document] = None

    def add(self, rows: RowChunk) -> bool:
        """Write some rows, the first ones at once."""
        start, first = "", self._document is None
        if self._document is None:
            # Started by the first row: a failed query leaves no incomplete document.
            header = formats.header(self._row_type, rows)
            self._document = Document(self._output, header)
            start = self._document.begin()
        text = start + self._document.chunk(rows)
        return self._writer.write([text], flush=first or len(rows) > 1)

    def end(self) -> None:
        """Write the end of the document."""
        start = ""
        if self._document is None:
            self._document = Document(self._output, formats.header(self._row_type))
            start = self._document.begin()
        self._writer.write([start, self._document.end()])


class TableSink:
    """Writes a table: as a whole when it is short, else row by row."""

    def __init__(
        self,
        writer: Writer,
        columns: Sequence[str],
        empty: str,
        *,
        terminal: bool,
        titles: Mapping[str, str],
    ) -> None:
        self._writer = writer
        self._columns = columns
        self._empty = empty
        self._titles = titles
        self._terminal = terminal
        self._first: list[Fields] = []
        self._aligned: Optional[tables.AlignedRows] = None

    def add(self, rows: RowChunk) -> bool:
        """Write some rows; the first ones are buffered, since they determine the widths."""
        values = [formats.as_fields(row) for row in rows]
        if self._aligned is None:
            self._first += values
            return len(self._first) <= WHOLE_TABLE_ROWS or self._begin()
        return self._writer.write(map(self._aligned.row, values), utf8=False, flush=False)

    def end(self) -> None:
        """Write the buffered rows."""
        if self._aligned is not None:
            self._writer.write([], utf8=False)
        elif not self._first:
            self._writer.note(self._empty)
        elif self._terminal:
            width = self._writer.console().width
            write_rich(self._writer, tables.rich_rows(self._first, self._columns, width))
        else:
            self._begin()

    def _begin(self) -> bool:
        columns = self._columns if self._terminal else ()
        styled = self._writer.is_styled(sys.stdout)
        rows = tables.AlignedRows(
            self._first, columns, compact=self._terminal, styled=styled, titles=self._titles
        )
        self._aligned = rows
        return self._writer.write([rows.header(), *map(rows.row, self._first)], utf8=False)


class PasswordSink:
    """Writes generated passwords only, for a quiet run."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def add(self, rows: RowChunk) -> bool:
        """Write the passwords of some rows; False for rows without passwords."""
        values = [formats.as_fields(row) for row in rows]
        self._writer.write(
            formats.password_line(row, listed=True) for row in values if row.get("password")
        )
        return hasattr(next(iter(rows)), "password")

    def end(self) -> None:
        """Write nothing."""


def write_record(writer: Writer, values: Fields) -> None:
    """Write one result as a table with a line for each field."""
    if sys.stdout.isatty():
        write_rich(writer, tables.rich_record(values))
    else:
        styled = writer.is_styled(sys.stdout)
        writer.write(tables.aligned_record(values, styled=styled), utf8=False)


def write_rich(writer: Writer, table: Any) -> None:
    """Write a Rich table; Rich itself never writes to standard output, where it could fail."""
    from rich.console import Console

    screen, buffer = writer.console(), io.StringIO()
    Console(
        file=buffer,
        width=screen.width,
        color_system=screen.color_system,
        force_terminal=screen.is_terminal,
        no_color=screen.no_color,
        highlight=False,
    ).print(table)
    writer.write([buffer.getvalue()], utf8=False)
