"""The capabilities of an installation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the tables of an installation store, and what this tool can do with them.

    Attributes:
        own_schema: The tables are created and migrated by this tool.
        sessions: Sessions are rows, so that they can be listed and revoked.
        expiry: Sessions expire.
        idle: The last use of a session is stored.
        roles: Accounts have roles.
        role_changes: Roles can be granted and revoked.
        admin_role: Superusers have the role ``admin``.
        soft_delete: Accounts can be marked as deleted.
        token_digests: Sessions are stored by a digest of the token, which their ids begin.
        verified: Accounts have ``is_verified``.
    """

    own_schema: bool = True
    sessions: bool = True
    expiry: bool = True
    idle: bool = True
    roles: bool = True
    role_changes: bool = True
    admin_role: bool = True
    soft_delete: bool = False
    token_digests: bool = False
    verified: bool = True


def get_capabilities(mapping: Optional["Mapping"]) -> Capabilities:
    """Return the capabilities of an installation.

    Args:
        mapping: The mapping; None for the preset ``clarinet``.
    """
    if mapping is None:
        return Capabilities()
    tokens = mapping.token_columns
    return Capabilities(
        own_schema=False,
        sessions=mapping.session_strategy == "database",
        expiry=bool(tokens.expires_at) or isinstance(mapping.session_lifetime_seconds, int),
        idle=bool(tokens.last_accessed),
        roles=mapping.roles != "none",
        role_changes=mapping.roles != "none",
        admin_role=False,
        soft_delete=bool(mapping.soft_delete),
        token_digests=bool(mapping.token_digest),
        verified=bool(mapping.user_columns.is_verified),
    )
