"""SIGKILL at random moments of ``db reset`` and ``db vacuum``: all or nothing."""

from datetime import timedelta

from tests.cli.scenes import CLARINET_TABLES, dump
from tests.faults.processes import (
    RUNS,
    add_sessions,
    assert_sound,
    kill_at_random,
    run_alone,
    seconds_of,
)
from tests.migrations.helpers import schema, versions
from tests.support import Project


def test_killed_db_reset(project: Project) -> None:
    """Whenever 'db reset' is killed, every row is there, or the tables are new and empty."""
    project.add_user("ada@example.org")
    full, tables = {name: project.count(name) for name in CLARINET_TABLES}, schema(project)
    usual = seconds_of(lambda: run_alone(project, "db", "reset", "--yes"))
    for _ in range(RUNS):
        if not project.count("userrole"):
            init = project.run("db", "init", "--password-stdin", stdin="correct horse battery")
            assert init.code == 0, init
            project.add_user("ada@example.org")
        kill_at_random(project, "db", "reset", "--yes", usual_seconds=usual)
        rows = {name: project.count(name) for name in CLARINET_TABLES}
        assert rows in (full, dict.fromkeys(CLARINET_TABLES, 0))
        assert schema(project) == tables
        assert len(versions(project)) == 1


def test_killed_db_vacuum(project: Project) -> None:
    """Whenever 'db vacuum' is killed, no row is lost and no file is left over."""
    user = project.add_user("ada@example.org")
    add_sessions(project, user, "many", 3000, expires=timedelta(hours=1))
    project.rows("DELETE FROM access_token WHERE token LIKE '%1%'")
    before = dump(project)
    words = ("db", "vacuum") if project.server is None else ("db", "vacuum", "--full", "--yes")
    usual = seconds_of(lambda: run_alone(project, *words))
    for _ in range(RUNS):
        kill_at_random(project, *words, usual_seconds=usual)
        assert dump(project) == before
        assert_sound(project)
        assert [file for file in project.directory.iterdir() if "etilqs" in file.name] == []
