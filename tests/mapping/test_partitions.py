"""An application whose table of sessions is partitioned by the time of the log-in."""

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.processes import eventually
from tests.mapping.applications import ANSWERS, database, mapped
from tests.postgres import PostgresServer
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
    assert vacuum["bytes_before"] > 200_000

    def has_no_deleted_rows() -> bool:  # as soon as no transaction of the server needs them
        return int(shop.json("db", "vacuum", "--full", "--yes")["bytes_after"]) < 200_000

    eventually(has_no_deleted_rows)
    assert shop.json("session", "revoke-all", "--yes")["sessions_revoked"] == LIVE


PARTITIONED = """
CREATE TABLE sessions (token varchar(43), created_at timestamptz NOT NULL,
    user_id uuid NOT NULL REFERENCES "user" (id), PRIMARY KEY (token, created_at))
    PARTITION BY RANGE (created_at);
CREATE TABLE early PARTITION OF sessions FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE "Later On" PARTITION OF sessions DEFAULT PARTITION BY HASH (token);
CREATE TABLE half PARTITION OF "Later On" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE other_half PARTITION OF "Later On" FOR VALUES WITH (MODULUS 2, REMAINDER 1)
"""
INHERITED = """
CREATE TABLE sessions (token varchar(43) PRIMARY KEY, created_at timestamptz NOT NULL,
    user_id uuid NOT NULL REFERENCES "user" (id));
CREATE TABLE archived (archived_at timestamptz) INHERITS (sessions)
"""
FILLED = """
INSERT INTO "user" SELECT gen_random_uuid(), 'a@example.org', 'x', true, true, true;
INSERT INTO {table} (token, created_at, user_id)
SELECT md5(i::text), now() - i * interval '1 minute', id FROM "user", generate_series(0, 9) i
"""


@pytest.mark.parametrize(
    ("schema", "table"),
    [(PARTITIONED, "sessions"), (INHERITED, "archived")],
    ids=["partitions", "heirs"],
)
def test_sessions_in_parts_of_their_table_are_not_restored(
    schema: str, table: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """The rows of partitions and heirs are sessions: they are counted, and left out."""
    account = SCHEMA.split(";")[1].replace("auth.", "")
    script = ";".join((account, schema, FILLED.format(table=table)))
    with database(script, tmp_path / "app", postgres) as project:
        mapped(project)
        copy = str(tmp_path / "copy.dump")
        assert project.json("db", "backup", copy)["rows"]["sessions"] == 10
        project.rows("DROP TABLE sessions CASCADE")
        project.rows('DROP TABLE "user"')
        planned = project.json("db", "restore", copy, "--dry-run", "--keep-sessions")
        assert (planned["rows"]["sessions"], planned["sessions_revoked"]) == (10, 0)
        planned = project.json("db", "restore", copy, "--dry-run")
        assert (planned["rows"]["sessions"], planned["sessions_revoked"]) == (0, 10)
        report = project.json("db", "restore", copy, "--yes")
        assert (report["rows"]["sessions"], report["sessions_revoked"]) == (0, 10)
        assert project.rows("SELECT count(*) FROM sessions") == [(0,)]
        assert project.rows('SELECT count(*) FROM "user"') == [(1,)]
