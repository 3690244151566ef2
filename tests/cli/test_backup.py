"""``db backup`` and ``db restore`` at a terminal."""

from pathlib import Path

import pytest

from tests.cli.scenes import dump, populate
from tests.cli.terminal import terminal
from tests.support import Project


@pytest.fixture
def saved(project: Project, tmp_path: Path) -> Path:
    """A backup with four sessions, which have been revoked since."""
    populate(project)
    file = tmp_path / "saved"
    assert project.run("db", "backup", str(file)).code == 0
    project.rows("DELETE FROM access_token")
    return file


def test_a_backup_is_not_written_to_a_terminal(project: Project) -> None:
    """It is refused with a hint."""
    with terminal(project, "db", "backup", "-") as shown:
        assert shown.end() == 5
    assert "refusing to write a backup to a terminal" in shown.text


@pytest.mark.parametrize(("answer", "sessions"), [("y", 0), ("n", 4)])
def test_the_sessions_of_a_backup_are_asked_about(
    project: Project, saved: Path, answer: str, sessions: int
) -> None:
    """First whether at all, with both sides; then about its sessions."""
    with terminal(project, "db", "restore", str(saved), "--clean", columns=300) as shown:
        shown.answer("4 in access_token", "y")
        shown.answer("Revoke the 4 sessions", answer)
        assert shown.end() == 0
    assert project.count("access_token") == sessions


def test_a_restore_that_is_not_confirmed_changes_nothing(project: Project, saved: Path) -> None:
    """A no ends it, and no safety copy is made."""
    before, files = dump(project), sorted(project.directory.iterdir())
    with terminal(project, "db", "restore", str(saved), "--clean", columns=300) as shown:
        shown.answer("4 in access_token", "n")
        assert shown.end() == 5
    assert (dump(project), sorted(project.directory.iterdir())) == (before, files)


def test_an_option_answers_about_the_sessions(project: Project, saved: Path) -> None:
    """Then only the restore itself has to be confirmed."""
    words = ("db", "restore", str(saved), "--clean", "--keep-sessions")
    with terminal(project, *words, columns=300) as shown:
        shown.answer("4 in access_token", "y")
        assert shown.end() == 0
    assert "Revoke" not in shown.text
    assert project.count("access_token") == 4
