"""Shell completion: commands, formats, and values from the database when it answers."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests import forked
from tests.database.listener import CLEAR_TEXT, asking, listening
from tests.support import Project, Result, process_environment

SHELLS = ("bash", "zsh", "fish")


# The shell's script starts the console script; a busy machine needs more than the usual second.
PATIENT = """
import sys
sys.argv[0] = "clarinet"
from clarinet_cli.cli import completion
completion.TIMEOUT_SECONDS = 60.0
from clarinet_cli.cli.main import main
main()
"""


def complete(shell: str, line: str, env: Mapping[str, str]) -> Result:
    """Return the completions at the end of *line*, as the shell's script requests them."""
    asked = {"_CLARINET_COMPLETE": f"complete_{shell}", "_CLARINET_LINE": line, **env}
    if shell == "bash":  # the text that readline replaces
        asked["_CLARINET_WORD"] = re.split(r"[\s@=:]", line)[-1]
    environment = process_environment(asked)
    done = forked.run([], program=PATIENT, env=environment)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("shell", SHELLS)
def test_groups_and_formats_are_completed(shell: str) -> None:
    """The beginning of a group's name is completed, and the formats after -o."""
    assert "session" in complete(shell, "clarinet se", {}).stdout
    formats = complete(shell, "clarinet admin list -o js", {}).stdout
    assert "jsonl" in formats
    assert "csv" not in formats


@pytest.mark.parametrize("shell", SHELLS)
def test_emails_and_roles_come_from_the_database(shell: str, server_project: Project) -> None:
    """USER is completed with addresses, --role with roles, from the project that -C names."""
    start = f"clarinet -C {server_project.directory}"
    emails = complete(shell, f"{start} session list-user bo", {}).stdout
    roles = complete(shell, f"{start} admin list --role ord", {}).stdout
    assert "bob@clarinet.example" in emails
    assert "ada@" not in emails
    assert "ordinator" in roles


def test_without_a_database_nothing_is_completed_or_printed(
    empty_project: Project,
) -> None:
    """An unreachable database gives no completions and no message."""
    words = f"clarinet -C {empty_project.directory} session list-user a"
    done = complete("bash", words, {})
    assert (done.stdout.strip(), done.stderr) == ("values", "")


def test_an_address_with_an_escape_sequence_is_not_completed(project: Project) -> None:
    """An address with an escape sequence is not offered; its harmless neighbour is."""
    project.add_user("eve@clarinet.example")
    project.add_user("eve\x1b[31m@clarinet.example")
    words = f"clarinet -C {project.directory} session list-user eve"
    assert complete("bash", words, {}).stdout.split() == ["values", "eve@clarinet.example"]


STRANGER = 54321


def owned_by_another_user(path: Path) -> None:
    """Give a file to another user."""
    os.chown(path, STRANGER, STRANGER)


def writable_by_all(path: Path) -> None:
    """Make a file writable by every user."""
    path.chmod(path.stat().st_mode | stat.S_IWOTH)


def writable_by_a_group(path: Path) -> None:
    """Let a group write that is not the caller's own."""
    os.chown(path, 0, STRANGER)
    path.chmod(path.stat().st_mode | stat.S_IWGRP)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (".", owned_by_another_user),
        ("settings.toml", owned_by_another_user),
        ("settings.custom.toml", owned_by_another_user),
        (".env", owned_by_another_user),
        (".", writable_by_all),
        ("settings.toml", writable_by_a_group),
    ],
)
def test_tab_connects_to_nothing_that_others_may_have_named(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    """Nothing is sent if another user owns the directory or one of its files.

    Who presses TAB has not read the settings, and a password may be in the environment.
    """
    with listening(asking(CLEAR_TEXT)) as listener:
        keys = f'database_host = "0.0.0.0"\ndatabase_port = {listener.port}\n'
        toml = f'database_driver = "postgresql"\n{keys}'
        for file in ("settings.toml", "settings.custom.toml"):
            (tmp_path / file).write_text(toml)
        (tmp_path / ".env").write_text(f"CLARINET_DATABASE_PORT={listener.port}\n")
        words = f"clarinet -C {tmp_path} session list-user a"
        env = {"CLARINET_DATABASE_PASSWORD": "CANARY"}
        assert complete("bash", words, env).stdout.strip() == "values"
        assert listener.connections  # the caller's own settings are followed
        assert b"CANARY" not in listener.received
        listener.connections = 0
        change(tmp_path / name)
        done = complete("bash", words, env)
        assert (done.stdout.strip(), done.stderr) == ("values", "")
        assert listener.connections == 0
