"""The sinks of rows: documents, tables, and passwords for quiet runs."""

import io
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional, Protocol

from clarinet_cli.cli import formats, tables
from clarinet_cli.cli.formats import Document, Fields, RowChunk
from clarinet_cli.cli.text import printable, wrap_words
from clarinet_cli.cli.writer import Writer
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clarinet_cli.cli.presentation import Presentation

WHOLE_TABLE_ROWS = 500  # these determine the widths of the columns


class Sink(Protocol):
    """The interface of the sinks of rows."""

    def add(self, rows: RowChunk) -> bool:
        """Write some rows; False when no more are needed."""

    def end(self) -> None:
        """Write the text after the last row."""


class DocumentSink:
    """Writes a document in a machine-readable format."""

    def __init__(self, writer: Writer, output: OutputFormat, presentation: "Presentation") -> None:
        self._writer = writer
        self._output = output
        self._presentation = presentation
        self._document: Optional[Document] = None

    def add(self, rows: RowChunk) -> bool:
        """Write some rows, the first ones at once."""
        start, first = "", self._document is None
        if self._document is None:
            # Started by the first row: a failed query leaves no incomplete document.
            self._document = self._make_document(rows)
            start = self._document.begin()
        text = start + self._document.chunk(rows)
        return self._writer.write([text], flush=first or len(rows) > 1)

    def end(self) -> None:
        """Write the end of the document."""
        start = ""
        if self._document is None:
            self._document = self._make_document(())
            start = self._document.begin()
        self._writer.write([start, self._document.end()])

    def _make_document(self, rows: RowChunk) -> Document:
        selected = self._presentation.selected
        header = selected or formats.header(self._presentation.row_type, rows)
        return Document(self._output, header, selected=bool(selected))


class TableSink:
    """Writes a table row by row; the first rows determine the widths of its columns.

    Args:
        writer: Writes to standard output.
        presentation: The presentation.
        width: The columns of the terminal, to choose columns that fit; None: all columns,
            as wide as their content.
    """

    def __init__(self, writer: Writer, presentation: "Presentation", width: Optional[int]) -> None:
        self._writer = writer
        self._presentation = presentation
        self._width = width
        self._first: list[Fields] = []
        self._table: Optional[tables.AlignedRows | tables.FittedRows] = None
        self._passwords: list[Fields] = []

    def add(self, rows: RowChunk) -> bool:
        """Write some rows; the first ones are buffered, since they determine the widths."""
        values = [formats.as_fields(row) for row in rows]
        if self._width is not None:
            self._passwords += [row for row in values if row.get("password")]
        if self._table is None:
            self._first += values
            return len(self._first) <= WHOLE_TABLE_ROWS or self._begin()
        return self._writer.write(map(self._table.row, values), utf8=False, flush=False)

    def end(self) -> None:
        """Write the buffered rows; on a terminal also passwords and which columns are hidden."""
        if not self._first:
            self._writer.note(self._presentation.empty)
            return
        if self._table is None:
            self._begin()
        for row in self._passwords:
            self._writer.write(_password_lines(row, self._width), utf8=False)
        if isinstance(self._table, tables.FittedRows) and self._table.hidden:
            hidden = ", ".join(self._table.hidden)
            self._writer.note(f"hidden: {hidden}; '-o wide' shows all columns")

    def _begin(self) -> bool:
        styled = self._writer.is_styled(sys.stdout)
        presentation, first = self._presentation, self._first
        present = formats.column_names(first)
        preferred = [name for name in presentation.columns if name in present]
        if self._width is None:
            columns = presentation.selected or list(dict.fromkeys([*preferred, *present]))
            self._table = tables.AlignedRows(
                first, columns, styled=styled, titles=presentation.titles
            )
        else:
            # On lines of their own, so that passwords are neither cut nor wrapped.
            columns = [name for name in preferred or present if name != "password"]
            self._table = tables.FittedRows(
                first,
                presentation.selected or columns,
                width=self._width,
                kept=None if presentation.selected else presentation.kept,
                styled=styled,
                titles=presentation.titles,
            )
        rows = map(self._table.row, first)
        return self._writer.write([self._table.header(), *rows], utf8=False)


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


def write_record(
    writer: Writer,
    values: Fields,
    titles: Optional[Mapping[str, str]] = None,
    *,
    password: Optional[str] = None,
    wide: bool,
) -> None:
    """Write one result as a table with a line for each field.

    Args:
        writer: Writes to standard output.
        values: The fields.
        titles: The titles of some fields.
        password: The generated password among the fields; on a terminal it has a line of its own.
        wide: Don't wrap values on a terminal.
    """
    styled, width = writer.is_styled(sys.stdout), None
    if sys.stdout.isatty() and not wide:
        width = writer.console().width
        if password:
            values = {name: value for name, value in values.items() if name != "password"}
    lines = [*tables.aligned_record(values, styled=styled, width=width, titles=titles)]
    if width is not None and password:
        lines += _password_lines({"password": password}, width)
    writer.write(lines, utf8=False)


def _password_lines(row: Fields, width: Optional[int]) -> list[str]:
    """Return lines with the generated password of a row, which is neither cut nor wrapped."""
    whose = f" of {printable(row['email'])}" if "email" in row else ""
    heading = wrap_words(f"password{whose}:", width) if width else [f"password{whose}:"]
    return ["\n", *(f"{line}\n" for line in heading), f"{row['password']}\n"]


def write_rich(writer: Writer, table: "RenderableType") -> None:
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
