"""The renderer of results, lists and streams of rows."""

import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

from clarinet_cli.cli import formats
from clarinet_cli.cli.cells import table_record
from clarinet_cli.cli.formats import RowChunk
from clarinet_cli.cli.presentation import DEFAULT_LIMIT, Presentation, RowLimit
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.sinks import (
    WHOLE_TABLE_ROWS,
    DocumentSink,
    PasswordSink,
    Sink,
    TableSink,
    write_record,
)
from clarinet_cli.cli.text import more_rows_note, printable
from clarinet_cli.cli.writer import Writer
from clarinet_cli.exceptions import CHECK_FAILED, ClarinetError
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import Finding

CHUNK_ROWS = 2000
TABLE_FORMATS = (None, OutputFormat.TABLE, OutputFormat.WIDE)


def shows_table(runtime: Runtime, output: Optional[OutputFormat]) -> bool:
    """Return whether a list is shown as a table on a terminal."""
    shown = output is OutputFormat.TABLE or (output is None and not runtime.writer.quiet)
    return shown and sys.stdout.isatty()


def render(
    runtime: Runtime,
    result: Any,
    output: Optional[OutputFormat],
    *,
    changed: bool = False,
    outcome: Optional[Mapping[str, str]] = None,
) -> None:
    """Write one result to standard output.

    Args:
        runtime: The context of the run.
        result: A dataclass.
        output: The format; None: a table, and with ``-q`` only a generated password.
        changed: The result reports a committed change: failing to write it is a warning and
            does not change the exit code.
        outcome: What has changed, for a table: see ``table_record``.

    Raises:
        ClarinetError: Standard output cannot be written.
    """
    writer, values = runtime.writer, formats.as_fields(result)
    with _tolerate_write_errors(writer, enabled=changed):
        if output is None and writer.quiet:
            if values.get("password"):
                writer.write([formats.password_line(values, listed=False)])
        elif output in TABLE_FORMATS:
            shown, titles = table_record(result, values, outcome)
            wide = output is OutputFormat.WIDE
            write_record(writer, shown, titles, password=values.get("password"), wide=wide)
        elif output is OutputFormat.JSON:
            writer.write([formats.as_json(values)])
        elif output is OutputFormat.PLAIN:
            writer.write(formats.as_plain_record(values))
        else:
            _RowRenderer(runtime, output, Presentation(type(result))).write_all([result])


def render_list(
    runtime: Runtime,
    rows: Sequence[Any],
    output: Optional[OutputFormat],
    presentation: Presentation,
    limit: RowLimit = DEFAULT_LIMIT,
    *,
    changed: bool = False,
) -> None:
    """Write a list of results to standard output.

    Args:
        runtime: The context of the run.
        rows: Dataclasses of one type.
        output: The format; None: a table, and with ``-q`` only generated passwords.
        presentation: The presentation; with ``--sort`` its order.
        limit: How many rows to show.
        changed: The rows report a committed change: failing to write them is a warning.

    Raises:
        ClarinetError: Standard output cannot be written.
    """
    with _tolerate_write_errors(runtime.writer, enabled=changed):
        _RowRenderer(runtime, output, presentation, limit).write_all(presentation.sorted(rows))


async def render_rows(
    runtime: Runtime,
    rows: AsyncGenerator[RowChunk, None],
    output: Optional[OutputFormat],
    presentation: Presentation,
    limit: RowLimit = DEFAULT_LIMIT,
) -> None:
    """Write a listing to standard output as it is read, in constant memory.

    The generator is closed at the end, and as soon as no more rows are needed.

    Args:
        runtime: The context of the run.
        rows: Batches of dataclasses of one type, or pages of sessions.
        output: The format; None: a table.
        presentation: The presentation.
        limit: How many rows to show.

    Raises:
        ClarinetError: Standard output cannot be written.
    """
    renderer = _RowRenderer(runtime, output, presentation, limit)
    async with aclosing(rows):
        async for some in rows:
            if not renderer.add(some):
                break
    renderer.end()


