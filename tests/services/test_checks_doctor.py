"""``doctor``: each finding provoked once, and that its remedy ends it."""

import asyncio
import errno
import os
import shlex
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from clarinet_cli import timefmt
from clarinet_cli.database.servers import Server
from clarinet_cli.exceptions import InvalidInputError
from clarinet_cli.repositories.health import HealthRepository
from clarinet_cli.results import Finding
from clarinet_cli.services.checks import connection, doctor, schema, space
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.checks.doctor import list_checks, run_checks, selected_checks
from clarinet_cli.types import Capabilities, CheckGroup
from tests.support import Project, replaced_environment

DAY = timedelta(days=1)


def findings(
    project: Project, only: Sequence[CheckGroup] = (), skip: Sequence[str] = ()
) -> list[Finding]:
    """Return all findings of the checks."""
    with replaced_environment(project.environment):
        return asyncio.run(run_checks(project.directory, selected_checks(only, skip)))


def finding(project: Project, name: str) -> Finding:
    """Return the finding of one check."""
    (found,) = [item for item in findings(project) if item.check == name]
    return found


def run_remedy(project: Project, found: Finding, *more: str) -> None:
    """Run the command that a finding advises."""
    program, *words = shlex.split(str(found.hint))
    assert program == "clarinet", found
    result = project.run_process(*words, *more)
    assert result.code == 0, result


def add_expired_session(project: Project, user_id: UUID) -> None:
    """Insert a session that expired a week ago."""
    project.add_session(user_id, created=9 * DAY, expires=-8 * DAY, used=9 * DAY)


def private(project: Project) -> Project:
    """Close a project's files, as a careful operator has them."""
    for path in project.directory.iterdir():
        path.chmod(0o600)
    return project


# --- The runner ----------------------------------------------------------------------------


def test_a_ready_project_has_no_finding(project: Project) -> None:
    """Each check has a line, in the order of the groups."""
    found = findings(private(project))
    assert [item for item in found if item.status != "ok"] == []
    others = {check.name for check in schema.CHECKS if not check.applies(Capabilities())}
    expected = [row.check for row in list_checks() if row.check not in others]
    assert [item.check for item in found] == expected


def test_a_database_of_a_server_has_no_error(server_project: Project) -> None:
    """Its revision is its own migrations', and its other tables are not changed."""
    found = {item.check: item for item in findings(private(server_project))}
    assert not [item for item in found.values() if item.status == "error"]
    assert "the server's own migrations" in found["revision"].detail
    assert "not changed" in found["other-tables"].detail
    assert found["backlog"].status == "warning"


def test_a_group_and_a_check_to_leave_out(project: Project) -> None:
    """Only what is asked for is checked."""
    found = findings(project, [CheckGroup.SESSIONS], ["backlog"])
    assert [item.check for item in found] == ["partitions", "absolute-limit", "concurrent-limit"]
    with pytest.raises(InvalidInputError, match="unknown check 'nothing'"):
        selected_checks(skip=["nothing"])


def test_names_are_unique() -> None:
    """'--skip' means one check."""
    names = [row.check for row in list_checks()]
    assert len(names) == len(set(names))
    assert {row.group for row in list_checks()} == set(CheckGroup)


async def _fails(_: DoctorContext) -> list[Problem]:
    raise KeyError


async def _hangs(_: DoctorContext) -> list[Problem]:
    await asyncio.Event().wait()
    return []


async def _cannot_read(_: DoctorContext) -> list[Problem]:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/nowhere/at/all")


