"""Logging: levels on standard error, the log file, and no secret in any traceback."""

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarinet_cli.exceptions import ConfigurationError
from clarinet_cli.settings import Settings, load_settings
from clarinet_cli.utils.logger import (
    LOG_FILE,
    configure_file_log,
    configure_logging,
    logger,
    logging_is_configured,
)
from tests.support import Project, process_environment, replaced_environment, run_in_process

CANARY = "c4n4ry-s3cr3t"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.fixture(autouse=True)
def _own_sinks() -> Iterator[None]:
    """After a test no sink writes into its files, and the other loggers are as before."""
    handlers, level = logging.root.handlers[:], logging.root.level
    # Else a command of an earlier test has caught the warnings of its own test alone.
    logging.captureWarnings(capture=False)
    yield
    logger.remove()
    logging.captureWarnings(capture=False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def configured(directory: Path, toml: str = "") -> Settings:
    """Return the settings of a project that logs to a file."""
    (directory / "settings.toml").write_text(f"log_to_file = true\n{toml}")
    with replaced_environment({}):
        return load_settings(directory)


def log_file(directory: Path) -> Path:
    """Return where the log file of a project is, by default."""
    return directory / "logs" / LOG_FILE


def records(directory: Path) -> list[dict[str, object]]:
    """Return the log file's records: one JSON object a line."""
    lines = log_file(directory).read_text("utf-8").splitlines()
    return [json.loads(line)["record"] for line in lines]


def fail(secret: str) -> None:
    """Log an error whose traceback has a secret among its variables."""
    password = secret
    try:
        _ = 1 / len(password[:0])
    except ZeroDivisionError:
        logger.exception("it failed")


# --- Standard error ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (-1, ["CRITICAL"]),
        (0, ["WARNING", "ERROR", "CRITICAL"]),
        (1, ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        (2, list(LEVELS)),
        (5, list(LEVELS)),
    ],
)
def test_verbosity_decides_what_is_shown(
    capsys: pytest.CaptureFixture[str], verbosity: int, shown: list[str]
) -> None:
    """Quiet, normal, -v and -vv: from which level on records reach standard error."""
    configure_logging(verbosity)
    for level in LEVELS:
        logger.log(level, f"record-{level}")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [level for level in LEVELS if f"record-{level}" in captured.err] == shown
    assert len(captured.err.splitlines()) == len(shown)


@pytest.mark.parametrize(("verbosity", "shown"), [(-1, 0), (0, 0), (1, 0), (2, 1)])
def test_a_reported_error_is_not_shown_twice(
    capsys: pytest.CaptureFixture[str], verbosity: int, shown: int
) -> None:
    """Errors that the command line reports are logged only with -vv."""
    configure_logging(verbosity)
    logger.bind(reported=True).error("the database is away")
    logger.error("something else")
    text = capsys.readouterr().err
    assert text.count("the database is away") == shown
    assert text.count("something else") == (0 if verbosity < 0 else 1)


def test_without_verbosity_a_warning_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No timestamps without -v."""
    configure_logging()
    logger.warning("the clock is wrong")
    assert capsys.readouterr().err == "warning: the clock is wrong\n"


def test_braces_and_markup_in_a_message_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Untrusted text in a record is neither a format nor a colour."""
    configure_logging(2)
    text = "{password} {0} <red>x</red> {exception} %s"
    logger.warning(text)
    configure_logging()
    logger.warning(text)
    assert capsys.readouterr().err.count(text) == 2


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Twice configured is not twice shown, and the last one counts."""
    configure_logging(2)
    configure_logging(2)
    logger.info("once")
    configure_logging(0)
    logger.info("never")
    text = capsys.readouterr().err
    assert (text.count("once"), text.count("never")) == (1, 0)
    assert logging_is_configured()


def test_records_of_the_libraries_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The standard library's logging is shown by the same levels."""
    configure_logging(0)
    logging.getLogger("some.library").info("hidden")
    logging.getLogger("some.library").warning("seen")
    configure_logging(1)
    logging.getLogger("some.library").info("visible")
    text = capsys.readouterr().err
    assert text.startswith("warning: seen\n")
    assert "visible" in text
    assert "hidden" not in text


