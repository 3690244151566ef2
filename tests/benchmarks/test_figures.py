"""The arithmetic of the benchmarks."""

import argparse
import json
from pathlib import Path

import pytest

from tests.benchmarks.data import Layout, number_of_stale, rows
from tests.benchmarks.figures import (
    Figure,
    Starts,
    all_good,
    amount,
    compare,
    missing,
    percentile,
    verdict,
    without_start,
)
from tests.benchmarks.options import FULL, QUICK, parse, sizes_of
from tests.benchmarks.references import COUNTS, DEAD, moments, used
from tests.benchmarks.report import BEGIN, END, as_json, as_markdown, as_table, cells, write_into
from tests.benchmarks.transactions import longest, transactions
from tests.support import FIXTURE_NOW

LOG = """\
100.000 7 LOG:  duration: 0.500 ms  statement: BEGIN ISOLATION LEVEL READ COMMITTED;
100.004 8 LOG:  duration: 1.000 ms  statement: BEGIN;
100.010 7 LOG:  duration: 9.000 ms  execute __name__: DELETE FROM access_token
\tWHERE expires_at <= $1
100.011 7 DETAIL:  Parameters: $1 = '2026-11-22'
100.020 7 LOG:  duration: 2.000 ms  statement: COMMIT;
100.030 8 LOG:  duration: 5.000 ms  execute <unnamed>: SELECT count(*)
\tFROM access_token
100.040 7 LOG:  duration: 0.100 ms  parse __name__: DELETE
\tFROM somewhere
100.053 8 LOG:  duration: 0.100 ms  statement: ROLLBACK;
100.060 9 LOG:  duration: 0.100 ms  statement: BEGIN;
"""


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.1, 1.0)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    """Nearest rank: the smallest value that so many per cent do not exceed."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, percent) == expected


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """Each pair has its own ratio, since the machine changes between pairs."""
    figure = compare("row", [2.0, 9.0, 4.0], [1.0, 3.0, 4.0], target=2.0)
    assert (figure.ratio, figure.lowest, figure.highest) == (2.0, 1.0, 3.0)
    assert (figure.ours, figure.reference, figure.pairs) == (4.0, 3.0, 3)
    assert figure.verdict == "met"


def test_starts_are_taken_off_both_sides() -> None:
    """The rest is compared: at small sizes it decides, at full sizes the whole does."""
    decided = compare("row", [3.0], [1.5], target=1.5, starts=Starts(1.0, 0.5, decide=True))
    whole = compare("row", [3.0], [1.5], target=2.0, starts=Starts(0.5, 0.5))
    assert (decided.ratio, decided.without_start, decided.verdict) == (2.0, 2.0, "missed")
    assert (whole.ratio, whole.without_start, whole.verdict) == (2.0, 2.5, "met")


@pytest.mark.parametrize(("ours", "reference"), [(2.0, 0.5), (1.0, 1.0), (0.9, 1.0)])
def test_nothing_is_left_without_the_start(ours: float, reference: float) -> None:
    """A command that takes no longer than its start cannot be compared."""
    assert without_start([2.0, ours], [2.0, reference], Starts(1.0, 0.5)) is None


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [(1.5, 1.5, "met"), (1.51, 1.5, "missed"), (None, 1.5, "-"), (9.0, None, "-"), (0, 0, "met")],
)
def test_a_target_is_the_highest_good_value(value: float, target: float, expected: str) -> None:
    """A figure may equal its target; without a target there is no verdict."""
    assert verdict(value, target) == expected


def test_a_missing_command_is_not_good() -> None:
    """--check fails for a target that is missed, and for a command that does not exist."""
    good = [amount("a", 1, "ms", limit=2), amount("b", 1, "ms")]
    assert all_good(good)
    assert not all_good([*good, missing("c", "no such command")])
    assert not all_good([*good, amount("d", 3, "ms", limit=2)])


def test_a_transaction_lasts_from_begin_to_commit() -> None:
    """Start of BEGIN to end of COMMIT, each backend for itself, unfinished ones left out."""
    first, second = transactions(LOG.splitlines())
    assert round(first.milliseconds, 3) == 20.5
    assert round(second.milliseconds, 3) == 50.0
    assert first.does("delete")
    assert not second.does("delete")
    assert second.does("access_token")  # from a line that continues a statement
    assert round(longest([first, second]), 3) == 50.0
    assert longest([]) == 0.0


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("number", [1, 20, 201])
def test_half_of_the_rows_are_dead(layout: Layout, number: int) -> None:
    """By the predicate that the references use, in each layout, all tokens different."""
    found = list(rows(number, layout, FIXTURE_NOW))
    now, idle, old = (FIXTURE_NOW - (moments()[0] - moment) for moment in moments())
    dead = [
        row.expires_at <= now or row.last_accessed < idle or row.created_at < old for row in found
    ]
    assert sum(dead) == number_of_stale(number)
    assert len({row.token for row in found}) == number
    if layout is not Layout.INTERLEAVED:
        assert dead == sorted(dead, reverse=True)


def test_a_query_gets_only_the_moments_it_names() -> None:
    """PostgreSQL refuses arguments without a placeholder."""
    assert [used(query, [1, 2, 3]) for query in COUNTS[:3]] == [[], [1], [1, 2]]
    assert used(DEAD, [1, 2, 3]) == [1, 2, 3]


def test_the_table_shows_ratio_spread_and_target() -> None:
    """One line has the compared values and their spread."""
    figure = compare("row", [2.0, 4.0], [1.0, 1.0], target=3.5, note="10 batches")
    assert cells(figure) == (
        "row",
        "3 s",
        "1 s",
        "3 (2 to 4)",
        "",
        "≤ 3.5",
        "met",
        "2 pairs; 10 batches",
    )
    assert cells(amount("wait", 12.345, "ms", limit=30))[1:6] == ("12.3 ms", "", "", "", "≤ 30 ms")
    assert "row " in as_table([figure])


def test_the_document_keeps_its_prose(tmp_path: Path) -> None:
    """Only the text between the markers is replaced, also the second time."""
    file = tmp_path / "performance.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for name in ("first", "second"):
        write_into(file, as_markdown([Figure(name)], {"cores": "2"}, {"rows": 10}))
    text = file.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "- cores: 2\n- sizes: rows 10\n" in text
    assert "| second |" in text
    assert "old" not in text
    assert "first" not in text


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    """A wrong file name does not overwrite a document."""
    file = tmp_path / "README.md"
    file.write_text("prose")
    with pytest.raises(ValueError, match="have to stand there"):
        write_into(file, "table")
    assert file.read_text() == "prose"


def test_json_has_all_fields() -> None:
    """JSON has numbers, not the texts of the table."""
    document = json.loads(as_json([compare("row", [2.0], [1.0])], {"cores": "2"}, {"rows": 1}))
    assert document["figures"][0]["ratio"] == 2.0
    assert document["machine"] == {"cores": "2"}


def test_options_replace_single_sizes() -> None:
    """Quick is the default; each size can be given."""
    names = ["help", "list"]
    assert sizes_of(parse([], names)) == QUICK
    assert sizes_of(parse(["--full"], names)) == FULL
    options: argparse.Namespace = parse(["--pairs", "9", "--sessions", "7", "list"], names)
    sizes = sizes_of(options)
    assert (sizes.pairs, sizes.rows_on("sqlite"), options.rows) == (9, 7, ["list"])
    assert sizes.rows_on("postgresql") == 7
    assert sizes_of(parse(["--server-sessions", "8"], names)).rows_on("postgresql") == 8


@pytest.mark.parametrize("words", [["nonsense"], ["--pairs", "0"], ["--quick", "--full"]])
def test_wrong_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown row is a usage error that names the rows."""
    with pytest.raises(SystemExit) as ending:
        parse(words, ["help", "list"])
    assert ending.value.code == 2
    assert "error:" in capsys.readouterr().err
