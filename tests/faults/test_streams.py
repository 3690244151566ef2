"""Standard streams that are full, closed or without a reader: the exit code shows the result."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests import forked
from tests.cli.scenes import ADA, admin_id, dump, populate
from tests.faults.processes import eventually, number_of_stale
from tests.faults.test_kill_accounts import VERIFIER
from tests.programs import child
from tests.support import Project, Result, process_environment

# What a shell writes behind the command.
FULL_STDERR, NO_STDERR = "2>/dev/full", "2>&-"
FULL_STDOUT, NO_STDOUT = ">/dev/full", ">&-"
GRACE = "grace@example.org"
HOUR = timedelta(hours=1)


def without_reader(project: Project, *words: str) -> Result:
    """Run a command whose standard output is a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = forked.run(
            project.words(*words), stdout=pipe, env=process_environment(project.environment)
        )
    return Result(done.returncode, "", done.stderr.decode())


@pytest.fixture
def peopled(project: Project) -> Project:
    """A project with ada, who has sessions, and a second superuser, grace."""
    populate(project)
    project.add_user(GRACE, superuser=True)
    return project


@pytest.mark.parametrize("redirection", [FULL_STDERR, NO_STDERR])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("admin show nobody@example.org", 3),
        ("admin show --nothing", 2),
        (f"session revoke-user {ADA}", 0),
        ("-v session cleanup", 0),
        ("-vv admin list", 0),
        (f"admin promote {ADA}", 0),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_message_changes_the_code(
    peopled: Project, redirection: str, line: str, code: int
) -> None:
    """Errors, notes and the log have nowhere to go: the code is the same, the work is done."""
    result = peopled.run_process(*line.split(), redirections=redirection)
    assert result.code == code, result


@pytest.mark.parametrize("backend", ["sqlite"])
def test_apply_is_done_without_standard_error(peopled: Project, tmp_path: Path) -> None:
    """The note about its counts is lost, and nothing else."""
    file = tmp_path / "accounts.json"
    file.write_text(f'[{{"email": "{ADA}", "is_superuser": true}}]')
    assert peopled.run_process("admin", "apply", str(file), redirections=FULL_STDERR).code == 0
    assert (ADA,) in peopled.rows('SELECT email FROM "user" WHERE is_superuser')


@pytest.mark.parametrize("redirection", [FULL_STDERR, f"{FULL_STDOUT} {NO_STDERR}"])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_service_continues_without_a_reader(project: Project, redirection: str) -> None:
    """'cleanup --every' continues whether or not its output is read."""
    user = admin_id(project)
    words = project.process("session", "cleanup", "--every", "1s", "-o", "json")
    shell = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *words]
    with child(shell, env=process_environment({})) as process:
        for number in range(2):
            for _ in range(3):
                project.add_session(user, token=f"dead-{number}-{_}", expires=-HOUR)
            eventually(lambda: number_of_stale(project) == 0, process)
        process.terminate()
        assert process.wait(60) == 143


CHANGES = [
    f"admin delete {ADA} --yes",
    f"admin promote {ADA} -o json",
    "migrate stamp base --force",
    "db reset --yes",
    f"session revoke-user {ADA}",
    "session revoke-all --yes -o csv",
    "session cleanup",
]


@pytest.mark.parametrize("redirection", [FULL_STDOUT, NO_STDOUT])
@pytest.mark.parametrize("line", CHANGES)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_change_that_is_made_is_a_success(peopled: Project, redirection: str, line: str) -> None:
    """A report that could not be written is a warning; a dry run and a listing are lost: 1."""
    before = dump(peopled)
    dry = peopled.run_process(*line.split(), "--dry-run", redirections=redirection)
    assert dry.code == 1, dry
    assert dump(peopled) == before
    result = peopled.run_process(*line.split(), redirections=redirection)
    assert result.code == 0, result
    assert result.stderr.startswith("warning: cannot write the result: standard output")
    assert dump(peopled) != before


DATA = [
    "admin list",
    "session stats",
    "admin export -o csv",
    "config show",
    "config path -o json",
    "config check",
    "migrate check",
    "db check",
    "db backup -",
    "db backup - --accounts-only",
]


@pytest.mark.parametrize("line", DATA)
@pytest.mark.parametrize("redirection", [FULL_STDOUT, NO_STDOUT])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_data_that_is_lost_is_a_failure(project: Project, redirection: str, line: str) -> None:
    """The exit code shows that data were not written."""
    result = project.run_process(*line.split(), redirections=redirection)
    assert result.code == 1, result
    assert result.stderr.startswith("error: standard output")


def generating(tmp_path: Path) -> list[tuple[str, ...]]:
    """Return the commands that can generate a password."""
    file = tmp_path / "accounts.json"
    file.write_text('[{"email": "new@example.org", "password": "generate"}]')
    return [
        ("admin", "create", "--email", "new@example.org", "--generate-password"),
        ("admin", "reset-password", GRACE, "--generate-password", "-o", "json"),
        ("-q", "admin", "reset-password", GRACE, "--generate-password"),
        ("admin", "apply", str(file)),
    ]


def full(project: Project, *words: str) -> Result:
    """Run a command whose standard output is a full disk."""
    return project.run_process(*words, redirections=FULL_STDOUT)


def closed(project: Project, *words: str) -> Result:
    """Run a command without standard output."""
    return project.run_process(*words, redirections=NO_STDOUT)


@pytest.mark.parametrize("run", [full, closed, without_reader])
def test_a_password_that_cannot_be_shown_is_not_set(
    peopled: Project, tmp_path: Path, run: Callable[..., Result]
) -> None:
    """A full disk, a closed stream, a reader that went away: 1, and nothing is changed."""
    log = tmp_path / "audit.jsonl"
    before = dump(peopled)
    for words in generating(tmp_path):
        result = run(peopled, "--audit-log", str(log), *words)
        assert result.code == 1, (words, result)
        assert result.stderr.startswith("error: the new password cannot be shown: "), words
        assert dump(peopled) == before, words
        assert log.read_text() == ""


@pytest.mark.parametrize("run", [full, closed, without_reader])
def test_the_first_superuser_is_not_created_with_a_password_that_cannot_be_shown(
    empty_project: Project, run: Callable[..., Result]
) -> None:
    """'db init' after its other steps, and 'admin ensure': 1, no account, one error."""
    hints = {
        ("db", "init"): "the superuser was not created",
        ("admin", "ensure"): "nothing was changed",
    }
    for words, hint in hints.items():
        result = run(empty_project, *words, "--generate-password")
        assert result.code == 1, result
        assert f"hint: {hint}" in result.stderr
        assert empty_project.count("user") == 0
    made = empty_project.json("db", "init", "--generate-password")
    [row] = empty_project.rows('SELECT hashed_password FROM "user"')
    assert VERIFIER.verify(made[-1]["password"], row[0])


def test_a_password_of_a_change_that_failed_is_called_so(peopled: Project, tmp_path: Path) -> None:
    """The record cannot be written after it was shown: an error says that it is not valid."""
    words = ("admin", "reset-password", GRACE, "--generate-password", "-o", "json")
    before = dump(peopled)
    result = peopled.run("--audit-log", "/dev/full", *words)
    assert result.code == 1
    assert result.json["password"]
    assert "warning: the password shown is not valid: nothing was changed" in result.stderr
    assert dump(peopled) == before