def test_a_library_may_have_levels_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A number between two levels is shown by its weight, named or not, and breaks nothing."""
    configure_logging()
    logging.addLevelName(35, "NOTICE")
    logging.getLogger("some.library").log(35, "seen")
    logging.getLogger("some.library").log(36, "seen too")
    logging.getLogger("some.library").log(15, "hidden")
    assert capsys.readouterr().err == "level 35: seen\nlevel 36: seen too\n"


def test_python_warnings_are_for_those_who_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's deprecation is not the operator's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(0)
        warnings.warn("old-fashioned", DeprecationWarning, stacklevel=1)
        assert capsys.readouterr().err == ""
        configure_logging(2)
        warnings.warn("out of date", DeprecationWarning, stacklevel=1)
        assert "out of date" in capsys.readouterr().err


@pytest.mark.parametrize("verbosity", [0, 1, 2])
def test_a_pool_reports_lost_connections_to_those_who_debug(
    capsys: pytest.CaptureFixture[str], verbosity: int
) -> None:
    """That a connection cannot be terminated is no second error beside the command's own."""
    configure_logging(verbosity)
    pool = logging.getLogger("sqlalchemy.pool.impl.AsyncAdaptedQueuePool")
    pool.error("Exception terminating connection", exc_info=OSError("gone"))
    assert ("terminating" in capsys.readouterr().err) == (verbosity == 2)


@pytest.mark.parametrize("name", ["aiosqlite", "sqlalchemy.engine.Engine"])
def test_statements_and_their_values_are_never_logged(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Drivers log each statement with its values, hashes and tokens included: not here."""
    configure_logging(2)
    logging.getLogger(name).debug("INSERT … %s", CANARY)
    logging.getLogger(name).info("INSERT … %s", CANARY)
    logging.getLogger(name).warning("the disk is slow")
    text = capsys.readouterr().err
    assert "the disk is slow" in text
    assert CANARY not in text


def test_asyncio_reports_a_lost_error_without_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that was never awaited: its kind and place, on the terminal and in the file."""

    async def lose(secret: str) -> None:
        async def failing() -> None:
            raise ValueError(secret)

        context: dict[str, Any] = {
            "message": "an error was lost",
            "task": asyncio.create_task(failing()),
            "exception": ValueError(secret),
        }
        await asyncio.wait([context["task"]])
        asyncio.get_running_loop().call_exception_handler(context)

    configure_logging(2)
    configure_file_log(configured(tmp_path, 'log_level = "DEBUG"\n'))
    asyncio.run(lose(CANARY))
    logger.complete()
    for text in (capsys.readouterr().err, log_file(tmp_path).read_text()):
        assert "an error was lost" in text
        assert "ValueError" in text
        assert CANARY not in text


@pytest.mark.parametrize("options", [(), ("-v",), ("-vv",), ("-q",)])
def test_a_command_logs_an_error_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    """One error line at every verbosity; the traceback only with -vv."""
    toml = 'database_driver = "postgresql"\ndatabase_host = "/no/such/directory"\n'
    (tmp_path / "settings.toml").write_text(f'{toml}database_password = "{CANARY}"\n')
    result = run_in_process(["-C", str(tmp_path), *options, "session", "stats"])
    assert (result.code, result.stdout) == (7, "")
    lines = result.stderr.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert ("Traceback" in result.stderr) == ("-vv" in options)
    assert CANARY not in result.stderr
    if "-vv" not in options:
        assert result.stderr.count("the socket does not exist") == 1


# --- The file ------------------------------------------------------------------------------


def test_without_the_setting_there_is_no_file(tmp_path: Path) -> None:
    """log_to_file is off by default: nothing is made."""
    with replaced_environment({}):
        assert configure_file_log(load_settings(tmp_path)) is None
    logger.error("nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_file_has_one_json_object_a_line(tmp_path: Path) -> None:
    """Each record with its level, its text and its time, newlines and quotes included."""
    assert configure_file_log(configured(tmp_path)) == log_file(tmp_path)
    texts = ["first", 'two\nlines "quoted"', "жанна 🦆 {brace}"]
    for text in texts:
        logger.info(text)
    found = records(tmp_path)
    assert [record["message"] for record in found] == texts
    assert {record["level"]["name"] for record in found} == {"INFO"}  # type: ignore[index]


def test_the_file_is_plain_text_when_asked(tmp_path: Path) -> None:
    """log_serialize = false: lines for people."""
    configure_file_log(configured(tmp_path, "log_serialize = false\n"))
    logger.info("for people")
    (line,) = log_file(tmp_path).read_text().splitlines()
    assert line.endswith("for people")
    assert not line.startswith("{")


def test_the_file_has_a_level_of_its_own(tmp_path: Path) -> None:
    """log_level is of the file; the terminal's verbosity does not matter."""
    configure_logging(-1)
    configure_file_log(configured(tmp_path, 'log_level = "warning"\n'))
    for level in LEVELS:
        logger.log(level, level)
    found = [record["message"] for record in records(tmp_path)]
    assert found == ["WARNING", "ERROR", "CRITICAL"]


def test_the_files_level_holds_for_libraries_too(tmp_path: Path) -> None:
    """A quiet command still logs to the file what its level asks for."""
    configure_logging(-1)
    configure_file_log(configured(tmp_path))
    logging.getLogger("some.library").info("a revision ran")
    assert "a revision ran" in [record["message"] for record in records(tmp_path)]


def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    """Mode 0600, with any umask, and after a rotation too."""
    settings = configured(tmp_path, 'log_rotation = "400 B"\n')
    before = os.umask(0)
    try:
        configure_file_log(settings)
        for number in range(5):
            logger.info(f"record {number}")
    finally:
        os.umask(before)
    files = list(log_file(tmp_path).parent.iterdir())
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_rotation_is_honoured_and_loses_nothing(tmp_path: Path) -> None:
    """A small file is put aside when it is full; all records are in one of the files."""
    configure_file_log(configured(tmp_path, 'log_rotation = "2 KB"\n'))
    for number in range(10):
        logger.info(f"record {number}")
    files = list(log_file(tmp_path).parent.iterdir())
    assert len(files) > 1
    lines = [line for file in files for line in file.read_text().splitlines()]
    found = {json.loads(line)["record"]["message"] for line in lines}
    assert found == {f"record {number}" for number in range(10)}


def test_retention_is_honoured(tmp_path: Path) -> None:
    """At a rotation old files go, younger ones stay."""
    directory = log_file(tmp_path).parent
    directory.mkdir()
    old = directory / "clarinet-cli.2026-01-01_00-00-00_000000.log"
    young = directory / "clarinet-cli.2026-01-02_00-00-00_000000.log"
    other = directory / "server.log"
    for file in (old, young, other):
        file.write_text("{}\n")
    weeks_ago = time.time() - 15 * 86400
    for file in (old, other):
        os.utime(file, (weeks_ago, weeks_ago))
    configure_file_log(configured(tmp_path, 'log_rotation = "400 B"\nlog_retention = "2 weeks"\n'))
    for number in range(3):
        logger.info(f"record {number}")
    assert not old.exists()
    assert young.exists()
    assert other.exists()


@pytest.mark.parametrize("place", ["logs", "absolute"])
def test_the_directory_is_the_projects_or_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """log_dir starts at the project directory, not where the tool was called."""
    (project := tmp_path / "project").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    directory = tmp_path / "var" / "log" if place == "absolute" else project / "deep" / "logs"
    value = str(directory) if place == "absolute" else "deep/logs"
    configure_file_log(configured(project, f'log_dir = "{value}"\n'))
    logger.info("here")
    assert "here" in (directory / LOG_FILE).read_text()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "a#b%41", "{time}", "{name}", "a{b", "été"])
