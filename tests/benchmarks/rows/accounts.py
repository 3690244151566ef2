"""The rows about listing, exporting and applying many accounts."""

import statistics

from tests.benchmarks.figures import Figure, amount, compare
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import BenchmarkError, in_turn, seconds
from tests.benchmarks.rows.common import command, reference_on

TARGET = 2.0
MEMORY_MIB = 100
GROWTH_TARGET = 11.0
GROWTH = 10  # rows of the large file for each row of the small one


def list_accounts(bench: Bench) -> list[Figure]:
    """All accounts as JSON lines, on SQLite."""
    return _lines(bench, "accounts-list", "accounts", "admin", "list", "--all", "-o", "jsonl")


def export_accounts(bench: Bench) -> list[Figure]:
    """All accounts as a file for ``admin apply``, on SQLite."""
    return _lines(bench, "accounts-export", "declared", "admin", "export", "-o", "jsonl")


def apply_dry(bench: Bench) -> list[Figure]:
    """A file that changes nothing against one with a tenth of its rows."""
    number = bench.sizes.list_rows // 2
    project = bench.accounts(bench.sizes.list_rows)
    lines = command(project, "admin", "export", "-o", "jsonl").stdout.splitlines(keepends=True)
    large, small = bench.directory / "large.jsonl", bench.directory / "small.jsonl"
    large.write_text("".join(lines[:number]), "utf-8")
    small.write_text("".join(lines[: number // GROWTH]), "utf-8")
    words = ("admin", "apply", "--dry-run", "-o", "jsonl")
    ours, reference = in_turn(
        bench.sizes.pairs,
        lambda: command(project, *words, str(large)),
        lambda: command(project, *words, str(small)),
    )
    note = f"{number} and {number // GROWTH} rows"
    return [
        compare(
            "accounts-apply-dry",
            seconds(ours),
            seconds(reference),
            target=GROWTH_TARGET,
            note=note,
        )
    ]


def _lines(bench: Bench, name: str, reference: str, *words: str) -> list[Figure]:
    project, empty = bench.accounts(bench.sizes.list_rows), bench.accounts(0)
    ours, plain = in_turn(
        bench.sizes.pairs,
        lambda: command(project, *words),
        lambda: reference_on(project, reference),
    )
    if ours[0].stdout != plain[0].stdout:
        message = f"{name} and its reference write different lines"
        raise BenchmarkError(message)
    starts = bench.starts(
        name, lambda: command(empty, *words), lambda: reference_on(empty, reference)
    )
    return [
        compare(name, seconds(ours), seconds(plain), target=TARGET, starts=starts),
        amount(
            f"{name}: memory",
            statistics.median(run.memory for run in ours),
            "MiB",
            limit=MEMORY_MIB,
            samples=len(ours),
            note=f"the reference: {plain[0].memory:.0f} MiB",
        ),
    ]
