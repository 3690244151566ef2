"""Options and arguments with the same meaning on every command."""

from datetime import timedelta
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
from clarinet_cli.cli.parsers import (
    parse_age,
    parse_duration,
    parse_network,
    parse_refresh_interval,
    require_text,
    split_states,
)
from clarinet_cli.cli.writer import ColorMode
from clarinet_cli.types import SETTLE_SECONDS, OutputFormat, SessionFilter, StateName, StatsFormat

MAX_INTEGER = 2**63 - 1  # of an integer in the database


class Seconds(float):
    """A default of an option, which help shows as a duration is typed: ``60s``."""

    def __str__(self) -> str:
        """Return the seconds with their unit."""
        return f"{self:g}s"


LOCK_TIMEOUT = Seconds(60)
SETTLE_TIME = Seconds(SETTLE_SECONDS)


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
        metavar="FORMAT",  # listing all of them here would overflow 80 columns
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
        parser=parse_refresh_interval,
        metavar="[TIME]",
        help="Refresh after each TIME, 2s by default, until q or Ctrl-C. In a pipe: write JSON "
        "lines.",
    ),
]
Limit = Annotated[
    Optional[int],
    typer.Option("--limit", metavar="N", min=1, max=MAX_INTEGER, help="At most this many rows."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; report what would be done.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not prompt for confirmation.")]
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
        "0: do not wait.",
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
FromNetworks = Annotated[
    Optional[list[str]],
    typer.Option(
        "--ip",
        metavar="ADDRESS",
        parser=parse_network,
        help="Only sessions from this IP address, or from a network such as 203.0.113.0/24; "
        "repeatable.",
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
        help="Only sessions older than this: 7d, or created before 2026-11-22.",
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
    ips: Optional[list[str]],
    agent: Optional[str],
    older_than: Optional[float],
    idle_for: Optional[float],
    limit: Optional[int] = None,
) -> SessionFilter:
    """Return the filter of the options above; times are in seconds."""
    return SessionFilter(
        states=tuple(map(StateName, states or ())),
        ips=tuple(ips or ()),
        agent=agent,
        older_than=None if older_than is None else timedelta(seconds=older_than),
        idle_for=None if idle_for is None else timedelta(seconds=idle_for),
        limit=limit,
    )
