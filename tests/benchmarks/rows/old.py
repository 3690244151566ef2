"""Rows about the clean-up against the loop that fetches, deletes and sleeps."""

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, compare
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import Run, in_turn, seconds
from tests.benchmarks.rows.clean import check_rows_left, starts_of_clean_up
from tests.benchmarks.rows.common import command, reference_on

SQLITE_TARGET = 1 / 8
POSTGRESQL_TARGET = 1 / 50


def old_sqlite(bench: Bench) -> list[Figure]:
    """SQLite with a write-ahead log."""
    return _against_loop(bench, "clean-old-sqlite", "sqlite", SQLITE_TARGET)


def old_postgresql(bench: Bench) -> list[Figure]:
    """PostgreSQL, where the loop scans its own dead rows repeatedly."""
    return _against_loop(bench, "clean-old-pg", "postgresql", POSTGRESQL_TARGET)


def _against_loop(bench: Bench, name: str, backend: str, target: float) -> list[Figure]:
    sizes = bench.sizes

    def ours() -> Run:
        with bench.copy(backend, sizes.rows, Layout.INTERLEAVED) as project:
            run = command(project, "session", "cleanup")
            check_rows_left(project, sizes.rows)
        return run

    def loop() -> Run:
        with bench.copy(backend, sizes.rows, Layout.INTERLEAVED) as project:
            run = reference_on(project, "old")
            check_rows_left(project, sizes.rows)
        return run

    first, second = in_turn(sizes.old_pairs, ours, loop)
    starts = starts_of_clean_up(bench, backend, "old")
    note = "" if sizes.full else "the target is about full sizes: the loop grows faster"
    return [
        compare(
            name,
            seconds(first),
            seconds(second),
            target=target if sizes.full else None,
            starts=starts,
            note=note,
        )
    ]
