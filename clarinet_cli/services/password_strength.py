"""How hard a password is to guess, as zxcvbn estimates it.

NIST SP 800-63B asks for a screen against common passwords, dictionary words, repetitions,
sequences, and words of the context such as the account's name. zxcvbn is that screen: 30,000
common passwords, names and words, in any case, reversed, with digits for letters; dates,
keyboard rows and repetitions; and it adds up what a combination of them costs.

Eight random letters and digits cost 10^8 guesses, three random words more than 10^11;
``Summer2026!`` costs 10^7.4, ``Clarinet2026!`` 10^7.0. Of eight random small letters and digits
one in twenty happens to hold a word or a year, and is refused; of ten none in a thousand is.
"""

import re
from collections.abc import Iterable
from math import prod
from typing import Any, Optional

LEAST_GUESSES = 10**8  # zxcvbn's "safely unguessable": enough behind argon2
STRONG_LEAST_GUESSES = 10**10  # its best mark
# Time grows with more than the square of the length; who has 40 good characters is done.
LENGTH_JUDGED = 40
SUBSTITUTIONS = 8  # readings of digits as letters that are tried, each by itself

NAME = "clarinet"
LONG = 4  # a shorter name stands in other words by chance
# The program's own words, and the most common ones of where it is at home.
OUR_WORDS = (
    *("clarinet", "clarinetcli", "admin", "administrator", "postgres", "postgresql", "sqlite"),
    *("doctor", "expert", "ordinator", "session", "server", "default", "changeme", "secret"),
    *("пароль", "админ", "администратор", "привет", "любовь", "солнце", "москва", "россия"),
    *("кларнет", "доктор", "секрет"),
)
CYRILLIC_KEYS = str.maketrans(
    "йцукенгшщзхъфывапролджэячсмитьбюё", "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
)
REASONS = {
    "user_inputs": "it is made of the account's or the program's name",
    "dictionary": "it is close to a common password, name or word",
    "repeat": "it repeats itself",
    "sequence": "it follows the alphabet or counts",
    "spatial": "it follows the keys of a keyboard",
    "date": "it is made of a date",
    "regex": "it is made of a year",
}


def weakness(text: str, words: Iterable[str], *, least: int) -> Optional[str]:
    """Return why a password is easy to guess, or None when it is not.

    Args:
        text: The password, of valid Unicode.
        words: What somebody who knows the account would try first.
        least: The guesses that it has to take.

    Returns:
        A reason that holds nothing of the password.
    """
    own = [word for word in dict.fromkeys(words) if word]
    known = [*own, *OUR_WORDS]
    found = _hardest(text, known)
    if _guesses(found) < least:
        return _reason(found)
    # A name of the place counts for nothing, whatever stands around it.
    names = sorted((word for word in [*own, NAME] if len(word) >= LONG), key=len, reverse=True)
    rest = re.sub("|".join(map(re.escape, names)), "", text, flags=re.IGNORECASE)
    if rest != text and _guesses(_hardest(rest, known)) < least:
        return REASONS["user_inputs"]
    return None


def words_of(email: str) -> list[str]:
    """Return an address, its name and its domain, whole and in parts."""
    name, _, domain = email.partition("@")
    labels = domain.split(".")
    parts = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return [email, name, domain, ".".join(labels[:-1]), *labels, *parts, "".join(parts)]


def _hardest(text: str, known: list[str]) -> dict[str, Any]:
    """Judge the beginning and the end: what is hard to guess in a part is so in the whole."""
    parts = dict.fromkeys((text[:LENGTH_JUDGED], text[-LENGTH_JUDGED:]))
    found = [min((_judged(form, known) for form in _forms(part)), key=_guesses) for part in parts]
    return max(found, key=_guesses)


def _forms(text: str) -> list[str]:
    """Return a text, and what else its keys may have meant: Latin letters on Cyrillic keys."""
    other = text.lower().translate(CYRILLIC_KEYS)
    return [text] if other == text.lower() else [text, other]


def _judged(text: str, words: list[str]) -> dict[str, Any]:
    from zxcvbn import zxcvbn
    from zxcvbn.matching import L33T_TABLE

    present = {
        letter: [it for it in symbols if it in text] for letter, symbols in L33T_TABLE.items()
    }
    if prod(max(1, len(symbols)) for symbols in present.values()) > SUBSTITUTIONS:
        # Each combination of readings is tried otherwise: seconds.
        single = {ord(it): letter for letter, symbols in present.items() for it in symbols}
        text = text.translate(single)
    result: dict[str, Any] = zxcvbn(text, user_inputs=words, max_length=LENGTH_JUDGED)
    return result


def _guesses(result: dict[str, Any]) -> float:
    return float(result["guesses"])


def _reason(result: dict[str, Any]) -> str:
    """Return what the longest part of a password is that somebody would guess."""
    parts = [part for part in result["sequence"] if part["pattern"] != "bruteforce"]
    if not parts:
        return "it has too few characters that are not alike"
    part = max(parts, key=lambda it: len(it["token"]))
    own = part.get("dictionary_name") == "user_inputs"
    return REASONS["user_inputs" if own else part["pattern"]]
