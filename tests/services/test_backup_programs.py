"""The choice of ``pg_dump``, its environment, and the error when it fails."""

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from clarinet_cli.exceptions import BUSY, FAILURE, ClarinetError
from clarinet_cli.services.backup import postgresql
from clarinet_cli.services.backup.postgresql import (
    DUMP,
    Program,
    connection_environment,
    connection_variables,
    find_program,
    program_error,
)
from tests.cli.scenes import assert_failed
from tests.support import Project

on_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
PROGRAM = Program((18, 4), Path("/usr/bin/pg_restore"))


def install(directory: Path, version: str) -> Path:
    """Create a program that only prints a version."""
    directory.mkdir(parents=True)
    path = directory / DUMP
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are searched for, in any ``*/bin`` and in ``path``."""
    monkeypatch.setattr(postgresql, "SEARCH_PATHS", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", f"{tmp_path}/path:relative")
    return tmp_path


async def test_the_own_version_comes_first_and_then_the_newest(places: Path) -> None:
    """Both are found behind an older one on the search path."""
    install(places / "path", "15.18 (Debian 15.18-0+deb12u1)")
    own, newest = install(places / "16" / "bin", "16.2"), install(places / "18" / "bin", "18.4")
    assert (await find_program(DUMP, "16.9")).path == own
    assert (await find_program(DUMP, "17.1")).path == newest
    assert (await find_program(DUMP, "14.0 (Debian)")).path == newest


async def test_a_link_to_a_wrapper_comes_last(places: Path) -> None:
    """Debian's runs the version of a local server, or the newest one if a host is given."""
    wrapper = install(places / "common", "16.2").rename(places / "common" / "pg_wrapper")
    (places / "path").mkdir()
    link = places / "path" / DUMP
    link.symlink_to(wrapper)
    assert (await find_program(DUMP, "16.9")).path == link
    own = install(places / "16" / "bin", "16.2")
    assert (await find_program(DUMP, "16.9")).path == own


async def test_too_old_a_program_is_named_with_both_versions(places: Path) -> None:
    """The hint has the package that the server's version needs."""
    install(places / "path", "15.18")
    with pytest.raises(ClarinetError) as caught:
        await find_program(DUMP, "18.4 (Debian 18.4-1)")
    assert "15.18" in caught.value.message
    assert "18.4" in caught.value.message
    assert "postgresql-client-18" in str(caught.value.hint)
    assert caught.value.exit_code == FAILURE.exit_code


async def test_no_program_at_all(places: Path) -> None:
    """The message has the server's version, the hint the package."""
    with pytest.raises(ClarinetError, match=r"not installed.*17\.2") as caught:
        await find_program(DUMP, "17.2")
    assert "postgresql-client-17" in str(caught.value.hint)


@on_postgresql
def test_a_backup_without_a_program_leaves_nothing(project: Project, places: Path) -> None:
    """One line, exit 1, no file."""
    file = places / "file"
    assert_failed(project.run("db", "backup", str(file)), 1)
    assert list(places.iterdir()) == [project.directory]


def test_all_that_connects_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS options, socket, and no more of the caller's own variables."""
    url = make_url(
        "postgresql+asyncpg://ada:s%40cret@db.example.org:6000/clinic?sslmode=verify-full"
        "&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&connect_timeout=7&options=-c%20a%3D1"
    )
    found = connection_environment(url, encrypted=True)
    assert (found["PGHOST"], found["PGPORT"], found["PGUSER"]) == ("db.example.org", "6000", "ada")
    assert (found["PGPASSWORD"], found["PGDATABASE"]) == ("s@cret", "clinic")
    assert (found["PGSSLMODE"], found["PGSSLROOTCERT"]) == ("verify-full", "/ca.pem")
    assert (found["PGSSLCERT"], found["PGSSLKEY"]) == ("/c.pem", "/k.pem")
    assert (found["PGCONNECT_TIMEOUT"], found["PGOPTIONS"]) == ("7", "-c a=1")
    socket = make_url("postgresql+asyncpg://ada@/clinic").set(host="/run/clinic")
    assert connection_environment(socket, encrypted=False)["PGHOST"] == "/run/clinic"


