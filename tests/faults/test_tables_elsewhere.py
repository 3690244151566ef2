"""PostgreSQL tables whose rows do not all lie in one heap: each session is counted and met."""

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarinet_cli.repositories.purge.postgresql import count_blocks
from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from clarinet_cli.utils.database import get_async_session
from tests import oracle
from tests.support import Project

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
ADMIN = "admin@clarinet.ru"
COLUMNS = "token, user_id, created_at, expires_at, last_accessed, user_agent, ip_address"
PARTITIONED = (
    "CREATE TABLE access_token (token varchar NOT NULL, user_id uuid NOT NULL"
    ' REFERENCES "user" (id) ON DELETE CASCADE, created_at timestamptz NOT NULL,'
    " expires_at timestamptz NOT NULL, last_accessed timestamptz NOT NULL,"
    " user_agent varchar(512), ip_address varchar(45)"
)
BY_HASH = [
    f"{PARTITIONED}, PRIMARY KEY (token)) PARTITION BY HASH (token)",
    *(
        f"CREATE TABLE part_{number} PARTITION OF access_token"
        f" FOR VALUES WITH (MODULUS 3, REMAINDER {number})"
        for number in range(3)
    ),
]
BY_RANGE = [
    f"{PARTITIONED}, PRIMARY KEY (token, created_at)) PARTITION BY RANGE (created_at)",
    "CREATE TABLE part_old PARTITION OF access_token FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
    "CREATE TABLE part_rest PARTITION OF access_token DEFAULT",
]
BY_EXPIRY = [
    f"{PARTITIONED}, PRIMARY KEY (token, expires_at)) PARTITION BY RANGE (expires_at)",
    "CREATE TABLE part_old PARTITION OF access_token FOR VALUES FROM (MINVALUE) TO ('2015-01-01')",
    "CREATE TABLE part_later PARTITION OF access_token DEFAULT PARTITION BY RANGE (expires_at)",
    "CREATE TABLE part_rest PARTITION OF part_later DEFAULT",
]
INHERITED = ["CREATE TABLE access_token_old (PRIMARY KEY (token)) INHERITS (access_token)"]


def move(project: Project, statements: list[str], *, anew: bool) -> None:
    """Put the sessions into a table of another kind."""
    if anew:
        project.rows("ALTER TABLE access_token RENAME TO before_it")
    for statement in statements:
        project.rows(statement)
    if anew:
        project.rows(f"INSERT INTO access_token ({COLUMNS}) SELECT {COLUMNS} FROM before_it")
        project.rows("DROP TABLE before_it")


def as_partitions_by_hash(project: Project) -> None:
    """Spread the sessions over three tables by their tokens."""
    move(project, BY_HASH, anew=True)


def as_partitions_by_range(project: Project) -> None:
    """Spread the sessions over two tables by the day of their log-in."""
    move(project, BY_RANGE, anew=True)


def as_partitions_by_expiry(project: Project) -> None:
    """Spread the sessions by their expiry, over partitions and partitions of these."""
    move(project, BY_EXPIRY, anew=True)


def as_parent(project: Project) -> None:
    """Move all sessions into a table that inherits from access_token."""
    move(project, INHERITED, anew=False)
    project.rows(
        f"WITH gone AS (DELETE FROM ONLY access_token RETURNING {COLUMNS})"
        f" INSERT INTO access_token_old ({COLUMNS}) SELECT {COLUMNS} FROM gone"
    )
    assert project.rows("SELECT count(*) FROM ONLY access_token") == [(0,)]


def as_half_a_parent(project: Project) -> None:
    """Move every other session into a table that inherits from access_token."""
    move(project, INHERITED, anew=False)
    project.rows(
        "WITH gone AS (DELETE FROM ONLY access_token WHERE token IN (SELECT token FROM (SELECT"
        " token, row_number() OVER (ORDER BY token) AS n FROM access_token) t WHERE n % 2 = 0)"
        f" RETURNING {COLUMNS}) INSERT INTO access_token_old ({COLUMNS})"
        f" SELECT {COLUMNS} FROM gone"
    )


