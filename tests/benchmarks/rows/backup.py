"""Rows about a backup beside a writer, against VACUUM INTO without one."""

import json

from tests.benchmarks.beside import writing
from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, amount, compare, percentile
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import BenchmarkError, Run, seconds
from tests.benchmarks.rows.common import command, reference_on
from tests.support import Project

TARGET = 1.3
WRITER_P99_MS = 30
QUICK = "--quick-check"
NAME = "backup-sqlite"
LAYOUT = Layout.CHRONOLOGICAL


def backup_sqlite(bench: Bench) -> list[Figure]:
    """SQLite with a write-ahead log, verified quickly and whole, and with a rollback journal."""
    quick = _Seen()
    whole = _Seen()
    rollback = _Seen()
    rows = bench.sizes.rows
    for _ in range(bench.sizes.heavy_pairs):
        with bench.copy("sqlite", rows, LAYOUT, wal=True) as project:
            quick.add(bench, project, QUICK)
            whole.add(bench, project)
        with bench.copy("sqlite", rows, LAYOUT, wal=False) as project:
            rollback.add(bench, project, QUICK)
    empty = bench.template("sqlite", 0, LAYOUT)
    starts = bench.starts(
        NAME,
        lambda: command(empty, "db", "backup", str(empty.directory / "backup"), "--force"),
        lambda: reference_on(empty, "vacuum"),
    )
    return [
        compare(NAME, quick.ours, quick.reference, target=TARGET, starts=starts, note=QUICK),
        *quick.waits_as_figures(NAME, limit=WRITER_P99_MS),
        compare(f"{NAME}, integrity_check", whole.ours, whole.reference, starts=starts),
        *whole.waits_as_figures(f"{NAME}, integrity_check", limit=WRITER_P99_MS),
        compare(f"{NAME}-rollback", rollback.ours, rollback.reference, starts=starts, note=QUICK),
        *rollback.waits_as_figures(f"{NAME}-rollback"),
    ]


class _Seen:
    """The pairs of one kind of backup."""

    def __init__(self) -> None:
        self.ours: list[float] = []
        self.reference: list[float] = []
        self.waits: list[float] = []
        self.errors = 0
        self.lock_seconds = 0.0

    def add(self, bench: Bench, project: Project, *options: str) -> None:
        """Measure one pair."""
        file = project.directory / "backup"
        with writing(project) as waits:
            run = command(project, "db", "backup", str(file), *options, "-o", "json")
        report = json.loads(run.stdout)
        if report["rows"]["access_token"] < bench.sizes.rows:
            raise BenchmarkError(f"only {report['rows']} in the backup")
        self.lock_seconds = max(self.lock_seconds, report.get("lock_seconds", 0.0))
        file.unlink()
        reference: Run = reference_on(project, "vacuum")
        self.ours += seconds([run])
        self.reference += seconds([reference])
        self.waits += waits.during(run)
        self.errors += len(waits.errors)

    def waits_as_figures(self, name: str, *, limit: float | None = None) -> list[Figure]:
        """Return the waits of the writer as figures."""
        number = len(self.waits)
        note = f"longest {max(self.waits):.0f} ms"
        if self.lock_seconds:
            note += f"; reported {self.lock_seconds:.2f} s"
        p99 = percentile(self.waits, 99)
        return [
            amount(f"{name}: writer's p99", p99, "ms", limit=limit, samples=number, note=note),
            amount(f"{name}: writer's errors", self.errors, "", limit=0, samples=number),
        ]
