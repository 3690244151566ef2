"""Which Alembic environment a project uses, and how it gets one of its own."""

import shutil
from pathlib import Path

import pytest

from clarinet_cli.exceptions import ConfigurationError, ConflictError, RefusedError
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.services.schema import init_environment
from clarinet_cli.services.schema.environments import find_environment, packaged_location
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests import forked
from tests.forked import ALEMBIC
from tests.migrations.helpers import SECOND, create_empty_database, files, table_names, versions
from tests.migrations.helpers import write_revision as add_revision
from tests.support import Project, process_environment

MARKING = "from pathlib import Path\nPath({marker!r}).touch()\n"
INI = "[alembic]\nscript_location = {location}\n"
TOML = '[tool.alembic]\nscript_location = "{location}"\n'
SETTINGS = {"alembic.ini": INI, "pyproject.toml": TOML}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty project directory."""
    path = tmp_path / "here"
    path.mkdir()
    return path


def foreign_environment(project: Path, location: str = "alembic") -> Path:
    """Write a server's environment whose code, when run, makes the file that is returned."""
    marker = project / "code-was-run"
    scripts = project / location
    (scripts / "versions").mkdir(parents=True)
    text = MARKING.format(marker=str(marker))
    (scripts / "env.py").write_text(text)
    (scripts / "script.py.mako").write_text("")
    (scripts / "versions" / "0001_first.py").write_text(
        f'{text}\n"""After {BASE_REVISION}."""\n'
        f'revision = "e0c342bf4487"\ndown_revision = "{BASE_REVISION}"\n# revision = x\n'
    )
    return marker


