"""Run a command; report an exception as one line on standard error and an exit code."""

import errno
import itertools
import os
import re
import sys
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Optional

import typer
from typer.exceptions import TyperException

from clarinet_cli.cli.commands import GROUPS
from clarinet_cli.cli.runtime import PROGRAM, Runtime
from clarinet_cli.cli.shells import COMPLETION_VARIABLE
from clarinet_cli.cli.writer import discard_stdout
from clarinet_cli.exceptions import FAILURE, INVALID, REFUSED, ClarinetError, ExitCode
from clarinet_cli.signals import SIGNALS, Interrupted

QUIET = re.compile(r"--quiet|-[qv]*q[qv]*")
COMMAND_OPTIONS = ("-o", "--output", "-y", "--yes", "--dry-run")
GROUP_OPTIONS = ("-q", "--quiet", "-v", "--verbose", "--color", "--no-input")
ROOT_OPTIONS = (*GROUP_OPTIONS, "-C", "--project", "--audit-log")


def execute(command: Any, arguments: list[str], runtime: Optional[Runtime] = None) -> int:
    """Run the command line and return its exit code.

    Context variables that the run sets, such as the audit log's, end with it.

    Args:
        command: The root command.
        arguments: The words after the program's name.
        runtime: The context of the run.
    """
    runtime = runtime or Runtime()
    # Errors of the parser come before the root options are known.
    before = itertools.takewhile(lambda word: word not in GROUPS, arguments)
    runtime.writer.quiet = any(QUIET.fullmatch(word) for word in before)
    main = partial(
        command.main, args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=runtime
    )
    return run_guarded(main, runtime)


def run_guarded(main: Callable[[], Any], runtime: Runtime) -> int:
    """Run a command that the parser of Typer has found, and return its exit code.

    Signal handlers and context variables are restored.

    Args:
        main: Parses and runs the command.
        runtime: The context of the run.
    """
    with SIGNALS.handling():
        return copy_context().run(_run, main, runtime)


def _run(main: Callable[[], Any], runtime: Runtime) -> int:
    try:
        code = _invoke(main)
    except Interrupted as stop:
        return int(stop.code or ExitCode.FAILURE)
    except ClarinetError as error:
        return _report(error, runtime)
    except TyperException as error:
        return _report(_usage_error(error, runtime.program), runtime)
    except PermissionError as error:
        return _report(FAILURE.with_context(f"{error.filename}: permission denied"), runtime)
    except BrokenPipeError:  # from the help: its reader closed the pipe
        discard_stdout()
        return ExitCode.OK
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _report_unexpected(error, runtime)
        discard_stdout()  # Typer writes the help itself, here to a full disk
        name = error.filename or "standard output"
        return _report(FAILURE.with_context(f"{name}: {error.strerror}"), runtime)
    except Exception as error:  # noqa: BLE001 - the last handler of a run
        return _report_unexpected(error, runtime)
    return _exit_code_or_signal(code)


def _invoke(main: Callable[[], Any]) -> int:
    try:
        code = main()
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise REFUSED.with_context("cancelled, nothing was changed") from None
    except Interrupted:
        raise
    except SystemExit as stop:
        # Raised by completion, or by Rich when the reader of the help closed the pipe.
        completing = bool(os.environ.get(COMPLETION_VARIABLE))
        return int(stop.code or ExitCode.OK) if completing else ExitCode.OK
    return int(code or ExitCode.OK)


def _report(error: ClarinetError, runtime: Runtime) -> int:
    error.hint = runtime.fitting_hint(error.hint)
    runtime.writer.error(error)
    return error.exit_code if error.outcome_unknown else _exit_code_or_signal(error.exit_code)


def _exit_code_or_signal(code: int) -> int:
    """Return the code of the signal that arrived during a commit or job, else *code*."""
    return code if SIGNALS.number is None else 128 + SIGNALS.number


def _usage_error(error: TyperException, program: str) -> ClarinetError:
    """Return the parser's message in one line, with a hint to the help."""
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else program
    option = getattr(error, "option_name", "")
    if option == "--password":
        return INVALID.with_context(
            "--password is refused: other users can see it in the process list",
            hint="use --password-stdin, --password-file PATH, --generate-password or the prompt",
        )
    options = ROOT_OPTIONS if program == PROGRAM else GROUP_OPTIONS
    if path != program and option in options:
        return INVALID.with_context(
            message, hint=f"{option} goes before the command: '{program} {option} …'"
        )
    if path == program and option in COMMAND_OPTIONS:
        return INVALID.with_context(message, hint=f"{option} goes after the command")
    shown = "commands" if message.startswith("No such command") else "options"
    return INVALID.with_context(message, hint=f"'{path} --help' shows the {shown}")


def _report_unexpected(error: Exception, runtime: Runtime) -> int:
    from clarinet_cli.utils.logger import logger, logging_is_configured

    if not logging_is_configured():
        runtime.configure_logging()
    logger.bind(reported=True).opt(exception=error).error("unexpected error")
    return _report(
        FAILURE.with_context(
            f"unexpected {type(error).__name__}",
            hint=f"'{runtime.program} -vv …' shows the traceback",
        ),
        runtime,
    )
