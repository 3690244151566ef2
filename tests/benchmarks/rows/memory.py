"""Rows about the memory of a clean-up, which must not grow with the table."""

from typing import NamedTuple

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, compare
from tests.benchmarks.places import Bench
from tests.benchmarks.rows.common import command

TARGET = 1.2
# What a clean-up gives to SQLite for pages while it is alone; a smaller file never fills it.
PAGE_CACHE_MIB = 256.0


class Peak(NamedTuple):
    """Peak memory of a clean-up, and how much of it may be page cache, in MiB."""

    memory: float
    cache: float


def memory_sqlite(bench: Bench) -> list[Figure]:
    """SQLite has its pages in the tool's own memory, up to the size of the cache."""
    return _grown(bench, "clean-memory-sqlite", "sqlite")


def memory_postgresql(bench: Bench) -> list[Figure]:
    """The server has the pages; the client has only counters."""
    return _grown(bench, "clean-memory-pg", "postgresql")


def _grown(bench: Bench, name: str, backend: str) -> list[Figure]:
    sizes = bench.sizes

    def peak(rows: int) -> Peak:
        with bench.copy(backend, rows, Layout.INTERLEAVED) as project:
            size = 0.0 if project.server else project.file.stat().st_size / 2**20
            return Peak(command(project, "session", "cleanup").memory, min(size, PAGE_CACHE_MIB))

    pairs = [(peak(sizes.rows), peak(sizes.few_rows)) for _ in range(sizes.old_pairs)]
    large, small = pairs[-1]
    more_cache = large.cache - small.cache
    return [
        compare(
            name,
            [one.memory for one, _ in pairs],
            [other.memory + more_cache for _, other in pairs],
            target=TARGET,
            unit="MiB",
            note=f"reference: {small.memory:.0f} MiB and {more_cache:.0f} MiB more page cache",
        )
    ]
