"""Rows about the checks of a database."""

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, compare
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import in_turn, seconds
from tests.benchmarks.rows.common import command, reference_on

DOCTOR_TARGET = 2.5
CHECK_TARGET = 2.0


def doctor(bench: Bench) -> list[Figure]:
    """All checks of the installation against one count of its sessions."""
    project = bench.template("sqlite", bench.sizes.rows_on("sqlite"), Layout.INTERLEAVED)
    ours, stats = in_turn(
        bench.sizes.pairs,
        lambda: command(project, "doctor"),
        lambda: command(project, "session", "stats"),
    )
    return [compare("doctor", seconds(ours), seconds(stats), target=DOCTOR_TARGET)]


def check(bench: Bench) -> list[Figure]:
    """The file, the schema and each row against SQLite's check of the file."""
    project = bench.template("sqlite", bench.sizes.rows_on("sqlite"), Layout.INTERLEAVED)
    empty = bench.template("sqlite", 0, Layout.INTERLEAVED)
    ours, integrity = in_turn(
        bench.sizes.pairs,
        lambda: command(project, "db", "check"),
        lambda: reference_on(project, "integrity"),
    )
    starts = bench.starts(
        "check",
        lambda: command(empty, "db", "check"),
        lambda: reference_on(empty, "integrity"),
    )
    figure = compare("check", seconds(ours), seconds(integrity), target=CHECK_TARGET, starts=starts)
    return [figure]
