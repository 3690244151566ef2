"""Commands that look at log-in sessions."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.options import Output, StatsOutput, UserArgument
from clarinet_cli.cli.output import Listing, render, render_stream, write
from clarinet_cli.types import GroupBy, OutputFormat, StatsFormat

SESSION_COLUMNS = (
    "id",
    "state",
    "created_at",
    "expires_at",
    "last_accessed",
    "ip_address",
    "user_agent",
)


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
    from clarinet_cli.services.sessions import grouped_stats, session_stats

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
    from clarinet_cli.services.sessions import stream_sessions_of_user

    rows = stream_sessions_of_user(project_settings(), user, active_only=active)
    listing = Listing(SessionRow, columns=SESSION_COLUMNS, empty="no sessions")
    run(render_stream(rows, output, listing))
