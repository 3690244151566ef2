"""The commands that hints and notes advise."""

import re

from clarinet_cli.cli.commands import GROUPS

ROOT_COMMANDS = ("doctor", "init-migrations")
# Not what names a project itself or needs none, nor a database or user named clarinet.
COMMAND = re.compile(
    rf"(?<![^\s'])clarinet(?= (?:(?:{'|'.join((*GROUPS, *ROOT_COMMANDS))})\b|--?\w|…))"
    r"(?! -C | --project | --version)(?![^']* --help')"
)
SPECIAL = re.compile(r"[^\w@%+=:,./-]")


def add_project(directory: str, text: str) -> str:
    r"""Return a text with ``-C`` and the directory in each command of ``clarinet``.

    The directory is escaped as in ``/srv/my\ project``: quotes inside of a command that is quoted
    itself could be mistaken for its end.

    Args:
        directory: The value of ``-C`` of this run.
        text: A hint, note or message.
    """
    escaped = SPECIAL.sub(r"\\\g<0>", directory)
    return COMMAND.sub(lambda match: f"{match[0]} -C {escaped}", text)
