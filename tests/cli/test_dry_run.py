"""--dry-run: the same queries, no prompt, and not one row or byte changed."""

from collections.abc import Callable
from typing import Any, Optional

import pytest

from tests.cli.scenes import (
    ADA,
    ADMIN,
    all_commands,
    assert_failed,
    back_up,
    environment,
    everything,
    nothing,
    options_of,
    populate,
    run_line,
)
from tests.support import Project, Result

# The commands of this step that the contract marks as changing data.
CHANGING = {
    "db init",
    "admin create",
    "admin reset-password",
    "admin ensure",
    "admin promote",
    "admin demote",
    "admin activate",
    "admin deactivate",
    "admin delete",
    "admin grant-role",
    "admin revoke-role",
    "session revoke",
    "session revoke-user",
    "session revoke-all",
    "session cleanup",
    "migrate upgrade",
    "migrate downgrade",
    "migrate stamp",
    "db reset",
    "db restore",
    "doctor",
}

Prepare = Callable[[Project], object]


def sessions(project: Project) -> None:
    """Add accounts and sessions in each state."""
    populate(project)


def two_superusers(project: Project) -> None:
    """Give ada the flag too."""
    populate(project)
    project.rows('UPDATE "user" SET is_superuser = true')


def inactive(project: Project) -> None:
    """Deactivate ada without the tool."""
    ada = populate(project)
    project.rows('UPDATE "user" SET is_active = false WHERE id = ?', ada)


def no_superuser(project: Project) -> None:
    """Take the first superuser's flag away."""
    populate(project)
    project.rows('UPDATE "user" SET is_superuser = false')


def no_account(project: Project) -> None:
    """Remove the first superuser."""
    project.rows("DELETE FROM userroleslink")
    project.rows('DELETE FROM "user"')


def no_roles(project: Project) -> None:
    """Remove one role and ask for another in the settings."""
    project.rows("DELETE FROM userrole WHERE name = 'expert'")
    project.write_settings('extra_roles = ["reader"]\n')


def no_schema(project: Project) -> None:
    """Take the schema back to nothing."""
    assert project.run("migrate", "downgrade", "base", "--yes").code == 0


def stamped_at_base(project: Project) -> None:
    """Record no revision for tables that are at the newest one."""
    populate(project)
    assert project.run("migrate", "stamp", "base", "--force").code == 0


def ailing(project: Project) -> None:
    """Lose an index and a role that 'doctor --fix' creates."""
    no_roles(project)
    project.rows("DROP INDEX ix_access_token_expires_at")


def changed_environment(project: Project) -> None:
    """Give the project a migration environment with a file that is not Clarinet's."""
    environment(project)
    (project.directory / "alembic" / "env.py").write_text("print('mine')\n")


