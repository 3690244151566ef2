"""Results of maintenance of the whole database."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What a vacuum gave back; PostgreSQL: the bytes are those of our tables and indexes.

    Attributes:
        full: Whether the tables were rewritten; on SQLite they always are.
        complete: False when a reader still used the old pages of a SQLite file in WAL mode:
            the space is given back at the first checkpoint after it.
    """

    bytes_before: int
    bytes_after: int
    seconds: float
    full: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class ResetReport:
    """Our tables dropped and made anew.

    Attributes:
        rows: The rows that each table had.
        revision: That of the new tables.
    """

    result: str
    rows: dict[str, int]
    revision: Optional[str]
