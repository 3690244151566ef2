"""Comparing texts: without regard to case, and with misspelled names.

Case is folded independent of the database's locale. Misspellings are stricter than plain
similarity: ``cleanup-all`` is not a misspelling of ``cleanup``, nor ``database_pool`` of
``database_port``.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

FOLD_FUNCTION = "clarinet_fold"  # the SQL function that each SQLite connection gets
END_OF_CASED_LETTERS = 0x1F000
# With the dotted capital I and the Kelvin sign, which fold to ASCII letters.
ASCII_SOURCES = (*map(chr, range(128)), "\u0130", "\u212a")
FINAL_SIGMA, SIGMA = "\u03c2", "\u03c3"
DOTTED_I = "i\u0307"  # the lower case that some libraries give a capital I with a dot
SEPARATORS = re.compile(r"[-_. ]+")
MIN_LENGTH = 3  # shorter words must be equal
SHORT_LENGTH = 5  # up to this length one edit is allowed, then two
MIN_ABBREVIATION = 4


def fold_case(text: str) -> str:
    """Return *text* so that spellings that differ only in case are equal.

    The result is ``str.lower`` except for two letters whose lower case depends on their
    neighbours or on the library: a final sigma becomes a sigma, a dotted capital I becomes
    an i. The sharp s is kept, as ``lower()`` keeps it on every server.
    """
    return text.lower().replace(FINAL_SIGMA, SIGMA).replace(DOTTED_I, "i")


def fold_map(text: str) -> dict[str, str]:
    """Return the letters that fold to a letter of *text*, each with its folded form."""
    folded = fold_case(text)
    letters = _fold_map(ASCII_SOURCES if folded.isascii() else _all_letters())
    return {letter: form for letter, form in letters.items() if form in folded}


@cache
def _all_letters() -> tuple[str, ...]:
    return tuple(map(chr, range(END_OF_CASED_LETTERS)))


@cache
def _fold_map(letters: tuple[str, ...]) -> dict[str, str]:
    return {letter: form for letter in letters if (form := fold_case(letter)) != letter}


def find_misspellings(name: str, known: Iterable[str]) -> list[str]:
    """Return those of the known names that *name* may be a misspelling of."""
    return [other for other in known if is_misspelling(name, other)]


def is_misspelling(name: str, target: str) -> bool:
    """Return whether *name* differs from *target* by few letters, separators or a shortened end."""
    given, wanted = SEPARATORS.split(name.lower()), SEPARATORS.split(target.lower())
    if name == target:
        return False
    if "".join(given) == "".join(wanted):
        return True
    if len(given) != len(wanted):
        return _is_close("".join(given), "".join(wanted), limit=1)
    *pairs, last = zip(given, wanted, strict=True)
    if not all(_is_close(*pair) for pair in pairs):
        return False
    shorter, longer = sorted(last, key=len)
    is_shortened = len(shorter) >= MIN_ABBREVIATION and longer.startswith(shorter)
    return _is_close(*last) or (bool(pairs) and is_shortened)


def _is_close(first: str, second: str, limit: int = 2) -> bool:
    longest = max(len(first), len(second))
    allowed = 0 if longest < MIN_LENGTH else 1 if longest <= SHORT_LENGTH else limit
    return edit_distance(first, second, limit=allowed) <= allowed


@lru_cache(4096)  # many keys begin with the same words
def edit_distance(first: str, second: str, *, limit: int) -> int:
    """Return the edit distance of two words; exchanging two neighbours is one edit.

    Args:
        first: A word.
        second: Another word.
        limit: A distance above this is returned as ``limit + 1``.
    """
    # An edit changes the length by at most one, and the set of letters by at most two.
    if abs(len(first) - len(second)) > limit or len(set(first) ^ set(second)) > 2 * limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(*row, *before) > limit:
            return limit + 1
    return row[-1]
