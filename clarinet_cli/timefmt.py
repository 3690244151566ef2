"""The clock of this machine, and the text format of timestamps."""

from datetime import UTC, datetime


def machine_now() -> datetime:
    """Return the current time of this machine, in UTC."""
    return datetime.now(UTC)


def iso_text(value: datetime) -> str:
    """Return a timestamp as ISO 8601 in UTC with ``Z``."""
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc.isoformat()[: -len("+00:00")] + "Z"