def test_a_check_that_fails_stops_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the check, a limit of time and an unreadable file are findings."""
    made = [
        Check(name, CheckGroup.SPACE, "", run)
        for name, run in (("fails", _fails), ("hangs", _hangs), ("reads", _cannot_read))
    ]
    monkeypatch.setattr(doctor, "CHECKS", (*made, *space.CHECKS))
    monkeypatch.setattr(doctor, "CHECK_SECONDS", 2.0)
    found = {item.check: item for item in findings(project)}
    assert found["fails"].detail == "not checked: unexpected KeyError"
    assert found["hangs"].detail == "not checked: no answer in 2 s"
    assert "/nowhere/at/all: No such file" in found["reads"].detail
    assert found["disk"].status == "ok"


def test_settings_that_cant_be_used_are_a_finding(project: Project) -> None:
    """The checks that need them are skipped, with a note; the others are made."""
    project.write_settings("session_expire_hours = 0\ncookie_nam = 'x'\n")
    found = findings(private(project))
    assert {item.check for item in found} <= {row.check for row in list_checks()}
    errors = [item for item in found if item.status == "error"]
    assert {item.check for item in errors} == {"keys", "values"}
    assert "checks that need the settings" in errors[0].detail


def test_a_settings_file_that_is_no_toml_is_a_finding(project: Project) -> None:
    """It reports the error that all other commands fail with."""
    (project.directory / "settings.toml").write_text("a = [")
    (found,) = [item for item in findings(project) if item.status == "error"]
    assert found.check == "files"
    assert "not valid TOML" in found.detail


def test_a_database_that_is_missing_is_a_finding(empty_project: Project) -> None:
    """One error, and no further one for each check that asks the database."""
    private(empty_project)
    found = findings(empty_project)
    (wrong,) = [item for item in found if item.status != "ok"]
    assert (wrong.check, wrong.status) == ("reachable", "error")
    assert "were skipped" in wrong.detail
    assert "db init" in str(wrong.hint)
    assert "secrets" in {item.check for item in found}
    only = findings(empty_project, [CheckGroup.SPACE])
    assert [item.check for item in only] == ["reachable"]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_user_without_permissions_gets_findings(project: Project) -> None:
    """Each check without the permission reports that it was not made."""
    assert project.server is not None
    role = f"nobody_{project.database}"
    project.rows(f'CREATE ROLE "{role}" LOGIN')
    try:
        project.environment = {"CLARINET_DATABASE_USERNAME": role}
        found = {item.check: item for item in findings(private(project))}
        assert found["reachable"].status == "ok"
        assert found["superuser"].status == "error"
        assert "not checked:" in found["superuser"].detail
        assert "permission" in found["superuser"].detail
        assert found["clocks"].status == "ok"
    finally:
        project.rows(f'DROP ROLE "{role}"')


# --- Configuration -------------------------------------------------------------------------


def test_well_known_secrets(project: Project) -> None:
    """The administrator's password is an error, a cookie over plain HTTP a warning."""
    project.write_settings('admin_password = "Admin"\nsession_secure_cookie = false\n')
    found = [item for item in findings(project) if item.check == "secrets"]
    assert [item.status for item in found] == ["error", "warning"]
    assert "Admin'" not in found[0].detail


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_default_password_of_the_database(project: Project) -> None:
    """It is a warning: the server takes it."""
    project.environment = {"CLARINET_DATABASE_PASSWORD": "postgres"}
    assert finding(project, "secrets").status == "warning"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_files_that_every_user_can_open(project: Project) -> None:
    """Database, backups and audit log; the remedy closes each."""
    project.write_settings('audit_log = "audit.jsonl"\n')
    private(project)
    names = (project.file.name, "clarinet-20261122T180000Z.db", "audit.jsonl")
    for name in names:
        (project.directory / name).touch()
        (project.directory / name).chmod(0o646)
    found = [item for item in findings(project) if item.check == "file-modes"]
    assert [item.status for item in found] == ["error"] * 3
    for item in found:
        program, right, path = shlex.split(str(item.hint))
        assert (program, right) == ("chmod", "o-rwx")
        Path(path).chmod(0o640)
    assert finding(project, "file-modes").status == "ok"


