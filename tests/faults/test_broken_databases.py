"""Unreachable, refusing and invalid databases: one error line each, nothing changed."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.limits import bound_by_permissions, limited_to
from tests.faults.processes import (
    CLOSED_PORT,
    assert_one_error,
    assert_sound,
    dead_and_live,
    end_of,
    eventually,
    number_of_stale,
    run_alone,
    run_at_once,
    running,
    settle,
    write_lock,
)
from tests.postgres import LOCKED_PASSWORD, LOCKED_ROLE, PostgresServer
from tests.support import PASSWORD, Project, Result

READERS = {
    "status": ("db", "status"),
    "wait": ("db", "wait", "--timeout", "300ms"),
    "list": ("admin", "list", "--all"),
    "stats": ("session", "stats"),
    "list-user": ("session", "list-user", "admin@clarinet.ru"),
    "list-sessions": ("session", "list", "-o", "jsonl"),
    "migrate-status": ("migrate", "status"),
    "history": ("migrate", "history"),
    "dry-cleanup": ("session", "cleanup", "--dry-run"),
    "dry-create": ("admin", "create", "--email", "a@example.org", "--dry-run"),
    "dry-upgrade": ("migrate", "upgrade", "--dry-run"),
}
WRITERS = {
    "create": ("admin", "create", "--email", "a@example.org", "--password-stdin"),
    "reset": ("admin", "reset-password", "--password-stdin"),
    "ensure": ("admin", "ensure", "--password-stdin"),
    "revoke": ("session", "revoke-user", "admin@clarinet.ru"),
    "revoke-all": ("session", "revoke-all", "--yes"),
    "cleanup": ("session", "cleanup"),
    "upgrade": ("migrate", "upgrade"),
    "downgrade": ("migrate", "downgrade", "base", "--yes"),
    "init": ("db", "init", "--password-stdin"),
}
COMMANDS = {**READERS, **WRITERS}
# What 'help exit-codes' has for a database that cannot be used.
DOCUMENTED = {1, 7}
EIGHT = 8


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite, unless a test chooses another one."""
    return str(getattr(request, "param", "sqlite"))


# --- SQLite files -------------------------------------------------------------------------


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2 + 100]


def _noise(content: bytes) -> bytes:
    return os.urandom(len(content))


def _header(content: bytes) -> bytes:
    return content[:100]


def _text(_: bytes) -> bytes:
    return b"email,password\nada@example.org,secret\n" * 50


def _zeroed_page(content: bytes) -> bytes:
    return content[:4096] + bytes(len(content) - 4096)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "random": _noise,
    "text": _text,
    "header-only": _header,
    "truncated": _cut,
    "zeroed": _zeroed_page,
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_file_is_no_usable_database(project: Project, kind: str) -> None:
    """One error line and a documented code, and no command changes a byte of it."""
    content = DAMAGE[kind](project.file.read_bytes())
    project.file.write_bytes(content)
    for name in COMMANDS.keys() - {"wait"}:
        result = project.run(*COMMANDS[name], stdin=PASSWORD)
        line = assert_one_error(result, 7 if kind in {"random", "text"} else result.code)
        assert result.code in DOCUMENTED, (name, result)
        assert str(project.file) in line, (name, result)
        assert project.file.read_bytes() == content, name


@pytest.mark.parametrize(
    ("kind", "readiness"),
    # With its first page whole, a file can be connected to.
    [(kind, "connection") for kind in DAMAGE if kind != "zeroed"]
    + [(kind, "schema") for kind in DAMAGE],
)
def test_file_is_never_ready(project: Project, kind: str, readiness: str) -> None:
    """'db wait' never reports an unusable file as ready."""
    content = DAMAGE[kind](project.file.read_bytes())
    project.file.write_bytes(content)
    result = project.run("db", "wait", "--for", readiness, "--timeout", "200ms")
    assert str(project.file) in assert_one_error(result, result.code)
    assert result.code in DOCUMENTED
    assert project.file.read_bytes() == content


