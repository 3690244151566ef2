"""New passwords: from options, settings or a prompt; the output of generated ones."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from clarinet_cli.cli.presentation import Presentation
from clarinet_cli.cli.prompts import PASSWORD_LIMIT, interactive, prompt_new_password, read_limited
from clarinet_cli.cli.render import render, render_list
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import FAILURE, INVALID, NOT_FOUND, ClarinetError
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.services.accounts.passwords import NewPassword
    from clarinet_cli.settings import Settings

OPTIONS_HINT = "use --password-stdin, --password-file PATH or --generate-password"
GROUP_OR_OTHERS_READ = 0o044


@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """The password options of a command, as given.

    Attributes:
        stdin: Read it from standard input.
        file: Read it from this file.
        generate: Generate it.
    """

    stdin: bool
    file: Optional[Path]
    generate: bool

    def read(self, runtime: Runtime) -> Optional["NewPassword"]:
        """Return the password that the options give, or None without such an option.

        Raises:
            InvalidInputError: Several were given, or the text is not one line of UTF-8.
            NotFoundError: The file does not exist.
        """
        from clarinet_cli.services.accounts.passwords import NewPassword, generate_password

        if [self.stdin, self.file is not None, self.generate].count(True) > 1:
            raise INVALID.with_context(
                "--password-stdin, --password-file and --generate-password cannot be used together"
            )
        if self.generate:
            return generate_password()
        if self.stdin:
            what = "the password on standard input"
            content = read_limited(sys.stdin.buffer, PASSWORD_LIMIT, what)
            return NewPassword(_decode_password(content, what))
        if self.file is None:
            return None
        return NewPassword(_read_password_file(runtime, self.file))


def resolve_password(runtime: Runtime, given: Optional["NewPassword"], email: str) -> "NewPassword":
    """Return the password from the options, else the settings, else a prompt.

    Args:
        runtime: The context of the run.
        given: The password from the options.
        email: The account's address; ``admin_password`` is for that of the settings only.

    Raises:
        InvalidInputError: Prompting is impossible; the hint names the options. Or no
            acceptable password was entered.
        RefusedError: Nothing was entered at the prompt.
    """
    from clarinet_cli.services.accounts.passwords import (
        NewPassword,
        describe_policy,
        require_acceptable,
    )

    if given is not None:
        return given
    configured = _configured_password(runtime.settings, email)
    if configured is not None:
        runtime.writer.note("password: admin_password from the settings")
        return NewPassword(configured)
    if not interactive(runtime):
        raise INVALID.with_context(f"no password is given for {email}", hint=OPTIONS_HINT)

    def check(text: str) -> None:
        require_acceptable(NewPassword(text), email, runtime.settings)

    policy = describe_policy(runtime.settings)
    return NewPassword(prompt_new_password(runtime, email, policy, check))


def _configured_password(settings: "Settings", email: str) -> Optional[str]:
    from clarinet_cli.services.accounts.resolve import first_admin_email

    if settings.admin_password is None or not settings.names_admin:
        return None
    if email.lower() != first_admin_email(settings).lower():
        return None
    return settings.admin_password.get_secret_value()


class PasswordOutput:
    """Writes a generated password to standard output before the commit that sets it.

    Args:
        runtime: The context of the run.
        output: The format.
        presentation: The presentation of a list; None for a single result.
        failure_hint: The outcome when the password cannot be shown, and is not set.
    """

    def __init__(
        self,
        runtime: Runtime,
        output: Optional[OutputFormat],
        presentation: Optional[Presentation] = None,
        failure_hint: str = "nothing was changed",
    ) -> None:
        self.shown = False
        self._runtime = runtime
        self._output = output
        self._presentation = presentation
        self._failure_hint = failure_hint

    def __call__(self, result: Any) -> None:
        """Write the whole result; the passwords in it are not set yet.

        Raises:
            ClarinetError: It cannot be written, or is not read.
        """
        try:
            with self._runtime.writer.require_reader():
                if self._presentation is None:
                    render(self._runtime, result, self._output)
                else:
                    render_list(self._runtime, result, self._output, self._presentation)
        except ClarinetError as error:
            raise FAILURE.with_context(
                f"the new password cannot be shown: {error.message}", hint=self._failure_hint
            ) from error
        self.shown = True

    @contextmanager
    def warn_if_rolled_back(self) -> Iterator[None]:
        """Warn that a password shown in the block is not valid if the block fails."""
        valid = unknown = False
        try:
            yield
            valid = True
        except ClarinetError as error:
            unknown = error.outcome_unknown
            raise
        finally:
            if self.shown and unknown:
                self._runtime.writer.warn("it is unknown whether the password shown was set")
            elif self.shown and not valid:
                self._runtime.writer.warn(f"the password shown is not valid: {self._failure_hint}")


def _read_password_file(runtime: Runtime, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = read_limited(stream, PASSWORD_LIMIT, f"the password file {path}")
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NOT_FOUND.with_context(f"no password file {path}") from None
    except OSError as error:
        raise INVALID.with_context(
            f"cannot read the password file {path}: {error.strerror}"
        ) from error
    if mode & GROUP_OR_OTHERS_READ:
        runtime.writer.note(
            f"warning: other users can read the password file {path} (chmod 600 {path})"
        )
    return _decode_password(content, f"the password file {path}")


def _decode_password(content: bytes, what: str) -> str:
    """Decode a password; one newline at its end, as an editor or echo adds it, is removed.

    Raises:
        InvalidInputError: It is not one line of UTF-8, as a log-in form accepts.
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
            f"{what} has several lines, or contains a carriage return",
            hint="a password is one line; one newline at its end is removed",
        )
    return text
