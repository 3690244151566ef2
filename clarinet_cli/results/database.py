"""Results about the database and its schema."""

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
    """The state of the database; ``tables`` has the number of rows of each of our tables."""

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
    """The result of ``db wait``: the condition ``ready`` holds after ``seconds``."""

    ready: str
    url: str
    attempts: int
    seconds: float


MISSING_PARTS = ("missing table", "missing column")


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The state of the schema.

    ``unknown`` are revisions of another environment; ``differences`` are those between our
    tables and the models, independent of the revision.
    """

    environment: str
    current: tuple[str, ...]
    heads: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    up_to_date: bool
    differences: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no table and no column is missing."""
        return not any(text.startswith(MISSING_PARTS) for text in self.differences)


@dataclass(frozen=True, slots=True)
class MigrationRun:
    """A migration: the revision before, the one after, and those that were run."""

    result: str
    from_revision: Optional[str]
    to_revision: Optional[str]
    revisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """One revision of the environment."""

    revision: str
    down_revision: Optional[str]
    message: str
    current: bool
    head: bool


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that a command wrote, would write, or did not change."""

    path: str
    result: str


@dataclass(frozen=True, slots=True)
class ExitCodeRow:
    """One exit code and when a command ends with it."""

    code: int
    meaning: str
