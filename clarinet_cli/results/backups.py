"""Results about backups."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A backup that was written.

    Attributes:
        file: Its path, or ``-`` for standard output.
        bytes: Its size.
        seconds: How long it took, the verification included.
        rows: The rows of each of our tables at the moment of the snapshot.
        revision: The Alembic revision of the snapshot.
        verified: Whether the file was read back whole and found sound.
        removed: Older backups that ``--keep`` removed.
        lock_seconds: SQLite with a rollback journal: the longest time that a commit of
            another connection may have had to wait.
        dangling_references: Rows that refer to rows that do not exist, in the database as in
            the backup.
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
    """What a backup file holds.

    Attributes:
        kind: ``sqlite``, ``postgresql`` or ``accounts``.
        bytes: Its size.
        revision: The Alembic revision.
        rows: The rows of each of our tables.
        made_at: When it was made; of a plain SQLite file, when it was last written.
        other_tables: How many tables are not ours.
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
        rows: The rows of each of our tables after it.
        revision: The revision after it.
        verified: Whether the database was checked afterwards.
        made_at: When the backup was made.
        replaced: The rows of each of our tables before it.
        sessions_revoked: Sessions of the backup that were not brought back.
        safety_copy: The backup of what was there before.
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
