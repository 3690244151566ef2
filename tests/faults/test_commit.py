"""Signals and faults inside a commit: messages, audit records and rows agree."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.scenes import ADA, populate
from tests.faults.limits import as_nohup
from tests.faults.processes import (
    CLOSED_PORT,
    RUNS,
    assert_one_error,
    assert_sound,
    chance,
    dead_and_live,
    end_of,
    eventually,
    number_of_stale,
    run_alone,
    running,
    settle,
    tables,
)
from tests.forked import Process
from tests.patience import PATIENCE_SECONDS
from tests.programs import child
from tests.support import Project, process_environment

PENDING_BYTE = str(2**30)  # where SQLite has the lock that lets no further reader in
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
WAIT = "SELECT pg_advisory_xact_lock(4711)"
IN_COMMIT = (
    "SELECT pid FROM pg_stat_activity WHERE datname = $1"
    " AND application_name = 'clarinet' AND wait_event_type = 'Lock'"
)
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An audit log that does not exist yet."""
    return tmp_path / "audit.jsonl"


def records(log: Path) -> list[dict[str, Any]]:
    """Return the records of an audit log, whose lines must all be whole."""
    text = log.read_text() if log.exists() else ""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def results(log: Path) -> list[str]:
    """Return the results on record."""
    return [record["result"] for record in records(log)]


def is_superuser(project: Project, email: str) -> bool:
    """Return whether an account is a superuser."""
    return bool(project.rows('SELECT is_superuser FROM "user" WHERE email = ?', email)[0][0])


@contextlib.contextmanager
def commits_wait(project: Project) -> Iterator[None]:
    """Keep every commit that changed an account or a session from its end, inside the block.

    SQLite: a reader. PostgreSQL: a deferred trigger that waits for a lock.
    """
    if project.server is None:
        with contextlib.closing(sqlite3.connect(project.file)) as reader:
            reader.execute("BEGIN")
            reader.execute('SELECT count(*) FROM "user"').fetchall()
            yield
        return
    project.rows(
        "CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$"
    )
    for table in ("user", "access_token"):
        project.rows(f'DROP TRIGGER IF EXISTS late ON "{table}"')
        project.rows(
            f'CREATE CONSTRAINT TRIGGER late AFTER UPDATE OR DELETE ON "{table}"'
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()"
        )
    with asyncio.Runner() as runner:
        connection = runner.run(project.server.connect(project.database))
        try:
            runner.run(connection.execute("BEGIN"))
            runner.run(connection.execute(WAIT))
            yield
        finally:
            runner.run(connection.close())


def turns_readers_away(project: Project, process: Process) -> bool:
    """Return whether a commit on SQLite waits for its readers: it has the lock of that wait.

    This process has a reader, so that a connection of its own would be let in; and opening the
    file and closing it would end the reader's lock.
    """
    inode = str(project.file.stat().st_ino)
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(
        lock[4] == str(process.pid) and lock[5].endswith(f":{inode}") and lock[6] == PENDING_BYTE
        for lock in held
        if len(lock) > 7
    )


def until_in_commit(project: Project, process: Process, log: Path) -> None:
    """Wait until a command is inside its commit, after it has written its record."""
    eventually(lambda: log.exists() and log.read_text().endswith("\n"), process)
    server = project.server
    if server is None:
        eventually(lambda: turns_readers_away(project, process), process)
    else:
        eventually(lambda: bool(server.rows("postgres", IN_COMMIT, project.database)), process)


def audited(log: Path) -> dict[str, str]:
    """Return the variables that name an audit log."""
    return {"CLARINET_AUDIT_LOG": str(log)}


