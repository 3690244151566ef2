"""The errors that are reported to operators, and their exit codes.

The constants are templates. ``raise NOT_FOUND.with_context("no user …")`` creates a new exception
each time; the constant itself is never raised or changed.
"""

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from traceback import format_tb
from typing import ClassVar, Optional, Self


class ExitCode(IntEnum):
    """The exit codes of the process.

    75 and 78 are ``EX_TEMPFAIL`` and ``EX_CONFIG`` of ``sysexits.h``; 129 and more are
    128 plus the number of the signal, as shells report it.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    REFUSED = 5
    CHECK_FAILED = 6
    UNREACHABLE = 7
    BUSY = 75
    CONFIGURATION = 78
    HUNG_UP = 129
    INTERRUPTED = 130
    QUIT = 131
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """When a command ends with this code, in one line."""
        return _MEANINGS[self]


_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or nothing to do",
    ExitCode.FAILURE: "failed; the traceback only with -vv or in the log file",
    ExitCode.USAGE: "usage: unknown option, invalid or missing value",
    ExitCode.NOT_FOUND: "the named user, role, session, revision or file does not exist",
    ExitCode.CONFLICT: "conflict: already exists, or other rows depend on it",
    ExitCode.REFUSED: "refused: not confirmed, ambiguous, last superuser, protected target",
    ExitCode.CHECK_FAILED: "the check failed: pending, drift, findings, incomplete",
    ExitCode.UNREACHABLE: "the database cannot be reached, refuses the log-in, or does not answer",
    ExitCode.BUSY: "busy, try again: locked, or another clean-up or migration is running",
    ExitCode.CONFIGURATION: "the configuration is invalid",
    ExitCode.HUNG_UP: "stopped by SIGHUP; the current step was finished or rolled back",
    ExitCode.INTERRUPTED: "stopped by SIGINT; the current step was finished or rolled back",
    ExitCode.QUIT: "stopped by SIGQUIT; the current step was finished or rolled back",
    ExitCode.TERMINATED: "stopped by SIGTERM; the current step was finished or rolled back",
}


__all__ = [
    "BUSY",
    "CHECK_FAILED",
    "CLOCKS_DIFFER",
    "CONFIGURATION",
    "CONFLICT",
    "FAILURE",
    "INVALID",
    "JOB_RUNNING",
    "LOGIN_REFUSED",
    "NOT_FOUND",
    "NO_SPACE",
    "PREVENTED",
    "REFUSED",
    "STANDBY",
    "UNKNOWN_DATABASE",
    "UNREACHABLE",
    "BusyError",
    "CheckFailedError",
    "ClarinetError",
    "ClocksDifferError",
    "ConfigurationError",
    "ConflictError",
    "ExitCode",
    "InvalidInputError",
    "JobRunningError",
    "LoginRefusedError",
    "NoSpaceError",
    "NotFoundError",
    "PreventedError",
    "RefusedError",
    "StandbyError",
    "UnknownDatabaseError",
    "UnreachableError",
    "traceback_without_values",
]


# A message may quote a hash, such as a cell of a file whose columns are mixed up.
_HASH = re.compile(r"\$(?:argon2\w*|2[abxy]?|scrypt|pbkdf2[\w-]*)\$[^\s'\"]{16,}")


_CONSTRAINT = re.compile(r"\(constraint (.+)\)$")


class ClarinetError(Exception):
    """An error that is reported to the operator; password hashes are removed from its message.

    Args:
        message: What failed and why, in one line without secrets and SQL.
        hint: The command or setting that resolves it, if there is one.
        outcome_unknown: Whether the outcome of the commit is unknown.

    Attributes:
        further: Messages of further errors that are reported with this one, a line each.
    """

    further: Sequence[str] = ()
    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE

    def __init__(
        self, message: str, *, hint: Optional[str] = None, outcome_unknown: bool = False
    ) -> None:
        message = _HASH.sub("(a hash)", message)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.outcome_unknown = outcome_unknown

    def with_context(
        self, message: str, *, hint: Optional[str] = None, outcome_unknown: bool = False
    ) -> Self:
        """Return a new exception of this class.

        Args:
            message: What failed and why, in one line.
            hint: How to resolve it; by default the hint of this exception.
            outcome_unknown: Whether the outcome of the commit is unknown.
        """
        hint = self.hint if hint is None else hint
        return type(self)(message, hint=hint, outcome_unknown=outcome_unknown)


class InvalidInputError(ClarinetError):
    """A value on the command line is missing or invalid."""

    exit_code = ExitCode.USAGE


class NotFoundError(ClarinetError):
    """The named user, role, session, revision or file does not exist."""

    exit_code = ExitCode.NOT_FOUND


class ConflictError(ClarinetError):
    """The object already exists, or other rows depend on it."""

    exit_code = ExitCode.CONFLICT

    @property
    def constraint(self) -> Optional[str]:
        """The name of the violated constraint, if the message has one."""
        found = _CONSTRAINT.search(self.message)
        return found and found[1]


class RefusedError(ClarinetError):
    """The operation was not confirmed, is ambiguous, or its target is protected."""

    exit_code = ExitCode.REFUSED


class ClocksDifferError(ClarinetError):
    """The clocks of the database and of this machine differ too much to delete sessions."""


class NoSpaceError(ClarinetError):
    """The database's disk is full."""


class PreventedError(ClarinetError):
    """A trigger or rule of the database prevented a change."""


class CheckFailedError(ClarinetError):
    """A check ran and failed."""

    exit_code = ExitCode.CHECK_FAILED


class UnreachableError(ClarinetError):
    """The database cannot be reached, refuses the log-in, or did not answer in time."""

    exit_code = ExitCode.UNREACHABLE


class LoginRefusedError(UnreachableError):
    """The server refuses the log-in; retrying does not help."""


class UnknownDatabaseError(LoginRefusedError):
    """The server is reachable, but the database does not exist."""


class StandbyError(UnreachableError):
    """The server is a standby, which accepts no writes; it may become the primary."""


class BusyError(ClarinetError):
    """The database or the job is locked by another process; retrying later helps."""

    exit_code = ExitCode.BUSY


class JobRunningError(BusyError):
    """Another process runs the same job on this database."""


class ConfigurationError(ClarinetError):
    """A settings file or an environment variable is invalid."""

    exit_code = ExitCode.CONFIGURATION


FAILURE = ClarinetError("the operation failed")
INVALID = InvalidInputError("the value cannot be used")
NOT_FOUND = NotFoundError("not found")
CONFLICT = ConflictError("already exists")
NO_SPACE = NoSpaceError("the disk is full")
PREVENTED = PreventedError(
    "a trigger or rule of the database prevented the change", hint="nothing was changed"
)
REFUSED = RefusedError("refused")
CHECK_FAILED = CheckFailedError("the check failed")
UNREACHABLE = UnreachableError("the database cannot be reached")
LOGIN_REFUSED = LoginRefusedError("the database refuses the log-in")
STANDBY = StandbyError(
    "the server is a standby, which accepts no writes",
    hint="name the primary in database_url, or all servers and target_session_attrs=read-write",
)
UNKNOWN_DATABASE = UnknownDatabaseError("the database does not exist")
CLOCKS_DIFFER = ClocksDifferError(
    "the clocks differ too much",
    hint="fix the clock, or use --trust-clock to use the database's",
)
BUSY = BusyError("the database is busy", hint="try again in a moment")
JOB_RUNNING = JobRunningError("the job is already running", hint=BUSY.hint)
CONFIGURATION = ConfigurationError("the configuration is invalid")


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
