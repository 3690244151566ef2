"""``clarinet doctor``: formats, exit codes, and the repairs of ``--fix``."""

import csv
import io
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.terminal import terminal
from tests.support import Project, run_in_process
from tests.users import SERVICE, STRANGER, give, run_as

FORMATS = ("table", "json", "jsonl", "csv", "plain")
DAY = timedelta(days=1)


@pytest.fixture
def ailing(project: Project) -> Project:
    """A project with all that '--fix' repairs: a mode, a role, an index and a backlog."""
    project.write_settings('extra_roles = ["reader"]\naudit_log = "audit.jsonl"\n')
    (project.directory / "settings.toml").chmod(0o600)
    (project.directory / "clarinet-20261122T180000Z.db").touch(0o644)
    if project.server is None:
        project.file.chmod(0o600)
    project.rows("DROP INDEX ix_access_token_expires_at")
    user_id = project.add_user("a@example.org")
    project.add_session(user_id, created=9 * DAY, expires=-8 * DAY, used=9 * DAY)
    project.add_session(user_id)
    return project


def statuses(project: Project, *words: str) -> dict[str, str]:
    """Return the status of each check."""
    result = project.run("doctor", "-o", "json", *words)
    return {row["check"]: row["status"] for row in result.json}


REPAIRED = ("file-modes", "indexes", "roles", "backlog")


@pytest.mark.parametrize("output", FORMATS)
def test_each_format(project: Project, output: str) -> None:
    """Exit 0, and one line for each check."""
    result = project.run("doctor", "-o", output)
    assert (result.code, result.stderr) == (0, ""), result
    assert "superuser" in result.stdout
    if output == "json":
        assert list(result.json[0]) == ["check", "status", "detail", "hint"]
    if output == "jsonl":
        assert all(map(json.loads, result.stdout.splitlines()))
    if output == "csv":
        assert len(list(csv.DictReader(io.StringIO(result.stdout)))) > 25


def test_the_list_of_checks(tmp_path: Path) -> None:
    """It needs no database; a group narrows it."""
    project = Project(tmp_path, "sqlite", "clarinet")
    rows = project.json("doctor", "--list", "--only", "space", "--skip", "log")
    assert [row["check"] for row in rows] == ["disk", "unused-space"]
    assert list(rows[0]) == ["check", "group", "description"]
    described = {row["check"]: row["description"] for row in project.json("doctor", "--list")}
    assert described["revision"].endswith(" (only for the tables of Clarinet)")
    assert described["mapping"].endswith(" (only for applications)")
    assert "only for" not in described["disk"]
    assert project.run("doctor", "--skip", "nothing").code == 2
    assert project.run("doctor", "--only", "nothing").code == 2


def test_an_error_is_exit_6_and_a_warning_with_strict(project: Project) -> None:
    """Errors count always, warnings when they are asked to."""
    project.add_user("a@example.org")
    only = ("doctor", "--only", "accounts")
    assert project.run(*only).code == 0
    assert project.run(*only, "--strict").code == 6
    project.rows('UPDATE "user" SET is_active = false')
    result = project.run("-q", *only)
    assert (result.code, result.stdout) == (6, "")
    assert result.stderr.count("\n") == 1


def test_a_database_that_is_down_and_broken_settings_are_exit_6(empty_project: Project) -> None:
    """They are findings and no failures of the command."""
    assert empty_project.run("doctor").code == 6
    (empty_project.directory / "settings.toml").write_text("a = [")
    result = empty_project.run("doctor", "-o", "json")
    assert result.code == 6
    assert [row["check"] for row in result.json if row["status"] == "error"] == ["files"]


def test_no_secret_is_shown(project: Project) -> None:
    """Neither the password of the database nor that of the administrator."""
    canary = "c4n4ry-s3cr3t"
    variables = {"CLARINET_DATABASE_PASSWORD": canary, "CLARINET_ADMIN_PASSWORD": canary}
    result = project.run("-vv", "doctor", "-o", "json", env=variables)
    assert canary not in result.stdout + result.stderr


# --- Repairs -------------------------------------------------------------------------------


def test_a_dry_run_shows_the_repairs_and_makes_none(ailing: Project) -> None:
    """Each with its check, on standard error."""
    before = statuses(ailing)
    result = ailing.run("doctor", "--fix", "--dry-run", "-o", "json")
    lines = result.stderr.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["would"] * 4
    for name in REPAIRED:
        assert any(line.endswith(f"({name})") for line in lines), name
        assert before[name] == "warning"
    assert statuses(ailing) == before
    assert not (ailing.directory / "audit.jsonl").exists()


