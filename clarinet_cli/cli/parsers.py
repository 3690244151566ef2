"""Parsers of the values of options and arguments."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Optional

import typer

from clarinet_cli.cli.writer import ColorMode
from clarinet_cli.exceptions import INVALID
from clarinet_cli.types import StateName

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?", re.IGNORECASE | re.ASCII)
BASIC_DATE = re.compile(r"\d{8}", re.ASCII)
MAX_SECONDS = 366 * 86400
MAX_AGE_SECONDS = 36500 * 86400
MIN_INTERVAL_SECONDS = 0.1
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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


def parse_refresh_interval(text: str | float) -> float:
    """Return the seconds of a duration that is long enough to see what is shown.

    Raises:
        BadParameter: It is not a duration, or too short.
    """
    seconds = parse_duration(text)
    if seconds < MIN_INTERVAL_SECONDS:
        message = f"{text!r} is too short; the minimum is {MIN_INTERVAL_SECONDS:g}s"
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
        try:
            timestamp = datetime.fromisoformat(text.strip() if text.isascii() else "")
        except ValueError:
            message = (
                f"{text!r} is neither a duration such as 7d nor a timestamp such as 2026-11-22"
            )
            raise typer.BadParameter(message) from None
        aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        return max((datetime.now(UTC) - aware).total_seconds(), 0.0)
    seconds = _seconds(match)
    if seconds > MAX_AGE_SECONDS:
        message = f"{text!r} is longer than 100 years"
        raise typer.BadParameter(message)
    return seconds


def _seconds(match: re.Match[str]) -> float:
    return float(match[1]) * SECONDS[(match[2] or "s").lower()]


def parse_color(text: str) -> ColorMode:
    """Return the mode of ``--color``.

    Raises:
        InvalidInputError: The mode does not exist.
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
        BadParameter: One of them is not a state.
    """
    names = [name.strip() for value in values or () for name in value.split(",")]
    for name in names:
        if name not in list(StateName):
            message = f"{name!r} is not one of {', '.join(StateName)}"
            raise typer.BadParameter(message)
    return [StateName(name) for name in dict.fromkeys(names)]


def require_known(
    option: str,
    names: Iterable[str],
    known: Sequence[str],
    noun: str = "column",
    titles: Optional[Mapping[str, str]] = None,
) -> None:
    """Refuse unknown names in the value of an option.

    Args:
        option: The option, for the message.
        names: The names given.
        known: The valid names.
        noun: The kind of name, for the message.
        titles: The titles of valid names in tables; an unknown name that is one suggests its name.

    Raises:
        InvalidInputError: A name is unknown; the hint has the known ones.
    """
    for name in names:
        if name not in known:
            from clarinet_cli.spelling import find_misspellings

            titled = [other for other, title in (titles or {}).items() if title == name]
            meant = " or ".join(map(repr, titled or find_misspellings(name, known)))
            question = f"; did you mean {meant}?" if meant else ""
            raise INVALID.with_context(
                f"{option}: no {noun} {name!r}{question}", hint=f"{noun}s: {', '.join(known)}"
            )
