"""Passwords and files that are handed over: how much of them is taken, and in which form."""

import os
from functools import partial
from pathlib import Path

import pytest

from tests.cli.scenes import ADMIN
from tests.faults.limits import with_memory
from tests.faults.processes import run_alone
from tests.support import PASSWORD, Project

RESET = ("admin", "reset-password", ADMIN)
HASH = 'SELECT hashed_password FROM "user"'
LINES = "has several lines, or contains a carriage return"


def by_stdin(project: Project, content: bytes, tmp_path: Path) -> tuple[int, str]:
    """Give a password on standard input."""
    result = project.run(*RESET, "--password-stdin", stdin=content)
    return result.code, result.stderr.replace("the password on standard input", "WHAT")


def by_file(project: Project, content: bytes, tmp_path: Path) -> tuple[int, str]:
    """Give a password in a file."""
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_bytes(content)
    result = project.run(*RESET, "--password-file", str(path))
    return result.code, result.stderr.replace(f"the password file {path}", "WHAT")


@pytest.mark.parametrize("give", [by_stdin, by_file])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"correct horse\nbattery\n", LINES),
        (b"correct horse battery\n\n", LINES),
        (b"correct horse battery\r", LINES),
        (b"correct\rhorse battery", LINES),
        (b"\xef\xbb\xbfcorrect horse battery\n", "begins with a byte-order mark"),
        (b"x" * (2**20 + 1), "has more than 1 MiB"),
        (b"correct \xff horse", "is not UTF-8 text"),
        (b"", "is empty"),
        (b"\n", "is empty"),
    ],
    ids=[
        "two lines",
        "empty line",
        "CR at the end",
        "CR inside",
        "BOM",
        "too long",
        "no UTF-8",
        "none",
        "newline",
    ],
)
def test_what_is_not_one_line_is_no_password(
    project: Project, tmp_path: Path, give: object, content: bytes, reason: str
) -> None:
    """It is refused with the reason, in one line, and the old password stays."""
    assert callable(give)
    before = project.rows(HASH)
    code, stderr = give(project, content, tmp_path)
    assert code == 2
    assert stderr.splitlines()[0] == f"error: WHAT {reason}"
    assert project.rows(HASH) == before


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("give", [by_stdin, by_file])
def test_one_newline_at_the_end_is_removed(
    project: Project, tmp_path: Path, give: object, end: bytes
) -> None:
    """As an editor or echo adds it."""
    assert callable(give)
    assert give(project, PASSWORD.encode() + end, tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ((*RESET, "--password-file", "/dev/zero"), "the password file /dev/zero has more than 1"),
        (("admin", "apply", "/dev/zero"), "/dev/zero has more than 256"),
    ],
)
def test_a_file_without_an_end_is_not_read_to_it(
    project: Project, words: tuple[str, ...], limit: str
) -> None:
    """A line and exit code 2, where the memory would have gone."""
    result = project.run(*words)
    assert (result.code, result.stdout) == (2, "")
    assert f"error: {limit} MiB" in result.stderr


def test_a_password_from_a_pipe_is_taken(project: Project, tmp_path: Path) -> None:
    """As a shell's <(…) hands it over."""
    reading, writing = os.pipe()
    os.write(writing, PASSWORD.encode() + b"\n")
    os.close(writing)
    assert project.run(*RESET, "--password-file", f"/dev/fd/{reading}").code == 0
    os.close(reading)


def test_argon2_memory_beyond_that_of_the_machine_is_reported(project: Project) -> None:
    """One line with the setting, and no traceback; the old password stays."""
    before = project.rows(HASH)
    settings = (project.directory / "settings.toml").read_text()
    more = settings.replace("argon2_memory_cost = 7168", "argon2_memory_cost = 67108864")
    (project.directory / "settings.toml").write_text(more)
    limit = partial(with_memory, 2**32)
    result = run_alone(project, *RESET, "--password-stdin", stdin=PASSWORD, prepare=limit)
    assert (result.code, result.stdout) == (1, ""), result
    assert result.stderr.splitlines() == [
        "error: the password cannot be hashed with 67108864 KiB of memory",
        "hint: argon2_memory_cost in the settings is in KiB; the default is 65536",
    ]
    assert project.rows(HASH) == before
