"""The context of one run: the root options, the settings, the writer and the event loop."""

import gc
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from clarinet_cli.cli.writer import Writer
from clarinet_cli.signals import SIGNALS

if TYPE_CHECKING:
    from clarinet_cli.services.session_cleanup import StopRequest
    from clarinet_cli.settings import Settings

PROGRAM = "clarinet"
ResultT = TypeVar("ResultT")


@dataclass
class Runtime:
    """The context of one run, handed to each command.

    Attributes:
        writer: Writes to standard output and standard error.
        project: The directory of the settings files; None: the current one.
        verbosity: 0, 1 or 2 by the number of ``-v``.
        no_input: Never prompt.
        audit_log: The file for a record of each change; None: that of the settings.
        command: The words of the command, such as ``admin promote``.
        program: The words before the group, or before the command of a mounted group.
    """

    writer: Writer = field(default_factory=Writer)
    project: Optional[Path] = None
    verbosity: int = 0
    no_input: bool = False
    audit_log: Optional[Path] = None
    command: str = ""
    program: str = PROGRAM

    @cached_property
    def settings(self) -> "Settings":
        """The project's settings; reading them sets up the logs and prints their warnings.

        Raises:
            ConfigurationError: A settings file or a value in it cannot be used.
            RefusedError: The command does not support the mapping of the settings.
        """
        from clarinet_cli import settings as module
        from clarinet_cli.services.settings_warnings import settings_warnings

        started = perf_counter()
        self._use_project()
        settings: Settings = module.settings
        self.configure_log_files(settings)
        if self.verbosity > 0:
            from clarinet_cli.services.configuration import list_settings_files
            from clarinet_cli.utils.logger import logger

            seconds = perf_counter() - started
            files = [file.path for file in list_settings_files(settings.project_dir) if file.exists]
            named = ", ".join(files) or f"no file in {settings.project_dir}"
            logger.info(f"read settings from {named} in {seconds * 1000:.0f} ms")
        if not self.writer.quiet and (warnings := settings_warnings(settings)):
            self.writer.note(f"warning: {'; '.join(warnings)}")
        if settings.mapping != module.DEFAULT_MAPPING:
            from clarinet_cli.services.mapped import require_known_command

            require_known_command(settings, self.command)
        if not gc.isenabled():  # since the start of the process
            gc.freeze()  # the objects of the loaded libraries stay anyway
            gc.enable()
        return settings

    def fitting_hint(self, hint: Optional[str]) -> Optional[str]:
        """Return the hint of an error, adapted to the mapping if the settings were read."""
        settings: Optional[Settings] = self.__dict__.get("settings")
        if settings is None:
            return hint
        from clarinet_cli.services.mapped import application_hint

        return application_hint(settings, hint, self.command)

    @property
    def project_directory(self) -> Path:
        """The directory of the settings files, for commands that need no usable settings.

        Raises:
            ConfigurationError: The directory cannot be reached.
        """
        from clarinet_cli import settings as module

        self._use_project()
        return module.reachable_directory(module.current_project())

    def run(self, body: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run the body of a command in an event loop; a signal cancels it.

        Args:
            body: The body.

        Raises:
            Interrupted: A signal ended it.
        """
        import asyncio

        async def interruptible() -> ResultT:
            task = asyncio.current_task()
            if task is None:
                return await body
            with SIGNALS.cancelling(task):
                return await body

        started = perf_counter()
        try:
            # With a factory the runner does not change the current event loop of the thread.
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                return runner.run(interruptible())
        except asyncio.CancelledError:
            SIGNALS.interrupt()
        finally:
            if self.verbosity > 0:
                from clarinet_cli.utils.logger import logger

                logger.info(
                    f"{self.command or 'the command'} took {perf_counter() - started:.2f} s"
                )

    @contextmanager
    def stop_on_signal(self) -> Iterator["StopRequest"]:
        """Turn a signal in the block into a request to stop after the current batch.

        The exit code is that of the signal.
        """
        import asyncio

        from clarinet_cli.services.session_cleanup import StopRequest

        stop = StopRequest()
        with SIGNALS.forwarding(stop.request, asyncio.get_running_loop()):
            yield stop

    def note_stale_cache(self) -> None:
        """Note after a change how long the server may use cached permissions and sessions."""
        seconds = self.settings.server_limit("session_cache_ttl_seconds")
        if seconds > 0:
            self.writer.note(
                "the server may use cached permissions and sessions for up to "
                f"{seconds} s (session_cache_ttl_seconds)"
            )

    def configure_logging(self) -> None:
        """Set up logging to standard error."""
        from clarinet_cli.utils.logger import configure_logging, use_command

        verbosity = -1 if self.writer.quiet else self.verbosity
        configure_logging(verbosity, self.writer.rewrite)
        use_command(self.command)

    def note_token_digests(self) -> None:
        """Note that session ids are parts of token digests, if the application stores digests."""
        if self.settings.capabilities.token_digests:
            self.writer.note(
                "a session id is the first characters of the token's digest (token_digest)"
            )

    def _use_project(self) -> None:
        """Set up logging to standard error, and the project of the settings."""
        from clarinet_cli import settings as module

        self.configure_logging()
        module.use_project(self.project)

    def configure_log_files(self, settings: "Settings", *, standard_logging: bool = True) -> None:
        """Set up the log file and the audit log, owned like the database.

        Args:
            settings: The paths of the logs.
            standard_logging: The log file gets the records of standard logging too.
        """
        from clarinet_cli.database.url import database_url, sqlite_file
        from clarinet_cli.exceptions import ClarinetError
        from clarinet_cli.services.audit_log import configure_audit_log
        from clarinet_cli.utils.logger import LOG_FILE, configure_file_log

        try:
            database = sqlite_file(database_url(settings))
        except ClarinetError:
            database = None
        if settings.log_to_file:
            named = "log_dir" if settings.log_dir else "storage_path"
            key = named if settings.log_dir or settings.storage_path else "log_to_file"
            _require_log_location(settings, key, settings.log_directory / LOG_FILE)
        configure_file_log(settings, like=database, standard_logging=standard_logging)
        if "\0" in str(settings.audit_log):
            raise settings.error_for("audit_log", "not a valid file name")
        configured = settings.audit_log and settings.project_dir / settings.audit_log
        if configured and not self.audit_log:
            _require_log_location(settings, "audit_log", configured)
        configure_audit_log(
            self.audit_log or configured or None, project=settings.project_dir, like=database
        )


def _require_log_location(settings: "Settings", key: str, path: Path) -> None:
    """Refuse the location of a log that the owner of the settings could not write to."""
    from clarinet_cli.filesystem.trust import require_log_location

    source = settings.project_dir / settings.origin(key)
    require_log_location(path, key=key, named_by=source)
