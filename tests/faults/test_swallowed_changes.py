"""Triggers, rules and policies that prevent a change: reported, never taken for success."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests import oracle
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project, Result

ADMIN = "admin@clarinet.ru"
ADA = "ada@example.org"
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def swallow(project: Project, event: str, table: str, *, when: str = "") -> None:
    """Make a trigger that drops each change of a table without an error."""
    if project.server is None:
        condition = f"WHEN {when}" if when else ""
        project.rows(
            f'CREATE TRIGGER swallow BEFORE {event} ON "{table}" {condition}'
            " BEGIN SELECT RAISE(IGNORE); END"
        )
        return
    condition = f"WHEN ({when})" if when else ""
    project.rows(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    project.rows(
        f'CREATE TRIGGER swallow BEFORE {event} ON "{table}" FOR EACH ROW {condition}'
        " EXECUTE FUNCTION swallow()"
    )


@pytest.fixture
def peopled(project: Project) -> Project:
    """A project with a second superuser, who has a role and three sessions, two of them stale."""
    ada = project.add_user(ADA, superuser=True, hashed_password="?")
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, ?)", ada, "doctor")
    project.add_session(ada, token="live-" + "a" * 30)
    oracle.add_sessions(project, ada, 2, now=datetime.now(UTC), dead=True)
    return project


def assert_prevented(result: Result, table: str) -> None:
    """Check for one error line that names the table, and that nothing is changed."""
    assert (result.code, result.stdout) == (1, ""), result
    lines = result.stderr.splitlines()
    assert lines[0] == f"error: a trigger or rule on {table} prevented the change"
    assert lines[1] == "hint: nothing was changed"


CHANGES = {
    "create": (
        "INSERT",
        "user",
        ("admin", "create", "--email", "new@example.org", "--password-stdin"),
    ),
    "create, role": (
        "INSERT",
        "userroleslink",
        ("admin", "create", "--email", "new@example.org", "--password-stdin"),
    ),
    "reset": ("UPDATE", "user", ("admin", "reset-password", ADA, "--password-stdin")),
    "reset, sessions": (
        "DELETE",
        "access_token",
        ("admin", "reset-password", ADA, "--password-stdin"),
    ),
    "update": (
        "UPDATE",
        "user",
        ("admin", "create", "--email", ADA, "--update", "--password-stdin"),
    ),
    "deactivate": ("UPDATE", "user", ("admin", "deactivate", ADA)),
    "deactivate, sessions": ("DELETE", "access_token", ("admin", "deactivate", ADA)),
    "set-email": ("UPDATE", "user", ("admin", "set-email", ADA, "new@example.org")),
    "unverify": ("UPDATE", "user", ("admin", "unverify", ADA)),
    "demote": ("UPDATE", "user", ("admin", "demote", ADA)),
    "promote": ("INSERT", "userroleslink", ("admin", "promote", ADA)),
    "grant": ("INSERT", "userroleslink", ("admin", "grant-role", ADA, "expert")),
    "revoke role": ("DELETE", "userroleslink", ("admin", "revoke-role", ADA, "doctor")),
    "delete": ("DELETE", "user", ("admin", "delete", ADA, "--yes")),
    "delete, roles": ("DELETE", "userroleslink", ("admin", "delete", ADA, "--yes")),
    "delete, sessions": ("DELETE", "access_token", ("admin", "delete", ADA, "--yes")),
    "apply, new": ("INSERT", "user", ("admin", "apply", "-", "--generate-password")),
    "revoke": ("DELETE", "access_token", ("session", "revoke", "live-aaa")),
    "revoke-user": ("DELETE", "access_token", ("session", "revoke-user", ADA)),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry"])
def test_a_swallowed_change_is_an_error(peopled: Project, case: str, dry: bool) -> None:
    """No command reports 'created', 'updated', 'deleted' or 'revoked' for it."""
    event, table, words = CHANGES[case]
    swallow(peopled, event, table)
    before = oracle.snapshot(peopled)
    stdin = '[{"email": "new@example.org"}]' if "apply" in words else PASSWORD
    words = tuple(word for word in words if word != "--yes") if dry else words
    result = peopled.run(*words, *(["--dry-run"] if dry else []), stdin=stdin)
    assert_prevented(result, table)
    assert oracle.snapshot(peopled) == before


KEEPERS = {
    "sqlite": (
        (
            'CREATE TRIGGER keeper AFTER UPDATE ON "user" BEGIN UPDATE "user" SET'
            " hashed_password = OLD.hashed_password, is_active = OLD.is_active,"
            " is_superuser = OLD.is_superuser WHERE id = OLD.id; END"
        ),
    ),
    "postgresql": (
        "CREATE FUNCTION keeper() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        'CREATE TRIGGER keeper BEFORE UPDATE ON "user" FOR EACH ROW EXECUTE FUNCTION keeper()',
    ),
}


@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry"])
@pytest.mark.parametrize("case", ["reset", "update", "deactivate", "demote", "apply"])
def test_a_change_that_is_put_back_is_an_error(peopled: Project, case: str, dry: bool) -> None:
    """A trigger that keeps the old values changes a row, and not as was asked."""
    for statement in KEEPERS["postgresql" if peopled.server else "sqlite"]:
        peopled.rows(statement)
    before = oracle.snapshot(peopled)
    words = ("admin", "apply", "-") if case == "apply" else CHANGES[case][2]
    row = f'[{{"email": "{ADA}", "is_superuser": false}}]'
    stdin = row if case == "apply" else PASSWORD
    assert_prevented(peopled.run(*words, *(["--dry-run"] if dry else []), stdin=stdin), "user")
    assert oracle.snapshot(peopled) == before


def alter_new_accounts(project: Project, values: str) -> None:
    """Make a trigger that sets columns of each new account."""
    if project.server is None:
        project.rows(
            f'CREATE TRIGGER alter_new AFTER INSERT ON "user" BEGIN UPDATE "user" SET {values}'
            " WHERE id = NEW.id; END"
        )
        return
    project.rows(
        "CREATE FUNCTION alter_new() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        f' UPDATE "user" SET {values} WHERE id = NEW.id; RETURN NULL; END$$'
    )
    project.rows(
        'CREATE TRIGGER alter_new AFTER INSERT ON "user" FOR EACH ROW EXECUTE FUNCTION alter_new()'
    )


@pytest.mark.parametrize("case", ["create", "apply, new"])
@pytest.mark.parametrize(
    "values",
    [
        "is_superuser = NOT is_superuser",
        "is_active = NOT is_active",
        "is_verified = NOT is_verified",
        "hashed_password = 'x'",
        "email = 'other@example.org'",
    ],
)
def test_a_new_account_that_is_altered_is_an_error(
    peopled: Project, case: str, values: str
) -> None:
    """It could not log in as reported, or would have other rights."""
    alter_new_accounts(peopled, values)
    before = oracle.snapshot(peopled)
    stdin = '[{"email": "new@example.org"}]' if case.startswith("apply") else PASSWORD
    assert_prevented(peopled.run(*CHANGES[case][2], stdin=stdin), "user")
    assert oracle.snapshot(peopled) == before


def test_a_new_address_in_another_case_is_reported(peopled: Project) -> None:
    """An application may store addresses in lower case: the report names what is stored."""
    alter_new_accounts(peopled, "email = lower(email)")
    made = peopled.run(
        *("admin", "create", "New@example.org", "--password-stdin", "-o", "json"), stdin=PASSWORD
    )
    assert made.json["email"] == "new@example.org"
    assert ("new@example.org",) in peopled.rows('SELECT email FROM "user"')


@pytest.mark.parametrize("case", ["create", "grant"])
def test_a_granted_role_that_is_removed_is_an_error(peopled: Project, case: str) -> None:
    """No command names a role that the account does not have."""
    remove = "DELETE FROM userroleslink WHERE user_id = NEW.user_id AND role_name = NEW.role_name"
    if peopled.server is None:
        peopled.rows(f"CREATE TRIGGER remove AFTER INSERT ON userroleslink BEGIN {remove}; END")
    else:
        peopled.rows(
            "CREATE FUNCTION remove() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN {remove}; RETURN NULL; END$$"
        )
        peopled.rows(
            "CREATE TRIGGER remove AFTER INSERT ON userroleslink FOR EACH ROW"
            " EXECUTE FUNCTION remove()"
        )
    before = oracle.snapshot(peopled)
    assert_prevented(peopled.run(*CHANGES[case][2], stdin=PASSWORD), "userroleslink")
    assert oracle.snapshot(peopled) == before


def test_missing_roles_that_are_swallowed_are_an_error(peopled: Project) -> None:
    """'db init' does not call a role created that is not there."""
    swallow(peopled, "INSERT", "userrole")
    peopled.write_settings('extra_roles = ["nurse"]\n')
    result = peopled.run("db", "init", "--password-stdin", stdin=PASSWORD)
    assert result.code == 1, result
    assert "a trigger or rule on userrole prevented the change" in result.stderr
    assert ("nurse",) not in peopled.rows("SELECT name FROM userrole")


def test_one_of_many_swallowed_changes_is_an_error(peopled: Project) -> None:
    """A trigger that keeps one of a user's sessions keeps the others too: all or nothing."""
    swallow(peopled, "DELETE", "access_token", when="OLD.token LIKE 'live-%'")
    before = peopled.tokens()
    assert_prevented(peopled.run("session", "revoke-user", ADA), "access_token")
    assert peopled.tokens() == before


