"""Commands that query log-in sessions."""

from collections.abc import Hashable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.formats import as_fields
from clarinet_cli.cli.options import (
    MAX_INTEGER,
    FromNetworks,
    IdleFor,
    Limit,
    OlderThan,
    OnlyOfUser,
    Output,
    SessionArgument,
    States,
    UserArgument,
    Watch,
    WithAgent,
    columns_option,
    session_filter,
    sort_option,
)
from clarinet_cli.cli.presentation import Presentation, RowLimit
from clarinet_cli.cli.render import render, render_rows
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.tables import rich_rows
from clarinet_cli.cli.text import more_rows_note
from clarinet_cli.cli.views import MARKS, compare_rows
from clarinet_cli.types import SessionFilter, StateName

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clarinet_cli.cli.charts import Canvas
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.unit_of_work import Database

USE_COLUMNS = ("state", "ip_address", "last_accessed", "user_agent", "created_at", "expires_at")
ALL_COLUMNS = ("id", "email", *USE_COLUMNS, "user_id")
USER_COLUMNS = ("id", *USE_COLUMNS, "email", "user_id")
TERMINAL_LIMIT = 100


async def list_all(
    runtime: Runtime,
    user: OnlyOfUser = None,
    state: States = None,
    ip: FromNetworks = None,
    agent: WithAgent = None,
    older_than: OlderThan = None,
    idle_for: IdleFor = None,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=MAX_INTEGER,
            metavar="N",
            help=f"At most this many rows. Default: {TERMINAL_LIMIT} on a terminal, otherwise all.",
        ),
    ] = None,
    sort: Annotated[Optional[str], sort_option("SessionRow")] = None,
    columns: Annotated[Optional[str], columns_option("SessionRow")] = None,
    interval: Watch = None,
    output: Output = None,
) -> None:
    """List sessions, newest first unless --sort says otherwise.

    Example: clarinet session list --state idle --older-than 7d -o jsonl
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    rows = RowLimit(limit, TERMINAL_LIMIT)
    presentation = Presentation(
        SessionRow, ALL_COLUMNS, kept=2, empty="no sessions", chosen=columns, order=sort
    )
    where = session_filter(state, ip, agent, older_than, idle_for, rows.fetched)
    where = replace(where, sort=presentation.sort)
    if interval is not None:
        from clarinet_cli.cli.watch import watch

        await watch(runtime, _list_view(where, user, rows, presentation), output, interval)
        return
    pages = list_sessions(runtime.settings, where, identifier=user)
    await render_rows(runtime, pages, output, presentation, rows)
    runtime.note_token_digests()


def _list_view(
    where: SessionFilter, user: Optional[str], limit: RowLimit, presentation: Presentation
) -> "LiveView[list[SessionRow]]":
    """Return a listing of sessions, to be read and drawn."""
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.services.sessions.queries import list_sessions

    async def read(database: "Database", *, warn: bool) -> "list[SessionRow]":
        pages = list_sessions(database, where, identifier=user, warn=warn)
        async with aclosing(pages):
            return [row async for page in pages for row in page]

    def draw(
        result: "list[SessionRow]", before: "Optional[list[SessionRow]]", canvas: "Canvas"
    ) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        def identity(row: "SessionRow") -> Hashable:
            return row.id, row.user_id, row.created_at

        most = limit.shown
        shown, earlier = result[:most], (result if before is None else before)[:most]
        compared = list(compare_rows(earlier, shown, identity, limit=most))
        if not compared:
            return Text(presentation.empty)
        rows = [as_fields(row) for row, _ in compared]
        marks = [mark for _, mark in compared]
        # Above the table, since its end may be below the screen.
        notes = [Text(MARKS)]
        if len(result) > len(shown):
            notes.append(Text(more_rows_note(len(shown), limit.note)))
        columns = presentation.selected or presentation.columns
        kept = None if presentation.selected else presentation.kept
        return Group(*notes, Text(), rich_rows(rows, columns, canvas.width, marks, kept))

    return LiveView(read, draw, presentation.selected, limit.shown)


async def list_user(
    runtime: Runtime,
    user: UserArgument,
    active: Annotated[
        bool, typer.Option("--active", help="Only sessions that the server accepts.")
    ] = False,
    limit: Limit = None,
    sort: Annotated[Optional[str], sort_option("SessionRow")] = None,
    columns: Annotated[Optional[str], columns_option("SessionRow")] = None,
    output: Output = None,
) -> None:
    """List a user's sessions, newest first unless --sort says otherwise.

    Example: clarinet session list-user ada@example.org --active
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    rows = RowLimit(limit)
    presentation = Presentation(
        SessionRow, USER_COLUMNS, kept=2, empty="no sessions", chosen=columns, order=sort
    )
    states = (StateName.ACTIVE,) if active else ()
    where = SessionFilter(states=states, limit=rows.fetched, sort=presentation.sort)
    pages = list_sessions(runtime.settings, where, identifier=user)
    await render_rows(runtime, pages, output, presentation, rows)
    runtime.note_token_digests()


async def show(
    runtime: Runtime, session: SessionArgument, user: OnlyOfUser = None, output: Output = None
) -> None:
    """Show one session and its user.

    Example: clarinet session show 8f3kQ2xZ
    """
    from clarinet_cli.services.sessions.queries import show_session
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async with unit_of_work(runtime.settings, access=Access.REPLICA) as work:
        detail = await show_session(work, session, identifier=user)
    render(runtime, detail, output)
    runtime.note_token_digests()