def test_odd_directory_names_are_just_names(tmp_path: Path, name: str) -> None:
    """Braces in a directory's name are not a template: the log is in the project."""
    (project := tmp_path / name).mkdir()
    configure_file_log(configured(project))
    logger.info("here")
    assert [record["message"] for record in records(project)] == ["here"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_log_that_cannot_be_written_is_a_warning(project: Project) -> None:
    """A file instead of the directory: the command works, with one warning."""
    project.write_settings("log_to_file = true\n")
    blocked = project.directory / "logs"
    blocked.write_text("in the way")
    result = project.run("session", "stats", "-o", "json")
    assert (result.code, result.json["total"]) == (0, 0)
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: ")
    assert str(blocked) in line
    assert blocked.read_text() == "in the way"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("log_rotation", "often"),
        ("log_rotation", "99:99"),
        ("log_rotation", "9999999999 years"),
        ("log_retention", "long"),
        ("log_dir", "a\\u0000b"),
    ],
)
def test_options_that_mean_nothing_are_a_configuration_error(
    tmp_path: Path, key: str, value: str
) -> None:
    """The error names the key and, like every error about a setting, the file."""
    with pytest.raises(ConfigurationError) as caught:
        configure_file_log(configured(tmp_path, f'{key} = "{value}"\n'))
    others = {"log_rotation", "log_retention", "log_dir"} - {key}
    assert key in caught.value.message
    assert not [other for other in others if other in caught.value.message]
    assert f"{tmp_path}/settings.toml" in caught.value.message