def test_revoking_all_reports_what_could_not_be_revoked(peopled: Project) -> None:
    """An error names the kept session, and how many were revoked."""
    swallow(peopled, "DELETE", "access_token", when="OLD.token LIKE 'live-%'")
    result = peopled.run("session", "revoke-all", "--yes")
    assert (result.code, result.stdout) == (1, ""), result
    assert "a trigger or rule on access_token prevented the change" in result.stderr
    assert "hint: 0 sessions were revoked" in result.stderr
    assert peopled.count("access_token") == 3


@pytest.mark.parametrize("options", [(), ("--expired-only", "--batch-size", "1"), ("--limit", "1")])
def test_what_a_trigger_keeps_remains(peopled: Project, options: tuple[str, ...]) -> None:
    """A clean-up counts the stale sessions that remain; one line gives the reason."""
    swallow(peopled, "DELETE", "access_token")
    result = peopled.run("session", "cleanup", *options, "-o", "json")
    assert result.code == 0, result
    report = result.json
    assert (report["matched"], report["deleted"], report["remaining"]) == (2, 0, 2)
    assert (report["complete"], report["batches"]) == (False, 0)
    assert "2 stale sessions were not deleted; check triggers and rules on" in result.stderr
    assert peopled.count("access_token") == 3
    failed = peopled.run("session", "cleanup", *options, "--fail-incomplete")
    assert failed.code == 6


