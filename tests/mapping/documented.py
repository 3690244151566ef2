"""The application of fastapi-users' documentation, with database sessions of one hour.

The library's adapter of SQLAlchemy wants a release below 2.1. Beside a newer one its statements
are those written down here, and all else is the library's own; ``make test-sqlalchemy-2.0`` has
the adapter itself.
"""

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any, Optional
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, CookieTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users.db import BaseUserDatabase
from sqlalchemy import (
    CHAR,
    Boolean,
    Column,
    DateTime,
    MetaData,
    String,
    Table,
    TypeDecorator,
    Uuid,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine

LIFETIME_SECONDS = 3600
ADAPTER = "fastapi_users_db_sqlalchemy"


class DashedId(TypeDecorator[UUID]):
    """An id as the library's GUID stores it: PostgreSQL's type, or 36 characters."""

    impl = CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """Return the type on a backend."""
        native = dialect.name == "postgresql"
        return dialect.type_descriptor(Uuid() if native else CHAR(36))

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return an id for the driver."""
        return value if dialect.name == "postgresql" or value is None else str(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return a stored id."""
        return value if value is None or isinstance(value, UUID) else UUID(value)


METADATA = MetaData()
USERS = Table(
    "user",
    METADATA,
    Column("id", DashedId, primary_key=True),
    Column("email", String(320)),
    Column("hashed_password", String(1024)),
    Column("is_active", Boolean),
    Column("is_superuser", Boolean),
    Column("is_verified", Boolean),
)
SESSIONS = Table(
    "accesstoken",
    METADATA,
    Column("token", String(43), primary_key=True),
    Column("created_at", DateTime(timezone=True)),
    Column("user_id", DashedId),
)


class Users(BaseUserDatabase[Any, UUID]):
    """The adapter's statements on accounts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def get(self, id: UUID) -> Any:  # noqa: A002 - the library's name
        """Return the account with this id."""
        return await _one(self.engine, select(USERS).where(USERS.c.id == id))

    async def get_by_email(self, email: str) -> Any:
        """Return the account with this address."""
        same = func.lower(USERS.c.email) == func.lower(email)
        return await _one(self.engine, select(USERS).where(same))

    async def update(self, user: Any, update_dict: dict[str, Any]) -> Any:
        """Write what has changed."""
        await _run(self.engine, update(USERS).where(USERS.c.id == user.id).values(**update_dict))
        return await self.get(user.id)

    async def create(self, create_dict: dict[str, Any]) -> Any:
        """Store an account."""
        values = {"is_active": True, "is_superuser": False, "is_verified": False, "id": uuid4()}
        await _run(self.engine, insert(USERS).values(**values | create_dict))
        return await self.get_by_email(create_dict["email"])


class Sessions:
    """The adapter's statements on sessions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def get_by_token(self, token: str, max_age: Any = None) -> Any:
        """Return the session of a cookie that is not too old."""
        query = select(SESSIONS).where(SESSIONS.c.token == token)
        if max_age is not None:
            query = query.where(SESSIONS.c.created_at >= max_age)
        return await _one(self.engine, query)

    async def create(self, create_dict: dict[str, Any]) -> Any:
        """Store a session."""
        await _run(
            self.engine, insert(SESSIONS).values(created_at=datetime.now(UTC), **create_dict)
        )
        return SimpleNamespace(**create_dict)

    async def delete(self, access_token: Any) -> None:
        """End a session."""
        await _run(self.engine, delete(SESSIONS).where(SESSIONS.c.token == access_token.token))


class UserManager(UUIDIDMixin, BaseUserManager[Any, UUID]):
    """The account rules of the library."""


def application(engine: AsyncEngine) -> FastAPI:
    """Return the application over a database."""
    get_users, get_sessions = _dependencies(engine)

    def get_strategy(sessions: Annotated[Any, Depends(get_sessions)]) -> Any:
        return DatabaseStrategy(sessions, lifetime_seconds=LIFETIME_SECONDS)

    async def get_user_manager(users: Annotated[Any, Depends(get_users)]) -> Any:
        return UserManager(users)

    backend: AuthenticationBackend[Any, UUID] = AuthenticationBackend(
        name="database",
        transport=CookieTransport(cookie_secure=False),
        get_strategy=get_strategy,
    )
    library = FastAPIUsers[Any, UUID](get_user_manager, [backend])
    current = library.current_user(active=True)
    app = FastAPI()
    app.include_router(library.get_auth_router(backend), prefix="/auth")

    async def me(user: Annotated[Any, Depends(current)]) -> dict[str, Any]:
        return {"email": user.email, "is_superuser": user.is_superuser}

    app.get("/me")(me)
    return app


def _dependencies(engine: AsyncEngine) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the dependencies for accounts and sessions."""
    if importlib.util.find_spec(ADAPTER) is not None:
        from tests.mapping.adapter import dependencies

        return dependencies(engine)
    return lambda: Users(engine), lambda: Sessions(engine)


async def _one(engine: AsyncEngine, query: Any) -> Optional[SimpleNamespace]:
    async with engine.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else SimpleNamespace(**row._asdict())


async def _run(engine: AsyncEngine, statement: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(statement)