# Preparation, command line, values of ``result`` (None: it has no such field; empty: findings).
CASES: list[tuple[Prepare, str, Optional[set[str]]]] = [
    (nothing, "db init", {"unchanged"}),
    (no_superuser, "db init", {"unchanged", "would_update"}),
    (no_account, "db init", {"unchanged", "would_create"}),
    (no_roles, "db init", {"unchanged", "would_create"}),
    (no_schema, "db init", {"unchanged", "would_create"}),
    (sessions, "admin create --email new@example.org", {"would_create"}),
    (sessions, "admin create --email new@example.org --generate-password", {"would_create"}),
    (sessions, "admin create --email new@example.org --role doctor", {"would_create"}),
    (sessions, f"admin create --email {ADA} --update", {"would_update"}),
    (sessions, f"admin create --email {ADA} --update --generate-password", {"would_update"}),
    (sessions, f"admin create --email {ADA} --if-not-exists", {"unchanged"}),
    (sessions, "admin reset-password", {"would_update"}),
    (sessions, f"admin reset-password {ADMIN} --generate-password", {"would_update"}),
    (sessions, f"admin reset-password {ADA} --any-user --keep-sessions", {"would_update"}),
    (sessions, "admin ensure", {"unchanged"}),
    (no_superuser, "admin ensure", {"would_update"}),
    (no_account, "admin ensure", {"would_create"}),
    (sessions, f"admin promote {ADA}", {"would_update"}),
    (sessions, f"admin demote {ADA}", {"unchanged"}),
    (two_superusers, f"admin demote {ADA}", {"would_update"}),
    (two_superusers, f"admin promote {ADA}", {"would_update"}),  # the role is missing
    (sessions, f"admin activate {ADA}", {"unchanged"}),
    (inactive, f"admin activate {ADA}", {"would_update"}),
    (inactive, f"admin deactivate {ADA}", {"would_update"}),  # sessions are left
    (sessions, f"admin deactivate {ADA}", {"would_update"}),
    (sessions, f"admin delete {ADA}", {"would_delete"}),
    (two_superusers, f"admin delete {ADMIN}", {"would_delete"}),
    (sessions, f"admin grant-role {ADA} doctor", {"would_update"}),
    (sessions, f"admin grant-role {ADMIN} admin", {"unchanged"}),
    (sessions, f"admin revoke-role {ADMIN} admin", {"would_update"}),
    (sessions, f"admin revoke-role {ADA} doctor", {"unchanged"}),
    (sessions, f"session revoke-user {ADA}", {"would_revoke"}),
    (sessions, f"session revoke-user {ADA} --keep-newest 1", {"would_revoke"}),
    (nothing, f"session revoke-user {ADMIN}", {"unchanged"}),
    (sessions, "session revoke 11111111", {"would_revoke"}),
    (sessions, "session revoke 11111111 44444444", {"would_revoke"}),
    (sessions, "session revoke-all", {"would_revoke"}),
    (sessions, f"session revoke-all --except {ADA}", {"would_revoke"}),
    (sessions, f"session revoke-all --except {ADA} --except {ADMIN}", {"unchanged"}),
    (sessions, "session cleanup", None),
    (sessions, "session cleanup --expired-only", None),
    (no_schema, "migrate upgrade", {"would_update"}),
    (nothing, "migrate upgrade", {"unchanged"}),
    (sessions, "migrate downgrade base", {"would_update"}),
    (sessions, "migrate downgrade -1", {"would_update"}),
    (nothing, "migrate init", {"would_create"}),
    (environment, "migrate init", {"unchanged"}),
    (changed_environment, "migrate init --force", {"unchanged", "would_update"}),
    (environment, "migrate create -m later --empty", {"would_create"}),
    (nothing, "migrate stamp head", {"unchanged"}),
    (sessions, "migrate stamp base --force", {"would_update"}),
    (stamped_at_base, "migrate stamp head", {"would_update"}),
    (sessions, "db reset", {"would_delete"}),
    (back_up, "db restore DIR/saved --clean", {"would_restore"}),
    (back_up, "db restore DIR/saved --clean --accounts-only", {"would_restore"}),
    (back_up, "db restore DIR/saved --clean --keep-sessions", {"would_restore"}),
    (nothing, "doctor --fix --only schema --only accounts --only sessions", set()),
    (ailing, "doctor --fix --only schema --only accounts --only sessions", set()),
]


def results_of(document: Any) -> set[str]:
    """Return the values of ``result`` in a document."""
    rows = document if isinstance(document, list) else [document]
    return {row["result"] for row in rows if "check" not in row}


@pytest.mark.parametrize("prepare", dict.fromkeys(prepare for prepare, _, _ in CASES))
def test_nothing_is_changed_or_asked(project: Project, prepare: Prepare) -> None:
    """It succeeds without a password or --yes, reports would_…, and all rows and files stay."""
    prepare(project)
    before = everything(project)
    wrong = {}
    for needed, line, words in CASES:
        if needed is not prepare:
            continue
        result = run_line(project, line, "--dry-run", "-o", "json")
        assert everything(project) == before, line
        if result.code != 0 or not says_would(result, words):
            wrong[line] = result
    assert wrong == {}


def says_would(result: Result, words: Optional[set[str]]) -> bool:
    """Return whether a document speaks of what would be done, and of no password."""
    if "password" in result.stdout:
        return False
    if words is not None:
        return results_of(result.json) == words
    report = result.json
    found = report["matched"] == report["remaining"] > 0
    return bool(found and report["dry_run"] is True and report["deleted"] == 0)


@pytest.mark.parametrize(
    "line", ["db init", "migrate upgrade", "migrate stamp head", "db reset", "doctor --fix"]
)
def test_no_database_is_made(empty_project: Project, line: str) -> None:
    """Without a database a dry run makes none, nor any lock file."""
    before = everything(empty_project)
    result = empty_project.run(*line.split(), "--dry-run", "-o", "json")
    assert everything(empty_project) == before
    assert before[0] is None
    if line == "db init":
        assert result.code == 0, result
        assert results_of(result.json) == {"would_create"}


@pytest.mark.parametrize("line", ["db init", "admin ensure", "session cleanup", "migrate init"])
def test_a_servers_database_is_not_touched(server_project: Project, line: str) -> None:
    """Next to a real server's tables a dry run changes nothing either."""
    before = everything(server_project)
    result = server_project.run(*line.split(), "--dry-run", "-o", "json")
    assert result.code == 0, result
    assert everything(server_project) == before


