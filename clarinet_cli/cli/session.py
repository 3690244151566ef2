"""``clarinet session``: log-in sessions."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.groups import HelpfulGroup, run, run_until_stopped
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.options import DryRun, Output, StatsOutput, UserArgument, parse_duration
from clarinet_cli.cli.output import Listing, note, render, render_stream, write
from clarinet_cli.cli.progress import progress
from clarinet_cli.exceptions import INVALID, BusyError, ExitCode
from clarinet_cli.types import GroupBy, OutputFormat, StatsFormat

if TYPE_CHECKING:
    from clarinet_cli.results import CleanupReport
    from clarinet_cli.services.session_cleanup import CleanupPlan
    from clarinet_cli.settings import Settings

app = typer.Typer(cls=HelpfulGroup, help="Log-in sessions: count, show, end, clean up.")

SHORTEST_INTERVAL_SECONDS = 1
SESSION_COLUMNS = (
    "id",
    "state",
    "created_at",
    "expires_at",
    "last_accessed",
    "ip_address",
    "user_agent",
)


@app.command()
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


@app.command("list-user")
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


@app.command("revoke-user")
def revoke_user(
    user: UserArgument,
    keep_current: Annotated[
        Optional[str],
        typer.Option("--keep-current", metavar="ID", help="Keep the session with this id."),
    ] = None,
    keep_newest: Annotated[
        int, typer.Option("--keep-newest", metavar="N", min=0, help="Keep the newest N.")
    ] = 0,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """End all sessions of a user.

    Example: clarinet session revoke-user ada@example.org --keep-newest 1
    """
    from clarinet_cli.services.sessions import revoke_for_user

    settings = project_settings()
    report = run(
        revoke_for_user(
            settings, user, keep_current=keep_current, keep_newest=keep_newest, dry_run=dry_run
        )
    )
    render(report, output)
    if report.result == "revoked":
        cache_note(settings)


@app.command()
def cleanup(
    days: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            max=36500,
            help="Also remove sessions created more than this many days ago; 0: don't.",
            show_default="session_cleanup_retention_days",
        ),
    ] = None,
    expired_only: Annotated[
        bool, typer.Option("--expired-only", help="Leave idle and old sessions.")
    ] = False,
    batch_size: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="Sessions a transaction.", show_default="session_cleanup_batch_size"
        ),
    ] = None,
    limit: Annotated[
        Optional[int], typer.Option(min=1, help="Stop after this many sessions.")
    ] = None,
    max_time: Annotated[
        Optional[float],
        typer.Option(parser=parse_duration, metavar="TIME", help="Stop after this time."),
    ] = None,
    sleep: Annotated[
        Optional[float],
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            help="Pause between two transactions.",
            show_default="what suits the database",
        ),
    ] = None,
    every: Annotated[
        Optional[float],
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            help="Stay in the foreground and clean at this interval.",
        ),
    ] = None,
    fail_incomplete: Annotated[
        bool, typer.Option("--fail-incomplete", help="Exit with 6 when dead sessions remain.")
    ] = False,
    skip_if_locked: Annotated[
        bool,
        typer.Option("--skip-if-locked", help="Exit with 0 when the database is busy."),
    ] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Remove dead sessions: expired, idle, and old ones.

    Safe beside a running server: batches, each in a transaction of its own, and a session
    that the server revives meanwhile survives. SIGINT and SIGTERM end it after the batch
    at hand.

    Example: clarinet -q session cleanup --max-time 10m
    """
    from clarinet_cli.services.session_cleanup import CleanupPlan

    settings = project_settings()
    if expired_only and days is not None:
        raise INVALID.with_context("--expired-only and --days exclude each other")
    old = settings.session_cleanup_retention_days if days is None else days
    plan = CleanupPlan(
        batch_size=batch_size or settings.session_cleanup_batch_size,
        older_than=timedelta(days=old) if old and not expired_only else None,
        expired_only=expired_only,
        limit=limit,
        max_time=max_time,
        pause=sleep,
        dry_run=dry_run,
    )
    if every is not None:
        raise typer.Exit(_serve(settings, plan, every, output))
    try:
        report, code = _clean_once(settings, plan)
    except BusyError as error:
        if not skip_if_locked:
            raise
        note(f"skipped: {error.message}")
        return
    render(report, output)
    if code == ExitCode.OK and fail_incomplete and not report.complete:
        code = ExitCode.CHECK_FAILED
    raise typer.Exit(code)


def cache_note(settings: "Settings") -> None:
    """Tell how long the server may go on accepting what was revoked."""
    seconds = settings.session_cache_ttl_seconds
    if seconds:
        note(f"the server's cache may accept a revoked session for up to {seconds} s more")


def _clean_once(settings: "Settings", plan: "CleanupPlan") -> "tuple[CleanupReport, int]":
    from clarinet_cli.services.session_cleanup import clean_up

    with progress("cleaning up") as tell:
        return run_until_stopped(lambda stop: clean_up(settings, plan, stop=stop, progress=tell))


def _serve(
    settings: "Settings", plan: "CleanupPlan", interval: float, output: Optional[OutputFormat]
) -> int:
    """Clean up again and again; each run tells itself in one line."""
    from clarinet_cli.services.session_cleanup import clean_up_for_ever

    if interval < SHORTEST_INTERVAL_SECONDS:
        raise INVALID.with_context(f"--every: at least {SHORTEST_INTERVAL_SECONDS} s")
    lines = OutputFormat.JSONL if output is OutputFormat.JSON else output

    def tell(report: "CleanupReport") -> None:
        if lines not in (None, OutputFormat.TABLE):
            render(report, lines)
            return
        note(
            f"clean-up: matched {report.matched}, deleted {report.deleted}, "
            f"remaining {report.remaining}, {report.seconds} s"
        )

    _, code = run_until_stopped(
        lambda stop: clean_up_for_ever(settings, plan, interval=interval, stop=stop, report=tell)
    )
    return code
