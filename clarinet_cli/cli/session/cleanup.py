"""The command that removes stale sessions, once or as a service."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.metrics import CleanupMetrics
from clarinet_cli.cli.options import DryRun, Output
from clarinet_cli.cli.parsers import parse_duration
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.render import TABLE_FORMATS, render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import format_row_counts
from clarinet_cli.exceptions import INVALID, ClarinetError, ExitCode, JobRunningError
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import CleanupReport
    from clarinet_cli.services.session_cleanup import CleanupPlan

MIN_INTERVAL_SECONDS = 1
CONFIGURED_INTERVAL = -1.0  # not a duration that can be typed


def parse_schedule(text: str | float) -> float:
    """Return the seconds between two runs, or CONFIGURED_INTERVAL for ``default``.

    Raises:
        BadParameter: It is neither a duration nor that word.
    """
    return CONFIGURED_INTERVAL if text == "default" else parse_duration(text)


async def cleanup(
    runtime: Runtime,
    days: Annotated[
        Optional[int],
        typer.Option(
            min=0,
            max=36500,
            metavar="N",
            help="Also remove sessions created more than N days ago; 0: do not. Default: "
            "session_cleanup_retention_days.",
            show_default=False,
        ),
    ] = None,
    expired_only: Annotated[
        bool, typer.Option("--expired-only", help="Keep idle and old sessions.")
    ] = False,
    batch_size: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of sessions per transaction. Default: adapted to the time "
            "that a transaction takes, starting at session_cleanup_batch_size.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        Optional[int], typer.Option(min=1, metavar="N", help="Stop after this many sessions.")
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
            help="Pause between two transactions. Default: chosen by the load of the database.",
        ),
    ] = None,
    every: Annotated[
        Optional[float],
        typer.Option(
            parser=parse_schedule,
            metavar="TIME",
            help="Run in the foreground and clean up at this interval; 'default': "
            "session_cleanup_interval, or exit if session_cleanup_enabled is false.",
        ),
    ] = None,
    trust_clock: Annotated[
        bool,
        typer.Option(
            "--trust-clock",
            help="Use the database's clock, even if it differs much from this machine's.",
        ),
    ] = False,
    fail_incomplete: Annotated[
        bool, typer.Option("--fail-incomplete", help="Exit with 6 when stale sessions remain.")
    ] = False,
    skip_if_locked: Annotated[
        bool,
        typer.Option("--skip-if-locked", help="Exit with 0 when another clean-up is running."),
    ] = False,
    metrics_file: Annotated[
        Optional[Path],
        typer.Option(
            "--metrics-file",
            metavar="FILE",
            help="Write the result of each run to this file, for the textfile collector of the "
            "node exporter, also when it fails or is skipped.",
        ),
    ] = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> Optional[int]:
    """Remove stale sessions: expired, idle, and old ones.

    Safe while the server runs: each batch is a short transaction of its own, and a session
    that the server refreshes before its batch is kept.
    When the clocks of the database and of this machine differ, the earlier one is used;
    when they differ by more than 5 min, nothing is deleted.
    Sessions that rows of other tables refer to are kept, unless those rows are deleted by
    cascade (ON DELETE CASCADE); both are counted.
    SIGINT and SIGTERM stop it after the current batch.

    Example: clarinet -q session cleanup --max-time 10m
    """
    from clarinet_cli.services.session_cleanup import (
        CleanupDisconnectedError,
        CleanupOutOfSpaceError,
        CleanupPlan,
        clean_up,
    )

    metrics = CleanupMetrics(metrics_file)
    metrics.require_directory()
    with metrics.on_failure():
        settings = runtime.settings
    if expired_only and days is not None:
        raise INVALID.with_context("--expired-only and --days cannot be used together")
    if metrics_file is not None and dry_run:
        raise INVALID.with_context("--metrics-file and --dry-run cannot be used together")
    old = settings.server_limit("session_cleanup_retention_days") if days is None else days
    plan = CleanupPlan(
        batch_size=settings.session_cleanup_batch_size,
        largest_batch=batch_size,
        older_than=timedelta(days=old) if old and not expired_only else None,
        expired_only=expired_only,
        limit=limit,
        max_time=max_time,
        pause=sleep,
        trust_clock=trust_clock,
        dry_run=dry_run,
    )
    if every is not None:
        await _serve(runtime, plan, every, output, metrics)
        return None
    try:
        with (
            metrics.on_failure(),
            progress(runtime, "cleaning up") as update,
            runtime.stop_on_signal() as stop,
        ):
            report = await clean_up(settings, plan, stop=stop, progress=update)
    except (CleanupDisconnectedError, CleanupOutOfSpaceError) as error:
        _show(runtime, error.report, output, dry_run=dry_run)
        raise
    except JobRunningError as error:
        if not skip_if_locked:
            raise
        runtime.writer.note(f"skipped: {error.message}")
        return None
    failed = fail_incomplete and not report.complete
    _show(runtime, report, output, dry_run=dry_run)
    metrics.write(None if failed else report)
    return ExitCode.CHECK_FAILED if failed else None


def _show(
    runtime: Runtime, report: "CleanupReport", output: Optional[OutputFormat], *, dry_run: bool
) -> None:
    """Write a report; note which rows of other tables prevent deletions or are deleted."""
    render(runtime, report, output, changed=not dry_run)
    if not runtime.settings.capabilities.expiry:
        runtime.writer.note("session_lifetime_seconds is none: sessions do not expire")
    if report.protected:
        where = ", ".join(report.protected_by or ())
        runtime.writer.note(f"protected by other tables and kept: {report.protected} ({where})")
    if report.cascaded:
        counts = format_row_counts(report.cascaded)
        runtime.writer.note(f"rows of other tables deleted by cascade: {counts}")
    if dry_run and report.matched_by is not None:  # None: stopped before anything was counted
        by_reason = (f"{count} {name}" for name, count in report.matched_by.items() if count)
        counts = f"{pluralize(report.matched, 'session')} would be deleted"
        runtime.writer.note(": ".join(filter(None, (f"dry run: {counts}", ", ".join(by_reason)))))


async def _serve(
    runtime: Runtime,
    plan: "CleanupPlan",
    every: float,
    output: Optional[OutputFormat],
    metrics: CleanupMetrics,
) -> None:
    """Clean up at an interval until a signal arrives."""
    from clarinet_cli.services.session_cleanup import serve

    settings = runtime.settings
    interval = settings.session_cleanup_interval if every == CONFIGURED_INTERVAL else every
    if interval < MIN_INTERVAL_SECONDS:
        raise INVALID.with_context(f"--every: at least {MIN_INTERVAL_SECONDS} s")
    if every == CONFIGURED_INTERVAL and not settings.session_cleanup_enabled:
        runtime.writer.note("session_cleanup_enabled is false: nothing to do")
        return
    lines = OutputFormat.JSONL if output is OutputFormat.JSON else output

    def report(run: "CleanupReport") -> None:
        if lines not in TABLE_FORMATS:
            render(runtime, run, lines, changed=True)
        elif not runtime.verbosity:  # otherwise it was already logged
            runtime.writer.note(
                f"clean-up: matched {run.matched}, deleted {run.deleted}, "
                f"remaining {run.remaining}, {run.seconds} s"
            )

    def finished(outcome: "CleanupReport | ClarinetError") -> None:
        try:
            metrics.write(outcome)
        except ClarinetError as error:
            runtime.writer.warn(error.message)

    with runtime.stop_on_signal() as stop:
        await serve(settings, plan, interval=interval, stop=stop, report=report, finished=finished)
