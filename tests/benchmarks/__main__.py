"""Run the benchmarks, print one table, and write it to the given file."""

import compileall
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import clarinet_cli
from tests.benchmarks import machine
from tests.benchmarks.figures import Figure, all_good
from tests.benchmarks.options import parse, sizes_of
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import BenchmarkError
from tests.benchmarks.report import as_json, as_markdown, as_table, write_into
from tests.benchmarks.rows import ROWS

FAILED = 1
MISSED = 6
TERMINATED = 143


def main(words: Sequence[str]) -> int:
    """Run the benchmarks and return the exit code."""
    options = parse(words, list(ROWS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that the server ends
    compileall.compile_dir(clarinet_cli.__path__[0], quiet=1)
    sizes = sizes_of(options)
    try:
        with Bench(sizes) as bench:
            figures = measured(bench, options.rows or list(ROWS))
            described = machine.described(bench)
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    arguments = figures, described, asdict(sizes)
    sys.stdout.write(as_json(*arguments) if options.output == "json" else as_table(figures))
    if options.markdown is not None:
        write_into(options.markdown, as_markdown(*arguments))
    return MISSED if options.check and not all_good(figures) else 0


def measured(bench: Bench, names: Sequence[str]) -> list[Figure]:
    """Return the figures of these rows; a line on standard error reports each."""
    figures = []
    for name in names:
        started = time.monotonic()
        figures += ROWS[name](bench)
        sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
