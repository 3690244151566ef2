"""Deleting stale sessions while a server runs, once or at an interval."""

from clarinet_cli.services.session_cleanup.plan import (
    CleanupDisconnectedError,
    CleanupOutOfSpaceError,
    CleanupPlan,
    StopRequest,
)
from clarinet_cli.services.session_cleanup.schedule import serve
from clarinet_cli.services.session_cleanup.service import clean_up

__all__ = [
    "CleanupDisconnectedError",
    "CleanupOutOfSpaceError",
    "CleanupPlan",
    "StopRequest",
    "clean_up",
    "serve",
]
