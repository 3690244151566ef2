"""Accounts: made, repaired, given new passwords; refusals leave everything as it was."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Optional
from uuid import UUID

import pytest

from clarinet_cli.exceptions import (
    ClarinetError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.passwords import NewPassword, generate_password
from clarinet_cli.utils.admin import ensure_admin_exists, list_admin_users, reset_admin_password
from tests import oracle
from tests.operations import create_superuser, find_account
from tests.oracle import SERVER_HASHER
from tests.support import FIXTURE_NOW, SOME_HASH, Project

ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"
DMITRI = "dmitri@clarinet.example"
FIRST_ADMIN = "admin@clarinet.ru"
GIVEN = NewPassword("brand new secret 7")
OTHER = NewPassword("another secret 99")
# How one and the same account can be named.
SPELLINGS: dict[str, Callable[[str, UUID], str]] = {
    "address": lambda email, user_id: email,
    "capitals": lambda email, user_id: email.upper(),
    "UUID": lambda email, user_id: str(user_id),
    "UUID without dashes": lambda email, user_id: user_id.hex,
    "UUID in capitals": lambda email, user_id: str(user_id).upper(),
    "8 digits": lambda email, user_id: user_id.hex[:8],
    "digits and dash": lambda email, user_id: str(user_id)[:13],
}
NOBODY = (
    "",
    "@",
    "ada",
    "%@clarinet.example",
    "deadbee",
    "deadbeef" * 5,
    "' OR 1=1 --@x",
    "ada@clarinet.example\n",
    "[red]@clarinet.example",
)


def verifies(project: Project, email: str, password: NewPassword) -> bool:
    """Whether the server would let the account in with this password."""
    return SERVER_HASHER.verify(password.text, oracle.hash_of(project, email))


def add_live_sessions(project: Project, email: str, number: int) -> None:
    """Insert live sessions of an account without the tool."""
    user_id = oracle.user_id_of(project, email)
    oracle.add_sessions(project, user_id, number, now=FIXTURE_NOW, dead=False)


def hashes_of_others(project: Project, email: str) -> dict[str, str]:
    """Return the hash of every account but one."""
    found = oracle.rows(project, 'SELECT email, hashed_password FROM "user"')
    return {row[0]: row[1] for row in found if row[0] != email}


class TestCreate:
    """``create_superuser`` with an address that no account has."""

    async def test_makes_an_active_verified_superuser(self, project: Project) -> None:
        """The account, its flags, its role and its hash are in the database, and reported."""
        change = await create_superuser(project.settings, ADA, GIVEN)
        user_id = oracle.user_id_of(project, ADA)
        assert change.id is not None
        assert UUID(str(change.id)) == user_id
        assert (change.email, change.result, change.roles) == (ADA, "created", ("admin",))
        assert change.sessions_revoked == 0
        assert oracle.account(project, ADA)[:3] == (True, True, True)
        assert oracle.roles_of(project, ADA) == {"admin"}

    async def test_hash_is_argon2id_and_verifies_on_the_server(self, project: Project) -> None:
        """The server's own library accepts the password and no other."""
        await create_superuser(project.settings, ADA, GIVEN)
        assert oracle.hash_of(project, ADA).startswith("$argon2id$")
        assert verifies(project, ADA, GIVEN)
        assert not verifies(project, ADA, OTHER)

    async def test_other_accounts_stay_as_they_are(self, server_project: Project) -> None:
        """Old bcrypt hashes and sessions of other users are not touched."""
        before = oracle.snapshot(server_project)
        others = hashes_of_others(server_project, "new@clarinet.example")
        assert any(text.startswith("$2b$") for text in others.values())
        await create_superuser(server_project.settings, "new@clarinet.example", GIVEN)
        after = oracle.snapshot(server_project)
        assert hashes_of_others(server_project, "new@clarinet.example") == others
        assert set(before["user"]) < set(after["user"])
        ours = ("user", "userroleslink")
        assert oracle.without(after, *ours) == oracle.without(before, *ours)

    async def test_further_roles_are_granted(self, project: Project) -> None:
        """The role 'admin' comes with every superuser, others on request, each once."""
        change = await create_superuser(
            project.settings, ADA, GIVEN, roles=["expert", "doctor", "expert"]
        )
        assert change.roles == ("admin", "doctor", "expert")
        assert oracle.roles_of(project, ADA) == {"admin", "doctor", "expert"}

    async def test_role_admin_is_made_when_missing(self, project: Project) -> None:
        """A database without the role 'admin' gets it with the first superuser."""
        oracle.remove_accounts(project)
        oracle.rows(project, "DELETE FROM userrole")
        change = await create_superuser(project.settings, ADA, GIVEN)
        assert change.roles == ("admin",)
        assert oracle.rows(project, "SELECT name FROM userrole") == [("admin",)]

    async def test_given_password_is_not_reported(self, project: Project) -> None:
        """A given password is in no part of the result."""
        change = await create_superuser(project.settings, ADA, GIVEN)
        assert change.password is None
        assert GIVEN.text not in repr(change)

    async def test_generated_password_is_reported_and_works(self, project: Project) -> None:
        """A generated password is only in its field, not in a representation."""
        password = generate_password()
        change = await create_superuser(project.settings, ADA, password)
        assert change.password == password.text
        assert password.text not in repr(change)
        assert verifies(project, ADA, password)

    @pytest.mark.parametrize("option", ["update", "if_not_exists"])
    async def test_options_for_existing_accounts_create_missing_ones(
        self, project: Project, option: str
    ) -> None:
        """--update and --if-not-exists make the account when there is none."""
        options: dict[str, Any] = {option: True}
        change = await create_superuser(project.settings, ADA, GIVEN, **options)
        assert change.result == "created"
        assert oracle.account(project, ADA)[:3] == (True, True, True)
        assert verifies(project, ADA, GIVEN)

    async def test_many_at_once_in_different_case_make_one_account(self, project: Project) -> None:
        """Programs create the same address, spelt differently: one wins, the others conflict."""
        before = oracle.count(project, "user")
        names = ("twin", "Twin", "tWin", "twIn", "twiN", "TWIN")
        spellings = [f"{name}@clarinet.example" for name in names]
        outcomes = await asyncio.gather(
            *(create_superuser(project.settings, email, GIVEN) for email in spellings),
            return_exceptions=True,
        )
        kinds = sorted(type(outcome).__name__ for outcome in outcomes)
        assert kinds == ["AccountChange"] + ["ConflictError"] * 5
        assert oracle.count(project, "user") == before + 1
        winner = next(item for item in outcomes if isinstance(item, AccountChange))
        assert oracle.account(project, winner.email)[:3] == (True, True, True)


