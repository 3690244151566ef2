"""Messages on standard error: whole lines in a pipe, lines of words on a terminal."""

from pathlib import Path

import pytest

from clarinet_cli.cli.text import wrap_message
from tests.cli.terminal import terminal
from tests.support import Project

COMMAND = ("session", "list", "--older-than", "bogus")
MESSAGE = (
    "error: Invalid value for '--older-than': 'bogus' is neither a duration such as 7d nor a "
    "timestamp such as 2026-11-22"
)
HINT = "hint: 'clarinet session list --help' shows the options"


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"COLUMNS": "40"}])
@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_gets_lines_of_whole_words(
    project: Project, columns: int, env: dict[str, str]
) -> None:
    """No line is longer than the terminal, or than COLUMNS, and no text is lost."""
    with terminal(project, *COMMAND, columns=columns, env=env) as shown:
        assert shown.end() == 2
    lines = shown.text.rstrip("\n").split("\n")
    assert max(map(len, lines)) <= int(env.get("COLUMNS", columns))
    assert len(lines) == (5 if columns == 40 or "COLUMNS" in env else 3)
    assert " ".join(lines) == f"{MESSAGE} {HINT}"


@pytest.mark.parametrize("env", [{}, {"COLUMNS": "40"}])
def test_a_pipe_gets_one_line_a_message(project: Project, env: dict[str, str]) -> None:
    """A script can match it, regardless of COLUMNS."""
    assert project.run(*COMMAND, env=env).stderr == f"{MESSAGE}\n{HINT}\n"


def test_notes_follow_the_terminal_of_standard_error(project: Project, tmp_path: Path) -> None:
    """With standard output in a file the terminal of the notes is still the one to fit."""
    words = ("session", "revoke-user", "admin@clarinet.ru", "--dry-run")
    with terminal(project, *words, columns=30, stdout=tmp_path / "report") as shown:
        assert shown.end() == 0
    assert all(len(line) <= 30 for line in shown.lines)


def test_an_unknown_width_breaks_no_message(project: Project) -> None:
    """A serial line has 0 columns: its messages are left whole."""
    with terminal(project, *COMMAND, columns=0) as shown:
        assert shown.end() == 2
    assert shown.text == f"{MESSAGE}\n{HINT}\n"


def test_a_command_in_quotes_is_not_broken() -> None:
    """It can be copied from its line, and a word that is too long is left to the terminal."""
    text = "hint: run 'clarinet db init', it doesn't need '/a/very/long/path of a file'"
    assert wrap_message(text, 24) == [
        "hint: run",
        "'clarinet db init', it",
        "doesn't need",
        "'/a/very/long/path of a file'",
    ]
    assert wrap_message(text, 200) == [text]
    assert wrap_message(r"sudo clarinet -C /srv/my\ app …", 16) == [
        "sudo clarinet -C",
        r"/srv/my\ app …",
    ]
