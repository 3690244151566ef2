"""Connections: the URL, the transaction, and what the drivers' errors become."""

import asyncio
import json
import os
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import URL, text

from clarinet_cli.database.session import get_connection
from clarinet_cli.database.url import database_url, display_url
from clarinet_cli.exceptions import (
    REFUSED,
    BusyError,
    ClarinetError,
    ConfigurationError,
    ConflictError,
    ExitCode,
    LoginRefusedError,
    RefusedError,
    UnknownDatabaseError,
    UnreachableError,
)
from clarinet_cli.settings import Settings, load_settings
from clarinet_cli.utils.database import Access, get_async_session
from tests.patience import PATIENCE_SECONDS
from tests.postgres import LOCKED_PASSWORD, LOCKED_ROLE, PostgresServer
from tests.support import Project, Result, replaced_environment, run_in_process

CANARY = "c4n4ry-s3cr3t"
SERVER_PARTS = {
    "database_driver": "postgresql",
    "database_host": "db.example.org",
    "database_port": 6432,
    "database_username": "clara",
    "database_password": CANARY,
    "database_name": "hospital",
}
ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
INSERT_ROLE = text("INSERT INTO userrole (name) VALUES ('nurse')")


def configured(directory: Path, **keys: object) -> Settings:
    """Return the settings of a project with these keys."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    (directory / "settings.toml").write_text("\n".join(lines), encoding="utf-8")
    with replaced_environment({}):
        return load_settings(directory)


def on_server(directory: Path, server: PostgresServer, **keys: object) -> Settings:
    """Return settings for the real server, with these keys instead."""
    parts = {
        "database_driver": "postgresql",
        "database_host": server.host,
        "database_port": server.port,
        "database_username": server.user,
        "database_password": server.password or "",
        "database_name": "postgres",
    }
    return configured(directory, **{**parts, **keys})


def query(settings: Settings, statement: str = "SELECT 1", **options: Any) -> list[Any]:
    """Run one statement in a session of the tool and return the rows."""

    async def work() -> list[Any]:
        async with get_async_session(settings, **options) as session:
            result = await session.execute(text(statement))
            rows = statement.startswith("SELECT")
            return [tuple(row) for row in result] if rows else []

    return asyncio.run(work())


def failure(settings: Settings, statement: str = "SELECT 1") -> ClarinetError:
    """Return the error of a session; it is one line and shows no secret."""
    with pytest.raises(ClarinetError) as caught:
        query(settings, statement)
    error = caught.value
    assert len(error.message.splitlines()) == 1
    assert CANARY not in f"{error.message} {error.hint} {error!r}"
    return error


def stats(settings: Settings, *options: str) -> Result:
    """Run a command that only reads, on the project of these settings."""
    return run_in_process(["-C", str(settings.project_dir), *options, "session", "stats"])


def assert_clear(result: Result, code: int) -> None:
    """Check that a command failed with this code, in one error line, with or without a hint."""
    assert (result.code, result.stdout) == (code, "")
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("hint: ") for line in rest)
    assert len(rest) <= 1
    assert "unexpected" not in first


# --- URL -----------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_every_server_driver_goes_through_asyncpg(tmp_path: Path, driver: str) -> None:
    """Host, port, user, password and name are those of the settings, with any driver."""
    url = database_url(configured(tmp_path, **{**SERVER_PARTS, "database_driver": driver}))
    assert url == URL.create(
        "postgresql+asyncpg", "clara", CANARY, "db.example.org", 6432, "hospital"
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples of a property test."""
    return tmp_path_factory.mktemp("scratch")


