"""Results about the program itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitCodeRow:
    """One exit code and when a command ends with it."""

    code: int
    meaning: str
