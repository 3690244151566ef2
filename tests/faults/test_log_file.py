"""A log file that cannot be written, rotated or cleared: one line, and the command succeeds."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Optional

import pytest

from clarinet_cli.settings import load_settings
from clarinet_cli.utils.logger import LOG_FILE, configure_file_log, configure_logging, logger
from tests.faults.processes import run_alone
from tests.faults.test_broken_databases import small_disk
from tests.support import Project, replaced_environment
from tests.users import ROOT, SERVICE, STRANGER, User, as_user, give, run_as, shared_directory

SMALL = 'log_rotation = "700 B"\nlog_retention = "1 day"\n'
PLAIN = 'log_to_file = true\nlog_level = "DEBUG"\nlog_serialize = false\n'
VERBOSITY = [("-q",), (), ("-v",)]


@pytest.fixture
def backend() -> str:
    """SQLite: the log is the same beside a server."""
    return "sqlite"


@pytest.fixture
def place() -> Iterator[Path]:
    """A project directory that other users reach, with a directory for the log."""
    with shared_directory() as directory:
        (directory / "logs").mkdir()
        give(SERVICE, directory, directory / "logs")
        yield directory


def warnings_of(stderr: str) -> list[str]:
    """Return the lines that warn; none may belong to a traceback."""
    assert "Traceback" not in stderr, stderr
    assert "Logging error" not in stderr, stderr
    return [line for line in stderr.splitlines() if line.startswith("warning: ")]


def log_records(
    user: User,
    directory: Path,
    toml: str,
    number: int,
    between: Optional[Callable[[int], None]] = None,
) -> list[str]:
    """Log so many records as a user, something done before each; return what stderr got."""
    (directory / "settings.toml").write_text(PLAIN + toml)

    def act() -> Any:
        with redirect_stderr(io.StringIO()) as errors, replaced_environment({}):
            configure_logging(-1)
            configure_file_log(load_settings(directory))
            for index in range(number):
                if between is not None:
                    between(index)
                logger.info(f"record {index:03d} {'x' * 60}")
            logger.remove()
        return errors.getvalue()

    return str(as_user(user, act)).splitlines()


def logged(directory: Path) -> list[int]:
    """Return the numbers of the records in all files of the log, in order."""
    lines = [
        line
        for path in (directory / "logs").glob("clarinet-cli*.log")
        if path.exists()
        for line in path.read_text().splitlines()
        if " record " in line
    ]
    return sorted(int(line.partition(" record ")[2][:3]) for line in lines)


# --- A full disk --------------------------------------------------------------------------


@pytest.mark.parametrize("options", VERBOSITY)
@pytest.mark.parametrize("words", [("session", "cleanup"), ("db", "status")])
def test_a_full_disk_costs_one_line(
    project: Project, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The command ends with 0; also with '-q' one line reports the lost records."""
    project.write_settings(PLAIN)
    logs = project.directory / "logs"
    logs.mkdir()
    with small_disk(logs, 65536) as mounted:
        if mounted:
            filler = logs / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        else:
            (logs / LOG_FILE).symlink_to("/dev/full")
        result = run_alone(project, *options, *words)
    assert result.code == 0, result
    (line,) = warnings_of(result.stderr)
    assert line == f"warning: log file {logs / LOG_FILE}: No space left on device"


def test_records_are_written_again_when_room_comes_back(place: Path) -> None:
    """A warning says once that records may be lost; later records are complete."""

    def between(index: int) -> None:
        if index == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = {10: 500, 20: resource.RLIM_INFINITY}
        if index in limits:
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits[index], most))

    lines = log_records(ROOT, place, "", 30, between)
    assert [line.partition(": ")[0] for line in lines] == ["warning"], lines
    assert "File too large" in lines[0]
    found = logged(place)
    assert set(range(10)) | set(range(20, 30)) <= set(found)
    assert len(found) == len(set(found))


def test_a_line_that_was_cut_short_is_ended(place: Path) -> None:
    """The next command's record has a line of its own."""
    (place / "logs" / LOG_FILE).write_text('{"text": "half of a rec')
    assert log_records(ROOT, place, "", 1) == []
    first, second = (place / "logs" / LOG_FILE).read_text().splitlines()
    assert first == '{"text": "half of a rec'
    assert "record 000" in second


# --- Rotation and retention ---------------------------------------------------------------


