"""Commands that query log-in sessions."""

from datetime import timedelta
from typing import Annotated, Optional

import typer

from clarinet_cli.cli.options import (
    MAX_INTEGER,
    OnlyOfUser,
    Output,
    SessionArgument,
    StatsOutput,
    UserArgument,
    parse_age,
)
from clarinet_cli.cli.render import Listing, RowLimit, render, render_list, render_rows
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.types import GroupBy, OutputFormat, SessionFilter, StateName, StatsFormat

USER_COLUMNS = ("id", "state", "created_at", "last_accessed", "ip_address", "user_agent")
ALL_COLUMNS = ("id", "email", "state", "created_at", "last_accessed", "ip_address")
TERMINAL_LIMIT = 100


async def stats(
    runtime: Runtime,
    by: Annotated[Optional[GroupBy], typer.Option("--by", help="Group by this column.")] = None,
    output: StatsOutput = None,
) -> None:
    """Count sessions by state and age.

    A session's life is the time from log-in to expiry. Use -o prometheus with the textfile
    collector of the node exporter.

    Example: clarinet session stats --by user
    """
    from clarinet_cli.cli.metrics import group_metrics, stats_metrics
    from clarinet_cli.results import SessionGroup
    from clarinet_cli.services.sessions.queries import grouped_stats, session_stats
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    metrics = output is StatsFormat.PROMETHEUS
    shown = OutputFormat(output) if output and not metrics else None
    if by is None:
        async with unit_of_work(runtime.settings, access=Access.REPLICA) as work:
            total = await session_stats(work)
        if metrics:
            runtime.writer.write(stats_metrics(total))
        else:
            render(runtime, total, shown)
        return
    async with unit_of_work(runtime.settings, access=Access.REPLICA) as work:
        groups = await grouped_stats(work, by)
    if metrics:
        runtime.writer.write(group_metrics(groups, by))
    else:
        render_list(runtime, groups, shown, Listing(SessionGroup, empty="no sessions"))


async def list_all(
    runtime: Runtime,
    user: OnlyOfUser = None,
    state: Annotated[
        Optional[list[StateName]],
        typer.Option("--state", help="Only sessions in this state; repeatable."),
    ] = None,
    ip: Annotated[
        Optional[str],
        typer.Option("--ip", metavar="ADDRESS", help="Only sessions from this IP address."),
    ] = None,
    agent: Annotated[
        Optional[str],
        typer.Option(
            "--agent", metavar="TEXT", help="Only sessions whose user agent contains this text."
        ),
    ] = None,
    older_than: Annotated[
        Optional[float],
        typer.Option(
            parser=parse_age,
            metavar="TIME",
            help="Only sessions created longer ago: 7d, or before 2026-11-22.",
        ),
    ] = None,
    idle_for: Annotated[
        Optional[float],
        typer.Option(parser=parse_age, metavar="TIME", help="Only sessions unused for this long."),
    ] = None,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=MAX_INTEGER,
            help="Maximum number of sessions, newest first.",
            show_default=f"{TERMINAL_LIMIT} on a terminal, else all",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """List sessions, newest first.

    Example: clarinet session list --state idle --older-than 7d -o jsonl
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    rows = RowLimit(limit, TERMINAL_LIMIT)
    where = SessionFilter(
        states=tuple(state or ()),
        ip=ip,
        agent=agent,
        older_than=None if older_than is None else timedelta(seconds=older_than),
        idle_for=None if idle_for is None else timedelta(seconds=idle_for),
        limit=rows.fetched,
    )
    pages = list_sessions(runtime.settings, where, identifier=user)
    listing = Listing(SessionRow, columns=ALL_COLUMNS, empty="no sessions")
    await render_rows(runtime, pages, output, listing, rows)


async def list_user(
    runtime: Runtime,
    user: UserArgument,
    active: Annotated[
        bool, typer.Option("--active", help="Only sessions that the server accepts.")
    ] = False,
    output: Output = None,
) -> None:
    """List a user's sessions, newest first.

    Example: clarinet session list-user ada@example.org --active
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    where = SessionFilter(states=(StateName.ACTIVE,) if active else ())
    pages = list_sessions(runtime.settings, where, identifier=user)
    listing = Listing(SessionRow, columns=USER_COLUMNS, empty="no sessions")
    await render_rows(runtime, pages, output, listing)


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
