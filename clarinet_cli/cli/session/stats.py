"""The command that counts sessions."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from clarinet_cli.cli.options import (
    MAX_INTEGER,
    Limit,
    StatsOutput,
    Watch,
    columns_option,
    sort_option,
)
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.sinks import WHOLE_TABLE_ROWS, write_rich
from clarinet_cli.cli.text import more_rows_note
from clarinet_cli.types import GroupBy, OutputFormat, StatsFormat

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clarinet_cli.cli.charts import Canvas
    from clarinet_cli.cli.presentation import Presentation, RowLimit
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.results import SessionGroup, SessionStats
    from clarinet_cli.services.unit_of_work import Database

EMPTY = "no sessions"


async def stats(
    runtime: Runtime,
    by: Annotated[
        Optional[GroupBy],
        typer.Option("--by", metavar="KEY", help=f"Group by this key: {', '.join(GroupBy)}."),
    ] = None,
    top: Annotated[
        Optional[int],
        typer.Option(
            "--top",
            metavar="N",
            min=1,
            max=MAX_INTEGER,
            help="With --by: only the N groups with the most sessions.",
        ),
    ] = None,
    limit: Limit = None,
    sort: Annotated[Optional[str], sort_option("SessionGroup")] = None,
    columns: Annotated[Optional[str], columns_option("SessionGroup")] = None,
    interval: Watch = None,
    output: StatsOutput = None,
) -> None:
    """Count sessions by state and age.

    The lifetime of a session is the time from log-in to expiry. Days and hours are in UTC. --top,
    --limit, --sort and --columns apply to the groups of --by. Use -o prometheus with the textfile
    collector of the node exporter.

    Example: clarinet session stats --by user --top 10
    """
    from clarinet_cli.cli.presentation import Presentation, RowLimit
    from clarinet_cli.exceptions import INVALID
    from clarinet_cli.results import SessionGroup

    given = {"--top": top, "--limit": limit, "--sort": sort, "--columns": columns}
    if by is None and (needless := [name for name, value in given.items() if value is not None]):
        raise INVALID.with_context(f"{needless[0]} requires --by")
    presentation = Presentation(
        SessionGroup, empty=EMPTY, titles={"key": by or "key"}, chosen=columns, order=sort
    )
    view = _total_view() if by is None else _group_view(by, top, presentation, limit)
    if interval is not None:
        from clarinet_cli.cli.watch import watch

        await watch(runtime, view, output, interval)
        return
    from clarinet_cli.services.unit_of_work import open_database

    async with open_database(runtime.settings) as database:
        result = await view.read(database, warn=True)
    _show(runtime, result, by, output, view, presentation, RowLimit(limit))


def _show(
    runtime: Runtime,
    result: Any,
    by: Optional[GroupBy],
    output: Optional[StatsFormat],
    view: "LiveView[Any]",
    presentation: "Presentation",
    limit: "RowLimit",
) -> None:
    """Write the statistics once: as a chart on a terminal, else in the usual formats."""
    from clarinet_cli.cli.metrics import group_metrics, stats_metrics
    from clarinet_cli.cli.render import render, render_list, shows_table

    if output is StatsFormat.PROMETHEUS:
        runtime.writer.write(stats_metrics(result) if by is None else group_metrics(result, by))
        return
    shown = OutputFormat(output) if output else None
    if result != [] and not presentation.selected and shows_table(runtime, shown):
        from clarinet_cli.cli.charts import Canvas
        from clarinet_cli.timefmt import machine_now

        width = runtime.writer.console().width
        canvas = Canvas.of(width, sys.stdout.encoding, machine_now())
        write_rich(runtime.writer, view.draw(result, None, canvas))
    elif by is None:
        render(runtime, result, shown)
    else:
        render_list(runtime, result, shown, presentation, limit)


def _total_view() -> "LiveView[SessionStats]":
    """Return the statistics of all sessions, to be read and drawn."""
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.services.sessions.queries import session_stats
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async def read(database: "Database", *, warn: bool) -> "SessionStats":
        async with unit_of_work(database, access=Access.REPLICA) as work:
            return await session_stats(work, warn=warn)

    def draw(
        result: "SessionStats", before: "Optional[SessionStats]", canvas: "Canvas"
    ) -> "RenderableType":
        from clarinet_cli.cli.charts import stats_chart
        from clarinet_cli.cli.formats import as_fields
        from clarinet_cli.cli.views import field_changes

        changes = None if before is None else field_changes(as_fields(before), as_fields(result))
        return stats_chart(result, canvas, changes)

    return LiveView(read, draw)


def _group_view(
    by: GroupBy, top: Optional[int], presentation: "Presentation", limit: Optional[int]
) -> "LiveView[list[SessionGroup]]":
    """Return the sessions of each group, to be read and drawn."""
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.services.sessions.queries import grouped_stats
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async def read(database: "Database", *, warn: bool) -> "list[SessionGroup]":
        async with unit_of_work(database, access=Access.REPLICA) as work:
            return list(presentation.sorted(await grouped_stats(work, by, top=top, warn=warn)))

    def draw(
        result: "list[SessionGroup]", before: "Optional[list[SessionGroup]]", canvas: "Canvas"
    ) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        from clarinet_cli.cli.charts import PERIODS, group_chart, with_empty_periods

        earlier = result if before is None else before
        groups, changes = _compare(earlier, result, top)
        if by in PERIODS and top is None and limit is None and presentation.sort is None:
            groups = list(with_empty_periods(groups, by, canvas.now))
        if not groups:
            return Text(EMPTY)
        shown = groups[: limit or WHOLE_TABLE_ROWS]
        chart = group_chart(shown, by, canvas, None if before is None else changes)
        if len(groups) == len(shown):
            return chart
        advice = "there are more" if limit else "'-o plain' or '-o jsonl' shows all"
        return Group(chart, Text(more_rows_note(len(shown), advice)))

    return LiveView(read, draw, presentation.selected, limit)


def _compare(
    before: "Sequence[SessionGroup]", after: "Sequence[SessionGroup]", top: Optional[int]
) -> "tuple[list[SessionGroup], dict[Optional[str], str]]":
    """Return groups and what has changed by key; a removed group has no sessions."""
    from clarinet_cli.cli.views import CHANGED, GONE, NEW, compare_rows
    from clarinet_cli.results import SessionGroup

    totals = {group.key: group.total for group in before}
    groups, changes = [], {}
    for group, mark in compare_rows(before, after, lambda group: group.key, limit=top):
        groups.append(group if mark != GONE else SessionGroup(group.key, 0, 0, 0, 0, 0, 0))
        if mark == CHANGED:
            difference = group.total - totals[group.key]
            changes[group.key] = f"{difference:+d}" if difference else "changed"
        elif mark in (NEW, GONE):
            changes[group.key] = "new" if mark == NEW else "gone"
    return groups, changes
