"""Restoring: what is checked first, what is replaced, and what stays."""

import contextlib
import json
import sqlite3
import stat
import threading
from pathlib import Path
from time import monotonic

import pytest

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS
from clarinet_cli.services.backup import restore as restore_module
from clarinet_cli.services.backup.restore import restore
from clarinet_cli.services.backup.restore_plan import RestorePlan, prepare_restore
from clarinet_cli.services.locks import Job
from tests.cli.scenes import (
    ADA,
    ADMIN,
    admin_id,
    assert_failed,
    database_locked,
    dump,
    everything,
    job_running,
    populate,
)
from tests.support import Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
EMAILS = 'SELECT email FROM "user" ORDER BY email'


@pytest.fixture
def saved(project: Project, tmp_path: Path) -> Path:
    """A backup of two accounts and four sessions, after which ada is gone and grace came."""
    populate(project)
    file = tmp_path / "saved"
    assert project.run("db", "backup", str(file)).code == 0
    change(project)
    return file


def change(project: Project) -> None:
    """Delete ada, make grace, log the administrator in."""
    assert project.run("admin", "delete", ADA, "--yes").code == 0
    project.add_user("grace@example.org")
    project.add_session(admin_id(project), token="99999999-later")


def restore_words(project: Project, file: Path, *more: str) -> tuple[str, ...]:
    """Return the words that restore a whole backup over a database."""
    return ("db", "restore", str(file), "--clean", "--yes", *more)


def test_a_restore_brings_back_what_was(project: Project, saved: Path) -> None:
    """Accounts and sessions are those of the backup; the report has both."""
    report = project.json(*restore_words(project, saved, "--keep-sessions"))
    assert report["result"] == "restored"
    assert report["kind"] == project.backend
    assert report["rows"] == {"user": 2, "userrole": 5, "userroleslink": 1, "access_token": 4}
    assert report["replaced"]["access_token"] == 2
    assert report["sessions_revoked"] == 0
    assert report["verified"] is True
    assert [email for (email,) in project.rows(EMAILS)] == [ADA, ADMIN]
    assert "99999999-later" not in project.tokens()
    assert len(project.tokens()) == 4


def test_sessions_of_the_backup_end_by_default(project: Project, saved: Path) -> None:
    """With --yes a session that may have been revoked since is not restored."""
    report = project.json(*restore_words(project, saved))
    assert (report["sessions_revoked"], report["rows"]["access_token"]) == (4, 0)
    assert project.tokens() == set()


def test_a_safety_copy_is_made_first(project: Project, saved: Path) -> None:
    """It restores what was there; without it none is made."""
    before = dump(project)
    report = project.json(*restore_words(project, saved))
    copy = Path(report["safety_copy"])
    assert copy.parent == project.directory
    assert "before-restore" in copy.name
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    back = restore_words(project, copy, "--keep-sessions", "--no-safety-copy")
    assert project.json(*back)["safety_copy"] is None
    assert dump(project) == before


def test_a_dry_run_changes_nothing(project: Project, saved: Path) -> None:
    """It reports what would be done, asks nothing, and leaves no file."""
    before, files = dump(project), sorted(project.directory.iterdir())
    report = project.json("db", "restore", str(saved), "--clean", "--dry-run")
    assert report["result"] == "would_restore"
    assert (report["sessions_revoked"], report["safety_copy"]) == (4, None)
    assert (dump(project), sorted(project.directory.iterdir())) == (before, files)


def test_a_restore_has_to_be_confirmed(project: Project, saved: Path) -> None:
    """Without a terminal and --yes it is refused, with the counts on both sides."""
    before = dump(project)
    result = project.run("db", "restore", str(saved), "--clean")
    assert_failed(result, 5)
    assert "2 in access_token" in result.stderr
    assert "4 in access_token" in result.stderr
    assert dump(project) == before


