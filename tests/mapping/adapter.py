"""fastapi-users' own adapter of SQLAlchemy, if it is installed: it requires SQLAlchemy 2.0."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import Depends
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import (
    SQLAlchemyAccessTokenDatabase,
    SQLAlchemyBaseAccessTokenTableUUID,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The models of the documentation."""


class User(SQLAlchemyBaseUserTableUUID, Base):  # type: ignore[misc]  # not installed for mypy
    """An account."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):  # type: ignore[misc]  # the same
    """A session."""


def dependencies(engine: AsyncEngine) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what the documentation calls ``get_user_db`` and ``get_access_token_db``."""
    maker = async_sessionmaker(engine, expire_on_commit=False)

    async def get_async_session() -> AsyncIterator[AsyncSession]:
        async with maker() as session:
            yield session

    Session = Annotated[AsyncSession, Depends(get_async_session)]  # noqa: N806 - a type

    async def get_user_db(session: Session) -> Any:
        return SQLAlchemyUserDatabase(session, User)

    async def get_access_token_db(session: Session) -> Any:
        return SQLAlchemyAccessTokenDatabase(session, AccessToken)

    return get_user_db, get_access_token_db
