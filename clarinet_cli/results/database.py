"""Results about the database: its schema, backups and maintenance; its settings, and checks."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Optional

FindingStatus = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of ``db init``."""

    step: str
    result: str
    detail: str
    password: Optional[str] = field(default=None, repr=False, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The state of the database; ``tables`` has the number of rows of each Clarinet table."""

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

    ``unknown`` are revisions of another environment; ``differences`` are those between the Clarinet
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


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """The result of a vacuum; PostgreSQL: the bytes are those of the Clarinet tables.

    Attributes:
        full: Whether the tables were rewritten; on SQLite they always are.
        complete: False when a reader still used the old pages of a SQLite file in WAL mode:
            the space is reclaimed by the first checkpoint after that.
    """

    bytes_before: int
    bytes_after: int
    seconds: float
    full: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class ResetReport:
    """The Clarinet tables, dropped and created again.

    Attributes:
        rows: The rows that each table had.
        revision: The revision of the new tables.
    """

    result: str
    rows: dict[str, int]
    revision: Optional[str]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A backup that was written.

    Attributes:
        file: Its path, or ``-`` for standard output.
        bytes: Its size.
        seconds: How long it took, the verification included.
        rows: The rows of each of the Clarinet tables at the moment of the snapshot.
        revision: The Alembic revision of the snapshot.
        verified: Whether the file was read back and verified.
        removed: Older backups that ``--keep`` removed.
        lock_seconds: SQLite with a rollback journal: the longest time that a commit of
            another connection may have had to wait.
        dangling_references: Rows that refer to rows that do not exist, in the database and in the
            backup.
    """

    file: str
    bytes: int
    seconds: float
    rows: dict[str, int]
    revision: Optional[str]
    verified: bool
    removed: Optional[tuple[str, ...]] = field(default=None, metadata={"omit_none": True})
    lock_seconds: Optional[float] = field(default=None, metadata={"omit_none": True})
    dangling_references: Optional[int] = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class BackupContents:
    """The contents of a backup file.

    Attributes:
        kind: ``sqlite``, ``postgresql`` or ``accounts``.
        bytes: Its size.
        revision: The Alembic revision.
        rows: The rows of each of the Clarinet tables.
        made_at: When it was created; of a plain SQLite file, when it was last written.
        other_tables: How many tables are not Clarinet's.
        dangling_references: Rows that refer to rows that do not exist.
    """

    kind: str
    bytes: int
    revision: Optional[str]
    rows: dict[str, int]
    made_at: datetime
    other_tables: int = 0
    dangling_references: int = 0


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did, or would do.

    Attributes:
        result: ``restored`` or ``would_restore``.
        file: The backup.
        kind: As in ``BackupContents``.
        bytes: The size of the backup.
        seconds: How long it took, the checks included.
        rows: The rows of each of the Clarinet tables after it.
        revision: The revision after it.
        verified: Whether the database was checked afterwards.
        made_at: When the backup was made.
        replaced: The rows of each of the Clarinet tables before it.
        sessions_revoked: Sessions of the backup that were not restored.
        safety_copy: The backup of the previous contents.
    """

    result: str
    file: str
    kind: str
    bytes: int
    seconds: float
    rows: dict[str, int]
    revision: Optional[str]
    verified: bool
    made_at: datetime
    replaced: dict[str, int]
    sessions_revoked: int
    safety_copy: Optional[str]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The mapping that the catalogue of a database suggests.

    Attributes:
        result: ``proposed``; after writing it ``written`` or ``unchanged``.
        users: The table of accounts; None if there is none.
        tokens: The table of sessions; None if there is none.
        id_form: How the ids of accounts are stored.
        roles: How roles are stored: ``none``, ``link`` or ``column``.
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


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a check: the fact with its consequence, and the remedy."""

    check: str
    status: FindingStatus
    detail: str
    hint: Optional[str] = None


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting and where its value comes from.

    Attributes:
        key: The key; one of a table as ``table.key``.
        value: The effective value, with its type; a secret is ``****``.
        source: ``default``, the name of a variable, or a file and its line.
        problem: Why the value cannot be used; otherwise missing.
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
    """A check of ``doctor``: its name, its group, and what is true if it finds nothing."""

    check: str
    group: str
    description: str
