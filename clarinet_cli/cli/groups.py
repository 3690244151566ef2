"""The lazy group table, the one error boundary, and the way into asyncio."""

import errno
import gc
import importlib
import itertools
import os
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import redirect_stdout
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer import core
from typer.exceptions import TyperException

from clarinet_cli.cli.invocation import Invocation, current, use
from clarinet_cli.exceptions import FAILURE, INVALID, REFUSED, ClarinetError, ExitCode
from clarinet_cli.signals import SIGNALS, Interrupted

if TYPE_CHECKING:
    from clarinet_cli.services.session_cleanup import Stop

ResultT = TypeVar("ResultT")

GROUPS: dict[str, tuple[str, str]] = {
    "db": ("clarinet_cli.cli.db", "Create the database, look at it, wait for it."),
    "admin": ("clarinet_cli.cli.admin", "Accounts: find, see, make, change and end them."),
    "session": ("clarinet_cli.cli.session", "Log-in sessions: count, show, end, clean up."),
    "migrate": ("clarinet_cli.cli.migrate", "Schema revisions, by Alembic."),
    "config": ("clarinet_cli.cli.config", "The settings: values, sources, what is wrong."),
}
QUIET = re.compile(r"--quiet|-[qv]*q[qv]*")
COMPLETION_VARIABLE = "_CLARINET_COMPLETE"
COMMAND_OPTIONS = ("-o", "--output", "-y", "--yes", "--dry-run")
ROOT_OPTIONS = (
    "-C",
    "--project",
    "-q",
    "--quiet",
    "-v",
    "--verbose",
    "--color",
    "--no-input",
    "--audit-log",
)


class AsGiven:
    """Stands in for Typer's check of a parameter, which loads pydantic."""

    def coerce(self, value: object, **_: object) -> object:
        """Return the value as the parser found it."""
        return value


class HelpfulGroup(core.TyperGroup):
    """A group that, alone on the command line, shows its help as a usage error."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; without arguments write the help to standard error and exit with 2."""
        # Typer has no public way to leave its check out; the root callback checks its values.
        for parameter in self.get_params(ctx):
            parameter._runtime_param = AsGiven()  # type: ignore[attr-defined]  # noqa: SLF001
        rest = super().parse_args(ctx, args)
        command_named = rest or ctx._protected_args  # noqa: SLF001 - where the parser keeps it
        if not command_named and not ctx.resilient_parsing:
            with redirect_stdout(sys.stderr):
                text = ctx.get_help()
            sys.stderr.write(text or "")
            raise typer.Exit(ExitCode.USAGE)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, and note its words down."""
        self.suggest_commands = False  # what Typer finds alike may mean something else
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except TyperException as error:
            self._suggest(ctx, args[0], error)
            raise
        if ctx.parent is not None:
            use(replace(current(), command=f"{ctx.info_name} {name}"))
        return name, command, rest

    def _suggest(self, ctx: Any, word: str, error: TyperException) -> None:
        """Add to the error what may have been meant by a command that does not exist."""
        from clarinet_cli.cli.suggestions import hint_for, slips_of

        if word in self.commands or not error.message.startswith("No such command"):
            return
        group = ctx.command_path.partition(" ")[2]
        if hint := hint_for(group, word):
            raise INVALID.with_context(error.message, hint=hint) from None
        names = [name for name, command in self.commands.items() if not command.hidden]
        if meant := slips_of(word, names):
            named = " or ".join(map(repr, meant))
            error.message = f"{error.message.rstrip('.')}. Did you mean {named}?"


class DashedArgumentCommand(core.TyperCommand):
    """A command whose argument may begin with a dash and is no option."""

    dashed: re.Pattern[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse with such arguments put behind all options."""
        if "--" in args:
            return super().parse_args(ctx, args)
        arguments = [word for word in args if self.dashed.fullmatch(word)]
        others = [word for word in args if word not in arguments]
        return super().parse_args(ctx, [*others, "--", *arguments] if arguments else args)


class RelativeRevisionCommand(DashedArgumentCommand):
    """A command whose argument may be ``-1``."""

    dashed = re.compile(r"-\d+")


class SessionIdCommand(DashedArgumentCommand):
    """A command whose argument is a session's id: one token in 64 begins with a dash.

    What could be one of the command's own options is that; ``--`` tells otherwise.
    """

    dashed = re.compile(r"-(?![-ohy])[\w-]{7,}", re.ASCII)


