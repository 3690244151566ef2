"""Tables of changes: what happened, in the tense of what happened."""

import re

import pytest

from tests.cli.scenes import ADA, populate
from tests.cli.terminal import terminal
from tests.support import Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
OUTCOMES = {
    f"admin promote {ADA}": r"superuser +yes",
    f"admin demote {ADA}": r"superuser +no",
    f"admin verify {ADA}": r"verified +yes",
    f"admin unverify {ADA}": r"verified +no",
    f"admin deactivate {ADA}": r"active +no",
    f"admin activate {ADA}": r"active +yes",
    "admin reset-password --password-stdin": r"password +changed",
}


def lines_of(project: Project, line: str) -> str:
    """Return the table of a command that succeeds."""
    result = project.run(*line.split(), stdin="Correct-Horse-7-Battery")
    assert result.code == 0, result
    return result.stdout


@on_sqlite
def test_changes_say_what_happened(project: Project) -> None:
    """The new value is in the table, and in a dry run that it would be."""
    populate(project)
    for line, pattern in OUTCOMES.items():
        would = pattern.replace("+", "+would be ")
        assert re.search(rf"^{would}$", lines_of(project, f"{line} --dry-run"), re.MULTILINE), line
        assert re.search(rf"^{pattern}$", lines_of(project, line), re.MULTILINE), line


@on_sqlite
def test_a_dry_run_would_revoke(project: Project) -> None:
    """The number of sessions in a conditional sentence."""
    populate(project)
    for line in (f"session revoke-user {ADA}", "session revoke-all", f"admin deactivate {ADA}"):
        shown = lines_of(project, f"{line} --dry-run")
        assert re.search(r"^would revoke +[34] sessions$", shown, re.MULTILINE), shown
        assert "sessions revoked" not in shown
        assert "would_" not in shown
    assert re.search(r"^result +revoked$", lines_of(project, f"session revoke-user {ADA}"), re.M)


@on_sqlite
def test_data_formats_keep_the_names_of_fields(project: Project) -> None:
    """What scripts read is not reworded."""
    populate(project)
    found = project.json("session", "revoke-all", "--dry-run")
    assert found == {"result": "would_revoke", "sessions_revoked": 4, "sessions_kept": 0}
    assert "active" not in project.json("admin", "deactivate", ADA, "--dry-run")


@on_sqlite
def test_a_session_and_its_account_are_distinguished(project: Project) -> None:
    """The state is the session's; flags and roles are named the account's. Times are whole."""
    populate(project)
    with terminal(project, "session", "show", "22222222") as shown:
        assert shown.end() == 0
    assert re.search(r"^state +idle$", shown.text, re.MULTILINE)
    assert re.search(r"^account active +yes$", shown.text, re.MULTILINE)
    assert not re.search(r"^active", shown.text, re.MULTILINE)
    assert re.search(r"^created +\d{4}-\d\d-\d\dT[0-9:.]+Z \(6 h ago\)$", shown.text, re.MULTILINE)
