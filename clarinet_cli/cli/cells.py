"""Format the values of fields for tables, records and charts.

Unlike the names and values of fields in data formats, these may change between versions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Optional
from uuid import UUID

from clarinet_cli.cli.formats import Fields
from clarinet_cli.cli.text import printable
from clarinet_cli.textfmt import format_size, pluralize
from clarinet_cli.timefmt import iso_text, machine_now

SHORT_ID = 8
TIME_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
TITLES = {
    "last_accessed": "last used",
    "last_login": "logged in",
    "ip_address": "address",
    "user_agent": "agent",
}
# Fields whose keys are names in the database or in the settings, which stay as they are.
WITH_NAMES = ("tables", "rows", "replaced", "protected_by", "cascaded", "uncertain")
BOLD, RESET = "\x1b[1m", "\x1b[0m"
GREEN, YELLOW, RED, MAGENTA, DIM = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[35m", "\x1b[2m"
STYLES: dict[str, dict[object, str]] = {
    "state": {
        "active": GREEN,
        "idle": YELLOW,
        "expired": DIM,
        "blocked": RED,
        "invalid": MAGENTA,
    },
    "status": {"ok": GREEN, "warning": YELLOW, "error": RED},
    "is_active": {False: RED},
    "is_superuser": {True: BOLD},
}
MAX_LENGTH = 24  # characters of an agent that is not recognised
MAX_PARSED_LENGTH = 512  # as the server stores; the patterns take longer for longer text
FAMILIES = {
    "Mac OS X": "macOS",
    "Chrome Mobile": "Chrome",
    "Firefox Mobile": "Firefox",
    "Mobile Safari": "Safari",
    "Edge Mobile": "Edge",
}


def column_title(name: str) -> str:
    """Return a field's name as words, short enough for the header of a column."""
    if name in TITLES:
        return TITLES[name]
    field, _, key = name.partition(".")
    if key and field in WITH_NAMES:
        return f"{column_title(field)} {printable(key)}"
    for suffix in ("_seconds", "_bytes", "_at"):
        name = name.removesuffix(suffix)
    return name.removeprefix("is_").replace("_", " ").replace(".", " ")


def relative_time(then: datetime, now: datetime) -> str:
    """Return a timestamp relative to another, such as ``3 h ago`` or ``in 2 d``."""
    seconds = (then - now).total_seconds()
    text = format_duration(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def format_duration(seconds: float) -> str:
    """Return a time span, which may be negative, in its largest whole unit."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    for unit, length in TIME_UNITS:
        if seconds >= length or unit == "s":
            return f"{seconds / length:.0f} {unit}"
    return "0 s"


def is_numeric(values: Sequence[object]) -> bool:
    """Return whether a column has only numbers, which are aligned to the right."""
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in present
    )


def format_cell(name: str, value: Any, *, compact: bool) -> str:
    """Return the value of a field for display, untrusted text escaped."""
    match value:
        case None | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return relative_time(value, machine_now()) if compact else iso_text(value)
        case UUID():
            return str(value)[:SHORT_ID] if compact else str(value)
        case tuple() | list():
            return ", ".join(printable(str(item)) for item in value)
        case int() if name.endswith("_bytes"):
            return format_size(value)
        case int() | float() if name.endswith("_seconds") and abs(value) >= TIME_UNITS[2][1]:
            return str(format_duration(timedelta(seconds=value).total_seconds()))
        case str() if name == "result":
            return printable(value.replace("_", " "))
        case str() if compact and name == "user_agent":
            return describe_agent(value)
        case _:
            return printable(str(value))


def cell_style(name: str, value: object) -> str:
    """Return the escape sequence before a value; empty for plain text."""
    known = STYLES.get(name)
    return known.get(value, "") if known and isinstance(value, (str, bool)) else ""


@lru_cache(4096)
def describe_agent(agent: str) -> str:
    """Return program, major version and system of a user agent; else its beginning.

    Args:
        agent: The text of the header ``User-Agent``, untrusted.
    """
    found = _parser()(agent[:MAX_PARSED_LENGTH])
    program, system = found.user_agent, found.os
    if program is not None:
        name = FAMILIES.get(program.family, program.family)
        words = f"{name} {program.major}" if program.major else name
        return printable(
            f"{words}, {FAMILIES.get(system.family, system.family)}" if system else words
        )
    text = printable(agent)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


@cache
def _parser() -> Any:
    """Return the parser; compiling each pattern when it is first needed saves most of the time."""
    from ua_parser import Domain, Parser
    from ua_parser.basic import Resolver
    from ua_parser.loaders import load_lazy_builtins

    parser = Parser(Resolver(load_lazy_builtins()))
    return lambda agent: parser(agent, Domain.USER_AGENT | Domain.OS)


PLANNED = "would_"
DONE_BY_A_CLEANUP = ("deleted", "remaining", "batches", "complete")  # nothing in a dry run
OF_THE_ACCOUNT = {
    "is_active": "account active",
    "is_superuser": "account superuser",
    "is_verified": "account verified",
    "roles": "account roles",
    "sessions": "account sessions",
}


def table_record(
    result: Any, values: Fields, outcome: Optional[Mapping[str, str]] = None
) -> tuple[Fields, Mapping[str, str]]:
    """Return the fields of a table for one result, and the titles of some of them.

    Args:
        result: The result.
        values: Its fields.
        outcome: What has changed, such as ``{"active": "no"}``; shown after the result.
    """
    from clarinet_cli.results import SessionDetail

    titles = OF_THE_ACCOUNT if isinstance(result, SessionDetail) else {}
    planned = str(values.get("result", "")).startswith(PLANNED)
    shown: Fields = {}
    for name, value in values.items():
        if values.get("dry_run") and name in DONE_BY_A_CLEANUP:
            continue
        if name == "sessions_revoked" and planned:
            shown["would revoke"] = pluralize(value, "session")
            continue
        shown[name] = value
        if name == "result":
            shown |= {
                key: f"would be {value}" if planned else value
                for key, value in (outcome or {}).items()
                if not values.get(key)
            }
    return shown, titles