def test_a_restore_announces_what_it_does(project: Project) -> None:
    """The rows to restore, those that they replace, and the omitted sessions."""
    back_up(project)
    project.rows("DELETE FROM access_token")
    line = "db restore DIR/saved --clean --no-safety-copy"
    announced = run_line(project, line, "--dry-run", "-o", "json").json
    done = run_line(project, line, "--yes", "-o", "json").json
    names = ("rows", "replaced", "revision", "sessions_revoked", "kind")
    assert {name: announced[name] for name in names} == {name: done[name] for name in names}
    assert (done["rows"]["access_token"], done["sessions_revoked"]) == (0, 4)


def test_a_reset_announces_the_rows_that_it_deletes(project: Project) -> None:
    """The same numbers before and after."""
    populate(project)
    announced = project.json("db", "reset", "--dry-run")
    assert project.json("db", "reset", "--yes")["rows"] == announced["rows"]
    assert announced["rows"]["access_token"] == 4


def test_the_numbers_are_those_of_the_real_run(project: Project) -> None:
    """What a dry run announces is what then happens."""
    populate(project)
    for words, fields in (
        (("session", "cleanup"), ["matched"]),
        (("session", "revoke-user", ADA), ["sessions_revoked", "sessions_kept"]),
        (("admin", "reset-password", "--generate-password"), ["sessions_revoked"]),
    ):
        announced = project.json(*words, "--dry-run")
        done = project.json(*words)
        assert {name: announced[name] for name in fields} == {name: done[name] for name in fields}
        assert done[fields[0]] > 0
    assert project.tokens() == set()


def test_a_new_account_has_no_id_yet(project: Project) -> None:
    """An id that will never exist is not shown."""
    announced = project.json("admin", "create", "--email", "new@example.org", "--dry-run")
    assert announced["id"] is None
    assert announced["roles"] == ["admin"]


FAILURES = [
    ("admin create --email nobody", 2),
    (f"admin create --email {ADMIN}", 4),
    (f"admin create --email {ADMIN.upper()}", 4),
    ("admin create --email new@example.org --role nonsense", 3),
    ("admin reset-password nobody@example.org", 3),
    (f"admin reset-password {ADA}", 5),
    ("admin promote nobody@example.org", 3),
    ("admin delete nobody@example.org", 3),
    (f"admin grant-role {ADA} nonsense", 3),
    (f"admin revoke-role {ADA} nonsense", 3),
    (f"admin demote {ADMIN}", 5),
    (f"admin deactivate {ADMIN}", 5),
    (f"admin delete {ADMIN}", 5),
    ("session revoke-user nobody@example.org", 3),
    (f"session revoke-user {ADA} --keep-current 99999999", 3),
    ("session revoke 11111111 99999999", 3),
    ("session revoke-all --except nobody@example.org", 3),
    ("migrate upgrade nonsense", 3),
    ("migrate downgrade nonsense", 3),
    ("migrate create -m later", 5),
    ("migrate stamp nonsense", 3),
    ("migrate stamp base", 5),
    ("db restore DIR/missing", 3),
    ("db restore DIR/settings.toml", 2),
    ("doctor --fix --skip nonsense", 2),
]


def test_what_would_fail_fails_in_a_dry_run(project: Project) -> None:
    """A dry run ends with the code of the real run, and changes as little."""
    populate(project)
    before = everything(project)
    wrong = {}
    for line, code in FAILURES:
        result = run_line(project, line, "--dry-run")
        if result.code != code:
            wrong[line] = result
        else:
            assert_failed(result, code)
        assert everything(project) == before
    assert wrong == {}


@pytest.mark.parametrize(
    "line", ["admin create --email new@example.org", "admin reset-password", "db init"]
)
def test_a_refused_password_is_refused_in_a_dry_run(empty_project: Project, line: str) -> None:
    """The real run would end with 2: so does the rehearsal, when the password is given."""
    if line != "db init":
        init = empty_project.run("db", "init", "--generate-password")
        assert init.code == 0
    before = everything(empty_project)
    result = empty_project.run(*line.split(), "--dry-run", "--password-stdin", stdin="x")
    assert (result.code, result.stdout) == (2, ""), result
    assert everything(empty_project) == before


def test_every_changing_command_has_the_option() -> None:
    """Each command that changes or removes data takes --dry-run."""
    commands = all_commands()
    for name in CHANGING:
        assert "--dry-run" in options_of(commands[name]), name
