"""Changes of one account: rows before and after, sessions, roles, and the last superuser."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from clarinet_cli.exceptions import ConflictError, NotFoundError, RefusedError
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts import changes
from clarinet_cli.services.accounts.changes import AccountOperation
from tests import oracle
from tests.operations import change_account
from tests.support import Project

ADA = "ada@clarinet.example"
DORA = "dora@clarinet.example"
BOTH = "both@clarinet.example"
# Nobody verifies these, or not while anybody waits.
UNVERIFIABLE = [
    "!",
    "",
    "$5$rounds=5000$salt$hash",
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ",
    "$argon2id$v=19$m=8,t=20000000,p=1$c29tZXNhbHQ$RdescudvJA",
    "$2b$12$" + "." * 40,
    "$2b$31$" + "." * 53,
]
OURS = ("user", "userroleslink", "access_token")


class Account(NamedTuple):
    """What is stored of an account."""

    active: bool
    superuser: bool
    roles: frozenset[str]
    sessions: int


def stored(project: Project, email: str) -> Account:
    """Query an account without the tool."""
    active, superuser, _, _ = oracle.account(project, email)
    roles = frozenset(oracle.roles_of(project, email))
    sessions = len(oracle.sessions_of(project, email))
    return Account(active=active, superuser=superuser, roles=roles, sessions=sessions)


def grant(role: str) -> AccountOperation:
    """Return the rule that gives a role."""
    return lambda change: changes.grant_role(change, role)


def revoke(role: str) -> AccountOperation:
    """Return the rule that takes a role."""
    return lambda change: changes.revoke_role(change, role)


@pytest.fixture
def crowd(server_project: Project) -> Project:
    """A real server's database, a second superuser with two sessions, and an inactive doctor."""
    both = oracle.add_user(server_project, BOTH, superuser=True)
    dora = oracle.add_user(server_project, DORA, active=False)
    link = "INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)"
    for user, role in ((both, "admin"), (both, "doctor"), (dora, "doctor")):
        oracle.rows(server_project, link, user, role)
    for user in (both, both, dora):
        oracle.add_session(server_project, user)
    return server_project


def first_superuser(project: Project) -> str:
    """Return the address of the superuser that the real server has."""
    query = 'SELECT email FROM "user" WHERE is_superuser AND email <> ?'
    return str(oracle.rows(project, query, BOTH)[0][0])


def others(project: Project, email: str) -> list[str]:
    """Return the rows of all other accounts, and of other programs' tables."""
    user_id = oracle.user_id_of(project, email)
    marks = (user_id.hex, str(user_id))
    return [
        f"{table} {row}"
        for table, found in sorted(oracle.snapshot(project).items())
        for row in found
        if not any(mark in row for mark in marks)
    ]