def test_a_rotation_that_is_not_permitted(place: Path) -> None:
    """The file may be written, its directory not: all records continue into the file."""
    file = place / "logs" / LOG_FILE
    file.touch()
    give(SERVICE, file)
    give(ROOT, place / "logs")
    lines = log_records(SERVICE, place, SMALL, 40)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"warning: log file {file}: Permission denied: ")
    assert logged(place) == list(range(40))
    assert [path.name for path in (place / "logs").iterdir()] == [LOG_FILE]


def test_an_old_file_that_can_not_be_deleted(place: Path) -> None:
    """Another user's in a sticky directory: one line with its name, no record lost."""
    give(ROOT, place / "logs", mode=0o1777)
    old = place / "logs" / "clarinet-cli.2026-01-01_00-00-00_000000.log"
    old.touch()
    give(STRANGER, old)
    os.utime(old, (time.time() - 10 * 86400,) * 2)
    lines = log_records(SERVICE, place, SMALL, 40)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"warning: log file {old}: ")
    assert logged(place) == list(range(40))
    assert old.exists()


def test_the_directory_is_deleted_during_the_run(place: Path) -> None:
    """No traceback; with the next rotation at the latest there is a log again."""

    def between(index: int) -> None:
        if index == 10:
            shutil.rmtree(place / "logs")

    lines = log_records(SERVICE, place, SMALL, 40, between)
    assert len(lines) <= 1, lines
    assert logged(place)[-10:] == list(range(30, 40))


def test_another_process_rotates_at_the_same_time(place: Path) -> None:
    """The file that is to be put aside is gone already: no record is lost."""
    file = place / "logs" / LOG_FILE

    def between(index: int) -> None:
        if index % 5 == 0 and file.exists():
            file.rename(file.with_name(f"clarinet-cli.{index:03d}.log"))

    lines = log_records(SERVICE, place, SMALL, 40, between)
    assert len(lines) <= 1, lines
    assert logged(place) == list(range(40))


def test_rotated_files_are_the_services_also_by_root(place: Path) -> None:
    """Root's records, rotations included, leave the service's log to the service."""
    assert log_records(ROOT, place, SMALL, 20) == []
    assert log_records(SERVICE, place, SMALL, 20) == []
    owners = {path.stat().st_uid for path in (place / "logs").iterdir()}
    assert (owners, len(list((place / "logs").iterdir())) > 2) == ({SERVICE.uid}, True)


# --- No log at all ------------------------------------------------------------------------


@pytest.mark.parametrize("options", VERBOSITY)
@pytest.mark.parametrize("kind", ["foreign", "directory", "read-only"])
def test_a_log_that_can_not_be_opened(
    place: Path, ready_templates: dict[str, str], options: tuple[str, ...], kind: str
) -> None:
    """Owner and mode are named where they are why; the command's own work is done."""
    project = Project(place, "sqlite", "clarinet")
    project.write_settings(PLAIN)
    shutil.copyfile(ready_templates["sqlite"], project.file)
    give(SERVICE, project.file)
    file = place / "logs" / LOG_FILE
    with contextlib.ExitStack() as stack:
        match kind:
            case "foreign":
                file.touch()
                give(ROOT, file, mode=0o600)
                wanted = "Permission denied: it belongs to root:root, mode 0600"
            case "directory":
                file.mkdir()
                wanted = "Is a directory"
            case _:
                if stack.enter_context(small_disk(file.parent, 65536)):
                    remount = ["mount", "-o", "remount,ro", str(file.parent)]
                    subprocess.run(remount, check=True)
                    wanted = "Read-only file system"
                else:
                    give(ROOT, file.parent)
                    wanted = "Permission denied"
        result = run_as(SERVICE, project, *options, "session", "cleanup")
    assert result.code == 0, result
    (line,) = warnings_of(result.stderr)
    assert line.startswith(f"warning: log file {file}: {wanted}"), line


def test_no_byte_of_a_path_breaks_the_log(tmp_path: Path) -> None:
    """A name that is not UTF-8 is in the record as JSON escapes it."""
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings("log_to_file = true\n")
    project.file.touch()
    (directory / "clarinet.db.cleanup.lock").mkdir()
    result = project.run("session", "cleanup")
    assert (result.code, len(result.stderr.splitlines())) == (1, 1), result
    lines = (directory / "logs" / LOG_FILE).read_text("utf-8").splitlines()
    assert any("caf\udce9" in json.loads(line)["text"] for line in lines)
