"""Subclasses of Typer's groups and commands, and the registration of coroutine functions.

Private to Typer are ``_runtime_param``, ``_protected_args``, ``display_type_rich`` and
``_get_number_range_help_str``.
``tests/cli/test_typer.py`` checks that they exist.
"""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import redirect_stdout
from typing import Any, Optional

import typer
from typer import core
from typer.exceptions import TyperException

from clarinet_cli.exceptions import INVALID, ExitCode

GROUPS: dict[str, tuple[str, str]] = {
    "db": ("clarinet_cli.cli.db", "Create, check, back up and maintain the database."),
    "admin": ("clarinet_cli.cli.admin", "List, create and change accounts."),
    "session": ("clarinet_cli.cli.session", "List, count, revoke and clean up sessions."),
    "migrate": ("clarinet_cli.cli.migrate", "Run schema migrations with Alembic."),
    "config": ("clarinet_cli.cli.config", "Show and check the settings."),
}
WATCH, WATCH_INTERVAL = "--watch", "2s"
KEEP_CURRENT = "--keep-current"
ID_LENGTH = 8  # of the shortest id of a session
CommandFunction = Callable[..., Coroutine[Any, Any, Optional[int]]]


class NoCoercion:
    """Replaces Typer's coercion of a parameter, which loads pydantic."""

    def coerce(self, value: object, **_: object) -> object:
        """Return the value as parsed."""
        return value

    @classmethod
    def apply(cls, parameters: Iterable[Any]) -> None:
        """Disable the coercion of these parameters."""
        for parameter in parameters:
            parameter._runtime_param = cls()  # noqa: SLF001 - Typer has no public way


class NoTypes:
    """Removes the types and ranges of parameters from their help; values keep their metavar."""

    @classmethod
    def apply(cls, parameters: Iterable[Any]) -> None:
        """Show no types in the help of these parameters."""
        for parameter in parameters:
            value = isinstance(parameter, core.TyperOption) and not parameter.is_flag
            shown = parameter.metavar if value and not parameter.count else ""
            parameter.display_type_rich = functools.partial(cls._show, shown)
            parameter._get_number_range_help_str = functools.partial(cls._show, None)  # noqa: SLF001 - see the module

    @staticmethod
    def _show(text: Optional[str], **_: object) -> Optional[str]:
        return text


class Command(core.TyperCommand):
    """A command; completing its words does not coerce them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        NoTypes.apply(self.get_params(ctx))
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command."""
        if ctx.resilient_parsing:  # completion, where the process ends afterwards
            NoCoercion.apply(self.get_params(ctx))
        return super().parse_args(ctx, args)


