"""An application whose table of sessions is partitioned by the time of the log-in."""

import shlex
from datetime import UTC, datetime, timedelta

import pytest

from tests.mapping.applications import ANSWERS
from tests.support import Project

DEAD, LIVE = 3000, 7
SCHEMA = """
CREATE SCHEMA auth;
CREATE TABLE auth."user" (
    id uuid PRIMARY KEY, email varchar(320) NOT NULL UNIQUE, hashed_password varchar(1024) NOT NULL,
    is_active boolean NOT NULL, is_superuser boolean NOT NULL, is_verified boolean NOT NULL);
CREATE TABLE auth.accesstoken (
    token varchar(43) NOT NULL, created_at timestamptz NOT NULL,
    user_id uuid NOT NULL REFERENCES auth."user" (id) ON DELETE CASCADE,
    PRIMARY KEY (token, created_at)) PARTITION BY RANGE (created_at);
INSERT INTO auth."user" SELECT gen_random_uuid(), 'a@example.org', 'x', true, true, true
"""
FILL = """
INSERT INTO auth.accesstoken SELECT md5(i::text), now() - (i + 2) * interval '1 hour', id
FROM auth."user", generate_series(1, $1::int) i
UNION ALL SELECT 'live' || md5(i::text), now(), id
FROM auth."user", generate_series(1, $2::int) i
"""


@pytest.fixture
def shop(empty_project: Project) -> Project:
    """A project of the application: most sessions have expired, in two partitions and another."""
    project = empty_project
    assert project.server is not None
    project.server.create(project.database)
    for statement in SCHEMA.split(";"):
        project.rows(statement)
    weeks_ago, yesterday = (datetime.now(UTC) - timedelta(days=days) for days in (60, 1))
    for name, low, high in (
        ("old", "MINVALUE", f"'{weeks_ago:%Y-%m-%d}'"),
        ("recent", f"'{weeks_ago:%Y-%m-%d}'", f"'{yesterday:%Y-%m-%d}'"),
        ("present", f"'{yesterday:%Y-%m-%d}'", "MAXVALUE"),
    ):
        project.rows(
            f"CREATE TABLE auth.{name} PARTITION OF auth.accesstoken"
            f" FOR VALUES FROM ({low}) TO ({high})"
        )
    project.rows(FILL, DEAD, LIVE)
    result = project.run("db", "inspect", "--write", env=ANSWERS)
    assert result.code == 0, result
    return project


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_sessions_of_all_partitions_are_administered(shop: Project) -> None:
    """The parent is proposed, a clean-up finds each session, and the doctor what to drop."""
    assert 'schema = "auth"' in (shop.directory / "settings.toml").read_text()
    assert shop.json("session", "stats")["total"] == DEAD + LIVE
    (found,) = [
        row
        for row in shop.run("doctor", "--only", "sessions", "-o", "json").json
        if row["check"] == "partitions"
    ]
    assert found["status"] == "warning"
    assert shlex.split(found["hint"])[-1] == "DROP TABLE auth.old, auth.recent"
    planned = shop.json("session", "cleanup", "--dry-run")
    report = shop.json("session", "cleanup")
    assert planned["matched"] == report["matched"] == report["deleted"] == DEAD
    assert report["remaining"] == 0
    assert shop.rows("SELECT count(*) FROM auth.accesstoken") == [(LIVE,)]
    vacuum = shop.json("db", "vacuum", "--full", "--yes")
    assert vacuum["bytes_before"] > 200_000 > vacuum["bytes_after"]
    assert shop.json("session", "revoke-all", "--yes")["sessions_revoked"] == LIVE
