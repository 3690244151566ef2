"""Users, roles, and which user has which role."""

from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index
from sqlmodel import Field

from clarinet_cli.models.base import Base
from clarinet_cli.models.types import StoredId, StoredText, new_user_id


class User(Base, table=True):
    """An account. There is no user-name column: a user is an e-mail address."""

    __tablename__ = "user"
    __table_args__ = (Index("ix_user_email", "email", unique=True),)

    email: str = Field(sa_type=StoredText, nullable=False)
    hashed_password: str = Field(sa_type=StoredText, nullable=False, repr=False)
    is_active: bool = Field(default=True, sa_type=Boolean, nullable=False)
    is_superuser: bool = Field(default=False, sa_type=Boolean, nullable=False)
    is_verified: bool = Field(default=False, sa_type=Boolean, nullable=False)
    id: UUID = Field(default_factory=new_user_id, sa_type=StoredId, primary_key=True)


class Role(Base, table=True):
    """A role that users can have; its name is all it is."""

    __tablename__ = "userrole"

    name: str = Field(sa_type=StoredText(50), primary_key=True)


class RoleLink(Base, table=True):
    """One role of one user."""

    __tablename__ = "userroleslink"

    user_id: UUID = Field(
        sa_type=StoredId, sa_column_args=(ForeignKey("user.id"),), primary_key=True
    )
    role_name: str = Field(
        sa_type=StoredText, sa_column_args=(ForeignKey("userrole.name"),), primary_key=True
    )