@pytest.mark.parametrize(
    ("mode", "encrypted", "expected"),
    [
        ("prefer", True, ("require", None)),
        ("prefer", False, ("disable", "!password,!md5")),
        ("disable", False, ("disable", "!password")),
        ("require", True, ("require", None)),
    ],
)
def test_a_program_has_no_less_tls(
    mode: str, encrypted: bool, expected: tuple[str, str | None]
) -> None:
    """What this tool's own connection has is required, and no password is readable."""
    url = make_url(f"postgresql+asyncpg://ada@db.example.org/clinic?sslmode={mode}")
    found = connection_environment(url, encrypted=encrypted)
    assert (found["PGSSLMODE"], found.get("PGREQUIREAUTH")) == expected


def test_a_pass_phrase_is_in_a_private_file() -> None:
    """Only for the time of the block, and only for this user."""
    url = make_url("postgresql+asyncpg://ada@h/d?sslmode=require&sslpassword=phrase")
    with connection_variables(url, encrypted=True) as variables:
        file = Path(variables["PGSERVICEFILE"])
        assert "sslpassword=phrase" in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "phrase" not in str(variables)
    assert not file.exists()


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ('pg_restore: error: COPY failed for table "user": ERROR:  invalid input: "s3cret"', "s3c"),
        ("pg_restore: error: ERROR:  duplicate key\nDETAIL:  Key (token)=(s3cret) exists.", "s3c"),
        ("pg_restore: error: x\nCONTEXT:  COPY user, line 1: s3cret", "s3cret"),
    ],
)
def test_no_value_of_a_row_is_shown(said: str, secret: str) -> None:
    """What the server quotes of a row stays out of the message."""
    error = program_error(PROGRAM, 1, said.encode(), "postgresql://h/d")
    assert secret not in error.message
    assert "failed" in error.message


def test_a_lock_that_is_not_free_is_busy() -> None:
    """It is the operator's 75, and no failure."""
    said = b"pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout"
    assert program_error(PROGRAM, 1, said, "d").exit_code == BUSY.exit_code


@on_postgresql
def test_the_callers_environment_does_not_say_where(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PG* variables and files in the home directory are not looked at."""
    (tmp_path / ".pgpass").write_text("*:*:*:*:wrong")
    environment = {"PGHOST": "nowhere", "PGDATABASE": "x", "PGOPTIONS": "-c nonsense=1"}
    environment |= {"PGSSLMODE": "verify-full", "HOME": str(tmp_path), "PGSERVICE": "none"}
    project.environment.update(environment)
    assert project.json("db", "backup", str(tmp_path / "file"))["verified"] is True


@on_postgresql
def test_compression_is_that_of_the_program(project: Project, tmp_path: Path) -> None:
    """A method that it lacks is a usage error, and leaves no file."""
    assert project.run("db", "backup", str(tmp_path / "a"), "--compress", "gzip:9").code == 0
    assert_failed(project.run("db", "backup", str(tmp_path / "b"), "--compress", "none:x"), 2)
    assert not (tmp_path / "b").exists()


@on_postgresql
def test_the_password_is_in_no_argument(project: Project, tmp_path: Path) -> None:
    """A program that writes down its arguments has not seen it."""
    real, seen = tmp_path / "bin" / DUMP, tmp_path / "seen"
    real.parent.mkdir()
    real.write_text(f'#!/bin/sh\necho "$0 $*" >> {seen}\necho "pg_dump (PostgreSQL) 18.99"\n')
    real.chmod(0o755)
    settings = project.directory / "settings.toml"
    text = settings.read_text().replace('database_password = ""', 'database_password = "s3cret"')
    settings.write_text(text)
    project.environment["PATH"] = f"{real.parent}{os.pathsep}{os.environ['PATH']}"
    assert project.run("db", "backup", str(tmp_path / "file")).code != 0
    assert "--format=custom" in seen.read_text()
    assert "s3cret" not in seen.read_text()
