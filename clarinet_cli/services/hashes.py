"""What a stored password hash tells of itself: its scheme and its parameters."""

import re
from dataclasses import dataclass
from typing import Optional

from argon2 import Parameters, extract_parameters
from argon2.exceptions import InvalidHashError
from argon2.low_level import Type

from clarinet_cli.settings import Settings

BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
# At least 8 bytes of salt and 4 of hash, in base64: with less nothing verifies.
ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)(?:\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[+/A-Za-z0-9]{11,}\$[+/A-Za-z0-9]{6,}",
    re.ASCII,
)
ARGON2_NAMES = {Type.ID: "argon2id", Type.I: "argon2i", Type.D: "argon2d"}
ARGON2_VERSION = 0x13  # 1.3, that of RFC 9106


@dataclass(frozen=True, slots=True)
class HashInfo:
    """How a password is hashed.

    Attributes:
        scheme: ``argon2id``, ``argon2i``, ``argon2d``, ``bcrypt``, or ``unknown`` when the
            server could not verify it, so that nobody can log in with it.
        current: Whether a password set now would be hashed alike.
        parameters: The cost by the names of the scheme.
    """

    scheme: str
    current: bool
    parameters: dict[str, int]


UNKNOWN = HashInfo("unknown", current=False, parameters={})


def inspect_hash(stored: str, settings: Settings) -> HashInfo:
    """Return what a stored hash tells of itself.

    Args:
        stored: The hash.
        settings: The parameters that are current.
    """
    if match := BCRYPT.fullmatch(stored):
        return HashInfo("bcrypt", current=False, parameters={"cost": int(match[1])})
    found = _argon2_parameters(stored)
    if found is None:
        return UNKNOWN
    parameters = {
        "time_cost": found.time_cost,
        "memory_cost": found.memory_cost,
        "parallelism": found.parallelism,
    }
    wanted = {name: getattr(settings, f"argon2_{name}") for name in parameters}
    as_ours = (found.type, found.version) == (Type.ID, ARGON2_VERSION)
    return HashInfo(ARGON2_NAMES[found.type], as_ours and parameters == wanted, parameters)


def _argon2_parameters(stored: str) -> Optional[Parameters]:
    """Return the parameters of an argon2 hash; the library alone lets too much pass."""
    if not ARGON2.fullmatch(stored):
        return None
    try:
        return extract_parameters(stored)
    except InvalidHashError:  # a number too long to be one
        return None
