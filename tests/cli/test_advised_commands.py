"""The commands that hints, notes, warnings and findings advise, run as they are written."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import terminal
from tests.support import PASSWORD, Project, Result, run_in_process

ADVISED = re.compile(r"\bclarinet (?:\\.|[^'\n])+")
GRACE = "grace@example.org"
Change = Callable[[Project], object]


@pytest.fixture
def backend() -> str:
    """SQLite: what names the database is the directory."""
    return "sqlite"


@pytest.fixture
def named(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose directory has to be escaped, beside the current one, which is another."""
    monkeypatch.chdir(project.directory)
    there = project.directory.with_name("the clinic's $HOME")
    shutil.copytree(project.directory, there)
    return Project(there, "sqlite", project.database)


def run_elsewhere(project: Project, line: str, stdin: str = "") -> Result:
    """Run a command with a relative ``-C``."""
    return run_in_process(["-C", f"../{project.directory.name}", *shlex.split(line)], stdin=stdin)


def advised(text: str) -> list[str]:
    """Return the words of the first command in a text, without the program."""
    found = ADVISED.search(text)
    assert found is not None, text
    return shlex.split(found[0])[1:]


def without_a_file(project: Project) -> None:
    """Remove the database."""
    project.file.unlink()


def without_a_superuser(project: Project) -> None:
    """Leave no one who can administer."""
    project.rows('DELETE FROM "user"')


def with_grace(project: Project) -> None:
    """Add an account that is inactive."""
    project.add_user(GRACE, active=False)


def is_ready(project: Project) -> bool:
    """Return whether there is a superuser."""
    return project.file.exists() and project.count("user") == 1


def is_active(project: Project) -> bool:
    """Return whether the inactive account was activated."""
    return project.rows("SELECT is_active FROM \"user\" WHERE email LIKE 'grace%'") == [(1,)]


@pytest.mark.parametrize(
    ("prepare", "line", "acted"),
    [
        pytest.param(without_a_file, "db status", is_ready, id="hint"),
        pytest.param(without_a_superuser, "doctor", is_ready, id="finding"),
        pytest.param(without_a_superuser, "doctor -o json", is_ready, id="finding-json"),
        pytest.param(lambda _: None, "db reset --yes", is_ready, id="note"),
        pytest.param(
            with_grace,
            f"admin reset-password {GRACE} --any-user --password-stdin",
            is_active,
            id="warning",
        ),
    ],
)
def test_an_advised_command_acts_on_the_project_of_the_run(
    named: Project, prepare: Change, line: str, acted: Callable[[Project], bool]
) -> None:
    """With -C the command repeats it; the project in the current directory stays as it is."""
    here = Path("clarinet.db").read_bytes()
    prepare(named)
    result = run_elsewhere(named, line, PASSWORD)
    text = result.stdout + result.stderr
    if "json" in line:
        text = next(row["hint"] for row in result.json if row["check"] == "superuser")
    words = advised(text)
    password = ["--password-stdin"] if words[-2:] == ["db", "init"] else []
    done = run_in_process([*words, *password], stdin=PASSWORD)
    assert done.code == 0, done
    assert acted(named)
    assert Path("clarinet.db").read_bytes() == here


@pytest.mark.parametrize("line", ["users", "db migrate up", "admin list -q", "session show 1"])
def test_every_form_of_advice_repeats_the_option(named: Project, line: str) -> None:
    """Names of other tools, former names, misplaced options and unknown ids too."""
    assert advised(run_elsewhere(named, line).stderr)[:2] == ["-C", f"../{named.directory.name}"]


@pytest.mark.parametrize("line", ["admin list --colums", "--no-such-option", "admin list -C"])
def test_a_command_that_needs_no_project_has_no_option_added(named: Project, line: str) -> None:
    """The help is the same everywhere, and -C itself is not repeated."""
    result = run_elsewhere(named, line)
    assert result.code == 2
    assert named.directory.name not in result.stderr.replace("\\", "")


def test_without_the_option_nothing_is_added(
    named: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory and the variable hold for the advised command as well."""
    named.file.unlink()
    by_variable = named.run("db", "status")
    monkeypatch.chdir(named.directory)
    for result in (by_variable, run_in_process(["db", "status"])):
        assert "hint: 'clarinet db init' creates it; " in result.stderr


def test_a_long_directory_stays_in_one_line_of_the_hint(project: Project, tmp_path: Path) -> None:
    """On a narrow terminal the command has its own line, which the terminal itself wraps."""
    there = tmp_path / "a long name" / ("x" * 80)
    there.mkdir(parents=True)
    with terminal(Project(there, "sqlite", "none"), "db", "status") as shown:
        shown.end()
    escaped = str(there).replace(" ", r"\ ")
    assert f"'clarinet -C {escaped} db init'" in shown.lines
