"""``db vacuum``, ``db shell`` and ``db reset`` on both backends."""

import contextlib
import json
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from clarinet_cli.services.locks import Job
from tests.cli.scenes import (
    CLARINET_TABLES,
    FORMATS,
    database_locked,
    dump,
    everything,
    job_running,
    populate,
)
from tests.cli.terminal import terminal
from tests.faults.processes import running, settle
from tests.migrations.helpers import schema, table_names, versions
from tests.patience import PATIENCE_SECONDS
from tests.postgres import LOCKED_PASSWORD, LOCKED_ROLE
from tests.support import Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
WAL = "PRAGMA journal_mode=wal"


def fill(project: Project, *, bloat: bool = True) -> None:
    """Add sessions with long user agents, and delete them again."""
    user = project.add_user("ada@example.org")
    agents = "x" * 500
    if project.server is None:
        many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
        source, key = "n", user.hex
    else:
        many, source, key = "", "generate_series(1, 4000) AS n(i)", str(user)
    project.rows(
        f"{many} INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed,"
        f" user_agent) SELECT 'token' || i, '{key}', '2026-01-01 00:00:00.000000',"
        f" '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', '{agents}' FROM {source}"
    )
    if bloat:
        project.rows("DELETE FROM access_token")


# --- vacuum --------------------------------------------------------------------------------


@pytest.mark.parametrize("wal", [False, True])
def test_vacuum_gives_space_back(project: Project, wal: bool) -> None:
    """The bytes before and after; no row is lost; in both journal modes, and on the server."""
    if project.server is None and wal:
        with contextlib.closing(sqlite3.connect(project.file)) as connection:
            connection.execute(WAL)
    fill(project)
    before = dump(project)
    settle(project)  # a connection that the server has not ended yet keeps deleted rows
    options = () if project.server is None else ("--full", "--yes")
    report = project.json("db", "vacuum", *options)
    assert list(report) == ["bytes_before", "bytes_after", "seconds", "full", "complete"]
    assert (report["full"], report["complete"]) == (True, True)
    assert report["bytes_after"] < report["bytes_before"] / 4
    assert dump(project) == before
    if project.server is None:
        assert project.file.stat().st_size == report["bytes_after"]
        assert sorted(path.name for path in project.directory.glob("etilqs*")) == []


@pytest.mark.parametrize("output", FORMATS)
def test_vacuum_in_each_format(server_project: Project, output: str) -> None:
    """On a server's database; what it blocks is noted on standard error."""
    result = server_project.run("db", "vacuum", "-o", output)
    assert result.code == 0, result
    assert "before" in result.stdout
    assert "block" in result.stderr


@on_sqlite
def test_a_reader_of_the_old_pages_is_reported(project: Project) -> None:
    """In WAL mode it does not block; the space is reclaimed after it."""
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute(WAL)
        fill(project)
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM access_token").fetchone() == (0,)
        with patch("clarinet_cli.services.vacuum.BUSY_TIMEOUT_SECONDS", 0.1):
            result = project.run("db", "vacuum", "-o", "json")
        assert (result.code, result.json["complete"]) == (0, False), result
        assert "warning: a long-running reader" in result.stderr