class DashedArgumentCommand(Command):
    """A command whose argument may begin with a dash without being an option."""

    dashed: re.Pattern[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse with such arguments moved after all options."""
        if "--" in args:
            return super().parse_args(ctx, args)
        arguments = [word for word in args if self.dashed.fullmatch(word)]
        others = [word for word in args if word not in arguments]
        return super().parse_args(ctx, [*others, "--", *arguments] if arguments else args)


class RelativeRevisionCommand(DashedArgumentCommand):
    """A command whose argument may be ``-1``."""

    dashed = re.compile(r"-\d+")


class SessionIdCommand(DashedArgumentCommand):
    """A command whose argument is a session id: one token in 64 begins with a dash.

    A word that matches an option of the command is parsed as one, unless it follows ``--``.
    """

    dashed = re.compile(r"-(?![-ohy])[\w-]{7,}", re.ASCII)


class WatchCommand(Command):
    """A command without arguments whose option ``--watch`` has an optional value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with the default interval if ``--watch`` has no value."""
        following = [*args, "--"][1:]
        words = [
            f"{WATCH}={WATCH_INTERVAL}" if word == WATCH and after.startswith("-") else word
            for word, after in zip(args, following, strict=True)
        ]
        return super().parse_args(ctx, words)


class RevokeUserCommand(Command):
    """A command whose option ``--keep-current`` has an optional value, as in former versions."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with ``--keep-newest 1`` where ``--keep-current`` has no value."""
        if KEEP_CURRENT in args and not ctx.resilient_parsing:
            index = args.index(KEEP_CURRENT)
            after, others = args[index + 1 : index + 2], args[:index] + args[index + 2 :]
            options = {name for parameter in self.get_params(ctx) for name in parameter.opts}
            is_id = all(  # one token in 64 begins with a dash
                not word.startswith("-")
                or (len(word) >= ID_LENGTH and word.partition("=")[0] not in options)
                for word in after
            )
            has_user = any(not word.startswith("-") for word in others)
            if not (after and is_id and has_user):
                args = [*args[:index], "--keep-newest=1", *args[index + 1 :]]
                ctx.obj.writer.note(
                    "--keep-current without an ID keeps the newest session: use --keep-newest 1"
                )
        return super().parse_args(ctx, args)


class Group(core.TyperGroup):
    """A group that without a command shows its help as a usage error.

    Attributes:
        words: The name of the group in this command line, if it may be mounted as another.
    """

    words = ""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        NoTypes.apply(self.get_params(ctx))
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; without a command write the help to standard error and exit with 2."""
        NoCoercion.apply(self.get_params(ctx))  # the root callback checks its values itself
        rest = super().parse_args(ctx, args)
        command_named = rest or ctx._protected_args  # noqa: SLF001 - where Typer keeps it
        if not command_named and not ctx.resilient_parsing:
            with redirect_stdout(sys.stderr):
                text = ctx.get_help()
            sys.stderr.write(text or "")
            raise typer.Exit(ExitCode.USAGE)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name; record its words in the runtime."""
        self.suggest_commands = False  # Typer's suggestions include commands that do more
        if args and args[0] not in self.commands and (former := self._former(ctx, args)):
            return former
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except TyperException as error:
            self._suggest(ctx, args[0], error)
            raise
        if (self.words or ctx.parent is not None) and ctx.obj is not None:
            ctx.obj.command = f"{self.words or ctx.info_name} {name}"
        return name, command, rest

    def _former(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that a former name stands for, with a note of its present one."""
        from clarinet_cli.cli.suggestions import former_command

        group = self.words or ctx.command_path.partition(" ")[2]
        found = former_command(group, args)
        if found is None:
            return None
        group_name, (name, *rest) = found
        module = importlib.import_module(GROUPS[group_name][0])
        command = typer.main.get_group(module.app).commands[name]
        if ctx.obj is not None and not ctx.resilient_parsing:
            ctx.obj.command = f"{group_name} {name}"
            revision = [word for word in rest[:1] if RelativeRevisionCommand.dashed.fullmatch(word)]
            present = " ".join([group_name, name, *revision])
            ctx.obj.writer.note(f"'clarinet {group} {args[0]}' is now 'clarinet {present}'")
        return (name if group_name == group else f"{group_name} {name}"), command, rest

    def _suggest(self, ctx: Any, word: str, error: TyperException) -> None:
        """Add the probable command to the error."""
        from clarinet_cli.cli.suggestions import alias_hint, misspelled_commands

        if word in self.commands or not error.message.startswith("No such command"):
            return
        group = self.words or ctx.command_path.partition(" ")[2]
        if hint := alias_hint(group, word):
            raise INVALID.with_context(error.message, hint=hint) from None
        names = [name for name, command in self.commands.items() if not command.hidden]
        if meant := misspelled_commands(word, names):
            named = " or ".join(map(repr, meant))
            error.message = f"{error.message.rstrip('.')}. Did you mean {named}?"


class LazyGroup(Group):
    """The root group: it has the names and help of the groups, and imports one when used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, text) in GROUPS.items():
            self.add_command(core.TyperGroup(name=name, help=text), name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the groups, then the commands without one."""
        return sorted(super().list_commands(ctx), key=lambda name: name not in GROUPS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, its module imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if ctx.obj is not None:
            ctx.obj.command = name or ""
        if name in GROUPS:
            module = importlib.import_module(GROUPS[name][0])
            command = typer.main.get_group(module.app)
            command.name = name
        return name, command, rest


def group(name: str) -> typer.Typer:
    """Return the Typer application of a group, with its help from ``GROUPS``."""
    return typer.Typer(cls=Group, help=GROUPS[name][1])


def command(
    app: typer.Typer, name: Optional[str] = None, *, cls: type[Command] = Command
) -> Callable[[CommandFunction], CommandFunction]:
    """Register a coroutine function as a command.

    Args:
        app: The group.
        name: The name of the command; that of the function by default.
        cls: The class that parses its arguments.

    Returns:
        A decorator. The first parameter of the function is the ``Runtime``; the others are the
        arguments and options of the command. It returns an exit code, or None for 0.
    """

    def register(function: CommandFunction) -> CommandFunction:
        # Each paragraph in one line, for the terminal to wrap.
        paragraphs = [" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n")]
        app.command(name, cls=cls, help="\n\n".join(paragraphs))(_make_callback(function))
        return function

    return register


def _make_callback(function: CommandFunction) -> Callable[..., Optional[int]]:
    """Return the callback for Typer, which takes the context instead of the runtime."""

    @functools.wraps(function)
    def callback(ctx: typer.Context, **values: Any) -> Optional[int]:
        result: Optional[int] = ctx.obj.run(function(ctx.obj, **values))
        return result

    signature = inspect.signature(function)
    runtime, *options = signature.parameters.values()
    context = runtime.replace(name="ctx", annotation=typer.Context)
    signature = signature.replace(parameters=[context, *options])
    callback.__dict__["__signature__"] = signature  # what inspect.signature() reads
    kept = {name: value for name, value in function.__annotations__.items() if name != runtime.name}
    callback.__annotations__ = {"ctx": typer.Context, **kept}
    return callback
