"""Requests to the server of a project, in one line each.

``cookie = log_in(project, email, password)`` is a session's token, or None when the server
refuses; ``accepts(project, cookie)`` tells whether it still opens the door. Each may be called
from a plain test and from inside a running event loop.
"""

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Optional

from httpx import ASGITransport, AsyncClient, Response

from tests.oracle import apart
from tests.server.application import SERVED, Deployment, application_for
from tests.server.tables import Account, make_engine
from tests.support import Project

ORIGIN = "https://server.example.org"
PORT = 40000
BROWSER = "Mozilla/5.0 (tests)"
HERE = "127.0.0.1"


class Server:
    """The application of one project, called over HTTP in this process.

    Args:
        project: Its settings and its database.
        now: The clock, which a test may set anew.
        caching: Believe a token for ``session_cache_ttl_seconds`` without looking again.
    """

    def __init__(
        self,
        project: Project,
        *,
        now: Optional[datetime] = None,
        caching: bool = False,
    ) -> None:
        self.now = now
        settings = project.settings
        self.cookie_name = settings.cookie_name
        self.application = application_for(settings)
        cache: Optional[dict[str, tuple[datetime, Account]]] = {} if caching else None
        self._deployment = Deployment(settings, make_engine(project), self._clock, cache)

    def log_in(
        self, email: str, password: str, *, user_agent: str = BROWSER, address: str = HERE
    ) -> Optional[str]:
        """Send the log-in form; return the cookie, or None when the server refuses."""
        form = {"username": email, "password": password}
        headers = {"user-agent": user_agent}
        response = self._request("POST", "/auth/login", address, data=form, headers=headers)
        if response.status_code == HTTPStatus.BAD_REQUEST:
            assert response.json() == {"detail": "LOGIN_BAD_CREDENTIALS"}
            return None
        assert response.status_code == HTTPStatus.NO_CONTENT, response.text
        return response.cookies[self.cookie_name]

    def who_is(self, cookie: str, *, address: str = HERE) -> Optional[dict[str, Any]]:
        """Return what ``/users/me`` says to the holder of a cookie, or None when refused."""
        response = self._request("GET", "/users/me", address, headers=self._held(cookie))
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            return None
        assert response.status_code == HTTPStatus.OK, response.text
        found: dict[str, Any] = response.json()
        return found

    def accepts(self, cookie: str, *, address: str = HERE) -> bool:
        """Return whether a request with this cookie is accepted; a use of the session."""
        return self.who_is(cookie, address=address) is not None

    def log_out(self, cookie: str) -> None:
        """End the session of a cookie."""
        response = self._request("POST", "/auth/logout", HERE, headers=self._held(cookie))
        assert response.status_code == HTTPStatus.NO_CONTENT, response.text

    def _clock(self) -> datetime:
        return self.now or datetime.now(UTC)

    def _held(self, cookie: str) -> dict[str, str]:
        return {"cookie": f"{self.cookie_name}={cookie}"}

    def _request(self, method: str, path: str, address: str, **content: Any) -> Response:
        async def ask() -> Response:
            SERVED.set(self._deployment)
            transport = ASGITransport(self.application, client=(address, PORT))
            async with AsyncClient(transport=transport, base_url=ORIGIN) as client:
                return await client.request(method, path, **content)

        return apart(lambda: asyncio.run(ask()))


def log_in(project: Project, email: str, password: str) -> Optional[str]:
    """Log in at a project's server; return the cookie, or None when it refuses."""
    return Server(project).log_in(email, password)


def logged_in(project: Project, email: str, password: str) -> str:
    """Log in where that has to succeed, and return the cookie."""
    cookie = log_in(project, email, password)
    assert cookie is not None
    return cookie


def who_is(project: Project, cookie: str) -> Optional[dict[str, Any]]:
    """Return what a project's server says of the holder of a cookie, or None when refused."""
    return Server(project).who_is(cookie)


def accepts(project: Project, cookie: str) -> bool:
    """Return whether a project's server lets the holder of a cookie in."""
    return Server(project).accepts(cookie)
