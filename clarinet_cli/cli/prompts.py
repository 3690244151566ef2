"""Questions to a person, and the other ways to answer them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from clarinet_cli.cli import output
from clarinet_cli.cli.inputs import PASSWORD_LIMIT, read_limited
from clarinet_cli.cli.invocation import current
from clarinet_cli.cli.text import printable
from clarinet_cli.exceptions import INVALID, NOT_FOUND, REFUSED
from clarinet_cli.signals import Interrupted

if TYPE_CHECKING:
    from clarinet_cli.services.accounts.passwords import NewPassword

WAYS = "--password-stdin, --password-file PATH or --generate-password gives one"
ENTRIES = 3
GROUP_OR_OTHERS_READ = 0o044


@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """The password options of a command, as given.

    Attributes:
        stdin: Read it from standard input.
        file: Read it from this file.
        generate: Make one up.
    """

    stdin: bool
    file: Optional[Path]
    generate: bool

    def read(self) -> Optional["NewPassword"]:
        """Return the password that the options give, or None when none was used.

        Raises:
            InvalidInputError: Several were given, or the text is not one line of UTF-8.
            NotFoundError: There is no such file.
        """
        from clarinet_cli.services.accounts.passwords import NewPassword, generate_password

        if [self.stdin, self.file is not None, self.generate].count(True) > 1:
            raise INVALID.with_context(
                "--password-stdin, --password-file and --generate-password exclude each other"
            )
        if self.generate:
            return generate_password()
        if self.stdin:
            what = "the password on standard input"
            content = read_limited(sys.stdin.buffer, PASSWORD_LIMIT, what)
            return NewPassword(_one_line(content, what))
        return NewPassword(_read_file(self.file)) if self.file is not None else None


def interactive() -> bool:
    """Return whether somebody can answer a prompt."""
    return sys.stdin is not None and sys.stdin.isatty() and not current().no_input


def required_password(
    given: Optional["NewPassword"], configured: Optional[str], whose: str
) -> "NewPassword":
    """Return the password from the options, else the settings, else a prompt.

    Args:
        given: What the options give.
        configured: ``admin_password``, when this is the account of the settings.
        whose: The account's e-mail, for the prompt.

    Raises:
        InvalidInputError: Nobody can be asked; it names the ways to give one.
        RefusedError: The person at the prompt gave none.
    """
    from clarinet_cli.services.accounts.passwords import NewPassword

    if given is not None:
        return given
    if configured is not None:
        output.note("password: admin_password from the settings")
        return NewPassword(configured)
    if not interactive():
        raise INVALID.with_context(f"no password is given for {whose}", hint=WAYS)
    return NewPassword(_ask_twice(whose))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that can't be taken back.

    Args:
        question: What is about to happen, to what.
        yes: The answer that ``--yes`` gave already.

    Raises:
        RefusedError: The answer was no, or nobody can be asked.
    """
    if yes:
        return
    if not interactive():
        raise REFUSED.with_context(f"not confirmed: {question}", hint="--yes confirms it")
    from rich.prompt import Confirm
    from rich.text import Text

    screen = output.console(stderr=True)
    with _answered("not confirmed, nothing was changed"):
        answer = Confirm.ask(Text(printable(question)), console=screen, default=False)
    if not answer:
        raise REFUSED.with_context("not confirmed, nothing was changed")


def _ask_twice(whose: str) -> str:
    for _ in range(ENTRIES):
        with _answered("no password was entered, nothing was changed"):
            first = getpass(f"New password for {printable(whose)}: ")
            second = getpass("The same again: ")
        if first == second:
            return first
        output.note("the two entries differ, try again")
    raise INVALID.with_context(f"the two entries differed {ENTRIES} times")


@contextmanager
def _answered(refusal: str) -> Iterator[None]:
    """Turn Ctrl-D at a prompt into a refusal; after it and Ctrl-C the line is ended."""
    try:
        yield
    except EOFError:
        output.end_line()
        raise REFUSED.with_context(refusal) from None
    except (KeyboardInterrupt, Interrupted):
        output.end_line()
        raise


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = read_limited(stream, PASSWORD_LIMIT, f"the password file {path}")
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NOT_FOUND.with_context(f"no password file {path}") from None
    except OSError as error:
        raise INVALID.with_context(
            f"can't read the password file {path}: {error.strerror}"
        ) from error
    if mode & GROUP_OR_OTHERS_READ:
        output.note(f"warning: others can read the password file {path} (chmod 600 it)")
    return _one_line(content, f"the password file {path}")


def _one_line(content: bytes, what: str) -> str:
    """Decode a password; one newline at its end, as an editor or echo adds it, is removed.

    Raises:
        InvalidInputError: It is not one line of UTF-8: nobody types the rest at a log-in.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise INVALID.with_context(f"{what} is not UTF-8 text") from None
    text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    if text.startswith("\ufeff"):
        raise INVALID.with_context(
            f"{what} begins with a byte-order mark", hint="save it as UTF-8 without one"
        )
    if not text:
        raise INVALID.with_context(f"{what} is empty")
    if "\n" in text or "\r" in text:
        raise INVALID.with_context(
            f"{what} has several lines, or a carriage return in it",
            hint="a password is one line; one newline at its end is removed",
        )
    return text
