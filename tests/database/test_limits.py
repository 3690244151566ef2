"""Limits for statements and locks, and the replica for commands that only read."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from clarinet_cli.database.engine import Access, make_engine
from clarinet_cli.database.session import get_connection
from clarinet_cli.exceptions import BusyError, UnreachableError
from tests.cli.scenes import ADA, database_locked, everything, populate
from tests.postgres import PostgresServer
from tests.support import Project

CANARY = "c4n4ry-s3cr3t"


@pytest.mark.parametrize("backend", ["postgresql"])
@pytest.mark.parametrize("access", [Access.READ, Access.REPLICA, Access.WRITE])
async def test_a_statement_has_a_limit(project: Project, access: Access) -> None:
    """The server itself ends what takes too long: exit 7, and the tables are free."""
    limits = {"statement_timeout": 0.1, "busy_timeout": 0.1}
    with pytest.raises(UnreachableError, match="did not answer in time") as caught:
        async with get_connection(project.settings, access=access, **limits) as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_wait_for_a_lock_has_a_limit(project: Project) -> None:
    """A lock of another transaction is waited for up to the limit: exit 75."""
    with database_locked(project), pytest.raises(BusyError) as caught:
        async with get_connection(project.settings, busy_timeout=0.1) as connection:
            await connection.execute(text("SELECT count(*) FROM access_token"))
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_limits_end_with_the_transaction(project: Project) -> None:
    """A pooler may hand the connection to another client: no limit remains on it."""
    async with get_connection(project.settings) as connection:
        names = ("lock_timeout", "statement_timeout")
        inside = [(await connection.execute(text(f"SHOW {name}"))).scalar() for name in names]
        await connection.commit()
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        outside = [await driver.fetchval(f"SHOW {name}") for name in names]
    assert inside == ["10s", "310s"]
    assert outside == ["0", "0"]


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_command_that_takes_too_long_ends(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 7 with the server's name, one line, nothing changed."""
    populate(project)
    monkeypatch.setitem(make_engine.__kwdefaults__ or {}, "statement_timeout", 0.2)
    monkeypatch.setitem(make_engine.__kwdefaults__ or {}, "busy_timeout", 0.1)
    project.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(30); RETURN OLD; END $$"
    )
    project.rows(
        "CREATE TRIGGER slow BEFORE DELETE ON access_token FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    before = everything(project)
    for words in (("revoke", "11111111"), ("revoke-all", "--yes"), ("revoke-user", ADA)):
        result = project.run("session", *words)
        assert result.code == 7, result
        assert "did not answer in time" in result.stderr
    assert everything(project) == before


# --- A replica -----------------------------------------------------------------------------

LOOKS = [
    "session stats",
    "session stats --by user",
    "session list",
    f"session list-user {ADA}",
    "session show 11111111",
]
CHANGES = ["session revoke 11111111", f"session revoke-user {ADA}", "session revoke-all --yes"]


@pytest.fixture
def main_away(project: Project) -> Project:
    """A project whose main database is gone; its replica is there."""
    populate(project)
    if project.server is None:
        replica = project.file.with_name("replica.db")
        project.file.rename(replica)
        url = f"sqlite:///{replica}"
    else:
        url = _server_url(project.server, project.database)
        project.database = "there-is-none"
    project.write_settings(f'database_read_url = "{url}"\n')
    return project


def _server_url(server: PostgresServer, database: str) -> str:
    return f"postgresql://{server.user}@/{database}?host={server.host}"


@pytest.mark.parametrize("line", LOOKS)
def test_commands_that_only_read_use_the_replica(main_away: Project, line: str) -> None:
    """These commands work while the main database is away."""
    result = main_away.run(*line.split(), "-o", "json")
    assert result.code == 0, result
    assert result.json


@pytest.mark.parametrize("line", CHANGES)
def test_commands_that_change_use_the_main_database(main_away: Project, line: str) -> None:
    """A change is sent only to the main database."""
    assert main_away.run(*line.split()).code == 7
    assert len(main_away.json("session", "list")) == 4


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_server_that_only_reads_serves(project: Project) -> None:
    """A replica in recovery takes no change of any kind: the commands need none."""
    populate(project)
    assert project.server is not None
    url = _server_url(project.server, project.database)
    project.write_settings(f'database_read_url = "{url}"\n')
    project.rows(f'ALTER DATABASE "{project.database}" SET default_transaction_read_only = on')
    for line in LOOKS:
        result = project.run(*line.split(), "-o", "json")
        assert result.code == 0, result
    result = project.run("session", "revoke", "11111111")
    assert result.code == 1, result
    assert "read-only" in result.stderr


@pytest.mark.parametrize("backend", ["postgresql"])
def test_an_unreachable_replica_is_named(project: Project) -> None:
    """'db init' does not create a replica: the hint names the setting."""
    assert project.server is not None
    for url in (_server_url(project.server, "there-is-none"), "postgresql://u@127.0.0.1:1/d"):
        project.write_settings(f'database_read_url = "{url}"\n')
        result = project.run("session", "stats")
        assert result.code == 7, result
        assert "hint: check database_read_url; without it" in result.stderr
        assert "db init" not in result.stderr
        assert project.run("admin", "list").code == 0


def test_its_url_is_a_secret(project: Project) -> None:
    """Wrong or away, its password is shown nowhere."""
    for url, code in (
        (f"postgresql://u:{CANARY}@127.0.0.1:1/d", 7),
        (f"postgresql://u:{CANARY}@127.0.0.1:1/d?nonsense=1", 78),
        (f"oracle://u:{CANARY}@127.0.0.1/d", 78),
    ):
        project.write_settings(f'database_read_url = "{url}"\n')
        result = project.run("-vv", "session", "stats")
        assert result.code == code, result
        assert CANARY not in result.stdout + result.stderr
        if code == 78:
            assert "database_read_url" in result.stderr


# --- A slow reader -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_slow_reader_keeps_no_writer_out(project: Project, mode: str) -> None:
    """Between two pages of a listing the server can write, in either journal mode."""
    from clarinet_cli.repositories import listing
    from clarinet_cli.services.sessions.queries import list_sessions

    ada = populate(project)
    project.rows(f"PRAGMA journal_mode={mode}")
    assert listing.FIRST_PAGE >= 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "FIRST_PAGE", 2)
        pages = list_sessions(project.settings)
        first = await anext(pages)
        _write_at_once(project.file, ada.hex)
        rest = [row async for page in pages for row in page]
    assert [row.id for row in first] == ["44444444", "11111111"]
    assert [row.id for row in rest] == ["22222222", "33333333"]


def _write_at_once(file: Path, user: str) -> None:
    connection = sqlite3.connect(file, timeout=0)
    with connection:
        connection.execute("DELETE FROM access_token WHERE user_id = ?", [user])
    connection.close()
