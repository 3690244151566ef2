"""Removing dead sessions beside a running server, once or at an interval."""

from clarinet_cli.services.session_cleanup.once import clean_up
from clarinet_cli.services.session_cleanup.plan import CleanupPlan, CleanupStoppedError, Stop
from clarinet_cli.services.session_cleanup.service import clean_up_for_ever
from clarinet_cli.services.session_cleanup.walk import Progress

__all__ = [
    "CleanupPlan",
    "CleanupStoppedError",
    "Progress",
    "Stop",
    "clean_up",
    "clean_up_for_ever",
]