def own_scripts(project: Path, location: str) -> Path:
    """Copy the packaged environment to a directory of the project, without settings for it."""
    target = project / location
    shutil.copytree(packaged_location(), target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_project_without_environment_uses_the_packaged_one(directory: Path) -> None:
    """An empty directory gets the packaged environment, at its first revision."""
    found = find_environment(directory)
    assert found.packaged
    assert found.location == packaged_location()
    assert BASE_REVISION in {script.revision for script in found.scripts.walk_revisions()}


def test_pyproject_without_alembic_is_no_environment(directory: Path) -> None:
    """A pyproject.toml without a section of Alembic changes nothing."""
    (directory / "pyproject.toml").write_text('[project]\nname = "app"\n')
    assert find_environment(directory).packaged


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("location", ["alembic", "db/migrations"])
def test_own_environment_is_found(directory: Path, name: str, location: str) -> None:
    """alembic.ini, or [tool.alembic] of pyproject.toml, names the project's environment."""
    scripts = own_scripts(directory, location)
    (directory / name).write_text(SETTINGS[name].format(location=f"%(here)s/{location}"))

    found = find_environment(directory)

    assert not found.packaged
    assert found.location.resolve() == scripts
    assert found.scripts.get_current_head() == BASE_REVISION


@pytest.mark.parametrize("name", SETTINGS)
def test_relative_location_starts_at_the_project(
    directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative script_location means the project's own, wherever the command is run."""
    scripts = own_scripts(directory, "migrations")
    (directory / name).write_text(SETTINGS[name].format(location="migrations"))
    monkeypatch.chdir("/")

    found = find_environment(directory)

    assert not found.packaged
    assert found.location.resolve() == scripts
    assert found.scripts.get_current_head() == BASE_REVISION


def test_relative_location_does_not_mean_the_current_directory(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's project is not mistaken for the one that the command is run from."""
    elsewhere = tmp_path / "elsewhere"
    own_scripts(elsewhere, "migrations")
    foreign_environment(directory, "migrations")
    (directory / "alembic.ini").write_text(INI.format(location="migrations"))
    monkeypatch.chdir(elsewhere)

    assert find_environment(directory).packaged


@pytest.mark.parametrize("name", SETTINGS)
def test_foreign_environment_is_ignored(directory: Path, name: str) -> None:
    """A server's environment in the directory is not used, and none of its code is run."""
    marker = foreign_environment(directory)
    (directory / name).write_text(SETTINGS[name].format(location="%(here)s/alembic"))

    found = find_environment(directory)

    assert found.packaged
    assert found.location == packaged_location()
    assert list(found.scripts.walk_revisions())
    assert not marker.exists()


@pytest.mark.parametrize("name", SETTINGS)
def test_commands_run_no_foreign_code(empty_project: Project, name: str) -> None:
    """With a server's environment the tables are created on request, by the packaged one only."""
    marker = foreign_environment(empty_project.directory)
    text = SETTINGS[name].format(location="%(here)s/alembic")
    (empty_project.directory / name).write_text(text)

    words = ("db", "init", "--schema-anyway", "--password-stdin")
    result = empty_project.run(*words, stdin="a good long phrase")
    assert result.code == 0, result
    status = empty_project.json("migrate", "status")

    assert status["environment"] == str(packaged_location())
    assert status["up_to_date"] is True
    assert versions(empty_project) == [BASE_REVISION]
    assert table_names(empty_project) == {*TABLE_NAMES, "alembic_version"}
    assert not marker.exists()


def test_environment_that_only_names_clarinets_revision_is_foreign(directory: Path) -> None:
    """Clarinet's revision as a predecessor or in a comment does not make it Clarinet's."""
    marker = foreign_environment(directory)
    (directory / "alembic" / "versions" / "notes.py").write_text(f'# revision = "{BASE_REVISION}"')
    (directory / "alembic.ini").write_text(INI.format(location="%(here)s/alembic"))
    assert find_environment(directory).packaged
    assert not marker.exists()


def test_settings_that_name_a_missing_directory_are_foreign(directory: Path) -> None:
    """An alembic.ini without its environment leads to the packaged one."""
    (directory / "alembic.ini").write_text(INI.format(location="%(here)s/gone"))
    assert find_environment(directory).packaged


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.alembic\n"),
        ("alembic.ini", "this is no ini file\n"),
        ("alembic.ini", "[alembic]\nscript_location = %(nowhere)s/alembic\n"),
        ("alembic.ini", "[alembic]\nscript_location = a\nscript_location = b\n"),
    ],
)
def test_broken_file_is_a_configuration_error(directory: Path, name: str, text: str) -> None:
    """A file that cannot be read as what it is names itself and ends with 78."""
    (directory / name).write_text(text)
    with pytest.raises(ConfigurationError, match=name):
        find_environment(directory)


def test_pyproject_that_is_not_utf8_is_a_configuration_error(directory: Path) -> None:
    """Bytes that are not UTF-8 make the file invalid too."""
    (directory / "pyproject.toml").write_bytes(b'[project]\nname = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        find_environment(directory)


def test_init_writes_an_environment(directory: Path) -> None:
    """All files are reported as created, are there, and are found as the project's own."""
    changes = init_environment(directory, force=False)

    assert {change.result for change in changes} == {"created"}
    assert {Path(change.path) for change in changes} == {
        path for path in directory.rglob("*") if path.is_file()
    }
    assert {"alembic.ini", "alembic/env.py", "alembic/script.py.mako"} < set(files(directory))
    found = find_environment(directory)
    assert not found.packaged
    assert found.location == directory / "alembic"
    assert found.scripts.get_current_head() == BASE_REVISION


def test_init_again_changes_nothing(directory: Path) -> None:
    """The second time every file is reported as unchanged; own revisions stay."""
    init_environment(directory, force=False)
    add_revision(directory, SECOND)
    before = files(directory)

    changes = init_environment(directory, force=False)

    assert len(changes) == len(before) - 1
    assert {change.result for change in changes} == {"unchanged"}
    assert files(directory) == before


def test_init_refuses_to_overwrite_and_writes_nothing(directory: Path) -> None:
    """One file with other content: a conflict that names it, and no file is written at all."""
    own = directory / "alembic" / "script.py.mako"
    own.parent.mkdir()
    own.write_text("my own template\n")
    before = files(directory)

    with pytest.raises(ConflictError, match=r"script\.py\.mako") as caught:
        init_environment(directory, force=False)

    assert "--force" in str(caught.value.hint)
    assert files(directory) == before


def test_init_with_force_overwrites(directory: Path) -> None:
    """--force writes what differs, creates what is missing, and reports each."""
    init_environment(directory, force=False)
    wanted = files(directory)
    (directory / "alembic" / "script.py.mako").write_text("my own template\n")
    (directory / "alembic.ini").unlink()

    changes = init_environment(directory, force=True)

    results = {str(Path(change.path).relative_to(directory)): change.result for change in changes}
    assert results.pop("alembic/script.py.mako") == "updated"
    assert results.pop("alembic.ini") == "created"
    assert set(results.values()) == {"unchanged"}
    assert files(directory) == wanted


def test_dry_run_writes_nothing(directory: Path) -> None:
    """A dry run reports each file as the real run would, in its own words."""
    changes = init_environment(directory, force=False, dry_run=True)
    assert {change.result for change in changes} == {"would_create"}
    assert list(directory.iterdir()) == []

    done = init_environment(directory, force=False)
    assert [change.path for change in done] == [change.path for change in changes]
    (directory / "alembic" / "env.py").write_text("pass\n")
    before = files(directory)
    changes = init_environment(directory, force=True, dry_run=True)
    assert sorted(change.result for change in changes) == ["unchanged"] * 3 + ["would_update"]
    assert files(directory) == before


def test_dry_run_reports_a_conflict_too(directory: Path) -> None:
    """What the real run refuses the dry run refuses."""
    (directory / "alembic.ini").write_text("[alembic]\n")
    with pytest.raises(ConflictError):
        init_environment(directory, force=False, dry_run=True)
    assert files(directory) == {"alembic.ini": b"[alembic]\n"}


@pytest.mark.parametrize("force", [False, True])
def test_init_beside_a_foreign_environment_is_refused(directory: Path, force: bool) -> None:
    """A server's environment is neither overwritten nor run, not even with --force."""
    marker = foreign_environment(directory)
    (directory / "alembic.ini").write_text(INI.format(location="%(here)s/alembic"))
    before = files(directory)
    with pytest.raises(RefusedError):
        init_environment(directory, force=force)
    assert files(directory) == before
    assert not marker.exists()


def test_init_respects_where_pyproject_puts_the_environment(directory: Path) -> None:
    """The files are written to the script_location of pyproject.toml."""
    (directory / "pyproject.toml").write_text(TOML.format(location="%(here)s/db/migrations"))

    init_environment(directory, force=False)

    found = find_environment(directory)
    assert not found.packaged
    assert found.location.resolve() == directory / "db" / "migrations"
    assert not (directory / "alembic.ini").exists()


@pytest.mark.parametrize("force", [False, True])
def test_init_beside_a_foreign_location_of_pyproject_is_refused(
    directory: Path, force: bool
) -> None:
    """Files that neither alembic nor clarinet would use are not written."""
    foreign_environment(directory, "migrations")
    (directory / "pyproject.toml").write_text(TOML.format(location="%(here)s/migrations"))
    before = files(directory)
    with pytest.raises(RefusedError):
        init_environment(directory, force=force)
    assert files(directory) == before


def test_unwritable_directory_is_one_clear_error(directory: Path) -> None:
    """Where a directory should be there is a file: the error names the path."""
    (directory / "alembic").write_text("a file\n")
    result = Project(directory, "sqlite", "clarinet").run("migrate", "init")
    assert result.code in (1, 4), result
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert str(directory / "alembic") in result.stderr
    assert "unexpected" not in result.stderr
    assert files(directory)["alembic"] == b"a file\n"


@pytest.mark.parametrize("pyproject", [False, True])
def test_environment_works_with_alembic_and_with_clarinet(
    empty_project: Project, pyproject: bool
) -> None:
    """alembic, run from the project directory, migrates the database that clarinet sees."""
    create_empty_database(empty_project)
    if pyproject:
        text = TOML.format(location="%(here)s/alembic")
        (empty_project.directory / "pyproject.toml").write_text(text)
    init_environment(empty_project.directory, force=False)
    add_revision(empty_project.directory, SECOND)

    done = forked.run(
        ["upgrade", "head"],
        script=ALEMBIC,
        directory=empty_project.directory,
        env=process_environment({}),
    )

    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert versions(empty_project) == [SECOND]
    assert set(TABLE_NAMES) < table_names(empty_project)
    status = empty_project.json("migrate", "status")
    assert status["environment"] == str(empty_project.directory / "alembic")
    assert status["current"] == status["heads"] == [SECOND]
    assert status["up_to_date"] is True
    assert empty_project.run("migrate", "downgrade", "-1", "--yes").code == 0
    assert versions(empty_project) == [BASE_REVISION]


def test_an_env_py_of_another_version_is_an_error_with_a_remedy(project: Project) -> None:
    """Its imports fail: the file is named, and 'migrate init --force' ends the trouble."""
    init_environment(project.directory, force=False)
    env = project.directory / "alembic" / "env.py"
    env.write_text("from clarinet_cli.no_longer_there import COMPARISON\n")
    result = project.run("migrate", "downgrade", "base", "--yes")
    assert result.code == 1, result
    assert "env.py is from another version of clarinet-cli" in result.stderr
    assert "hint: 'clarinet migrate init --force'" in result.stderr
    assert project.run("migrate", "init", "--force").code == 0
    assert project.run("migrate", "downgrade", "base", "--yes").code == 0
