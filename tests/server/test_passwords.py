"""Who was given a password by the tool logs in with it at the server."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from clarinet_cli.services.accounts.passwords import NewPassword, hash_password
from clarinet_cli.settings import load_settings
from tests.oracle import SERVER_HASHER, deactivate, hash_of, remove_accounts, rows, snapshot
from tests.server.visits import accepts, log_in, logged_in, who_is
from tests.support import CHEAP_ARGON2, FIXTURE_PASSWORD, PASSWORD, Project

ADMIN = "admin@clarinet.ru"
ADA = "ada@clarinet.example"
DMITRI = "dmitri@clarinet.example"  # with a bcrypt hash in both fixtures
NEW = "a new one, 42 letters"
LONGER_THAN_BCRYPT = "p" * 71 + "äöü and more"
RESET = ("admin", "reset-password", "--password-stdin")


def activate(project: Project, email: str) -> None:
    """Make an account active without the tool."""
    rows(project, 'UPDATE "user" SET is_active = (1 = 1) WHERE email = ?', email)


def test_the_first_administrator_logs_in(project: Project) -> None:
    """'db init' made the account: its password opens the door, and no other one does."""
    cookie = logged_in(project, ADMIN, PASSWORD)
    found = who_is(project, cookie)
    assert found is not None
    assert found.pop("id")
    assert found == {
        "email": ADMIN,
        "is_active": True,
        "is_superuser": True,
        "is_verified": True,
    }
    assert log_in(project, ADMIN, PASSWORD + "x") is None
    assert accepts(project, cookie)
    assert not accepts(project, cookie[:-1])


def test_a_created_administrator_logs_in(project: Project) -> None:
    """The server has the account under the reported id."""
    created = project.json(
        "admin", "create", "--email", "ada@example.org", "--password-stdin", stdin=NEW
    )
    found = who_is(project, logged_in(project, "ada@example.org", NEW))
    assert found is not None
    assert (found["id"], found["email"]) == (created["id"], "ada@example.org")
    assert found["is_superuser"] is True
    assert log_in(project, "ada@example.org", PASSWORD) is None


def test_a_generated_password_logs_in(project: Project) -> None:
    """The generated password that was shown can log in."""
    created = project.json("admin", "create", "--email", "ada@example.org", "--generate-password")
    assert accepts(project, logged_in(project, "ada@example.org", created["password"]))


def test_the_administrator_that_was_made_sure_of_logs_in(project: Project) -> None:
    """'admin ensure' on a database without accounts makes one that opens the door."""
    remove_accounts(project)
    assert log_in(project, ADMIN, PASSWORD) is None
    assert project.json("admin", "ensure", "--password-stdin", stdin=NEW)["result"] == "created"
    assert accepts(project, logged_in(project, ADMIN, NEW))


def test_making_sure_again_changes_no_password(project: Project) -> None:
    """'admin ensure' leaves an administrator's password and cookie as they are."""
    cookie = logged_in(project, ADMIN, PASSWORD)
    assert project.json("admin", "ensure", "--password-stdin", stdin=NEW)["result"] == "unchanged"
    assert log_in(project, ADMIN, NEW) is None
    assert accepts(project, cookie)
    assert accepts(project, logged_in(project, ADMIN, PASSWORD))


def test_an_inactive_account_made_administrator_logs_in(server_project: Project) -> None:
    """'admin create --update' opens a door that the server kept shut."""
    deactivate(server_project, DMITRI)
    assert log_in(server_project, DMITRI, FIXTURE_PASSWORD) is None
    change = server_project.json("admin", "create", "--email", DMITRI, "--update")
    assert change["result"] == "updated"
    found = who_is(server_project, logged_in(server_project, DMITRI, FIXTURE_PASSWORD))
    assert found is not None
    assert (found["is_active"], found["is_superuser"]) == (True, True)


# --- After a reset -------------------------------------------------------------------------


def test_a_reset_shuts_out_the_old_password_and_the_old_cookies(project: Project) -> None:
    """Sessions from before are refused, the new password opens a new one."""
    before = [logged_in(project, ADMIN, PASSWORD) for _ in range(2)]
    assert all(accepts(project, cookie) for cookie in before)
    assert project.json(*RESET, stdin=NEW)["sessions_revoked"] == 2
    assert not any(accepts(project, cookie) for cookie in before)
    assert log_in(project, ADMIN, PASSWORD) is None
    assert accepts(project, logged_in(project, ADMIN, NEW))
    assert not any(accepts(project, cookie) for cookie in before)


def test_a_reset_leaves_others_logged_in(server_project: Project) -> None:
    """Only the account's own sessions end."""
    ada = logged_in(server_project, ADA, FIXTURE_PASSWORD)
    bob = logged_in(server_project, "bob@clarinet.example", FIXTURE_PASSWORD)
    server_project.json(*RESET, ADA, "--any-user", stdin=NEW)
    assert not accepts(server_project, ada)
    assert accepts(server_project, bob)


def test_a_reset_can_keep_the_cookies(project: Project) -> None:
    """With --keep-sessions the password changes, and who is inside stays inside."""
    cookie = logged_in(project, ADMIN, PASSWORD)
    assert project.json(*RESET, "--keep-sessions", stdin=NEW)["sessions_revoked"] == 0
    assert accepts(project, cookie)
    assert log_in(project, ADMIN, PASSWORD) is None