@effort(max_examples=100, deadline=None)
@given(
    password=st.text(
        st.characters(exclude_characters="\0\x7f", exclude_categories=["Cs"]), min_size=1
    ).filter(lambda text: not {text[0], text[-1]} & set("\r\n\ufeff"))
)
def test_any_password_reaches_the_driver_as_it_is(scratch: Path, password: str) -> None:
    """No character of a password is read as a part of the URL."""
    url = database_url(configured(scratch, **{**SERVER_PARTS, "database_password": password}))
    assert (url.password, url.host, url.database) == (password, "db.example.org", "hospital")
    assert url.query == {}


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_a_password_with_odd_characters_logs_in(
    tmp_path: Path, postgres: PostgresServer, driver: str
) -> None:
    """At, slash, colon, per cent and blank in database_password: a real server lets us in."""
    assert set("@/:% ") <= set(LOCKED_PASSWORD)
    keys = {"database_username": LOCKED_ROLE, "database_password": LOCKED_PASSWORD}
    settings = on_server(tmp_path, postgres, **keys, database_driver=driver)
    assert query(settings, "SELECT current_user::text") == [(LOCKED_ROLE,)]


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2"]
)
def test_a_given_url_logs_in_and_wins_over_the_parts(
    tmp_path: Path, postgres: PostgresServer, scheme: str
) -> None:
    """database_url with an escaped password and a socket's directory is used unchanged."""
    login = f"{LOCKED_ROLE}:{quote(LOCKED_PASSWORD, safe='')}"
    url = f"{scheme}://{login}@/postgres?host={postgres.host}&port={postgres.port}"
    settings = configured(tmp_path, **SERVER_PARTS, database_url=url)
    statement = "SELECT current_user::text, current_database()::text"
    assert query(settings, statement) == [(LOCKED_ROLE, "postgres")]


def test_a_given_url_wins_over_a_sqlite_driver(tmp_path: Path) -> None:
    """The parts are not looked at: neither the driver nor the name."""
    url = database_url(
        configured(
            tmp_path,
            database_driver="sqlite",
            database_name="clarinet",
            database_url="postgres://ada:secret@db.example.org:6432/hospital",
        )
    )
    assert url == URL.create(
        "postgresql+asyncpg", "ada", "secret", "db.example.org", 6432, "hospital"
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clarinet", "clarinet.db"),
        ("clarinet.db", "clarinet.db.db"),
        ("clarinet.sqlite", "clarinet.sqlite.db"),
        ("clarinet.sqlite3", "clarinet.sqlite3.db"),
        ("my.app", "my.app.db"),
        ("data/clarinet", "data/clarinet.db"),
        ("data/clarinet.db", "data/clarinet.db.db"),
        ("../beside", "../beside.db"),
        ("odd # ? % name", "odd # ? % name.db"),
    ],
)
def test_a_sqlite_name_is_relative_to_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    """The file is made in the project directory, from wherever the tool is called."""
    (project := tmp_path / "project" / "inner").mkdir(parents=True)
    (project / "data").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    configured(project, database_name=name, admin_auto_create=False)
    result = run_in_process(["-C", str(project), "db", "init"])
    assert result.code == 0, result
    assert_ready(project / file)
    assert list(elsewhere.iterdir()) == []


def assert_ready(file: Path) -> None:
    """Check that a SQLite file has the roles that 'db init' makes."""
    assert file.is_file()
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM userrole").fetchone() == (5,)
    connection.close()


@pytest.mark.parametrize("form", ["name", "sqlite:///{}", "sqlite+aiosqlite:///{}"])
def test_an_absolute_sqlite_path_stays_absolute(tmp_path: Path, form: str) -> None:
    """A name or a URL with a whole path means that file."""
    (project := tmp_path / "project").mkdir()
    (tmp_path / "else where").mkdir()
    file = tmp_path / "else where" / "clarinet.db"
    key = "database_name" if form == "name" else "database_url"
    value = str(file.with_suffix("")) if form == "name" else form.format(file)
    configured(project, **{key: value, "admin_auto_create": False})
    assert run_in_process(["-C", str(project), "db", "init"]).code == 0
    assert_ready(file)


ON_ONE_FILE = [
    ("db", "init"),
    ("db", "init", "--dry-run"),
    ("db", "status"),
    ("admin", "list"),
    ("admin", "ensure", "--generate-password"),
    ("session", "cleanup"),
    ("migrate", "upgrade"),
    ("migrate", "status"),
]


@pytest.mark.parametrize("words", ON_ONE_FILE, ids=" ".join)
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", ["clarinet.db", "clarinet.sqlite", "clarinet.sqlite3"])
def test_a_file_of_an_earlier_version_is_named_and_none_is_made_beside_it(
    tmp_path: Path, words: tuple[str, ...], absolute: bool, name: str
) -> None:
    """The server adds '.db' to any name: exit 7 has both files and the setting to change."""
    (project := tmp_path / "project").mkdir()
    (old := tmp_path / name if absolute else project / name).write_bytes(b"")
    configured(project, database_name=str(old) if absolute else name, admin_auto_create=False)
    result = run_in_process(["-C", str(project), *words])
    assert_clear(result, 7)
    assert f"{old}.db" in result.stderr
    assert f"{old} does" in result.stderr
    bare = str(old).removesuffix(".db") if absolute else "clarinet"
    wanted = f'database_name = "{bare}"' if name == "clarinet.db" else "database_url"
    assert wanted in result.stderr
    files = {path.name for path in old.parent.iterdir() if path.is_file()}
    assert files - {"settings.toml"} == {name}


