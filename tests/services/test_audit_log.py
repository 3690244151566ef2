"""The file of the audit log: whole lines, synced, at the configured path."""

import asyncio
import json
import os
from contextvars import copy_context
from pathlib import Path

import pytest

from clarinet_cli.services.accounts.changes import promote
from clarinet_cli.services.audit_log import configure_audit_log
from clarinet_cli.utils.logger import logger
from tests import forked
from tests.cli.scenes import ADA, assert_failed, dump, populate
from tests.faults.processes import run_alone
from tests.operations import change_account
from tests.support import Project, process_environment

STRANGER = 65534
pytestmark = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "audit.jsonl"


def test_a_torn_line_is_ended_first(project: Project, log: Path) -> None:
    """What a full disk left without its end is not glued to the next record."""
    populate(project)
    log.write_text('{"torn": ')
    assert project.run("--audit-log", str(log), "admin", "promote", ADA).code == 0
    first, second = log.read_text().splitlines()
    assert first == '{"torn": '
    assert json.loads(second)["result"] == "updated"


def test_a_short_write_is_taken_back(project: Project, log: Path) -> None:
    """A disk that fills in the middle of a line: nothing of it stays, and nothing is changed."""
    populate(project)
    log.write_text('{"before": 1}\n')
    before = dump(project)
    program = (
        "import os\n"
        "import clarinet_cli.services.audit_log as m\n"
        "class Short:\n"
        "    def write(self, descriptor, content): return os.write(descriptor, content[:20])\n"
        "    def __getattr__(self, name): return getattr(os, name)\n"
        "m.os = Short()\n"
        "from clarinet_cli.cli.main import main; main()"
    )
    words = project.words("--audit-log", str(log), "admin", "promote", ADA)
    done = forked.run(words, program=program, env=process_environment({}))
    assert done.returncode == 1, done
    assert "cannot write the audit log" in done.stderr.decode()
    assert log.read_text() == '{"before": 1}\n'
    assert dump(project) == before


@pytest.mark.parametrize("place", ["file", "directory"])
def test_no_link_of_another_user_is_followed(project: Project, tmp_path: Path, place: str) -> None:
    """Another user's link is refused: 1, in one line, nothing changed."""
    populate(project)
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "link"
    log = link / "audit.jsonl" if place == "directory" else link
    link.symlink_to(target if place == "directory" else target / "audit.jsonl")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    before = dump(project)
    result = project.run("--audit-log", str(log), "admin", "promote", ADA)
    assert_failed(result, 1)
    assert f"cannot open the audit log {link}: a link that belongs to another user" in result.stderr
    assert list(target.iterdir()) == []
    assert dump(project) == before
    os.chown(link, os.geteuid(), -1, follow_symlinks=False)
    assert project.run("--audit-log", str(log), "admin", "promote", ADA).code == 0
    assert len((target / "audit.jsonl").read_text().splitlines()) == 1


def test_the_log_file_follows_no_link_of_another_user(project: Project, tmp_path: Path) -> None:
    """The command continues without a log file, with one line that gives the reason."""
    project.write_settings("log_to_file = true\n")
    target = tmp_path / "target"
    logs = project.directory / "logs"
    logs.mkdir()
    link = logs / "clarinet-cli.log"
    link.symlink_to(target)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    result = run_alone(project, "admin", "list")
    assert result.code == 0
    assert "a link that belongs to another user" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not target.exists()


def test_standard_error_may_be_the_log(project: Project) -> None:
    """In a container the records go where the supervisor reads."""
    populate(project)
    result = run_alone(project, "--audit-log", "/dev/stderr", "-q", "admin", "promote", ADA)
    assert result.code == 0, result
    assert json.loads(result.stderr)["result"] == "updated"


def test_a_host_program_that_resets_its_logging_loses_no_record(
    project: Project, log: Path
) -> None:
    """The audit log is none of the logging library's sinks."""
    populate(project)
    program = copy_context()
    program.run(configure_audit_log, log, project=project.directory)
    logger.remove()
    program.run(asyncio.run, change_account(project.settings, ADA, promote))
    assert json.loads(log.read_text())["result"] == "updated"
