"""Tracebacks for the log: where an error came from, without the values it quotes."""

from collections.abc import Iterator
from traceback import format_tb
from typing import Optional

from clarinet_cli.exceptions import ClarinetError

# What they say is made of names, numbers and paths. All others may quote a row, as the
# drivers, their wrappers and the converters of values do: those have a name and a place only.
_WITHOUT_VALUES = (
    ClarinetError,
    OSError,
    ImportError,
    NameError,
    AttributeError,
    MemoryError,
    RecursionError,
    TimeoutError,
)
_PACKAGES = ("builtins", "socket", "ssl", "clarinet_cli")
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback of an error and of those before it.

    Args:
        error: The error.
    """
    lines: list[str] = []
    for one, before in reversed(list(_chain(error))):
        lines += ["Traceback (most recent call last):", *_lines(one)]
        lines += [before] if before else []
    return "\n".join(lines)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, Optional[str]]]:
    """Yield an error and its causes, each with the line that leads to the one before."""
    current: Optional[BaseException] = error
    seen: set[int] = set()
    line: Optional[str] = None
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current, line
        if current.__cause__ is not None:
            current, line = current.__cause__, _CAUSE
        else:
            current, line = None if current.__suppress_context__ else current.__context__, _CONTEXT


def _lines(error: BaseException) -> list[str]:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    text = f": {error}" if _has_no_values(error) else ""
    return ["".join(format_tb(error.__traceback__)).rstrip(), f"{kind}{text}"]


def _has_no_values(error: BaseException) -> bool:
    """Return whether the text may be shown; a driver's class may derive from one of these."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, _WITHOUT_VALUES) and package in _PACKAGES
