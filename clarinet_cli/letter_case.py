"""Upper and lower case of all letters, whatever the database's language knows of them."""

from functools import cache

END_OF_CASED_LETTERS = 0x1F000
LETTERS_OF_ASCII = (*map(chr, range(128)), "\u0130", "\u212a")  # and the dotted I, the Kelvin sign
FINAL_SIGMA, SIGMA = "\u03c2", "\u03c3"
DOTTED_I = "i\u0307"  # what some libraries make of a capital I with a dot


def folded(text: str) -> str:
    """Return *text* so that spellings that differ in case alone are equal.

    It is ``str.lower`` but for two letters, whose small form depends on their neighbours
    or on the library: the final sigma is a sigma, the dotted capital I an i. The sharp s
    stays one, as with ``lower()`` on every server.
    """
    return text.lower().replace(FINAL_SIGMA, SIGMA).replace(DOTTED_I, "i")


def capitals_of(text: str) -> dict[str, str]:
    """Return the letters that fold to one of *text*, each with that one."""
    small = folded(text)
    letters = _small_forms(LETTERS_OF_ASCII if small.isascii() else _all_letters())
    return {letter: form for letter, form in letters.items() if form in small}


@cache
def _all_letters() -> tuple[str, ...]:
    return tuple(map(chr, range(END_OF_CASED_LETTERS)))


@cache
def _small_forms(letters: tuple[str, ...]) -> dict[str, str]:
    return {letter: form for letter in letters if (form := folded(letter)) != letter}