def test_the_setting_that_the_hint_names_opens_the_file(tmp_path: Path) -> None:
    """With both files there is nothing to ask: the server's is used."""
    configured(tmp_path, database_name="clarinet", admin_auto_create=False)
    assert run_in_process(["-C", str(tmp_path), "db", "init"]).code == 0
    configured(tmp_path, database_name="clarinet.db", admin_auto_create=False)
    assert run_in_process(["-C", str(tmp_path), "db", "status"]).code == 7
    (tmp_path / "clarinet.db").rename(tmp_path / "clarinet.db.db")
    assert run_in_process(["-C", str(tmp_path), "db", "status"]).code == 0
    (tmp_path / "clarinet.db").write_bytes(b"")
    assert run_in_process(["-C", str(tmp_path), "db", "status"]).code == 0


@pytest.mark.parametrize("host", ["::1", "[::1]", "[fe80::1%eth0]", "fe80::1%eth0"])
@pytest.mark.parametrize("form", ["parts", "option"])
def test_an_ipv6_host_may_have_brackets(tmp_path: Path, host: str, form: str) -> None:
    """The server accepts only [::1], the resolver only ::1; both are accepted."""
    keys: dict[str, object] = {**SERVER_PARTS, "database_host": host}
    if form == "option":
        keys = {"database_url": f"postgresql://clara@/hospital?host={host.replace('%', '%25')}"}
    url = database_url(configured(tmp_path, **keys))
    address = host.strip("[]")
    assert url.host == address
    assert f"@[{address}]" in display_url(url)


@pytest.mark.parametrize("host", ["[db]", "[::1", "::1]", "[]", "[[::1]]", "[127.0.0.1]"])
def test_brackets_around_anything_else_are_refused(tmp_path: Path, host: str) -> None:
    """Exit 78 with the key: the resolver would only report that there is no such name."""
    result = stats(configured(tmp_path, **{**SERVER_PARTS, "database_host": host}))
    assert_clear(result, 78)
    assert "database_host" in result.stderr


def test_an_ipv6_host_in_brackets_is_an_address(tmp_path: Path) -> None:
    """No name is looked up; the error has the host in brackets."""
    keys = {**SERVER_PARTS, "database_host": "[::1]", "database_port": 1}
    result = stats(configured(tmp_path, **keys))
    assert_clear(result, 7)
    assert "@[::1]:1/" in result.stderr
    assert "resolved" not in result.stderr


def test_a_relative_sqlite_url_is_relative_to_the_project(tmp_path: Path) -> None:
    """Three slashes and a relative name, as the server's own settings may have it."""
    configured(tmp_path, database_url="sqlite:///mine.db", admin_auto_create=False)
    assert run_in_process(["-C", str(tmp_path), "db", "init"]).code == 0
    assert_ready(tmp_path / "mine.db")


@pytest.mark.parametrize("name", ["a#b", "a?mode=memory", "a%20b%", "a b", "a&b=c", "été", "'\"`"])
def test_odd_directory_names_are_just_names(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URL mean nothing in a directory's name."""
    (project := tmp_path / name).mkdir()
    configured(project, admin_auto_create=False)
    first = run_in_process(["-C", str(project), "db", "init"])
    again = run_in_process(["-C", str(project), "db", "init", "-o", "json"])
    assert (first.code, again.code) == (0, 0), first
    assert {step["result"] for step in again.json} == {"unchanged"}
    assert_ready(project / "clarinet.db")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:99999999999999999999/d",
        "postgresql://127.0.0.1:99999/d",
        "postgresql://127.0.0.1:1/d?connect_timeout=5",
        "postgresql://127.0.0.1:1/d?application_name=backup",
        "postgresql://127.0.0.1:1/d?sslmode=sometimes",
        "postgresql://127.0.0.1:1/d?nonsense=1",
        "postgresql://a..b/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a%00b\0c",
    ],
)
def test_a_url_that_cannot_work_is_explained(tmp_path: Path, url: str) -> None:
    """Bad ports, hosts and options are the operator's mistake: 7 or 78, never 'unexpected'."""
    result = stats(configured(tmp_path, database_url=url))
    assert result.code in (7, 78), result
    assert_clear(result, result.code)
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml"}