def as_child(project: Project) -> None:
    """Let access_token inherit from another table, which has no rows of its own."""
    project.rows("CREATE TABLE logins (token varchar NOT NULL)")
    project.rows("ALTER TABLE access_token INHERIT logins")


def as_view(project: Project) -> None:
    """Replace the table by a view."""
    project.rows("ALTER TABLE access_token RENAME TO sessions")
    project.rows("CREATE VIEW access_token AS SELECT * FROM sessions")


KINDS = [
    as_partitions_by_hash,
    as_partitions_by_range,
    as_partitions_by_expiry,
    as_parent,
    as_half_a_parent,
    as_child,
    as_view,
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])


@pytest.fixture
def many(project: Project) -> Project:
    """A project with 60 stale sessions and a live one."""
    admin = oracle.user_id_of(project, ADMIN)
    oracle.add_sessions(project, admin, 60, now=datetime.now(UTC), dead=True)
    project.add_session(admin, token="live-" + "a" * 30)
    return project


@kinds
@pytest.mark.parametrize(
    "options", [(), ("--batch-size", "7"), ("--expired-only",), ("--limit", "60", "--days", "1")]
)
def test_all_stale_sessions_are_deleted(many: Project, kind: Any, options: tuple[str, ...]) -> None:
    """The clean-up matches and deletes every stale session, in any of the tables."""
    kind(many)
    planned = many.json("session", "cleanup", *options, "--dry-run")
    assert (planned["matched"], planned["remaining"]) == (60, 60)
    report = many.json("session", "cleanup", *options)
    assert (report["matched"], report["deleted"], report["remaining"]) == (60, 60, 0)
    assert report["complete"] is True
    assert many.tokens() == {"live-" + "a" * 30}
    again = many.json("session", "cleanup", *options)
    assert (again["matched"], again["deleted"], again["complete"]) == (0, 0, True)


@kinds
def test_sessions_are_counted_listed_and_revoked(many: Project, kind: Any) -> None:
    """The other commands see and end all sessions too."""
    kind(many)
    stats = many.json("session", "stats")
    assert (stats["total"], stats["active"]) == (61, 1)
    assert len(many.json("session", "list")) == 61
    assert len(many.json("session", "list-user", ADMIN, "--active")) == 1
    assert many.json("session", "show", "live-aaa")["state"] == "active"
    assert many.json("session", "revoke", "live-aaa")[0]["result"] == "revoked"
    assert many.json("session", "revoke-user", ADMIN)["sessions_revoked"] == 60
    assert many.count("access_token") == 0


@kinds
def test_all_sessions_are_revoked(many: Project, kind: Any) -> None:
    """No session stays because its row is in another table."""
    kind(many)
    assert many.json("session", "revoke-all", "--yes")["sessions_revoked"] == 61
    assert many.count("access_token") == 0


async def blocks(project: Project) -> Any:
    """Return the table's size in blocks as the clean-up sees it."""
    async with get_async_session(project.settings) as session:
        return await count_blocks(session)


async def test_an_ordinary_table_is_read_by_its_blocks(many: Project) -> None:
    """The quick way is the usual one."""
    found = await blocks(many)
    assert found is not None
    assert found > 0


@kinds
async def test_no_other_table_is_read_by_its_blocks(many: Project, kind: Any) -> None:
    """What does not hold all rows in its own heap is read in the order of the tokens."""
    oracle.apart(lambda: kind(many))
    assert await blocks(many) is None


