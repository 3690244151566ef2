"""The tables of accounts, roles and sessions."""

from datetime import datetime
from typing import Optional
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from clarinet_cli.models.types import StoredId, StoredText, UTCDateTime, new_user_id


class Base(SQLModel, registry=registry()):
    """Base class of the Clarinet models."""


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
    """A role that users can have."""

    __tablename__ = "userrole"

    name: str = Field(sa_type=StoredText(50), primary_key=True)


class RoleLink(Base, table=True):
    """The assignment of a role to a user."""

    __tablename__ = "userroleslink"

    user_id: UUID = Field(
        sa_type=StoredId, sa_column_args=(ForeignKey("user.id"),), primary_key=True
    )
    role_name: str = Field(
        sa_type=StoredText, sa_column_args=(ForeignKey("userrole.name"),), primary_key=True
    )


class AccessToken(Base, table=True):
    """A log-in session of a user.

    ``token`` is the credential itself and is never shown; the session's public id is its first
    eight characters.
    """

    __tablename__ = "access_token"
    __table_args__ = (
        Index("ix_access_token_expires_at", "expires_at"),
        Index("ix_access_token_token", "token"),
        Index("ix_access_token_user_id", "user_id"),
    )

    token: str = Field(sa_type=StoredText, primary_key=True, repr=False)
    user_id: UUID = Field(
        sa_type=StoredId,
        sa_column_args=(ForeignKey("user.id", ondelete="CASCADE"),),
        nullable=False,
    )
    created_at: datetime = Field(sa_type=UTCDateTime, nullable=False)
    expires_at: datetime = Field(sa_type=UTCDateTime, nullable=False)
    last_accessed: datetime = Field(sa_type=UTCDateTime, nullable=False)
    user_agent: Optional[str] = Field(default=None, sa_type=StoredText(512), nullable=True)
    ip_address: Optional[str] = Field(default=None, sa_type=StoredText(45), nullable=True)