@pytest.mark.parametrize("option", ["application_name=backup", "connect_timeout=5"])
def test_common_options_of_a_url_do_no_harm(
    tmp_path: Path, postgres: PostgresServer, option: str
) -> None:
    """What psql takes in a URL works, or is refused as a setting."""
    url = f"postgresql://{postgres.user}@/postgres?host={postgres.host}&{option}"
    settings = configured(tmp_path, database_url=url, database_password="")
    outcome: object
    try:
        outcome = query(settings)
    except ConfigurationError as error:
        outcome = error.message
    assert outcome == [(1,)] or option.partition("=")[0] in str(outcome)


@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_sslmode_is_understood(tmp_path: Path, postgres: PostgresServer, mode: str) -> None:
    """The option that the shipped settings.toml shows works."""
    url = f"postgresql://{postgres.user}@/postgres?host={postgres.host}&sslmode={mode}"
    assert query(configured(tmp_path, database_url=url)) == [(1,)]


@pytest.mark.parametrize("host", ["a" * 64 + ".example.org", "a..b", "a\0b"])
def test_a_host_that_is_none_is_explained(tmp_path: Path, host: str) -> None:
    """A name that cannot even be asked for is exit 7 or 78."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in SERVER_PARTS.items()]
    text = "\n".join(lines).replace("db.example.org", json.dumps(host)[1:-1])
    (tmp_path / "settings.toml").write_text(text)
    result = run_in_process(["-C", str(tmp_path), "session", "stats"])
    assert result.code in (7, 78), result
    assert_clear(result, result.code)


# --- Shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        SERVER_PARTS,
        {**SERVER_PARTS, "database_host": "/run/postgresql"},
        {"database_url": f"postgresql://clara:{CANARY}@db.example.org:6432/hospital"},
        {"database_url": f"postgres://clara:x%40{CANARY}@db.example.org/hospital"},
    ],
)
def test_a_shown_url_has_no_password(tmp_path: Path, keys: dict[str, object]) -> None:
    """Server, user and database are there for the operator, the secret is not."""
    shown = display_url(database_url(configured(tmp_path, **keys)))
    assert CANARY not in shown
    assert "clara" in shown
    assert "hospital" in shown
    assert "asyncpg" not in shown


@pytest.mark.parametrize("option", ["passfile", "sslkey", "nonsense"])
def test_an_option_that_is_not_supported_is_refused(tmp_path: Path, option: str) -> None:
    """The error has the name of the option, not its value."""
    url = f"postgres://clara@db.example.org/hospital?{option}={CANARY}"
    with pytest.raises(ConfigurationError, match=option) as caught:
        database_url(configured(tmp_path, database_url=url))
    assert CANARY not in str(caught.value)


@effort(max_examples=100, deadline=None)
@given(
    secret=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(
        lambda noise: f"{noise}{CANARY}{noise}"
    )
)
def test_no_password_is_ever_shown(scratch: Path, secret: str) -> None:
    """No part of a password of any characters is shown."""
    settings = configured(scratch, database_url=f"postgresql://u:{quote(secret, safe='')}@h/d")
    assert database_url(settings).password == secret
    assert CANARY not in display_url(database_url(settings))


def test_a_shown_sqlite_url_names_the_file(tmp_path: Path) -> None:
    """A SQLite URL has the whole path, as it is."""
    (project := tmp_path / "a #1 %41").mkdir()
    shown = display_url(database_url(configured(project)))
    assert shown == f"sqlite:///{project}/clarinet.db"


# --- Transactions --------------------------------------------------------------------------


def roles(project: Project) -> set[str]:
    """Return the roles in the database, without the tool."""
    return {row[0] for row in project.rows("SELECT name FROM userrole")}


def test_a_session_commits_at_its_end(project: Project) -> None:
    """What was written is there for others."""
    query(project.settings, str(INSERT_ROLE), access=Access.WRITE)
    assert "nurse" in roles(project)


def test_an_unfinished_session_is_not_seen_by_others(project: Project) -> None:
    """Nothing is committed before the block ends."""
    seen: list[tuple[Any, ...]] = []

    async def work() -> None:
        async with get_async_session(project.settings, access=Access.WRITE) as session:
            await session.execute(INSERT_ROLE)
            look = "SELECT name FROM userrole WHERE name = 'nurse'"
            seen.extend(await asyncio.to_thread(project.rows, look))

    asyncio.run(work())
    assert seen == []
    assert "nurse" in roles(project)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), REFUSED.with_context("no")])
def test_an_error_rolls_back_and_is_passed_on(project: Project, error: Exception) -> None:
    """The caller gets its own error, and nothing is written."""

    async def work() -> None:
        async with get_async_session(project.settings, access=Access.WRITE) as session:
            await session.execute(INSERT_ROLE)
            raise error

    with pytest.raises((ZeroDivisionError, RefusedError)) as caught:
        asyncio.run(work())
    assert caught.value is error
    assert "nurse" not in roles(project)


def test_a_cancelled_session_rolls_back(project: Project) -> None:
    """Work that is cancelled in the middle leaves nothing behind."""

    async def work() -> None:
        async with asyncio.timeout(0.2):
            async with get_async_session(project.settings, access=Access.WRITE) as session:
                await session.execute(INSERT_ROLE)
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert "nurse" not in roles(project)


def test_a_dry_run_tries_everything_and_writes_nothing(project: Project) -> None:
    """The session sees its own row; afterwards it does not exist."""
    seen: list[Any] = []

    async def work() -> None:
        async with get_async_session(
            project.settings, access=Access.WRITE, dry_run=True
        ) as session:
            await session.execute(INSERT_ROLE)
            seen.extend(await session.scalars(text("SELECT name FROM userrole")))

    asyncio.run(work())
    assert "nurse" in seen
    assert "nurse" not in roles(project)


def test_a_dry_run_fails_as_the_real_run_would(project: Project) -> None:
    """A conflict shows in a dry run too."""
    statement = "INSERT INTO userrole (name) VALUES ('admin')"
    with pytest.raises(ConflictError):
        query(project.settings, statement, access=Access.WRITE, dry_run=True)


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_only_creating_makes_a_file(tmp_path: Path, access: Access) -> None:
    """A missing file is not created: the error names it, the hint the command."""
    settings = configured(tmp_path)
    with pytest.raises(UnreachableError, match=r"clarinet\.db does not exist") as caught:
        query(settings, access=access)
    assert "db init" in str(caught.value.hint)
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml"}
    query(settings, "CREATE TABLE t (x)", access=Access.CREATE)
    assert (tmp_path / "clarinet.db").is_file()


@ON_SQLITE
def test_a_reading_session_leaves_the_file_as_it_is(server_project: Project) -> None:
    """Not one byte of a database changes by looking at it, and no file appears."""
    before = server_project.file.read_bytes()
    assert query(server_project.settings, "SELECT count(*) FROM access_token") == [(13,)]
    assert server_project.file.read_bytes() == before
    names = {path.name for path in server_project.directory.iterdir()}
    assert names == {"settings.toml", "clarinet.db"}


def test_nothing_stays_open(project: Project) -> None:
    """After a session its connection and its thread are gone, also after an error."""
    threads = set(threading.enumerate())
    query(project.settings)
    with pytest.raises(ClarinetError):
        query(project.settings, "SELECT * FROM no_such_table")
    deadline = (
        time.monotonic() + PATIENCE_SECONDS
    )  # a thread that has done its work ends a moment later
    while not set(threading.enumerate()) <= threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    if project.server is None:
        project.file.rename(project.file.with_suffix(".moved"))
        return
    project.server.leave(project.database)
    # DROP DATABASE without FORCE waits up to five seconds for sessions that are ending.
    project.server.rows("postgres", f'DROP DATABASE "{project.database}"')


def test_the_current_project_is_the_default(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings a session is on the database of the current directory."""
    from clarinet_cli.settings import use_project

    monkeypatch.chdir(project.directory)
    monkeypatch.delenv("CLARINET_PROJECT", raising=False)

    async def work() -> int:
        async with get_async_session() as session:
            return int(await session.scalar(text("SELECT count(*) FROM userrole")) or 0)

    use_project(None)
    assert asyncio.run(work()) == 5
    use_project(None)


