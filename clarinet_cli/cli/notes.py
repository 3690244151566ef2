"""Notes that several commands give."""

from typing import TYPE_CHECKING

from clarinet_cli.cli.output import note

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings


def cache_note(settings: "Settings") -> None:
    """Tell how long the server may go on accepting what was revoked."""
    seconds = settings.session_cache_ttl_seconds
    if seconds:
        note(f"the server's cache may accept a revoked session for up to {seconds} s more")