class TestExisting:
    """``create_superuser`` with an address that an account has."""

    @pytest.mark.parametrize("spelling", [ADA, "ADA@clarinet.example"])
    async def test_is_a_conflict(self, server_project: Project, spelling: str) -> None:
        """An account with the address, in any case, is not made again nor changed."""
        before = oracle.snapshot(server_project)
        with pytest.raises(ConflictError, match="already exists"):
            await create_superuser(server_project.settings, spelling, GIVEN)
        assert oracle.snapshot(server_project) == before

    async def test_if_not_exists_leaves_it_as_it_is(self, server_project: Project) -> None:
        """Neither flags nor roles nor password change, and the result is 'unchanged'."""
        oracle.deactivate(server_project, ADA)
        before = oracle.snapshot(server_project)
        change = await create_superuser(
            server_project.settings, ADA.title(), GIVEN, roles=["doctor"], if_not_exists=True
        )
        assert (change.result, change.email, change.roles) == ("unchanged", ADA, ())
        assert change.sessions_revoked == 0
        assert oracle.snapshot(server_project) == before

    async def test_if_not_exists_reports_no_password(self, server_project: Project) -> None:
        """A generated password that was not set is not reported: it would not work."""
        change = await create_superuser(
            server_project.settings, ADA, generate_password(), if_not_exists=True
        )
        assert change.password is None

    async def test_update_makes_it_an_active_superuser(self, server_project: Project) -> None:
        """An inactive account without the flag becomes an administrator, its roles added to."""
        oracle.deactivate(server_project, ADA)
        oracle.rows(
            server_project,
            "INSERT INTO userroleslink VALUES (?, 'doctor')",
            oracle.user_id_of(server_project, ADA),
        )
        change = await create_superuser(server_project.settings, ADA, None, update=True)
        assert (change.result, change.roles) == ("updated", ("admin", "doctor"))
        assert oracle.account(server_project, ADA)[:2] == (True, True)
        assert oracle.roles_of(server_project, ADA) == {"admin", "doctor"}

    async def test_update_without_password_keeps_hash_and_sessions(
        self, server_project: Project
    ) -> None:
        """Who gets no new password stays logged in."""
        hashed = oracle.hash_of(server_project, ADA)
        sessions = oracle.tokens(server_project)
        change = await create_superuser(server_project.settings, ADA, None, update=True)
        assert change.result == "updated"
        assert change.sessions_revoked == 0
        assert oracle.hash_of(server_project, ADA) == hashed
        assert oracle.tokens(server_project) == sessions

    async def test_update_with_password_ends_the_sessions(self, server_project: Project) -> None:
        """A new password ends only the account's own sessions."""
        own = {item.token for item in oracle.sessions_of(server_project, ADA)}
        before = oracle.tokens(server_project)
        others = hashes_of_others(server_project, ADA)
        change = await create_superuser(server_project.settings, ADA, GIVEN, update=True)
        assert (change.result, change.sessions_revoked) == ("updated", len(own))
        assert verifies(server_project, ADA, GIVEN)
        assert oracle.tokens(server_project) == before - own
        assert hashes_of_others(server_project, ADA) == others

    async def test_update_grants_further_roles(self, server_project: Project) -> None:
        """A role that is asked for is added to those that the account has."""
        email = superuser_of(server_project)
        change = await create_superuser(
            server_project.settings, email, None, roles=["doctor"], update=True
        )
        assert (change.result, change.roles) == ("updated", ("admin", "doctor"))
        assert oracle.roles_of(server_project, email) == {"admin", "doctor"}

    async def test_update_of_what_is_right_changes_nothing(self, server_project: Project) -> None:
        """An active superuser with the role 'admin' is reported as unchanged."""
        before = oracle.snapshot(server_project)
        email = superuser_of(server_project)
        change = await create_superuser(server_project.settings, email, None, update=True)
        assert (change.result, change.roles) == ("unchanged", ("admin",))
        assert oracle.snapshot(server_project) == before

    async def test_update_prefers_the_exact_spelling(self, project: Project) -> None:
        """Of two accounts that differ in case only, the one that was typed is changed."""
        for email in ("dora@clarinet.example", "DORA@clarinet.example"):
            oracle.add_user(project, email)
        change = await create_superuser(
            project.settings, "DORA@clarinet.example", None, update=True
        )
        assert change.email == "DORA@clarinet.example"
        assert oracle.account(project, "DORA@clarinet.example")[1]
        assert not oracle.account(project, "dora@clarinet.example")[1]

    async def test_update_of_an_ambiguous_address_is_refused(self, project: Project) -> None:
        """No account is made an administrator because it happened to come first."""
        for email in ("dora@clarinet.example", "DORA@clarinet.example"):
            oracle.add_user(project, email)
        before = oracle.snapshot(project)
        with pytest.raises(RefusedError, match="ambiguous"):
            await create_superuser(project.settings, "Dora@clarinet.example", GIVEN, update=True)
        assert oracle.snapshot(project) == before


