"""Places with odd names, links that lead nowhere, directories that are gone or closed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forked
from tests.faults.processes import assert_one_error
from tests.forked import ALEMBIC
from tests.support import PASSWORD, Project, Result, process_environment, run_in_process
from tests.users import SERVICE, STRANGER, as_user, give, run_as, shared_directory

NOT_UTF_8 = os.fsdecode(b"caf\xe9\xff")
NAMES = {
    "percent": "50%",
    "interpolation": "%(here)s",
    "url": "a #b?c=d&e%41",
    "quotes": 'it\'s "q" $HOME `id`',
    "newline": "a\nb",
    "braces": "{time}{0}{",
    "bytes": NOT_UTF_8,
    "long": "/".join(["x" * 150] * 2),
}
LOGGING = 'log_to_file = true\naudit_log = "audit.jsonl"\n'
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMMANDS = (
    "db init --password-stdin",
    "session cleanup",
    "migrate status",
    "migrate init",
    "migrate upgrade",
    "migrate create -m more --empty",
    "migrate history",
    "migrate upgrade",
    "migrate status --check",
    "migrate downgrade -1 --yes",
    "session cleanup",
    "admin promote admin@clarinet.ru",
)


@pytest.fixture(params=NAMES)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project whose directory has an odd name."""
    directory = tmp_path / NAMES[request.param]
    directory.mkdir(parents=True)
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings(LOGGING)
    return project


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_everything_works_under_an_odd_name(odd: Project, journal: str) -> None:
    """Each command ends with 0 and no warning, and all that is made is in the directory."""
    odd.rows(f"PRAGMA journal_mode={journal}")
    for line in COMMANDS:
        result = odd.run(*line.split(), stdin=PASSWORD)
        assert result.code == 0, (line, result)
        assert "warning" not in result.stderr, (line, result)
        assert "Traceback" not in result.stderr, (line, result)
    names = {path.name for path in odd.directory.iterdir()}
    assert names - {"__pycache__"} == {
        "alembic",
        "alembic.ini",
        "audit.jsonl",
        "clarinet.db",
        "clarinet.db.cleanup.lock",
        "clarinet.db.migration.lock",
        "logs",
        "settings.toml",
    }


def test_an_odd_name_is_shown_in_each_format(odd: Project) -> None:
    """The path is in the data, as an escape where it could not be text, and breaks no line."""
    assert odd.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    for output in ("table", "json", "jsonl", "csv", "plain"):
        for words in (("db", "status"), ("migrate", "status")):
            result = odd.run(*words, "-o", output)
            assert (result.code, result.stderr) == (0, ""), (output, result)
            assert "\udce9" not in result.stdout
    assert odd.json("db", "status")["url"] == f"sqlite:///{odd.file}"


@pytest.mark.parametrize("env", [{}, C_LOCALE], ids=["utf-8", "C"])
@pytest.mark.parametrize("name", ["bytes", "newline"])
def test_a_process_of_its_own_in_two_locales(
    tmp_path: Path, name: str, env: dict[str, str]
) -> None:
    """What is written and what is complained about is one line each, without a traceback."""
    directory = tmp_path / NAMES[name]
    directory.mkdir()
    project = Project(directory, "sqlite", "clarinet", environment=env)
    project.write_settings(LOGGING)
    missing = project.run_process("session", "stats")
    assert str(tmp_path) in assert_one_error(missing, 7)
    (directory / "logs" / "clarinet-cli.log").unlink()
    (directory / "logs" / "clarinet-cli.log").symlink_to("/dev/full")
    done = project.run_process("db", "init", "--password-stdin", stdin=PASSWORD)
    assert done.code == 0, done
    assert len(done.stderr.splitlines()) == 1, done
    assert done.stderr.startswith("warning: log file "), done
    shown = project.run_process("migrate", "status", "-o", "csv")
    assert (shown.code, len(shown.stdout.splitlines())) == (0, 2), shown