class TestCommitThatWaits:
    """A signal that arrives while the commit waits for another connection."""

    @pytest.mark.parametrize("number", ENDING, ids=[number.name for number in ENDING])
    def test_the_outcome_is_awaited_and_reported(
        self, project: Project, log: Path, number: signal.Signals
    ) -> None:
        """However often it is sent: one record, the result on stdout, 128 and the signal."""
        populate(project)
        words = ("admin", "promote", ADA, "-o", "json")
        with running(project, *words, env=audited(log)) as process:
            with commits_wait(project):
                until_in_commit(project, process, log)
                for _ in range(3):
                    process.send_signal(number)
                    time.sleep(0.02)
                assert process.poll() is None
            result = end_of(process)
        settle(project)
        assert result.code == 128 + number, result
        assert result.json["result"] == "updated"
        assert results(log) == ["updated"]
        assert is_superuser(project, ADA)
        assert "Traceback" not in result.stderr

    def test_a_job_is_on_record_before_its_first_commit(self, project: Project, log: Path) -> None:
        """SIGQUIT in a clean-up's commit: the deletions are reported, and recorded twice."""
        _, live = dead_and_live(project, 30, 5)
        words = ("session", "cleanup", "-o", "json")
        with running(project, *words, env=audited(log)) as process:
            with commits_wait(project):
                until_in_commit(project, process, log)
                assert results(log) == ["started"]
                process.send_signal(signal.SIGQUIT)
                time.sleep(0.02)
            result = end_of(process)
        settle(project)
        assert result.code == 131, result
        gone = 30 - number_of_stale(project)
        assert result.json["deleted"] == gone
        assert results(log) == (["started", "deleted"] if gone else ["started", "failed"])
        assert records(log)[-1]["deleted"] == gone
        assert live <= project.tokens()

    @on_sqlite
    def test_a_reader_that_never_ends_is_a_failure(self, project: Project, log: Path) -> None:
        """The wait is bounded; the roll-back is certain, so the record has 'failed'."""
        populate(project)
        with (
            commits_wait(project),
            running(project, "admin", "promote", ADA, env=audited(log)) as process,
        ):
            until_in_commit(project, process, log)
            process.send_signal(signal.SIGINT)
            result = end_of(process)
        assert "locked by another process" in assert_one_error(result, 130)
        assert results(log) == ["updated", "failed"]
        assert not is_superuser(project, ADA)

    def test_a_migration_is_whole(self, project: Project) -> None:
        """Ctrl-C in the commit of a downgrade: the tables are dropped, and the result is shown."""
        words = ("migrate", "downgrade", "base", "--yes", "-o", "json")
        if project.server is not None:
            result = run_alone(project, *words)
        else:
            with running(project, *words) as process:
                with commits_wait(project):
                    journal = project.file.with_name(f"{project.file.name}-journal")
                    eventually(lambda: journal.exists() and journal.stat().st_size > 0, process)
                    eventually(lambda: turns_readers_away(project, process), process)
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.02)
                result = end_of(process)
            assert result.code == 130, result
        assert result.json["result"] == "updated"
        assert "user" not in tables(project)
        assert_sound(project)


@on_postgresql
class TestServerThatGoes:
    """PostgreSQL ends the connection during the commit."""

    def test_the_outcome_is_unknown(self, project: Project, log: Path) -> None:
        """7, an error and a hint how to check; the record has 'unknown' and the reason."""
        populate(project)
        server = project.server
        assert server is not None
        words = ("admin", "promote", ADA)
        with (
            commits_wait(project),
            running(project, *words, env=audited(log)) as process,
        ):
            until_in_commit(project, process, log)
            cut = IN_COMMIT.replace("pid", "pg_terminate_backend(pid)", 1)
            assert server.rows("postgres", cut, project.database)
            result = end_of(process)
        line = assert_one_error(result, 7)
        assert "it is unknown whether the change was made" in line
        assert "hint: " in result.stderr
        assert results(log) == ["updated", "unknown"]
        assert "unknown" in records(log)[-1]["reason"]

    def test_a_job_names_the_rows_in_doubt(self, project: Project, log: Path) -> None:
        """A clean-up: how many rows are certainly deleted, and how many may be."""
        dead_and_live(project, 30, 5)
        server = project.server
        assert server is not None
        with (
            commits_wait(project),
            running(project, "session", "revoke-all", "--yes", env=audited(log)) as process,
        ):
            until_in_commit(project, process, log)
            process.send_signal(signal.SIGTERM)
            cut = IN_COMMIT.replace("pid", "pg_terminate_backend(pid)", 1)
            assert server.rows("postgres", cut, project.database)
            result = end_of(process)
        assert result.code == 7, result
        assert results(log) == ["started", "unknown"]
        last = records(log)[-1]
        assert (last["sessions_revoked"], last["uncertain"]) == (0, 35)


