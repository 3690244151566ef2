"""The table of figures: as text, as JSON, and for docs/performance.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Optional

from tests.benchmarks.figures import Figure

HEADER = ("name", "ours", "reference", "ratio", "without start", "target", "verdict", "note")
# The generated part of the document stands between these two.
BEGIN = "<!-- figures: written by make bench -->"
END = "<!-- end of figures -->"


def cells(figure: Figure) -> tuple[str, ...]:
    """Return one line of the table."""
    is_ratio = figure.ratio is not None
    target = "" if figure.target is None else f"≤ {_number(figure.target)}"
    if target and not is_ratio:
        target = f"{target} {figure.unit}".rstrip()
    return (
        figure.name,
        _value(figure.ours, figure.unit),
        _value(figure.reference, figure.unit),
        _spread(figure),
        "" if figure.without_start is None else _number(figure.without_start),
        target,
        figure.verdict,
        _note(figure),
    )


def as_table(figures: Sequence[Figure]) -> str:
    """Return the table as text with aligned columns."""
    lines = [HEADER, *(cells(figure) for figure in figures)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADER))]
    shown = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(shown) + "\n"


def as_json(figures: Sequence[Figure], machine: dict[str, str], sizes: dict[str, object]) -> str:
    """Return everything as one JSON document."""
    document = {
        "machine": machine,
        "sizes": sizes,
        "figures": [asdict(figure) for figure in figures],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def as_markdown(
    figures: Sequence[Figure], machine: dict[str, str], sizes: dict[str, object]
) -> str:
    """Return machine, sizes and table as Markdown."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines.append("- sizes: " + ", ".join(f"{name} {value}" for name, value in sizes.items()))
    lines += ["", _markdown_line(HEADER), _markdown_line(["---"] * len(HEADER))]
    lines += [_markdown_line(cells(figure)) for figure in figures]
    return "\n".join(lines) + "\n"


def write_into(file: Path, text: str) -> None:
    """Replace the text between the two markers of a document.

    Raises:
        ValueError: The markers are not there.
    """
    document = file.read_text("utf-8")
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{file}: {BEGIN} and {END} have to stand there")
    file.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")


def _markdown_line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _value(value: Optional[float], unit: str) -> str:
    return "" if value is None else f"{_number(value)} {unit}".rstrip()


def _spread(figure: Figure) -> str:
    if figure.ratio is None or figure.lowest is None or figure.highest is None:
        return ""
    return f"{_number(figure.ratio)} ({_number(figure.lowest)} to {_number(figure.highest)})"


def _number(value: float) -> str:
    """Return a number with three significant digits, or a whole number unchanged."""
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _note(figure: Figure) -> str:
    if not figure.pairs:
        return figure.note
    what = "pairs" if figure.ratio is not None else "samples"
    return f"{figure.pairs} {what}" + (f"; {figure.note}" if figure.note else "")