class LazyGroup(HelpfulGroup):
    """The root group: it knows the groups' names and help, and loads one when it is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, text) in GROUPS.items():
            self.add_command(core.TyperGroup(name=name, help=text), name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the groups, then the commands without one."""
        return sorted(super().list_commands(ctx), key=lambda name: name not in GROUPS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, its module loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in GROUPS:
            module = importlib.import_module(GROUPS[name][0])
            command = typer.main.get_group(module.app)
            command.name = name
            for inner in command.commands.values():
                inner.help = unwrapped(inner.help or "")
        return name, command, rest


def unwrapped(text: str) -> str:
    """Return help with each paragraph in one line, for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def execute(command: Any, arguments: list[str]) -> int:
    """Run the command line and return its exit code; every error ends here.

    What a run sets for itself, such as its audit log, ends with it.

    Args:
        command: The root command.
        arguments: The words after the program's name.
    """
    if os.environ.get(COMPLETION_VARIABLE):
        _complete_without_coercion()
    with SIGNALS.handling():
        return copy_context().run(_execute, command, arguments)


def _execute(command: Any, arguments: list[str]) -> int:
    use(Invocation(quiet=_asks_for_quiet(arguments)))
    try:
        code = _invoke(command, arguments)
    except Interrupted as stop:
        return int(stop.code or ExitCode.FAILURE)
    except ClarinetError as error:
        return _report(error)
    except TyperException as error:
        return _report(_usage_error(error))
    except PermissionError as error:
        return _report(FAILURE.with_context(f"{error.filename}: permission denied"))
    except OSError as error:
        return _no_space(error) if error.errno == errno.ENOSPC else _unexpected(error)
    except Exception as error:  # noqa: BLE001 - the boundary: nothing goes past it
        return _unexpected(error)
    return _or_signal(code)


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run asynchronous work to its end."""
    import asyncio

    async def interruptible() -> ResultT:
        task = asyncio.current_task()
        if task is None:
            return await work
        with SIGNALS.cancelling(task):
            return await work

    _collect_garbage_from_now_on()
    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        SIGNALS.interrupt()


def run_until_stopped(work: Callable[["Stop"], Awaitable[ResultT]]) -> tuple[ResultT, int]:
    """Run work that ends by itself soon after a signal.

    Args:
        work: Takes the request to stop, which it looks at between two batches.

    Returns:
        The result and the exit code: 0, or 128 and the number of the signal that ended it.
    """
    import asyncio

    from clarinet_cli.services.session_cleanup import Stop

    async def guarded() -> tuple[ResultT, int]:
        stop = Stop()
        with SIGNALS.forwarding(stop.request, asyncio.get_running_loop()):
            result = await work(stop)
        return result, ExitCode.OK if stop.signal is None else 128 + stop.signal

    _collect_garbage_from_now_on()
    return asyncio.run(guarded())


def _collect_garbage_from_now_on() -> None:
    """Look for garbage among what the work makes; what is loaded by now stays anyway."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _invoke(command: Any, arguments: list[str]) -> int:
    try:
        code = command.main(args=arguments, prog_name="clarinet", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        raise REFUSED.with_context("cancelled, nothing was changed") from None
    except Interrupted:
        raise
    except SystemExit as stop:
        # Completion ends so; else it is Rich, when the reader of the help went away.
        completing = bool(os.environ.get(COMPLETION_VARIABLE))
        return int(stop.code or ExitCode.OK) if completing else ExitCode.OK
    return int(code or ExitCode.OK)


def _complete_without_coercion() -> None:
    """Take the words before the cursor as they are: checking them would load pydantic.

    Typer has no public way to say so; the process ends with the completion.
    """
    core._TyperParameter.get_runtime_param = lambda _: AsGiven()  # type: ignore[assignment,method-assign,return-value]  # noqa: SLF001


def _asks_for_quiet(arguments: list[str]) -> bool:
    """Whether ``-q`` stands before the command: errors of the parser come before the rest."""
    before = itertools.takewhile(lambda word: word not in GROUPS, arguments)
    return any(QUIET.fullmatch(word) for word in before)


def _report(error: ClarinetError) -> int:
    from clarinet_cli.cli import output

    output.report_error(error)
    return error.exit_code if error.outcome_unknown else _or_signal(error.exit_code)


def _or_signal(code: int) -> int:
    """Return the code of the signal that was remembered while a transaction committed."""
    return code if SIGNALS.number is None else 128 + SIGNALS.number


def _usage_error(error: TyperException) -> ClarinetError:
    """Put the parser's message into one line, with the way to the help."""
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "clarinet"
    option = getattr(error, "option_name", "")
    if path != "clarinet" and option in ROOT_OPTIONS:
        return INVALID.with_context(
            message, hint=f"{option} goes before the command: clarinet {option} …"
        )
    if path == "clarinet" and option in COMMAND_OPTIONS:
        return INVALID.with_context(message, hint=f"{option} goes after the command")
    return INVALID.with_context(message, hint=f"'{path} --help' shows the options")


def _no_space(error: OSError) -> int:
    """The help met a full disk: Typer writes it by itself."""
    from clarinet_cli.cli import output

    output.forget_stdout()
    return _report(FAILURE.with_context(f"{error.filename or 'standard output'}: {error.strerror}"))


def _unexpected(error: Exception) -> int:
    from clarinet_cli.utils.logger import configure_logging, logger, logging_is_configured

    if not logging_is_configured():
        configure_logging(current().verbosity)

    logger.bind(reported=True).opt(exception=error).error("unexpected error")
    return _report(
        FAILURE.with_context(
            f"unexpected {type(error).__name__}", hint="'clarinet -vv …' shows the traceback"
        )
    )
