"""``clarinet db check``: formats and exit codes."""

import csv
import io
import json

import pytest

from tests.support import Project

FORMATS = ("table", "json", "jsonl", "csv", "plain")


@pytest.mark.parametrize("output", FORMATS)
def test_each_format_of_a_sound_database(project: Project, output: str) -> None:
    """Exit 0, and one line for each check."""
    result = project.run("db", "check", "-o", output)
    assert (result.code, result.stderr) == (0, ""), result
    assert "timestamps" in result.stdout
    if output == "json":
        assert list(result.json[0]) == ["check", "status", "detail", "hint"]
    if output == "jsonl":
        assert all(map(json.loads, result.stdout.splitlines()))
    if output == "csv":
        assert len(list(csv.DictReader(io.StringIO(result.stdout)))) >= 8


def test_an_error_is_exit_6(project: Project) -> None:
    """The findings on standard output, the number of errors on the other."""
    project.add_user("a@example.org")
    project.add_user("A@example.org")
    result = project.run("db", "check", "-o", "json")
    assert (result.code, result.stderr) == (6, "error: found 1 error, 0 warnings\n")
    assert [row["check"] for row in result.json if row["status"] != "ok"] == ["addresses"]
    quiet = project.run("-q", "db", "check")
    assert (quiet.code, quiet.stdout) == (6, "")


def test_no_database_is_exit_7(empty_project: Project) -> None:
    """Nothing can be checked."""
    result = empty_project.run("db", "check")
    assert (result.code, result.stdout) == (7, "")


def test_it_changes_nothing(project: Project) -> None:
    """The rows are as they were."""
    project.add_session(project.add_user("a@example.org"))
    before = project.rows("SELECT * FROM access_token")
    assert project.run("db", "check").code == 0
    assert project.rows("SELECT * FROM access_token") == before
