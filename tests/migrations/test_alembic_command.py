"""``alembic`` and ``make db-…`` from the repository root, each in a process of its own."""

import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests import forked
from tests.forked import ALEMBIC
from tests.migrations.helpers import (
    files,
    schema,
    snapshot,
    table_names,
    versions,
)
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, Result, process_environment

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
OURS = {*TABLE_NAMES, "alembic_version"}


@pytest.fixture(autouse=True)
def _repository_is_untouched() -> Iterator[None]:
    """No command of these tests writes into the repository's environment."""
    before = files(REPOSITORY / "alembic")
    yield
    assert files(REPOSITORY / "alembic") == before


@pytest.fixture
def copy_of_repository(tmp_path: Path) -> Path:
    """A directory with the repository's environment and its settings for Alembic."""
    root = tmp_path / "repository"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "alembic", root / "alembic", ignore=ignore)
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        options = tomllib.load(file)["tool"]["alembic"]
    lines = [f'{key} = "{value}"' for key, value in options.items()]
    (root / "pyproject.toml").write_text("\n".join(["[tool.alembic]", *lines, ""]))
    return root


def run(project: Project, *command: str | Path) -> Result:
    """Run a program in the repository for the project that the variable names."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=process_environment({"CLARINET_PROJECT": str(project.directory)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def alembic(project: Project, *words: str, directory: Path = REPOSITORY) -> Result:
    """Run ``alembic``; see ``tests.forked``."""
    environment = process_environment({"CLARINET_PROJECT": str(project.directory)})
    done = forked.run(words, script=ALEMBIC, directory=directory, env=environment)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def make(project: Project, *words: str) -> Result:
    """Run ``make`` with the programs of this environment, without installing anything."""
    stamp, programs = ".venv/.installed", f"BIN={PROGRAMS}"
    return run(project, "make", "--silent", "-o", stamp, programs, *words)


def test_up_and_down(created: Project) -> None:
    """Upgrade makes the tables, current names the revision, downgrade -1 removes the tables."""
    up = run(created, ALEMBIC, "upgrade", "head")  # an interpreter's own start
    assert (up.code, up.stdout) == (0, ""), up
    assert table_names(created) == OURS
    assert versions(created) == [BASE_REVISION]
    assert created.json("migrate", "status")["up_to_date"] is True

    current = alembic(created, "current")
    assert (current.code, current.stdout) == (0, f"{BASE_REVISION} (head)\n"), current

    down = alembic(created, "downgrade", "-1")
    assert (down.code, down.stdout) == (0, ""), down
    assert table_names(created) == {"alembic_version"}
    assert versions(created) == []


def test_downgrade_under_tables_of_others(project: Project) -> None:
    """Tables that another program's table points at stay, and nothing changed."""
    kind = "uuid" if project.server else "char(32)"
    project.rows(f'CREATE TABLE record (user_id {kind} REFERENCES "user" (id))')
    before = snapshot(project)
    result = alembic(project, "downgrade", "base")
    assert result.code != 0
    assert "FAILED: " in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert snapshot(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_only_upgrade_makes_a_missing_file(empty_project: Project) -> None:
    """Any other command fails with a hint and creates none; upgrade names the new file."""
    for words in (["current"], ["downgrade", "base"], ["stamp", "head"], ["check"]):
        result = alembic(empty_project, *words)
        assert result.code != 0
        assert "clarinet db init" in result.stdout + result.stderr
        assert [path.name for path in empty_project.directory.iterdir()] == ["settings.toml"]
    up = alembic(empty_project, "upgrade", "head")
    assert up.code == 0
    assert f"created sqlite:///{empty_project.file}" in up.stderr
    assert table_names(empty_project) == OURS


def test_autogenerate_with_nothing_to_do(project: Project, copy_of_repository: Path) -> None:
    """Models and database agree: no file is written, the database is as it was."""
    before = files(copy_of_repository), snapshot(project)
    result = alembic(project, "revision", "--autogenerate", "-m", "x", directory=copy_of_repository)
    assert result.code == 0, result
    assert (files(copy_of_repository), snapshot(project)) == before


def test_autogenerate_with_a_difference(project: Project, copy_of_repository: Path) -> None:
    """A column dropped by SQL: the revision that is written, applied, puts it back."""
    wanted = schema(project)
    token = project.add_session(project.add_user("ada@clarinet.example"))
    project.rows("ALTER TABLE access_token DROP COLUMN ip_address")
    before = set(files(copy_of_repository))

    result = alembic(
        project, "revision", "--autogenerate", "-m", "put back", directory=copy_of_repository
    )

    assert result.code == 0, result
    (new,) = set(files(copy_of_repository)) - before
    assert new.endswith("_put_back.py")
    upgraded = alembic(project, "upgrade", "head", directory=copy_of_repository)
    assert upgraded.code == 0, upgraded
    assert schema(project) == wanted
    assert project.tokens() == {token}
    assert versions(project) == [Path(new).name.split("_")[0]]


def test_sql(empty_project: Project) -> None:
    """--sql prints the statements for the project's backend and connects nowhere."""
    result = alembic(empty_project, "upgrade", "head", "--sql")
    assert result.code == 0, result
    for table in TABLE_NAMES:
        assert f"CREATE TABLE {table} (" in result.stdout.replace('"', "")
    assert ("TIMESTAMP WITH TIME ZONE" in result.stdout) == (empty_project.server is not None)
    assert [path.name for path in empty_project.directory.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize("words", [["upgrade", "head"], ["downgrade", "-1"]])
@pytest.mark.parametrize("backend", ["sqlite"])
def test_foreign_database_is_left_alone(server_project: Project, words: list[str]) -> None:
    """The alembic command refuses a database that a server migrates, and touches nothing."""
    before = snapshot(server_project)
    result = alembic(server_project, *words)
    assert result.code != 0
    assert "Traceback" not in result.stderr
    assert snapshot(server_project) == before


def test_failure_is_one_line(empty_project: Project) -> None:
    """A database that cannot be reached is one FAILED line without traceback or secret."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        if empty_project.server is None:
            empty_project.file.mkdir()
        else:
            (empty_project.directory / "settings.toml").write_text(
                f'database_url = "postgresql://ada:canary@127.0.0.1:{port}/x"\n'
            )
        result = alembic(empty_project, "upgrade", "head")
    assert result.code != 0
    assert "Traceback" not in result.stderr
    assert "canary" not in result.stdout + result.stderr
    output = (result.stdout + result.stderr).splitlines()
    assert len([line for line in output if "FAILED: " in line]) == 1


@pytest.mark.parametrize("words", [["upgrade", "head"], ["upgrade", "head", "--sql"]])
def test_invalid_settings_are_one_line(tmp_path: Path, words: list[str]) -> None:
    """A settings file that cannot be used is one FAILED line that names it."""
    project = Project(tmp_path, "sqlite", "clarinet")
    (tmp_path / "settings.toml").write_text("database_port = 'many'\n")
    result = alembic(project, *words)
    assert result.code != 0
    assert "Traceback" not in result.stderr
    (line,) = [line for line in (result.stdout + result.stderr).splitlines() if "FAILED: " in line]
    assert "settings.toml: database_port" in line


@pytest.mark.parametrize("backend", ["sqlite"])
def test_make_up_and_down(created: Project) -> None:
    """The targets db-upgrade and db-downgrade move the schema of the project's database."""
    up = make(created, "db-upgrade")
    assert up.code == 0, up
    assert table_names(created) == OURS
    down = make(created, "db-downgrade")
    assert down.code == 0, down
    assert table_names(created) == {"alembic_version"}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_make_migration(project: Project) -> None:
    """The target db-migration compares; with nothing to do it writes no file."""
    before = snapshot(project)
    result = make(project, "db-migration", "m=nothing to do")
    assert result.code == 0, result
    assert snapshot(project) == before


@pytest.mark.parametrize("backend", ["sqlite"])
def test_make_migration_passes_the_message_on(project: Project) -> None:
    """The database is not at head: alembic and make fail, and no file is written."""
    project.rows("DELETE FROM alembic_version")
    result = make(project, "db-migration", "m=x")
    assert result.code == 2
    assert "FAILED: " in result.stdout + result.stderr


def test_make_migration_without_a_message(tmp_path: Path) -> None:
    """Without m= it ends as a usage error that shows how."""
    result = make(Project(tmp_path, "sqlite", "clarinet"), "db-migration")
    assert result.code == 2
    assert 'make db-migration m="' in result.stderr