# The operation, who, the account afterwards; one of its sessions is one that ends.
CHANGES: dict[str, tuple[AccountOperation, str, Account]] = {
    "promote": (
        changes.promote,
        ADA,
        Account(active=True, superuser=True, roles=frozenset({"admin"}), sessions=-1),
    ),
    "promote inactive": (
        changes.promote,
        DORA,
        Account(active=False, superuser=True, roles=frozenset({"admin", "doctor"}), sessions=-1),
    ),
    "demote": (
        changes.demote,
        BOTH,
        Account(active=True, superuser=False, roles=frozenset({"doctor"}), sessions=0),
    ),
    "activate": (
        changes.activate,
        DORA,
        Account(active=True, superuser=False, roles=frozenset({"doctor"}), sessions=-1),
    ),
    "deactivate": (
        changes.deactivate,
        ADA,
        Account(active=False, superuser=False, roles=frozenset(), sessions=0),
    ),
    "deactivate superuser": (
        changes.deactivate,
        BOTH,
        Account(active=False, superuser=True, roles=frozenset({"admin", "doctor"}), sessions=0),
    ),
    "grant": (
        grant("expert"),
        ADA,
        Account(active=True, superuser=False, roles=frozenset({"expert"}), sessions=-1),
    ),
    "revoke": (
        revoke("doctor"),
        BOTH,
        Account(active=True, superuser=True, roles=frozenset({"admin"}), sessions=-1),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_is_stored_and_reported(crowd: Project, name: str) -> None:
    """Flags, roles and sessions are as reported; only this account's sessions end."""
    operation, who, expected = CHANGES[name]
    before, around = stored(crowd, who), others(crowd, who)
    change = await change_account(crowd.settings, who, operation)
    after = stored(crowd, who)
    left = before.sessions if expected.sessions < 0 else expected.sessions
    assert after == expected._replace(sessions=left)
    assert after != before
    assert change == AccountChange(
        oracle.user_id_of(crowd, who),
        who,
        "updated",
        tuple(sorted(after.roles)),
        before.sessions - left,
    )
    assert others(crowd, who) == around


@pytest.mark.parametrize("name", CHANGES)
async def test_a_repeated_change_is_none(crowd: Project, name: str) -> None:
    """The second time nothing changes, and the result is 'unchanged'."""
    operation, who, _ = CHANGES[name]
    await change_account(crowd.settings, who, operation)
    before = oracle.snapshot(crowd)
    again = await change_account(crowd.settings, who, operation)
    assert (again.result, again.sessions_revoked) == ("unchanged", 0)
    assert again.roles == tuple(sorted(stored(crowd, who).roles))
    assert oracle.snapshot(crowd) == before


@pytest.mark.parametrize("name", CHANGES)
async def test_a_dry_run_says_what_the_real_run_does(crowd: Project, name: str) -> None:
    """Nothing is stored, and but for the word the report is that of the real run."""
    operation, who, _ = CHANGES[name]
    before = oracle.snapshot(crowd)
    announced = await change_account(crowd.settings, who, operation, dry_run=True)
    assert oracle.snapshot(crowd) == before
    done = await change_account(crowd.settings, who, operation)
    assert announced.result == f"would_{done.result.removesuffix('d')}"
    assert (announced.roles, announced.sessions_revoked) == (done.roles, done.sessions_revoked)


class TestDelete:
    """``delete`` of accounts that nothing else refers to."""

    async def test_row_roles_and_sessions_are_deleted(self, crowd: Project) -> None:
        """Of the account nothing is left, of the others everything."""
        user_id, around = oracle.user_id_of(crowd, BOTH), others(crowd, BOTH)
        change = await change_account(crowd.settings, BOTH, changes.delete)
        assert (change.id, change.result, change.sessions_revoked) == (user_id, "deleted", 2)
        assert change.roles == ("admin", "doctor")
        left = [
            f"{t} {row}" for t, found in sorted(oracle.snapshot(crowd).items()) for row in found
        ]
        assert left == around

    async def test_dry_run_leaves_it(self, crowd: Project) -> None:
        """It is still there, and so are its sessions; the report is that of the real run."""
        before = oracle.snapshot(crowd)
        change = await change_account(crowd.settings, BOTH, changes.delete, dry_run=True)
        assert (change.result, change.sessions_revoked) == ("would_delete", 2)
        assert change.id == oracle.user_id_of(crowd, BOTH)
        assert oracle.snapshot(crowd) == before

    async def test_deleted_account_is_not_found_again(self, crowd: Project) -> None:
        """The same command a second time finds no account."""
        await change_account(crowd.settings, BOTH, changes.delete)
        before = oracle.snapshot(crowd)
        with pytest.raises(NotFoundError):
            await change_account(crowd.settings, BOTH, changes.delete)
        assert oracle.snapshot(crowd) == before

    async def test_inactive_account_can_be_deleted(self, crowd: Project) -> None:
        """Who cannot log in can go as well."""
        await change_account(crowd.settings, DORA, changes.delete)
        assert oracle.rows(crowd, 'SELECT 1 FROM "user" WHERE email = ?', DORA) == []


TAKES_RIGHTS = {
    "demote": changes.demote,
    "deactivate": changes.deactivate,
    "delete": changes.delete,
}


@pytest.mark.parametrize("name", TAKES_RIGHTS)
class TestLastSuperuser:
    """The last active superuser is kept, with any other accounts."""

    async def test_is_refused_and_nothing_changes(self, server_project: Project, name: str) -> None:
        """A refusal that names the account, with a hint."""
        before = oracle.snapshot(server_project)
        with pytest.raises(RefusedError, match="is the last active superuser") as caught:
            await change_account(
                server_project.settings, first_superuser(server_project), TAKES_RIGHTS[name]
            )
        assert first_superuser(server_project) in caught.value.message
        assert "admin promote" in str(caught.value.hint)
        assert oracle.snapshot(server_project) == before

    async def test_inactive_superuser_does_not_count(self, crowd: Project, name: str) -> None:
        """A superuser who cannot log in is not counted."""
        oracle.deactivate(crowd, BOTH)
        before = oracle.snapshot(crowd)
        with pytest.raises(RefusedError, match="last active superuser"):
            await change_account(crowd.settings, first_superuser(crowd), TAKES_RIGHTS[name])
        assert oracle.snapshot(crowd) == before

    @pytest.mark.parametrize("stored_hash", UNVERIFIABLE)
    async def test_one_whose_hash_cannot_be_verified_does_not_count(
        self, crowd: Project, name: str, stored_hash: str
    ) -> None:
        """Another active superuser who cannot log in administers nothing."""
        oracle.rows(
            crowd, 'UPDATE "user" SET hashed_password = ? WHERE email = ?', stored_hash, BOTH
        )
        before = oracle.snapshot(crowd)
        with pytest.raises(RefusedError, match="last active superuser who can log in") as caught:
            await change_account(crowd.settings, first_superuser(crowd), TAKES_RIGHTS[name])
        assert "admin reset-password" in str(caught.value.hint)
        assert oracle.snapshot(crowd) == before

    async def test_one_whose_hash_cannot_be_verified_can_be_deleted(
        self, crowd: Project, name: str
    ) -> None:
        """There is another one who can log in."""
        oracle.rows(crowd, 'UPDATE "user" SET hashed_password = ? WHERE email = ?', "!", BOTH)
        await change_account(crowd.settings, BOTH, TAKES_RIGHTS[name])

    async def test_of_several_who_can_not_log_in_one_stays(self, crowd: Project, name: str) -> None:
        """'reset-password' needs an active superuser to start from."""
        oracle.rows(crowd, "UPDATE \"user\" SET hashed_password = '!'")
        await change_account(crowd.settings, BOTH, TAKES_RIGHTS[name])
        with pytest.raises(RefusedError, match=r"is the last active superuser$"):
            await change_account(crowd.settings, first_superuser(crowd), TAKES_RIGHTS[name])

    async def test_role_admin_without_the_flag_does_not_count(
        self, server_project: Project, name: str
    ) -> None:
        """The server uses the flag: a role of that name does not make a superuser."""
        await change_account(server_project.settings, ADA, grant("admin"))
        before = oracle.snapshot(server_project)
        with pytest.raises(RefusedError, match="last active superuser"):
            await change_account(
                server_project.settings, first_superuser(server_project), TAKES_RIGHTS[name]
            )
        assert oracle.snapshot(server_project) == before

    async def test_refused_in_a_dry_run_too(self, server_project: Project, name: str) -> None:
        """A rehearsal ends as the real run."""
        with pytest.raises(RefusedError, match="last active superuser"):
            await change_account(
                server_project.settings,
                first_superuser(server_project),
                TAKES_RIGHTS[name],
                dry_run=True,
            )

    async def test_inactive_superuser_may_lose_the_rest(self, crowd: Project, name: str) -> None:
        """Who cannot log in anyway is not kept by the guard."""
        oracle.deactivate(crowd, BOTH)
        change = await change_account(crowd.settings, BOTH, TAKES_RIGHTS[name])
        assert change.result in {"updated", "deleted"}
        assert change.sessions_revoked == 2
        assert stored(crowd, first_superuser(crowd))[:2] == (True, True)

    async def test_ordinary_account_is_not_kept(self, server_project: Project, name: str) -> None:
        """With one superuser left all other accounts can still be changed."""
        user = oracle.add_user(server_project, "plain@clarinet.example")
        change = await change_account(server_project.settings, str(user), TAKES_RIGHTS[name])
        expected = {"demote": "unchanged", "deactivate": "updated", "delete": "deleted"}
        assert change.result == expected[name]


class TestDemoteAndDeactivate:
    """What is revoked together with rights."""

    async def test_demote_takes_a_role_without_the_flag(self, server_project: Project) -> None:
        """An account with only the role 'admin' loses it, and its sessions."""
        await change_account(server_project.settings, ADA, grant("admin"))
        number = len(oracle.sessions_of(server_project, ADA))
        change = await change_account(server_project.settings, ADA, changes.demote)
        assert (change.result, change.sessions_revoked) == ("updated", number)
        assert number > 0
        assert stored(server_project, ADA) == Account(
            active=True, superuser=False, roles=frozenset(), sessions=0
        )

    async def test_demoting_an_ordinary_account_keeps_its_sessions(
        self, server_project: Project
    ) -> None:
        """No right is removed, so no session is revoked."""
        before = oracle.snapshot(server_project)
        change = await change_account(server_project.settings, ADA, changes.demote)
        assert (change.result, change.sessions_revoked) == ("unchanged", 0)
        assert oracle.snapshot(server_project) == before

    async def test_sessions_of_an_inactive_account_end_too(self, crowd: Project) -> None:
        """They would come to life again with the account."""
        change = await change_account(crowd.settings, DORA, changes.deactivate)
        assert (change.result, change.sessions_revoked) == ("updated", 1)
        assert oracle.sessions_of(crowd, DORA) == []

    @pytest.mark.parametrize("name", TAKES_RIGHTS)
    async def test_rights_and_sessions_are_one_transaction(self, crowd: Project, name: str) -> None:
        """Sessions that cannot be ended leave flags, roles and row as they were."""
        oracle.forbid_deleting_sessions(crowd)
        before = oracle.snapshot(crowd)
        with pytest.raises(Exception, match=r"a trigger .*of the database refused the change"):
            await change_account(crowd.settings, BOTH, TAKES_RIGHTS[name])
        assert oracle.snapshot(crowd) == before


class TestRoles:
    """``grant_role`` and ``revoke_role``."""

    @pytest.mark.parametrize("operation", [grant, revoke])
    @pytest.mark.parametrize("role", ["nobody", "", "DOCTOR", "doc\0tor", "doctor\udcff", "%"])
    async def test_unknown_role_is_not_found(
        self, crowd: Project, operation: Callable[[str], AccountOperation], role: str
    ) -> None:
        """Exactly the names in the table are roles; the hint lists them."""
        before = oracle.snapshot(crowd)
        with pytest.raises(NotFoundError, match="no role") as caught:
            await change_account(crowd.settings, DORA, operation(role))
        assert "doctor" in str(caught.value.hint)
        assert oracle.snapshot(crowd) == before

    async def test_missing_role_admin_is_made_on_promotion(self, project: Project) -> None:
        """A database without the role 'admin' gets it with the next superuser."""
        oracle.add_user(project, ADA)
        oracle.rows(project, "DELETE FROM userroleslink")
        oracle.rows(project, "DELETE FROM userrole")
        change = await change_account(project.settings, ADA, changes.promote)
        assert change.roles == ("admin",)
        assert oracle.rows(project, "SELECT name FROM userrole") == [("admin",)]

    async def test_losing_the_role_admin_keeps_the_flag(self, server_project: Project) -> None:
        """``revoke-role`` takes a role and no more: the guard is about the flag."""
        change = await change_account(
            server_project.settings, first_superuser(server_project), revoke("admin")
        )
        assert (change.result, change.roles) == ("updated", ())
        assert stored(server_project, first_superuser(server_project))[:3] == (
            True,
            True,
            frozenset(),
        )


def referring(project: Project, action: str = "") -> None:
    """Make a table whose rows refer to an account."""
    kind = "uuid" if project.server else "CHAR(32)"
    oracle.rows(
        project, f'CREATE TABLE notes (n integer, author {kind} REFERENCES "user" (id) {action})'
    )


class TestReferences:
    """Accounts that other tables refer to are deleted with the rows that cascade, or not at all."""

    @pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE SET NULL"])
    async def test_table_and_count_are_named(self, crowd: Project, action: str) -> None:
        """If the rows would remain: a conflict with table and count."""
        referring(crowd, action)
        user_id = oracle.user_id_of(crowd, BOTH)
        for number in range(3):
            oracle.rows(crowd, "INSERT INTO notes (n, author) VALUES (?, ?)", number, user_id)
        before = oracle.snapshot(crowd)
        with pytest.raises(ConflictError, match=rf"refer to {BOTH}: 3 in notes\.author") as caught:
            await change_account(crowd.settings, BOTH, changes.delete)
        assert f"admin deactivate {BOTH}" in str(caught.value.hint)
        assert oracle.snapshot(crowd) == before

    @pytest.mark.parametrize("backend", ["postgresql"])
    async def test_another_schema_counts_too(self, crowd: Project) -> None:
        """A table elsewhere in the database, which loses rows, and its own ``user``."""
        oracle.rows(crowd, "CREATE SCHEMA elsewhere")
        oracle.rows(crowd, 'CREATE TABLE elsewhere."user" (id uuid PRIMARY KEY)')
        for name, target in (("notes", "public"), ("access_token", "public"), ("own", "elsewhere")):
            oracle.rows(
                crowd,
                f"CREATE TABLE elsewhere.{name}"
                f' (author uuid REFERENCES {target}."user" (id) ON DELETE CASCADE)',
            )
        user_id = oracle.user_id_of(crowd, BOTH)
        oracle.rows(crowd, 'INSERT INTO elsewhere."user" VALUES (?)', user_id)
        for name in ("notes", "access_token", "own"):
            oracle.rows(crowd, f"INSERT INTO elsewhere.{name} VALUES (?)", user_id)
        expected = {"elsewhere.access_token.author": 1, "elsewhere.notes.author": 1}
        planned = await change_account(crowd.settings, BOTH, changes.delete, dry_run=True)
        assert planned.cascaded == expected
        assert oracle.rows(crowd, "SELECT count(*) FROM elsewhere.notes") == [(1,)]
        done = await change_account(crowd.settings, BOTH, changes.delete)
        assert done.cascaded == expected
        assert oracle.rows(crowd, "SELECT count(*) FROM elsewhere.notes") == [(0,)]
        assert oracle.rows(crowd, "SELECT count(*) FROM elsewhere.own") == [(1,)]

    async def test_rows_of_others_are_no_hindrance(self, crowd: Project) -> None:
        """A table with a foreign key, and rows about another account."""
        referring(crowd)
        root = oracle.user_id_of(crowd, first_superuser(crowd))
        oracle.rows(crowd, "INSERT INTO notes (n, author) VALUES (?, ?)", 1, root)
        oracle.rows(crowd, "INSERT INTO notes (n, author) VALUES (2, NULL)")
        await change_account(crowd.settings, BOTH, changes.delete)
        assert oracle.count(crowd, "notes") == 2

    async def test_records_of_a_real_server_are_found(self, crowd: Project) -> None:
        """Its own tables, ``record_event`` with ON DELETE SET NULL among them."""
        user_id = oracle.user_id_of(crowd, BOTH)
        oracle.rows(
            crowd, "INSERT INTO record_event (kind, actor_id, id) VALUES ('made', ?, 991)", user_id
        )
        before = oracle.snapshot(crowd)
        with pytest.raises(ConflictError, match=r"1 in record_event\.actor_id"):
            await change_account(crowd.settings, BOTH, changes.delete)
        assert oracle.snapshot(crowd) == before

    async def test_a_reference_between_check_and_delete_is_a_conflict(self, crowd: Project) -> None:
        """The constraint has the last word: nothing is deleted, the sessions included."""
        referring(crowd)
        make_trigger(crowd, "BEFORE DELETE ON userroleslink", "VALUES (1, OLD.user_id)")
        before = oracle.snapshot(crowd)
        with pytest.raises(ConflictError, match="other rows depend on it"):
            await change_account(crowd.settings, BOTH, changes.delete)
        assert oracle.snapshot(crowd) == before

    async def test_a_dry_run_is_refused_too(self, crowd: Project) -> None:
        """A rehearsal meets the references as the real run does."""
        referring(crowd)
        oracle.rows(
            crowd, "INSERT INTO notes (n, author) VALUES (1, ?)", oracle.user_id_of(crowd, BOTH)
        )
        with pytest.raises(ConflictError, match=r"1 in notes\.author"):
            await change_account(crowd.settings, BOTH, changes.delete, dry_run=True)


def make_trigger(project: Project, when: str, values: str) -> None:
    """Make the database add a row to ``notes`` by itself, for each row that is touched."""
    insert = f"INSERT INTO notes (n, author) {values}"
    if project.server is None:
        oracle.rows(project, f"CREATE TRIGGER meanwhile {when} BEGIN {insert}; END")
        return
    oracle.rows(
        project,
        "CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {insert}; RETURN OLD; END $$",
    )
    oracle.rows(
        project, f"CREATE TRIGGER meanwhile {when} FOR EACH ROW EXECUTE FUNCTION meanwhile()"
    )
