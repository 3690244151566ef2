"""Options and arguments with the same meaning on every command, and the parsers of values."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from clarinet_cli.cli.completion import (
    complete_columns,
    complete_emails,
    complete_roles,
    complete_sort,
    complete_states,
)
from clarinet_cli.cli.writer import ColorMode
from clarinet_cli.exceptions import INVALID
from clarinet_cli.types import SETTLE_SECONDS, OutputFormat, SessionFilter, StateName, StatsFormat

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?", re.IGNORECASE | re.ASCII)
BASIC_DATE = re.compile(r"\d{8}", re.ASCII)
MAX_INTEGER = 2**63 - 1  # of an integer in the database
MAX_SECONDS = 366 * 86400
MAX_AGE_SECONDS = 36500 * 86400
MIN_INTERVAL_SECONDS = 0.1
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Seconds(float):
    """A default of an option, which help shows as a duration is typed: ``60s``."""

    def __str__(self) -> str:
        """Return the seconds with their unit."""
        return f"{self:g}s"


LOCK_TIMEOUT = Seconds(60)
SETTLE_TIME = Seconds(SETTLE_SECONDS)


def parse_duration(text: str | float) -> float:
    """Return the seconds of ``90s``, ``15m``, ``12h`` or ``30d``; a bare number is seconds.

    Raises:
        BadParameter: It is not a duration, or longer than a year.
    """
    if isinstance(text, float):  # the default of an option
        return text
    match = DURATION.fullmatch(text.strip())
    if match is None:
        message = f"{text!r} is not a duration; write 90s, 15m, 12h or 30d"
        raise typer.BadParameter(message)
    seconds = _seconds(match)
    if seconds > MAX_SECONDS:
        message = f"{text!r} is longer than a year"
        raise typer.BadParameter(message)
    return seconds


def parse_interval(text: str | float) -> float:
    """Return the seconds of a duration that is long enough to see what is shown.

    Raises:
        BadParameter: It is not a duration, or too short.
    """
    seconds = parse_duration(text)
    if seconds < MIN_INTERVAL_SECONDS:
        message = f"{text!r} is too short; the least is {MIN_INTERVAL_SECONDS:g}s"
        raise typer.BadParameter(message)
    return seconds


def parse_age(text: str | float) -> float:
    """Return the seconds of a duration, or since a timestamp.

    Eight digits are a date, as in ``20261122``, and not a number of seconds.

    Raises:
        BadParameter: It is neither a duration nor a timestamp, or longer than 100 years.
    """
    if isinstance(text, float):
        return text
    match = DURATION.fullmatch(text.strip())
    if match is None or BASIC_DATE.fullmatch(text.strip()):
        return _seconds_since(text)
    seconds = _seconds(match)
    if seconds > MAX_AGE_SECONDS:
        message = f"{text!r} is longer than 100 years"
        raise typer.BadParameter(message)
    return seconds


def _seconds(match: re.Match[str]) -> float:
    return float(match[1]) * SECONDS[(match[2] or "s").lower()]


def _seconds_since(text: str) -> float:
    """Return the seconds since a timestamp such as ``2026-11-22`` or ``2026-11-22T18:00Z``."""
    try:
        timestamp = datetime.fromisoformat(text.strip() if text.isascii() else "")
    except ValueError:
        message = f"{text!r} is neither a duration such as 7d nor a timestamp such as 2026-11-22"
        raise typer.BadParameter(message) from None
    aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    return max((datetime.now(UTC) - aware).total_seconds(), 0.0)


def parse_color(text: str) -> ColorMode:
    """Return the mode of ``--color``.

    Raises:
        InvalidInputError: There is no such mode.
    """
    if text not in list(ColorMode):
        raise INVALID.with_context(f"--color: {str(text)!r} is not one of {', '.join(ColorMode)}")
    return ColorMode(text)


def parse_network(text: str) -> str:
    """Return an address or a network in CIDR notation.

    Raises:
        BadParameter: It is neither.
    """
    from clarinet_cli import networks

    try:
        return networks.parse_network(text)
    except ValueError:
        message = (
            f"{text!r} is neither an address nor a network; write 203.0.113.7 or 203.0.113.0/24"
        )
        raise typer.BadParameter(message) from None


def require_text(text: str) -> str:
    """Return a text to search for.

    Raises:
        BadParameter: It is empty, as from an unset variable: it would match everything.
    """
    if not text:
        message = "the text is empty"
        raise typer.BadParameter(message)
    return text


def split_states(values: Optional[list[str]]) -> list[StateName]:
    """Return the states of an option that is repeatable and takes several, separated by commas.

    Raises:
        BadParameter: One of them is no state.
    """
    names = [name.strip() for value in values or () for name in value.split(",")]
    for name in names:
        if name not in list(StateName):
            message = f"{name!r} is not one of {', '.join(StateName)}"
            raise typer.BadParameter(message)
    return [StateName(name) for name in dict.fromkeys(names)]


def require_known(
    option: str, names: Iterable[str], known: Sequence[str], noun: str = "column"
) -> None:
    """Require that an option names only what there is.

    Args:
        option: The option, for the message.
        names: What it names.
        known: What there is.
        noun: What the names are.

    Raises:
        InvalidInputError: A name is unknown; the hint has the known ones.
    """
    for name in names:
        if name not in known:
            from clarinet_cli.spelling import find_misspellings

            meant = " or ".join(map(repr, find_misspellings(name, known)))
            question = f"; did you mean {meant}?" if meant else ""
            raise INVALID.with_context(
                f"{option}: no {noun} {name!r}{question}", hint=f"{noun}s: {', '.join(known)}"
            )


def columns_option(row: str) -> Any:
    """Return the option that selects fields of rows; *row* is their class in the results."""
    return typer.Option(
        "--columns",
        metavar="A,B,...",
        help="Only these fields, in this order, in every format; named as in -o json.",
        autocompletion=complete_columns(row),
    )


def sort_option(row: str) -> Any:
    """Return the option that orders rows by a field; *row* is their class in the results."""
    return typer.Option(
        "--sort",
        metavar="KEY[:asc|desc]",
        help="Order by this field, named as in -o json.",
        autocompletion=complete_sort(row),
    )


def _output(formats: type[StrEnum]) -> Any:
    """Return the option that chooses one of some formats, named in its help."""
    *names, last = formats
    return typer.Option(
        "--output",
        "-o",
        envvar="CLARINET_OUTPUT",
        show_envvar=True,
        metavar="FORMAT",  # all of them in this column would leave 80 columns no room
        help=f"The format of standard output: {' or '.join([', '.join(names), last])}.",
        case_sensitive=False,
    )


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing on success, one line on failure.")
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Log more; twice for debugging.", show_default=False
    ),
]
Color = Annotated[
    ColorMode, typer.Option(metavar="WHEN", help="Colour the output: auto, always or never.")
]
NoInput = Annotated[bool, typer.Option("--no-input", help="Never prompt.")]
Output = Annotated[Optional[OutputFormat], _output(OutputFormat)]
StatsOutput = Annotated[Optional[StatsFormat], _output(StatsFormat)]
Watch = Annotated[
    Optional[float],
    typer.Option(
        "--watch",
        parser=parse_interval,
        metavar="[TIME]",
        help="Show it again after each interval, 2s by default, until Ctrl-C or q; in a pipe as "
        "JSON lines.",
    ),
]
Limit = Annotated[
    Optional[int],
    typer.Option("--limit", metavar="N", min=1, max=MAX_INTEGER, help="At most this many rows."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; report what would be done.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't prompt for confirmation.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 6 for warnings too.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        parser=parse_duration,
        metavar="TIME",
        help="How long to wait for each lock.",
    ),
]
SettleTime = Annotated[
    float,
    typer.Option(
        "--settle",
        parser=parse_duration,
        metavar="TIME",
        envvar="CLARINET_SETTLE",
        show_envvar=True,
        help="Wait this long for log-ins in progress, then revoke their sessions too. "
        "0: don't wait.",
    ),
]
SchemaAnyway = Annotated[
    bool,
    typer.Option(
        "--schema-anyway",
        help="Create the tables even if another program manages the schema.",
    ),
]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input."),
]
PasswordFile = Annotated[
    Optional[Path],
    typer.Option(
        "--password-file", metavar="PATH", help="Read the password from a file.", dir_okay=False
    ),
]
GeneratePassword = Annotated[
    bool,
    typer.Option("--generate-password", help="Generate a random password; print it once."),
]
USER_HELP = "An e-mail address, a UUID, or the first 8 or more digits of a UUID."
UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help=USER_HELP, autocompletion=complete_emails)
]
RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="The name of a role.", autocompletion=complete_roles)
]
OnlyOfUser = Annotated[
    Optional[str],
    typer.Option(
        "--user",
        metavar="USER",
        help="Only sessions of this user.",
        autocompletion=complete_emails,
    ),
]
States = Annotated[
    Optional[list[str]],
    typer.Option(
        "--state",
        metavar="STATE",
        help=f"Only sessions in one of these states: {', '.join(StateName)}; repeatable, or "
        "separated by commas.",
        callback=split_states,
        autocompletion=complete_states,
    ),
]
FromNetwork = Annotated[
    Optional[str],
    typer.Option(
        "--ip",
        metavar="ADDRESS",
        parser=parse_network,
        help="Only sessions from this IP address, or from a network such as 203.0.113.0/24.",
    ),
]
WithAgent = Annotated[
    Optional[str],
    typer.Option(
        "--agent",
        metavar="TEXT",
        parser=require_text,
        help="Only sessions whose user agent contains this text.",
    ),
]
OlderThan = Annotated[
    Optional[float],
    typer.Option(
        "--older-than",
        parser=parse_age,
        metavar="TIME",
        help="Only sessions created longer ago: 7d, or before 2026-11-22.",
    ),
]
IdleFor = Annotated[
    Optional[float],
    typer.Option(
        "--idle-for",
        parser=parse_age,
        metavar="TIME",
        help="Only sessions unused for this long.",
    ),
]
SESSION_HELP = (
    "The first 8 characters of the session's token, as in listings and in the server's log."
)
SessionArgument = Annotated[str, typer.Argument(metavar="ID", help=SESSION_HELP)]
SessionArguments = Annotated[Optional[list[str]], typer.Argument(metavar="ID", help=SESSION_HELP)]


def session_filter(
    states: Optional[list[str]],
    ip: Optional[str],
    agent: Optional[str],
    older_than: Optional[float],
    idle_for: Optional[float],
    limit: Optional[int] = None,
) -> SessionFilter:
    """Return the filter of the options above; times are in seconds."""
    return SessionFilter(
        states=tuple(map(StateName, states or ())),
        ip=ip,
        agent=agent,
        older_than=None if older_than is None else timedelta(seconds=older_than),
        idle_for=None if idle_for is None else timedelta(seconds=idle_for),
        limit=limit,
    )