class TestRefusedCreation:
    """``create_superuser`` with what cannot be used: nothing is half done."""

    @pytest.mark.parametrize("update", [False, True])
    async def test_unknown_role_is_not_found(self, project: Project, *, update: bool) -> None:
        """The error names the unknown role, the hint those that exist; nothing is written."""
        if update:
            oracle.add_user(project, ADA)
        before = oracle.snapshot(project)
        with pytest.raises(NotFoundError, match="astronaut") as caught:
            await create_superuser(
                project.settings, ADA, GIVEN, roles=["doctor", "astronaut"], update=update
            )
        assert "doctor" in str(caught.value.hint)
        assert oracle.snapshot(project) == before

    @pytest.mark.parametrize(
        "password",
        [
            NewPassword("t1ny!"),
            NewPassword("password123"),
            NewPassword(ADA),
            NewPassword("a\0" * 8),
        ],
        ids=["short", "well-known", "address", "NUL"],
    )
    async def test_password_against_the_rules_is_invalid(
        self, project: Project, password: NewPassword
    ) -> None:
        """The error names the rule, not the password, and nothing is written."""
        before = oracle.snapshot(project)
        with pytest.raises(InvalidInputError) as caught:
            await create_superuser(project.settings, ADA, password)
        assert password.text not in caught.value.message
        assert oracle.snapshot(project) == before

    async def test_strong_passwords_can_be_demanded(self, project: Project) -> None:
        """admin_require_strong_password refuses what would pass without it."""
        project.write_settings("admin_require_strong_password = true\n")
        before = oracle.snapshot(project)
        with pytest.raises(InvalidInputError, match="upper-case"):
            await create_superuser(project.settings, ADA, NewPassword("all lower case 1"))
        assert oracle.snapshot(project) == before

    async def test_new_account_needs_a_password(self, project: Project) -> None:
        """Without a password there is nothing to make an account with."""
        before = oracle.snapshot(project)
        with pytest.raises(InvalidInputError, match="password"):
            await create_superuser(project.settings, ADA, None)
        assert oracle.snapshot(project) == before


