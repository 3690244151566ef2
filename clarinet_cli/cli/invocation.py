"""The root options of this invocation, and the settings they lead to."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings


class ColorMode(StrEnum):
    """When to colour the output."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What stands before the command on the command line.

    Attributes:
        project: The directory of the settings files; None: the current one.
        verbosity: 0, 1 or 2 by the number of ``-v``.
        quiet: Nothing on success, one line on failure.
        color: When to colour the output.
        no_input: Never prompt.
        audit_log: The file for the record of each change; None: what the settings say.
        command: The words of the command, such as ``admin promote``.
    """

    project: Optional[Path] = None
    verbosity: int = 0
    quiet: bool = False
    color: ColorMode = ColorMode.AUTO
    no_input: bool = False
    audit_log: Optional[Path] = None
    command: str = ""


_current: ContextVar[Invocation] = ContextVar("invocation", default=Invocation())  # noqa: B039
_warned: ContextVar[bool] = ContextVar("warned", default=False)


def use(invocation: Invocation) -> None:
    """Make *invocation* the current one."""
    _current.set(invocation)


def current() -> Invocation:
    """Return the root options of the command that runs."""
    return _current.get()


def project_directory() -> Path:
    """Return the directory of the settings files, for what works without usable settings.

    Raises:
        ConfigurationError: The directory can't be reached.
    """
    from clarinet_cli import settings as module
    from clarinet_cli.utils.logger import configure_logging, use_command

    invocation = current()
    configure_logging(-1 if invocation.quiet else invocation.verbosity)
    use_command(invocation.command)
    module.use_project(invocation.project)
    return module.reachable_directory(module.current_project())


def project_settings() -> "Settings":
    """Return the project's settings, with logging set up as they and the options say.

    Raises:
        ConfigurationError: A settings file or a value in it can't be used.
    """
    from clarinet_cli import settings as module
    from clarinet_cli.services.audit_log import configure_audit_log
    from clarinet_cli.utils.logger import (
        LOG_FILE,
        configure_file_log,
        configure_logging,
        use_command,
    )

    invocation = current()
    configure_logging(-1 if invocation.quiet else invocation.verbosity)
    use_command(invocation.command)
    module.use_project(invocation.project)
    found: Settings = module.settings
    database = _database_file(found)
    if found.log_to_file:
        named = "log_dir" if found.log_dir else "storage_path" if found.storage_path else None
        _require_log_place(found, named or "log_to_file", found.log_directory / LOG_FILE)
    configure_file_log(found, like=database)
    if "\0" in str(found.audit_log):
        raise found.error_for("audit_log", "not the name of a file")
    if found.audit_log and not invocation.audit_log:
        _require_log_place(found, "audit_log", found.project_dir / found.audit_log)
    audit_log = invocation.audit_log or (found.audit_log and found.project_dir / found.audit_log)
    configure_audit_log(audit_log or None, project=found.project_dir, like=database)
    _warn_about(found)
    return found


def _warn_about(settings: "Settings") -> None:
    """Say once in one line which settings may not be what was meant."""
    from clarinet_cli.cli.output import note
    from clarinet_cli.services.settings_warnings import settings_warnings

    if _warned.get() or current().quiet:
        return
    _warned.set(True)
    if warnings := settings_warnings(settings):
        note(f"warning: {'; '.join(warnings)}")


def _database_file(settings: "Settings") -> Optional[Path]:
    """Return the SQLite file of the settings, if they name one; what is wrong is said later."""
    from clarinet_cli.database.url import database_url, sqlite_file
    from clarinet_cli.exceptions import ClarinetError

    try:
        return sqlite_file(database_url(settings))
    except ClarinetError:
        return None


def _require_log_place(settings: "Settings", key: str, path: Path) -> None:
    """Refuse a place for a log that the owner of the settings could not write to himself."""
    from clarinet_cli.filesystem.trust import require_log_place
    from clarinet_cli.settings import origin_of

    source = settings.project_dir / origin_of(key, settings.project_dir)
    require_log_place(path, key=key, named_by=source)