def test_a_clean_up_removes_what_no_trigger_keeps(peopled: Project) -> None:
    """The others go: nothing stops at the one that stays."""
    token = next(iter(peopled.tokens() - {"live-" + "a" * 30}))
    swallow(peopled, "DELETE", "access_token", when=f"OLD.token = '{token}'")
    report = peopled.json("session", "cleanup")
    assert (report["matched"], report["deleted"], report["remaining"]) == (2, 1, 1)
    assert token in peopled.tokens()


@on_postgresql
@pytest.mark.parametrize(
    ("event", "table", "words"),
    [
        ("UPDATE", "user", ("admin", "deactivate", ADA)),
        ("DELETE", "userroleslink", ("admin", "revoke-role", ADA, "doctor")),
        ("DELETE", "access_token", ("session", "revoke-user", ADA)),
        ("INSERT", "userroleslink", ("admin", "grant-role", ADA, "expert")),
        ("INSERT", "user", ("admin", "create", "--email", "new@example.org", "--password-stdin")),
    ],
)
def test_rules_that_do_nothing_instead(
    peopled: Project, event: str, table: str, words: tuple[str, ...]
) -> None:
    """PostgreSQL's rules swallow a statement as triggers do a row."""
    peopled.rows(f'CREATE RULE swallow AS ON {event} TO "{table}" DO INSTEAD NOTHING')
    before = oracle.snapshot(peopled)
    assert_prevented(peopled.run(*words, stdin=PASSWORD), table)
    assert oracle.snapshot(peopled) == before