class TestResetPassword:
    """``reset_admin_password``."""

    async def test_sets_the_password_and_ends_the_sessions(self, server_project: Project) -> None:
        """The new password works, the account's sessions are gone, other users' are not."""
        email = superuser_of(server_project)
        own = {item.token for item in oracle.sessions_of(server_project, email)}
        before = oracle.snapshot(server_project)
        tokens = oracle.tokens(server_project)
        others = hashes_of_others(server_project, email)
        change = await reset_admin_password(server_project.settings, email, GIVEN)
        assert (change.result, change.email, change.roles) == ("updated", email, ("admin",))
        assert change.sessions_revoked == len(own) > 0
        assert change.password is None
        assert verifies(server_project, email, GIVEN)
        assert oracle.tokens(server_project) == tokens - own
        assert hashes_of_others(server_project, email) == others
        ours = ("user", "access_token")
        after = oracle.snapshot(server_project)
        assert oracle.without(after, *ours) == oracle.without(before, *ours)

    async def test_flags_and_roles_stay(self, server_project: Project) -> None:
        """A new password neither activates nor promotes."""
        oracle.deactivate(server_project, ADA)
        await reset_admin_password(server_project.settings, ADA, GIVEN, any_user=True)
        assert oracle.account(server_project, ADA)[:3] == (False, False, False)
        assert oracle.roles_of(server_project, ADA) == set()

    async def test_keep_sessions_keeps_them(self, server_project: Project) -> None:
        """On request the sessions live on with the new password."""
        email = superuser_of(server_project)
        tokens = oracle.tokens(server_project)
        change = await reset_admin_password(
            server_project.settings, email, GIVEN, keep_sessions=True
        )
        assert (change.result, change.sessions_revoked) == ("updated", 0)
        assert verifies(server_project, email, GIVEN)
        assert oracle.tokens(server_project) == tokens

    async def test_password_and_sessions_are_one_transaction(self, server_project: Project) -> None:
        """When the sessions cannot be removed, the old password stays."""
        oracle.forbid_deleting_sessions(server_project)
        before = oracle.snapshot(server_project)
        with pytest.raises(ClarinetError):
            await reset_admin_password(server_project.settings, superuser_of(server_project), GIVEN)
        assert oracle.snapshot(server_project) == before

    async def test_generated_password_is_reported_and_works(self, project: Project) -> None:
        """A generated password is only in its field, not in a representation."""
        password = generate_password()
        change = await reset_admin_password(project.settings, FIRST_ADMIN, password)
        assert change.password == password.text
        assert password.text not in repr(change)
        assert verifies(project, FIRST_ADMIN, password)

    async def test_ordinary_user_is_refused(self, server_project: Project) -> None:
        """Not a superuser: refused with the flag that allows it, nothing changed."""
        before = oracle.snapshot(server_project)
        with pytest.raises(RefusedError, match="not a superuser") as caught:
            await reset_admin_password(server_project.settings, ADA, GIVEN)
        assert "--any-user" in str(caught.value.hint)
        assert oracle.snapshot(server_project) == before

    async def test_any_user_allows_ordinary_users(self, server_project: Project) -> None:
        """With any_user an ordinary user gets the new password and has to log in again."""
        change = await reset_admin_password(server_project.settings, ADA, GIVEN, any_user=True)
        assert (change.email, change.sessions_revoked) == (ADA, 7)
        assert verifies(server_project, ADA, GIVEN)
        assert oracle.sessions_of(server_project, ADA) == []

    async def test_old_bcrypt_hash_is_replaced_by_argon2(self, server_project: Project) -> None:
        """A user with an old hash gets a current one with the new password."""
        assert oracle.hash_of(server_project, DMITRI).startswith("$2b$")
        assert verifies(server_project, DMITRI, NewPassword("fixture-pass-1"))
        await reset_admin_password(server_project.settings, DMITRI, GIVEN, any_user=True)
        assert oracle.hash_of(server_project, DMITRI).startswith("$argon2id$")
        assert verifies(server_project, DMITRI, GIVEN)
        assert not verifies(server_project, DMITRI, NewPassword("fixture-pass-1"))

    @pytest.mark.parametrize("spelling", ["capitals", "8 digits"])
    async def test_account_can_be_named_in_many_ways(
        self, server_project: Project, spelling: str
    ) -> None:
        """An address in another case and a UUID prefix mean the one account."""
        who = SPELLINGS[spelling](ADA, oracle.user_id_of(server_project, ADA))
        others = hashes_of_others(server_project, ADA)
        change = await reset_admin_password(server_project.settings, who, GIVEN, any_user=True)
        assert change.email == ADA
        assert verifies(server_project, ADA, GIVEN)
        assert hashes_of_others(server_project, ADA) == others

    async def test_unknown_user_is_not_found(self, server_project: Project) -> None:
        """An unknown identifier changes no account."""
        before = oracle.snapshot(server_project)
        for who in ("nobody@clarinet.example", "nobody", "deadbeef"):
            with pytest.raises(NotFoundError):
                await reset_admin_password(server_project.settings, who, GIVEN, any_user=True)
        assert oracle.snapshot(server_project) == before

    async def test_digits_that_read_like_a_number_match_no_account(
        self, server_project: Project
    ) -> None:
        """No UUID begins with these decimal digits: no password is changed."""
        before = oracle.snapshot(server_project)
        for who in ("12345678", "99999999"):
            with pytest.raises(NotFoundError):
                await reset_admin_password(server_project.settings, who, GIVEN, any_user=True)
        assert oracle.snapshot(server_project) == before

    async def test_ambiguous_user_is_refused_with_the_matches(self, project: Project) -> None:
        """Two accounts match: both are listed, none is changed."""
        ids = [
            oracle.add_user(project, email)
            for email in ("dora@x.example.org", "DORA@x.example.org")
        ]
        before = oracle.snapshot(project)
        with pytest.raises(RefusedError, match="ambiguous") as caught:
            await reset_admin_password(project.settings, "Dora@x.example.org", GIVEN, any_user=True)
        for text in ("dora@x.example.org", "DORA@x.example.org", *map(str, ids)):
            assert text in caught.value.message
        assert oracle.snapshot(project) == before

    async def test_exact_spelling_is_not_ambiguous(self, project: Project) -> None:
        """The spelling of one of two accounts means that one."""
        for email in ("dora@x.example.org", "DORA@x.example.org"):
            oracle.add_user(project, email)
        await reset_admin_password(project.settings, "DORA@x.example.org", GIVEN, any_user=True)
        assert verifies(project, "DORA@x.example.org", GIVEN)
        assert oracle.hash_of(project, "dora@x.example.org") == SOME_HASH

    async def test_password_against_the_rules_is_invalid(self, server_project: Project) -> None:
        """The account's own address is no password, and nothing is written."""
        before = oracle.snapshot(server_project)
        email = superuser_of(server_project)
        with pytest.raises(InvalidInputError, match="e-mail address"):
            await reset_admin_password(server_project.settings, email, NewPassword(email.upper()))
        assert oracle.snapshot(server_project) == before


