"""Measured processes: duration, peak memory, and the time of the first line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.benchmarks.figures import Starts
from tests.support import process_environment

ROOT = Path(__file__).parent.parent.parent
MEASURED = Path(__file__).parent / "measured.py"
# Times that an empty case is measured.
START_RUNS = 3
USAGE_ERROR = 2


class BenchmarkError(Exception):
    """A measured command failed."""


class UnknownCommandError(BenchmarkError):
    """The command does not exist in this version."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a process.

    Attributes:
        started: The monotonic clock at its start, the same in all processes.
        ended: The same at its end.
        memory: Peak resident memory in MiB.
        first: Seconds until the first line of its output; None without output.
        stdout: Its output.
    """

    started: float
    ended: float
    memory: float
    first: Optional[float]
    stdout: str

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.ended - self.started


def measure(command: list[str], *, env: Optional[Mapping[str, str]] = None) -> Run:
    """Run a command that must succeed.

    Args:
        command: Its words.
        env: Variables beside this process's own, without those of the tool.

    Raises:
        UnknownCommandError: It is a command of the tool that does not exist.
        BenchmarkError: It failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory, "result.json")
        errors = Path(directory, "errors")
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(MEASURED), str(result), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=directory,  # the installed package, not what lies here
                env=process_environment(env or {}),
                start_new_session=True,
            )
        with _gone_when_interrupted(process):
            first, stdout = _read(process)
        text = errors.read_text("utf-8", "replace")
        if not result.exists():
            raise BenchmarkError(f"{command}: {text}")
        code, started, ended, kibibytes = json.loads(result.read_text())
    if code == USAGE_ERROR and ("No such command" in text or "unknown command" in text):
        raise UnknownCommandError(text.splitlines()[0])
    if code != 0:
        raise BenchmarkError(f"{' '.join(command)}: exit code {code}: {text}")
    return Run(started, ended, kibibytes / 1024, first and first - started, stdout)


@contextlib.contextmanager
def _gone_when_interrupted(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Terminate the command when the benchmarks are interrupted."""
    try:
        yield
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _read(process: "subprocess.Popen[bytes]") -> tuple[Optional[float], str]:
    """Read all output; return when the first line arrived."""
    assert process.stdout is not None
    with process.stdout as stream:
        line = stream.readline()
        first = time.monotonic() if line else None
        rest = stream.read()
    process.wait()
    return first, (line + rest).decode()


def in_turn(
    pairs: int, ours: Callable[[], Run], reference: Callable[[], Run]
) -> tuple[list[Run], list[Run]]:
    """Run both commands alternately and return all runs of each."""
    runs = [(ours(), reference()) for _ in range(pairs)]
    return [pair[0] for pair in runs], [pair[1] for pair in runs]


def starts_of(ours: Callable[[], Run], reference: Callable[[], Run], *, decide: bool) -> Starts:
    """Measure both commands on an empty database."""
    first, second = in_turn(START_RUNS, ours, reference)
    middle = START_RUNS // 2
    return Starts(sorted(seconds(first))[middle], sorted(seconds(second))[middle], decide=decide)


def seconds(runs: list[Run]) -> list[float]:
    """Return the durations of runs."""
    return [run.seconds for run in runs]


def python(*words: str) -> list[str]:
    """Return the command line of this interpreter."""
    return [sys.executable, *words]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