def test_without_a_terminal_a_repair_needs_yes(ailing: Project) -> None:
    """Exit 5 that names the flag, and nothing is changed."""
    result = ailing.run("doctor", "--fix")
    assert result.code == 5
    assert "--yes" in result.stderr
    assert statuses(ailing)["roles"] == "warning"


def test_yes_makes_the_repairs_and_records_them(ailing: Project) -> None:
    """What is shown is how it is afterwards; each change has an audit record."""
    result = ailing.run("doctor", "--fix", "--yes", "-o", "json")
    after = {row["check"]: row["status"] for row in result.json}
    assert {after[name] for name in REPAIRED} == {"ok"}
    assert ailing.count("access_token") == 1
    records = (ailing.directory / "audit.jsonl").read_text().splitlines()
    results = [json.loads(line)["result"] for line in records]
    assert sorted(results) == ["created", "created", "deleted", "started", "updated"]
    assert ailing.run("doctor", "--fix", "-o", "json").stderr == ""


def test_an_index_of_a_server_is_left_to_it(server_project: Project) -> None:
    """An index is not created in a schema that a server migrates."""
    server_project.rows("DROP INDEX ix_access_token_user_id")
    result = server_project.run("doctor", "--fix", "--dry-run", "--only", "schema")
    assert result.stderr == ""
    assert "ix_access_token_user_id is missing" in result.stdout


def test_only_what_was_checked_is_repaired(ailing: Project) -> None:
    """'--only' narrows the repairs too."""
    assert ailing.run("doctor", "--fix", "--yes", "--only", "accounts").code == 0
    after = statuses(ailing)
    assert [after[name] for name in REPAIRED] == ["warning", "warning", "ok", "warning"]


# --- Other users ---------------------------------------------------------------------------


@pytest.fixture
def services(service_directory: Path, ready_templates: dict[str, str]) -> Project:
    """A SQLite project of the service's user."""
    project = Project(service_directory, "sqlite", "clarinet")
    project.write_settings()
    project.file.write_bytes(Path(ready_templates["sqlite"]).read_bytes())
    give(SERVICE, project.file, mode=0o600)
    return project


def test_a_user_who_may_not_read_gets_a_finding(services: Project) -> None:
    """A user who may not read the database gets its owner and a sudo command."""
    result = run_as(STRANGER, services, "doctor", "-o", "json")
    assert result.code == 6, result
    (found,) = [row for row in result.json if row["status"] == "error"]
    assert found["check"] == "reachable"
    assert f"it belongs to {SERVICE.uid}" in found["detail"]
    assert "sudo -u" in found["hint"]


def test_what_root_left_beside_the_database(services: Project) -> None:
    """The lock file's owner is an error; the remedy gives it back."""
    lock = services.file.with_name(f"{services.file.name}.cleanup.lock")
    lock.touch(0o600)
    result = services.run("doctor", "-o", "json", "--only", "configuration")
    (found,) = [row for row in result.json if row["check"] == "owners"]
    assert (result.code, found["status"]) == (6, "error")
    assert found["hint"] == f"sudo chown {SERVICE.uid}:{SERVICE.gid} {lock}"
    os.chown(lock, SERVICE.uid, SERVICE.gid)
    assert services.run("doctor", "--only", "configuration").code == 0


def test_a_terminal_shows_each_hint_in_one_line(ailing: Project) -> None:
    """The sentences of the table are wrapped at 80 columns; a command can be copied."""
    rows = run_in_process(ailing.words("doctor", "-o", "json")).json
    hints = [(row["check"], row["hint"]) for row in rows if row["hint"]]
    with terminal(ailing, "doctor", columns=80) as shown:
        shown.end()
    lines = [line.rstrip() for line in shown.lines if line.strip()]
    longest = max(len(check) for check, _ in hints)
    assert [f"{check:{longest}}  {hint}" for check, hint in hints] == lines[-len(hints) :]


def test_a_terminal_breaks_no_key(ailing: Project) -> None:
    """Nor a value: one that is wider than the terminal is whole, the others are fitted."""
    path = f"/{'x' * 200}"
    ailing.write_settings(f'storage_path = "{path}"\n')
    with terminal(ailing, "config", "show", columns=80) as shown:
        assert shown.end() == 0
    lines = [line.rstrip() for line in shown.lines]
    assert [line for line in lines if len(line) > 80 >= max(map(len, line.split()))] == []
    assert path in shown.text
    keys = {row["key"] for row in ailing.run("config", "show", "-o", "json").json}
    assert keys <= {line.split()[0] for line in shown.lines if line.strip()}
