"""Signals at random moments of a backup and of a restore: the old or the new, and no file left."""

import contextlib
import os
import signal
import subprocess
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Optional

import pytest

from clarinet_cli.services.backup.files import PREFIX
from tests.cli.scenes import admin_id
from tests.faults.processes import (
    RUNS,
    add_sessions,
    chance,
    eventually,
    run_alone,
    running,
    seconds_of,
    settle,
)
from tests.patience import PATIENCE_SECONDS
from tests.postgres import BINARIES
from tests.support import Project

ROUNDS = max(5, RUNS)  # for each kind of signal
SESSIONS = 20_000
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
each_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@pytest.fixture
def filled(project: Project) -> Project:
    """A project with so many sessions that copying them takes a moment."""
    add_sessions(project, admin_id(project), "old", SESSIONS, expires=timedelta(hours=9))
    if project.server is None:
        project.rows("PRAGMA journal_mode=wal")
    return project


def stop_at_random(
    project: Project, number: signal.Signals, usual: float, *words: str
) -> tuple[Optional[int], str]:
    """Start a command, send it a signal at some moment, and return its code and its output."""
    with running(project, *words) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance().uniform(0.2, 1.1) * usual)
        process.send_signal(number)
        stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
    settle(project)
    return process.returncode, stdout.decode()


def nothing_left(directory: Path) -> bool:
    """Return whether no temporary file is in a directory."""
    return not list(directory.glob(f"{PREFIX}*"))


@each_signal
def test_a_stopped_backup(filled: Project, tmp_path: Path, number: signal.Signals) -> None:
    """The target is whole or not there; an existing one is what it was, or the new backup."""
    new, old = tmp_path / "new", tmp_path / "old"
    usual = seconds_of(lambda: run_alone(filled, "db", "backup", str(new)))
    size = new.stat().st_size
    for turn in range(ROUNDS):
        new.unlink(missing_ok=True)
        old.write_text("something else")
        file, more = (new, ()) if turn % 2 else (old, ("--force",))
        code, shown = stop_at_random(filled, number, usual, "db", "backup", str(file), *more)
        eventually(partial(nothing_left, tmp_path))
        if file.exists() and file.read_bytes() != b"something else":
            assert file.stat().st_size >= size * 0.9
            check = filled.run("db", "restore", str(file), "--clean", "--dry-run")
            assert check.code == 0, check
        else:
            assert (file.exists(), shown) == (file == old, "")
            assert code != 0
    assert filled.run("db", "backup", str(old), "--force").code == 0


SLOW_PROGRAM = """#!/bin/sh
case $1 in --version) exec {real} --version;; esac
trap '' TERM
touch {started}
while [ ! -e {killed} ]; do sleep 0.05; done
{real} "$@"
touch {ended}
"""


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_dump_that_outlives_a_killed_backup_leaves_no_file(
    project: Project, tmp_path: Path
) -> None:
    """It would create the removed file again, readable by every user."""
    started, killed, ended = (tmp_path / name for name in ("started", "killed", "ended"))
    directory, saved = tmp_path / "bin", tmp_path / "saved"
    directory.mkdir()
    saved.mkdir()
    text = SLOW_PROGRAM.format(
        real=BINARIES / "pg_dump", started=started, killed=killed, ended=ended
    )
    (directory / "pg_dump").write_text(text)
    (directory / "pg_dump").chmod(0o755)
    project.environment["PATH"] = f"{directory}{os.pathsep}{os.environ['PATH']}"
    with running(project, "db", "backup", str(saved / "new")) as process:
        eventually(started.exists, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: list(saved.iterdir()) == [])
    killed.touch()
    eventually(ended.exists)
    assert list(saved.iterdir()) == []


@each_signal
def test_a_stopped_restore(filled: Project, tmp_path: Path, number: signal.Signals) -> None:
    """The database is the old one or the new one, and a restore that is run again completes."""
    saved = tmp_path / "saved"
    assert filled.run("db", "backup", str(saved)).code == 0
    options = ("--clean", "--yes", "--keep-sessions", "--no-safety-copy")
    words = ("db", "restore", str(saved), *options)
    usual = seconds_of(lambda: run_alone(filled, *words))
    for _ in range(ROUNDS):
        filled.rows("DELETE FROM access_token WHERE token LIKE 'old-%1'")
        filled.add_user("grace@example.org")
        before = state(filled)
        code, shown = stop_at_random(filled, number, usual, *words)
        eventually(partial(nothing_left, filled.directory))
        found = state(filled)
        assert found in (before, (SESSIONS, 1, True))
        if found == before and number != signal.SIGKILL:
            assert (code != 0, shown) == (True, "")
        filled.rows('DELETE FROM "user" WHERE email = ?', "grace@example.org")
        assert filled.run(*words).code == 0
        assert state(filled) == (SESSIONS, 1, True)


def state(project: Project) -> tuple[int, int, bool]:
    """Return the numbers of sessions and accounts, and whether the database is intact."""
    sound = project.server is not None or project.rows("PRAGMA integrity_check") == [("ok",)]
    return project.count("access_token"), project.count("user"), sound
