"""``clarinet config``: formats, exit codes, and settings that no other command can use."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.support import Result, run_in_process

CANARY = "c4n4ry-s3cr3t"
BROKEN = f'databse_driver = "postgresql"\ndatabase_port = 0\ndatabase_password = "{CANARY}"\n'
FORMATS = ("table", "json", "jsonl", "csv", "plain")


def run(project: Path, *words: str, **environment: str) -> Result:
    """Run a command on a project."""
    return run_in_process(["-C", str(project), *words], env=environment)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A project whose settings no other command can use."""
    file = tmp_path / "settings.toml"
    file.write_text(BROKEN, encoding="utf-8")
    file.chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize(("command", "code"), [("show", 0), ("check", 6), ("path", 0)])
def test_each_format_of_broken_settings(broken: Path, command: str, code: int, output: str) -> None:
    """Only data on standard output, in every format, and never a secret."""
    assert run(broken, "db", "status").code == 78
    result = run(broken, "config", command, "-o", output)
    assert result.code == code, result
    assert str(broken) in result.stdout
    assert CANARY not in result.stdout + result.stderr
    if output == "json":
        assert isinstance(result.json, list)
    if output == "jsonl":
        assert all(map(json.loads, result.stdout.splitlines()))
    if output == "csv":
        assert len(list(csv.DictReader(io.StringIO(result.stdout)))) > 1


def test_the_names_of_the_fields(broken: Path) -> None:
    """Scripts rely on them."""
    rows = run(broken, "config", "show", "debug", "-o", "json").json
    assert rows == [{"key": "debug", "value": False, "source": "default"}]
    assert list(run(broken, "config", "check", "-o", "json").json[0]) == [
        *("check", "status", "detail", "hint")
    ]
    assert list(run(broken, "config", "path", "-o", "json").json[0]) == ["path", "exists"]


def test_show_of_a_broken_file_warns(tmp_path: Path) -> None:
    """The values of that file are missing, with a warning."""
    (tmp_path / "settings.toml").write_text("a = [")
    result = run(tmp_path, "config", "show", "--changed")
    assert result.code == 0
    assert result.stdout == ""
    assert f"warning: {tmp_path / 'settings.toml'}: not valid TOML" in result.stderr


def test_show_of_an_unknown_key_is_a_usage_error(tmp_path: Path) -> None:
    """Exit 2 with the nearest name."""
    result = run(tmp_path, "config", "show", "cookie_nam")
    assert result.code == 2
    assert "did you mean cookie_name?" in result.stderr


def test_check_of_sound_settings(tmp_path: Path) -> None:
    """Exit 0, and each check has passed."""
    result = run(tmp_path, "config", "check", "-o", "json")
    assert result.code == 0
    assert {row["status"] for row in result.json} == {"ok"}


def test_warnings_count_with_strict(tmp_path: Path) -> None:
    """An overridden value is intended in settings.custom.toml: 6 only with --strict."""
    (tmp_path / "settings.toml").write_text('cookie_name = "a"\n')
    variables = {"CLARINET_COOKIE_NAME": "b"}
    assert run(tmp_path, "config", "check", **variables).code == 0
    result = run(tmp_path, "config", "check", "--strict", **variables)
    assert result.code == 6
    assert result.stderr == "error: found 0 errors, 1 warning\n"


def test_quiet_check_says_one_line(broken: Path) -> None:
    """With -q nothing on standard output, one line on the other."""
    result = run_in_process(["-C", str(broken), "-q", "config", "check"])
    assert (result.code, result.stdout) == (6, "")
    assert result.stderr.count("\n") == 1
