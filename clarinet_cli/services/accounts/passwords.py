"""Passwords: policy, generation and hashing."""

import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Optional

from argon2 import PasswordHasher
from argon2.exceptions import HashingError
from argon2.low_level import Type

from clarinet_cli.exceptions import FAILURE, INVALID
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

MINIMUM_LENGTH = 8
MAXIMUM_LENGTH = 1024
STRONG_MINIMUM_LENGTH = 12
GENERATED_LENGTH = 24
# Letters and digits that are not confused with each other when read aloud or from a screen.
ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0OIl1")))

COMMON_PASSWORDS = frozenset(
    {
        "12345678",
        "123456789",
        "1234567890",
        "abcd1234",
        "admin123",
        "admin1234",
        "administrator",
        "changeit",
        "changeme",
        "clarinet",
        "clarinet123",
        "iloveyou",
        "letmein1",
        "passw0rd",
        "password",
        "password1",
        "password123",
        "postgres",
        "qwerty123",
        "qwertyuiop",
        "welcome1",
    }
)


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password to be set.

    Attributes:
        text: The password itself; never part of a representation.
        generated: Whether this program generated it, so that it must be shown once.
    """

    text: str = field(repr=False)
    generated: bool = False


def check_password(
    text: str, *, email: str, strong: bool = False, words: Iterable[str] = ()
) -> None:
    """Refuse a password that breaks the policy.

    Args:
        text: The password; any Unicode.
        email: The account's address; it and its parts are too easy to guess.
        strong: Apply the strong policy (``admin_require_strong_password``).
        words: Further words that are easy to guess here.

    Raises:
        InvalidInputError: It names each rule that failed, and never the password.
    """
    failed = _failed_rules(text, email, strong=strong)
    if not failed:
        min_guesses = STRONG_MIN_GUESSES if strong else MIN_GUESSES
        reason = weakness(text, [*email_words(email), *words], min_guesses=min_guesses)
        failed = [f"too easy to guess ({reason})"] if reason else []
    if failed:
        raise INVALID.with_context(f"the password is refused: {'; '.join(failed)}")


def require_acceptable(password: NewPassword, email: str, settings: Settings) -> None:
    """Refuse a password that breaks the policy of the settings.

    Args:
        password: The password.
        email: The account's address.
        settings: The policy, and names that are easy to guess.

    Raises:
        InvalidInputError: It names each rule that failed, and never the password.
    """
    strong = settings.admin_require_strong_password
    words = (settings.cookie_name, settings.database_name, settings.admin_username)
    check_password(password.text, email=email, strong=strong, words=words)


def describe_policy(settings: Settings) -> str:
    """Return the rules that ``require_acceptable`` applies, to be shown before a prompt."""
    if not settings.admin_require_strong_password:
        return f"at least {MINIMUM_LENGTH} characters, hard to guess"
    return (
        f"at least {STRONG_MINIMUM_LENGTH} characters with upper-case and lower-case letters and "
        "digits, hard to guess"
    )


def generate_password() -> NewPassword:
    """Return a random password that also meets the strong policy (140 bits)."""
    while True:
        text = "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))
        if not _failed_rules(text, "", strong=True):
            return NewPassword(text, generated=True)


def password_hasher(settings: Settings) -> PasswordHasher:
    """Return the argon2id hasher with the parameters of the settings.

    Args:
        settings: The cost: ``argon2_time_cost``, ``argon2_memory_cost`` (KiB) and
            ``argon2_parallelism``; the defaults are RFC 9106's low-memory profile.
    """
    return PasswordHasher(
        time_cost=settings.argon2_time_cost,
        memory_cost=settings.argon2_memory_cost,
        parallelism=settings.argon2_parallelism,
        type=Type.ID,
    )


def hash_password(password: NewPassword, settings: Settings) -> str:
    """Return the argon2id hash of a password, as the server verifies it.

    Raises:
        ClarinetError: There is not enough memory for that.
    """
    try:
        return password_hasher(settings).hash(password.text)
    except (HashingError, MemoryError) as error:
        logger.bind(reported=True).error(f"hashing: {error}")
        raise FAILURE.with_context(
            f"the password cannot be hashed with {settings.argon2_memory_cost} KiB of memory",
            hint="argon2_memory_cost in the settings is in KiB; the default is 65536",
        ) from error


def _failed_rules(text: str, email: str, *, strong: bool) -> list[str]:
    min_length = STRONG_MINIMUM_LENGTH if strong else MINIMUM_LENGTH
    rules = {
        f"shorter than {min_length} characters": len(text) < min_length,
        f"longer than {MAXIMUM_LENGTH} characters": len(text) > MAXIMUM_LENGTH,
        "contains a NUL character": "\0" in text,
        "is not valid Unicode text": any("\ud800" <= letter <= "\udfff" for letter in text),
        "is the e-mail address": text.casefold() == email.casefold() != "",
        "is a well-known default": text.casefold() in COMMON_PASSWORDS,
    }
    if strong:
        rules |= {
            "has no upper-case letter": not any(letter.isupper() for letter in text),
            "has no lower-case letter": not any(letter.islower() for letter in text),
            "has no digit": not any(letter.isdigit() for letter in text),
        }
    return [rule for rule, broken in rules.items() if broken]


MIN_GUESSES = 10**8  # zxcvbn's "safely unguessable": enough with argon2
STRONG_MIN_GUESSES = 10**10  # its highest score
# Time grows faster than the square of the length; 40 characters suffice to judge a password.
MAX_ZXCVBN_LENGTH = 40
SUBSTITUTIONS = 8  # readings of digits as letters that are tried, each by itself

NAME = "clarinet"
LONG = 4  # a shorter name occurs in other words by chance
# The program's own words, and the most common ones of its country.
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
    "user_inputs": "the account's or the program's name",
    "dictionary": "a common password, name or word",
    "repeat": "repeated characters or words",
    "sequence": "a sequence of letters or digits",
    "spatial": "a pattern of keys",
    "date": "a date",
    "regex": "a year",
}


def weakness(text: str, words: Iterable[str], *, min_guesses: int) -> Optional[str]:
    """Return why a password is easy to guess, or None when it is not.

    Args:
        text: The password, of valid Unicode.
        words: Words that someone who knows the account would try first.
        min_guesses: The minimum number of guesses.

    Returns:
        The reason, without any part of the password.
    """
    own = [word for word in dict.fromkeys(words) if word]
    known = [*own, *OUR_WORDS]
    found = _hardest_part(text, known)
    if _guesses(found) < min_guesses:
        parts = [part for part in found["sequence"] if part["pattern"] != "bruteforce"]
        if not parts:
            return "too few distinct characters"
        part = max(parts, key=lambda it: len(it["token"]))
        is_own = part.get("dictionary_name") == "user_inputs"
        return REASONS["user_inputs" if is_own else part["pattern"]]
    # Names of the account and of the program are removed, and the rest is judged alone.
    names = sorted((word for word in [*own, NAME] if len(word) >= LONG), key=len, reverse=True)
    rest = re.sub("|".join(map(re.escape, names)), "", text, flags=re.IGNORECASE)
    if rest != text and _guesses(_hardest_part(rest, known)) < min_guesses:
        return REASONS["user_inputs"]
    return None


def email_words(email: str) -> list[str]:
    """Return an address, its name and its domain, whole and in parts."""
    name, _, domain = email.partition("@")
    labels = domain.split(".")
    parts = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return [email, name, domain, ".".join(labels[:-1]), *labels, *parts, "".join(parts)]


def _hardest_part(text: str, known: list[str]) -> dict[str, Any]:
    """Score the first and the last MAX_ZXCVBN_LENGTH characters; return the stronger result."""
    parts = dict.fromkeys((text[:MAX_ZXCVBN_LENGTH], text[-MAX_ZXCVBN_LENGTH:]))
    found = [
        min((_zxcvbn_result(form, known) for form in _keyboard_variants(part)), key=_guesses)
        for part in parts
    ]
    return max(found, key=_guesses)


def _keyboard_variants(text: str) -> list[str]:
    """Return a text, and the same keys in the Latin or Cyrillic keyboard layout."""
    other = text.lower().translate(CYRILLIC_KEYS)
    return [text] if other == text.lower() else [text, other]


def _zxcvbn_result(text: str, words: list[str]) -> dict[str, Any]:
    from zxcvbn import zxcvbn
    from zxcvbn.matching import L33T_TABLE

    present = {
        letter: [it for it in symbols if it in text] for letter, symbols in L33T_TABLE.items()
    }
    if prod(max(1, len(symbols)) for symbols in present.values()) > SUBSTITUTIONS:
        # Otherwise each combination of readings is tried, which takes seconds.
        single = {ord(it): letter for letter, symbols in present.items() for it in symbols}
        text = text.translate(single)
    result: dict[str, Any] = zxcvbn(text, user_inputs=words, max_length=MAX_ZXCVBN_LENGTH)
    return result


def _guesses(result: dict[str, Any]) -> float:
    return float(result["guesses"])