class TestDryRun:
    """The same questions to the database, "would" in the answer, and nothing written."""

    @pytest.mark.parametrize("password", [GIVEN, None], ids=["password", "none"])
    async def test_create(self, server_project: Project, password: Optional[NewPassword]) -> None:
        """An account that would be created has no id yet, and no password is asked for."""
        before = oracle.snapshot(server_project)
        change = await create_superuser(
            server_project.settings,
            "new@clarinet.example",
            password,
            roles=["doctor"],
            dry_run=True,
        )
        assert (change.result, change.id) == ("would_create", None)
        assert change.roles == ("admin", "doctor")
        assert oracle.snapshot(server_project) == before

    @pytest.mark.parametrize(("password", "revoked"), [(GIVEN, 7), (None, 0)])
    async def test_update(
        self, server_project: Project, password: Optional[NewPassword], revoked: int
    ) -> None:
        """An account that would be updated is named, with the sessions that would end."""
        before = oracle.snapshot(server_project)
        change = await create_superuser(
            server_project.settings, ADA, password, update=True, dry_run=True
        )
        assert (change.result, change.roles) == ("would_update", ("admin",))
        assert UUID(str(change.id)) == oracle.user_id_of(server_project, ADA)
        assert change.sessions_revoked == revoked
        assert oracle.snapshot(server_project) == before

    async def test_nothing_to_update(self, server_project: Project) -> None:
        """What is right already would stay as it is."""
        before = oracle.snapshot(server_project)
        email = superuser_of(server_project)
        change = await create_superuser(
            server_project.settings, email, None, update=True, dry_run=True
        )
        assert change.result == "unchanged"
        assert oracle.snapshot(server_project) == before

    async def test_generated_password_is_not_reported(self, project: Project) -> None:
        """A password that was not set is not reported."""
        change = await create_superuser(project.settings, ADA, generate_password(), dry_run=True)
        assert (change.result, change.password) == ("would_create", None)

    async def test_reset(self, server_project: Project) -> None:
        """The sessions that would end are counted, and both they and the password stay."""
        before = oracle.snapshot(server_project)
        email = superuser_of(server_project)
        change = await reset_admin_password(server_project.settings, email, GIVEN, dry_run=True)
        own = oracle.sessions_of(server_project, email)
        assert (change.result, change.sessions_revoked) == ("would_update", len(own))
        assert oracle.snapshot(server_project) == before

    @pytest.mark.parametrize("dry_run", [False, True])
    async def test_errors_are_those_of_the_real_run(
        self, server_project: Project, *, dry_run: bool
    ) -> None:
        """Conflict, unknown role and refusal are found without writing anything."""
        before = oracle.snapshot(server_project)
        settings = server_project.settings
        with pytest.raises(ConflictError):
            await create_superuser(settings, ADA, GIVEN, dry_run=dry_run)
        with pytest.raises(NotFoundError):
            await create_superuser(
                settings, "new@clarinet.example", GIVEN, roles=["astronaut"], dry_run=dry_run
            )
        with pytest.raises(RefusedError):
            await reset_admin_password(settings, ADA, GIVEN, dry_run=dry_run)
        assert oracle.snapshot(server_project) == before

    async def test_ensure_creates_nothing(self, project: Project) -> None:
        """Without a superuser one would be created."""
        oracle.remove_accounts(project)
        before = oracle.snapshot(project)
        change = await ensure_admin_exists(project.settings, GIVEN, dry_run=True)
        assert (change.result, change.email) == ("would_create", FIRST_ADMIN)
        assert oracle.snapshot(project) == before

    async def test_ensure_repairs_nothing(self, project: Project) -> None:
        """An inactive administrator would be updated, and stays inactive."""
        oracle.deactivate(project, FIRST_ADMIN)
        before = oracle.snapshot(project)
        change = await ensure_admin_exists(project.settings, None, dry_run=True)
        assert (change.result, change.email) == ("would_update", FIRST_ADMIN)
        assert oracle.snapshot(project) == before


