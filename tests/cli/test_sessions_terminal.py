"""Listing sessions, and revoking all of them, on a terminal."""

import json
import signal
from datetime import UTC, datetime

import pytest

from tests import forked, oracle
from tests.cli.scenes import ADA, admin_id, populate
from tests.cli.terminal import terminal
from tests.support import Project, process_environment

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@on_sqlite
def test_a_terminal_gets_the_newest_hundred(project: Project) -> None:
    """A note says that there are more and how to see them; --limit is obeyed."""
    now = datetime.now(UTC)
    oracle.add_sessions(project, admin_id(project), 101, now=now, dead=False)
    with terminal(project, "session", "list", "-o", "plain", columns=200) as shown:
        assert shown.end() == 0
    lines = [line for line in shown.lines if "admin@clarinet.ru" in line]
    assert len(lines) == 100
    assert "only the first 100 rows are shown; '--limit N' shows more" in shown.screen
    with terminal(project, "session", "list", "--limit", "101", "-o", "plain") as shown:
        assert shown.end() == 0
    assert "only the first" not in shown.screen
    assert len(project.run("session", "list", "-o", "jsonl").stdout.splitlines()) == 101


@on_sqlite
def test_exactly_a_hundred_are_all(project: Project) -> None:
    """All rows are shown, so there is no note."""
    oracle.add_sessions(project, admin_id(project), 100, now=datetime.now(UTC), dead=False)
    with terminal(project, "session", "list", columns=200) as shown:
        assert shown.end() == 0
    assert "only the first" not in shown.screen


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 5, 4)])
def test_revoke_all_prompts_first(project: Project, answer: str, code: int, left: int) -> None:
    """The question names the target without its password, and the numbers."""
    populate(project)
    with terminal(project, "session", "revoke-all", columns=200) as shown:
        shown.answer("[y/n]", answer)
        assert shown.end() == code
    assert "Revoke 4 sessions in " in shown.screen
    assert len(project.tokens()) == left


@on_sqlite
def test_the_prompt_has_the_number_of_kept_sessions(project: Project) -> None:
    """With --except it has the number of kept ones; without sessions there is no prompt."""
    populate(project)
    with terminal(project, "session", "revoke-all", "--except", ADA, columns=200) as shown:
        shown.answer("[y/n]", "y")
        assert shown.end() == 0
    assert "Revoke 1 session and keep 3 in sqlite:///" in shown.screen
    with terminal(project, "session", "revoke-all", "--except", ADA) as shown:
        assert shown.end() == 0
    assert "[y/n]" not in shown.screen
    assert len(project.tokens()) == 3


def test_a_signal_ends_it_between_two_transactions(project: Project) -> None:
    """SIGTERM: the summary is printed, 143; what is left and what is recorded agree."""
    oracle.add_sessions(project, admin_id(project), 4_000, now=datetime.now(UTC), dead=False)
    program = (
        "import sys, os, signal, clarinet_cli.services.sessions.revoke_all as m;"
        "m.BATCH_SIZE = 100;"
        "import clarinet_cli.repositories.revocation as r;"
        "real = r.RevocationRepository.revoke_key_range\n"
        "async def once(self, *a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return await real(self, *a, **k)\n"
        "r.RevocationRepository.revoke_key_range = once\n"
        "from clarinet_cli.cli.main import main\n"
        "main()"
    )
    audit = project.directory / "audit.log"
    words = ["--audit-log", str(audit), "session", "revoke-all", "--yes", "-ojson"]
    done = forked.run(project.words(*words), program=program, env=process_environment({}))
    assert done.returncode == 128 + signal.SIGTERM, done
    report = json.loads(done.stdout)
    assert 0 < report["sessions_revoked"] < 4_000
    assert report["sessions_kept"] == project.count("access_token")
    assert report["sessions_revoked"] + report["sessions_kept"] == 4_000
    started, record = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (started["result"], record["result"]) == ("started", "revoked")
    assert record["sessions_revoked"] == report["sessions_revoked"]
