"""The clean-up among others: locks that stay, servers that go, supervisors that listen."""

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from clarinet_cli.services.session_cleanup.transaction import LOCK_SECONDS
from tests.faults.processes import (
    dead_and_live,
    end_of,
    eventually,
    number_of_stale,
    running,
    settle,
    waits_for_lock,
    write_lock,
)
from tests.patience import PATIENCE_SECONDS
from tests.postgres import BINARIES, OwnServer, PostgresServer
from tests.support import PASSWORD, Project

DEAD = 1000
LIVE = 20
HOUR = timedelta(hours=1)
SLOW = ("--batch-size", "10", "--sleep", "30ms")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'clarinet' AND datname = $1"
)
LOCK_CONNECTION = (
    "SELECT a.backend_xmin, a.backend_xid, a.state FROM pg_stat_activity a JOIN pg_locks l"
    " ON l.pid = a.pid WHERE l.locktype = 'advisory' AND a.datname = $1"
)
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def records(log: Path) -> list[tuple[int, int]]:
    """Return deleted and matched of the last record of each run in an audit log."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["command"] for line in lines} <= {"session cleanup"}
    assert [line["result"] for line in lines[::2]] == ["started"] * (len(lines) // 2)
    assert {line["result"] for line in lines[1::2]} <= {"deleted"}
    return [(line["deleted"], line["matched"]) for line in lines[1::2]]


@pytest.mark.parametrize("number", list(CODES), ids=["SIGINT", "SIGTERM"])
def test_signal_ends_the_scan(project: Project, number: signal.Signals) -> None:
    """A scan that waits for a table lock ends, with a report of zeros."""
    dead_and_live(project, 30, LIVE)
    before = project.tokens()
    with (
        write_lock(project, *exclusively(project)) as _,
        running(project, "session", "cleanup", "-o", "json") as process,
    ):
        eventually(lambda: waits_for_lock(project, process), process)
        process.send_signal(number)
        result = end_of(process)
    settle(project)
    assert (result.code, result.stderr) == (CODES[number], ""), result
    report = result.json
    assert (report["deleted"], report["batches"], report["complete"]) == (0, 0, False)
    assert project.tokens() == before


@contextlib.contextmanager
def held_file(project: Project) -> Iterator[None]:
    """Keep others from reading a SQLite file."""
    project.rows("PRAGMA journal_mode=DELETE")
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@on_sqlite
def test_a_file_that_is_held_for_a_while_is_waited_for(project: Project) -> None:
    """As other commands wait: longer than one attempt to connect."""
    live = dead_and_live(project, 30, LIVE)[1]
    with contextlib.ExitStack() as stack:
        with held_file(project):
            process = stack.enter_context(running(project, "session", "cleanup", "-o", "json"))
            eventually(lambda: waits_for_lock(project, process), process)
            time.sleep(LOCK_SECONDS * 1.5)
            assert process.poll() is None
        result = end_of(process)
    assert (result.code, result.json["deleted"]) == (0, 30), result
    assert project.tokens() == set(live)


@on_sqlite
@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_signal_ends_the_wait_for_a_file(project: Project, words: tuple[str, ...]) -> None:
    """With a report of zeros."""
    dead_and_live(project, 30, LIVE)
    with (
        held_file(project),
        running(project, "session", "cleanup", *words, "-o", "json") as process,
    ):
        eventually(lambda: waits_for_lock(project, process), process)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    assert (result.code, result.stderr) == (143, ""), result
    assert (result.json["deleted"], result.json["complete"]) == (0, False)


def exclusively(project: Project) -> tuple[str, ...]:
    """Return what keeps others from reading; on SQLite the writer's lock keeps the batch out."""
    return () if project.server is None else ("LOCK TABLE access_token IN ACCESS EXCLUSIVE MODE",)


@on_postgresql
def test_rows_that_stay_locked_do_not_stop_the_others(project: Project) -> None:
    """Locked rows remain, are reported and give 6; the others are deleted."""
    _, live = dead_and_live(project, DEAD, LIVE)
    lock = "SELECT 1 FROM access_token WHERE token IN ('dead-7', 'dead-900') FOR UPDATE"
    with write_lock(project, lock):
        words = ("session", "cleanup", "--fail-incomplete", "--max-time", "4s", "-o", "json")
        result = project.run(*words)
        assert project.tokens() == live | {"dead-7", "dead-900"}
    assert result.code == 6, result
    report = result.json
    assert (report["matched"], report["deleted"], report["remaining"]) == (DEAD, DEAD - 2, 2)
    again = project.json("session", "cleanup")
    assert (again["deleted"], again["complete"]) == (2, True)
    assert project.tokens() == live


@on_postgresql
def test_the_lock_holds_nothing_back(project: Project) -> None:
    """Its long transaction has no snapshot, so that vacuum works, and no server ends it."""
    dead_and_live(project, 600, LIVE)
    server = project.server
    assert server is not None
    server.rows(
        "postgres",
        f'ALTER DATABASE "{project.database}" SET idle_in_transaction_session_timeout = 200',
    )
    words = ("session", "cleanup", "--batch-size", "100", "--sleep", "400ms", "-o", "json")
    with running(project, *words) as process:
        eventually(lambda: number_of_stale(project) < 600, process)
        for _ in range(5):
            found = server.rows("postgres", LOCK_CONNECTION, project.database)
            assert [row for row in found if row[2] == "idle in transaction" and row[0]] == []
            assert [row[1] for row in found] == [None]
        result = end_of(process)
    assert (result.code, result.json["deleted"], result.json["complete"]) == (0, 600, True), result