class TestEnsure:
    """``ensure_admin_exists``."""

    @pytest.mark.parametrize("password", [GIVEN, None], ids=["password", "none"])
    async def test_an_active_superuser_is_enough(
        self, server_project: Project, password: Optional[NewPassword]
    ) -> None:
        """With any active superuser nothing changes and no password is required."""
        before = oracle.snapshot(server_project)
        change = await ensure_admin_exists(server_project.settings, password)
        expected = superuser_of(server_project)
        assert (change.result, change.email, change.roles) == ("unchanged", expected, ("admin",))
        assert oracle.snapshot(server_project) == before

    async def test_creates_the_one_of_the_settings(self, project: Project) -> None:
        """Without any superuser the settings' administrator is made."""
        oracle.remove_accounts(project)
        oracle.add_user(project, ADA)
        project.write_settings('admin_email = "Chief@clarinet.example"\n')
        change = await ensure_admin_exists(project.settings, GIVEN)
        assert (change.result, change.email) == ("created", "Chief@clarinet.example")
        assert oracle.account(project, "Chief@clarinet.example")[:3] == (True, True, True)
        assert oracle.roles_of(project, "Chief@clarinet.example") == {"admin"}
        assert verifies(project, "Chief@clarinet.example", GIVEN)
        assert oracle.account(project, ADA) == (True, False, False, SOME_HASH)

    async def test_repeating_it_changes_nothing(self, project: Project) -> None:
        """The second run finds what the first one made, and keeps its password."""
        oracle.remove_accounts(project)
        await ensure_admin_exists(project.settings, GIVEN)
        before = oracle.snapshot(project)
        change = await ensure_admin_exists(project.settings, OTHER)
        assert (change.result, change.password) == ("unchanged", None)
        assert oracle.snapshot(project) == before

    async def test_creating_needs_a_password(self, project: Project) -> None:
        """There is no default password."""
        oracle.remove_accounts(project)
        before = oracle.snapshot(project)
        with pytest.raises(InvalidInputError, match="password"):
            await ensure_admin_exists(project.settings)
        assert oracle.snapshot(project) == before

    @pytest.mark.parametrize(
        ("active", "superuser"), [(False, True), (True, False), (False, False)]
    )
    async def test_repairs_the_account_of_the_settings(
        self, project: Project, *, active: bool, superuser: bool
    ) -> None:
        """Inactive or demoted, it is an active superuser again, with its old password."""
        oracle.rows(project, 'UPDATE "user" SET is_active = ?, is_superuser = ?', active, superuser)
        oracle.rows(project, "DELETE FROM userroleslink")
        hashed = oracle.hash_of(project, FIRST_ADMIN)
        change = await ensure_admin_exists(project.settings)
        assert (change.result, change.email) == ("updated", FIRST_ADMIN)
        assert oracle.account(project, FIRST_ADMIN) == (True, True, True, hashed)
        assert oracle.roles_of(project, FIRST_ADMIN) == {"admin"}
        assert oracle.count(project, "user") == 1

    async def test_repairs_with_the_password_given(self, project: Project) -> None:
        """With a password the repaired account gets it, and its old sessions end."""
        oracle.deactivate(project, FIRST_ADMIN)
        add_live_sessions(project, FIRST_ADMIN, 2)
        change = await ensure_admin_exists(project.settings, GIVEN)
        assert (change.result, change.sessions_revoked) == ("updated", 2)
        assert verifies(project, FIRST_ADMIN, GIVEN)
        assert oracle.tokens(project) == set()

    async def test_other_superuser_is_enough(self, project: Project) -> None:
        """While another superuser exists, a demoted account of the settings stays demoted."""
        oracle.add_user(project, ADA, superuser=True)
        oracle.deactivate(project, FIRST_ADMIN)
        before = oracle.snapshot(project)
        change = await ensure_admin_exists(project.settings, GIVEN)
        assert (change.result, change.email) == ("unchanged", ADA)
        assert oracle.snapshot(project) == before

    async def test_eight_at_once_make_one_superuser(self, project: Project) -> None:
        """Eight programs start together: one account, one reported password, and it works."""
        oracle.remove_accounts(project)
        changes = await asyncio.gather(
            *(ensure_admin_exists(project.settings, generate_password()) for _ in range(8))
        )
        assert sorted(change.result for change in changes) == ["created"] + ["unchanged"] * 7
        told = [change.password for change in changes if change.password is not None]
        assert len(told) == 1
        assert oracle.rows(project, 'SELECT email FROM "user"') == [(FIRST_ADMIN,)]
        assert oracle.account(project, FIRST_ADMIN)[:3] == (True, True, True)
        assert verifies(project, FIRST_ADMIN, NewPassword(told[0]))
        assert len({change.id for change in changes}) == 1

    async def test_eight_repairs_at_once_set_one_password(self, project: Project) -> None:
        """Eight programs repair one account: the password of one of them is reported and works."""
        oracle.deactivate(project, FIRST_ADMIN)
        changes = await asyncio.gather(
            *(ensure_admin_exists(project.settings, generate_password()) for _ in range(8))
        )
        told = [change.password for change in changes if change.password is not None]
        assert sorted(change.result for change in changes) == ["unchanged"] * 7 + ["updated"]
        assert len(told) == 1
        assert verifies(project, FIRST_ADMIN, NewPassword(told[0]))