@pytest.mark.parametrize("name", ["percent", "interpolation", "bytes", "newline"])
def test_alembic_itself_works_under_an_odd_name(tmp_path: Path, name: str) -> None:
    """What 'migrate init' makes serves the 'alembic' command too."""
    directory = tmp_path / NAMES[name]
    directory.mkdir()
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings()
    assert project.run("migrate", "init").code == 0
    for words in (["upgrade", "head"], ["current"]):
        done = forked.run(words, script=ALEMBIC, directory=directory, env=process_environment({}))
        assert done.returncode == 0, done
    assert project.json("migrate", "status")["up_to_date"] is True


def test_an_environment_made_before_works_too(tmp_path: Path) -> None:
    """An alembic.ini with %(here)s, as 'migrate init' wrote it, in a directory with a '%'."""
    directory = tmp_path / NAMES["percent"]
    directory.mkdir()
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    assert project.run("migrate", "init").code == 0
    ini = directory / "alembic.ini"
    ini.write_text(ini.read_text().replace("= alembic", "= %(here)s/alembic"))
    assert project.run("migrate", "upgrade").code == 0
    status = project.json("migrate", "status")
    assert (status["environment"], status["up_to_date"]) == (str(directory / "alembic"), True)
    assert {row["result"] for row in project.json("migrate", "init", "--dry-run", "--force")} == {
        "would_update",
        "unchanged",
    }


# --- Links --------------------------------------------------------------------------------

LINE = {
    "reader": ("session", "stats"),
    "writer": ("session", "cleanup"),
    "init": ("db", "init", "--password-stdin"),
    "upgrade": ("migrate", "upgrade"),
    "status": ("db", "status"),
    "wait": ("db", "wait", "--timeout", "200ms"),
}


@pytest.mark.usefixtures("one_patient_try")
@pytest.mark.parametrize("words", LINE.values(), ids=list(LINE))
@pytest.mark.parametrize("kind", ["dangling", "no-directory", "itself", "circle"])
def test_a_link_that_leads_nowhere(tmp_path: Path, kind: str, words: tuple[str, ...]) -> None:
    """7 in one line that names the link and its target; nothing is created there."""
    directory, other = tmp_path / "project", tmp_path / "other"
    directory.mkdir()
    other.mkdir()
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings()
    target = {
        "dangling": other / "there.db",
        "no-directory": other / "none" / "there.db",
        "itself": project.file,
        "circle": other / "back.db",
    }[kind]
    project.file.symlink_to(target)
    if kind == "circle":
        target.symlink_to(project.file)
    line = assert_one_error(project.run(*words, stdin=PASSWORD), 7)
    reason = "symbolic links" if kind in {"itself", "circle"} else "No such file"
    assert f"it is a link to {target}: " in line
    assert reason in line
    assert {path.name for path in directory.iterdir()} == {"settings.toml", "clarinet.db"}
    assert {path.name for path in other.iterdir()} <= {"back.db"}


def test_a_link_to_a_database_is_that_database(project: Project, tmp_path: Path) -> None:
    """Lock and database are in the directory of the target; no file is created beside the link."""
    if project.server is not None:
        return
    linked = Project(tmp_path / "linked", "sqlite", "other")
    linked.directory.mkdir()
    linked.write_settings()
    linked.file.symlink_to(project.file)
    assert linked.run("session", "cleanup").code == 0
    assert {path.name for path in linked.directory.iterdir()} == {"settings.toml", "other.db"}
    assert project.file.with_name(f"{project.file.name}.cleanup.lock").exists()


# --- Directories --------------------------------------------------------------------------


def test_too_long_a_name_of_a_database(tmp_path: Path) -> None:
    """One line with the system's reason, for readers, writers and 'db init'."""
    project = Project(tmp_path, "sqlite", "x" * 300)
    project.write_settings()
    for suffix in ("", ".db"):
        (tmp_path / "settings.toml").write_text(f'database_name = "{"x" * 300}{suffix}"\n')
        for words in (LINE["reader"], LINE["writer"], LINE["init"]):
            assert "too long" in assert_one_error(project.run(*words, stdin=PASSWORD), 7)


