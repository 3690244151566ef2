"""Session counts in Prometheus' text format, for the node exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from clarinet_cli.cli.text import printable

if TYPE_CHECKING:
    from clarinet_cli.results import SessionGroup, SessionStats

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