# --- Foreign keys --------------------------------------------------------------------------


def test_a_session_needs_its_user(project: Project) -> None:
    """Both backends refuse a row that points nowhere, and nothing is written."""
    moment = "'2026-11-22 18:30:00'"
    statement = (
        "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed) "
        f"VALUES ('t', '{uuid4().hex}', {moment}, {moment}, {moment})"
    )
    with pytest.raises(ConflictError):
        query(project.settings, statement, access=Access.WRITE)
    assert project.count("access_token") == 0


def test_sessions_go_with_their_user(project: Project) -> None:
    """Deleting an account deletes its sessions, on SQLite too, and no other's."""
    gone, stays = project.add_user("ada@example.org"), project.add_user("bob@example.org")
    project.add_session(gone)
    kept = project.add_session(stays)
    statement = "DELETE FROM \"user\" WHERE email = 'ada@example.org'"
    query(project.settings, statement, access=Access.WRITE)
    assert project.tokens() == {kept}


def test_a_role_in_use_cannot_be_deleted(project: Project) -> None:
    """Other rows depend on it: a conflict with nothing changed."""
    before = project.rows("SELECT * FROM userroleslink")
    with pytest.raises(ConflictError):
        query(project.settings, "DELETE FROM userrole", access=Access.WRITE)
    assert project.rows("SELECT * FROM userroleslink") == before != []
    assert len(roles(project)) == 5


