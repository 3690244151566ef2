"""Root, a service's user, members of a group and other users on one SQLite database.

What one of them leaves behind must not be in the way of the others.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.scenes import ADMIN
from tests.faults.processes import assert_one_error, dead_and_live, number_of_stale
from tests.support import PASSWORD, Project
from tests.users import (
    MEMBER,
    OTHER_MEMBER,
    ROOT,
    SERVICE,
    STRANGER,
    TEAM,
    User,
    as_user,
    belongs_to,
    give,
    owner_of,
    run_as,
    shared_directory,
)

NIGHTLY = ("session", "cleanup", "--skip-if-locked")
STATS = ("session", "stats", "-o", "json")
LOGGING = 'log_to_file = true\nlog_level = "DEBUG"\naudit_log = "audit/audit.jsonl"\n'


@pytest.fixture
def shared(service_directory: Path, ready_templates: dict[str, str]) -> Project:
    """A project of the service's user, its database with stale and live sessions."""
    project = Project(service_directory, "sqlite", "clarinet")
    project.write_settings(LOGGING)
    shutil.copyfile(ready_templates["sqlite"], project.file)
    dead_and_live(project, 10, 5)
    give(SERVICE, project.file, mode=0o660)
    return project


def test_what_another_user_may_not_do_is_reported_with_the_owner(shared: Project) -> None:
    """A database and a directory that a user can only read: 1, whose they are, nothing left."""
    shared.file.chmod(0o664)
    (shared.directory / "settings.toml").write_text(shared.database_settings)
    before = everything_below(shared.directory)
    target = str(shared.directory / "saved")
    for words in (("db", "vacuum"), ("db", "backup", target), ("db", "backup", "-")):
        result = run_as(STRANGER, shared, *words)
        assert_one_error(result, 1)
        assert f"{shared.directory} cannot be written by this user: it belongs to" in result.stderr
        assert ".part" not in result.stderr
    assert everything_below(shared.directory) == before


def everything_below(directory: Path) -> list[Path]:
    """Return all files and directories below one."""
    return sorted(directory.rglob("*"))


def in_wal_mode(project: Project) -> Project:
    """Set the database's journal mode, as its owner would."""
    project.rows("PRAGMA journal_mode=wal")
    give(SERVICE, project.file)
    return project


def share_with_team(project: Project, directory_mode: int = 0o2770) -> None:
    """Make database and directory those of a group."""
    os.chown(project.file, SERVICE.uid, TEAM)
    os.chown(project.directory, SERVICE.uid, TEAM)
    project.directory.chmod(directory_mode)


SIDES = ("-wal", "-shm")


def sides(project: Project) -> list[Path]:
    """Return which of the files are there that WAL mode makes."""
    names = [project.file.with_name(f"{project.file.name}{suffix}") for suffix in SIDES]
    return [path for path in names if path.exists()]


# --- What root leaves ---------------------------------------------------------------------

BY_ROOT = (
    ("db", "init", "--password-stdin"),
    ("session", "cleanup"),
    ("migrate", "upgrade"),
    ("admin", "reset-password", "--password-stdin"),
    ("session", "list", "-o", "jsonl"),
    ("migrate", "init"),
    ("migrate", "upgrade"),
    ("migrate", "create", "-m", "more", "--empty"),
    ("migrate", "history"),
)


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_service_continues_after_root(shared: Project, journal: str, umask: int) -> None:
    """After any command of root, with any umask, all files belong to the service."""
    shared.rows(f"PRAGMA journal_mode={journal}")
    settings = shared.directory / "settings.toml"
    trusted = {"CLARINET_SAFE_DIRECTORY": str(shared.directory)}
    for words in BY_ROOT:
        result = run_as(ROOT, shared, *words, stdin=PASSWORD, umask=umask, env=trusted)
        assert result.code == 0, (words, result)
    left = [path for path in everything_below(shared.directory) if path != settings]
    assert {path.name for path in left} >= {
        "clarinet.db.cleanup.lock",
        "clarinet.db.migration.lock",
        "clarinet-cli.log",
        "logs",
        "audit",
        "audit.jsonl",
        "alembic.ini",
        "versions",
    }
    assert belongs_to(SERVICE, left) == {}
    settings.chmod(0o644)
    for words in (NIGHTLY, ("migrate", "upgrade"), ("session", "revoke-all", "--yes")):
        nightly = run_as(SERVICE, shared, *words)
        assert (nightly.code, "warning" in nightly.stderr) == (0, False), nightly


