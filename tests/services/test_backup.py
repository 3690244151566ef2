"""Backups: one state, verified, private, and whole or not there at all."""

import contextlib
import os
import shlex
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clarinet_cli.services.backup.files import PREFIX, SUFFIX, new_file
from tests import forked
from tests.cli.scenes import ADMIN, assert_failed, populate
from tests.programs import child
from tests.support import Project, process_environment

ROWS = {"user": 2, "userrole": 5, "userroleslink": 1, "access_token": 4}


@pytest.fixture
def populated(project: Project) -> Project:
    """A project with two accounts and four sessions."""
    populate(project)
    return project


def leftovers(directory: Path) -> list[str]:
    """Return the temporary files in a directory."""
    return [path.name for path in directory.iterdir() if path.name.startswith(PREFIX)]


def rows_of_copy(file: Path, query: str) -> list[tuple[object, ...]]:
    """Run a query on a SQLite file."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def test_a_backup_is_verified_and_private(populated: Project, tmp_path: Path) -> None:
    """It has the rows and the revision of the database, and mode 0600 with any umask."""
    file = tmp_path / "backup"
    before = os.umask(0)
    try:
        report = populated.json("db", "backup", str(file))
    finally:
        os.umask(before)
    assert report["file"] == str(file)
    assert report["bytes"] == file.stat().st_size
    assert report["rows"] == ROWS
    assert report["revision"] == populated.json("db", "status")["revision"]
    assert report["verified"] is True
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []


def test_a_backup_has_the_form_of_its_backend(populated: Project, tmp_path: Path) -> None:
    """SQLite's is a SQLite file that can be used as it is, PostgreSQL's an archive."""
    file = tmp_path / "backup"
    populated.json("db", "backup", str(file))
    if populated.server is None:
        assert rows_of_copy(file, "SELECT email FROM user WHERE is_superuser") == [(ADMIN,)]
        assert rows_of_copy(file, "PRAGMA integrity_check") == [("ok",)]
    else:
        assert file.read_bytes()[:5] == b"PGDMP"


def test_a_backup_of_a_real_server(server_project: Project, tmp_path: Path) -> None:
    """It has all tables of a server's database, and counts the Clarinet tables."""
    report = server_project.json("db", "backup", str(tmp_path / "backup"))
    assert report["rows"] == server_project.json("db", "status")["tables"]
    assert report["revision"] == server_project.json("db", "status")["revision"]


def test_an_existing_file_stays(populated: Project, tmp_path: Path) -> None:
    """It is a conflict, and the file is what it was; --force replaces it."""
    file = tmp_path / "backup"
    file.write_text("something else")
    assert_failed(populated.run("db", "backup", str(file)), 4)
    assert file.read_text() == "something else"
    assert populated.json("db", "backup", str(file), "--force")["rows"] == ROWS
    assert file.stat().st_size > 1000
    assert leftovers(tmp_path) == []


def test_a_directory_keeps_the_newest(populated: Project, tmp_path: Path) -> None:
    """Only files of the series are removed, the oldest first, once the new one is there."""
    other = tmp_path / "clarinet-20200101T000000Z.txt"
    suffix = ".db" if populated.server is None else ".dump"
    old = tmp_path / f"clarinet-20200101T000000Z{suffix}"
    for path in (other, old):
        path.touch()
    words = ("db", "backup", "--directory", str(tmp_path), "--keep", "2")
    first = populated.json(*words)
    assert (Path(first["file"]).exists(), first["removed"]) == (True, [])
    second = populated.json(*words)
    assert second["removed"] == [str(old)]
    third = populated.json(*words)
    assert third["removed"] == [first["file"]]
    found = {path for path in tmp_path.iterdir() if path.is_file()}
    assert found >= {other, Path(second["file"]), Path(third["file"])}
    assert not {old, Path(first["file"])} & found


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("file", "--directory", "."), 2),
        (("file", "--keep", "3"), 2),
        (("--directory", ".", "--keep", "0"), 2),
        (("/nowhere/at/all/file",), 3),
        (("--directory", "/nowhere/at/all"), 3),
        (("/dev/null", "--force"), 2),
        (("/", "--force"), 2),
    ],
)
def test_what_can_not_be_a_target(project: Project, words: tuple[str, ...], code: int) -> None:
    """It is refused before anything is written."""
    assert_failed(project.run("db", "backup", *words), code)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_hint_creates_a_missing_directory(project: Project, tmp_path: Path) -> None:
    """For the owner only, and for any name."""
    words = ("db", "backup", "--directory", str(tmp_path / "every night" / "backups"))
    refused = project.run(*words)
    assert_failed(refused, 3)
    _, _, command = refused.stderr.partition("hint: create it: ")
    subprocess.run(shlex.split(command), check=True)
    assert stat.S_IMODE((tmp_path / "every night" / "backups").stat().st_mode) == 0o700
    assert project.run(*words).code == 0


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_the_database_is_no_target(project: Project, suffix: str) -> None:
    """Not even by force is the database or a file of it replaced."""
    before = project.file.read_bytes()
    file = project.file.with_name(f"{project.file.name}{suffix}")
    assert_failed(project.run("db", "backup", str(file), "--force"), 2)
    assert project.file.read_bytes() == before


