"""Results as records for tables: field names and values in words.

Unlike the names and values of fields in data formats, these may change between versions.
"""

from collections.abc import Mapping
from typing import Any, Optional

from clarinet_cli.cli.formats import Fields
from clarinet_cli.cli.text import pluralize

PLANNED = "would_"
DONE_BY_A_CLEANUP = ("deleted", "remaining", "batches", "complete")  # nothing in a dry run
OF_THE_ACCOUNT = {
    "is_active": "account active",
    "is_superuser": "account superuser",
    "is_verified": "account verified",
    "roles": "account roles",
    "sessions": "account sessions",
}


def table_record(
    result: Any, values: Fields, outcome: Optional[Mapping[str, str]] = None
) -> tuple[Fields, Mapping[str, str]]:
    """Return the fields of a table for one result, and the titles of some of them.

    Args:
        result: The result.
        values: Its fields.
        outcome: What has changed, such as ``{"active": "no"}``; shown after the result.
    """
    from clarinet_cli.results import SessionDetail

    titles = OF_THE_ACCOUNT if isinstance(result, SessionDetail) else {}
    planned = str(values.get("result", "")).startswith(PLANNED)
    shown: Fields = {}
    for name, value in values.items():
        if values.get("dry_run") and name in DONE_BY_A_CLEANUP:
            continue
        if name == "sessions_revoked" and planned:
            shown["would revoke"] = pluralize(value, "session")
            continue
        shown[name] = value
        if name == "result":
            shown |= {
                key: f"would be {value}" if planned else value
                for key, value in (outcome or {}).items()
                if not values.get(key)
            }
    return shown, titles
