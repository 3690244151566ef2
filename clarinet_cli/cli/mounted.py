"""The groups ``admin`` and ``session`` mounted in the Typer application of another program."""

import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clarinet_cli.cli import admin, session
from clarinet_cli.cli.commands import GROUPS, Group
from clarinet_cli.cli.execution import run_guarded
from clarinet_cli.cli.options import Color, NoInput, Quiet, Verbose
from clarinet_cli.cli.parsers import parse_color
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import ESCAPE_UNENCODABLE
from clarinet_cli.cli.writer import ColorMode
from clarinet_cli.exceptions import CONFIGURATION

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings
# 'clarinet admin list', 'clarinet -q session cleanup', and 'admin apply' without the program.
COMMAND = re.compile(r"(?:\bclarinet((?: -\S+)*) |(?<='))(admin|session)(?= [a-z])")
NOT_MOUNTED = re.compile(r"\bclarinet [-a-z]|'(?:admin|session|db|migrate|config) [a-z]|'-C ")
CLAUSE = "; "


@dataclass(frozen=True, slots=True)
class CommandNames:
    """The names of the groups in the command of another program.

    Attributes:
        groups: The words that run a group, such as ``myapp users`` for ``admin``.
    """

    groups: Mapping[str, str]

    def rewrite(self, text: str) -> str:
        """Return a text with the names of the mounted commands."""

        def name(match: re.Match[str]) -> str:
            group = self.groups.get(match[2])
            return match[0] if group is None else f"{group}{match[1] or ''}"

        return COMMAND.sub(name, text)

    def rewrite_hint(self, hint: str) -> str:
        """Return a hint without the clauses that advise commands which are not mounted."""
        clauses = self.rewrite(hint).split(CLAUSE)
        return CLAUSE.join(clause for clause in clauses if not NOT_MOUNTED.search(clause))


@dataclass
class MountedRuntime(Runtime):
    """The context of one run of a mounted command.

    Attributes:
        given: The object of Typer's context, which should be settings.
        at_end: Restores the state of the program.
    """

    given: object = None
    at_end: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def settings(self) -> "Settings":
        """The settings that the program passes; no file or environment variable is read.

        Raises:
            ConfigurationError: The object of the context is not settings.
            RefusedError: The command does not support the mapping of the settings.
        """
        from clarinet_cli.services.mapped import require_known_command
        from clarinet_cli.settings import Settings

        self.configure_logging()
        if not isinstance(self.given, Settings):
            raise CONFIGURATION.with_context(
                f"'{self.program}' has no settings: the object of its context is "
                f"{type(self.given).__name__}",
                hint='add_typer(…, context_settings={"obj": make_settings(URL)}), or set ctx.obj',
            )
        self.configure_log_files(self.given, standard_logging=False)
        require_known_command(self.given, self.command)
        return self.given

    def configure_logging(self) -> None:
        """Log to standard error until the command ends."""
        from clarinet_cli.utils.logger import host_logging, use_command

        verbosity = -1 if self.writer.quiet else self.verbosity
        self.at_end.enter_context(host_logging(verbosity, self.writer.rewrite))
        use_command(self.command)


class MountedGroup(Group):
    """A group that turns errors into exit codes and restores the state of the program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; the object of the context becomes that of the run in this group only."""
        words: dict[str, str] = {}
        for context in (ctx.find_root(), ctx.parent):  # those beside this one come first
            if context is not None:
                words |= dict(_find_groups(context.command, context.command_path))
        names = CommandNames(words | {self.words: ctx.command_path})
        runtime = MountedRuntime(program=ctx.command_path, given=ctx.obj)
        runtime.writer.rewrite = names.rewrite
        runtime.writer.rewrite_hint = names.rewrite_hint
        ctx.obj = runtime
        for command in self.commands.values():
            command.help = names.rewrite(command.help or "")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> None:
        """Run the command that the arguments name.

        Raises:
            Exit: With any exit code but 0.
        """
        ctx.obj.writer.stdout_closed = sys.stdout is None
        with ctx.obj.at_end, _opened_streams(), _escaped_output():
            code = run_guarded(partial(super().invoke, ctx), ctx.obj)
        if code:
            raise typer.Exit(code)


class AdminCommands(MountedGroup):
    """The group ``admin``."""

    words = "admin"


class SessionCommands(MountedGroup):
    """The group ``session``."""

    words = "session"


def mountable(group: type[MountedGroup], commands: typer.Typer) -> typer.Typer:
    """Return a group as a Typer application that another one can add.

    Args:
        group: Its class.
        commands: The Typer application with its commands.
    """
    app = typer.Typer(
        cls=group, name=group.words, help=GROUPS[group.words][1], callback=_use_options
    )
    app.registered_commands = commands.registered_commands
    return app


def _use_options(
    ctx: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorMode.AUTO,
    no_input: NoInput = False,
) -> None:
    runtime: MountedRuntime = ctx.obj
    runtime.writer.quiet = quiet
    runtime.writer.color = parse_color(color)
    runtime.verbosity = verbose or 0
    runtime.no_input = no_input


def _find_groups(command: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, inner in getattr(command, "commands", {}).items():
        if isinstance(inner, MountedGroup):
            yield inner.words, f"{path} {name}"
        else:
            yield from _find_groups(inner, f"{path} {name}")


@contextmanager
def _opened_streams() -> Iterator[None]:
    """Replace in the block the standard streams that the caller closed by the null device."""
    closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
    with Path(os.devnull).open("w", encoding="utf-8") as null:
        for name in closed:
            setattr(sys, name, null)
        try:
            yield
        finally:
            for name in closed:
                setattr(sys, name, None)


@contextmanager
def _escaped_output() -> Iterator[None]:
    """Escape characters that the encoding of the standard streams lacks, within the block."""
    streams = [
        stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)
    ]
    before = [(stream, stream.encoding, stream.errors) for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=ESCAPE_UNENCODABLE)
    try:
        yield
    finally:
        for stream, encoding, errors in before:
            stream.reconfigure(encoding=encoding, errors=errors)


admin_app = mountable(AdminCommands, admin.app)
session_app = mountable(SessionCommands, session.app)
