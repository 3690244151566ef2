"""The result of ``db inspect``."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True, slots=True)
class Inspection:
    """The mapping that the catalogue of a database suggests.

    Attributes:
        result: ``proposed``, or once in the file ``written`` or ``unchanged``.
        users: The table of accounts; None if there is none.
        tokens: The table of sessions; None if there is none.
        id_form: How the ids of accounts are stored.
        roles: Where roles are: ``none``, ``link`` or ``column``.
        session_strategy: Where the application keeps its sessions; None: not known.
        session_lifetime_seconds: How long a session lasts: a number or ``none``; None: not known.
        found: What the catalogue shows beyond the usual columns.
        uncertain: What it does not show, by the key of the mapping.
        path: The file that has the mapping; None if it was not to be written.
        settings: The text for settings.toml; missing if nothing is proposed.
    """

    result: str
    users: Optional[str]
    tokens: Optional[str]
    id_form: Optional[str]
    roles: str
    session_strategy: Optional[str]
    session_lifetime_seconds: Optional[int | str]
    found: tuple[str, ...]
    uncertain: dict[str, str]
    path: Optional[str] = None
    settings: Optional[str] = field(default=None, metadata={"omit_none": True})