def test_a_restore_is_recorded(project: Project, saved: Path, tmp_path: Path) -> None:
    """The audit log has one record with the counts; a dry run leaves none."""
    log = tmp_path / "audit"
    project.json("--audit-log", str(log), "db", "restore", str(saved), "--clean", "--dry-run")
    assert not log.exists()
    project.json("--audit-log", str(log), *restore_words(project, saved))
    [record] = [json.loads(line) for line in log.read_text().splitlines()]
    assert (record["result"], record["command"]) == ("restored", "db restore")
    assert record["rows"]["user"] == 2
    assert record["revoked"] == 4


@pytest.mark.parametrize("job", list(Job))
def test_another_job_keeps_a_restore_out(project: Project, saved: Path, job: Job) -> None:
    """A migration, clean-up or restore that is running: busy, and nothing is changed."""
    before = dump(project)
    with job_running(project, job):
        result = project.run(*restore_words(project, saved, "--lock-timeout", "0s"))
    assert_failed(result, 75)
    assert dump(project) == before


def test_what_is_no_backup(project: Project, tmp_path: Path) -> None:
    """A missing file is 3, any other content 2, the database itself 2."""
    assert_failed(project.run("db", "restore", str(tmp_path / "missing"), "--yes"), 3)
    other = tmp_path / "other"
    other.write_text("-- PostgreSQL database dump\n")
    assert_failed(project.run("db", "restore", str(other), "--yes"), 2)
    if project.server is None:
        assert_failed(project.run("db", "restore", str(project.file), "--yes"), 2)


