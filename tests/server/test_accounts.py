"""What a change of an account means at the server: who still gets in, and who no longer."""

import json
from typing import Any

import pytest

from tests.server.visits import accepts, log_in, logged_in
from tests.support import PASSWORD, Project

ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"


@pytest.fixture
def two_admins(project: Project) -> Project:
    """A project with two superusers besides the first, who have the same password."""
    for email in (ADA, BOB):
        words = ("admin", "create", "--email", email, "--password-stdin")
        assert project.run(*words, stdin=PASSWORD).code == 0
    return project


@pytest.mark.parametrize("command", ["demote", "deactivate", "delete"])
def test_losing_rights_revokes_the_sessions_at_once(two_admins: Project, command: str) -> None:
    """The cookie from before is refused; another user's stays good."""
    cookie, other = logged_in(two_admins, ADA, PASSWORD), logged_in(two_admins, BOB, PASSWORD)
    assert accepts(two_admins, cookie)
    done = two_admins.json("admin", command, ADA, *(["--yes"] if command == "delete" else []))
    assert done["sessions_revoked"] == 1
    assert not accepts(two_admins, cookie)
    assert accepts(two_admins, other)
    # Only a demoted account may come back, as an ordinary user.
    assert (log_in(two_admins, ADA, PASSWORD) is not None) is (command == "demote")


def test_an_account_that_is_activated_again_logs_in(two_admins: Project) -> None:
    """Its password is the old one; the cookies from before stay refused."""
    cookie = logged_in(two_admins, ADA, PASSWORD)
    two_admins.json("admin", "deactivate", ADA)
    two_admins.json("admin", "activate", ADA)
    assert not accepts(two_admins, cookie)
    assert accepts(two_admins, logged_in(two_admins, ADA, PASSWORD))


@pytest.mark.parametrize("words", [("promote", ADA), ("grant-role", ADA, "doctor")])
def test_gaining_rights_keeps_the_sessions(two_admins: Project, words: tuple[str, ...]) -> None:
    """A promotion or a role revokes no session."""
    two_admins.json("admin", "demote", ADA)
    cookie = logged_in(two_admins, ADA, PASSWORD)
    assert two_admins.json("admin", *words)["result"] == "updated"
    assert accepts(two_admins, cookie)


def test_applied_accounts_log_in(two_admins: Project) -> None:
    """With the generated password that was shown, and with that of a prepared hash."""
    query = 'SELECT hashed_password FROM "user" WHERE email = ?'
    prepared = two_admins.rows(query, ADA)[0][0]
    cookie = logged_in(two_admins, BOB, PASSWORD)
    rows: list[dict[str, Any]] = [
        {"email": "new1@clarinet.example", "password": "generate"},
        {"email": "new2@clarinet.example", "password": prepared},
        {"email": BOB, "is_superuser": False},
    ]
    done = two_admins.json("admin", "apply", "-", stdin=json.dumps(rows))
    assert accepts(two_admins, logged_in(two_admins, rows[0]["email"], done[0]["password"]))
    assert accepts(two_admins, logged_in(two_admins, rows[1]["email"], PASSWORD))
    assert not accepts(two_admins, cookie)
