"""Aliases and small value types that two or more modules use."""

from enum import StrEnum
from typing import Literal

SessionState = Literal["active", "idle", "expired", "blocked"]
"""What the server would do with a session: see ``repositories.session_state``."""


class OutputFormat(StrEnum):
    """How a command writes its data to standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PLAIN = "plain"


class Readiness(StrEnum):
    """What ``db wait`` waits for."""

    CONNECTION = "connection"
    SCHEMA = "schema"
