"""Case folding: comparing texts without regard to case, independent of the database's locale."""

from functools import cache

FOLD_FUNCTION = "clarinet_fold"  # the SQL function that each SQLite connection gets
END_OF_CASED_LETTERS = 0x1F000
# With the dotted capital I and the Kelvin sign, which fold to ASCII letters.
ASCII_SOURCES = (*map(chr, range(128)), "\u0130", "\u212a")
FINAL_SIGMA, SIGMA = "\u03c2", "\u03c3"
DOTTED_I = "i\u0307"  # the lower case that some libraries give a capital I with a dot


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
