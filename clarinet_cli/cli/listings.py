"""Long listings: written page by page while they are read, in constant memory."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Optional

from clarinet_cli.cli import formats
from clarinet_cli.cli.lines import json_lines
from clarinet_cli.cli.output import Listing, note, render_stream, write
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import SessionPage, SessionRow

Pages = AsyncGenerator["SessionPage", None]


async def render_pages(
    pages: Pages,
    output: Optional[OutputFormat],
    listing: Listing,
    *,
    most: Optional[int] = None,
    every: bool = False,
) -> None:
    """Write a listing to standard output while it is read.

    A table on a terminal stops at a limit and says so; a reader that went away ends the
    reading.

    Args:
        pages: Sessions, some at a time.
        output: As in ``render``.
        listing: What the listing looks like.
        most: Show at most so many rows, and say so when there are more.
        every: All rows on a terminal too, as somebody said how many.
    """
    left_out: list[int] = []
    async with aclosing(_first(pages, most, left_out)) as shown:
        if output in (None, OutputFormat.TABLE):
            await render_stream(_rows(shown), output, listing, every=every)
        else:
            await _write_document(
                shown,
                formats.RowsDocument(output, formats.header_of(listing.row_type)),
            )
    if left_out:
        note(f"only the first {most} rows are shown; '--limit N' shows more")


async def _write_document(pages: Pages, document: formats.RowsDocument) -> None:
    begun = False
    async for page in pages:
        # The beginning waits for the first row: a failed query leaves no half document.
        start = "" if begun else document.begin()
        begun = True
        if not write([start, _text(document, page)]):
            return
    write(["" if begun else document.begin(), document.end()])


def _text(document: formats.RowsDocument, page: "SessionPage") -> str:
    """Return the rows of a page; JSON lines are the format for many."""
    if document.output is OutputFormat.JSONL:
        return json_lines(document.header, page.columns)
    return "".join([document.row(formats.fields_of(row)) for row in page])


async def _first(pages: Pages, most: Optional[int], left_out: list[int]) -> Pages:
    """Yield the first rows only; note down how many more there are in sight."""
    left = most
    async with aclosing(pages) as found:
        async for page in found:
            if left is not None and len(page) > left:
                left_out.append(len(page) - left)
                yield page.first(left)
                return
            left = None if left is None else left - len(page)
            yield page


async def _rows(pages: Pages) -> AsyncGenerator["SessionRow", None]:
    async for page in pages:
        for row in page:
            yield row