@pytest.mark.parametrize("words", LINE.values(), ids=list(LINE))
def test_too_long_a_path_for_sqlite(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The limit is named, and 'db init' leaves no empty file that cannot be opened."""
    directory = tmp_path.joinpath(*["x" * 200] * 3)
    directory.mkdir(parents=True)
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings()
    line = assert_one_error(project.run(*words, stdin=PASSWORD), 7)
    assert "504 bytes" in line
    assert [path.name for path in directory.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize(
    ("place", "code"),
    [("file", 2), ("missing", 2), ("x" * 300, 2), ("sub/../sub/..", 0), ("loop", 2)],
)
def test_the_option_for_the_project(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str, code: int
) -> None:
    """A file, nothing, too long a name, a circle: usage; a relative one with '..' is fine."""
    (project.directory / "sub").mkdir()
    (project.directory / "file").touch()
    (project.directory / "loop").symlink_to("loop")
    monkeypatch.chdir(project.directory)
    result = run_in_process(["-C", place, "session", "stats", "-o", "json"])
    if code == 0:
        assert (result.code, result.stderr) == (0, ""), result
    else:
        assert "--project: " in assert_one_error(result, code)


@pytest.fixture
def shared() -> Iterator[Project]:
    """A project without a database in a directory that others reach."""
    with shared_directory() as directory:
        give(SERVICE, directory)
        yield Project(directory, "sqlite", "clarinet")


@pytest.mark.parametrize("words", [LINE["reader"], LINE["init"], LINE["upgrade"]])
def test_a_directory_that_is_closed(shared: Project, words: tuple[str, ...]) -> None:
    """78 before anything is tried: its settings cannot be known; owner and mode are named."""
    shared.write_settings()
    shared.directory.chmod(0o600)
    line = assert_one_error(run_as(STRANGER, shared, *words, stdin=PASSWORD), 78)
    assert f"{shared.directory}: Permission denied" in line
    assert f"it belongs to {SERVICE.uid}:{SERVICE.gid}, mode 0600" in line


def test_a_directory_that_is_closed_above(shared: Project) -> None:
    """The option names it: usage, in one line."""
    inner = Project(shared.directory / "closed" / "inner", "sqlite", "clarinet")
    inner.directory.mkdir(parents=True)
    inner.directory.parent.chmod(0o700)
    line = assert_one_error(run_as(STRANGER, inner, *inner.words(*LINE["reader"])), 2)
    assert "--project: " in line
    assert "Permission denied" in line


def test_a_database_in_a_closed_directory(shared: Project) -> None:
    """7 with whose the directory is."""
    closed = shared.directory / "closed"
    closed.mkdir(0o700)
    (shared.directory / "settings.toml").write_text('database_name = "closed/clarinet"\n')
    for words in (LINE["reader"], LINE["writer"], LINE["init"]):
        line = assert_one_error(run_as(STRANGER, shared, *words, stdin=PASSWORD), 7)
        assert "Permission denied: its directory: it belongs to root:root, mode 0700" in line


def in_a_deleted_directory(*words: str) -> Result:
    """Run a command in a child whose current directory is gone."""

    def act() -> list[object]:
        gone = Path(tempfile.mkdtemp())
        os.chdir(gone)
        gone.rmdir()
        result = run_in_process(list(words), stdin=PASSWORD)
        return [result.code, result.stdout, result.stderr]

    return Result(*as_user(SERVICE, act))


def test_the_current_directory_is_gone(shared: Project) -> None:
    """78 in one line; with '-C' everything works as elsewhere."""
    shared.write_settings(LOGGING)
    (shared.directory / "settings.toml").chmod(0o644)
    line = assert_one_error(in_a_deleted_directory("session", "stats"), 78)
    assert "the current directory no longer exists" in line
    assert_one_error(in_a_deleted_directory("-C", ".", "db", "init", "--password-stdin"), 78)
    directory = str(shared.directory)
    for line in COMMANDS:
        result = in_a_deleted_directory("-C", directory, *line.split())
        assert result.code == 0, (line, result)


def test_the_project_vanishes(tmp_path: Path) -> None:
    """It is not created again."""
    project = Project(tmp_path / "project", "sqlite", "clarinet")
    project.directory.mkdir()
    project.write_settings(LOGGING)
    shutil.rmtree(project.directory)
    for words in LINE.values():
        assert_one_error(project.run(*words, stdin=PASSWORD), 2)
    assert not project.directory.exists()
