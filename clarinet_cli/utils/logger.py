"""Logging: ``from clarinet_cli.utils.logger import logger``. No other module imports loguru.

This logger has sinks of its own: ``loguru.logger``, which belongs to the program that imports
this package, keeps its configuration. Until logging is configured, records are passed on to it.
Then they go to standard error and, if configured, to a rotating file. Tracebacks never contain
values of variables (``diagnose=False``), which may be secrets.
"""

import atexit
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from loguru import logger as host_logger

# Wrapped in another sink that handles its errors, which loguru prints with a traceback.
from loguru._file_sink import FileSink

# Loguru has no public constructor.
from loguru._logger import Core, Logger

from clarinet_cli.exceptions import traceback_without_values
from clarinet_cli.filesystem.ownership import make_directory
from clarinet_cli.utils.log_file import LogFile, open_log_file, warn_about_log_file

if TYPE_CHECKING:
    from loguru import Logger as LoggerType
    from loguru import Message, Record

    from clarinet_cli.settings import Settings

__all__ = [
    "AUDIT",
    "LOG_FILE",
    "command_name",
    "configure_file_log",
    "configure_logging",
    "host_logging",
    "logger",
    "logging_is_configured",
    "stderr_verbosity",
    "use_command",
]

LOG_FILE = "clarinet-cli.log"
AUDIT = "audit"  # the extra field of records about changes

_command: ContextVar[str] = ContextVar("command", default="")
LEVELS = {-1: "CRITICAL", 0: "WARNING", 1: "INFO", 2: "DEBUG"}
VERY_VERBOSE = 2
# Libraries define levels and names that loguru does not know.
STANDARD_LEVELS = {
    level: logging.getLevelName(level)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
}


# Warnings of libraries, and the reports of asyncio and of connection pools about connections that
# the server closed (unhandled exceptions of tasks, unclosed transports, connections that cannot be
# terminated), which the command reports itself.
NOISY = ("py.warnings", "asyncio", "sqlalchemy.pool")
_sinks: dict[str, int] = {}
_verbosity = ContextVar("verbosity", default=0)
HOST_DEPTH = 5  # frames between the call of a logger and its sink

_untyped: Any = Logger, Core
logger: "LoggerType" = _untyped[0](
    core=_untyped[1](),
    exception=None,
    depth=0,
    record=False,
    lazy=False,
    colors=False,
    raw=False,
    capture=True,
    patchers=[],
    extra={},
)
atexit.register(logger.remove)


def use_command(words: str) -> None:
    """Set the name of the command for records of changes.

    Args:
        words: The command, such as ``admin promote``, without arguments.
    """
    _command.set(words)


def command_name() -> str:
    """Return the name of the running command; empty if none was set."""
    return _command.get()


def configure_logging(verbosity: int = 0, rewrite: Callable[[str], str] = str) -> None:
    """Send log records, including those of standard logging, to standard error.

    Args:
        verbosity: -1 critical errors only, 0 warnings, 1 information, 2 debugging. Errors that
            the command line reports itself (bound with ``reported=True``) are logged from 2 on
            only, so that they are not shown twice.
        rewrite: Applied to each message.
    """
    _log_to_stderr(verbosity, rewrite)
    logging.captureWarnings(capture=True)
    logging.basicConfig(
        handlers=[_ToLoguru()], level=LEVELS[max(min(verbosity, VERY_VERBOSE), 0)], force=True
    )
    # At DEBUG this driver logs each statement with its values, including hashes and tokens.
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    logging.getLogger("sqlalchemy").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


@contextmanager
def host_logging(verbosity: int, rewrite: Callable[[str], str]) -> Iterator[None]:
    """Log to standard error in the block, without changing the logging of the host program.

    Args:
        verbosity: See ``configure_logging``.
        rewrite: Applied to each message.
    """
    _log_to_stderr(verbosity, rewrite)
    try:
        yield
    finally:
        _log_to_host()


def _log_to_stderr(verbosity: int, rewrite: Callable[[str], str] = str) -> None:
    """Replace all sinks by standard error."""
    _sinks.clear()
    logger.remove()
    verbose = min(verbosity, VERY_VERBOSE)
    _verbosity.set(max(verbose, 0))

    def patch(record: "Record") -> None:
        _hide_values(record)
        record["message"] = rewrite(record["message"])

    logger.configure(patcher=patch)

    def wanted(record: "Record") -> bool:
        return verbose >= VERY_VERBOSE or not record["extra"].get("reported")

    def line_format(record: "Record") -> str:
        if verbose > 0:
            return "{time:YYYY-MM-DDTHH:mm:ss.SSS!UTC}Z {level} {name}: {message}\n{exception}"
        return f"{record['level'].name.lower()}: {{message}}\n"

    _sinks["stderr"] = logger.add(
        sys.stderr,
        level=LEVELS[max(verbose, -1)],
        format=line_format,
        filter=wanted,
        colorize=False,
        backtrace=False,
        diagnose=False,
    )


