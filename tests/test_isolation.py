"""What a fresh interpreter loads: help, version and completion stay light."""

import json
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import NamedTuple, Optional

import pytest

from clarinet_cli import __version__
from tests.support import process_environment

HEAVY = {"sqlalchemy", "sqlmodel", "pydantic", "alembic", "loguru", "argon2"}
RESULTS = {"clarinet_cli.results"}  # making its dataclasses takes 20 ms
COMPLETE = {"_CLARINET_COMPLETE": "complete_bash"}
# Runs the console script's function and then tells which modules are there.
PROGRAM = """\
import json, os, sys
sys.argv = ["clarinet", *json.loads(sys.argv[1])]
from clarinet_cli.cli.main import main
code = None
try:
    main()
except SystemExit as error:
    code = error.code
sys.stdout.flush()
names = {name.partition(".")[0] for name in sys.modules}
names |= {"clarinet_cli.results"} & set(sys.modules)
with open(os.environ["MODULES"], "w") as file:
    json.dump([code, sorted(names)], file)
"""


class Ending(NamedTuple):
    """How a fresh interpreter ended, and the top-level modules that it had loaded."""

    code: Optional[int]
    stdout: str
    stderr: str
    modules: set[str]


def fresh(directory: Path, *words: str, **environment: str) -> Ending:
    """Run the command line in an interpreter of its own, in a directory without settings."""
    modules = directory / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=directory,
        env=process_environment({"MODULES": str(modules), **environment}),
        capture_output=True,
        text=True,
        check=False,
    )
    code, names = json.loads(modules.read_text())
    return Ending(code, done.stdout, done.stderr, set(names))


def completed(directory: Path, line: str, **environment: str) -> Ending:
    """Ask for completion as bash does, at the end of a line."""
    words = {"_CLARINET_LINE": line, "_CLARINET_WORD": line.rpartition(" ")[2]}
    return fresh(directory, **COMPLETE, **words, **environment)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["session", "--help"]], ids=" ".join)
def test_help_loads_rich_and_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    """Help is shown without the libraries that the commands need."""
    ending = fresh(tmp_path, *words)
    assert (ending.code or 0, ending.stderr) == (0, "")
    assert "Usage: clarinet" in ending.stdout
    assert ending.modules & HEAVY == set()
    assert "rich" in ending.modules


def test_version_loads_nothing(tmp_path: Path) -> None:
    """The version is printed without Rich too."""
    ending = fresh(tmp_path, "--version")
    assert (ending.code or 0, ending.stdout, ending.stderr) == (0, f"clarinet {__version__}\n", "")
    assert ending.modules & (HEAVY | RESULTS | {"rich"}) == set()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("clarinet se", {"session"}),
        ("clarinet ", {"db", "admin", "session", "migrate", "help", "init-migrations"}),
        ("clarinet session list-u", {"list-user"}),
        ("clarinet session cleanup --expired", {"--expired-only"}),
    ],
)
def test_completion_loads_nothing(tmp_path: Path, line: str, expected: set[str]) -> None:
    """Completion answers at once: no library of the commands, and no Rich."""
    ending = completed(tmp_path, line)
    assert (ending.code or 0, ending.stderr) == (0, "")
    kind, *values = ending.stdout.split()
    assert kind == "values"
    assert expected <= set(values)
    if not line.endswith(" "):
        assert set(values) == expected
    assert ending.modules & (HEAVY | RESULTS | {"rich"}) == set()


def test_completion_works_beside_a_broken_settings_file(tmp_path: Path) -> None:
    """The settings are not read to complete a word."""
    (tmp_path / "settings.toml").write_text("= broken")
    ending = completed(tmp_path, "clarinet ad")
    assert (ending.code or 0, ending.stdout.split(), ending.stderr) == (0, ["values", "admin"], "")


@pytest.mark.parametrize("words", [["db", "check"], ["doctor"]], ids=" ".join)
def test_a_check_of_sqlite_loads_no_driver_of_postgresql(tmp_path: Path, words: list[str]) -> None:
    """That of SQLite is the only one that is needed."""
    url = f"sqlite:///{tmp_path}/missing.db"
    ending = fresh(tmp_path, *words, CLARINET_DATABASE_URL=url)
    assert "missing.db" in ending.stdout + ending.stderr
    assert "asyncpg" not in ending.modules


def test_a_wrong_option_loads_nothing_heavy(tmp_path: Path) -> None:
    """A typing mistake is answered without any library of the commands."""
    ending = fresh(tmp_path, "session", "stats", "--nonsense")
    assert (ending.code, ending.stdout) == (2, "")
    assert ending.stderr.startswith("error: ")
    assert ending.modules & (HEAVY | RESULTS | {"rich"}) == set()


def test_importing_the_package_loads_nothing_else() -> None:
    """The package itself is a version and imports nothing."""
    program = (
        "import sys; before = set(sys.modules); import clarinet_cli;"
        "print(sorted(set(sys.modules) - before), clarinet_cli.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # An editable installation may load its finder; the package loads no module of its own.
    assert "clarinet_cli." not in done.stdout
    assert done.stdout.strip().endswith(__version__)


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    """'python -m clarinet_cli' is the same program."""
    done = subprocess.run(
        [sys.executable, "-m", "clarinet_cli", "--version"],
        cwd=tmp_path,
        env=process_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"clarinet {__version__}\n", "")


def test_both_console_scripts_are_the_same_app() -> None:
    """The distribution has 'clarinet' and 'clarinet-cli', and both lead to one function."""
    scripts = entry_points(group="console_scripts")
    found = {name: scripts[name] for name in ("clarinet", "clarinet-cli")}
    assert {script.value for script in found.values()} == {"clarinet_cli.cli.main:main"}
    assert callable(found["clarinet"].load())
    assert distribution("clarinet-cli").version == __version__


@pytest.mark.parametrize("name", ["clarinet", "clarinet-cli"])
def test_a_console_script_runs(tmp_path: Path, name: str) -> None:
    """The installed command answers, with its own exit code."""
    script = Path(sys.executable).parent / name
    done = subprocess.run(
        [script, "help", "exit-codes", "-o", "plain"],
        cwd=tmp_path,
        env=process_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "78" in done.stdout
