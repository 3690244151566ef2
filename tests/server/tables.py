"""The server's two tables and its statements on them, written without the tool's."""

import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID

from fastapi_users.db import BaseUserDatabase
from sqlalchemy import (
    URL,
    Boolean,
    Column,
    DateTime,
    MetaData,
    NullPool,
    String,
    Table,
    Uuid,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.support import Project

METADATA = MetaData()
USERS = Table(
    "user",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("email", String),
    Column("hashed_password", String),
    Column("is_active", Boolean),
    Column("is_superuser", Boolean),
    Column("is_verified", Boolean),
)
SESSIONS = Table(
    "access_token",
    METADATA,
    Column("token", String, primary_key=True),
    Column("user_id", Uuid),
    Column("created_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_accessed", DateTime(timezone=True)),
    Column("user_agent", String(512)),
    Column("ip_address", String(45)),
)


@dataclass
class Account:
    """A row of ``user``, in the form that fastapi-users requires."""

    id: UUID
    email: str
    hashed_password: str = field(repr=False)
    is_active: bool
    is_superuser: bool
    is_verified: bool


@dataclass
class Session:
    """A row of ``access_token``, its times aware UTC on both backends."""

    token: str = field(repr=False)
    user_id: UUID
    created_at: datetime
    expires_at: datetime
    last_accessed: datetime
    user_agent: Optional[str] = None
    ip_address: Optional[str] = None

    def __post_init__(self) -> None:
        """SQLite's driver gives naive values, which mean UTC."""
        self.created_at = _aware(self.created_at)
        self.expires_at = _aware(self.expires_at)
        self.last_accessed = _aware(self.last_accessed)


class UserDatabase(BaseUserDatabase[Account, UUID]):
    """What fastapi-users asks about accounts.

    Args:
        engine: Where the tables are.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def get(self, id: UUID) -> Optional[Account]:  # noqa: A002 - the library's name
        """Return the account with this id."""
        return await self._one(USERS.c.id == id)

    async def get_by_email(self, email: str) -> Optional[Account]:
        """Return the account with this address, compared as the server does.

        Raises:
            MultipleResultsFound: There are several, and nobody can log in to any of them.
        """
        return await self._one(func.lower(USERS.c.email) == func.lower(email))

    async def update(self, user: Account, update_dict: dict[str, Any]) -> Account:
        """Write what has changed: the hash, when a log-in brings it up to date."""
        async with self.engine.begin() as connection:
            await connection.execute(
                update(USERS).where(USERS.c.id == user.id).values(**update_dict)
            )
        for name, value in update_dict.items():
            setattr(user, name, value)
        return user

    async def _one(self, condition: Any) -> Optional[Account]:
        async with self.engine.begin() as connection:
            found = (await connection.execute(select(USERS).where(condition))).one_or_none()
        return None if found is None else Account(**found._asdict())


class SessionDatabase:
    """What fastapi-users' database strategy asks about sessions, and the server's own needs.

    Args:
        engine: Where the tables are.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def get_by_token(
        self, token: str, max_age: Optional[datetime] = None
    ) -> Optional[Session]:
        """Return the session of a cookie."""
        query = select(SESSIONS).where(SESSIONS.c.token == token)
        async with self.engine.begin() as connection:
            found = (await connection.execute(query)).one_or_none()
        return None if found is None else Session(**found._asdict())

    async def create(self, create_dict: dict[str, Any]) -> Session:
        """Store a new session."""
        async with self.engine.begin() as connection:
            await connection.execute(insert(SESSIONS).values(**create_dict))
        return Session(**create_dict)

    async def update(self, access_token: Session, update_dict: dict[str, Any]) -> Session:
        """Write what a use of the session has changed."""
        same = SESSIONS.c.token == access_token.token
        async with self.engine.begin() as connection:
            await connection.execute(update(SESSIONS).where(same).values(**update_dict))
        return access_token

    async def delete(self, access_token: Session) -> None:
        """Remove a session at log-out."""
        async with self.engine.begin() as connection:
            await connection.execute(delete(SESSIONS).where(SESSIONS.c.token == access_token.token))

    async def remove_oldest(self, user_id: UUID, *, keep: int) -> None:
        """Remove a user's sessions but the newest ones."""
        own = SESSIONS.c.user_id == user_id
        newest = select(SESSIONS.c.token).where(own)
        newest = newest.order_by(SESSIONS.c.created_at.desc()).limit(keep)
        async with self.engine.begin() as connection:
            await connection.execute(delete(SESSIONS).where(own, SESSIONS.c.token.not_in(newest)))


def make_engine(project: Project) -> AsyncEngine:
    """Return an engine of the server's own, whose connections end with their transactions."""
    server = project.server
    if server is None:
        url = URL.create("sqlite+aiosqlite", database=str(project.file))
    else:
        url = URL.create(
            "postgresql+asyncpg",
            username=server.user,
            password=server.password,
            host=server.host,
            port=server.port,
            database=project.database,
        )
    return _engine(url)


@functools.lru_cache(maxsize=8)  # so that statements are compiled once a project
def _engine(url: URL) -> AsyncEngine:
    return create_async_engine(url, poolclass=NullPool)


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
