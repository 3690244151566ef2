"""Several servers in the settings: how they are written, tried, and shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from clarinet_cli.database.servers import url_servers
from clarinet_cli.database.url import database_url, display_url
from clarinet_cli.settings import load_settings
from tests.postgres import PostgresServer
from tests.support import Project, run_in_process
from tests.tls import TlsFront

CLOSED = 9  # no server listens there
SECRET = "s3cret"
LOGIN = f"postgresql://u:{SECRET}"


def url_in(directory: Path, url: str, key: str = "database_url") -> None:
    """Write settings with one URL."""
    (directory / "settings.toml").write_text(f'{key} = "{url}"\n')


WRITTEN: dict[str, tuple[list[tuple[Optional[str], Optional[int]]], str]] = {
    f"{LOGIN}@a:5432,b:5433/db": ([("a", 5432), ("b", 5433)], "a:5432,b:5433/db"),
    f"{LOGIN}@a,b/db": ([("a", None), ("b", None)], "a,b/db"),
    f"{LOGIN}@a,b:5433/db": ([("a", 5432), ("b", 5433)], "a:5432,b:5433/db"),
    f"{LOGIN}@a:6000,b:6000/db": ([("a", 6000), ("b", 6000)], "a:6000,b:6000/db"),
    f"{LOGIN}@/db?host=a,b": ([("a", None), ("b", None)], "a,b/db"),
    f"{LOGIN}@/db?host=a,b&port=6000": ([("a", 6000), ("b", 6000)], "a:6000,b:6000/db"),
    f"{LOGIN}@/db?host=a,b&port=1,2": ([("a", 1), ("b", 2)], "a:1,b:2/db"),
    f"{LOGIN}@/db?host=a:1&host=b:2": ([("a", 1), ("b", 2)], "a:1,b:2/db"),
    f"{LOGIN}@/db?host=a&host=b&port=1&port=2": ([("a", 1), ("b", 2)], "a:1,b:2/db"),
    f"{LOGIN}@[::1]:1,[fe80::2],c/db": (
        [("::1", 1), ("fe80::2", 5432), ("c", 5432)],
        "[::1]:1,[fe80::2]:5432,c:5432/db",
    ),
    f"{LOGIN}@a:1,b:2?dbname=db": ([("a", 1), ("b", 2)], "a:1,b:2/db"),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_each_form_names_the_same_servers(tmp_path: Path, written: str) -> None:
    """Those of libpq, asyncpg and SQLAlchemy; they are shown with their ports and no password."""
    servers, shown = WRITTEN[written]
    url_in(tmp_path, written)
    url = database_url(load_settings(tmp_path))
    assert [tuple(server) for server in url_servers(url)] == servers
    assert (url.username, url.password, url.database) == ("u", SECRET, "db")
    assert display_url(url) == f"postgresql://u:***@{shown}"


def test_sockets_among_the_servers_are_shown_as_options(tmp_path: Path) -> None:
    """A directory is not a host of a URL."""
    url_in(tmp_path, f"{LOGIN}@/db?host=/run/a,b&port=1,2")
    url = database_url(load_settings(tmp_path))
    shown = display_url(url)
    assert shown == "postgresql://u:***@/db?host=%2Frun%2Fa%2Cb&port=1%2C2"
    url_in(tmp_path, shown.replace("***", SECRET))
    assert url_servers(database_url(load_settings(tmp_path))) == url_servers(url)


REFUSED = {
    f"{LOGIN}@a,,b/db": "a host of the list is empty",
    f"{LOGIN}@a,/db": "a host of the list is empty",
    f"{LOGIN}@a:x,b/db": "invalid port (1-65535)",
    f"{LOGIN}@a:70000,b/db": "invalid port (1-65535)",
    f"{LOGIN}@/db?host=a,b,c&port=1,2": "2 ports for 3 hosts",
    f"{LOGIN}@/db?host=a,b&port=1,x": "invalid port (1-65535)",
    f"{LOGIN}@[::1,b/db": "not an IPv6 address in brackets",
    f"{LOGIN}@a,b/db?target_session_attrs=master": (
        "target_session_attrs is not one of any, read-write, read-only, primary, standby, "
        "prefer-standby"
    ),
}


@pytest.mark.parametrize("key", ["database_url", "database_read_url"])
@pytest.mark.parametrize("written", REFUSED)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, written: str, key: str) -> None:
    """78 with the file, the key and the reason, and no password."""
    url_in(tmp_path, written, key)
    result = run_in_process(["-C", str(tmp_path), "session", "stats"])
    assert result.code == 78, result
    assert f"settings.toml: {key}: {REFUSED[written]}" in result.stderr
    assert SECRET not in result.stderr


OTHERS = {
    f"mysql://u:{SECRET}@db/app": "MySQL is not supported",
    f"mysql+aiomysql://u:{SECRET}@db:3306/app?charset=utf8mb4": "MySQL is not supported",
    f"mariadb+asyncmy://u:{SECRET}@a,b/app": "MariaDB is not supported",
    f"mssql+pyodbc://u:{SECRET}@db/app": "Microsoft SQL Server is not supported",
    f"oracle://u:{SECRET}@db/app": "Oracle Database is not supported",
    f"mongodb://u:{SECRET}@a:1,b:2/app": "MongoDB is not supported",
    f"foo://u:{SECRET}@db/app": "unknown driver 'foo'",
}


@pytest.mark.parametrize("written", OTHERS)
def test_other_databases_are_refused_by_name(tmp_path: Path, written: str) -> None:
    """78 in one sentence, and what can be used; nothing is connected."""
    url_in(tmp_path, written)
    result = run_in_process(["-C", str(tmp_path), "db", "status"])
    assert result.code == 78, result
    assert result.stderr.splitlines() == [
        f"error: {tmp_path}/settings.toml: database_url: {OTHERS[written]}",
        "hint: the database can be SQLite (sqlite:///FILE) or PostgreSQL (postgresql://…)",
    ]


def test_settings_show_the_list_without_its_password(tmp_path: Path) -> None:
    """'config show' masks the password and keeps the servers."""
    url_in(tmp_path, f"{LOGIN}@a:5432,[::1]:5433/db?target_session_attrs=read-write")
    result = run_in_process(["-C", str(tmp_path), "config", "show", "-o", "json"])
    assert "postgresql://u:****@a:5432,[::1]:5433/db" in result.stdout
    assert SECRET not in result.stdout


def test_an_unquoted_password_is_no_list_of_hosts(tmp_path: Path) -> None:
    """A comma in a password, behind an '@' that is not quoted, is not shown."""
    url_in(tmp_path, "postgresql://u:p@s3,cret@db/app")
    for words in (["db", "status"], ["config", "show"]):
        result = run_in_process(["-C", str(tmp_path), *words])
        assert "s3" not in (result.stdout + result.stderr).replace(str(tmp_path), "")


@pytest.fixture
def front(postgres: PostgresServer) -> Iterator[TlsFront]:
    """The server on a port, without TLS."""
    front = TlsFront(postgres, None)
    yield front
    front.stop()


postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@postgresql
@pytest.mark.parametrize(
    "where",
    [
        "postgres@127.0.0.1:{closed},127.0.0.1:{port}/{database}",
        "postgres@/{database}?host=127.0.0.1,127.0.0.1&port={closed},{port}",
        "postgres@/{database}?host=/nowhere,127.0.0.1&port={port}",
        "postgres@127.0.0.1:{port},127.0.0.1:{closed}/{database}?target_session_attrs=read-write",
        "postgres@127.0.0.1:{closed},127.0.0.1:{port}/{database}?target_session_attrs=primary",
        "postgres@/{database}?host=127.0.0.1&port={port}&target_session_attrs=prefer-standby",
    ],
)
def test_the_first_that_can_be_used_is(project: Project, front: TlsFront, where: str) -> None:
    """A server that is down does not keep the next one from being used."""
    text = where.format(closed=CLOSED, port=front.port, database=project.database)
    url_in(project.directory, f"postgresql://{text}")
    result = project.run("db", "status", "-o", "json")
    assert result.code == 0, result
    assert str(front.port) in result.json["url"]


@postgresql
def test_the_settings_of_their_own_take_a_list(
    project: Project, front: TlsFront, postgres: PostgresServer
) -> None:
    """database_host is a list as in libpq, with one port, and database_target_session_attrs."""
    keys = (
        f'database_driver = "postgresql"\ndatabase_host = "/nowhere,127.0.0.1"\n'
        f'database_port = {front.port}\ndatabase_name = "{project.database}"\n'
    )
    (project.directory / "settings.toml").write_text(keys)
    assert project.run("db", "status").code == 0
    standby = {"CLARINET_DATABASE_TARGET_SESSION_ATTRS": "standby"}
    refused = project.run("db", "status", env=standby)
    assert refused.code == 7, refused
    assert f"127.0.0.1:{front.port}: the server is not a standby" in refused.stderr
    invalid = project.run("db", "status", env={**standby, next(iter(standby)): "master"})
    assert invalid.code == 78, invalid
    assert "'any', 'read-write', 'read-only', 'primary', 'standby' or 'prefer-standby'" in (
        invalid.stderr
    )
    (project.directory / "settings.toml").write_text(keys.replace("/nowhere,", "a,,"))
    assert "database_host: a host of the list is empty" in project.run("db", "status").stderr


@postgresql
def test_each_server_has_its_reason(project: Project, front: TlsFront) -> None:
    """7 in one line when none can be used."""
    where = f"127.0.0.1:{CLOSED},nowhere.invalid:1,127.0.0.1:{front.port}/{project.database}"
    url_in(project.directory, f"postgresql://postgres:x@{where}?target_session_attrs=standby")
    result = project.run("db", "status")
    assert result.code == 7, result
    reasons = (
        f"127.0.0.1:{CLOSED}: connection refused; nowhere.invalid:1: the host name cannot be "
        f"resolved; 127.0.0.1:{front.port}: the server is not a standby "
        "(target_session_attrs=standby)"
    )
    assert result.stderr.splitlines() == [
        f"error: postgresql://postgres:***@{where}: {reasons}",
        "hint: add a server of that kind to database_url, or change target_session_attrs",
    ]


@postgresql
def test_a_refused_log_in_ends_the_search(project: Project, front: TlsFront) -> None:
    """As in libpq: a wrong name is not tried on the other servers."""
    where = f"nobody@127.0.0.1:{front.port},127.0.0.1:{CLOSED}/{project.database}"
    url_in(project.directory, f"postgresql://{where}")
    result = project.run("db", "status")
    assert result.code == 7, result
    assert "refuses the log-in" in result.stderr
