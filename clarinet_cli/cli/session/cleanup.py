"""The command that removes dead sessions, once or as a service."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from clarinet_cli.cli.groups import run_until_stopped
from clarinet_cli.cli.invocation import current, project_settings
from clarinet_cli.cli.options import DryRun, Output, parse_duration
from clarinet_cli.cli.output import note, render
from clarinet_cli.cli.progress import progress
from clarinet_cli.exceptions import INVALID, BusyError, ExitCode
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.results import CleanupReport
    from clarinet_cli.services.session_cleanup import CleanupPlan
    from clarinet_cli.settings import Settings

SHORTEST_INTERVAL_SECONDS = 1
AS_THE_SETTINGS_SAY = -1.0  # no duration that can be typed


def parse_interval(text: str | float) -> float:
    """Return the seconds between two runs, or the mark for ``default``.

    Raises:
        BadParameter: It is neither a duration nor that word.
    """
    return AS_THE_SETTINGS_SAY if text == "default" else parse_duration(text)


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
            min=1,
            help="The most sessions a transaction; by default as many as fit into its time, "
            "beginning with session_cleanup_batch_size.",
            show_default=False,
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
            parser=parse_interval,
            metavar="TIME",
            help="Stay in the foreground and clean at this interval; 'default': "
            "session_cleanup_interval, and not at all without session_cleanup_enabled.",
        ),
    ] = None,
    trust_clock: Annotated[
        bool,
        typer.Option(
            "--trust-clock",
            help="Judge by the database's clock, however much this machine's differs.",
        ),
    ] = False,
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

    Safe beside a running server: batches, each in a transaction of its own, of a size that
    leaves others their turn, and a session that the server revives meanwhile survives.
    Where the clocks of the database and of this machine differ, the earlier one counts;
    by more than 5 min: nothing is deleted.
    Those that rows of other tables refer to stay, unless these go along (ON DELETE CASCADE);
    both are counted.
    SIGINT and SIGTERM end it after the batch at hand.

    Example: clarinet -q session cleanup --max-time 10m
    """
    settings = project_settings()
    if expired_only and days is not None:
        raise INVALID.with_context("--expired-only and --days exclude each other")
    old = settings.session_cleanup_retention_days if days is None else days
    plan = _plan(
        settings,
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
        raise typer.Exit(_serve(settings, plan, every, output))
    from clarinet_cli.services.session_cleanup import CleanupOutOfSpaceError

    try:
        report, code = _clean_once(settings, plan)
    except CleanupOutOfSpaceError as error:
        render(error.report, output, done=not dry_run)
        _note_others(error.report)
        raise
    except BusyError as error:
        if not skip_if_locked:
            raise
        note(f"skipped: {error.message}")
        return
    render(report, output, done=not dry_run)
    _note_others(report)
    if dry_run:
        note(f"dry run: {report.matched} sessions would be deleted")
    if code == ExitCode.OK and fail_incomplete and not report.complete:
        code = ExitCode.CHECK_FAILED
    raise typer.Exit(code)


def _plan(settings: "Settings", *, largest_batch: Optional[int], **options: Any) -> "CleanupPlan":
    from clarinet_cli.services.session_cleanup import CleanupPlan

    return CleanupPlan(
        batch_size=settings.session_cleanup_batch_size, largest_batch=largest_batch, **options
    )


def _clean_once(settings: "Settings", plan: "CleanupPlan") -> "tuple[CleanupReport, int]":
    from clarinet_cli.services.session_cleanup import clean_up

    with progress("cleaning up") as tell:
        return run_until_stopped(lambda stop: clean_up(settings, plan, stop=stop, progress=tell))


def _note_others(report: "CleanupReport") -> None:
    """Tell what other tables keep, and lose."""
    if report.protected:
        where = ", ".join(report.protected_by or ())
        note(f"protected by other tables and kept: {report.protected} ({where})")
    if report.cascaded:
        counts = ", ".join(f"{count} in {place}" for place, count in report.cascaded.items())
        note(f"rows of other tables that go along: {counts}")


def _serve(
    settings: "Settings", plan: "CleanupPlan", every: float, output: Optional[OutputFormat]
) -> int:
    """Clean up again and again; each run tells itself in one line."""
    from clarinet_cli.services.session_cleanup import serve

    interval = settings.session_cleanup_interval if every == AS_THE_SETTINGS_SAY else every
    if interval < SHORTEST_INTERVAL_SECONDS:
        raise INVALID.with_context(f"--every: at least {SHORTEST_INTERVAL_SECONDS} s")
    if every == AS_THE_SETTINGS_SAY and not settings.session_cleanup_enabled:
        note("session_cleanup_enabled is false: nothing to do")
        return ExitCode.OK
    lines = OutputFormat.JSONL if output is OutputFormat.JSON else output
    _, code = run_until_stopped(
        lambda stop: serve(
            settings, plan, interval=interval, stop=stop, report=lambda run: _tell(run, lines)
        )
    )
    return code


def _tell(report: "CleanupReport", lines: Optional[OutputFormat]) -> None:
    """Write one line about a run; with ``-v`` the log has it already."""
    if lines not in (None, OutputFormat.TABLE):
        render(report, lines, done=True)
    elif not current().verbosity:
        note(
            f"clean-up: matched {report.matched}, deleted {report.deleted}, "
            f"remaining {report.remaining}, {report.seconds} s"
        )
