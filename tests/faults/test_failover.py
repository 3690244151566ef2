"""The primary fails during a clean-up, and a standby is promoted."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import oracle
from tests.patience import PATIENCE_SECONDS
from tests.replicas import ReplicaPair, project_on, wait_for
from tests.support import PASSWORD, Project, process_environment

NUMBER = 300
ADMIN = "admin@clarinet.ru"
SLOW = ["--batch-size", "10", "--sleep", "0.3s"]
WRITERS = "&target_session_attrs=read-write"


@pytest.fixture
def pair() -> Iterator[ReplicaPair]:
    """A primary and a standby of their own for each test."""
    with ReplicaPair() as replicas:
        yield replicas


@pytest.fixture
def project(pair: ReplicaPair, tmp_path: Path) -> Project:
    """A project that names both servers, with stale sessions and a live one."""
    project = project_on(tmp_path, pair.primary, pair.url("clarinet", options=WRITERS))
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    admin = oracle.user_id_of(project, ADMIN)
    oracle.add_sessions(project, admin, NUMBER, now=datetime.now(UTC), dead=True)
    project.add_session(admin, token="live-" + "a" * 30)
    return project


@contextmanager
def start(project: Project, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a clean-up in a process of its own, which does not outlive the block."""
    process = subprocess.Popen(
        project.process("session", "cleanup", *arguments, "-o", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment({}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fail_over_midway(pair: ReplicaPair, project: Project) -> None:
    """Kill the primary when some sessions are deleted; promote the standby."""
    wait_for(lambda: project.count("access_token") < NUMBER - 20)
    pair.kill_primary()
    pair.promote()


def test_one_run_reports_its_batches_and_the_next_continues(
    pair: ReplicaPair, project: Project
) -> None:
    """7 with the report of the batches that were committed; they stay so on the new primary."""
    with start(project, *SLOW) as process:
        fail_over_midway(pair, project)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 7, stderr
    report = json.loads(stdout)
    assert 20 <= report["deleted"] < NUMBER
    assert (report["complete"], report["batches"]) == (False, report["deleted"] // 10)
    assert report["matched"] == report["deleted"] + report["remaining"] == NUMBER
    error, hint = [line for line in stderr.splitlines() if line]
    assert error.startswith("error: postgresql://postgres@/clarinet?host=")
    assert error.endswith(f"; {report['deleted']} sessions had been deleted before")
    assert hint.startswith("hint: run it again")
    new = Project(project.directory, "postgresql", "clarinet", pair.standby)
    left = new.count("access_token") - 1
    assert NUMBER - report["deleted"] - 10 <= left <= NUMBER - report["deleted"]
    again = project.json("session", "cleanup")
    assert (again["matched"], again["deleted"], again["complete"]) == (left, left, True)
    assert new.tokens() == {"live-" + "a" * 30}


def test_the_service_continues_on_the_new_primary(pair: ReplicaPair, project: Project) -> None:
    """It waits for the promotion and deletes the rest, in the same process."""
    new = Project(project.directory, "postgresql", "clarinet", pair.standby)
    with start(project, *SLOW, "--every", "1s") as process:
        fail_over_midway(pair, project)
        wait_for(lambda: new.count("access_token") == 1)
        assert process.poll() is None
        process.terminate()
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143, stderr
    reports = [json.loads(line) for line in stdout.splitlines()]
    assert reports[0]["complete"] is False
    assert sum(report["deleted"] for report in reports) >= NUMBER - 10
    assert reports[-1]["remaining"] == 0
    assert new.tokens() == {"live-" + "a" * 30}


def test_the_service_waits_for_a_promotion(pair: ReplicaPair, project: Project) -> None:
    """The service continues while there is only a standby: it may be promoted."""
    new = project_on(
        project.directory, pair.standby, pair.url("clarinet", pair.standby, pair.primary)
    )
    pair.kill_primary()
    once = new.run("session", "cleanup")
    assert once.code == 7, once
    assert "the server is a standby, which accepts no writes" in once.stderr
    with start(new, "--every", "1s") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        pair.promote()
        wait_for(lambda: new.count("access_token") == 1)
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143
