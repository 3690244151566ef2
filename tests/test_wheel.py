"""The wheel: what is in it, and that it works with nothing of the repository beside it."""

import importlib.util
import json
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from clarinet_cli import __version__
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.services.schema.environments import packaged_location
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests.migrations.helpers import files
from tests.patience import PATIENCE_SECONDS
from tests.support import CHEAP_ARGON2, process_environment

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the repository."""
    target = tmp_path_factory.mktemp("wheel")
    build = ["build", "--wheel", "--no-isolation", "--outdir"]
    if importlib.util.find_spec("hatchling") is None:
        build = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    done = subprocess.run(
        [sys.executable, "-m", *build, target, "."],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the contents of the wheel."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the tool of the wheel in *directory*."""
    return subprocess.run(
        [sys.executable, "-m", "clarinet_cli", *words],
        cwd=directory,
        env=process_environment({"PYTHONPATH": str(installed)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_name_has_the_version(wheel: Path) -> None:
    """The version is the package's own, and any Python 3 can install it."""
    assert wheel.name == f"clarinet_cli-{__version__}-py3-none-any.whl"


def test_migrations_are_in_it(installed: Path) -> None:
    """env.py, the template and every revision are inside the package, as in the repository."""
    found = files(installed / "clarinet_cli" / "alembic")
    assert {"env.py", "script.py.mako"} < set(found)
    assert any(BASE_REVISION in name for name in found)
    assert found == files(packaged_location())


def test_package_is_whole_and_typed(installed: Path) -> None:
    """Every module of the package and the mark of a typed package are in it."""
    ours = files(REPOSITORY / "clarinet_cli")
    assert "py.typed" in ours
    found = files(installed / "clarinet_cli")
    assert {name: found.get(name) for name in ours} == ours


def test_nothing_else_is_in_it(wheel: Path) -> None:
    """No tests, no byte code, no databases or settings; nothing beside the one package."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"clarinet_cli", f"clarinet_cli-{__version__}.dist-info"}
    assert [name for name in names if "test" in name or "__pycache__" in name] == []
    suffixes = {Path(name).suffix for name in names if name.startswith("clarinet_cli/")}
    assert suffixes == {".py", ".mako", ".typed"}
    assert [name for name in names if name.endswith((".db", ".toml", ".pyc"))] == []


def test_both_commands_are_declared(installed: Path) -> None:
    """The names clarinet and clarinet-cli start the same program."""
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    lines = entries.read_text().splitlines()
    targets = {line.split(" = ")[0]: line.split(" = ")[1] for line in lines if " = " in line}
    assert targets == dict.fromkeys(["clarinet", "clarinet-cli"], "clarinet_cli.cli.main:main")


def test_works_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    """The migrations inside the wheel create a database, and the password is shown once."""
    (tmp_path / "settings.toml").write_text(CHEAP_ARGON2)
    done = run(installed, tmp_path, "db", "init", "--generate-password", "-o", "json")

    assert (done.returncode, done.stderr) == (0, "")
    steps = json.loads(done.stdout)
    assert [(step["step"], step["result"]) for step in steps] == [
        ("database", "created"),
        ("schema", "created"),
        ("roles", "created"),
        ("superuser", "created"),
    ]
    password = steps[-1]["password"]
    assert len(password) >= 12
    with closing(sqlite3.connect(tmp_path / "clarinet.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert {row[0] for row in tables} == {*TABLE_NAMES, "alembic_version"}
        users = connection.execute('SELECT email, is_superuser FROM "user"').fetchall()
        assert users == [("admin@clarinet.ru", 1)]
    assert password.encode() not in (tmp_path / "clarinet.db").read_bytes()

    status = run(installed, tmp_path, "migrate", "status", "-o", "json")
    assert (status.returncode, status.stderr) == (0, "")
    found = json.loads(status.stdout)
    assert found["environment"] == str(installed / "clarinet_cli" / "alembic")
    assert (found["current"], found["up_to_date"]) == ([BASE_REVISION], True)
