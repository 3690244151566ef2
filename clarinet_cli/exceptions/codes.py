"""The exit codes, and the words that document them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller.

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
        """One line for people: when a command ends with this code."""
        return _MEANINGS[self]


_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or nothing to do",
    ExitCode.FAILURE: "failed; the traceback only with -vv or in the log file",
    ExitCode.USAGE: "usage: unknown option, invalid or missing value",
    ExitCode.NOT_FOUND: "the named user, role, session, revision or file does not exist",
    ExitCode.CONFLICT: "conflict: exists already, or other rows depend on it",
    ExitCode.REFUSED: "refused: not confirmed, ambiguous, last superuser, protected target",
    ExitCode.CHECK_FAILED: "the check said no: pending, drift, findings, incomplete",
    ExitCode.UNREACHABLE: "the database can't be reached, refuses the log-in, or is too slow",
    ExitCode.BUSY: "busy, try again: locked, or another clean-up or migration is running",
    ExitCode.CONFIGURATION: "the configuration is invalid",
    ExitCode.HUNG_UP: "stopped by SIGHUP; what was under way finished or rolled back",
    ExitCode.INTERRUPTED: "stopped by SIGINT; what was under way finished or rolled back",
    ExitCode.QUIT: "stopped by SIGQUIT; what was under way finished or rolled back",
    ExitCode.TERMINATED: "stopped by SIGTERM; what was under way finished or rolled back",
}