def test_a_damaged_backup_changes_nothing(project: Project, saved: Path) -> None:
    """It is found before anything is touched, wherever the damage is."""
    content = saved.read_bytes()
    before = dump(project)
    for damaged in (
        content[: len(content) // 2],
        content[:-30] if project.server else content[: -4096 * 2],
        content[:-120] + bytes(60) + content[-60:]
        if project.server
        else content[:9000] + bytes(4000) + content[13000:],
    ):
        saved.write_bytes(damaged)
        result = project.run(*restore_words(project, saved))
        assert_failed(result, 6)
        assert "restore it from a backup" not in result.stderr
        assert dump(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("option", ["--revoke-sessions", "--keep-sessions"])
def test_a_file_without_clarinet_tables_changes_nothing(
    project: Project, tmp_path: Path, option: str
) -> None:
    """Another program's SQLite file is refused with 6, before a safety copy is made."""
    file = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = everything(project)
    result = project.run("db", "restore", str(file), option, "--yes")
    assert_failed(result, 6)
    assert f"{file} has no table user" in result.stderr
    assert everything(project) == before


def test_a_missing_database_is_named_with_the_option_that_makes_it(
    project: Project, saved: Path
) -> None:
    """7 without --create, and the hint is that: what 'db init' makes would not be empty."""
    elsewhere = {"CLARINET_DATABASE_NAME": f"{project.database}_elsewhere"}
    result = project.run("db", "restore", str(saved), "--yes", env=elsewhere)
    assert_failed(result, 7)
    assert "hint: --create" in result.stderr


def test_a_newer_revision_is_refused(project: Project, tmp_path: Path) -> None:
    """A revision that this version does not know is not restored."""
    project.rows("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    file = tmp_path / "newer"
    assert project.run("db", "backup", str(file)).code == 0
    result = project.run(*restore_words(project, file))
    assert_failed(result, 5)
    assert "ffffffffffff" in result.stderr


def test_a_server_database_is_restored_whole(server_project: Project, tmp_path: Path) -> None:
    """The tables of the application are those of the backup too."""
    file = tmp_path / "saved"
    before = dump(server_project)
    assert server_project.run("db", "backup", str(file)).code == 0
    server_project.rows("DELETE FROM access_token")
    words = restore_words(server_project, file, "--keep-sessions", "--no-safety-copy")
    assert server_project.run(*words).code == 0
    assert dump(server_project) == before


def test_accounts_only_leaves_other_tables(server_project: Project, tmp_path: Path) -> None:
    """From the portable copy and from a whole backup; other tables are unchanged."""
    before = dump(server_project)
    for number, words in enumerate([("--accounts-only",), ()]):
        file = tmp_path / f"saved-{number}"
        assert server_project.run("db", "backup", *words, str(file)).code == 0
        server_project.rows("DELETE FROM access_token")
        server_project.rows("DELETE FROM userroleslink")
        server_project.rows("UPDATE \"user\" SET is_active = false, email = 'x' || email")
        server_project.add_user("grace@example.org")
        words = ("db", "restore", str(file), "--accounts-only", "--yes", "--keep-sessions")
        report = server_project.json(*words, "--no-safety-copy")
        assert report["result"] == "restored"
        assert dump(server_project) == before


def test_a_referenced_account_is_a_conflict(project: Project, tmp_path: Path) -> None:
    """A user who is not in the backup and owns rows of other tables cannot go: 4, all undone."""
    file = tmp_path / "saved"
    assert project.run("db", "backup", "--accounts-only", str(file)).code == 0
    ada = populate(project)
    kind = "uuid" if project.server else "char(32)"
    project.rows(f'CREATE TABLE note (user_id {kind} NOT NULL REFERENCES "user" (id))')
    project.rows("INSERT INTO note VALUES (?)", ada)
    before = dump(project)
    result = project.run("db", "restore", str(file), "--yes", "--no-safety-copy")
    assert_failed(result, 4)
    assert dump(project) == before


@on_postgresql
def test_an_archive_needs_an_empty_database(project: Project, saved: Path) -> None:
    """Tables that are there: a conflict, without --clean."""
    before = dump(project)
    assert_failed(project.run("db", "restore", str(saved), "--yes"), 4)
    assert dump(project) == before
    assert project.server is not None
    project.server.drop(project.database)
    assert_failed(project.run("db", "restore", str(saved), "--yes"), 7)
    assert project.run("db", "restore", str(saved), "--yes", "--create").code == 0
    assert [email for (email,) in project.rows(EMAILS)] == [ADA, ADMIN]


@on_sqlite
def test_a_missing_file_is_made_on_request(project: Project, saved: Path) -> None:
    """Without --create a mistyped name creates no file."""
    project.file.unlink()
    assert_failed(project.run("db", "restore", str(saved), "--yes"), 7)
    assert not project.file.exists()
    assert project.run("db", "restore", str(saved), "--yes", "--create").code == 0
    assert [email for (email,) in project.rows(EMAILS)] == [ADA, ADMIN]


@on_postgresql
def test_an_archive_of_another_backend(project: Project, saved: Path, tmp_path: Path) -> None:
    """Accounts come over between backends, whole databases do not."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    other = Project(directory, "sqlite", "clarinet")
    other.write_settings()
    assert other.run("db", "init", "--generate-password").code == 0
    assert_failed(other.run("db", "restore", str(saved), "--yes"), 5)
    words = ("db", "restore", str(saved), "--accounts-only", "--yes", "--keep-sessions")
    assert other.run(*words).code == 0
    assert [email for (email,) in other.rows(EMAILS)] == [ADA, ADMIN]
    assert len(other.tokens()) == 4


@on_sqlite
@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("size", [4096, 1024])
def test_other_connections_see_one_commit(
    project: Project, saved: Path, tmp_path: Path, mode: str, size: int
) -> None:
    """An open connection continues in the same file, and never sees a mixture.

    Journal mode and page size stay those of the database.
    """
    resized = tmp_path / "resized"
    with contextlib.closing(sqlite3.connect(saved)) as connection:
        connection.execute(f"PRAGMA page_size={size}")
        connection.execute("VACUUM INTO ?", [str(resized)])
    project.rows(f"PRAGMA journal_mode={mode}")
    inode = project.file.stat().st_ino
    ended, seen = threading.Event(), set()

    def look() -> None:
        emails = "SELECT group_concat(email) FROM (SELECT email FROM user ORDER BY 1)"
        query = f"SELECT ({emails}), (SELECT count(*) FROM access_token)"
        with contextlib.closing(sqlite3.connect(project.file, timeout=20)) as connection:
            while not ended.is_set():
                seen.update(connection.execute(query).fetchall())
            seen.update(connection.execute(query).fetchall())

    with contextlib.closing(sqlite3.connect(project.file)) as server:
        server.execute("SELECT count(*) FROM user").fetchall()
        thread = threading.Thread(target=look)
        thread.start()
        words = restore_words(project, resized, "--keep-sessions")
        report = project.json(*words)
        ended.set()
        thread.join()
        assert server.execute("PRAGMA journal_mode").fetchone() == (mode,)
        assert server.execute("PRAGMA page_size").fetchone() == (4096,)
        server.execute("DELETE FROM access_token WHERE token = '11111111-active'")
        server.commit()
    assert project.file.stat().st_ino == inode
    assert report["rows"]["access_token"] == 4
    assert seen <= {(f"{ADMIN},grace@example.org", 2), (f"{ADA},{ADMIN}", 4)}
    assert len(project.tokens()) == 3


def test_a_busy_database_is_75(project: Project, saved: Path) -> None:
    """Another connection that holds the lock: nothing is changed."""
    before = dump(project)
    words = restore_words(project, saved, "--no-safety-copy", "--lock-timeout", "1s")
    if project.server is None:
        with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            result = project.run(*words)
    else:
        from tests.faults.processes import write_lock

        with write_lock(project, 'LOCK TABLE "user" IN ACCESS SHARE MODE'):
            result = project.run(*words)
    assert_failed(result, 75)
    assert dump(project) == before


@pytest.mark.parametrize("options", [[], ["--accounts-only"]])
def test_a_restore_waits_for_locks_up_to_lock_timeout(
    project: Project, saved: Path, options: list[str]
) -> None:
    """All tables locked: 75 after --lock-timeout, not after the default of other commands."""
    words = restore_words(project, saved, "--lock-timeout", "500ms", *options)
    with database_locked(project):
        began = monotonic()
        result = project.run(*words)
        seconds = monotonic() - began
    assert_failed(result, 75)
    assert seconds < BUSY_TIMEOUT_SECONDS / 2


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("options", [[], ["--accounts-only"]])
def test_a_failure_after_the_safety_copy_names_it(
    project: Project, saved: Path, options: list[str]
) -> None:
    """A writer keeps the database: the hint has the file that was made."""
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        words = restore_words(project, saved, "--lock-timeout", "100ms", *options)
        result = project.run(*words)
    assert_failed(result, 75)
    [copy] = project.directory.glob("*-before-restore-*")
    assert f"the safety copy is {copy}" in result.stderr


async def test_two_restores_within_a_second_have_two_safety_copies(
    project: Project, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one takes another name, and the earlier one stays."""
    monkeypatch.setattr(restore_module, "STAMP", "same")
    plan = RestorePlan(clean=True)
    made = []
    for _ in range(2):
        prepared = await prepare_restore(project.settings, saved, plan)
        made.append((await restore(project.settings, prepared, plan)).safety_copy)
    assert len(set(made)) == 2
    assert len(list(project.directory.glob("*-before-restore-*"))) == 2


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_archive_of_a_newer_pg_dump_is_named_with_both_versions(
    project: Project, saved: Path
) -> None:
    """No damage, but a program to install: 1 with its package, and nothing is changed."""
    before = everything(project)
    content = bytearray(saved.read_bytes())
    content[6] = 99  # the minor version of the format
    text = bytes(content)
    place = text.index(b"18.4", text.index(b"18.4") + 1)
    saved.write_bytes(text[:place] + b"77.4" + text[place + 4 :])
    result = project.run(*restore_words(project, saved))
    assert_failed(result, 1)
    assert "pg_restore 18.4 (" in result.stderr
    assert f"is older than pg_dump 77.4, which wrote {saved}" in result.stderr
    assert "postgresql-client-77" in result.stderr
    assert everything(project) == before