@on_postgresql
def test_a_rule_that_the_server_refuses_to_work_with(peopled: Project) -> None:
    """Where a statement cannot be run under a rule, that is one line and nothing is changed."""
    peopled.rows("CREATE RULE swallow AS ON DELETE TO access_token DO INSTEAD NOTHING")
    before = oracle.snapshot(peopled)
    result = peopled.run("session", "revoke", "live-aaa")
    assert (result.code, result.stdout) == (1, ""), result
    assert "a rule, a view or the server does not allow this change" in result.stderr
    assert oracle.snapshot(peopled) == before


# --- Row-level security -------------------------------------------------------------------


@contextmanager
def policed(project: Project, server: PostgresServer, table: str) -> Iterator[Project]:
    """Yield the project as a role sees it from which a policy hides all rows of a table."""
    role = f"clerk_{uuid4().hex}"
    project.rows(f"CREATE ROLE {role} LOGIN")
    project.rows(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    project.rows(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    project.rows(f'CREATE POLICY nothing ON "{table}" USING (false) WITH CHECK (false)')
    try:
        seen = replace(project, environment={"CLARINET_DATABASE_USERNAME": role})
        yield seen
    finally:
        project.rows(f"REASSIGN OWNED BY {role} TO {server.user}")
        project.rows(f"DROP OWNED BY {role}")
        project.rows(f"DROP ROLE {role}")


HIDDEN = {
    "access_token": [
        ("session", "stats"),
        ("session", "list"),
        ("session", "show", "live-aaa"),
        ("session", "list-user", ADA),
        ("session", "revoke", "live-aaa"),
        ("session", "revoke-user", ADA),
        ("session", "revoke-all", "--yes"),
        ("session", "cleanup"),
        ("session", "cleanup", "--dry-run"),
        ("session", "cleanup", "--expired-only"),
        ("admin", "deactivate", ADA),
        ("db", "status"),
    ],
    "user": [
        ("admin", "list"),
        ("admin", "show", ADA),
        ("admin", "demote", ADA),
        ("admin", "create", "--email", "new@example.org", "--password-stdin"),
        ("session", "stats"),
    ],
    "userroleslink": [("admin", "show", ADA), ("admin", "revoke-role", ADA, "doctor")],
}


@on_postgresql
@pytest.mark.parametrize("table", HIDDEN)
def test_rows_that_a_policy_hides_are_an_error(
    peopled: Project, postgres: PostgresServer, table: str
) -> None:
    """Hidden rows are never reported as 'unchanged', 'complete' or 'no sessions'."""
    before = oracle.snapshot(peopled)
    with policed(peopled, postgres, table) as seen:
        for words in HIDDEN[table]:
            result = seen.run(*words, stdin=PASSWORD)
            assert (result.code, result.stdout) == (1, ""), (words, result)
            assert f"row-level security on {table} hides rows from this user" in result.stderr
            assert "hint: use a role with BYPASSRLS" in result.stderr
    assert oracle.snapshot(peopled) == before


@on_postgresql
def test_the_owner_of_a_policed_table_sees_all(peopled: Project) -> None:
    """A policy that does not concern the user changes nothing."""
    peopled.rows("ALTER TABLE access_token ENABLE ROW LEVEL SECURITY")
    assert peopled.json("session", "stats")["total"] == 3
    assert peopled.json("session", "cleanup")["deleted"] == 2
