"""What operators stumbled over, each held by a test of its own."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.scenes import ADA, assert_failed, everything, populate
from tests.cli.terminal import terminal
from tests.support import Project

JOBS = ["session revoke-all --yes", "session cleanup", f"session revoke-user {ADA}"]


@pytest.mark.parametrize("line", JOBS)
@pytest.mark.parametrize("place", ["a directory", "missing/audit.log"])
def test_what_cannot_be_recorded_is_not_begun(
    project: Project, tmp_path: Path, line: str, place: str
) -> None:
    """The audit log is opened before the first row is deleted, also by jobs."""
    populate(project)
    (tmp_path / "a directory").mkdir()
    before = everything(project)[0]
    result = project.run("--audit-log", str(tmp_path / place), *line.split())
    assert_failed(result, 1)
    assert "cannot open the audit log" in result.stderr
    assert everything(project)[0] == before
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("line", JOBS[:2])
def test_a_full_disk_refuses_a_job_before_its_first_row(project: Project, line: str) -> None:
    """The first record is written before the first commit, or nothing is changed."""
    populate(project)
    before = everything(project)[0]
    result = project.run_process("--audit-log", "/dev/full", *line.split())
    assert_failed(result, 1)
    assert "cannot write the audit log" in result.stderr
    assert "hint: nothing was changed" in result.stderr
    assert everything(project)[0] == before


@pytest.mark.parametrize("words", [("show",), ("revoke",), ("revoke-user", ADA, "--keep-current")])
def test_all_that_is_given_of_an_id_has_to_match(project: Project, words: tuple[str, ...]) -> None:
    """More than eight characters of a token: a wrong one among them is another session."""
    populate(project)
    before = everything(project)[0]
    assert_failed(project.run("session", *words, "11111111-wrong"), 3)
    assert everything(project)[0] == before
    assert project.run("session", *words, "11111111-act").code == 0


def test_an_age_is_a_duration_or_a_timestamp(project: Project) -> None:
    """A bare number is seconds, as in every option; a day means since then."""
    populate(project)
    for text in ("soon", "2026-13-01", "20261301", "-1"):
        assert_failed(project.run("session", "list", "--older-than", text), 2)
    for text in ("86400", "1440m", "24H", "1d", "86400.0"):
        rows = project.json("session", "list", "--older-than", text)
        assert [row["id"] for row in rows] == ["33333333"]
        assert_failed(project.run("db", "wait", "--timeout", f"{text}x"), 2)
        assert project.run("db", "wait", "--timeout", text).code == 0
    assert project.json("session", "list", "--older-than", "20200229") == []
    now = datetime.now(UTC)
    yesterday = (now - timedelta(days=1)).isoformat(timespec="minutes").replace("+00:00", "Z")
    tomorrow = f"{now + timedelta(days=1):%Y-%m-%d}"
    old = project.json("session", "list", "--older-than", yesterday)
    assert [row["id"] for row in old] == ["33333333"]
    assert len(project.json("session", "list", "--older-than", "1d")) == 1
    assert len(project.json("session", "list", "--older-than", tomorrow)) == 4


def test_options_that_are_repeated_all_count(project: Project) -> None:
    """Several addresses, and several sessions to keep: not only the last one given."""
    ada = populate(project)
    project.add_session(ada, token="55555555-other", ip_address="10.1.2.3")
    project.add_session(ada, token="66666666-third", ip_address="2001:db8::7")
    found = project.json("session", "list", "--ip", "10.0.0.0/8", "--ip", "2001:db8::/32")
    assert {row["id"] for row in found} == {"55555555", "66666666"}
    kept = ("--keep-current", "55555555", "--keep-current", "66666666")
    assert project.json("session", "revoke-user", ADA, *kept)["sessions_kept"] == 2
    assert project.json("session", "revoke-all", "--yes", *kept)["sessions_kept"] == 2
    assert project.tokens() == {"55555555-other", "66666666-third"}


def test_an_age_may_be_longer_than_any_timeout(project: Project) -> None:
    """Sessions live for years; a wait of more than a year is a mistake."""
    populate(project)
    for text in ("400d", "36500d"):
        assert project.json("session", "list", "--older-than", text) == []
        assert_failed(project.run("db", "wait", "--timeout", text), 2)
    assert_failed(project.run("session", "list", "--older-than", "36501d"), 2)


@pytest.mark.parametrize("words", ["list", "revoke --yes"])
def test_an_empty_agent_is_no_filter(project: Project, words: str) -> None:
    """A script whose variable is unset must not revoke the sessions of all users."""
    populate(project)
    before = everything(project)[0]
    assert_failed(project.run("session", *words.split(), "--agent", ""), 2)
    assert everything(project)[0] == before


def test_the_question_names_the_times_that_an_age_means(project: Project) -> None:
    """``--older-than 7`` is seven seconds: the prompt shows the timestamp."""
    populate(project)
    now = datetime.now(UTC)
    refused = project.run("session", "revoke", "--older-than", "7", "--idle-for", "60")
    assert_failed(refused, 5)
    question = re.fullmatch(
        r"error: not confirmed: Revoke \d sessions? of \d users?, created before (\S+Z), "
        r"not used since (\S+Z), in \S+",
        refused.stderr.splitlines()[0],
    )
    assert question is not None
    created, used = map(datetime.fromisoformat, question.groups())
    assert timedelta(seconds=-8) <= created - now <= timedelta(seconds=120)
    assert created - used == timedelta(seconds=53)


def test_a_reset_without_the_administrator_names_the_superusers(server_project: Project) -> None:
    """No account has the address of the settings: the hint names the superusers."""
    server_project.write_settings('admin_email = "nobody@clarinet.example"\n')
    ((superuser,),) = server_project.rows('SELECT email FROM "user" WHERE is_superuser')
    result = server_project.run("admin", "reset-password", "--generate-password")
    assert_failed(result, 3)
    assert "nobody@clarinet.example, has no account" in result.stderr
    assert f"superusers: {superuser}" in result.stderr


def test_a_dry_clean_up_says_what_it_would_do(project: Project) -> None:
    """'would', on standard error, beside the numbers."""
    populate(project)
    result = project.run("session", "cleanup", "--dry-run")
    assert "2 sessions would be deleted" in result.stderr
    assert project.count("access_token") == 4


@pytest.mark.parametrize("words", [("session", "list"), ("session", "list-user", ADA)])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_row_is_a_line_in_80_columns(project: Project, words: tuple[str, ...]) -> None:
    """Sessions with the agents that browsers send fit on a terminal, one line each."""
    user = populate(project)
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    for number in range(3):
        project.add_session(
            user, token=f"7777777{number}-", user_agent=agent, ip_address="192.168.100.200"
        )
    with terminal(project, *words) as shown:
        assert shown.end() == 0
    rows = [line for line in shown.lines if "7777777" in line]
    assert len(rows) == 3
    assert all("192.168.100.200" in line for line in rows)
    assert max(len(line.rstrip()) for line in shown.lines) <= 80
