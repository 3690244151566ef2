"""``migrate check``: models, heads, and pending revisions that drop or rewrite rows."""

import json
from typing import Any

import pytest

from clarinet_cli.services.schema.authoring import init_environment
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests.migrations.helpers import (
    SECOND,
    THIRD,
    create_empty_database,
    snapshot,
    versions,
    write_revision,
)
from tests.support import Project, Result

FORMATS = ("table", "json", "jsonl", "csv", "plain")


def check(project: Project, *options: str) -> Result:
    """Run the command."""
    return project.run("migrate", "check", "-o", "json", *options)


def wrong(project: Project) -> list[dict[str, Any]]:
    """Return the errors, which the command ends with 6 for."""
    result = check(project)
    assert result.code == 6, result
    return [row for row in result.json if row["status"] == "error"]


def add_revision(project: Project, upgrade: str) -> None:
    """Give the project an environment with a second revision that is pending."""
    init_environment(project.directory, force=False)
    write_revision(project.directory, SECOND, upgrade=upgrade)


@pytest.mark.parametrize("output", FORMATS)
def test_a_database_at_head_passes(project: Project, output: str) -> None:
    """Each check has a line, in every format; nothing is changed."""
    before = snapshot(project)
    result = project.run("migrate", "check", "-o", output)
    assert result.code == 0, result
    for name in ("models", "heads", "destructive"):
        assert name in result.stdout
    assert snapshot(project) == before


def test_a_real_server_database_passes(server_project: Project) -> None:
    """A server's tables match the models."""
    result = check(server_project)
    assert result.code == 0, result
    assert list(result.json[0]) == ["check", "status", "detail", "hint"]


def test_a_missing_index_is_an_error(project: Project) -> None:
    """Drift from the models, by name."""
    project.rows("DROP INDEX ix_access_token_expires_at")
    (row,) = wrong(project)
    assert row["check"] == "models"
    assert "ix_access_token_expires_at" in row["detail"]


def test_an_additional_column_is_a_warning(project: Project) -> None:
    """A server may have more: 6 only with --strict."""
    project.rows('ALTER TABLE "user" ADD COLUMN nickname VARCHAR')
    result = check(project)
    assert result.code == 0, result
    (row,) = [row for row in result.json if row["status"] == "warning"]
    assert "user.nickname" in row["detail"]
    assert check(project, "--strict").code == 6


def test_an_empty_database_is_an_error(empty_project: Project) -> None:
    """No Clarinet table exists; the hint names the command that creates them."""
    create_empty_database(empty_project)
    (row,) = wrong(empty_project)
    assert row["detail"] == "the Clarinet tables do not exist"
    assert "db init" in row["hint"]


def test_a_database_that_is_missing_is_unreachable(empty_project: Project) -> None:
    """Exit 7 or its like, as for every other command."""
    assert check(empty_project).code == 7


def test_two_heads_are_an_error(project: Project) -> None:
    """Both are named, and how to merge them."""
    add_revision(project, "pass")
    write_revision(project.directory, THIRD, down_revision=BASE_REVISION)
    rows = [row for row in wrong(project) if row["check"] == "heads"]
    assert len(rows) == 1
    assert SECOND in rows[0]["detail"]
    assert THIRD in rows[0]["detail"]
    assert "alembic merge" in rows[0]["hint"]


DESTRUCTIVE: dict[str, tuple[str, str]] = {
    "drop_table": ('op.drop_table("access_token")', "drops the table access_token: 2 rows"),
    "drop_column": (
        'op.drop_column("access_token", "user_agent")',
        "drops the column access_token.user_agent: 2 rows",
    ),
    "a batch": (
        'with op.batch_alter_table("access_token") as batch:\n    batch.drop_column("ip_address")',
        "drops the column access_token.ip_address: 2 rows",
    ),
    "another type": (
        'op.alter_column("access_token", "user_agent", type_=sa.Text())',
        "changes the type of the column access_token.user_agent: 2 rows",
    ),
    "another name": (
        'op.rename_table("access_token", "other")',
        "renames the table access_token: 2 rows",
    ),
    "not null": (
        'op.alter_column("access_token", "ip_address", nullable=False)',
        "sets NOT NULL on the column access_token.ip_address: 2 rows",
    ),
    "SQL": (
        'op.execute("DELETE FROM access_token")',
        "runs DELETE FROM access_token: 2 rows",
    ),
    "SQL of a text": (
        "op.execute(sa.text('update \"access_token\" set token = 1'))",
        "runs UPDATE access_token: 2 rows",
    ),
}


@pytest.mark.parametrize(("upgrade", "text"), DESTRUCTIVE.values(), ids=DESTRUCTIVE)
def test_what_a_pending_revision_destroys(project: Project, upgrade: str, text: str) -> None:
    """The revision, the operation and the rows that it is about; nothing is run."""
    user = project.add_user("ada@example.org")
    project.add_session(user)
    project.add_session(user)
    add_revision(project, upgrade)
    before = snapshot(project)
    (row,) = [row for row in wrong(project) if row["check"] == "destructive"]
    assert row["detail"] == f"revision {SECOND} {text}"
    assert snapshot(project) == before


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.add_column("user", sa.Column("nickname", sa.String()))',
        'op.drop_table("never_made")',
        'op.alter_column("user", "email", nullable=True)',
    ],
)
def test_a_harmless_revision_passes(project: Project, upgrade: str) -> None:
    """It adds, or drops what is not there."""
    add_revision(project, upgrade)
    result = check(project)
    assert result.code == 0, result
    assert json.loads(result.stdout)[-1]["status"] == "ok"


def test_sql_that_cant_be_read_is_a_warning(project: Project) -> None:
    """SQL that a revision composes at run time must be reviewed by hand."""
    add_revision(project, 'op.execute(open("/tmp/x").name)\nop.execute(make())')
    result = check(project)
    assert result.code == 0, result
    assert "warning" in {row["status"] for row in result.json}
    assert versions(project) == [BASE_REVISION]
