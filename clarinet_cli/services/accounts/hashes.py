"""Password hashes: inspect stored ones, prepare new ones.

A hash is verified with the parameters that it carries, and fastapi-users verifies it in the
server's event loop: one that takes a minute blocks all requests for a minute. Text that pwdlib's
two libraries refuse is not a hash: no log-in succeeds with it (argon2-cffi: less than 8 KiB per
lane, no pass, an undefined version; bcrypt: a cost below 4 or above 31, a salt with stray bits).
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Optional

from argon2 import Parameters, extract_parameters
from argon2.exceptions import InvalidHashError
from argon2.low_level import Type

from clarinet_cli.exceptions import INVALID
from clarinet_cli.services.accounts.passwords import (
    NewPassword,
    hash_password,
    password_hasher,
    require_acceptable,
)
from clarinet_cli.settings import Settings
from clarinet_cli.types import ProgressCallback

# Of 16 bytes of salt the last character holds 2 bits, of 23 bytes of hash it holds 4.
BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}"
                    r"[.CGKOSWaeimquy26]", re.ASCII)  # fmt: skip
NUMBER = r"(?:0|[1-9]\d{0,9})"  # as libargon2 reads one: no zero before it
# At least 8 bytes of salt and 4 of hash, in base64: with less nothing verifies. More than
# 64 bytes of either make nothing safer.
ARGON2 = re.compile(
    rf"\$argon2(?:id|i|d)(?:\$v=(?:16|19))?\$m={NUMBER},t={NUMBER},p={NUMBER}"
    r"\$([+/A-Za-z0-9]{11,86})\$([+/A-Za-z0-9]{6,86})",
    re.ASCII,
)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
STRAY_BITS = {
    0: 1,
    2: 16,
    3: 4,
}  # by the characters after the last group of four: the divisor of the last one
ARGON2_NAMES = {Type.ID: "argon2id", Type.I: "argon2i", Type.D: "argon2d"}
KIB_PER_LANE = 8

BCRYPT_COSTS = range(4, 17)  # each step doubles: 12 takes a quarter of a second, 16 four
# The first recommendation of RFC 9106 is 2 GiB in one pass; half of that is a second of one
# core. Passes cost more than their memory when that is small: threads are begun for each.
ARGON2_MAX = {"memory_cost": 2**20, "time_cost": 1000, "parallelism": 64}
ARGON2_MAX_WORK = 2**20  # KiB written in all passes
ARGON2_MAX_THREADS = 4096  # passes times lanes

# Stands for a hash in a dry run, and is rolled back: it has the form of one, so that the
# account counts as one that can log in.
PLACEHOLDER = "$2b$12$" + "." * 53


@dataclass(frozen=True, slots=True)
class HashInfo:
    """How a password is hashed.

    Attributes:
        scheme: ``argon2id``, ``argon2i``, ``argon2d``, ``bcrypt``, or ``unknown`` when the
            server could not verify it, so that no one can log in with it.
        current: Whether a password set now would be hashed alike.
        parameters: The cost by the names of the scheme.
    """

    scheme: str
    current: bool
    parameters: dict[str, int]


UNKNOWN = HashInfo("unknown", current=False, parameters={})


def inspect_hash(stored: object, settings: Settings) -> HashInfo:
    """Return scheme, currency and parameters of a stored hash.

    Args:
        stored: The content of the column of hashes.
        settings: The parameters that are current.
    """
    if not isinstance(stored, str):
        return UNKNOWN
    match = BCRYPT.fullmatch(stored)
    if match and 4 <= (cost := int(match[1])) <= 31:  # the library reads no others
        return HashInfo("bcrypt", current=False, parameters={"cost": cost})
    found = _argon2_parameters(stored)
    if found is None:
        return UNKNOWN
    current = not password_hasher(settings).check_needs_rehash(stored)
    return HashInfo(
        ARGON2_NAMES[found.type],
        current,
        {
            "time_cost": found.time_cost,
            "memory_cost": found.memory_cost,
            "parallelism": found.parallelism,
        },
    )


def can_log_in(stored: object, settings: Settings) -> bool:
    """Return whether a password can be verified with the content of the column of hashes."""
    return hash_problem(stored, settings) is None


def hash_problem(stored: object, settings: Settings) -> Optional[str]:
    """Return why a hash must not be imported, or None if it may be.

    Cheap hashes are accepted: they verify, and the server replaces them at the next log-in. A hash
    with the parameters of the settings is accepted at any cost.

    Args:
        stored: The content of the column of hashes.
        settings: The parameters that are current.

    Returns:
        The reason in words, without any part of the hash but its numbers.
    """
    found = inspect_hash(stored, settings)
    if found == UNKNOWN:
        return "not an argon2 or bcrypt hash that the server can verify"
    if found.scheme == "bcrypt":
        if found.parameters["cost"] in BCRYPT_COSTS:
            return None
        costs = f"{BCRYPT_COSTS.start} to {BCRYPT_COSTS.stop - 1}"
        return f"bcrypt's cost is {found.parameters['cost']}, not {costs}"
    hasher = password_hasher(settings)
    configured = (hasher.time_cost, hasher.memory_cost, hasher.parallelism)
    as_configured = tuple(found.parameters.values()) == configured
    return None if as_configured else _argon2_problem(found)


def _argon2_problem(found: HashInfo) -> Optional[str]:
    """Return which cost of an argon2 hash would block the server, or None."""
    memory, passes, lanes = (found.parameters[name] for name in ARGON2_MAX)
    for name, letter in (("memory_cost", "m"), ("time_cost", "t"), ("parallelism", "p")):
        if found.parameters[name] > ARGON2_MAX[name]:
            return f"argon2's {letter} is {found.parameters[name]}, above {ARGON2_MAX[name]}"
    if memory * passes > ARGON2_MAX_WORK:
        return f"argon2's m times t is {memory * passes}, above {ARGON2_MAX_WORK}"
    if passes * lanes > ARGON2_MAX_THREADS:
        return f"argon2's t times p is {passes * lanes}, above {ARGON2_MAX_THREADS}"
    return None


def _argon2_parameters(stored: str) -> Optional[Parameters]:
    """Return the parameters of an argon2 hash that the library verifies, or None."""
    match = ARGON2.fullmatch(stored)
    if match is None or not all(_is_base64(part) for part in match.groups()):
        return None
    try:
        found = extract_parameters(stored)
    except InvalidHashError:
        return None
    possible = (
        found.parallelism >= 1
        and found.time_cost >= 1
        and KIB_PER_LANE * found.parallelism <= found.memory_cost < 2**32
    )
    return found if possible else None


def _is_base64(part: str) -> bool:
    """Return whether libargon2 decodes this: no padding, no bits that are left over."""
    step = STRAY_BITS.get(len(part) % 4)
    return step is not None and BASE64.index(part[-1]) % step == 0


@dataclass(frozen=True, slots=True)
class PreparedPassword:
    """A password that is checked and hashed, ready to be stored.

    Attributes:
        hashed: The hash.
        generated: The password itself, when it was generated and must be shown.
    """

    hashed: str = field(repr=False)
    generated: Optional[str] = field(default=None, repr=False)


def prepare_password(
    password: Optional[NewPassword], email: str, settings: Settings, *, dry_run: bool = False
) -> Optional[PreparedPassword]:
    """Check and hash a password; call it before a transaction begins, as it takes long.

    Args:
        password: The password; None is returned as it is.
        email: The account's address.
        settings: The policy and the hash parameters.
        dry_run: Check it only.

    Raises:
        InvalidInputError: It breaks the policy; each rule that failed is named.
    """
    if password is None:
        return None
    require_acceptable(password, email, settings)
    if dry_run:
        return PreparedPassword(PLACEHOLDER)
    generated = password.text if password.generated else None
    return PreparedPassword(hash_password(password, settings), generated)


def require_prepared(password: Optional[PreparedPassword], *, dry_run: bool) -> PreparedPassword:
    """Return the password of an account; a placeholder in a dry run without one.

    Raises:
        InvalidInputError: There is no password.
    """
    if password is None and not dry_run:
        raise INVALID.with_context("no password is given for the account")
    return password or PreparedPassword(PLACEHOLDER)


async def hash_all(
    passwords: Sequence[NewPassword], settings: Settings, progress: ProgressCallback
) -> list[str]:
    """Return the hash of each password, in order.

    At most one hash per core of this process is computed at a time: each takes
    ``argon2_memory_cost`` KiB, and its lanes use the cores already.

    Args:
        passwords: The passwords.
        settings: The hash parameters.
        progress: Called after each with those done so far and all.
    """
    loop = asyncio.get_running_loop()
    done = 0

    async def counted(hashing: Awaitable[str]) -> str:
        nonlocal done
        hashed = await hashing
        done += 1
        progress(done, len(passwords))
        return hashed

    allowed = getattr(os, "sched_getaffinity", None)
    with ThreadPoolExecutor(len(allowed(0)) if allowed else os.cpu_count() or 1) as pool:
        works = [
            counted(loop.run_in_executor(pool, hash_password, password, settings))
            for password in passwords
        ]
        return await asyncio.gather(*works)