# --- Connection ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("ahead", "status"), [(1, "ok"), (5, "warning"), (600, "error")])
def test_clocks_that_differ(
    project: Project, monkeypatch: pytest.MonkeyPatch, ahead: int, status: str
) -> None:
    """More than two seconds are a warning; with more than five minutes no clean-up deletes."""
    monkeypatch.setattr(
        timefmt, "machine_now", lambda: datetime.now(UTC) - timedelta(seconds=ahead)
    )
    assert finding(project, "clocks").status == status


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_server_beyond_its_end_of_life(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version with the date."""
    assert "PostgreSQL 1" in finding(project, "server-version").detail
    monkeypatch.setattr(timefmt, "machine_now", lambda: datetime(2040, 1, 1, tzinfo=UTC))
    found = finding(project, "server-version")
    assert found.status == "warning"
    assert "is no longer supported (end of life 20" in found.detail


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_connection_that_others_can_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a network without TLS."""
    assert finding(project, "tls").detail == "the connection does not leave this machine"
    monkeypatch.setattr(Server, "is_local", False)
    found = finding(project, "tls")
    assert (found.status, found.hint) == (
        "warning",
        'database_sslmode = "require" in settings.toml',
    )


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_replica_that_is_none(project: Project) -> None:
    """The main server in its place is a warning."""
    assert project.server is not None
    server = project.server
    url = f"postgresql://{server.user}@/{project.database}?host={server.host}&port={server.port}"
    project.environment = {"CLARINET_DATABASE_READ_URL": url}
    found = finding(project, "replica")
    assert (found.status, found.detail[:40]) == (
        "warning",
        "database_read_url names a writable serve",
    )


def test_a_slow_answer(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a warning with the time."""
    monkeypatch.setattr(connection, "SLOW_SECONDS", -1)
    assert finding(project, "reachable").status == "warning"


# --- Schema --------------------------------------------------------------------------------


def test_a_schema_that_is_behind(empty_project: Project) -> None:
    """A database without tables: one command makes them."""
    if empty_project.server is None:
        sqlite3.connect(empty_project.file).close()
    else:
        empty_project.server.create(empty_project.database)
    found = findings(empty_project, [CheckGroup.SCHEMA])
    assert {item.check: item.status for item in found}["revision"] == "error"
    assert found[0].hint == "clarinet db init"


def test_a_missing_index_of_a_server(server_project: Project) -> None:
    """The consequence, and that the server's own migrations create it."""
    server_project.rows("DROP INDEX ix_access_token_expires_at")
    found = finding(server_project, "indexes")
    assert found.status == "warning"
    assert "each clean-up scans all sessions" in found.detail
    assert "migrations of the server" in str(found.hint)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_column_that_differs(project: Project) -> None:
    """It is drift, and no missing index."""
    project.rows('ALTER TABLE "user" ALTER COLUMN email DROP NOT NULL')
    found = finding(project, "drift")
    assert (found.status, found.detail) == ("error", "column user.email may be null")


# --- Accounts ------------------------------------------------------------------------------


def test_no_superuser(project: Project) -> None:
    """An error, which the remedy ends."""
    project.rows('UPDATE "user" SET is_active = false')
    found = finding(project, "superuser")
    assert found.status == "error"
    project.rows("DELETE FROM userroleslink")
    project.rows('DELETE FROM "user"')
    run_remedy(project, found)
    assert finding(project, "superuser").status == "ok"


def test_a_superuser_who_cant_log_in(project: Project) -> None:
    """A hash that nothing verifies is as good as no superuser."""
    project.rows('UPDATE "user" SET hashed_password = ?', "!")
    assert "no usable password hash" in finding(project, "superuser").detail
    assert "1 active account whose password hash cannot be verified" in (
        finding(project, "hashes").detail
    )
    result = project.run("admin", "reset-password", "admin@clarinet.ru", "--generate-password")
    assert result.code == 0
    assert finding(project, "superuser").status == "ok"


def test_old_hashes_are_counted_by_scheme(project: Project) -> None:
    """Such as those of bcrypt."""
    project.add_user("a@example.org")
    project.add_user("b@example.org")
    found = finding(project, "hashes")
    assert found.status == "warning"
    assert "2 bcrypt (a@example.org, b@example.org);" in found.detail
    assert found.hint == "clarinet admin reset-password --any-user USER, for each of them"


def test_an_old_hash_has_a_remedy(project: Project) -> None:
    """The command names the account."""
    project.add_user("a@example.org")
    run_remedy(project, finding(project, "hashes"), "--generate-password")
    assert finding(project, "hashes").status == "ok"


def test_an_unused_superuser(project: Project) -> None:
    """As far as its sessions are kept; the remedy ends it."""
    user_id = project.add_user("old@example.org", superuser=True)
    project.add_session(user_id, created=120 * DAY, used=100 * DAY)
    found = finding(project, "unused-superusers")
    assert found.status == "warning"
    assert found.hint == "clarinet admin demote old@example.org"
    run_remedy(project, found)
    assert finding(project, "unused-superusers").status == "ok"


def test_unverified_and_same_addresses(project: Project) -> None:
    """Both are about addresses: one is a warning, the other an error."""
    project.add_user("Same@example.org")
    project.add_user("same@example.org")
    assert "2 active accounts not verified" in finding(project, "verified").detail
    assert finding(project, "same-addresses").status == "error"


def test_an_unverified_account_has_a_remedy(project: Project) -> None:
    """The command names the account."""
    project.add_user("a@example.org")
    run_remedy(project, finding(project, "verified"))
    assert finding(project, "verified").status == "ok"


def test_many_unverified_accounts_are_changed_by_a_file(project: Project) -> None:
    """Five addresses are named; the hint is the way that needs no command for each."""
    for number in range(6):
        project.add_user(f"a{number}@example.org")
    found = finding(project, "verified")
    assert "6 active accounts not verified: a0@example.org, " in found.detail
    assert "a4@example.org, …; a server" in found.detail
    assert "admin apply FILE" in str(found.hint)


def test_a_missing_role(project: Project) -> None:
    """A role of the settings that does not exist."""
    project.write_settings('extra_roles = ["reader"]\n')
    found = finding(project, "roles")
    assert found.detail == "1 role missing and cannot be granted: reader"
    run_remedy(project, found, "--yes")
    assert finding(project, "roles").status == "ok"


# --- Sessions ------------------------------------------------------------------------------


def test_a_backlog(project: Project) -> None:
    """Since when, and how many; the clean-up ends it."""
    user_id = project.add_user("a@example.org")
    project.add_session(user_id, expires=timedelta(hours=-2))
    assert finding(project, "backlog").status == "ok"
    for _ in range(3):
        add_expired_session(project, user_id)
    found = finding(project, "backlog")
    assert found.status == "warning"
    assert found.detail.startswith("4 expired sessions were not deleted, the oldest since 20")
    run_remedy(project, found)
    assert finding(project, "backlog").detail == "no expired session is left"


def test_a_backlog_where_the_clean_up_is_off(project: Project) -> None:
    """The reason is reported."""
    project.write_settings("session_cleanup_enabled = false\n")
    add_expired_session(project, project.add_user("a@example.org"))
    assert "session_cleanup_enabled is off" in finding(project, "backlog").detail


def test_sessions_beyond_the_limits(project: Project) -> None:
    """Older than any may become, and more than a user may have; the clean-up ends the first."""
    user_id = project.add_user("a@example.org")
    project.add_session(user_id, created=40 * DAY)
    for _ in range(5):
        project.add_session(user_id)
    old, crowded = finding(project, "absolute-limit"), finding(project, "concurrent-limit")
    assert old.detail.startswith(
        "1 live session with an age above session_absolute_timeout_days 30"
    )
    assert crowded.detail.startswith(
        "1 user with more unexpired sessions than session_concurrent_limit 5"
    )
    run_remedy(project, old)
    assert finding(project, "absolute-limit").status == "ok"
    project.add_session(user_id)
    assert project.run("session", "revoke-user", "a@example.org", "--keep-newest", "5").code == 0
    assert finding(project, "concurrent-limit").status == "ok"


def test_limits_that_are_off(project: Project) -> None:
    """They are not checked."""
    project.write_settings("session_absolute_timeout_days = 0\nsession_concurrent_limit = -1\n")
    for name in ("absolute-limit", "concurrent-limit"):
        assert "is off" in finding(project, name).detail


# --- Space ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("free", "status"), [(1 << 20, "error"), (1 << 40, "ok")])
def test_a_full_disk(
    project: Project, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    """Less than what a few log-ins need is an error."""
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert finding(project, "disk").status == status


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_free_pages_are_worth_a_vacuum(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy ends it."""
    monkeypatch.setattr(space, "MIN_UNUSED_BYTES", 1 << 16)
    with closing(sqlite3.connect(project.file)) as opened, opened:
        opened.execute("CREATE TABLE filler AS SELECT randomblob(1000000) AS bytes")
        opened.execute("DROP TABLE filler")
    found = finding(project, "unused-space")
    assert (found.status, found.hint) == ("warning", "clarinet db vacuum")
    run_remedy(project, found)
    assert finding(project, "unused-space").status == "ok"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_large_log(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy empties it."""
    monkeypatch.setattr(space, "LARGE_LOG", 1)
    project.rows("PRAGMA journal_mode=wal")
    with closing(sqlite3.connect(project.file)) as opened:
        opened.execute("INSERT INTO userrole VALUES ('some')")
        opened.commit()
        found = finding(project, "log")
        assert found.status == "warning"
        run_remedy(project, found)
        assert finding(project, "log").status == "ok"


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_deleted_rows_of_a_server(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server's statistics, which are taken as they are."""

    async def dead_tuples(*_: object) -> list[tuple[str, int, int]]:
        return [("access_token", 100, 50_000), ("user", 5, 3)]

    monkeypatch.setattr(HealthRepository, "dead_tuples", dead_tuples)
    found = finding(project, "unused-space")
    assert found.detail.startswith("50000 of 50100 rows of access_token are dead")
