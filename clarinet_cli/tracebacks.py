"""Tracebacks without texts that may quote a row."""

from collections.abc import Iterator
from traceback import format_tb
from typing import Optional

from clarinet_cli.exceptions import ClarinetError

# Their texts consist of names, numbers and paths. Those of all other classes, such as the
# drivers', may quote a row: only class and location are logged.
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
    """Return the traceback of an error and its causes, without texts that may quote a row.

    Args:
        error: The error.
    """
    lines: list[str] = []
    for one, before in reversed(list(_cause_chain(error))):
        kind = f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.")
        # A driver's class may derive from a listed one.
        package = type(one).__module__.partition(".")[0]
        text = f": {one}" if isinstance(one, _WITHOUT_VALUES) and package in _PACKAGES else ""
        frames = "".join(format_tb(one.__traceback__)).rstrip()
        lines += ["Traceback (most recent call last):", frames, f"{kind}{text}"]
        lines += [before] if before else []
    return "\n".join(lines)


def _cause_chain(error: BaseException) -> Iterator[tuple[BaseException, Optional[str]]]:
    """Yield an error and its causes, each with the line that links it to the error before it."""
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
