"""From measurements to figures: median, percentile, ratio and verdict."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

MET = "met"
MISSED = "missed"
MISSING = "missing"
NO_TARGET = "-"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: The row of the target table, and which part of it.
        unit: Of *ours* and *reference*.
        ours: The median of our command, or the amount that has a limit.
        reference: The median of what it is compared with; None for an amount.
        ratio: The median of the ratios, one a pair; None for an amount.
        lowest: The lowest of these ratios.
        highest: The highest.
        without_start: The ratio when what both need for an empty database is taken off.
        target: What the ratio, or the amount, has to stay below.
        verdict: ``met``, ``missed``, ``missing`` (no such command), or ``-`` (no target).
        pairs: How many pairs, or for an amount how many samples.
        note: What else was seen.
    """

    name: str
    unit: str = "s"
    ours: Optional[float] = None
    reference: Optional[float] = None
    ratio: Optional[float] = None
    lowest: Optional[float] = None
    highest: Optional[float] = None
    without_start: Optional[float] = None
    target: Optional[float] = None
    verdict: str = NO_TARGET
    pairs: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Starts:
    """The time of both commands of a pair on an empty database.

    Attributes:
        ours: Our command's time on an empty database.
        reference: The reference's.
        decide: Whether the verdict is about the rest: at small sizes the start of a process
            weighs more than what is measured.
    """

    ours: float
    reference: float
    decide: bool = False


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of all values do not exceed (nearest rank)."""
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def ratios(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return the ratio of each pair."""
    return [first / second for first, second in zip(ours, reference, strict=True)]


def without_start(
    ours: Sequence[float], reference: Sequence[float], starts: Starts
) -> Optional[float]:
    """Return the median ratio after the starts are subtracted; None if nothing is left.

    A start is measured too: on a busy machine it can come out longer than the whole.
    """
    rest_of_ours = [value - starts.ours for value in ours]
    rest = [value - starts.reference for value in reference]
    if min([*rest_of_ours, *rest]) <= 0:
        return None
    return statistics.median(ratios(rest_of_ours, rest))


def verdict(value: Optional[float], target: Optional[float]) -> str:
    """Return whether a figure stays within its target."""
    if target is None or value is None:
        return NO_TARGET
    return MET if value <= target else MISSED


def compare(
    name: str,
    ours: Sequence[float],
    reference: Sequence[float],
    *,
    target: Optional[float] = None,
    starts: Optional[Starts] = None,
    unit: str = "s",
    note: str = "",
) -> Figure:
    """Return the figure of two commands that ran alternately.

    Args:
        name: Of the figure.
        ours: One value for each pair.
        reference: The same of the reference.
        target: The highest good ratio.
        starts: What to take off for the second ratio.
        unit: Of the values.
        note: What else was seen.
    """
    each = ratios(ours, reference)
    ratio = statistics.median(each)
    rest = without_start(ours, reference, starts) if starts else None
    decisive = rest if starts and starts.decide and rest is not None else ratio
    return Figure(
        name=name,
        unit=unit,
        ours=statistics.median(ours),
        reference=statistics.median(reference),
        ratio=ratio,
        lowest=min(each),
        highest=max(each),
        without_start=rest,
        target=target,
        verdict=verdict(decisive, target),
        pairs=len(each),
        note=note,
    )


def amount(
    name: str,
    value: float,
    unit: str,
    *,
    limit: Optional[float] = None,
    samples: int = 0,
    note: str = "",
) -> Figure:
    """Return the figure of an amount that is not a ratio.

    Args:
        name: Of the figure.
        value: What was measured.
        unit: Of the value.
        limit: The highest good value.
        samples: How many measurements stand behind it.
        note: What else was seen.
    """
    return Figure(
        name=name,
        unit=unit,
        ours=value,
        target=limit,
        verdict=verdict(value, limit),
        pairs=samples,
        note=note,
    )


def missing(name: str, note: str) -> Figure:
    """Return the figure of a command that does not exist."""
    return Figure(name=name, verdict=MISSING, note=note)


def all_good(figures: Sequence[Figure]) -> bool:
    """Return whether no target is missed and no command is missing."""
    return all(figure.verdict in (MET, NO_TARGET) for figure in figures)
