"""A standby serves what reads, and refuses what writes before anything is read or asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import terminal
from tests.replicas import ReplicaPair, project_on
from tests.support import PASSWORD, Project

ADMIN = "admin@clarinet.ru"
READING = [
    "db status",
    "db wait",
    "db check",
    "db backup x.dump",
    "doctor",
    "session stats",
    "session list",
    f"session list-user {ADMIN}",
    "session cleanup --dry-run",
    "admin list",
    f"admin show {ADMIN}",
    "admin export",
    "migrate status",
    "migrate check",
    "migrate history",
]
WRITING = [
    "db init",
    "db reset",
    "db reset --dry-run",
    "db vacuum",
    "db vacuum --full",
    "db restore whole.dump",
    "db restore whole.dump --clean --yes",
    "db restore accounts.db --accounts-only",
    "migrate upgrade",
    "migrate downgrade base",
    "migrate stamp head",
    "admin create --email new@example.org",
    "admin create --email new@example.org --generate-password",
    "admin ensure",
    f"admin reset-password {ADMIN}",
    f"admin promote {ADMIN}",
    f"admin demote {ADMIN}",
    f"admin activate {ADMIN}",
    f"admin deactivate {ADMIN}",
    f"admin delete {ADMIN}",
    f"admin delete {ADMIN} --dry-run",
    f"admin grant-role {ADMIN} doctor",
    f"admin revoke-role {ADMIN} doctor",
    "admin apply accounts.json",
    "session revoke 11111111",
    f"session revoke-user {ADMIN}",
    "session revoke-all",
    "session cleanup",
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplicaPair, Path]]:
    """A primary with a ready database and a standby that has it too; a directory with backups."""
    with ReplicaPair() as replicas:
        directory = tmp_path_factory.mktemp("primary")
        project = project_on(
            directory, replicas.primary, replicas.url("clarinet", replicas.primary)
        )
        assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
        for line in (
            f"db backup {directory}/whole.dump",
            f"db backup --accounts-only {directory}/accounts.db",
        ):
            assert project.run(*line.split()).code == 0
        (directory / "accounts.json").write_text(
            project.run("admin", "export", "-o", "json").stdout
        )
        yield replicas, directory


@pytest.fixture
def standby(pair: tuple[ReplicaPair, Path], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose settings name only the standby."""
    replicas, directory = pair
    monkeypatch.chdir(directory)
    return project_on(directory, replicas.standby, replicas.url("clarinet", replicas.standby))


@pytest.mark.parametrize("line", READING)
def test_reading_commands_work(standby: Project, line: str) -> None:
    """0 as on the primary."""
    result = standby.run(*line.split())
    assert result.code == 0, result
    (standby.directory / "x.dump").unlink(missing_ok=True)


@pytest.mark.parametrize("line", WRITING)
def test_writing_commands_say_that_it_is_one(standby: Project, line: str) -> None:
    """7 in one line with what to name instead; no confirmation or password is missed before."""
    result = standby.run(*line.split())
    assert result.code == 7, result
    assert result.stdout == ""
    where = f"postgresql://postgres@/clarinet?host={quoted(standby)}"
    hint = "name the primary in database_url, or all servers and target_session_attrs=read-write"
    assert result.stderr.splitlines() == [
        f"error: {where}: the server is a standby, which accepts no writes",
        f"hint: {hint}",
    ]


def quoted(project: Project) -> str:
    """Return the directory of the server's socket as a URL has it."""
    assert project.server is not None
    return project.server.host.replace("/", "%2F")


@pytest.mark.parametrize("line", ["admin create --email a@example.org", "session revoke-all"])
def test_nothing_is_prompted_for(standby: Project, line: str) -> None:
    """On a terminal too the refusal comes before a prompt."""
    with terminal(standby, *line.split()) as shown:
        code = shown.end()
    assert code == 7
    assert shown.text.startswith("error: ")
    assert "which accepts no writes" in " ".join(shown.lines)


def test_a_new_database_is_refused_too(standby: Project, pair: tuple[ReplicaPair, Path]) -> None:
    """'db init' reports the same if the database does not exist."""
    replicas, directory = pair
    project = project_on(directory, replicas.standby, replicas.url("nosuch", replicas.standby))
    result = project.run("db", "init", "--password-stdin", stdin=PASSWORD)
    assert result.code == 7, result
    assert "the server is a standby" in result.stderr
    with terminal(project, "db", "init") as shown:
        code = shown.end()
    assert code == 7
    assert shown.text.startswith("error: ")
    assert "assword" not in shown.text


TARGETS: dict[str, tuple[bool, Any]] = {
    "any": (True, 7),
    "read-write": (False, 0),
    "primary": (False, 0),
    "read-only": (True, 7),
    "standby": (True, 7),
    "prefer-standby": (True, 7),
}


@pytest.mark.parametrize("target", TARGETS)
def test_the_target_decides_among_several(
    standby: Project, pair: tuple[ReplicaPair, Path], target: str
) -> None:
    """The tool and psql use the same server; what writes works where the target is the primary."""
    replicas, directory = pair
    both = (replicas.standby, replicas.primary)
    options = f"&target_session_attrs={target}"
    project = project_on(
        directory, replicas.primary, replicas.url("clarinet", *both, options=options)
    )
    in_recovery, code = TARGETS[target]
    shell = project.run_process("db", "shell", "-c", "SELECT pg_is_in_recovery()")
    assert shell.code == 0, shell
    assert ("\n t\n" in shell.stdout) is in_recovery
    assert project.run("session", "stats").code == 0
    result = project.run("session", "revoke-all", "--yes")
    assert result.code == code, result


def test_without_a_standby_another_server_is_preferred(
    standby: Project, pair: tuple[ReplicaPair, Path]
) -> None:
    """prefer-standby is content with the primary; standby is not."""
    replicas, directory = pair
    for target, code in (("prefer-standby", 0), ("standby", 7)):
        url = replicas.url(
            "clarinet",
            replicas.primary,
            replicas.primary,
            options=f"&target_session_attrs={target}",
        )
        project = project_on(directory, replicas.primary, url)
        assert project.run("session", "revoke-all", "--yes").code == code