# --- Errors --------------------------------------------------------------------------------


def while_locked(project: Project, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run something while another process holds the lock of what it needs."""

    async def on_postgresql() -> None:
        assert project.server is not None
        other = await project.server.connect(project.database)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE userrole IN ACCESS EXCLUSIVE MODE")
                await work()
        finally:
            await other.close()

    if project.server is not None:
        asyncio.run(on_postgresql())
        return
    other = sqlite3.connect(project.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        asyncio.run(work())
    finally:
        other.close()


def test_a_lock_of_another_connection_is_busy(project: Project) -> None:
    """A lock that is not given back in time is 'busy, try again'; nothing is written."""

    async def write() -> None:
        async with (
            get_connection(project.settings, access=Access.WRITE, busy_timeout=0.1) as connection,
            connection.begin(),
        ):
            await connection.execute(INSERT_ROLE)

    with pytest.raises(BusyError, match="locked by another process") as caught:
        while_locked(project, write)
    assert caught.value.exit_code == ExitCode.BUSY
    assert "nurse" not in roles(project)


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a text\n" * 50, b"SQLite format 3", b"\0" * 4096]
)
def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    """The file is named and stays as it is."""
    settings = configured(tmp_path)
    file = tmp_path / "clarinet.db"
    file.write_bytes(content)
    error = failure(settings, "SELECT * FROM userrole")
    assert str(file) in error.message
    assert "not a SQLite database" in error.message
    assert error.exit_code == ExitCode.UNREACHABLE
    assert file.read_bytes() == content


@ON_SQLITE
def test_a_truncated_database_is_damaged(server_project: Project) -> None:
    """A truncated file is reported as damaged, and not changed."""
    content = server_project.file.read_bytes()
    server_project.file.write_bytes(content[: len(content) // 2])
    result = stats(server_project.settings)
    assert_clear(result, 1)
    assert str(server_project.file) in result.stderr
    assert server_project.file.read_bytes() == content[: len(content) // 2]


def test_a_file_that_cannot_be_opened_is_one_line_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed opening leaves no thread behind that fails later, on top of the message."""
    settings = configured(tmp_path)
    os.mknod(tmp_path / "clarinet.db", stat.S_IFSOCK | 0o600)
    failed: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: failed.append(repr(args.exc_value)))
    before = set(threading.enumerate())
    for _ in range(30):
        result = stats(settings)
        assert_clear(result, 7)
        assert "cannot be opened" in result.stderr
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert failed == []


@pytest.mark.parametrize("name", ["clarinet", "sub"])
def test_a_directory_is_no_database(tmp_path: Path, name: str) -> None:
    """A directory with the database's name is named in one line."""
    (tmp_path / f"{name}.db").mkdir()
    result = stats(configured(tmp_path, database_name=name))
    assert_clear(result, 7)
    assert f"{tmp_path}/{name}.db" in result.stderr
    assert "directory" in result.stderr


