"""The tool and the application of fastapi-users' documentation on one database."""

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from clarinet_cli.database.url import database_url
from tests.mapping.applications import ADA, mapped
from tests.mapping.browser import Browser
from tests.mapping.documented import application
from tests.support import PASSWORD, Project

pytestmark = pytest.mark.parametrize("name", ["official-sqlite", "official-pg"])


@pytest.fixture
def client(app: Project) -> Browser:
    """A browser at the application."""
    engine = create_async_engine(database_url(app.settings), poolclass=NullPool)
    return Browser(application(engine))


def log_in(client: Browser) -> int:
    """Log in, and return the status of the answer."""
    answer = client.post("/auth/login", data={"username": ADA, "password": PASSWORD})
    return int(answer.status_code)


def test_an_account_logs_in_until_it_is_revoked_expired_or_deactivated(
    app: Project, client: Browser
) -> None:
    """Accounts of the tool can log in until it revokes, expires or deactivates them."""
    mapped(app)
    assert log_in(client) == 400
    app.json("admin", "create", "--email", ADA, "--password-stdin", stdin=PASSWORD)
    assert log_in(client) == 204
    assert client.get("/me").json() == {"email": ADA, "is_superuser": True}
    (session,) = app.json("session", "list")
    assert session["state"] == "active"

    assert app.json("session", "revoke-user", ADA)["sessions_revoked"] == 1
    assert client.get("/me").status_code == 401
    assert log_in(client) == 204
    assert client.get("/me").status_code == 200

    earlier = "created_at - interval '61 minutes'"
    if app.server is None:
        earlier = "strftime('%Y-%m-%d %H:%M:%f000', created_at, '-61 minutes')"
    app.rows(f"UPDATE accesstoken SET created_at = {earlier}")
    assert client.get("/me").status_code == 401
    assert app.json("session", "list")[0]["state"] == "expired"
    assert app.json("session", "cleanup")["deleted"] == 1
    assert app.count("accesstoken") == 0

    app.json("admin", "create", "--email", "b@example.org", "--password-stdin", stdin=PASSWORD)
    assert log_in(client) == 204
    assert app.json("admin", "deactivate", ADA, "--settle", "0")["sessions_revoked"] == 1
    assert client.get("/me").status_code == 401
    assert log_in(client) == 400
