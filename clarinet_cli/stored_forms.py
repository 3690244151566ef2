"""Values in other forms than the server's, as SQLite may have them in any column."""

import re
from typing import Optional
from uuid import UUID

HEX_ID = re.compile("[0-9a-f]{32}")  # an id as the server writes it into SQLite


def uuid_of(stored: object) -> Optional[UUID]:
    """Return the UUID that a stored value is a form of, or None."""
    try:
        return UUID(bytes=stored) if isinstance(stored, bytes) else UUID(str(stored))
    except ValueError:
        return None


def as_text(stored: object) -> str:
    """Return a stored value as text, whatever it is."""
    if not isinstance(stored, bytes):
        return str(stored)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.hex()


def same_id(stored: object) -> object:
    """Return an id in the server's form, or what is stored when it is no UUID."""
    found = uuid_of(stored)
    return stored if found is None else found.hex
