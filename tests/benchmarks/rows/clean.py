"""Rows about the clean-up beside a writer, against one raw DELETE."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Optional

from tests.benchmarks.beside import Waits, writing
from tests.benchmarks.data import Layout, number_of_stale
from tests.benchmarks.figures import Figure, Starts, amount, compare, percentile
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import BenchmarkError, Run, seconds
from tests.benchmarks.rows.common import command, reference_on
from tests.benchmarks.transactions import Transaction, longest, transactions
from tests.support import Project

TARGET = 1.5
TRANSACTION_LIMIT_MS = 100
LOCKED = re.compile("locked|busy", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum waits of the writer, in milliseconds."""

    p99: float
    longest: Optional[float] = None


SQLITE_LIMITS = Limits(p99=300, longest=600)
POSTGRESQL_LIMITS = Limits(p99=30)


@dataclass
class Seen:
    """The measurements of all pairs of one row."""

    ours: list[Run] = field(default_factory=list)
    raw: list[Run] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    wal_bytes: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


def clean_wal(bench: Bench) -> list[Figure]:
    """SQLite with a write-ahead log."""
    return _sqlite(bench, "clean-sqlite", Layout.INTERLEAVED)


def clean_rollback(bench: Bench) -> list[Figure]:
    """SQLite with a rollback journal, its default; the target of the ratio is about WAL mode."""
    return _sqlite(bench, "clean-sqlite-rollback", Layout.INTERLEAVED, wal=False)


def clean_chronological(bench: Bench) -> list[Figure]:
    """The older half is stale, the keys are random: as a server leaves it."""
    return _sqlite(bench, "clean-sqlite-chronological", Layout.CHRONOLOGICAL)


def clean_sorted(bench: Bench) -> list[Figure]:
    """The older half is stale, and the keys grow with time."""
    return _sqlite(bench, "clean-sqlite-sorted", Layout.SORTED)


def clean_postgresql(bench: Bench) -> list[Figure]:
    """PostgreSQL with default settings."""
    seen, starts = _measure(bench, "postgresql", Layout.INTERLEAVED, wal=True)
    deleting = [item for item in seen.transactions if item.does("delete")]
    reading = [item for item in seen.transactions if item not in deleting]
    reading = [item for item in reading if item.does("access_token")]
    return [
        *_figures("clean-pg", seen, starts, POSTGRESQL_LIMITS, TARGET),
        amount(
            "clean-pg: longest transaction that deletes",
            longest(deleting),
            "ms",
            limit=TRANSACTION_LIMIT_MS,
            samples=len(deleting),
            note=f"longest that only reads: {longest(reading):.0f} ms;"
            f" WAL {max(seen.wal_bytes) / 2**20:.0f} MiB",
        ),
    ]


def _sqlite(bench: Bench, name: str, layout: Layout, *, wal: bool = True) -> list[Figure]:
    seen, starts = _measure(bench, "sqlite", layout, wal=wal)
    return _figures(name, seen, starts, SQLITE_LIMITS, TARGET if wal else None)


def _measure(bench: Bench, backend: str, layout: Layout, *, wal: bool) -> tuple[Seen, Starts]:
    rows = bench.sizes.rows_on(backend)
    seen = Seen()
    for _ in range(bench.sizes.heavy_pairs):
        with bench.copy(backend, rows, layout, wal=wal) as project:
            _ours(bench, project, rows, seen)
        with bench.copy(backend, rows, layout, wal=wal) as project:
            seen.raw.append(reference_on(project, "delete"))
            check_rows_left(project, rows)
    return seen, starts_of_clean_up(bench, backend, "delete")


def starts_of_clean_up(bench: Bench, backend: str, name: str) -> Starts:
    """Measure a clean-up and a reference on a database without sessions."""
    empty = bench.template(backend, 0, Layout.INTERLEAVED)
    return bench.starts(
        f"clean {name} {backend}",
        lambda: command(empty, "session", "cleanup"),
        lambda: reference_on(empty, name),
    )


def _ours(bench: Bench, project: Project, rows: int, seen: Seen) -> None:
    watched = watching(bench, project, seen) if project.server else nullcontext()
    with watched, writing(project) as waits:
        run = command(project, "session", "cleanup", "-o", "json")
    seen.ours.append(run)
    seen.waits += waits.during(run)
    seen.errors += waits.errors
    seen.batches.append(json.loads(run.stdout)["batches"])
    written = _committed(waits)
    check_rows_left(project, rows, written=written)


def _committed(waits: Waits) -> int:
    return len(waits.samples) - len(waits.errors)


def check_rows_left(project: Project, rows: int, *, written: int = 0) -> None:
    """Check that the stale rows are deleted, and all others exist.

    Args:
        project: Where.
        rows: How many sessions there were before.
        written: How many a writer added.

    Raises:
        BenchmarkError: It is not so: the time that was measured means nothing.
    """
    expected = rows - number_of_stale(rows) + written
    if project.count("access_token") != expected:
        raise BenchmarkError(f"{project.count('access_token')} rows left, not {expected}")


@contextmanager
def watching(bench: Bench, project: Project, seen: Seen) -> Iterator[None]:
    """Log all statements of a PostgreSQL database, and record transactions and WAL volume."""
    server = project.server
    assert server is not None
    name = project.database
    server.rows("postgres", f"ALTER DATABASE {name} SET log_min_duration_statement = 0")
    start = server.rows("postgres", "SELECT pg_current_wal_lsn()::text")[0][0]
    place = bench.server_log.stat().st_size
    yield
    query = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)::bigint"
    seen.wal_bytes.append(int(server.rows("postgres", query, start)[0][0]))
    with bench.server_log.open("rb") as log:
        log.seek(place)
        seen.transactions += transactions(log.read().decode("utf-8", "replace").splitlines())


def _figures(
    name: str, seen: Seen, starts: Starts, limits: Limits, target: Optional[float]
) -> list[Figure]:
    locked = [error for error in seen.errors if LOCKED.search(error)]
    number = len(seen.waits)
    return [
        compare(
            name,
            seconds(seen.ours),
            seconds(seen.raw),
            target=target,
            starts=starts,
            note=f"{seen.batches[-1]} batches",
        ),
        amount(
            f"{name}: writer's p99",
            percentile(seen.waits, 99),
            "ms",
            limit=limits.p99,
            samples=number,
            note=f"p50 {percentile(seen.waits, 50):.1f} ms",
        ),
        amount(
            f"{name}: writer's longest wait",
            max(seen.waits),
            "ms",
            limit=limits.longest,
            samples=number,
        ),
        amount(
            f"{name}: writer's errors",
            len(seen.errors),
            "",
            limit=0,
            samples=number,
            note=f"'locked' or 'busy': {len(locked)}",
        ),
    ]