class TestList:
    """``list_admin_users`` and ``find_account``."""

    async def test_superusers_are_listed(self, server_project: Project) -> None:
        """Only superusers, inactive ones included."""
        expected = sorted(["old@clarinet.example", superuser_of(server_project)])
        oracle.add_user(server_project, "old@clarinet.example", superuser=True, active=False)
        found = await list_admin_users(server_project.settings, now=FIXTURE_NOW)
        assert [row.email for row in found] == expected

    async def test_all_users_are_listed_with_their_live_sessions(
        self, server_project: Project
    ) -> None:
        """Every account, by address, with the sessions that the server would accept."""
        oracle.deactivate(server_project, BOB)
        sessions = oracle.raw_sessions(server_project)
        found = await list_admin_users(server_project.settings, all_users=True, now=FIXTURE_NOW)
        expected = []
        emails = [row[0] for row in oracle.rows(server_project, 'SELECT email FROM "user"')]
        for email in sorted(emails):
            user_id = oracle.user_id_of(server_project, email)
            own = [item for item in sessions if item.user_id == user_id]
            live = sum(item.state(FIXTURE_NOW) == "active" for item in own)
            expected.append((email, live, max((item.last_accessed for item in own), default=None)))
        assert [(row.email, row.sessions, row.last_accessed) for row in found] == expected

    async def test_idle_limit_of_the_settings_counts(self, server_project: Project) -> None:
        """With an idle timeout of 0, idle sessions are live."""
        server_project.write_settings("session_idle_timeout_minutes = 0\n")
        found = await list_admin_users(server_project.settings, all_users=True, now=FIXTURE_NOW)
        own = oracle.sessions_of(server_project, ADA)
        live = sum(item.state(FIXTURE_NOW, None) == "active" for item in own)
        assert live > sum(item.state(FIXTURE_NOW) == "active" for item in own)
        assert {row.email: row.sessions for row in found}[ADA] == live

    async def test_the_databases_clock_is_the_default(self, project: Project) -> None:
        """Without a reference time, sessions are evaluated at the present time."""
        user_id = oracle.user_id_of(project, FIRST_ADMIN)
        oracle.add_session(project, user_id)
        oracle.add_session(project, user_id, expires=timedelta(minutes=-5))
        (row,) = await list_admin_users(project.settings)
        assert row.sessions == 1

    async def test_account_is_found(self, server_project: Project) -> None:
        """Address, UUID and UUID prefix find the same account."""
        user_id = oracle.user_id_of(server_project, DMITRI)
        for spelling in SPELLINGS.values():
            row = await find_account(server_project.settings, spelling(DMITRI, user_id))
            assert (row.email, UUID(str(row.id))) == (DMITRI, user_id)
            assert set(row.roles) == oracle.roles_of(server_project, DMITRI)

    async def test_letters_beyond_ascii_are_found_in_capitals(self, project: Project) -> None:
        """ËLAN and ëlan are one account on both backends."""
        oracle.add_user(project, "ëlan@clarinet.example")
        row = await find_account(project.settings, "ËLAN@CLARINET.EXAMPLE")
        assert row.email == "ëlan@clarinet.example"

    async def test_unknown_identifiers_are_not_found(self, server_project: Project) -> None:
        """Any other text: not found, with a hint, and no other error."""
        for who in NOBODY:
            with pytest.raises(NotFoundError) as caught:
                await find_account(server_project.settings, who)
            assert caught.value.hint, who

    @pytest.mark.parametrize("who", ["a\0b@clarinet.example", "\udcff@clarinet.example"])
    async def test_what_no_database_can_store_is_not_found(
        self, server_project: Project, who: str
    ) -> None:
        """A NUL or an undecodable byte of the command line is in no address: not found."""
        with pytest.raises(NotFoundError):
            await find_account(server_project.settings, who)


def superuser_of(project: Project) -> str:
    """Return the address of the only superuser."""
    found = oracle.rows(project, 'SELECT email FROM "user" WHERE is_superuser')
    assert len(found) == 1
    return str(found[0][0])
