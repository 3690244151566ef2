"""Rows about commands that read many sessions."""

import statistics

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, amount, compare, missing
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import (
    BenchmarkError,
    Run,
    UnknownCommandError,
    in_turn,
    seconds,
)
from tests.benchmarks.rows.common import command, reference_on
from tests.support import Project

STATS_TARGET = 0.3
LIST_TARGET = 2.0
LIST_MEMORY_MIB = 80
FIRST_LINE_TARGET = 1.5


def stats_sqlite(bench: Bench) -> list[Figure]:
    """One statement against six, on SQLite."""
    return _stats(bench, "stats-sqlite", "sqlite")


def stats_postgresql(bench: Bench) -> list[Figure]:
    """One statement against six, on PostgreSQL."""
    return _stats(bench, "stats-pg", "postgresql")


def _stats(bench: Bench, name: str, backend: str) -> list[Figure]:
    project = bench.template(backend, bench.sizes.rows_on(backend), Layout.INTERLEAVED)
    empty = bench.template(backend, 0, Layout.INTERLEAVED)
    ours, counts = in_turn(
        bench.sizes.pairs,
        lambda: command(project, "session", "stats"),
        lambda: reference_on(project, "counts"),
    )
    starts = bench.starts(
        name,
        lambda: command(empty, "session", "stats"),
        lambda: reference_on(empty, "counts"),
    )
    return [compare(name, seconds(ours), seconds(counts), target=STATS_TARGET, starts=starts)]


def list_sessions(bench: Bench) -> list[Figure]:
    """All sessions as JSON lines, on SQLite."""
    project = bench.template("sqlite", bench.sizes.list_rows, Layout.INTERLEAVED)
    empty = bench.template("sqlite", 0, Layout.INTERLEAVED)
    try:
        ours, plain = in_turn(
            bench.sizes.pairs, lambda: _list(project), lambda: reference_on(project, "lines")
        )
    except UnknownCommandError as error:
        return [missing("list", str(error))]
    if ours[0].stdout != plain[0].stdout:
        raise BenchmarkError("list and its reference write different lines")
    nothing = [_list(empty) for _ in ours]
    starts = bench.starts("list", lambda: _list(empty), lambda: reference_on(empty, "lines"))
    first = [run.first for run in ours if run.first is not None]
    return [
        compare("list", seconds(ours), seconds(plain), target=LIST_TARGET, starts=starts),
        amount(
            "list: memory",
            statistics.median(run.memory for run in ours),
            "MiB",
            limit=LIST_MEMORY_MIB,
            samples=len(ours),
            note=f"the reference: {plain[0].memory:.0f} MiB",
        ),
        compare("list: first line / empty case", first, seconds(nothing), target=FIRST_LINE_TARGET),
    ]


def _list(project: Project) -> Run:
    return command(project, "session", "list", "-o", "jsonl")