@on_sqlite
def test_a_signal_ends_a_vacuum(project: Project) -> None:
    """The file is as it was before, and no temporary file is left."""
    fill(project)
    before = dump(project)
    size = project.file.stat().st_size
    with contextlib.closing(sqlite3.connect(project.file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with running(project, "db", "vacuum") as process:
            assert process.stderr is not None
            process.stderr.readline()
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 143
    assert (dump(project), project.file.stat().st_size) == (before, size)
    assert [path for path in project.directory.iterdir() if "etilqs" in path.name] == []


@on_postgresql
def test_a_plain_vacuum_analyzes(project: Project) -> None:
    """The tables are not rewritten, and the planner has new statistics."""
    fill(project, bloat=False)
    assert project.json("db", "vacuum")["full"] is False
    query = "SELECT reltuples::int FROM pg_class WHERE relname = 'access_token'"
    assert project.rows(query) == [(4000,)]


@on_postgresql
def test_a_full_vacuum_requires_a_confirmation(project: Project) -> None:
    """It blocks all access: exit 5 without --yes where no prompt is possible."""
    result = project.run("db", "vacuum", "--full")
    assert (result.code, result.stdout) == (5, "")
    assert "--yes" in result.stderr
    with terminal(project, "db", "vacuum", "--full") as shown:
        shown.answer("Continue?", "y")
        assert shown.end() == 0


@on_postgresql
def test_a_user_who_may_not_vacuum_gets_an_error(project: Project) -> None:
    """The server only warns, and skips the tables: that is a failure here."""
    project.rows("CREATE ROLE visitor LOGIN")
    try:
        project.rows("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
        project.environment["CLARINET_DATABASE_USERNAME"] = "visitor"
        result = project.run("db", "vacuum")
    finally:
        project.rows("DROP OWNED BY visitor")
        project.rows("DROP ROLE visitor")
    assert result.code == 1, result
    assert "cannot vacuum" in result.stderr


@on_sqlite
def test_too_little_space_is_reported_before_the_start(project: Project) -> None:
    """Both numbers, exit 1, and the file as it was."""
    before = project.file.read_bytes()
    usage = shutil.disk_usage(project.directory)._replace(free=1000)
    with patch("shutil.disk_usage", return_value=usage):
        result = project.run("db", "vacuum")
    assert result.code == 1, result
    assert "1000 B free" in result.stderr
    assert project.file.read_bytes() == before


@on_sqlite
def test_vacuum_of_a_locked_file_is_busy(project: Project) -> None:
    """Exit 75 after the usual wait."""
    with (
        patch("clarinet_cli.services.vacuum.BUSY_TIMEOUT_SECONDS", 0.1),
        patch("clarinet_cli.database.engine.BUSY_TIMEOUT_SECONDS", 0.1),
        contextlib.closing(sqlite3.connect(project.file)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        assert project.run("db", "vacuum").code == 75


@pytest.mark.parametrize("command", ["vacuum", "shell", "reset"])
def test_a_missing_database_is_unreachable(empty_project: Project, command: str) -> None:
    """Exit 7, and nothing is made."""
    options = ("--yes",) if command == "reset" else ()
    assert empty_project.run("db", command, *options).code == 7
    assert empty_project.server is not None or not empty_project.file.exists()


# --- shell ---------------------------------------------------------------------------------


def test_shell_runs_sql(project: Project) -> None:
    """-c passes through, and so does standard input; the exit code is the shell's."""
    result = project.run_process("db", "shell", "-c", 'SELECT email FROM "user"')
    assert (result.code, result.stderr) == (0, "")
    assert "admin@clarinet.ru" in result.stdout
    piped = project.run_process("db", "shell", stdin='SELECT email FROM "user";\n')
    assert (piped.code, "admin@clarinet.ru" in piped.stdout) == (0, True)
    assert project.run_process("db", "shell", "-c", "SELECT nonsense").code != 0


def test_a_read_only_shell_changes_nothing(project: Project) -> None:
    """Reading succeeds, writing fails."""
    words = ("db", "shell", "--read-only", "-c")
    assert project.run_process(*words, "SELECT 1").code == 0
    assert project.run_process(*words, "DELETE FROM userroleslink").code != 0
    assert project.count("userroleslink") == 1


@on_postgresql
def test_no_password_is_on_the_command_line(project: Project) -> None:
    """Psql logs in with the password of the settings, and no process shows it."""
    project.environment["CLARINET_DATABASE_USERNAME"] = LOCKED_ROLE
    project.environment["CLARINET_DATABASE_PASSWORD"] = LOCKED_PASSWORD
    script = r"\! tr '\0' ' ' < /proc/$PPID/cmdline" + "\nSELECT current_user;\n"
    result = project.run_process("db", "shell", stdin=script)
    assert result.code == 0, result
    assert LOCKED_ROLE in result.stdout
    assert "psql" in result.stdout
    assert LOCKED_PASSWORD not in result.stdout


def arguments(project: Project, *options: str) -> tuple[list[str], dict[str, str]]:
    """Return the program that would be run, and its environment."""
    with patch("os.execve", side_effect=SystemExit(0)) as run:
        project.run("db", "shell", *options)
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN  # as before: it continues
    program, words, variables = run.call_args.args
    assert words[0] == program
    return words, variables


@on_postgresql
def test_options_of_the_url_reach_psql(project: Project) -> None:
    """The socket's directory, user, database and options of the URL, by the environment."""
    server = project.server
    assert server is not None
    project.environment["CLARINET_DATABASE_URL"] = (
        f"postgresql://{server.user}@/{project.database}?host={server.host}&port={server.port}"
        "&options=-c%20work_mem%3D1MB&connect_timeout=3"
    )
    with patch("shutil.which", return_value="/usr/bin/psql"):
        words, variables = arguments(project, "--read-only")
    assert words == ["/usr/bin/psql"]
    assert variables["PGHOST"] == server.host
    assert variables["PGDATABASE"] == project.database
    assert variables["PGCONNECT_TIMEOUT"] == "3"
    assert variables["PGOPTIONS"] == "-c work_mem=1MB -c default_transaction_read_only=on"


@contextlib.contextmanager
def nothing_installed() -> Iterator[None]:
    """Hide the programs of this machine."""
    with (
        patch("shutil.which", return_value=None),
        patch("clarinet_cli.services.backup.postgresql.SEARCH_PATHS", ()),
        patch.dict("os.environ", {"PATH": ""}),
    ):
        yield


@on_postgresql
def test_a_missing_psql_is_named_with_its_package(project: Project) -> None:
    """Exit 1, and what to install."""
    project.environment["PATH"] = ""
    with nothing_installed():
        result = project.run("db", "shell")
    assert result.code == 1, result
    assert "psql is not installed" in result.stderr
    assert "postgresql-client" in result.stderr


@on_sqlite
def test_a_missing_sqlite3_falls_back_to_python(project: Project) -> None:
    """Where Python has that shell (3.12 and later), else exit 1 with the package's name."""
    with nothing_installed():
        if sys.version_info >= (3, 12):
            words, _ = arguments(project, "-c", "SELECT 1")
            assert words[1:3] == ["-m", "sqlite3"]
        else:
            result = project.run("db", "shell")
            assert result.code == 1, result
            assert "install sqlite3" in result.stderr
        read_only = project.run("db", "shell", "--read-only")
    assert read_only.code == 1


# --- reset ---------------------------------------------------------------------------------


@pytest.mark.parametrize("output", FORMATS)
def test_reset_recreates_the_tables(project: Project, output: str, tmp_path: Path) -> None:
    """Empty, at head, as ``db init`` makes them; the audit log has the rows that are gone."""
    populate(project)
    before = schema(project)
    log = tmp_path / "audit.log"
    result = project.run("--audit-log", str(log), "db", "reset", "--yes", "-o", output)
    assert result.code == 0, result
    assert "deleted" in result.stdout
    assert "db init" in result.stderr
    assert schema(project) == before
    assert [project.count(name) for name in CLARINET_TABLES] == [0, 0, 0, 0]
    assert len(versions(project)) == 1
    record = json.loads(log.read_text())
    assert (record["command"], record["result"]) == ("db reset", "deleted")
    assert record["rows"]["access_token"] == 4


def test_a_dry_run_of_reset_changes_nothing(project: Project, tmp_path: Path) -> None:
    """The rows at stake; no question, no audit record."""
    populate(project)
    before = everything(project)
    log = tmp_path / "audit.log"
    words = ("--audit-log", str(log), "db", "reset", "--dry-run", "-o", "json")
    result = project.run(*words)
    assert result.code == 0, result
    assert result.json["result"] == "would_delete"
    assert result.json["rows"]["user"] == 2
    assert everything(project) == before
    assert not log.exists()


def test_reset_without_a_confirmation_is_refused(project: Project) -> None:
    """Exit 5 names --yes; nothing is changed."""
    before = everything(project)
    result = project.run("db", "reset")
    assert (result.code, result.stdout) == (5, "")
    assert "--yes" in result.stderr
    assert everything(project) == before


def test_a_database_with_other_tables_is_refused(project: Project) -> None:
    """Also with --yes, and in a dry run."""
    project.rows("CREATE TABLE study (id INTEGER PRIMARY KEY)")
    before = dump(project)
    for option in ("--yes", "--dry-run"):
        result = project.run("db", "reset", option)
        assert result.code == 5, result
        assert "study" in result.stderr
    assert dump(project) == before
    assert "study" in table_names(project)


@on_postgresql
def test_tables_of_another_schema_are_not_clarinets(project: Project) -> None:
    """The database is another program's too, wherever its tables are."""
    project.rows("CREATE SCHEMA clinic")
    project.rows("CREATE TABLE clinic.study (id INTEGER)")
    result = project.run("db", "reset", "--yes")
    assert result.code == 5, result
    assert "clinic.study" in result.stderr
    assert project.count("user") == 1


def test_a_view_of_others_is_refused(project: Project) -> None:
    """It would point at nothing, or go along."""
    project.rows('CREATE VIEW people AS SELECT email FROM "user"')
    result = project.run("db", "reset", "--yes")
    assert result.code == 5, result
    assert "people" in result.stderr


def test_a_servers_database_is_refused(server_project: Project) -> None:
    """A server has more tables than the four of Clarinet."""
    before = dump(server_project)
    assert server_project.run("db", "reset", "--yes").code == 5
    assert dump(server_project) == before


def test_the_name_has_to_be_typed(project: Project) -> None:
    """A backup is offered first; another text than the name refuses."""
    name = project.file.name if project.server is None else project.database
    before = everything(project)
    with terminal(project, "db", "reset", columns=300) as shown:
        shown.answer("first?", "n")
        shown.answer("to confirm", "y")
        assert shown.end() == 5
    assert everything(project) == before
    with terminal(project, "db", "reset", columns=300) as shown:
        shown.answer("first?", "n")
        shown.answer("to confirm", name)
        assert shown.end() == 0
    assert project.count("user") == 0


@on_sqlite
def test_the_backup_that_is_offered_is_made(project: Project) -> None:
    """It is in the project directory, and contains the deleted rows."""
    with terminal(project, "db", "reset", columns=300) as shown:
        shown.answer("first?", "y")
        shown.answer("to confirm", project.file.name)
        assert shown.end() == 0
    (backup,) = project.directory.glob("clarinet-*.db")
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        assert connection.execute('SELECT email FROM "user"').fetchall() == [("admin@clarinet.ru",)]


def test_reset_waits_for_another_migration(project: Project) -> None:
    """Busy after the time that one is ready to wait."""
    with job_running(project, Job.MIGRATION):
        result = project.run("db", "reset", "--yes", "--lock-timeout", "0.1s")
    assert result.code == 75, result


def test_reset_of_locked_tables_is_busy(project: Project) -> None:
    """Nothing is changed."""
    with database_locked(project):
        result = project.run("db", "reset", "--yes", "--lock-timeout", "0.2s")
    assert result.code == 75, result
    assert project.count("user") == 1
