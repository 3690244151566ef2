"""A clean-up on a disk with little room: it begins small and ends with what it could do."""

import contextlib
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from clarinet_cli.services.session_cleanup.transaction import BatchSizer
from tests import oracle
from tests.faults.limits import limited_to
from tests.faults.processes import assert_one_error, run_alone
from tests.faults.test_broken_databases import small_disk
from tests.support import Project

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ADMIN = "admin@clarinet.ru"
DEAD = 5000  # the database has 2.4 MB then
MODES = pytest.mark.parametrize("mode", ["DELETE", "WAL"])


def fill(project: Project, mode: str) -> None:
    """Add many stale sessions with random tokens, as a server's are, and a live one."""
    user = oracle.user_id_of(project, ADMIN)
    project.add_session(user, token="live-" + "a" * 38)
    rows = [
        (sha256(b"%d" % number).hexdigest()[:43], user.hex, *["2020-01-01 00:00:00.000000"] * 3)
        for number in range(DEAD)
    ]
    with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
        connection.executemany(
            "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed,"
            f" user_agent, ip_address) VALUES (?, ?, ?, ?, ?, '{'agent ' * 15}', '10.0.0.1')",
            rows,
        )
    with contextlib.closing(sqlite3.connect(project.file)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


@contextlib.contextmanager
def nearly_full(project: Project, free: int) -> Iterator[None]:
    """Put the project onto a disk that has so many bytes free."""
    files = [(file.name, file.read_bytes()) for file in project.directory.iterdir()]
    size = sum(len(content) // 4096 + 1 for _, content in files) * 4096
    with small_disk(project.directory, size + 8 * 4096 + free) as mounted:
        assert mounted, "the tests of a full disk need the right to mount one"
        for name, content in files:
            project.directory.joinpath(name).write_bytes(content)
        filler = project.directory / "filler"
        missing = shutil.disk_usage(project.directory).free - free
        filler.write_bytes(bytes(max(missing, 0)))
        yield


@MODES
@pytest.mark.parametrize("held", [False, True], ids=["alone", "beside a server"])
def test_little_room_is_enough(project: Project, mode: str, held: bool) -> None:
    """All stale sessions are deleted, in smaller batches than with free space."""
    fill(project, mode)
    with nearly_full(project, 700_000), contextlib.ExitStack() as stack:
        if held:
            server = stack.enter_context(contextlib.closing(sqlite3.connect(project.file)))
            server.execute("SELECT count(*) FROM access_token").fetchone()
        result = run_alone(project, "session", "cleanup", "-o", "json")
        assert (result.code, result.stderr) == (0, ""), result
        report = result.json
        assert (report["matched"], report["deleted"], report["remaining"]) == (DEAD, DEAD, 0)
        assert report["complete"] is True
        assert report["batches"] > 5
        assert len(project.tokens()) == 1
        assert project.rows("PRAGMA integrity_check") == [("ok",)]


@MODES
def test_a_backup_without_room_leaves_nothing(project: Project, tmp_path: Path, mode: str) -> None:
    """The full disk is that of the target, and the older backup on it stays."""
    fill(project, mode)
    target = tmp_path / "backups"
    target.mkdir()
    with small_disk(target, 1_000_000) as mounted:
        assert mounted, "the tests of a full disk need the right to mount one"
        target.joinpath("saved").write_text("older")
        result = project.run("db", "backup", str(target / "saved"), "--force")
        assert_one_error(result, 1)
        assert result.stderr.startswith(f"error: {target}: the disk is full")
        assert {file.name: file.read_text() for file in target.iterdir()} == {"saved": "older"}


@MODES
def test_the_next_run_begins_where_this_one_ended(project: Project, mode: str) -> None:
    """On less room still, each run makes way: nothing is lost between two of them."""
    fill(project, mode)
    with nearly_full(project, 300_000):
        words = ("session", "cleanup", "--limit", "300", "-o", "json")
        deleted = [run_alone(project, *words).json["deleted"] for _ in range(2)]
        assert deleted == [300, 300]
        assert len(project.tokens()) == DEAD + 1 - 600
        assert project.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_ends_with_the_report(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report on standard output, the reason on standard error; 1; a later run finishes."""
    fill(project, "DELETE")
    with nearly_full(project, 1_000_000):
        filler = project.directory / "more"
        observe = BatchSizer.observe

        def fill_up(sizer: BatchSizer, seconds: float) -> None:
            """After some batches fill the rest of the disk."""
            observe(sizer, seconds)
            if sizer.disk_limit is not None and sizer.disk_limit > 300:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass

        monkeypatch.setattr(BatchSizer, "observe", fill_up)
        result = project.run("session", "cleanup", "-o", "json")
        assert result.code == 1, result
        report = result.json
        assert 0 < report["deleted"] < DEAD == report["matched"]
        assert report["remaining"] == DEAD - report["deleted"] == len(project.tokens()) - 1
        assert report["complete"] is False
        lines = result.stderr.splitlines()
        assert len(lines) == 1
        assert lines[0].endswith("clarinet.db: the disk is full")
        filler.unlink()
        monkeypatch.setattr(BatchSizer, "observe", observe)
        assert project.json("session", "cleanup")["remaining"] == 0
        assert len(project.tokens()) == 1


@MODES
def test_where_not_one_session_fits_nothing_is_lost(project: Project, mode: str) -> None:
    """One line reports that the disk is full, and every session still exists."""
    fill(project, mode)
    before = project.tokens()
    with nearly_full(project, 40_960 if mode == "WAL" else 4096):
        result = run_alone(project, "session", "cleanup")
        assert (result.code, result.stdout) == (1, ""), result
        assert "disk" in result.stderr
        assert len(result.stderr.splitlines()) <= 2
    assert project.tokens() == before


def test_a_limit_of_a_files_size_is_as_a_full_disk(project: Project) -> None:
    """A quota fails in another way: the batches fit into it all the same."""
    fill(project, "WAL")
    size = project.file.stat().st_size  # the log may not become as large as it would
    report = run_alone(
        project, "session", "cleanup", "-o", "json", prepare=partial(limited_to, size)
    )
    assert report.code == 0, report
    assert report.json["deleted"] == DEAD
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
