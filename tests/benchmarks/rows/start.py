"""Rows about the start of the program."""

from collections.abc import Mapping
from typing import Optional

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, compare
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import BenchmarkError, in_turn, measure, python, seconds
from tests.benchmarks.rows.common import command

Environment = Optional[Mapping[str, str]]
HELP_TARGET = 2.3
LIGHT_TARGET = 1.25
STATS_START_TARGET = 1.6
COMPLETE = {
    "_CLARINET_COMPLETE": "complete_bash",
    "_CLARINET_LINE": "clarinet session cl",
    "_CLARINET_WORD": "cl",
}


def help_and_completion(bench: Bench) -> list[Figure]:
    """Help, version and completion against the import of typer."""
    return [
        _start(bench, "help", HELP_TARGET, "Usage: clarinet", "--help"),
        _start(bench, "help: --version", LIGHT_TARGET, "clarinet", "--version"),
        _start(bench, "help: completion", LIGHT_TARGET, "cleanup", env=COMPLETE),
    ]


def _start(
    bench: Bench, name: str, target: float, expected: str, *words: str, env: Environment = None
) -> Figure:
    ours, typer = in_turn(
        bench.sizes.pairs,
        lambda: measure(python("-m", "clarinet_cli", *words), env=env),
        lambda: measure(python("-c", "import typer")),
    )
    if not all(expected in run.stdout for run in ours):
        raise BenchmarkError(f"{name}: {ours[0].stdout!r} without {expected!r}")
    return compare(name, seconds(ours), seconds(typer), target=target)


def stats_start(bench: Bench) -> list[Figure]:
    """The shortest useful command against the import of the libraries that it needs."""
    project = bench.template("sqlite", 0, Layout.INTERLEAVED)
    ours, imports = in_turn(
        bench.sizes.pairs,
        lambda: command(project, "session", "stats"),
        lambda: measure(python("-c", "import sqlalchemy.ext.asyncio, aiosqlite")),
    )
    figure = compare("stats-start", seconds(ours), seconds(imports), target=STATS_START_TARGET)
    return [figure]