@pytest.mark.parametrize(("listed", "by_blocks"), [("access_token", False), ('"user"', True)])
async def test_a_distributed_table_is_not_read_by_its_blocks(
    many: Project, listed: str, by_blocks: bool
) -> None:
    """Where the catalogue of Citus lists it, its rows are on other servers."""

    def distribute() -> None:
        many.rows("SELECT set_config('allow_system_table_mods', 'on', false)")
        many.rows("CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)")
        many.rows(f"INSERT INTO pg_dist_partition VALUES ('{listed}'::regclass)")

    oracle.apart(distribute)
    assert (await blocks(many) is not None) is by_blocks
    report = await cleaned_up(many)
    assert (report.matched, report.deleted) == (60, 60)


async def cleaned_up(project: Project) -> Any:
    """Clean up once, as the command does."""
    return await clean_up(project.settings, CleanupPlan(1000, older_than=timedelta(days=30)))


# --- Partitions by expiry ------------------------------------------------------------------


def by_month(project: Project) -> None:
    """Partition the sessions by their expiry: two ranges that have passed, and later ones."""
    year = datetime.now(UTC).year
    kept = f"{PARTITIONED}, PRIMARY KEY (token, expires_at)) PARTITION BY RANGE (expires_at)"
    ranges = {
        "before": f"FROM (MINVALUE) TO ('{year - 2}-01-01')",
        '"Last Year"': f"FROM ('{year - 2}-01-01') TO ('{year - 1}-01-01')",
        "present": f"FROM ('{year - 1}-01-01') TO ('{year + 2}-01-01')",
        "later": f"FROM ('{year + 2}-01-01') TO (MAXVALUE)",
    }
    parts = (
        f"CREATE TABLE {name} PARTITION OF access_token FOR VALUES {values}"
        for name, values in ranges.items()
    )
    move(project, [kept, *parts], anew=True)
    admin = oracle.user_id_of(project, ADMIN)
    for expired in (year - 3, year - 2, year - 2):
        long_ago = datetime.now(UTC) - datetime(expired, 6, 1, tzinfo=UTC)
        project.add_session(admin, created=2 * long_ago, expires=-long_ago, used=2 * long_ago)


def partitions(project: Project) -> dict[str, Any]:
    """Return the findings of the doctor about partitions."""
    result = project.run("doctor", "--only", "sessions", "-o", "json")
    (row,) = [row for row in result.json if row["check"] == "partitions"]
    return dict(row)


def test_expired_partitions_are_named_by_the_doctor(many: Project) -> None:
    """Those whose whole range has passed, by their bounds; the advised statement drops them."""
    assert partitions(many)["status"] == "ok"
    by_month(many)
    found = partitions(many)
    assert found["status"] == "warning"
    assert found["detail"].startswith("all sessions in 2 partitions (")
    words = shlex.split(found["hint"])
    assert words == ["clarinet", "db", "shell", "-c", 'DROP TABLE "Last Year", before']
    many.rows(words[-1])
    assert partitions(many)["status"] == "ok"
    assert many.json("session", "cleanup")["complete"] is True


def test_the_clean_up_drops_no_partition(many: Project) -> None:
    """It deletes the rows, and the partitions stay for the operator."""
    by_month(many)
    planned = many.json("session", "cleanup", "--dry-run")
    report = many.json("session", "cleanup")
    assert planned["matched"] == report["matched"] == report["deleted"] == 63
    assert many.tokens() == {"live-" + "a" * 30}
    left = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'access_token'::regclass"
    assert many.rows(left) == [(4,)]


@pytest.mark.parametrize("kind", [as_partitions_by_expiry, as_half_a_parent], ids=["parts", "heir"])
def test_sessions_of_all_parts_are_restored_with_the_accounts(many: Project, kind: Any) -> None:
    """With --accounts-only each session is restored, or none."""
    kind(many)
    copy = str(many.directory / "copy.dump")
    assert many.run("db", "backup", copy).code == 0
    many.rows("DELETE FROM access_token")
    many.json("db", "restore", copy, "--accounts-only", "--yes", "--keep-sessions")
    assert many.count("access_token") == 61
    many.json("db", "restore", copy, "--accounts-only", "--yes")
    assert many.count("access_token") == 0
