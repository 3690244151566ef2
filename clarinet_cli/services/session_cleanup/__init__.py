"""Deleting stale sessions while a server runs, once or at an interval."""

from clarinet_cli.services.session_cleanup.cleanup import clean_up
from clarinet_cli.services.session_cleanup.plan import (
    CleanupDisconnectedError,
    CleanupOutOfSpaceError,
    CleanupPlan,
    StopRequest,
)
from clarinet_cli.services.session_cleanup.service import serve

__all__ = [
    "CleanupDisconnectedError",
    "CleanupOutOfSpaceError",
    "CleanupPlan",
    "StopRequest",
    "clean_up",
    "serve",
]
