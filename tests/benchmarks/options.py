"""The command line of the benchmarks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.places import Sizes

QUICK = Sizes(
    full=False,
    rows=80_000,
    server_rows=150_000,
    few_rows=20_000,
    list_rows=10_000,
    users=10,
    pairs=5,
    heavy_pairs=2,
    old_pairs=1,
)
FULL = Sizes(
    full=True,
    rows=2_000_000,
    server_rows=2_000_000,
    few_rows=20_000,
    list_rows=100_000,
    users=200,
    pairs=7,
    heavy_pairs=5,
    old_pairs=1,
)


def parse(words: Sequence[str], names: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Args:
        words: Without the program's name.
        names: The rows that exist.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure the tool against references that run in turn with it.",
        epilog=f"rows: {' '.join(names)}",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these; all by default")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, the default")
    size.add_argument("--full", action="store_true", help="the sizes that the targets are about")
    numbers = {
        "--pairs": "pairs of a cheap row",
        "--heavy-pairs": "pairs of a clean-up",
        "--old-pairs": "pairs with the loop that sleeps",
        "--sessions": "sessions, half of them dead",
        "--server-sessions": "the same on PostgreSQL",
        "--few-sessions": "the small size that memory is compared with",
        "--list-sessions": "sessions, and accounts, to list",
        "--users": "accounts to apply",
    }
    for name, text in numbers.items():
        parser.add_argument(name, type=_positive, metavar="N", help=text)
    parser.add_argument(
        "-o", "--output", choices=["table", "json"], default="table", help="default: table"
    )
    parser.add_argument("--json", action="store_const", const="json", dest="output")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table into this document too"
    )
    parser.add_argument("--check", action="store_true", help="exit 6 when a target is missed")
    options = parser.parse_args(words)
    if unknown := sorted(set(options.rows) - set(names)):
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}")
    return options


def sizes_of(options: argparse.Namespace) -> Sizes:
    """Return the sizes that the options select."""
    base = FULL if options.full else QUICK
    return Sizes(
        full=base.full,
        rows=options.sessions or base.rows,
        server_rows=options.server_sessions or options.sessions or base.server_rows,
        few_rows=options.few_sessions or base.few_rows,
        list_rows=options.list_sessions or base.list_rows,
        users=options.users or base.users,
        pairs=options.pairs or base.pairs,
        heavy_pairs=options.heavy_pairs or base.heavy_pairs,
        old_pairs=options.old_pairs or base.old_pairs,
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
