"""Commands that look at log-in sessions."""

import sys
from datetime import timedelta
from typing import Annotated, Optional

import typer

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.listings import render_pages
from clarinet_cli.cli.options import (
    LARGEST_NUMBER,
    OnlyOfUser,
    Output,
    SessionArgument,
    StatsOutput,
    UserArgument,
    parse_age,
)
from clarinet_cli.cli.output import Listing, render, write
from clarinet_cli.types import GroupBy, OutputFormat, SessionFilter, StateName, StatsFormat

SESSION_COLUMNS = (
    "id",
    "state",
    "created_at",
    "last_accessed",
    "ip_address",
    "user_agent",
)
ALL_COLUMNS = (
    "id",
    "email",
    "state",
    "created_at",
    "last_accessed",
    "ip_address",
)
TERMINAL_LIMIT = 100


def stats(
    by: Annotated[
        Optional[GroupBy], typer.Option("--by", help="Count for each of these instead.")
    ] = None,
    output: StatsOutput = None,
) -> None:
    """Count all sessions by state and age.

    A life is the time from log-in to expiry. The format prometheus suits the node
    exporter's textfile collector.

    Example: clarinet session stats --by user
    """
    from clarinet_cli.cli.metrics import group_metrics, stats_metrics
    from clarinet_cli.results import SessionGroup
    from clarinet_cli.services.sessions.queries import grouped_stats, session_stats

    settings = project_settings()
    metrics = output is StatsFormat.PROMETHEUS
    shown = OutputFormat(output) if output and not metrics else None
    if by is None:
        stats = run(session_stats(settings))
        write(stats_metrics(stats)) if metrics else render(stats, shown)
        return
    groups = run(grouped_stats(settings, by))
    if metrics:
        write(group_metrics(groups, by))
    else:
        render(groups, shown, Listing(SessionGroup, empty="no sessions"))


def list_all(
    user: OnlyOfUser = None,
    state: Annotated[
        Optional[list[StateName]],
        typer.Option("--state", help="Only those in this state; several states may be given."),
    ] = None,
    ip: Annotated[
        Optional[str], typer.Option("--ip", metavar="ADDRESS", help="Only from this address.")
    ] = None,
    agent: Annotated[
        Optional[str],
        typer.Option("--agent", metavar="TEXT", help="Only with this text in the user agent."),
    ] = None,
    older_than: Annotated[
        Optional[float],
        typer.Option(
            parser=parse_age,
            metavar="TIME",
            help="Only from log-ins longer ago than this: 7d, or before 2026-11-22.",
        ),
    ] = None,
    idle_for: Annotated[
        Optional[float],
        typer.Option(parser=parse_age, metavar="TIME", help="Only unused for this long."),
    ] = None,
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=LARGEST_NUMBER,
            help="At most so many, the newest.",
            show_default=f"{TERMINAL_LIMIT} on a terminal, else all",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Show all sessions, newest first.

    Example: clarinet session list --state idle --older-than 7d -o jsonl
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    most = TERMINAL_LIMIT if limit is None and sys.stdout.isatty() else None
    where = SessionFilter(
        states=tuple(state or ()),
        ip=ip,
        agent=agent,
        older_than=None if older_than is None else timedelta(seconds=older_than),
        idle_for=None if idle_for is None else timedelta(seconds=idle_for),
        limit=most + 1 if most else limit,
    )
    pages = list_sessions(project_settings(), where, who=user)
    listing = Listing(SessionRow, columns=ALL_COLUMNS, empty="no sessions")
    run(render_pages(pages, output, listing, most=most, every=limit is not None))


def list_user(
    user: UserArgument,
    active: Annotated[
        bool, typer.Option("--active", help="Only those that the server accepts.")
    ] = False,
    output: Output = None,
) -> None:
    """Show one user's sessions, newest first.

    Example: clarinet session list-user ada@example.org --active
    """
    from clarinet_cli.results import SessionRow
    from clarinet_cli.services.sessions.queries import list_sessions

    where = SessionFilter(states=(StateName.ACTIVE,) if active else ())
    pages = list_sessions(project_settings(), where, who=user)
    listing = Listing(SessionRow, columns=SESSION_COLUMNS, empty="no sessions")
    run(render_pages(pages, output, listing))


def show(session: SessionArgument, user: OnlyOfUser = None, output: Output = None) -> None:
    """Show one session and its user.

    Example: clarinet session show 8f3kQ2xZ
    """
    from clarinet_cli.services.sessions.queries import show_session

    render(run(show_session(project_settings(), session, who=user)), output)