def test_signals_at_random_moments(project: Project, log: Path) -> None:
    """At any moment the row, the record, standard output and the code agree."""
    random = chance()
    populate(project)
    words = ("admin", "promote", ADA, "-o", "json")
    started = time.monotonic()
    assert run_alone(project, *words, env=audited(log)).code == 0
    usual = time.monotonic() - started
    for _ in range(max(4, RUNS)):
        log.unlink()
        assert project.run("admin", "demote", ADA, env=audited(log)).code == 0
        log.unlink()
        number = random.choice(ENDING)
        with running(project, *words, env=audited(log)) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0.3, 1.0) * usual)
            for _ in range(random.randint(1, 3)):
                process.send_signal(number)
                time.sleep(random.uniform(0, 0.02))
            result = end_of(process)
        settle(project)
        changed = is_superuser(project, ADA)
        # In the first and last milliseconds of the interpreter it is left to the kernel.
        assert result.code in (128 + number, -number, 0 if changed else -number), result
        assert results(log) in ([["updated"]] if changed else [[], ["updated", "failed"]]), result
        assert (result.stdout != "") is changed, result
        assert "Traceback" not in result.stderr, result
        log.touch()


def unreachable(tmp_path: Path) -> Project:
    """Return a project whose server does not answer."""
    project = Project(tmp_path, "postgresql", "clarinet")
    project.directory.joinpath("settings.toml").write_text(
        f'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n'
        f"database_port = {CLOSED_PORT}\nlog_to_file = true\n"
    )
    return project


def waits_for_a_server(project: Project) -> bool:
    """Return whether 'db wait' has tried and failed."""
    log = project.directory / "logs" / "clarinet-cli.log"
    return log.exists() and "not ready" in log.read_text()


@pytest.mark.parametrize("number", ENDING, ids=[number.name for number in ENDING])
def test_the_first_process_of_a_container_hears_signals(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The kernel gives it only those that it handles: it handles all four."""
    project = unreachable(tmp_path)
    words = project.process("db", "wait", "--timeout", "60s")
    alone = ["unshare", "--pid", "--fork", "--mount-proc", *words]
    environment = process_environment({})
    with child(alone, stderr=subprocess.PIPE, env=environment) as process:
        eventually(lambda: waits_for_a_server(project), process)
        [first] = psutil.Process(process.pid).children()
        os.kill(first.pid, number)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + number, said
    assert said == b""


def test_what_the_caller_ignored_stays_ignored(tmp_path: Path) -> None:
    """Under nohup the end of the terminal does not end the command; SIGTERM does."""
    project = unreachable(tmp_path)
    with running(project, "db", "wait", "--timeout", "60s", prepare=as_nohup) as process:
        eventually(lambda: waits_for_a_server(project), process)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert end_of(process).code == 143


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT], ids=["SIGHUP", "SIGQUIT"])
def test_the_other_signals_end_a_job_after_its_batch(
    project: Project, log: Path, number: signal.Signals
) -> None:
    """As SIGTERM does: the summary is true to the rows, and so is the record."""
    dead, live = dead_and_live(project, 600, 10)
    slow = ("--batch-size", "10", "--sleep", "40ms", "-o", "json")
    with running(project, "session", "cleanup", *slow, env=audited(log)) as process:
        eventually(lambda: number_of_stale(project) < 600, process)
        process.send_signal(number)
        result = end_of(process)
    settle(project)
    assert result.code == 128 + number, result
    left = project.tokens()
    assert result.json["deleted"] == 600 - len(left & dead) == records(log)[-1]["deleted"]
    assert live <= left
