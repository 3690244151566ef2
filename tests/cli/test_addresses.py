"""``admin set-email``, ``verify`` and ``unverify``, and ``admin create --regular``."""

import pytest

from clarinet_cli.exceptions import ExitCode
from tests import oracle
from tests.cli.scenes import ADA, ADMIN
from tests.support import Project

PASSWORD = "correct horse battery staple"
NEW = "ada.lovelace@example.org"
NO_WAIT = ("--settle", "0")


@pytest.fixture
def ada(project: Project) -> Project:
    """A project with Ada's account, two sessions of hers and one of the administrator."""
    words = ("admin", "create", ADA, "--regular", "--password-stdin")
    assert project.run(*words, stdin=PASSWORD).code == ExitCode.OK
    for email in (ADA, ADA, ADMIN):
        oracle.add_session(project, oracle.user_id_of(project, email))
    return project


def address_of(project: Project, user_id: object) -> str:
    """Return the stored address of an account."""
    found = project.json("admin", "show", str(user_id))
    return str(found["email"])


class TestSetEmail:
    """``admin set-email USER NEW``."""

    def test_stores_the_address_and_revokes_the_sessions(self, ada: Project) -> None:
        """The account keeps id, hash, flags and roles; only its own sessions end."""
        user_id, before = oracle.user_id_of(ada, ADA), oracle.account(ada, ADA)
        others = oracle.sessions_of(ada, ADMIN)
        change = ada.json("admin", "set-email", ADA, NEW, *NO_WAIT)
        assert change == {
            "id": str(user_id),
            "email": NEW,
            "result": "updated",
            "roles": [],
            "sessions_revoked": 2,
        }
        assert oracle.user_id_of(ada, NEW) == user_id
        assert oracle.account(ada, NEW) == before
        assert oracle.tokens(ada) == {session.token for session in others}

    def test_the_domain_is_normalised(self, ada: Project) -> None:
        """The address is stored in the form in which the server stores addresses."""
        assert ada.json("admin", "set-email", ADA, "Ada@EXAMPLE.net", *NO_WAIT)["email"] == (
            "Ada@example.net"
        )
        assert oracle.user_id_of(ada, "Ada@example.net")

    @pytest.mark.parametrize("address", [ADMIN, ADMIN.upper(), ADMIN.capitalize()])
    def test_an_address_of_another_account_is_a_conflict(self, ada: Project, address: str) -> None:
        """In any case of its letters, as the server compares them; nothing is changed."""
        before = oracle.snapshot(ada)
        result = ada.run("admin", "set-email", ADA, address)
        assert result.code == ExitCode.CONFLICT
        assert "another account has the address" in result.stderr
        assert oracle.snapshot(ada) == before

    def test_only_the_case_can_be_changed(self, ada: Project) -> None:
        """The account does not conflict with itself."""
        user_id = oracle.user_id_of(ada, ADA)
        assert ada.json("admin", "set-email", ADA, "ADA@example.org", *NO_WAIT)["result"] == (
            "updated"
        )
        assert oracle.user_id_of(ada, "ADA@example.org") == user_id

    def test_the_same_address_changes_nothing(self, ada: Project) -> None:
        """The sessions stay."""
        before = oracle.snapshot(ada)
        change = ada.json("admin", "set-email", ADA, ADA)
        assert (change["result"], change["sessions_revoked"]) == ("unchanged", 0)
        assert oracle.snapshot(ada) == before

    def test_a_dry_run_changes_nothing(self, ada: Project) -> None:
        """It reports what the real run does."""
        before = oracle.snapshot(ada)
        change = ada.json("admin", "set-email", ADA, NEW, "--dry-run")
        assert (change["result"], change["sessions_revoked"]) == ("would_update", 2)
        assert oracle.snapshot(ada) == before

    @pytest.mark.parametrize("address", ["nonsense", "a@b@c", "ada@localhost", ""])
    def test_what_is_no_address_is_refused(self, ada: Project, address: str) -> None:
        """The same rule as for new accounts."""
        before = oracle.snapshot(ada)
        assert ada.run("admin", "set-email", ADA, address).code == ExitCode.USAGE
        assert oracle.snapshot(ada) == before

    def test_an_unknown_account_is_not_found(self, ada: Project) -> None:
        """Nothing is changed."""
        before = oracle.snapshot(ada)
        assert ada.run("admin", "set-email", "who@example.org", NEW).code == ExitCode.NOT_FOUND
        assert oracle.snapshot(ada) == before


