"""``admin delete``: what is asked first, who is asked, and what each answer does."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.scenes import ADA, ADMIN, assert_failed, everything, populate
from tests.cli.terminal import CTRL_C, CTRL_D, terminal
from tests.support import Project

DELETE = ("admin", "delete", ADA)

# The database plays no part in what is tested so.
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def addresses(project: Project) -> set[str]:
    """Return the addresses of all accounts."""
    return {row[0] for row in project.rows('SELECT email FROM "user"')}


def test_an_account_is_deleted_after_a_yes(project: Project) -> None:
    """The question has the address, the id, the database and the counts; y does it."""
    ada = populate(project)
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)", ada, "doctor")
    with terminal(project, *DELETE, columns=300) as shown:
        shown.expect("[y/n]")
        question = " ".join(shown.text.split())
        shown.type("y\n")
        assert shown.end() == 0, shown.screen
    assert f"Delete {ADA} ({ada}) from " in question
    assert project.database in question
    assert "(roles: 1, sessions: 3)?" in question
    assert addresses(project) == {ADMIN}
    assert project.tokens() == {"44444444-admin"}


@on_sqlite
@pytest.mark.parametrize(
    ("keys", "code"),
    [("n\n", 5), ("\n", 5), ("maybe\nn\n", 5), (CTRL_D, 5), (CTRL_C, 130)],
    ids=["n", "Return", "maybe", "Ctrl-D", "Ctrl-C"],
)
def test_any_other_answer_changes_nothing(project: Project, keys: str, code: int) -> None:
    """n, Return and Ctrl-D refuse with 5, Ctrl-C with 130; the account stays."""
    populate(project)
    before = everything(project)
    with terminal(project, *DELETE) as shown:
        shown.expect("[y/n]")
        shown.type(keys)
        assert shown.end() == code, shown.screen
    assert "Traceback" not in shown.screen
    assert everything(project) == before


@on_sqlite
def test_yes_answers_the_question(project: Project) -> None:
    """With --yes nothing is asked, also on a terminal."""
    populate(project)
    with terminal(project, *DELETE, "--yes") as shown:
        assert shown.end() == 0, shown.screen
    assert "[y/n]" not in shown.screen
    assert addresses(project) == {ADMIN}


@on_sqlite
def test_a_dry_run_is_not_asked_about(project: Project) -> None:
    """Nothing is going to happen: no question, and nothing happens."""
    populate(project)
    before = everything(project)
    with terminal(project, *DELETE, "--dry-run") as shown:
        assert shown.end() == 0, shown.screen
    assert "[y/n]" not in shown.screen
    assert "would delete" in shown.screen
    assert everything(project) == before


@on_sqlite
def test_the_question_is_no_data(project: Project, tmp_path: Path) -> None:
    """With stdout in a file the question is on the terminal and the file has JSON only."""
    populate(project)
    data = tmp_path / "data"
    with terminal(project, *DELETE, "-o", "json", stdout=data) as shown:
        shown.answer("[y/n]", "y")
        assert shown.end() == 0, shown.screen
    assert json.loads(data.read_text())["result"] == "deleted"


@on_sqlite
@pytest.mark.parametrize("options", [("--no-input",), ()])
def test_without_a_terminal_it_is_refused(project: Project, options: tuple[str, ...]) -> None:
    """Exit 5 names --yes and what would be deleted, on a terminal or without one."""
    populate(project)
    before = everything(project)
    result = project.run(*options, *DELETE)
    assert_failed(result, 5)
    assert re.search(rf"not confirmed: Delete {ADA} .*sessions: 3", result.stderr)
    assert "hint: use --yes" in result.stderr
    if options:
        with terminal(project, *options, *DELETE) as shown:
            assert shown.end() == 5, shown.screen
        assert "[y/n]" not in shown.screen
    assert everything(project) == before


@on_sqlite
@pytest.mark.parametrize(
    ("who", "code", "why"),
    [(ADMIN, 5, "last active superuser"), ("nobody@example.org", 3, "no user")],
)
def test_what_is_refused_is_refused_before_the_prompt(
    project: Project, who: str, code: int, why: str
) -> None:
    """The refusal comes before the prompt."""
    populate(project)
    before = everything(project)
    with terminal(project, "admin", "delete", who, columns=300) as shown:
        assert shown.end() == code, shown.screen
    assert "[y/n]" not in shown.screen
    assert why in shown.text
    assert everything(project) == before


@on_sqlite
def test_only_the_account_of_the_prompt_is_deleted(project: Project) -> None:
    """Another account that gets the address after the prompt is not deleted."""
    ada = populate(project)
    with terminal(project, *DELETE) as shown:
        shown.expect("[y/n]")
        project.rows("UPDATE \"user\" SET email = 'old@example.org' WHERE id = ?", ada)
        project.add_user(ADA)
        shown.type("y\n")
        assert shown.end() == 0, shown.screen
    assert addresses(project) == {ADMIN, ADA}
