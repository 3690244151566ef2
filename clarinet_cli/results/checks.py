"""Results of checks."""

from dataclasses import dataclass
from typing import Literal, Optional

FindingStatus = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the fact with its consequence, and the remedy."""

    check: str
    status: FindingStatus
    detail: str
    hint: Optional[str] = None