def render_findings(
    runtime: Runtime,
    findings: "Sequence[Finding]",
    output: Optional[OutputFormat],
    *,
    strict: bool = False,
) -> None:
    """Write the findings of a check, and end with 6 when one is an error.

    Args:
        runtime: The context of the run.
        findings: The findings of all checks, passed ones included.
        output: The format; None: a table.
        strict: Treat warnings as errors.

    Raises:
        CheckFailedError: There is an error, or with ``strict`` a warning.
    """
    from clarinet_cli.results import Finding

    findings = [
        replace(finding, hint=finding.hint and runtime.writer.rewrite_hint(finding.hint))
        for finding in findings
    ]
    hints = [(finding.check, finding.hint) for finding in findings if finding.hint]
    render_list(
        runtime, findings, output, Presentation(Finding, columns=("check", "status", "detail"))
    )
    if hints and shows_table(runtime, output):
        # Outside of the table, where lines are not wrapped: a command can be copied.
        longest = max(len(check) for check, _ in hints)
        lines = [f"{check:{longest}}  {printable(hint)}\n" for check, hint in hints]
        runtime.writer.write(["\n", *lines], utf8=False)
    counts = {
        status: sum(finding.status == status for finding in findings)
        for status in ("error", "warning")
    }
    if counts["error"] or (strict and counts["warning"]):
        found = (f"{count} {status}{'s' * (count != 1)}" for status, count in counts.items())
        raise CHECK_FAILED.with_context(f"found {', '.join(found)}")


class _RowRenderer:
    """Writes rows in one format, up to a limit."""

    def __init__(
        self,
        runtime: Runtime,
        output: Optional[OutputFormat],
        presentation: Presentation,
        limit: RowLimit = DEFAULT_LIMIT,
    ) -> None:
        self._writer = writer = runtime.writer
        self._sink: Sink
        self._remaining, self._advice = limit.shown, limit.note
        if output is None and writer.quiet:
            self._sink = PasswordSink(writer)
        elif output in TABLE_FORMATS:
            terminal = sys.stdout.isatty()
            fitted = terminal and output is not OutputFormat.WIDE
            self._sink = TableSink(writer, presentation, writer.console().width if fitted else None)
            if terminal and limit == DEFAULT_LIMIT and not presentation.complete:
                self._remaining = WHOLE_TABLE_ROWS
                self._advice = "'-o plain' or '-o jsonl' shows all"
        elif output is not None:
            self._sink = DocumentSink(writer, output, presentation)
        self._limit = self._remaining
        self._pipe_closed = self._truncated = False

    def write_all(self, rows: Sequence[Any]) -> None:
        """Write all rows in chunks: their text takes more memory than the rows."""
        for start in range(0, len(rows), CHUNK_ROWS):
            if not self.add(rows[start : start + CHUNK_ROWS]):
                break
        self.end()

    def add(self, rows: RowChunk) -> bool:
        """Write some rows; False when no more are needed."""
        if self._remaining is not None:
            self._truncated, most = len(rows) > self._remaining, self._remaining
            if self._truncated:
                rows = rows[:most] if isinstance(rows, Sequence) else rows.first(most)
            self._remaining -= len(rows)
        self._pipe_closed = bool(rows) and not self._sink.add(rows)
        return not (self._truncated or self._pipe_closed)

    def end(self) -> None:
        """Write the text after the last row; note that there are more rows than the limit."""
        if not self._pipe_closed:
            self._sink.end()
        if self._truncated and self._limit:
            self._writer.note(more_rows_note(self._limit, self._advice))


@contextmanager
def _tolerate_write_errors(writer: Writer, *, enabled: bool) -> Iterator[None]:
    """Turn the failure to write a result into a warning."""
    try:
        yield
    except ClarinetError as error:
        if not enabled:
            raise
        writer.warn(f"cannot write the result: {error.message}")