def test_file_damaged_in_one_table(project: Project) -> None:
    """Commands that read damaged sessions report it in one line; the others work."""
    dead_and_live(project, 2000, 10)
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'access_token'"
    page = int(project.rows(query)[0][0])
    content = bytearray(project.file.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    project.file.write_bytes(content)
    for words in (READERS["stats"], WRITERS["cleanup"], READERS["dry-cleanup"]):
        line = assert_one_error(project.run(*words), 1)
        assert "damaged" in line
    assert project.file.read_bytes() == bytes(content)
    assert project.json("migrate", "status")["up_to_date"] is True


def test_empty_file_is_an_empty_database(project: Project) -> None:
    """Commands name what is missing and the way out, without a byte written; 'db init' fills it."""
    project.file.write_bytes(b"")
    for words in (READERS["stats"], READERS["list"], WRITERS["cleanup"], WRITERS["reset"]):
        result = project.run(*words, stdin=PASSWORD)
        assert "is missing" in assert_one_error(result, 1)
        assert "clarinet db init" in result.stderr
        assert project.file.read_bytes() == b""
    assert project.json("db", "status")["tables"] == {}
    assert project.file.read_bytes() == b""
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    assert_sound(project)
    assert project.count("user") == 1


@pytest.mark.usefixtures("one_patient_try")
def test_directory_instead_of_a_file(project: Project) -> None:
    """A directory with the database's name is an error, and nothing is written to it."""
    project.file.unlink()
    project.file.mkdir()
    for words in COMMANDS.values():
        line = assert_one_error(project.run(*words, stdin=PASSWORD), 7)
        assert "directory" in line
        assert str(project.file) in line
    assert list(project.file.iterdir()) == []


def test_missing_file(project: Project) -> None:
    """Commands that do not create a database report that there is none."""
    project.file.unlink()
    for name in COMMANDS.keys() - {"init", "upgrade", "ensure"}:
        result = project.run(*COMMANDS[name], stdin=PASSWORD)
        assert "does not exist" in assert_one_error(result, 7)
        assert not project.file.exists(), name


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_read_only_file(project: Project, journal: str) -> None:
    """Reading succeeds; writing fails with one line; no byte changes."""
    project.rows(f"PRAGMA journal_mode={journal}")
    dead_and_live(project, 10, 5)
    content = project.file.read_bytes()
    project.file.chmod(0o444)
    read = run_alone(project, "session", "stats", "-o", "json", prepare=bound_by_permissions)
    assert (read.code, read.stderr) == (0, ""), read
    assert read.json["total"] == 15
    for words in (WRITERS["create"], WRITERS["cleanup"]):
        result = run_alone(project, *words, stdin=PASSWORD, prepare=bound_by_permissions)
        line = assert_one_error(result, 1)
        assert f"{project.file} cannot be written by this user" in line
        assert f"hint: chmod u+w {project.file}" in result.stderr  # it is his own
    assert project.file.read_bytes() == content
    assert number_of_stale(project) == 10


def test_read_only_directory(project: Project) -> None:
    """In a directory without write permission: the same, with lock files and journals."""
    dead_and_live(project, 10, 5)
    content = project.file.read_bytes()
    names = {file.name for file in project.directory.iterdir()}
    project.file.chmod(0o444)
    project.directory.chmod(0o555)
    try:
        read = run_alone(project, "session", "stats", "-o", "json", prepare=bound_by_permissions)
        written = [
            run_alone(project, *words, stdin=PASSWORD, prepare=bound_by_permissions)
            for words in (WRITERS["create"], WRITERS["cleanup"], WRITERS["downgrade"])
        ]
    finally:
        project.directory.chmod(0o755)
    assert (read.code, read.json["total"]) == (0, 15), read
    for result in written:
        assert str(project.directory) in assert_one_error(result, 1)
    assert project.file.read_bytes() == content
    assert {file.name for file in project.directory.iterdir()} == names


def test_unreadable_file(project: Project) -> None:
    """A file that this user may not open is reported in one line."""
    project.file.chmod(0o000)
    results = [
        run_alone(project, *WRITERS["create"], stdin=PASSWORD, prepare=bound_by_permissions),
        # At once, so that the machine is busy: threads then end in another order.
        *run_at_once(project, EIGHT, *READERS["stats"], prepare=bound_by_permissions),
    ]
    project.file.chmod(0o644)
    for result in results:
        assert "cannot be opened" in assert_one_error(result, 7)


# --- Full disks ---------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[bool]:
    """Mount a small file system on *directory* if permitted; return whether it was."""
    mount, umount = (shutil.which(name) or "/bin/false" for name in ("mount", "umount"))
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run([umount, "--lazy", str(directory)], check=True)


def assert_nothing_fits(project: Project, prepare: Callable[[], None], before: bytes) -> None:
    """Commands that need disk space report in one line that it is full; the file is intact."""
    for words in (WRITERS["create"], WRITERS["downgrade"], ("session", "cleanup", "--days", "0")):
        result = run_alone(project, *words, stdin=PASSWORD, prepare=prepare)
        line = assert_one_error(result, 1)
        assert str(project.file) in line or "lock file" in line
        assert "disk" in result.stderr or "No space" in line or "too large" in line, result
    read = run_alone(project, "session", "stats", "-o", "json", prepare=prepare)
    assert (read.code, read.stderr) == (0, ""), read
    assert read.json["total"] == 3010
    assert project.rows("PRAGMA integrity_check") == [("ok",)]
    assert project.file.read_bytes() == before
    assert_sound(project)


def test_full_disk(project: Project) -> None:
    """On a full disk a change is refused in one line, the file stays, and room heals it."""
    dead_and_live(project, 3000, 10)
    size = project.file.stat().st_size
    files = [(file.name, file.read_bytes()) for file in project.directory.iterdir()]
    with small_disk(project.directory, 3 * size) as mounted:
        if mounted:
            for name, content in files:
                project.directory.joinpath(name).write_bytes(content)
            filler = project.directory / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        prepare = partial(limited_to, 64 if not mounted else resource.RLIM_INFINITY)
        assert_nothing_fits(project, prepare, dict(files)[project.file.name])
        if mounted:
            filler.unlink()
        again = run_alone(project, "session", "cleanup", "-o", "json")
        assert (again.code, again.json["deleted"]) == (0, 3000), again


def test_write_failure(project: Project) -> None:
    """When the system refuses to write, the change is undone and reported in one line."""
    dead_and_live(project, 3000, 10)
    assert_nothing_fits(project, partial(limited_to, 64), project.file.read_bytes())


def test_no_room_for_a_new_database(empty_project: Project) -> None:
    """'db init' fails without disk space; with space a second run finishes the work."""
    words = ("db", "init", "--password-stdin")
    result = run_alone(empty_project, *words, stdin=PASSWORD, prepare=partial(limited_to, 8192))
    assert str(empty_project.file) in assert_one_error(result, 1)
    assert_sound(empty_project)
    assert empty_project.run(*words, stdin=PASSWORD).code == 0
    assert_sound(empty_project)
    assert empty_project.count("user") == 1


# --- PostgreSQL ---------------------------------------------------------------------------

CANARY = "hidden/p@ss%word"


def remote(tmp_path: Path, *lines: str) -> Project:
    """A project on a PostgreSQL server, with a password that must stay hidden."""
    common = (
        'database_driver = "postgresql"',
        'database_name = "clarinet"',
        f'database_password = "{CANARY}"',
    )
    keys = {line.split(" = ")[0] for line in lines}
    kept = [line for line in common if line.split(" = ")[0] not in keys]
    tmp_path.joinpath("settings.toml").write_text("\n".join([*kept, *lines, ""]))
    return Project(tmp_path, "postgresql", "clarinet")


def assert_unreachable(result: Result, url: str, *, hint: bool = True) -> None:
    """Exit 7, one line with the redacted URL and the reason, and a hint; no password."""
    line = assert_one_error(result, 7)
    assert url in line, result
    assert ("hint: " in result.stderr) or not hint, result
    for secret in (CANARY, "p@ss", "p%40ss", LOCKED_PASSWORD):
        assert secret not in result.stderr, result


def assert_connection_lost(result: Result, url: str) -> None:
    """Exit 7 with an error that names the URL and a hint, and the report of what was deleted."""
    assert result.code == 7, result
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert url in line, result
    assert "had been deleted before" in line, result
    assert "hint: " in result.stderr, result
    assert re.search(r"^complete +no$", result.stdout, re.MULTILINE), result
    assert CANARY not in result.stderr, result


AWAY = {
    "closed-port": (
        ('database_host = "127.0.0.1"', f"database_port = {CLOSED_PORT}"),
        "postgresql://postgres:***@127.0.0.1:1/clarinet",
        "connection refused",
    ),
    "missing-socket": (
        ('database_host = "/nonexistent/socket"',),
        "postgresql://postgres:***@:5432/clarinet?host=%2Fnonexistent%2Fsocket",
        "the socket does not exist",
    ),
    "no-such-name": (
        ('database_host = "not a host"',),
        "postgresql://postgres:***@not a host:5432/clarinet",
        "the host name cannot be resolved",
    ),
    "impossible-name": (
        (f'database_host = "{"a" * 70}.example.org"',),
        f"postgresql://postgres:***@{'a' * 70}.example.org:5432/clarinet",
        "the host name cannot be resolved",
    ),
}


@pytest.mark.usefixtures("one_patient_try")
@pytest.mark.parametrize("case", list(AWAY))
def test_server_is_unreachable(tmp_path: Path, case: str) -> None:
    """Each command reports in one line which server did not answer, and why."""
    lines, url, reason = AWAY[case]
    project = remote(tmp_path, *lines)
    for words in COMMANDS.values():
        result = project.run(*words, stdin=PASSWORD)
        assert_unreachable(result, url, hint=words[:2] != ("db", "wait"))
        assert reason in result.stderr, result


@pytest.fixture
def locked_settings(postgres: PostgresServer) -> tuple[str, ...]:
    """The settings of the role that the server asks for a password."""
    return (
        f'database_host = "{postgres.host}"',
        f"database_port = {postgres.port}",
        f'database_username = "{LOCKED_ROLE}"',
    )


def test_wrong_password(tmp_path: Path, locked_settings: tuple[str, ...]) -> None:
    """Each command reports at once that the log-in is refused, also the one that waits."""
    project = remote(tmp_path, *locked_settings, 'database_name = "postgres"')
    words_of_wait = ("db", "wait", "--timeout", "60s")
    for words in (*COMMANDS.values(), words_of_wait):
        result = project.run(*words, stdin=PASSWORD)
        assert_unreachable(result, "postgresql://locked:***@")
        assert "refuses the log-in" in result.stderr, result


def test_right_password(tmp_path: Path, locked_settings: tuple[str, ...]) -> None:
    """The same role with its own password, full of special characters, gets in."""
    password = f'database_password = "{LOCKED_PASSWORD}"'
    project = remote(tmp_path, *locked_settings, password, 'database_name = "postgres"')
    status = project.json("db", "status")
    assert "postgresql://locked:***@" in status["url"]
    assert LOCKED_PASSWORD not in str(status)


def test_unknown_database(tmp_path: Path, postgres: PostgresServer) -> None:
    """Each command but 'db init' reports that the database does not exist, and creates none."""
    name = f"test_{uuid4().hex}"
    where = (f'database_host = "{postgres.host}"', f"database_port = {postgres.port}")
    user = f'database_username = "{postgres.user}"'
    project = remote(tmp_path, *where, user, f'database_name = "{name}"')
    for words in (*COMMANDS.values(), ("db", "wait", "--timeout", "60s")):
        if words != COMMANDS["init"]:
            result = project.run(*words, stdin=PASSWORD)
            assert_unreachable(result, f":***@:{postgres.port}/{name}")
            assert "the database does not exist" in result.stderr, result
    query = "SELECT 1 FROM pg_database WHERE datname = $1"
    assert postgres.rows("postgres", query, name) == []


CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity a"
    " WHERE application_name = 'clarinet' AND datname = $1"
)
HAS_LOCK = "EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND locktype = 'advisory')"


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("which", ["", f" AND NOT {HAS_LOCK}"], ids=["all", "worker"])
def test_connection_cut_in_a_clean_up(project: Project, which: str) -> None:
    """Exit 7 with a reason and a hint, whole batches deleted, and the next run continues."""
    _, live = dead_and_live(project, 3000, 10)
    assert project.server is not None
    words = ("session", "cleanup", "--batch-size", "20", "--sleep", "20ms")
    with running(project, *words) as process:
        eventually(lambda: number_of_stale(project) < 3000, process)
        assert project.server.rows("postgres", CUT + which, project.database)
        result = end_of(process)
    settle(project)
    assert_connection_lost(result, f"/{project.database}")
    left = number_of_stale(project)
    assert 0 < left < 3000
    assert left % 20 == 0
    again = project.json("session", "cleanup")
    assert (again["matched"], again["deleted"], again["complete"]) == (left, left, True)
    assert project.tokens() == live


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_connection_of_the_lock_cut_in_a_clean_up(project: Project) -> None:
    """A clean-up that has lost its lock does not continue: another one may have begun."""
    _, live = dead_and_live(project, 2000, 10)
    assert project.server is not None
    words = ("session", "cleanup", "--batch-size", "20", "--sleep", "20ms")
    with running(project, *words) as process:
        eventually(lambda: number_of_stale(project) < 2000, process)
        cut = f"{CUT} AND {HAS_LOCK}"
        assert project.server.rows("postgres", cut, project.database)
        result = end_of(process)
    settle(project)
    assert_connection_lost(result, f"/{project.database}")
    assert number_of_stale(project) > 0
    assert project.run("session", "cleanup").code == 0
    assert project.tokens() == live


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_connection_cut_in_a_service(project: Project) -> None:
    """The service reports the loss in one line, and the next run continues."""
    _, live = dead_and_live(project, 3000, 10)
    assert project.server is not None
    words = ("session", "cleanup", "--batch-size", "100", "--sleep", "10ms", "--every", "1s")
    with running(project, *words) as process:
        eventually(lambda: number_of_stale(project) < 3000, process)
        assert project.server.rows("postgres", CUT, project.database)
        eventually(lambda: number_of_stale(project) == 0, process)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    assert result.code == 143, result
    reported, failed, *_ = result.stderr.splitlines()
    assert reported.startswith("clean-up: matched 3000, deleted ")
    assert "clean-up failed" in failed
    assert "Traceback" not in result.stderr
    assert project.tokens() == live


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_connection_cut_in_admin_create(project: Project) -> None:
    """The account is not half made when the connection ends while it waits for a lock."""
    query = CUT + " AND wait_event_type = 'Lock'"
    server = project.server
    assert server is not None
    with (
        write_lock(project, "LOCK TABLE userroleslink IN EXCLUSIVE MODE"),
        running(project, *WRITERS["create"], stdin=PASSWORD) as process,
    ):
        eventually(lambda: bool(server.rows("postgres", query, project.database)), process)
        result = end_of(process)
    settle(project)
    assert_unreachable(result, f"/{project.database}")
    assert project.count("user") == 1
    assert project.run(*WRITERS["create"], stdin=PASSWORD).code == 0
    assert_sound(project)