@pytest.mark.parametrize(
    ("options", "stdin", "code"),
    [
        ([ADA, "--any-user", "--dry-run"], NEW, 0),
        ([ADA, "--any-user"], "short", 2),
        ([ADA], NEW, 5),
        (["nobody@example.org"], NEW, 3),
    ],
)
def test_a_reset_that_does_not_happen_leaves_the_door_as_it_was(
    server_project: Project, options: list[str], stdin: str, code: int
) -> None:
    """After a dry run or a refusal the old password and the old cookie still serve."""
    cookie = logged_in(server_project, ADA, FIXTURE_PASSWORD)
    before = snapshot(server_project)
    assert server_project.run(*RESET, *options, stdin=stdin).code == code
    assert snapshot(server_project) == before
    assert accepts(server_project, cookie)
    assert log_in(server_project, ADA, NEW) is None
    assert accepts(server_project, logged_in(server_project, ADA, FIXTURE_PASSWORD))


def test_a_password_longer_than_bcrypt_takes_replaces_a_bcrypt_hash(
    server_project: Project,
) -> None:
    """All its characters count, also those after the 72 bytes that bcrypt uses."""
    activate(server_project, DMITRI)
    assert hash_of(server_project, DMITRI).startswith("$2b$12$")
    server_project.json(*RESET, DMITRI, "--any-user", stdin=LONGER_THAN_BCRYPT)
    assert accepts(server_project, logged_in(server_project, DMITRI, LONGER_THAN_BCRYPT))
    assert log_in(server_project, DMITRI, LONGER_THAN_BCRYPT[:-1]) is None


# --- Hashes --------------------------------------------------------------------------------


def test_the_users_of_a_real_server_log_in(server_project: Project) -> None:
    """The application in the tests reads a real server's database as that server did."""
    users = rows(server_project, 'SELECT email, is_active FROM "user" WHERE is_superuser = (1 = 0)')
    assert len(users) >= 4
    for email, active in users:
        assert (log_in(server_project, email, FIXTURE_PASSWORD) is not None) == bool(active)
        assert log_in(server_project, email, FIXTURE_PASSWORD + " ") is None


def test_an_inactive_user_gets_no_session(server_project: Project) -> None:
    """The right password does not help, and no row is written."""
    deactivate(server_project, ADA)
    tokens = server_project.tokens()
    assert log_in(server_project, ADA, FIXTURE_PASSWORD) is None
    assert server_project.tokens() == tokens


@pytest.mark.usefixtures("real_hashes")
def test_a_log_in_turns_bcrypt_into_argon2(server_project: Project) -> None:
    """The server rehashes the password; the tool keeps that hash, and a reset replaces it."""
    activate(server_project, DMITRI)
    assert hash_of(server_project, DMITRI).startswith("$2b$12$")
    logged_in(server_project, DMITRI, FIXTURE_PASSWORD)
    rewritten = hash_of(server_project, DMITRI)
    assert rewritten.startswith("$argon2id$")
    assert SERVER_HASHER.verify(FIXTURE_PASSWORD, rewritten)
    assert DMITRI in {row["email"] for row in server_project.json("admin", "list", "--all")}
    assert hash_of(server_project, DMITRI) == rewritten
    server_project.json(*RESET, DMITRI, "--any-user", stdin=NEW)
    assert accepts(server_project, logged_in(server_project, DMITRI, NEW))


@pytest.mark.usefixtures("real_hashes")
def test_a_log_in_leaves_a_hash_of_the_default_cost(project: Project) -> None:
    """The tool's defaults are the server's own: what is current here is current there."""
    (project.directory / "settings.toml").write_text(project.database_settings, encoding="utf-8")
    project.json(*RESET, stdin=NEW)
    before = hash_of(project, ADMIN)
    logged_in(project, ADMIN, NEW)
    assert hash_of(project, ADMIN) == before


@pytest.mark.usefixtures("real_hashes")
def test_a_log_in_brings_a_hash_of_another_cost_up_to_date(project: Project) -> None:
    """The server rewrites a hash that was made cheaper; the password stays the same."""
    before = hash_of(project, ADMIN)
    assert "m=7168,t=5,p=1" in before
    logged_in(project, ADMIN, PASSWORD)
    after = hash_of(project, ADMIN)
    assert "m=65536,t=3,p=4" in after
    assert SERVER_HASHER.verify(PASSWORD, after)
    logged_in(project, ADMIN, PASSWORD)
    assert hash_of(project, ADMIN) == after


@pytest.mark.usefixtures("real_hashes")
@pytest.mark.parametrize(("toml", "current"), [("", True), (CHEAP_ARGON2, False)])
def test_the_server_sees_whether_a_hash_is_current(
    tmp_path: Path, toml: str, current: bool
) -> None:
    """Its library verifies a hash made here, and offers a new one unless the cost is its own."""
    (tmp_path / "settings.toml").write_text(toml, encoding="utf-8")
    hashed = hash_password(NewPassword(NEW), load_settings(tmp_path))
    verified, renewed = SERVER_HASHER.verify_and_update(NEW, hashed)
    assert (verified, renewed is None) == (True, current)
    assert PasswordHasher().check_needs_rehash(hashed) is not current
    assert not SERVER_HASHER.verify(NEW + "x", hashed)
