"""What the tool is compared with does the same work."""

from datetime import UTC, datetime, timedelta

import pytest

from tests import oracle
from tests.benchmarks.references import lines_sqlite
from tests.support import Project


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_reference_writes_the_lines_of_a_listing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole seconds, equal instants, no agent, no user: the bytes are the same."""
    now = datetime.now(UTC)
    user = oracle.user_id_of(project, "admin@clarinet.ru")
    for created in (now.replace(microsecond=0), now, now, now - timedelta(days=3)):
        oracle.add_session(project, user, now=created)
    oracle.add_orphan_session(project, now.replace(microsecond=120000))
    lines_sqlite(str(project.file))
    reference = capsys.readouterr().out
    assert reference.count("\n") == 5
    assert project.run("session", "list", "-o", "jsonl").stdout == reference
