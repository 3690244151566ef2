"""Results about the database as a whole."""

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True, slots=True)
class Step:
    """One step of ``db init``."""

    step: str
    result: str
    detail: str
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The database as it is; ``tables`` has the rows of each of our tables."""

    backend: str
    server_version: str
    url: str
    size_bytes: int
    revision: Optional[str]
    head: Optional[str]
    managed_by: str
    tables: dict[str, int]


@dataclass(frozen=True, slots=True)
class WaitReport:
    """The database is ready for ``ready``, after ``seconds``."""

    ready: str
    url: str
    attempts: int
    seconds: float