def test_a_database_that_root_makes_is_the_services(service_directory: Path) -> None:
    """'db init' by root in the service's directory, beside the umask: the service writes it."""
    project = Project(service_directory, "sqlite", "clarinet")
    project.write_settings()
    result = run_as(ROOT, project, "db", "init", "--password-stdin", stdin=PASSWORD, umask=0o027)
    assert result.code == 0, result
    assert owner_of(project.file) == (SERVICE.uid, SERVICE.gid, 0o640)
    for words in (NIGHTLY, ("admin", "ensure"), ("admin", "demote", "admin@clarinet.ru")):
        assert run_as(SERVICE, project, *words).code in (0, 5), words


@pytest.mark.parametrize("user", [MEMBER, ROOT])
@pytest.mark.parametrize("mode", [0o770, 0o2770])
def test_a_database_made_in_a_groups_directory_is_the_groups(
    service_directory: Path, user: User, mode: int
) -> None:
    """Also with a umask that excludes the group: the directory's group decides."""
    os.chown(service_directory, SERVICE.uid, TEAM)
    service_directory.chmod(mode)
    project = Project(service_directory, "sqlite", "clarinet")
    project.write_settings()
    words = ("db", "init", "--password-stdin")
    assert run_as(user, project, *words, stdin=PASSWORD, umask=0o077).code == 0
    assert owner_of(project.file)[1:] == (TEAM, 0o660)
    assert run_as(OTHER_MEMBER, project, *NIGHTLY, umask=0o077).code == 0
    assert run_as(OTHER_MEMBER, project, "migrate", "init", umask=0o077).code == 0
    assert run_as(MEMBER, project, "migrate", "upgrade").code == 0


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_sqlites_own_files_are_the_owners_also_by_root(shared: Project, suffix: str) -> None:
    """SQLite itself gives them away; they are seen while a transaction of root's is open."""
    if suffix != "-journal":
        in_wal_mode(shared)

    def owner() -> Any:
        with closing(sqlite3.connect(shared.file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM access_token")
            return owner_of(shared.file.with_name(f"{shared.file.name}{suffix}"))

    assert as_user(ROOT, owner) == [SERVICE.uid, SERVICE.gid, 0o660]


@pytest.mark.parametrize("backend", ["postgresql"])
def test_beside_a_server_files_are_the_directorys(
    project: Project, service_directory: Path
) -> None:
    """With PostgreSQL root's log, audit log and migrations belong to the project's owner."""
    moved = Project(service_directory, "postgresql", project.database, project.server)
    moved.write_settings(LOGGING)
    for words in (("migrate", "init"), ("admin", "demote", "admin@clarinet.ru"), NIGHTLY):
        assert run_as(ROOT, moved, *words, umask=0o077).code in (0, 5), words
    left = [path for path in everything_below(service_directory) if path.name != "settings.toml"]
    assert {path.name for path in left} >= {"audit", "logs", "clarinet-cli.log", "alembic.ini"}
    assert belongs_to(SERVICE, left) == {}


# --- Locks --------------------------------------------------------------------------------


def lock_of(project: Project, job: str = "cleanup") -> Path:
    """Return where the lock of a job is."""
    return project.file.with_name(f"{project.file.name}.{job}.lock")


@pytest.mark.parametrize("words", [NIGHTLY, ("migrate", "upgrade")])
def test_a_lock_that_can_only_be_read_is_a_lock(shared: Project, words: tuple[str, ...]) -> None:
    """As one that root left before: the service locks it, and is busy while it is held."""
    lock = lock_of(shared, "cleanup" if words is NIGHTLY else "migration")
    lock.touch()
    give(ROOT, lock, mode=0o644)
    assert run_as(SERVICE, shared, *words).code == 0
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        job = words[:2]
        options = ("--lock-timeout", "0s") if job[0] == "migrate" else ()
        busy = run_as(SERVICE, shared, *job, *options)
    assert busy.code == 75, busy


def test_a_lock_out_of_reach_names_owner_mode_and_remedy(shared: Project) -> None:
    """1, not 75 and not 0: '--skip-if-locked' hides no permission problem; the remedy helps."""
    lock = lock_of(shared)
    lock.touch()
    give(ROOT, lock, mode=0o600)
    result = run_as(SERVICE, shared, *NIGHTLY)
    line = assert_one_error(result, 1)
    assert line == (f"error: cannot open the lock file {lock}: it belongs to root:root, mode 0600")
    remedy = f"sudo chown {SERVICE.uid}:{SERVICE.gid} {lock} && sudo chmod 0660 {lock}"
    assert result.stderr.splitlines()[1] == f"hint: {remedy}"
    assert number_of_stale(shared) == 10
    assert os.system(remedy.replace("sudo ", "")) == 0  # noqa: S605 - what the hint says
    assert run_as(SERVICE, shared, *NIGHTLY).code == 0


def test_no_right_to_make_a_lock(shared: Project) -> None:
    """Another user's clean-up is refused with the directory's owner and a sudo command."""
    shared.write_settings()
    result = run_as(STRANGER, shared, *NIGHTLY)
    line = assert_one_error(result, 1)
    assert str(lock_of(shared)) in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0755" in line
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr


@pytest.mark.parametrize("user", [ROOT, SERVICE])
def test_a_planted_link_is_no_lock(shared: Project, user: User) -> None:
    """A link in the lock's place is not followed: nothing is made where it leads."""
    with shared_directory(0o777) as elsewhere:
        lock_of(shared).symlink_to(elsewhere / "made")
        assert str(lock_of(shared)) in assert_one_error(run_as(user, shared, *NIGHTLY), 1)
        assert list(elsewhere.iterdir()) == []


# --- Members of a group -------------------------------------------------------------------


@pytest.mark.parametrize("directory_mode", [0o770, 0o2770])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_members_do_not_lock_each_other_out(
    shared: Project, journal: str, directory_mode: int
) -> None:
    """One with umask 077, with and without setgid on the directory: the other can continue."""
    shared.rows(f"PRAGMA journal_mode={journal}")
    share_with_team(shared, directory_mode)
    for words in (NIGHTLY, ("session", "revoke-user", "sessions@example.org"), NIGHTLY):
        for member, umask in ((MEMBER, 0o077), (OTHER_MEMBER, 0o077), (ROOT, 0o077)):
            result = run_as(member, shared, *words, umask=umask)
            assert (result.code, "warning" in result.stderr) == (0, False), (member, result)
    settings = shared.directory / "settings.toml"
    groups = {
        path.name: owner_of(path)[1]
        for path in everything_below(shared.directory)
        if path != settings
    }
    assert set(groups.values()) == {TEAM}, groups


@pytest.mark.parametrize("directory_mode", [0o770, 0o2770])
def test_a_members_side_files_are_the_groups(shared: Project, directory_mode: int) -> None:
    """While one member's command runs, and after it was killed, the others write."""
    in_wal_mode(shared)
    share_with_team(shared, directory_mode)

    def die_while_writing() -> Any:
        read = shared.run(*STATS).code
        # Beside the open connection of another command: its files last.
        connection = sqlite3.connect(shared.file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM access_token WHERE token = 'live-1'")
        connection.execute("COMMIT")
        return [read, [owner_of(path) for path in sides(shared)]]

    with kept_open(shared, MEMBER):
        code, _ = as_user(MEMBER, die_while_writing)
        assert code == 0
        assert {owner_of(path)[1:] for path in sides(shared)} == {(TEAM, 0o660)}
        assert run_as(OTHER_MEMBER, shared, *NIGHTLY).code == 0


@contextmanager
def kept_open(project: Project, user: User) -> Iterator[None]:
    """Have a command of a user in the middle of its work, killed at the end."""
    reading, writing = os.pipe()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _read_until_killed(project, user, tell, reading)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"r"
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        for descriptor in (reading, writing, ready):
            os.close(descriptor)


def _read_until_killed(project: Project, user: User, tell: int, wait: int) -> None:
    import asyncio

    from clarinet_cli.database.session import get_connection

    os.umask(0o077)
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)

    async def hold() -> None:
        async with get_connection(project.settings) as connection, connection.begin():
            await connection.exec_driver_sql("SELECT count(*) FROM access_token")
            os.write(tell, b"r")
            os.read(wait, 1)  # until this process is killed

    try:
        asyncio.run(hold())
    finally:
        os._exit(1)


# --- Readers without the right to write ---------------------------------------------------


@pytest.mark.parametrize(
    "words", [STATS, ("session", "cleanup", "--dry-run"), ("db", "status"), ("admin", "list")]
)
def test_another_users_read_leaves_nothing(shared: Project, words: tuple[str, ...]) -> None:
    """WAL mode and no server: refused before anything is opened, with owner and remedy."""
    in_wal_mode(shared)
    shared.file.chmod(0o664)
    shared.directory.chmod(0o777)
    shared.write_settings()
    result = run_as(STRANGER, shared, *words)
    line = assert_one_error(result, 1)
    assert str(shared.file) in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0664" in line
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr
    assert sides(shared) == []
    assert run_as(SERVICE, shared, *NIGHTLY).code == 0


@pytest.mark.parametrize("suffix", SIDES)
def test_one_of_the_two_files_is_not_enough(shared: Project, suffix: str) -> None:
    """The other one would be created by the other user."""
    in_wal_mode(shared)
    shared.file.chmod(0o664)
    shared.directory.chmod(0o777)
    side = shared.file.with_name(f"{shared.file.name}{suffix}")
    side.touch()
    give(SERVICE, side)
    shared.write_settings()
    assert_one_error(run_as(STRANGER, shared, *STATS), 1)
    assert sides(shared) == [side]


def test_beside_a_server_another_user_may_read(shared: Project) -> None:
    """The files are there already, and the server's."""
    in_wal_mode(shared)
    shared.file.chmod(0o664)
    shared.write_settings()
    with kept_open(shared, SERVICE):
        result = run_as(STRANGER, shared, *STATS)
        assert (result.code, result.json["total"]) == (0, 15), result
        assert belongs_to(SERVICE, sides(shared)) == {}


@pytest.mark.parametrize("user", [ROOT, SERVICE])
def test_owner_and_root_read_as_ever(shared: Project, user: User) -> None:
    """They leave nothing, or what the owner can write."""
    in_wal_mode(shared)
    assert run_as(user, shared, *STATS).json["total"] == 15
    assert sides(shared) == []
    assert run_as(SERVICE, shared, *NIGHTLY).code == 0


def test_without_wal_another_user_may_read(shared: Project) -> None:
    """A rollback journal is made by writers only."""
    shared.file.chmod(0o664)
    shared.write_settings()
    assert run_as(STRANGER, shared, *STATS).json["total"] == 15


# --- Writers without the right ------------------------------------------------------------


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_another_user_who_may_not_write_gets_the_owner(shared: Project, journal: str) -> None:
    """Beside a server too, where reading works: owner, mode, and the command that may write."""
    if journal == "wal":
        in_wal_mode(shared)
    shared.file.chmod(0o644)
    shared.directory.chmod(0o777)
    shared.write_settings()
    before = shared.rows('SELECT * FROM "user"')
    with kept_open(shared, SERVICE):
        result = run_as(STRANGER, shared, "admin", "grant-role", ADMIN, "expert")
    line = assert_one_error(result, 1)
    assert f"{shared.file} cannot be written by this user" in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0644" in line
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr
    assert shared.rows('SELECT * FROM "user"') == before


def test_another_user_who_may_not_read_gets_the_owner(shared: Project) -> None:
    """The database, or its settings."""
    shared.write_settings()
    shared.file.chmod(0o600)
    result = run_as(STRANGER, shared, *STATS)
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0600" in assert_one_error(result, 7)
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr
    settings = shared.directory / "settings.toml"
    give(SERVICE, settings, mode=0o640)
    result = run_as(STRANGER, shared, *STATS)
    line = assert_one_error(result, 78)
    assert f"{settings}: Permission denied" in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0640" in line
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr


# --- What others left ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SIDES)
def test_a_foreign_side_file_is_named(shared: Project, suffix: str) -> None:
    """As an older reader left it: which file, whose it is, and the command that mends it."""
    in_wal_mode(shared)
    as_user(ROOT, lambda: _leave_sides(shared))
    for path in sides(shared):
        give(SERVICE, path)
    foreign = shared.file.with_name(f"{shared.file.name}{suffix}")
    give(STRANGER, foreign, mode=0o600)
    result = run_as(SERVICE, shared, "session", "revoke-all", "--yes")
    line = assert_one_error(result, 1)
    assert f"{foreign} cannot be written: it belongs to {STRANGER.uid}:{STRANGER.gid}" in line
    remedy = result.stderr.splitlines()[1].removeprefix("hint: ")
    assert os.system(remedy.replace("sudo ", "")) == 0  # noqa: S605 - what the hint says
    assert run_as(SERVICE, shared, "session", "revoke-all", "--yes").code == 0


def _leave_sides(project: Project) -> None:
    """Write and end without closing, as a killed server does."""
    connection = sqlite3.connect(project.file, isolation_level=None)
    connection.execute("DELETE FROM access_token WHERE token = 'live-1'")
    os._exit  # noqa: B018 - the connection is closed by the end of the process alone
    globals()["_kept"] = connection


def _hot_journal(project: Project) -> Callable[[], None]:
    def act() -> None:
        connection = sqlite3.connect(project.file, isolation_level=None)
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE access_token SET user_agent = hex(randomblob(4000))")
        globals()["_kept"] = connection

    return act


def test_an_interrupted_change_that_another_user_may_not_recover(shared: Project) -> None:
    """The error names the owner, whose next command recovers it."""
    as_user(SERVICE, _hot_journal(shared))
    assert shared.file.with_name("clarinet.db-journal").stat().st_size > 0
    shared.file.chmod(0o664)
    shared.file.with_name("clarinet.db-journal").chmod(0o664)
    shared.write_settings()
    result = run_as(STRANGER, shared, *STATS)
    line = assert_one_error(result, 1)
    assert "interrupted transaction" in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}" in line
    assert f"hint: sudo -u '#{SERVICE.uid}' clarinet" in result.stderr
    assert run_as(SERVICE, shared, *STATS).json["total"] == 15
    assert run_as(STRANGER, shared, *STATS).json["total"] == 15