@pytest.mark.parametrize("ending", ["whole", "signal", "cut"])
def test_every_run_that_deleted_is_on_record(project: Project, tmp_path: Path, ending: str) -> None:
    """The record has the number of rows, also after a signal or a lost server."""
    _, live = dead_and_live(project, DEAD, LIVE)
    log = tmp_path / "audit.jsonl"
    speed = () if ending == "whole" else SLOW
    environment = {"CLARINET_AUDIT_LOG": str(log)}
    with running(project, "session", "cleanup", *speed, env=environment) as process:
        if ending != "whole":
            eventually(lambda: number_of_stale(project) < DEAD, process)
        if ending == "cut" and project.server is not None:
            assert project.server.rows("postgres", CUT, project.database)
        elif ending != "whole":
            process.send_signal(signal.SIGTERM)
        result = end_of(process)
    settle(project)
    assert result.code in {0, 7, 143}
    gone = DEAD - number_of_stale(project)
    assert gone > 0
    assert records(log) == [(gone, DEAD)]
    assert live <= project.tokens()


def test_nothing_deleted_is_nothing_on_record(project: Project, tmp_path: Path) -> None:
    """Neither an idle run nor a dry one leaves a record."""
    dead_and_live(project, 5, LIVE)
    log = tmp_path / "audit.jsonl"
    words = ("--audit-log", str(log), "session", "cleanup")
    assert project.run(*words, "--dry-run").code == 0
    assert not log.exists()
    for _ in range(2):
        assert project.run(*words).code == 0
    assert records(log) == [(5, 5)]


def test_a_supervisor_hears_of_the_service(project: Project, tmp_path: Path) -> None:
    """READY, the watchdog's life signs, a STATUS after a run, and STOPPING at the end."""
    dead_and_live(project, 5, LIVE)
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(30)
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
        with running(project, "session", "cleanup", "--every", "1h", env=environment) as process:
            heard = [listener.recv(4096).decode()]
            while not heard[-1].startswith("STATUS="):
                heard.append(listener.recv(4096).decode())
            while heard[-1] != "WATCHDOG=1\n":
                heard.append(listener.recv(4096).decode())
            process.send_signal(signal.SIGTERM)
            result = end_of(process)
            while heard[-1] != "STOPPING=1\n":
                heard.append(listener.recv(4096).decode())
    assert result.code == 143, result
    assert heard[0] == "READY=1\n"
    [status] = [line for line in heard if line.startswith("STATUS=")]
    assert status.startswith("STATUS=deleted 5 of 5 stale sessions, next run in ")


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A server that a test may stop."""
    server = OwnServer()
    yield server
    server.stop()


def control(server: OwnServer, *words: str) -> None:
    """Stop or start a server."""
    data = str(server.directory / "data")
    command = [str(BINARIES / "pg_ctl"), "-w", "-D", data, "-l", f"{data}/again.log", *words]
    user = server.server.system_user
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, user=user
    )


def test_the_service_survives_a_restart_of_the_server(
    own_server: OwnServer, tmp_path: Path
) -> None:
    """The server restarts within a batch: stale sessions are deleted, live ones stay."""
    postgres = PostgresServer(own_server.url)
    project = Project(tmp_path, "postgresql", "clarinet", postgres)
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    _, live = dead_and_live(project, DEAD, LIVE)
    with running(project, "session", "cleanup", *SLOW, "--every", "1s") as process:
        eventually(lambda: number_of_stale(project) < DEAD, process)
        control(own_server, "stop", "-m", "immediate")
        control(own_server, "start", "-o", f"-h '' -k {postgres.host}")
        eventually(lambda: number_of_stale(project) == 0, process)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    assert result.code == 143, result
    assert "clean-up failed, next try in 1 s" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.tokens() == live


def test_an_interval_of_the_settings(project: Project) -> None:
    """'--every default' follows the settings: the interval, and whether to clean at all."""
    dead_and_live(project, 5, LIVE)
    project.write_settings("session_cleanup_enabled = false\n")
    result = project.run("session", "cleanup", "--every", "default")
    assert (result.code, number_of_stale(project)) == (0, 5)
    assert "session_cleanup_enabled" in result.stderr
    project.write_settings("session_cleanup_interval = 1\n")
    with running(project, "session", "cleanup", "--every", "default") as process:
        eventually(lambda: number_of_stale(project) == 0, process)
        project.add_session(project.add_user("l@example.org"), token="dead-later", expires=-HOUR)
        eventually(lambda: number_of_stale(project) == 0, process)
        process.send_signal(signal.SIGTERM)
        assert end_of(process).code == 143


@pytest.mark.parametrize("option", ["--color=never", "-v"])
def test_a_run_of_the_service_is_one_line(project: Project, option: str) -> None:
    """A note without -v, the log's line with it, and never both."""
    dead_and_live(project, 5, LIVE)
    with running(project, option, "session", "cleanup", "--every", "1h") as process:
        eventually(lambda: number_of_stale(project) == 0, process)
        process.send_signal(signal.SIGTERM)
        result = end_of(process)
    assert result.code == 143, result
    told = [line for line in result.stderr.splitlines() if "clean-up: matched" in line]
    assert len(told) == 1
    assert "matched 5, deleted 5, remaining 0" in told[0]
