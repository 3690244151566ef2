"""A small fastapi-users application over a project's database, with the server's rules.

Log-in, hashing and the cookie are fastapi-users' own. Tables and statements are written down
once more (``tests.server.tables``), so that a mistake of the tool cannot hide in both.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, CookieTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users.schemas import BaseUser, BaseUserUpdate
from sqlalchemy.ext.asyncio import AsyncEngine

from clarinet_cli.settings import Settings
from tests.server.tables import Account, Session, SessionDatabase, UserDatabase

Clock = Callable[[], datetime]
USER_AGENT_LENGTH = 512


class UserManager(UUIDIDMixin, BaseUserManager[Account, UUID]):
    """The account rules of fastapi-users."""


class SessionStrategy(DatabaseStrategy[Account, UUID, Session]):
    """Which cookies are accepted, and what a log-in and a request write.

    Args:
        database: Where the sessions are.
        settings: The limits; the same file as the tool's.
        now: The timestamp of this request.
        request: Who asks.
        cache: The tokens that were found valid, until when; None keeps none.
    """

    database: SessionDatabase

    def __init__(
        self,
        database: SessionDatabase,
        settings: Settings,
        now: datetime,
        request: Request,
        cache: Optional[dict[str, tuple[datetime, Account]]] = None,
    ) -> None:
        super().__init__(database)
        self.settings = settings
        self.now = now
        self.cache = cache
        self.address = request.client.host if request.client else None
        self.user_agent = request.headers.get("user-agent", "")[:USER_AGENT_LENGTH]

    async def read_token(
        self, token: Optional[str], user_manager: BaseUserManager[Account, UUID]
    ) -> Optional[Account]:
        """Return the account whose cookie this is; fastapi-users refuses an inactive one."""
        if self.cache is not None and token in self.cache and self.now < self.cache[token][0]:
            return self.cache[token][1]
        session = await self.database.get_by_token(token) if token else None
        if session is None or not self._accepts(session):
            return None
        user = await super().read_token(session.token, user_manager)
        if user is not None and user.is_active:
            await self.database.update(session, self._used(session))
            if self.cache is not None:
                until = self.now + timedelta(seconds=self.settings.session_cache_ttl_seconds)
                self.cache[session.token] = until, user
        return user

    async def write_token(self, user: Account) -> str:
        """Begin a session; the user's oldest ones above the limit end."""
        token = await super().write_token(user)
        if self.settings.session_concurrent_limit:
            limit = self.settings.session_concurrent_limit
            await self.database.remove_oldest(user.id, keep=limit)
        return token

    def _create_access_token_dict(self, user: Account) -> dict[str, Any]:
        return {
            **super()._create_access_token_dict(user),
            "created_at": self.now,
            "expires_at": self.now + self._life,
            "last_accessed": self.now,
            "user_agent": self.user_agent,
            "ip_address": self.address,
        }

    @property
    def _life(self) -> timedelta:
        return timedelta(hours=self.settings.session_expire_hours)

    def _accepts(self, session: Session) -> bool:
        idle = timedelta(minutes=self.settings.session_idle_timeout_minutes)
        return (
            session.expires_at > self.now
            and (not idle or self.now - session.last_accessed <= idle)
            and (not self.settings.session_ip_check or session.ip_address == self.address)
        )

    def _used(self, session: Session) -> dict[str, Any]:
        """Return what a use writes: the access, and a later end when half the life is over."""
        changes = {"last_accessed": self.now}
        if self.settings.session_sliding_refresh and session.expires_at - self.now < self._life / 2:
            days = self.settings.session_absolute_timeout_days
            end = self.now + self._life
            latest = session.created_at + timedelta(days=days) if days else end
            changes["expires_at"] = max(session.expires_at, min(end, latest))
        return changes


@dataclass(frozen=True)
class Deployment:
    """What the application serves in the present context.

    Attributes:
        settings: The limits; the same file as the tool's.
        engine: Where the tables are.
        now: The clock.
        cache: The tokens that were found valid, until when; None keeps none.
    """

    settings: Settings
    engine: AsyncEngine
    now: Clock
    cache: Optional[dict[str, tuple[datetime, Account]]]


SERVED: ContextVar[Deployment] = ContextVar("served")


async def manager() -> UserManager:
    """Return the account rules over the database that is served."""
    return UserManager(UserDatabase(SERVED.get().engine))


async def strategy(request: Request) -> SessionStrategy:
    """Return the session rules of one request."""
    served = SERVED.get()
    database = SessionDatabase(served.engine)
    return SessionStrategy(database, served.settings, served.now(), request, served.cache)


def application_for(settings: Settings) -> FastAPI:
    """Return the application, whose cookie is that of the settings; ``SERVED`` has the rest."""
    life = settings.session_expire_hours * 3600
    return _application(settings.cookie_name, life, secure=settings.session_secure_cookie)


@functools.cache
def _application(cookie_name: str, life: int, *, secure: bool) -> FastAPI:
    transport = CookieTransport(cookie_name=cookie_name, cookie_max_age=life, cookie_secure=secure)
    backend = AuthenticationBackend(name="cookie", transport=transport, get_strategy=strategy)
    users = FastAPIUsers[Account, UUID](manager, [backend])
    application = FastAPI()
    application.include_router(users.get_auth_router(backend), prefix="/auth")
    application.include_router(
        users.get_users_router(BaseUser[UUID], BaseUserUpdate), prefix="/users"
    )
    return application