def test_what_sqlite_makes_beside_a_temporary_file_goes_too(tmp_path: Path) -> None:
    """Its journal, log and shared memory end with it, in this run or in the next one."""
    sides = [f"{SUFFIX}{end}" for end in ("", "-journal", "-wal", "-shm")]
    for name in sides:
        (tmp_path / f"{PREFIX}abandoned{name}").touch()
    with new_file(tmp_path) as file:
        assert leftovers(tmp_path) == [file.path.name]
        for name in sides[1:]:
            file.path.with_suffix(name).touch()
        assert len(leftovers(tmp_path)) == len(sides)
    assert leftovers(tmp_path) == []


def test_a_pipe_gets_the_backup(populated: Project, tmp_path: Path) -> None:
    """Standard output has the backup and nothing else."""
    file = tmp_path / "piped"
    with file.open("wb") as stream:
        done = forked.run(
            populated.words("db", "backup", "-"),
            stdout=stream,
            env=process_environment(populated.environment),
        )
    assert (done.returncode, done.stderr) == (0, b"")
    populated.json("db", "backup", str(tmp_path / "named"))
    assert file.stat().st_size >= (tmp_path / "named").stat().st_size * 0.9
    assert leftovers(populated.directory) == []


def test_accounts_only(populated: Project, tmp_path: Path) -> None:
    """The four Clarinet tables are in a SQLite file in the server's forms, on either backend."""
    file = tmp_path / "accounts.db"
    report = populated.json("db", "backup", "--accounts-only", str(file))
    assert report["rows"] == ROWS
    assert rows_of_copy(file, "PRAGMA integrity_check") == [("ok",)]
    [(user, email)] = rows_of_copy(file, "SELECT id, email FROM user WHERE is_superuser")
    assert (len(str(user)), email) == (32, ADMIN)
    [(text,)] = rows_of_copy(file, "SELECT expires_at FROM access_token LIMIT 1")
    assert len(str(text)) == len("2026-11-22 18:30:00.000000")


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_copy_of_every_moment_is_one_state(project: Project, tmp_path: Path) -> None:
    """Beside a writer that changes two tables at once, both are of the same moment."""
    script = (
        "import os, sqlite3, sys\n"
        "parent = os.getppid()\n"
        "c = sqlite3.connect(sys.argv[1], timeout=20)\n"
        "c.execute('CREATE TABLE a (n)'); c.execute('CREATE TABLE b (n, filler)')\n"
        "c.commit(); print('ready', flush=True)\n"
        "n = 0\n"
        "while os.getppid() == parent:\n"  # a killed run leaves no writer that fills the disk
        "    n += 1\n"
        "    with c:\n"
        "        c.execute('INSERT INTO a VALUES (?)', [n])\n"
        "        c.execute('INSERT INTO b VALUES (?, zeroblob(9000))', [n])\n"
    )
    for mode in ("delete", "wal"):
        project.rows(f"PRAGMA journal_mode={mode}")
        project.rows("DROP TABLE IF EXISTS a")
        project.rows("DROP TABLE IF EXISTS b")
        words = [sys.executable, "-c", script, str(project.file)]
        with child(words, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            for number in range(3):
                file = tmp_path / f"{mode}-{number}"
                report = project.json("db", "backup", str(file))
                assert ("lock_seconds" in report) == (mode == "delete")
                (first,) = rows_of_copy(file, "SELECT count(*), max(n) FROM a")
                assert [first] == rows_of_copy(file, "SELECT count(*), max(n) FROM b")


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_backup_waits_for_a_lock(populated: Project, tmp_path: Path) -> None:
    """A writer that holds the file for a moment delays the backup and does not end it."""
    populated.rows("PRAGMA journal_mode=delete")
    with contextlib.closing(sqlite3.connect(populated.file, check_same_thread=False)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.3, holder.rollback)
        release.start()
        report = populated.json("db", "backup", str(tmp_path / "backup"))
        release.join()
    assert report["rows"] == ROWS


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_damaged_database_makes_no_backup(populated: Project, tmp_path: Path) -> None:
    """A damaged copy is not published, and the message has no temporary name."""
    content = populated.file.read_bytes()
    size = len(content)
    for place in range(4096, size - 4096, 4096):
        populated.file.write_bytes(content[:place] + b"\xff" * 4096 + content[place + 4096 :])
        result = populated.run("db", "backup", str(tmp_path / "backup"))
        assert_failed(result, 6 if result.code == 6 else 1)
        assert "damaged" in result.stderr
        assert ".part" not in result.stderr
        assert not (tmp_path / "backup").exists()
        assert leftovers(tmp_path) == []
