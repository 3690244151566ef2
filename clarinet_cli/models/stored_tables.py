"""The names of the tables of accounts, roles and sessions, in Clarinet and in an application."""

from collections.abc import Mapping as Names
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from clarinet_cli.models.tables import AccessToken, Role, RoleLink, User

if TYPE_CHECKING:
    from clarinet_cli.mapping import Mapping
    from clarinet_cli.types import Capabilities

USERS = str(User.__tablename__)
SESSIONS = str(AccessToken.__tablename__)
ROLES = str(Role.__tablename__)
ROLE_LINKS = str(RoleLink.__tablename__)


@dataclass(frozen=True, slots=True)
class StoredTables:
    """The tables of accounts, roles and sessions by name, for files and statements of their own.

    Attributes:
        names: The name of each table that exists, by the name of the Clarinet table.
        schema: Their schema; None for the default one.
        own: Whether they are the Clarinet tables themselves.
    """

    names: Names[str, str]
    schema: Optional[str] = None
    own: bool = False

    @property
    def sessions(self) -> Optional[str]:
        """The table of sessions; None if sessions are not rows."""
        return self.names.get(SESSIONS)

    def fullname(self, table: str) -> str:
        """Return the name of a table in reports, with the schema unless it is the default one.

        Args:
            table: The name of the Clarinet table, one of ``names``.
        """
        name = self.names[table]
        return f"{self.schema}.{name}" if self.schema else name

    def reported(self, table: str) -> str:
        """Return the name of a table in reports; the Clarinet name of one that does not exist.

        Args:
            table: The name of the Clarinet table.
        """
        return self.fullname(table) if table in self.names else table

    @property
    def fullnames(self) -> list[str]:
        """The names of all tables in reports."""
        return [self.fullname(table) for table in self.names]


OWN_TABLES = StoredTables({name: name for name in (USERS, ROLES, ROLE_LINKS, SESSIONS)}, own=True)


def stored_tables(mapping: Optional["Mapping"], capabilities: "Capabilities") -> StoredTables:
    """Return the tables of an installation.

    Args:
        mapping: The mapping; None for the Clarinet tables.
        capabilities: The capabilities of the installation.
    """
    if mapping is None:
        return OWN_TABLES
    names = {USERS: mapping.users}
    if mapping.role_link is not None and capabilities.roles:
        names |= {ROLES: mapping.role_link.role_table, ROLE_LINKS: mapping.role_link.table}
    if capabilities.sessions:
        names[SESSIONS] = mapping.tokens
    return StoredTables(
        {table: name for table, name in names.items() if name}, mapping.schema_name or None
    )
