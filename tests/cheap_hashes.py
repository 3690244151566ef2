"""Password hashes at a thousandth of the cost, which state the requested cost.

The tests make thousands of hashes, and the least that the settings allow takes 20 ms. Those made
here have the form and the parameters of any other, and ``verify`` knows them by their salt. Who
tests the cost itself takes the fixture ``real_hashes``; processes of the tool have real ones.
"""

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Optional
from unittest.mock import patch

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

MARK = b"cheap!"  # begins the salt; six bytes are eight letters of base64
STATED = re.compile(r"m=\d+,t=\d+,p=\d+(?=\$Y2hlYXAh)")
LEAST = "m=8,t=1,p=1"
# What needs more memory than the defaults is left to the library, which may not get it.
MOST_MEMORY = 65536
REAL_HASH, REAL_VERIFY, REAL_CHECK = PasswordHasher.hash, PasswordHasher.verify, bcrypt.checkpw


def cheap_hash(
    hasher: PasswordHasher, password: str | bytes, *, salt: Optional[bytes] = None
) -> str:
    """Return the hash of a password, as ``PasswordHasher.hash``."""
    if salt is not None or hasher.memory_cost > MOST_MEMORY:
        return REAL_HASH(hasher, password, salt=salt)
    least = PasswordHasher(1, 8, 1, hasher.hash_len, hasher.salt_len, type=hasher.type)
    made = REAL_HASH(least, password, salt=MARK + os.urandom(hasher.salt_len - len(MARK)))
    stated = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return made.replace(LEAST, stated, 1)


def cheap_verify(
    hasher: PasswordHasher, stored: str | bytes, password: str | bytes
) -> Literal[True]:
    """Verify a hash, cheap or not, as ``PasswordHasher.verify``."""
    text = stored if isinstance(stored, str) else stored.decode()
    secret = password if isinstance(password, bytes) else password.encode(hasher.encoding)
    if not matches(STATED.sub(LEAST, text), secret):
        raise VerifyMismatchError("the password does not match the hash")
    return True


@functools.lru_cache
def matches(stored: str, password: bytes) -> bool:
    """Return whether a password has this hash, computed once: those of the fixtures recur."""
    try:
        return REAL_VERIFY(PasswordHasher(), stored, password)
    except VerifyMismatchError:
        return False


CHEAP = patch.object(PasswordHasher, "hash", cheap_hash)


def use_cheap_hashes() -> None:
    """Make each hash of this process a cheap one, and verify both kinds."""
    patch.object(PasswordHasher, "verify", cheap_verify).start()
    # The users of the fixture databases have bcrypt's default cost, and always the same hashes.
    patch.object(bcrypt, "checkpw", functools.lru_cache(REAL_CHECK)).start()
    CHEAP.start()


@contextmanager
def real_hashes() -> Iterator[None]:
    """Compute real hashes in the block."""
    CHEAP.stop()
    try:
        yield
    finally:
        CHEAP.start()
