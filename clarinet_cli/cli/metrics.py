"""Session counts and clean-ups in Prometheus' text format, for the node exporter's textfiles.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Optional

from clarinet_cli.cli.text import printable
from clarinet_cli.exceptions import FAILURE, INVALID, ClarinetError, JobRunningError
from clarinet_cli.signals import SIGNALS

if TYPE_CHECKING:
    from clarinet_cli.results import CleanupReport, SessionGroup, SessionStats

PUBLIC_MODE = 0o644  # the node exporter is another user
SUCCESS, FAILED, SKIPPED = "success", "failed", "skipped"
LAST_SUCCESS = "clarinet_cleanup_last_success_timestamp_seconds"
LAST_SUCCESS_SAMPLE = re.compile(rf"^{LAST_SUCCESS} ([0-9.e+]+)$", re.MULTILINE)
CLEANUP_COUNTS = ("matched", "deleted", "remaining", "protected")
STATES = ("active", "idle", "expired", "blocked", "invalid")


def stats_metrics(stats: "SessionStats") -> Iterator[str]:
    """Yield the lines for all sessions; what is unknown on an empty database is left out."""
    yield from _header("clarinet_sessions", "Log-in sessions by state.")
    for state in STATES:
        if (number := getattr(stats, state)) is not None:
            yield _sample("clarinet_sessions", number, state=state)
    yield from _header("clarinet_session_age", "Log-in sessions by the time since log-in.")
    for age, count in stats.age.items():
        yield _sample("clarinet_session_age", count, age=age)
    yield from _gauge("clarinet_session_users", "Users with sessions.", stats.users)
    yield from _gauge(
        "clarinet_session_life_average_seconds",
        "Mean time from log-in to expiry.",
        stats.average_life_seconds,
    )
    yield from _gauge(
        "clarinet_session_life_longest_seconds",
        "Longest time from log-in to expiry.",
        stats.longest_life_seconds,
    )
    expiry = stats.next_expiry.timestamp() if stats.next_expiry else None
    yield from _gauge(
        "clarinet_session_next_expiry_timestamp_seconds", "When the next session expires.", expiry
    )


def group_metrics(groups: Iterable["SessionGroup"], by: str) -> Iterator[str]:
    """Yield the lines for the sessions of each user, role, address, agent or day."""
    name = f"clarinet_sessions_by_{by}"
    yield from _header(name, f"Log-in sessions by {by} and state.")
    for group in groups:
        for state in STATES:
            if (number := getattr(group, state)) is not None:
                yield _sample(name, number, **{by: group.key or "", "state": state})


@dataclass(slots=True)
class CleanupMetrics:
    """The file with the metrics of the last clean-up.

    Attributes:
        file: Its path; None: write no metrics.
        started: When the first run began, in seconds since the epoch; None after it.
    """

    file: Optional[Path]
    started: Optional[float] = field(default_factory=time.time)

    def write(self, outcome: "CleanupReport | ClarinetError | None") -> None:
        """Replace the file; the time of the last success is kept unless this run is one.

        Args:
            outcome: The report of the run, or the error that ended it; None: it failed without an
                error. A run that a signal stopped has failed.

        Raises:
            ClarinetError: It cannot be written.
        """
        if self.file is None:
            return
        now = time.time()
        if outcome is None or isinstance(outcome, ClarinetError):
            result = SKIPPED if isinstance(outcome, JobRunningError) else FAILED
            report = getattr(outcome, "report", None)
        else:
            result, report = FAILED if SIGNALS.number is not None else SUCCESS, outcome
        success = now if result == SUCCESS else _previous_success(self.file)
        seconds = None if self.started is None else round(now - self.started, 3)
        if report is not None:
            seconds = report.seconds
        lines = cleanup_metrics(result, report, seconds=seconds, ended=now)
        last = _gauge(LAST_SUCCESS, "When a clean-up last succeeded.", success)
        try:
            _replace_file(self.file, "".join((*last, *lines)))
        except OSError as error:
            raise FAILURE.with_context(f"cannot write {self.file}: {error.strerror}") from error
        self.started = None

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """Write the file when the block fails."""
        failed, failure = True, None
        try:
            yield
            failed = False
        except ClarinetError as error:
            failure = error
            raise
        finally:
            if failed:
                with suppress(ClarinetError):  # the first error is the one to show
                    self.write(failure)

    def require_directory(self) -> None:
        """Refuse a file whose directory does not exist.

        Raises:
            InvalidInputError: The directory does not exist, or the file is one.
        """
        if self.file is None or (self.file.parent.is_dir() and not self.file.is_dir()):
            return
        found = f"{self.file} is a directory"
        missing = f"directory {self.file.parent} does not exist"
        reason = found if self.file.is_dir() else missing
        raise INVALID.with_context(f"--metrics-file: {reason}")


def cleanup_metrics(
    result: str, report: "Optional[CleanupReport]", *, seconds: Optional[float], ended: float
) -> Iterator[str]:
    """Yield the lines of a clean-up, without that of the last success.

    Args:
        result: ``success``, ``failed`` or ``skipped``.
        report: What the run did; None: unknown, and left out.
        seconds: How long it took; None: unknown, and left out.
        ended: When it ended, in seconds since the epoch.
    """
    yield from _gauge(
        "clarinet_cleanup_last_run_timestamp_seconds", "When the last clean-up ended.", ended
    )
    yield from _gauge(
        "clarinet_cleanup_duration_seconds", "How long the last clean-up took.", seconds
    )
    yield from _header("clarinet_cleanup_result", "The result of the last clean-up.")
    for name in (SUCCESS, FAILED, SKIPPED):
        yield _sample("clarinet_cleanup_result", int(name == result), result=name)
    if report is not None:
        yield from _header("clarinet_cleanup_sessions", "Stale sessions of the last clean-up.")
        for name in CLEANUP_COUNTS:
            yield _sample("clarinet_cleanup_sessions", getattr(report, name), outcome=name)


def _previous_success(file: Path) -> Optional[float]:
    """Return the time of the last success in a file, if there is one."""
    try:
        found = LAST_SUCCESS_SAMPLE.search(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return float(found[1]) if found else None


def _replace_file(file: Path, text: str) -> None:
    """Replace a file atomically: a reader sees the old or the new content."""
    descriptor, made = mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(descriptor, PUBLIC_MODE)
        Path(made).replace(file)
    finally:
        Path(made).unlink(missing_ok=True)


def _gauge(name: str, text: str, value: float | None) -> Iterator[str]:
    if value is not None:
        yield from _header(name, text)
        yield _sample(name, value)


def _header(name: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}\n"
    yield f"# TYPE {name} gauge\n"


def _sample(name: str, value: float, **labels: str) -> str:
    pairs = ",".join(f'{key}="{_escape_label(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}\n" if pairs else f"{name} {value}\n"


def _escape_label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
