"""Results about schema revisions."""

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


MISSING_PARTS = ("missing table", "missing column")


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where the schema stands.

    ``unknown`` are revisions of another environment; ``differences`` what distinguishes our
    tables from what this tool expects, whatever the revision says.
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
    """From which revision to which, through which steps."""

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
    """A file that a command wrote, would write, or left alone."""

    path: str
    result: str


@dataclass(frozen=True, slots=True)
class ExitCodeRow:
    """One exit code and when a command ends with it."""

    code: int
    meaning: str
