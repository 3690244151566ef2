"""Passwords: what is accepted, how one is made, and how it is hashed."""

import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import HashingError
from argon2.low_level import Type

from clarinet_cli.exceptions import FAILURE, INVALID
from clarinet_cli.services.password_strength import (
    LEAST_GUESSES,
    STRONG_LEAST_GUESSES,
    weakness,
    words_of,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

MINIMUM_LENGTH = 8
MAXIMUM_LENGTH = 1024
STRONG_MINIMUM_LENGTH = 12
GENERATED_LENGTH = 24
# Letters and digits that nobody mistakes for each other, read aloud or from a screen.
ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0OIl1")))

WELL_KNOWN = frozenset(
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
        generated: Whether this program made it up, so that somebody has to be told.
    """

    text: str = field(repr=False)
    generated: bool = False


def check_password(
    text: str, *, email: str, strong: bool = False, words: Iterable[str] = ()
) -> None:
    """Refuse a password that breaks the policy.

    Args:
        text: The password; any Unicode.
        email: The account's address, which is not a password, nor are its parts.
        strong: Ask for more (``admin_require_strong_password``).
        words: What else somebody who knows the place would try first.

    Raises:
        InvalidInputError: It names each rule that failed, and never the password.
    """
    failed = _failed_rules(text, email, strong=strong)
    if not failed:
        least = STRONG_LEAST_GUESSES if strong else LEAST_GUESSES
        reason = weakness(text, [*words_of(email), *words], least=least)
        failed = [f"too easy to guess ({reason})"] if reason else []
    if failed:
        raise INVALID.with_context(f"the password is refused: {'; '.join(failed)}")


def require_acceptable(password: NewPassword, email: str, settings: Settings) -> None:
    """Refuse a password that breaks the policy of the settings.

    Args:
        password: The password.
        email: The account's address.
        settings: The policy, and names that are no passwords.

    Raises:
        InvalidInputError: It names each rule that failed, and never the password.
    """
    strong = settings.admin_require_strong_password
    words = (settings.cookie_name, settings.database_name, settings.admin_username)
    check_password(password.text, email=email, strong=strong, words=words)


def generate_password() -> NewPassword:
    """Return a random password that also meets the strong policy (140 bits)."""
    while True:
        text = "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))
        if not _failed_rules(text, "", strong=True):
            return NewPassword(text, generated=True)


def hash_password(password: NewPassword, settings: Settings) -> str:
    """Return the argon2id hash of a password, as the server verifies it.

    Args:
        password: The password.
        settings: The cost: ``argon2_time_cost``, ``argon2_memory_cost`` (KiB) and
            ``argon2_parallelism``; the defaults are RFC 9106's low-memory profile.

    Raises:
        ClarinetError: There is not enough memory for that.
    """
    hasher = PasswordHasher(
        time_cost=settings.argon2_time_cost,
        memory_cost=settings.argon2_memory_cost,
        parallelism=settings.argon2_parallelism,
        type=Type.ID,
    )
    try:
        return hasher.hash(password.text)
    except (HashingError, MemoryError) as error:
        logger.bind(reported=True).error(f"hashing: {error}")
        raise FAILURE.with_context(
            f"the password can't be hashed with {settings.argon2_memory_cost} KiB of memory",
            hint="argon2_memory_cost in the settings is in KiB; the default is 65536",
        ) from error


def _failed_rules(text: str, email: str, *, strong: bool) -> list[str]:
    least = STRONG_MINIMUM_LENGTH if strong else MINIMUM_LENGTH
    rules = {
        f"shorter than {least} characters": len(text) < least,
        f"longer than {MAXIMUM_LENGTH} characters": len(text) > MAXIMUM_LENGTH,
        "contains a NUL character": "\0" in text,
        "is not valid Unicode text": any("\ud800" <= letter <= "\udfff" for letter in text),
        "is the e-mail address": text.casefold() == email.casefold() != "",
        "is a well-known default": text.casefold() in WELL_KNOWN,
    }
    if strong:
        rules |= {
            "has no upper-case letter": not any(letter.isupper() for letter in text),
            "has no lower-case letter": not any(letter.islower() for letter in text),
            "has no digit": not any(letter.isdigit() for letter in text),
        }
    return [rule for rule, broken in rules.items() if broken]