class TestVerify:
    """``admin verify USER`` and ``unverify USER``."""

    def test_the_flag_is_cleared_and_set(self, ada: Project) -> None:
        """Only the flag of this account changes; its sessions stay."""
        before = oracle.snapshot(ada)
        assert ada.json("admin", "unverify", ADA)["result"] == "updated"
        assert ada.json("admin", "show", ADA)["is_verified"] is False
        assert ada.json("admin", "show", ADMIN)["is_verified"] is True
        assert ada.json("admin", "unverify", ADA)["result"] == "unchanged"
        assert ada.json("admin", "verify", ADA, "--dry-run")["result"] == "would_update"
        assert ada.json("admin", "show", ADA)["is_verified"] is False
        assert ada.json("admin", "verify", ADA)["result"] == "updated"
        assert oracle.snapshot(ada) == before

    @pytest.mark.parametrize("command", ["verify", "unverify"])
    def test_an_unknown_account_is_not_found(self, ada: Project, command: str) -> None:
        """Exit code 3."""
        assert ada.run("admin", command, "who@example.org").code == ExitCode.NOT_FOUND


class TestCreate:
    """``admin create [USER] --regular``."""

    def test_a_regular_account_has_the_named_roles_alone(self, project: Project) -> None:
        """It is active and verified, no superuser, and has no role admin."""
        words = ("admin", "create", ADA, "--regular", "--role", "doctor", "--password-stdin")
        result = project.run(*words, "-o", "json", stdin=PASSWORD)
        assert (result.code, result.json["roles"]) == (ExitCode.OK, ["doctor"])
        assert oracle.account(project, ADA)[:3] == (True, False, True)
        assert oracle.roles_of(project, ADA) == {"doctor"}

    def test_an_existing_superuser_is_left_as_it_is(self, project: Project) -> None:
        """``--if-not-exists`` takes no rights away."""
        before = oracle.snapshot(project)
        words = ("admin", "create", ADMIN, "--regular", "--if-not-exists")
        assert project.json(*words)["result"] == "unchanged"
        assert oracle.snapshot(project) == before

    def test_an_existing_account_is_a_conflict(self, project: Project) -> None:
        """Nothing is changed, and no option is recommended that makes it a superuser."""
        before = oracle.snapshot(project)
        words = ("admin", "create", ADMIN, "--regular", "--generate-password")
        result = project.run(*words)
        assert result.code == ExitCode.CONFLICT
        assert "--update" not in result.stderr
        assert oracle.snapshot(project) == before

    def test_update_is_refused(self, project: Project) -> None:
        """``--update`` makes superusers."""
        before = oracle.snapshot(project)
        result = project.run("admin", "create", ADMIN, "--regular", "--update")
        assert result.code == ExitCode.USAGE
        assert "admin demote" in result.stderr
        assert oracle.snapshot(project) == before

    @pytest.mark.parametrize(
        "words",
        [(ADA,), ("--email", ADA), (ADA, "--email", ADA.upper()), ("--username", ADA)],
        ids=["position", "option", "both", "username"],
    )
    def test_the_account_is_named_by_position_or_option(
        self, project: Project, words: tuple[str, ...]
    ) -> None:
        """Both may be given if they agree."""
        result = project.run("admin", "create", *words, "--password-stdin", stdin=PASSWORD)
        assert result.code == ExitCode.OK, result
        assert oracle.account(project, ADA)[:3] == (True, True, True)

    @pytest.mark.parametrize(
        "words",
        [(ADA, "--email", NEW), (ADA, "--username", "ada"), ("--email", ADA, "--username", NEW)],
    )
    def test_different_addresses_are_refused(
        self, project: Project, words: tuple[str, ...]
    ) -> None:
        """Nothing is created."""
        before = oracle.snapshot(project)
        result = project.run("admin", "create", *words, "--generate-password")
        assert result.code == ExitCode.USAGE
        assert "different addresses" in result.stderr
        assert oracle.snapshot(project) == before

    def test_a_name_by_position_is_refused(self, project: Project) -> None:
        """The hint has an address with this name."""
        result = project.run("admin", "create", "ada", "--generate-password")
        assert result.code == ExitCode.USAGE
        assert "hint: give the whole address, such as ada@clarinet.ru" in result.stderr

    @pytest.mark.parametrize("name", ["", "ada lovelace", "a,b"])
    def test_what_gives_no_address_gets_no_hint(self, project: Project, name: str) -> None:
        """Only a name that can be part of an address is completed."""
        result = project.run("admin", "create", name, "--generate-password")
        assert result.code == ExitCode.USAGE
        assert "is not an e-mail address" in result.stderr
        assert "hint" not in result.stderr
