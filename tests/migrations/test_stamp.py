"""``migrate stamp``: the revision is recorded, and no table is touched."""

import json
from pathlib import Path

import pytest

from clarinet_cli.services.locks import Job
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests.cli.scenes import job_running
from tests.migrations.helpers import SECOND, THIRD, add_two_revisions, schema, versions
from tests.support import Project

FORMATS = ("table", "json", "jsonl", "csv", "plain")


def forget(project: Project) -> None:
    """Leave the database without a revision, as after a restore of some tables."""
    project.rows("DELETE FROM alembic_version")


def test_stamp_records_head(project: Project) -> None:
    """From nothing to head; the second time there is nothing to do."""
    forget(project)
    before = schema(project)
    report = project.json("migrate", "stamp", "head")
    assert report == {
        "result": "updated",
        "from_revision": None,
        "to_revision": BASE_REVISION,
        "revisions": [BASE_REVISION],
    }
    assert versions(project) == [BASE_REVISION]
    assert schema(project) == before
    assert project.json("migrate", "stamp", BASE_REVISION[:6])["result"] == "unchanged"


@pytest.mark.parametrize("output", FORMATS)
def test_a_dry_run_records_nothing(project: Project, output: str, tmp_path: Path) -> None:
    """Every format has the planned result; no audit record."""
    forget(project)
    log = tmp_path / "audit.log"
    words = ("--audit-log", str(log), "migrate", "stamp", "head", "--dry-run", "-o", output)
    result = project.run(*words)
    assert result.code == 0, result
    assert "would_update" in result.stdout.replace("would update", "would_update")
    assert versions(project) == []
    assert not log.exists()


def test_a_schema_that_differs_is_refused(project: Project, tmp_path: Path) -> None:
    """Exit 5 names the differences; --force records the revision, and marks it in the audit log."""
    forget(project)
    project.rows("DROP INDEX ix_access_token_expires_at")
    log = tmp_path / "audit.log"
    for words in (("head",), ("head", "--dry-run")):
        result = project.run("migrate", "stamp", *words)
        assert result.code == 5, result
        assert "ix_access_token_expires_at" in result.stderr
        assert "--force" in result.stderr
    assert versions(project) == []
    forced = ("--audit-log", str(log), "migrate", "stamp", "head", "--force")
    assert project.run(*forced).code == 0
    assert versions(project) == [BASE_REVISION]
    record = json.loads(log.read_text())
    assert record["command"] == "migrate stamp"
    assert (record["target"], record["result"]) == (BASE_REVISION, "updated")


def test_base_is_refused_while_there_are_tables(project: Project) -> None:
    """The next upgrade would fail on them."""
    assert project.run("migrate", "stamp", "base").code == 5
    assert project.run("migrate", "stamp", "base", "--force").code == 0
    assert versions(project) == []


def test_a_revision_between_is_compared_with_what_it_makes(project: Project) -> None:
    """Only the revision that matches the tables is accepted."""
    add_two_revisions(project)
    assert project.run("migrate", "upgrade", SECOND).code == 0
    forget(project)
    for name in ("head", THIRD):
        result = project.run("migrate", "stamp", name)
        assert result.code == 5, result
        assert "missing table third" in result.stderr
    assert project.run("migrate", "stamp", SECOND).code == 0
    assert versions(project) == [SECOND]
    project.rows("DROP TABLE second")
    forget(project)
    refused = project.run("migrate", "stamp", SECOND)
    assert refused.code == 5
    assert "missing table second" in refused.stderr


@pytest.mark.parametrize("name", ["nonsense", "", "a b", "+7"])
def test_an_unknown_revision_is_not_found(project: Project, name: str) -> None:
    """Exit 3, and nothing is recorded."""
    assert project.run("migrate", "stamp", name).code == 3
    assert versions(project) == [BASE_REVISION]


def test_the_revision_of_another_program_is_left_alone(project: Project) -> None:
    """Also with --force: its own tool stamps it."""
    project.rows("UPDATE alembic_version SET version_num = 'abc123'")
    result = project.run("migrate", "stamp", "head", "--force")
    assert result.code == 5, result
    assert versions(project) == ["abc123"]


def test_another_migration_is_waited_for(project: Project) -> None:
    """Busy after the time that one is ready to wait."""
    forget(project)
    with job_running(project, Job.MIGRATION):
        result = project.run("migrate", "stamp", "head", "--lock-timeout", "0.1s")
    assert result.code == 75, result
    assert versions(project) == []
