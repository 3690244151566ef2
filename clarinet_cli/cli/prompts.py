"""Input: prompts on the terminal, and the content of files and standard input, up to a limit."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import BinaryIO, Optional

from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.text import printable
from clarinet_cli.cli.writer import Writer
from clarinet_cli.exceptions import INVALID, NOT_FOUND, REFUSED, InvalidInputError
from clarinet_cli.signals import SIGNALS, Interrupted
from clarinet_cli.types import STDIO

PASSWORD_ATTEMPTS = 3
NOT_CONFIRMED = "not confirmed, nothing was changed"
MIB = 2**20
PASSWORD_LIMIT = MIB
FILE_LIMIT = 256 * MIB


def interactive(runtime: Runtime) -> bool:
    """Return whether a prompt can be answered."""
    return sys.stdin is not None and sys.stdin.isatty() and not runtime.no_input


def confirm(
    runtime: Runtime, question: str, *, name: Optional[str] = None, yes: bool = False
) -> None:
    """Prompt for confirmation of something irreversible.

    Args:
        runtime: The context of the run.
        question: The change and its target.
        name: The text to type to confirm; None: a yes or no.
        yes: ``--yes`` was given: don't prompt.

    Raises:
        RefusedError: It was not confirmed, or prompting is impossible.
        Interrupted: A signal arrived at the prompt.
    """
    if yes:
        return
    if not interactive(runtime):
        raise REFUSED.with_context(f"not confirmed: {question}", hint="use --yes to confirm")
    if name is None:
        confirmed = ask(runtime, question, default=False)
    else:
        confirmed = prompt(runtime, f"{question} Type {name} to confirm").strip() == name
    if not confirmed:
        raise REFUSED.with_context(NOT_CONFIRMED)


def ask(runtime: Runtime, question: str, *, default: bool) -> bool:
    """Prompt for yes or no, where a prompt can be answered.

    Args:
        runtime: The context of the run.
        question: What to decide.
        default: The answer of an empty line.

    Raises:
        RefusedError: The input ended.
        Interrupted: A signal arrived at the prompt.
    """
    from rich.prompt import Confirm
    from rich.text import Text

    console = runtime.writer.console(stderr=True)
    with _prompting(runtime.writer, NOT_CONFIRMED):
        return Confirm.ask(Text(printable(question)), console=console, default=default)


def prompt(runtime: Runtime, question: str, *, choices: Sequence[str] = ()) -> str:
    """Prompt for a line, where a prompt can be answered.

    Args:
        runtime: The context of the run.
        question: What to enter.
        choices: The answers that are accepted; any if empty.

    Raises:
        RefusedError: The input ended.
        Interrupted: A signal arrived at the prompt.
    """
    from rich.prompt import Prompt
    from rich.text import Text

    console = runtime.writer.console(stderr=True)
    with _prompting(runtime.writer, NOT_CONFIRMED):
        return Prompt.ask(Text(printable(question)), console=console, choices=list(choices) or None)


def prompt_new_password(
    runtime: Runtime, email: str, policy: str, check: Callable[[str], None]
) -> str:
    """Prompt for a new password and its confirmation, three times at most.

    Args:
        runtime: The context of the run.
        email: The account's address.
        policy: The rules for passwords, shown before the first prompt.
        check: Raises ``InvalidInputError`` for a password that breaks them.

    Raises:
        InvalidInputError: The entries differed, or the password was refused, each time.
        RefusedError: Nothing was entered.
        Interrupted: A signal arrived at the prompt.
    """
    problem = INVALID
    runtime.writer.note(f"Password: {policy}.")
    for attempt in range(PASSWORD_ATTEMPTS):
        if attempt:
            runtime.writer.note(f"{problem.message}; try again")
        with _prompting(runtime.writer, "no password was entered, nothing was changed"):
            password = getpass(f"New password for {printable(email)}: ")
        try:
            check(password)
        except InvalidInputError as error:
            problem = error
            continue
        with _prompting(runtime.writer, "no password was entered, nothing was changed"):
            confirmed = password == getpass("Confirm password: ")
        if confirmed:
            return password
        problem = INVALID.with_context("the passwords do not match")
    raise problem.with_context(f"{problem.message} ({PASSWORD_ATTEMPTS} attempts)")


@contextmanager
def _prompting(writer: Writer, refusal: str) -> Iterator[None]:
    """Raise ``Interrupted`` for a signal at the prompt in the block, and refuse on Ctrl-D."""
    try:
        with SIGNALS.raising():
            yield
    except EOFError:
        writer.end_line()
        raise REFUSED.with_context(refusal) from None
    except (KeyboardInterrupt, Interrupted):
        writer.note_aborted()
        raise


def read_limited(stream: BinaryIO, limit: int, what: str) -> bytes:
    """Return the whole content of a file, a pipe or a device.

    Args:
        stream: The stream to read to its end.
        limit: The maximum number of bytes: ``/dev/zero`` has no end.
        what: The name of the content, for the message.

    Raises:
        InvalidInputError: The content is larger.
        OSError: It cannot be read.
    """
    pieces, size = [], 0
    while size <= limit and (piece := stream.read(MIB)):
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise INVALID.with_context(f"{what} has more than {limit // MIB} MiB")
    return b"".join(pieces)


def read_file(file: str) -> bytes:
    """Return the content of a file, or of standard input for ``-``.

    Args:
        file: As given on the command line.

    Raises:
        NotFoundError: The file does not exist.
        InvalidInputError: It cannot be read, or is too large.
    """
    if file == STDIO:
        return read_limited(sys.stdin.buffer, FILE_LIMIT, "standard input")
    try:
        with Path(file).open("rb") as stream:
            return read_limited(stream, FILE_LIMIT, file)
    except FileNotFoundError:
        raise NOT_FOUND.with_context(f"no file {file}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid file name"
        raise INVALID.with_context(f"cannot read {file!r}: {reason}") from error
