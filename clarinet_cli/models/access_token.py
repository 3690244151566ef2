"""Log-in sessions."""

from datetime import datetime
from typing import Optional
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlmodel import Field

from clarinet_cli.models.base import Base
from clarinet_cli.models.types import StoredId, StoredText, UTCDateTime


class AccessToken(Base, table=True):
    """A log-in session of a user.

    ``token`` is the credential itself: whoever holds it is logged in. It never leaves the
    database; the session's public id is its first eight characters.
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
