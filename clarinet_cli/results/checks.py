"""Results about settings, and the findings of checks."""

from dataclasses import dataclass, field
from typing import Any, Literal, Optional

FindingStatus = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the fact with its consequence, and the remedy."""

    check: str
    status: FindingStatus
    detail: str
    hint: Optional[str] = None


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting and where its value comes from.

    Attributes:
        key: The key; one of a table as ``table.key``.
        value: The value that counts, with its type; a secret is ``****``.
        source: ``default``, the name of a variable, or a file and its line.
        problem: There only when the value cannot be used: why.
    """

    key: str
    value: Any
    source: str
    problem: Optional[str] = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file that settings are read from; the first one that has a key gives its value."""

    path: str
    exists: bool


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check of ``doctor``: its name, its group, and what holds when it finds nothing."""

    check: str
    group: str
    description: str
