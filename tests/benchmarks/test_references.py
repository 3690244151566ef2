"""The references do the same work as the commands."""

from datetime import UTC, datetime, timedelta

import pytest

from tests import oracle
from tests.benchmarks.data import fill_accounts
from tests.benchmarks.references import accounts_sqlite, declared_sqlite, lines_sqlite
from tests.support import Project


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_reference_writes_the_lines_of_a_listing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole seconds, equal timestamps, no agent, no user: the bytes are the same."""
    now = datetime.now(UTC)
    user = oracle.user_id_of(project, "admin@clarinet.ru")
    for created in (now.replace(microsecond=0), now, now, now - timedelta(days=3)):
        oracle.add_session(project, user, now=created)
    oracle.add_orphan_session(project, now.replace(microsecond=120000))
    lines_sqlite(str(project.file))
    reference = capsys.readouterr().out
    assert reference.count("\n") == 5
    assert project.run("session", "list", "-o", "jsonl").stdout == reference


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_references_write_the_lines_of_accounts(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without roles and sessions: the bytes are the same."""
    fill_accounts(project, 11)
    accounts_sqlite(str(project.file))
    listed = capsys.readouterr().out
    assert listed.count("\n") == 12
    assert project.run("admin", "list", "--all", "-o", "jsonl").stdout == listed
    declared_sqlite(str(project.file))
    assert project.run("admin", "export", "-o", "jsonl").stdout == capsys.readouterr().out