def test_a_command_with_such_an_option_ends_with_78(tmp_path: Path) -> None:
    """One error line before anything is done."""
    configured(tmp_path, 'log_rotation = "often"\n')
    result = run_in_process(["-C", str(tmp_path), "db", "init", "--generate-password"])
    assert (result.code, result.stdout) == (78, "")
    assert result.stderr.startswith("error: ")
    assert "log_rotation" in result.stderr.splitlines()[0]
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml"}


def test_a_failed_command_is_in_the_file_with_its_traceback(tmp_path: Path) -> None:
    """Who reads the log later finds the cause, and no secret; the terminal has one line."""
    keys = 'database_driver = "postgresql"\ndatabase_host = "/no/such/directory"\n'
    configured(tmp_path, f'{keys}database_password = "{CANARY}"\n')
    result = run_in_process(["-C", str(tmp_path), "session", "stats"])
    assert result.code == 7
    assert "Traceback" not in result.stderr
    text = log_file(tmp_path).read_text()
    assert "Traceback" in text
    assert CANARY not in text


# --- Secrets in tracebacks -----------------------------------------------------------------


@pytest.mark.parametrize("serialize", ["true", "false"])
def test_no_sink_shows_the_values_of_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], serialize: str
) -> None:
    """A traceback has the lines of code, not what the variables hold."""
    configure_logging(2)
    configure_file_log(configured(tmp_path, f"log_serialize = {serialize}\n"))
    fail(CANARY)
    for text in (capsys.readouterr().err, log_file(tmp_path).read_text()):
        assert "ZeroDivisionError" in text
        assert "in fail" in text
        assert CANARY not in text


FAILING_PROGRAM = """\
import sys
from clarinet_cli.utils.logger import logger
def fail(again=False):
    password = "-".join(["c4n4ry", "s3cr3t"])
    try:
        1 / len(password[:0])
    except ZeroDivisionError:
        logger.exception("it failed")
        if again:
            raise
"""
IN_A_COMMAND = """\
from clarinet_cli.cli.execution import execute
from clarinet_cli.cli.runtime import Runtime
class Command:
    def main(self, **_):
        fail(again=True)
sys.exit(execute(Command(), [], Runtime(verbosity=2)))
"""


@pytest.mark.parametrize("ending", ["fail()", IN_A_COMMAND], ids=["import", "command"])
def test_a_fresh_interpreter_shows_no_values_either(tmp_path: Path, ending: str) -> None:
    """Between the import and configure_logging no sink of loguru shows secrets."""
    script = tmp_path / "program.py"  # a file: tracebacks show values beside source lines only
    script.write_text(FAILING_PROGRAM + ending)
    done = subprocess.run(
        [sys.executable, script],
        env=process_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert CANARY not in done.stdout + done.stderr
    if ending is IN_A_COMMAND:
        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr
        assert "error: unexpected ZeroDivisionError" in done.stderr


def test_a_hosts_own_sinks_are_left_alone() -> None:
    """A program that has set up loguru before the import keeps its sinks."""
    program = (
        "import sys\nfrom loguru import logger as mine\n"
        "mine.remove()\nmine.add(sys.stdout, format='host {message}')\n"
        "from clarinet_cli.utils.logger import logger\n"
        "logger.warning('heard')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=process_environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("host heard\n", "")


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2])
def test_asyncio_is_logged_only_with_vv(capfd: pytest.CaptureFixture[str], verbosity: int) -> None:
    """Messages of asyncio about a lost connection are not errors of the command.

    With -vv its first line is shown; what it shows of the objects may quote a row.
    """
    configure_logging(verbosity)
    noise = logging.getLogger("asyncio")
    noise.error(f"Task exception was never retrieved\nfuture: <Task exception={CANARY}>")
    noise.error("Future exception was never retrieved", exc_info=ValueError(CANARY))
    noise.warning("Fatal error on SSL transport")
    text = capfd.readouterr().err
    assert CANARY not in text
    assert ("never retrieved" in text) == (verbosity == 2)
    assert "error" not in text.lower() or verbosity == 2