def test_missing_tables_are_said_to_be_missing(
    empty_project: Project, postgres: PostgresServer
) -> None:
    """Without the Clarinet tables: a hint that names the command, and exit code 1."""
    if empty_project.server is None:
        empty_project.file.touch()
    else:
        postgres.create(empty_project.database)
    error = failure(empty_project.settings, 'SELECT * FROM "user"')
    assert "the table user is missing" in error.message
    assert "db init" in str(error.hint)
    assert_clear(stats(empty_project.settings), 1)


def test_a_wrong_password_is_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    """The answer names server and user, hints at the settings, and has no secret."""
    keys = {"database_username": LOCKED_ROLE, "database_password": CANARY}
    settings = on_server(tmp_path, postgres, **keys)
    error = failure(settings)
    assert isinstance(error, LoginRefusedError)
    assert not isinstance(error, UnknownDatabaseError)
    assert LOCKED_ROLE in error.message
    assert "database_password" in str(error.hint)
    assert_clear(stats(settings), 7)
    loud = stats(settings, "-vv")
    assert "Traceback" in loud.stderr
    assert CANARY not in loud.stderr + loud.stdout


def test_an_unknown_role_is_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    """An unknown user of the server is a refused log-in."""
    settings = on_server(tmp_path, postgres, database_username="nobody_like_that")
    assert isinstance(failure(settings), LoginRefusedError)
    assert_clear(stats(settings), 7)


def test_an_unknown_database_is_named(tmp_path: Path, postgres: PostgresServer) -> None:
    """The server is there, the database is not, and 'db init' makes it."""
    settings = on_server(tmp_path, postgres, database_name="no_such_database")
    error = failure(settings)
    assert isinstance(error, UnknownDatabaseError)
    assert "no_such_database" in error.message
    assert "db init" in str(error.hint)
    assert_clear(stats(settings), 7)


def closed_port() -> int:
    """Return a port of this machine on which no process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "refused"),
        ("no-such-host.invalid", "resolved"),
        ("/no/such/directory", "socket"),
    ],
)
@pytest.mark.parametrize("form", ["parts", "url"])
def test_a_server_that_is_not_there_is_unreachable(
    tmp_path: Path, host: str, reason: str, form: str
) -> None:
    """Refused, unresolvable or no socket: which, the redacted URL, and a hint."""
    port = closed_port()
    keys: dict[str, object] = {**SERVER_PARTS, "database_host": host, "database_port": port}
    if form == "url":
        server = f"/hospital?host={host}" if host.startswith("/") else f"{host}:{port}/hospital"
        keys = {"database_url": f"postgresql://clara:{CANARY}@{server}"}
    settings = configured(tmp_path, **keys)
    error = failure(settings)
    assert isinstance(error, UnreachableError)
    assert not isinstance(error, LoginRefusedError)
    assert reason in error.message
    assert error.hint
    shown = unquote(error.message)
    assert [word for word in (host, "clara", "hospital") if word not in shown] == []
    assert_clear(stats(settings), 7)


@ON_POSTGRESQL
def test_a_connection_cut_in_the_middle_is_unreachable(
    project: Project, postgres: PostgresServer
) -> None:
    """The server ends the connection of a transaction: exit 7, and nothing is half done."""

    async def work() -> None:
        async with get_async_session(project.settings, access=Access.WRITE) as session:
            await session.execute(INSERT_ROLE)
            own = await session.scalar(text("SELECT pg_backend_pid()"))
            end = "SELECT pg_terminate_backend($1, 5000)"
            await asyncio.to_thread(postgres.rows, project.database, end, own)
            await session.execute(text("SELECT 1"))

    with pytest.raises(UnreachableError) as caught:
        asyncio.run(work())
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert "nurse" not in roles(project)


def test_a_read_only_database_is_said_to_be_one(project: Project) -> None:
    """Where writing is forbidden: exit 1, one line, nothing written."""
    forbid = "SET TRANSACTION READ ONLY" if project.server else "PRAGMA query_only = ON"

    async def work() -> None:
        async with get_async_session(project.settings, access=Access.WRITE) as session:
            await session.execute(text(forbid))
            await session.execute(INSERT_ROLE)

    with pytest.raises(ClarinetError, match="read-only") as caught:
        asyncio.run(work())
    assert caught.value.exit_code == ExitCode.FAILURE
    assert "nurse" not in roles(project)
