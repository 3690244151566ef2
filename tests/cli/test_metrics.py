"""``session stats -o prometheus``: counts for the node exporter's textfile collector."""

import re
import stat
import time
from pathlib import Path

import pytest

from clarinet_cli.exceptions import ExitCode
from clarinet_cli.services.locks import Job
from clarinet_cli.services.session_cleanup import transaction
from tests.cli.scenes import database_locked, job_running, populate
from tests.support import Project

LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"^([a-z_]+)(\{{{LABEL}(?:,{LABEL})*\}})? (\S+)$")


def samples(text: str) -> dict[str, float]:
    """Parse the exposition format; a line that is neither comment nor sample fails."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"^# (HELP|TYPE) clarinet_[a-z_]+ .+$", line)
            continue
        match = SAMPLE.match(line)
        assert match, line
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_metrics_have_the_numbers_of_the_json(server_project: Project) -> None:
    """Each state, age and user count of the JSON document is a sample."""
    stats = server_project.json("session", "stats")
    result = server_project.run("session", "stats", "-o", "prometheus")
    assert (result.code, result.stderr) == (0, "")
    found = samples(result.stdout)
    for state in ("active", "idle", "expired", "blocked"):
        assert found[f'clarinet_sessions{{state="{state}"}}'] == stats[state]
    for age, count in stats["age"].items():
        assert found[f'clarinet_session_age{{age="{age}"}}'] == count
    assert found["clarinet_session_users"] == stats["users"] == 4
    assert found["clarinet_session_life_longest_seconds"] == stats["longest_life_seconds"]


def test_metrics_of_an_empty_database_leave_out_what_is_unknown(project: Project) -> None:
    """Without sessions no average lifetime and no next expiry, and the counts are 0."""
    found = samples(project.run("session", "stats", "-o", "prometheus").stdout)
    assert found['clarinet_sessions{state="active"}'] == 0
    assert not [name for name in found if "life" in name or "expiry" in name]


def test_grouped_metrics_escape_untrusted_text_in_labels(project: Project) -> None:
    """Quotes, backslashes, newlines and escape sequences of a user agent stay one label."""
    user = project.add_user("ada@clarinet.example")
    project.add_session(user, user_agent='a"b\\c\nd\x1b[31m')
    result = project.run("session", "stats", "--by", "agent", "-o", "prometheus")
    found = samples(result.stdout)
    name = r'clarinet_sessions_by_agent{agent="a\"b\\c\\x0ad\\x1b[31m",state="active"}'
    assert found[name] == 1


def test_other_commands_have_no_metrics(project: Project) -> None:
    """The format is for the stats only: elsewhere it is a usage error."""
    result = project.run("admin", "list", "-o", "prometheus")
    assert (result.code, result.stdout) == (2, "")
    assert "prometheus" in result.stderr


RESULT = 'clarinet_cleanup_result{result="%s"}'
SESSIONS = 'clarinet_cleanup_sessions{outcome="%s"}'
LAST_SUCCESS = "clarinet_cleanup_last_success_timestamp_seconds"


def clean_up(project: Project, *options: str) -> tuple[int, dict[str, float]]:
    """Clean up with a metrics file; return the exit code and the samples of the file."""
    file = project.directory / "cleanup.prom"
    result = project.run("session", "cleanup", "--metrics-file", str(file), *options)
    assert [path.name for path in project.directory.glob(".cleanup*")] == []
    return result.code, samples(file.read_text())


def result_of(found: dict[str, float]) -> str:
    """Return the one result of a file."""
    (name,) = [name for name in ("success", "failed", "skipped") if found[RESULT % name]]
    return name


def test_a_clean_up_writes_its_numbers(project: Project) -> None:
    """The counts of the report and the time; every user can read the file."""
    populate(project)
    before = time.time()
    code, found = clean_up(project, "--limit", "1")
    assert (code, result_of(found)) == (0, "success")
    assert [found[SESSIONS % name] for name in ("matched", "deleted", "remaining")] == [2, 1, 1]
    assert before <= found[LAST_SUCCESS] <= time.time()
    assert found["clarinet_cleanup_duration_seconds"] > 0
    mode = (project.directory / "cleanup.prom").stat().st_mode
    assert stat.S_IMODE(mode) == 0o644


def test_a_job_that_is_always_skipped_is_seen(project: Project) -> None:
    """The time of the last run changes, that of the last success does not."""
    populate(project)
    _, first = clean_up(project)
    with job_running(project, Job.CLEANUP):
        code, found = clean_up(project, "--skip-if-locked")
    assert (code, result_of(found)) == (0, "skipped")
    assert found[LAST_SUCCESS] == first[LAST_SUCCESS]
    last_run = "clarinet_cleanup_last_run_timestamp_seconds"
    assert found[last_run] > first[last_run]
    assert SESSIONS % "deleted" not in found


def test_a_failure_is_written(project: Project) -> None:
    """Also one of the settings, and of incomplete runs; no success is recorded."""
    populate(project)
    code, found = clean_up(project, "--limit", "1", "--fail-incomplete")
    assert (code, result_of(found)) == (ExitCode.CHECK_FAILED, "failed")
    assert LAST_SUCCESS not in found
    project.write_settings("session_idle_timeout_minutes = 'many'\n")
    code, found = clean_up(project)
    assert (code, result_of(found)) == (ExitCode.CONFIGURATION, "failed")


def test_a_locked_database_is_not_skipped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of another program is not a running clean-up: 75, and a failure."""
    monkeypatch.setattr(transaction, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(transaction, "LOCK_SECONDS", 0.1)
    populate(project)
    with database_locked(project):
        code, found = clean_up(project, "--skip-if-locked")
    assert (code, result_of(found)) == (ExitCode.BUSY, "failed")
    assert project.count("access_token") == 4


@pytest.mark.parametrize(
    ("file", "options"), [("missing/x.prom", ()), (".", ()), ("x.prom", ("--dry-run",))]
)
def test_a_file_that_can_not_be_written_is_a_usage_error(
    project: Project, file: str, options: tuple[str, ...]
) -> None:
    """Nothing is deleted before that is known."""
    populate(project)
    path = Path(project.directory, file)
    result = project.run("session", "cleanup", "--metrics-file", str(path), *options)
    assert result.code == ExitCode.USAGE
    assert "--metrics-file" in result.stderr
    assert project.count("access_token") == 4
