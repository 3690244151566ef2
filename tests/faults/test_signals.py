"""SIGINT and SIGTERM: the batch ends, the counts are reported, the code is the signal's."""

import re
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.processes import (
    CLOSED_PORT,
    assert_sound,
    dead_and_live,
    end_of,
    eventually,
    number_of_stale,
    running,
    settle,
    superusers,
    waits_for_lock,
    write_lock,
)
from tests.forked import Process
from tests.support import Project

DEAD = 3000
LIVE = 30
BATCH = 10
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SLOW = ("--batch-size", str(BATCH), "--sleep", "40ms")
SETTLE_SECONDS = 0.2
MIGRATION = ("migrate", "downgrade", "base", "--yes", "--lock-timeout", "1h")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("number", list(CODES), ids=["SIGINT", "SIGTERM"])
def test_signal_ends_a_clean_up_after_its_batch(project: Project, number: signal.Signals) -> None:
    """The batch ends, the summary is true to the rows, and the code is 128 plus the signal."""
    dead, live = dead_and_live(project, DEAD, LIVE)
    with running(project, "session", "cleanup", *SLOW, "-o", "json") as process:
        eventually(lambda: number_of_stale(project) < DEAD, process)
        process.send_signal(number)
        result = end_of(process)
    left = project.tokens()
    assert (result.code, result.stderr) == (CODES[number], ""), result
    report = result.json
    assert report["matched"] == DEAD
    assert report["deleted"] == DEAD - len(left & dead)
    assert report["deleted"] == report["batches"] * BATCH
    assert report["remaining"] == len(left & dead) > 0
    assert (report["complete"], report["dry_run"]) == (False, False)
    assert live <= left


def test_second_signal_does_not_break_the_batch(project: Project) -> None:
    """A supervisor that asks twice gets the same true summary, and the code of one of the two."""
    dead, live = dead_and_live(project, DEAD, LIVE)
    with running(project, "session", "cleanup", *SLOW, "-o", "json") as process:
        eventually(lambda: number_of_stale(project) < DEAD, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    left = project.tokens()
    assert result.code in CODES.values(), result
    assert result.stderr == "", result
    assert result.json["deleted"] == DEAD - len(left & dead)
    assert live <= left


def test_service_cleans_again_and_again_until_terminated(project: Project) -> None:
    """'--every' also deletes what expires later, reports each run, and ends with 143."""
    _, live = dead_and_live(project, 40, LIVE)
    with running(project, "session", "cleanup", "--every", "1s") as process:
        eventually(lambda: number_of_stale(project) == 0, process)
        later = project.add_user("later@example.org")
        for token in ("dead-later-1", "dead-later-2"):
            project.add_session(later, token=token, expires=-HOUR)
        eventually(lambda: number_of_stale(project) == 0, process)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    told = [line for line in result.stderr.splitlines() if "matched 0" not in line]
    assert result.code == 143, result
    # What dies between a run's last batch and its report is "remaining" there.
    deleted = [int(re.findall(r"deleted (\d+)", line)[0]) for line in told]
    assert (sum(deleted), deleted[0]) == (42, 40), result
    assert len(told) >= 2
    assert "remaining 0" in told[-1]
    assert "Traceback" not in result.stderr
    assert project.tokens() == live


@pytest.mark.parametrize("number", list(CODES), ids=["SIGINT", "SIGTERM"])
def test_signal_ends_a_service_in_its_batch(project: Project, number: signal.Signals) -> None:
    """A signal during a batch: the service reports what it did, and ends."""
    dead, live = dead_and_live(project, DEAD, LIVE)
    with running(project, "session", "cleanup", *SLOW, "--every", "1h") as process:
        eventually(lambda: number_of_stale(project) < DEAD, process)
        process.send_signal(number)
        result = end_of(process)
    left = project.tokens()
    deleted = DEAD - len(left & dead)
    assert result.code == CODES[number], result
    assert f"matched {DEAD}, deleted {deleted}, remaining {DEAD - deleted}" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result
    assert deleted % BATCH == 0
    assert live <= left


def assert_stopped(process: Process, number: signal.Signals) -> None:
    """Check that the signal ends it, with at most one line and no traceback."""
    process.send_signal(number)
    result = end_of(process)
    # A process that leaves the signal to the kernel shows the same code in a shell.
    assert result.code in (CODES[number], -signal.SIGTERM), result
    assert result.stdout == "", result
    assert len(result.stderr.splitlines()) <= 1, result
    assert "Traceback" not in result.stderr, result


def test_interrupted_wait_for_a_server(tmp_path: Path) -> None:
    """Ctrl-C ends 'db wait' on a server that is not there, without a traceback."""
    project = Project(tmp_path, "postgresql", "clarinet")
    project.directory.joinpath("settings.toml").write_text(
        f'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n'
        f"database_port = {CLOSED_PORT}\nlog_to_file = true\n"
    )
    log = tmp_path / "logs" / "clarinet-cli.log"
    with running(project, "db", "wait", "--timeout", "60s") as process:
        eventually(lambda: log.exists() and "not ready" in log.read_text(), process)
        assert_stopped(process, signal.SIGINT)


@pytest.mark.parametrize("number", list(CODES), ids=["SIGINT", "SIGTERM"])
def test_signal_ends_a_wait_for_a_lock(project: Project, number: signal.Signals) -> None:
    """'admin create' that waits for a lock ends, and nothing is written."""
    words = ("admin", "create", "--email", "late@example.org", "--generate-password")
    with write_lock(project), running(project, *words) as process:
        eventually(lambda: waits_for_lock(project, process), process)
        time.sleep(SETTLE_SECONDS)
        assert_stopped(process, number)
    settle(project)
    assert [email for email, _ in superusers(project)] == ["admin@clarinet.ru"]


def test_interrupted_migration_that_would_wait_for_an_hour(project: Project) -> None:
    """Ctrl-C ends a migration that waits for a writer, with any --lock-timeout."""
    with write_lock(project), running(project, *MIGRATION) as process:
        eventually(lambda: waits_for_lock(project, process), process)
        time.sleep(SETTLE_SECONDS)
        assert_stopped(process, signal.SIGINT)
    settle(project)
    assert_sound(project)
    assert project.count("userrole") == 5
