"""The Clarinet tables."""

from clarinet_cli.models.tables import AccessToken, Base, Role, RoleLink, User

__all__ = ["TABLE_NAMES", "VERSION_TABLE", "AccessToken", "Role", "RoleLink", "User", "metadata"]

metadata = Base.metadata
VERSION_TABLE = "alembic_version"
TABLE_NAMES = ("user", "userrole", "userroleslink", "access_token")
