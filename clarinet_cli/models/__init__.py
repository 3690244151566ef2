"""The four tables of the server that this tool administers."""

from clarinet_cli.models.access_token import AccessToken
from clarinet_cli.models.base import Base
from clarinet_cli.models.user import Role, RoleLink, User

__all__ = ["TABLE_NAMES", "AccessToken", "Role", "RoleLink", "User", "metadata"]

metadata = Base.metadata
TABLE_NAMES = ("user", "userrole", "userroleslink", "access_token")
