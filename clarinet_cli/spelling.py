"""How close two names are: what may be a misspelling of what.

Closer than a similarity of letters would say: ``cleanup-all`` is no slip of ``cleanup``, and
``database_pool`` none of ``database_port``.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

SEPARATORS = re.compile(r"[-_. ]+")
SHORTEST_WORD = 3  # a slip in fewer letters would be another word
SHORT_WORD = 5  # of so many letters only one may be wrong
SHORTENED = 4  # the least letters of a shortened word


def misspelt(name: str, known: Iterable[str]) -> list[str]:
    """Return those of the known names that *name* is a slip of."""
    return [other for other in known if is_slip(name, other)]


def is_slip(name: str, meant: str) -> bool:
    """Return whether *name* is *meant* with a slip: letters, separators, a shortened end."""
    given, wanted = SEPARATORS.split(name.lower()), SEPARATORS.split(meant.lower())
    if name == meant:
        return False
    if "".join(given) == "".join(wanted):
        return True
    if len(given) != len(wanted):
        return _is_close("".join(given), "".join(wanted), most=1)
    *pairs, last = zip(given, wanted, strict=True)
    if not all(_is_close(*pair) for pair in pairs):
        return False
    return _is_close(*last) or (bool(pairs) and _is_shortened(*last))


def _is_close(first: str, second: str, most: int = 2) -> bool:
    longest = max(len(first), len(second))
    allowed = 0 if longest < SHORTEST_WORD else 1 if longest <= SHORT_WORD else most
    return slips(first, second, most=allowed) <= allowed


def _is_shortened(first: str, second: str) -> bool:
    shorter, longer = sorted((first, second), key=len)
    return len(shorter) >= SHORTENED and longer.startswith(shorter)


@lru_cache(4096)  # of a hundred keys most begin with the same few words
def slips(first: str, second: str, *, most: int) -> int:
    """Return how many letters are wrong: changed, missing, one too many, or two exchanged.

    Args:
        first: A word.
        second: Another one.
        most: Where it does not matter how many more there are.
    """
    # A slip adds or takes at most one letter, and exchanges at most two.
    if abs(len(first) - len(second)) > most or len(set(first) ^ set(second)) > 2 * most:
        return most + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(*row, *before) > most:
            return most + 1
    return row[-1]
