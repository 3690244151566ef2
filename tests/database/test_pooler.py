"""Every command through a pooler in transaction mode: nothing may stay on a connection."""

from collections.abc import Iterator

import asyncpg
import pytest

from clarinet_cli.services.locks import Job
from tests.cli.scenes import ADA, ADMIN, job_running, populate
from tests.pooler import Pooler, StandIn, poolers, start_pooler
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

LINES = [
    "db init",
    "db status",
    "db wait --for schema",
    "admin create --email new@example.org --generate-password",
    "admin reset-password --generate-password",
    "admin list --all",
    "admin ensure",
    "session stats",
    "session stats --by user",
    "session stats --by day",
    "session stats --by hour --top 3",
    "session list",
    f"session list-user {ADA}",
    "session show 11111111",
    "session revoke 11111111",
    "session cleanup --batch-size 1",
    f"session revoke-user {ADA}",
    f"session revoke-all --except {ADMIN} --yes",
    "session revoke-all --yes",
    "migrate status",
    "migrate history",
    "migrate downgrade base --yes",
    "migrate upgrade",
]


@pytest.fixture
def backend() -> str:
    """Poolers exist only for PostgreSQL."""
    return "postgresql"


@pytest.fixture(params=poolers())
def pooler(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Pooler]:
    """The pooler in front of the server: the stand-in, and pgbouncer if it is installed."""
    started = start_pooler(postgres, request.param)
    yield started
    started.stop()


def through(project: Project, pooler: Pooler) -> None:
    """Let the project's settings name the pooler."""
    url = f"postgresql://postgres@127.0.0.1:{pooler.port}/{project.database}"
    project.write_settings(f'database_url = "{url}"\n')


def test_every_command_works(project: Project, pooler: Pooler) -> None:
    """One after the other, each on connections that others have used before."""
    populate(project)
    through(project, pooler)
    failed = {}
    for line in LINES:
        result = project.run(*line.split(), "-o", "json")
        if result.code != 0:
            failed[line] = result
    assert failed == {}
    assert project.count("access_token") == 0
    if isinstance(pooler, StandIn):
        assert pooler.transactions > len(LINES)


def test_a_database_is_made_through_it(empty_project: Project, postgres: PostgresServer) -> None:
    """'db init' creates the database when the pooler reports that it does not exist.

    pgbouncer 1.18 hides why its server refuses: there the database has to exist.
    """
    pooler = StandIn(postgres)
    through(empty_project, pooler)
    result = empty_project.run("db", "init", "--password-stdin", stdin=PASSWORD)
    assert result.code == 0, result
    assert empty_project.count("user") == 1
    pooler.stop()


def test_a_listing_of_many_pages_is_whole(
    project: Project, pooler: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page may come by another connection."""
    from clarinet_cli.repositories import listing

    monkeypatch.setattr(listing, "FIRST_PAGE", 2)
    monkeypatch.setattr(listing, "KEYSET_PAGE", 3)
    ada = populate(project)
    for number in range(20):
        project.add_session(ada, token=f"{number:08d}-rest")
    through(project, pooler)
    rows = project.json("session", "list")
    assert len({row["id"] for row in rows}) == len(rows) == 24
    assert [row["created_at"] for row in rows] == sorted(
        (row["created_at"] for row in rows), reverse=True
    )


def test_a_lock_holds_through_it(project: Project, pooler: Pooler) -> None:
    """The lock of a job belongs to a transaction: a second clean-up ends with 75."""
    through(project, pooler)
    with job_running(project, Job.CLEANUP):
        assert project.run("session", "cleanup").code == 75
    assert project.run("session", "cleanup").code == 0


async def test_it_is_as_strict_as_the_real_one(project: Project, pooler: Pooler) -> None:
    """A statement prepared by name is gone in the next transaction; odd parameters are refused."""
    address = {"host": "127.0.0.1", "port": pooler.port, "user": "postgres"}
    with pytest.raises(asyncpg.PostgresError, match="unsupported startup parameter"):
        await asyncpg.connect(
            **address, database=project.database, server_settings={"search_path": "public"}
        )
    if not isinstance(pooler, StandIn):
        return  # the real one need not take another connection each time
    connection = await asyncpg.connect(**address, database=project.database, statement_cache_size=0)
    await connection.execute("SET search_path TO nowhere")
    seen = {await connection.fetchval("SHOW search_path") for _ in range(8)}
    await connection.close()
    assert len(seen) == 2
