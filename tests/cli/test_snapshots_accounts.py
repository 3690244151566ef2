"""What the commands of accounts show: exit code, standard output and standard error together."""

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.scenes import ADA, ADMIN, populate
from tests.cli.shown import shown_in_turn
from tests.support import Project

SCENES = {
    "look": [
        f"admin show {ADMIN}",
        f"admin show {ADA}",
        f"admin show {ADA} -o json",
        f"admin show {ADA} -o plain",
        "admin show nobody@example.org",
        "admin show nobody",
        "admin roles",
        "admin roles -o json",
        "admin roles -o plain",
        "admin list --role nobody",
        "admin list --inactive",
    ],
    "change": [
        f"admin promote {ADA} --dry-run",
        f"admin promote {ADA}",
        f"admin promote {ADA}",
        f"admin demote {ADA} --dry-run",
        f"admin demote {ADA} -o json",
        f"admin demote {ADA} -o json",
        f"admin deactivate {ADA} -o plain",
        f"admin activate {ADA} -o plain",
        f"-q admin activate {ADA}",
        f"admin grant-role {ADA} doctor -o csv",
        f"admin revoke-role {ADA} doctor -o jsonl",
        f"admin delete {ADA}",
        f"admin delete {ADA} --dry-run",
        f"admin delete {ADA} --yes",
        f"admin delete {ADA} --yes",
    ],
    "refuse": [
        f"admin demote {ADMIN}",
        f"admin deactivate {ADMIN}",
        f"admin delete {ADMIN} --yes",
        f"admin grant-role {ADA} nobody",
        f"admin revoke-role {ADA} nobody",
        f"admin grant-role {ADA}",
        "admin promote",
        f"admin promote {ADA} --audit-log here",
        f"--audit-log /dev/full admin promote {ADA}",
        f"--audit-log /dev/null/none admin promote {ADA}",
        f"-q --audit-log /dev/full admin promote {ADA}",
    ],
}


@pytest.mark.parametrize("name", SCENES)
def test_accounts(project: Project, name: str, snapshot: SnapshotAssertion) -> None:
    """Exit codes, data and messages are those of the snapshot."""
    populate(project)
    assert shown_in_turn(project, SCENES[name]) == snapshot


def test_an_account_that_others_refer_to(project: Project, snapshot: SnapshotAssertion) -> None:
    """The refusal names table, column and number, and another way."""
    ada = populate(project)
    kind = "uuid" if project.server else "CHAR(32)"
    project.rows(f'CREATE TABLE notes (author {kind} REFERENCES "user" (id))')
    for _ in range(2):
        project.rows("INSERT INTO notes (author) VALUES (?)", ada)
    lines = [f"admin delete {ADA}", f"admin delete {ADA} --yes", f"admin deactivate {ADA}"]
    assert shown_in_turn(project, lines) == snapshot


def test_a_superuser_who_can_not_log_in(project: Project, snapshot: SnapshotAssertion) -> None:
    """A promotion warns about it, and the guard does not count that superuser."""
    project.add_user(ADA, active=False)
    lines = [
        f"admin promote {ADA} --dry-run",
        f"admin promote {ADA}",
        f"-q admin promote {ADA}",
        f"admin demote {ADMIN}",
        f"admin activate {ADA}",
        f"admin demote {ADMIN}",
    ]
    assert shown_in_turn(project, lines) == snapshot


def test_an_ambiguous_user(project: Project, snapshot: SnapshotAssertion) -> None:
    """The matches are listed, and what to give instead."""
    for number in (1, 2):
        user = project.add_user(f"user{number}@example.org")
        same = f"abcdef12-0000-4000-8000-00000000000{number}"
        value = same if project.server else same.replace("-", "")
        project.rows('UPDATE "user" SET id = ? WHERE id = ?', value, user)
    lines = ["admin show abcdef12", "admin delete abcdef12 --yes"]
    assert shown_in_turn(project, lines) == snapshot