def stderr_verbosity() -> int:
    """Return how much is logged to standard error: 0, 1 or 2 by the number of ``-v``."""
    return _verbosity.get()


def _log_to_host() -> None:
    """Replace all sinks by the logger of the host program, which decides what is shown."""
    _verbosity.set(0)
    _sinks.clear()
    logger.remove()
    logger.configure(patcher=_hide_values)

    def pass_on(message: "Message") -> None:
        record = message.record
        host_logger.opt(depth=HOST_DEPTH).log(record["level"].name, "{}", record["message"])

    logger.add(pass_on, level=0, format="{message}", backtrace=False, diagnose=False)


def logging_is_configured() -> bool:
    """Return whether ``configure_logging`` has been called."""
    return bool(_sinks)


def configure_file_log(
    settings: "Settings", *, like: Optional[Path] = None, standard_logging: bool = True
) -> Optional[Path]:
    """Add the rotating log file if the settings enable it.

    Args:
        settings: ``log_to_file``, ``log_directory``, ``file_log_level``, ``log_rotation``,
            ``log_retention`` and ``log_serialize`` are read.
        like: The database whose owner, group and mode new files get.
        standard_logging: The file gets the records of standard logging too.

    Returns:
        The file, or None if file logging is disabled or the file cannot be written. The latter
        is only a warning, since a command must work while the disk is full.

    Raises:
        ConfigurationError: The rotation or retention is invalid.
    """
    if not settings.log_to_file:
        return None
    path = settings.log_directory / LOG_FILE
    if "\0" in str(path):
        raise settings.error_for("log_dir", "not a valid directory name")
    try:
        sink = _log_file(path, settings, like)
    except OSError as error:
        warn_about_log_file(path, error)
        return None
    except (ValueError, OverflowError) as error:
        key = "log_retention" if "retention" in str(error) else "log_rotation"
        raise settings.error_for(key, "not valid, see loguru's documentation") from None
    logger.add(
        sink,
        level=settings.file_log_level,
        serialize=settings.log_serialize,
        colorize=False,
        backtrace=False,
        diagnose=False,
    )
    if standard_logging:
        lowest = min(logger.level(settings.file_log_level).no, logging.getLogger().level)
        logging.getLogger().setLevel(lowest)
    return path


def _log_file(path: Path, settings: "Settings", like: Optional[Path]) -> LogFile:
    """Open the log file; invalid options are detected before its directory is created."""
    opened = partial(
        _file_sink,
        str(path).replace("{", "{{").replace("}", "}}"),  # loguru fills in {time}
        opener=lambda name, flags: open_log_file(Path(name), flags, like=like),
        encoding="utf-8",
        errors="backslashreplace",  # which is how JSON escapes a lone surrogate
    )
    rotation = {"rotation": settings.log_rotation, "retention": settings.log_retention}
    opened(delay=True, **rotation)
    make_directory(path.parent, like=like)
    return LogFile(path, rotating=partial(opened, **rotation), plain=partial(opened, delay=True))


def _file_sink(path: str, **options: object) -> Any:
    """Return loguru's file sink, which is not typed."""
    return FileSink(path, **options)  # type: ignore[no-untyped-call]  # it has none


def _hide_values(record: "Record") -> None:
    """Replace the exception of a record by a traceback without values in its message."""
    error = record["exception"]
    if error is not None and error.value is not None:
        record["message"] += f"\n{traceback_without_values(error.value)}"
        record["exception"] = None


class _ToLoguru(logging.Handler):
    """Forwards the records of standard logging to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Any = STANDARD_LEVELS.get(record.levelno, record.levelno)
        if record.name.startswith(NOISY):
            level = "DEBUG"
        text = record.getMessage().strip()
        if (
            record.name == "asyncio"
        ):  # the following lines show objects with the texts of their errors
            text = text.partition("\n")[0]
        logger.opt(depth=6, exception=record.exc_info).log(level, text)


# Libraries are disabled unless the program enables them, as loguru's documentation recommends.
host_logger.disable("clarinet_cli")
_log_to_host()
