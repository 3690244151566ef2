"""Superusers who cannot log in: the warnings of the commands that create or change them."""

import pytest

from tests.cli.scenes import ADMIN
from tests.support import PASSWORD, Project

GRACE = "grace@example.org"
RESET = ("admin", "reset-password")
UNVERIFIABLE = f"{ADMIN} cannot log in: the server cannot verify its password hash"


def lock_out(project: Project, stored: str = "!") -> None:
    """Replace the administrator's hash by text that cannot be verified."""
    project.rows('UPDATE "user" SET hashed_password = ? WHERE email = ?', stored, ADMIN)


@pytest.mark.parametrize("words", [("admin", "ensure"), ("db", "init")], ids=" ".join)
def test_a_superuser_whose_hash_cannot_be_verified_is_reported(
    project: Project, words: tuple[str, ...]
) -> None:
    """An active superuser exists: none is added, no password is set, and a hint is shown."""
    lock_out(project)
    before = project.rows('SELECT email, hashed_password FROM "user"')
    result = project.run(*words, "--password-stdin", stdin=PASSWORD)
    assert result.code == 0, result
    assert result.stderr.count(UNVERIFIABLE) == 1
    assert f"'clarinet admin reset-password {ADMIN}'" in result.stderr
    assert project.rows('SELECT email, hashed_password FROM "user"') == before


def test_one_who_can_log_in_is_enough(project: Project) -> None:
    """The report names that one, and there is nothing to warn of."""
    lock_out(project)
    project.add_user(GRACE, superuser=True)
    result = project.run("admin", "ensure", "-o", "json")
    assert (result.code, result.stderr, result.json["email"]) == (0, "", GRACE)


def test_a_reset_of_an_inactive_account_says_so(project: Project) -> None:
    """A warning says that the account still cannot log in."""
    project.add_user(GRACE, superuser=True, active=False)
    result = project.run(*RESET, GRACE, "--password-stdin", stdin=PASSWORD)
    assert result.code == 0, result
    assert (
        f"warning: the account is inactive: 'clarinet admin activate {GRACE}' activates it"
        in result.stderr
    )


@pytest.mark.parametrize("command", ["promote", "activate"])
def test_rights_for_one_who_can_not_log_in_are_warned_of(project: Project, command: str) -> None:
    """As with an inactive one; after a reset there is nothing to warn of."""
    lock_out(project)
    assert UNVERIFIABLE in project.run("admin", command, ADMIN).stderr
    reset = project.run(*RESET, "--password-stdin", stdin=PASSWORD)
    assert (reset.code, "warning" in reset.stderr) == (0, False)
    assert "warning" not in project.run("admin", command, ADMIN).stderr
