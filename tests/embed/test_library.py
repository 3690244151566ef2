"""The functions for other programs, within a running event loop."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException

from clarinet_cli import api
from clarinet_cli.api import Settings, StateName
from tests.embed.hosts import settings_of
from tests.embed.test_commands import browser_of, log_in
from tests.faults.processes import eventually
from tests.mapping.applications import ADA, BOB, EVE, Application, token_of
from tests.support import PASSWORD, Project

OTHER = "staple battery horse"
NOBODY = "nobody@example.org"


async def test_accounts_are_listed_and_shown(shop: Application) -> None:
    """All accounts by address, or those that were asked for."""
    settings = settings_of(shop.project)
    rows = await api.list_accounts(settings)
    assert [(row.email, row.is_active, row.is_superuser) for row in rows] == [
        (ADA, True, True),
        (BOB, True, False),
        (EVE, False, False),
    ]
    assert [row.email for row in await api.list_accounts(settings, superusers_only=True)] == [ADA]
    assert [row.email for row in await api.list_accounts(settings, inactive_only=True)] == [EVE]
    assert [row.email for row in await api.list_accounts(settings, search="BOB")] == [BOB]
    detail = await api.get_account(settings, ADA.upper())
    assert (str(detail.id), detail.sessions) == (str(shop.ids[ADA]), 2)
    assert detail.sessions_by_state["expired"] == 1
    with pytest.raises(api.NotFoundError, match="no user 'nobody"):
        await api.get_account(settings, NOBODY)


def test_a_created_account_logs_in_with_the_password_that_was_set(app: Application) -> None:
    """The documented application lets in what the library has created."""
    settings, browser = settings_of(app.project), browser_of(app.project)
    created = asyncio.run(api.create_account(settings, BOB, PASSWORD, superuser=False))
    assert (created.result, created.password) == ("created", None)
    assert log_in(browser, BOB).status_code == 204
    assert browser.get("/me").json() == {"email": BOB, "is_superuser": False}
    changed = asyncio.run(api.set_password(settings, BOB, OTHER, settle_seconds=0))
    assert (changed.result, changed.sessions_revoked) == ("updated", 1)
    assert browser.get("/me").status_code == 401
    assert log_in(browser, BOB).status_code == 400


async def test_a_password_is_generated_when_none_is_given(app: Application) -> None:
    """It is returned once, and stored as a hash only."""
    settings = settings_of(app.project)
    created = await api.create_account(settings, ADA, superuser=True)
    assert created.password is not None
    changed = await api.set_password(settings, ADA, settle_seconds=0)
    assert changed.password not in (None, created.password)
    ((_, hashed, active, superuser, verified),) = app.users().values()
    assert hashed.startswith("$argon2id$")
    assert (active, superuser, verified) == (True, True, True)


async def test_refusals_are_exceptions_and_change_nothing(shop: Application) -> None:
    """Each has its class, as a command has its exit code."""
    settings, before = settings_of(shop.project), (shop.users(), shop.tokens())
    with pytest.raises(api.ConflictError, match="already exists"):
        await api.create_account(settings, BOB, PASSWORD)
    with pytest.raises(api.InvalidInputError, match="the password is refused"):
        await api.create_account(settings, "new@example.org", "short")
    with pytest.raises(api.InvalidInputError):
        await api.create_account(settings, "no address", PASSWORD)
    with pytest.raises(api.RefusedError, match="last active superuser"):
        await api.set_active(settings, ADA, active=False)
    with pytest.raises(api.RefusedError, match="last active superuser"):
        await api.set_superuser(settings, ADA, superuser=False)
    with pytest.raises(api.RefusedError, match="last active superuser"):
        await api.delete_account(settings, ADA)
    with pytest.raises(api.NotFoundError):
        await api.revoke_session(settings, token_of("ada-live-1"), user=BOB)
    assert (shop.users(), shop.tokens()) == before


async def test_flags_are_set_and_sessions_revoked(shop: Application) -> None:
    """Accounts that lose rights lose their sessions; the rows are those that were named."""
    settings = settings_of(shop.project)
    assert (await api.set_superuser(settings, BOB, superuser=True)).sessions_revoked == 0
    assert (await api.set_active(settings, EVE, active=True)).result == "updated"
    changed = await api.set_superuser(settings, ADA, superuser=False, settle_seconds=0)
    assert changed.sessions_revoked == 3
    assert (await api.set_active(settings, ADA, active=False, settle_seconds=0)).result == "updated"
    assert {email: row[2:4] for email, row in shop.users().items()} == {
        ADA: (False, False),
        BOB: (True, True),
        EVE: (True, False),
    }
    assert (await api.delete_account(settings, EVE, settle_seconds=0)).result == "deleted"
    assert set(shop.users()) == {ADA, BOB}
    assert shop.tokens() == {token_of("bob-live-1")}


async def test_a_log_in_during_a_change_loses_its_session_too(shop: Application) -> None:
    """The session of a log-in that was in progress is revoked after the settle time."""
    settings = settings_of(shop.project)
    change = asyncio.create_task(api.set_active(settings, BOB, active=False, settle_seconds=0.5))
    await asyncio.to_thread(eventually, lambda: token_of("bob-live-1") not in shop.tokens())
    shop.add_session(BOB, token_of("bob-late-1"), timedelta())
    assert (await change).sessions_revoked == 2
    assert not [token for token in shop.tokens() if token.startswith("bob")]


async def test_sessions_are_listed_counted_and_revoked(shop: Application) -> None:
    """By user and by state; what is revoked is gone from the table."""
    settings = settings_of(shop.project)
    assert len(await api.list_sessions(settings)) == 5
    live = await api.list_sessions(settings, user=ADA, states=[StateName.ACTIVE])
    assert [session.id for session in live] == ["ada-live"] * 2
    assert live[0].created_at is not None
    assert len(await api.list_sessions(settings, older_than=timedelta(minutes=20), limit=1)) == 1
    stats = await api.get_session_stats(settings)
    assert (stats.total, stats.active, stats.expired, stats.blocked) == (5, 3, 1, 1)

    one = await api.revoke_session(settings, token_of("bob-live-1"))
    assert (one.result, one.email) == ("revoked", BOB)
    kept = await api.revoke_sessions(settings, ADA, keep_newest=1)
    assert (kept.sessions_revoked, kept.sessions_kept) == (2, 1)
    assert shop.tokens() == {token_of("ada-live-1"), token_of("eve-live-1")}


async def test_a_clean_up_deletes_the_expired(shop: Application) -> None:
    """Those of the lifetime that is given, and older ones on request."""
    settings = settings_of(shop.project)
    assert (await api.clean_up_sessions(settings, dry_run=True)).matched == 1
    assert (await api.clean_up_sessions(settings)).deleted == 1
    older = await api.clean_up_sessions(settings, older_than=timedelta(minutes=20))
    assert older.deleted == 2
    assert shop.tokens() == {token_of("ada-live-1"), token_of("eve-live-1")}


async def test_dry_runs_change_nothing(shop: Application) -> None:
    """Each function that changes something can report it only."""
    settings, before = settings_of(shop.project), (shop.users(), shop.tokens())
    planned = [
        (await api.create_account(settings, "new@example.org", PASSWORD, dry_run=True)).result,
        (await api.set_password(settings, BOB, OTHER, dry_run=True)).result,
        (await api.set_active(settings, BOB, active=False, dry_run=True)).result,
        (await api.set_superuser(settings, BOB, superuser=True, dry_run=True)).result,
        (await api.delete_account(settings, BOB, dry_run=True)).result,
        (await api.revoke_sessions(settings, BOB, dry_run=True)).result,
        (await api.revoke_session(settings, token_of("bob-live-1"), dry_run=True)).result,
    ]
    assert {result.partition("_")[0] for result in planned} == {"would"}
    assert (shop.users(), shop.tokens()) == before


@pytest.mark.parametrize("strategy", ["jwt", "redis"])
async def test_sessions_elsewhere_are_refused(shop: Application, strategy: str) -> None:
    """No function answers with the rows of an unused table."""
    settings = settings_of(shop.project, session_strategy=strategy)
    for refused in (
        api.list_sessions(settings),
        api.get_session_stats(settings),
        api.revoke_sessions(settings, ADA),
        api.revoke_session(settings, "ada-live"),
        api.clean_up_sessions(settings),
    ):
        with pytest.raises(api.RefusedError, match=f"sessions of the strategy {strategy}"):
            await refused
    assert len(shop.tokens()) == 5


def test_an_endpoint_calls_them(shop: Application) -> None:
    """A request revokes the sessions of another user, while the loop serves others."""
    settings, site = settings_of(shop.project), FastAPI()

    async def log_out(user: str, given: Annotated[Settings, Depends(lambda: settings)]) -> Any:
        try:
            return await api.revoke_sessions(given, user)
        except api.NotFoundError as error:
            raise HTTPException(404, error.message) from error

    site.post("/users/{user}/logout")(log_out)

    async def requests() -> list[httpx.Response]:
        transport = httpx.ASGITransport(site)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            paths = (f"/users/{user}/logout" for user in (ADA, BOB, NOBODY))
            return list(await asyncio.gather(*map(client.post, paths)))

    ada, bob, nobody = asyncio.run(requests())
    assert (ada.status_code, ada.json()["sessions_revoked"]) == (200, 3)
    assert (bob.json()["email"], UUID(bob.json()["id"])) == (BOB, UUID(str(shop.ids[BOB])))
    assert (nobody.status_code, nobody.json()) == (404, {"detail": f"no user {NOBODY!r}"})
    assert shop.tokens() == {token_of("eve-live-1")}


async def test_the_event_loop_runs_while_a_password_is_hashed(
    app: Application, real_hashes: None
) -> None:
    """Hashing takes tens of milliseconds, in which a server answers other requests."""
    settings = settings_of(app.project, argon2_time_cost=10, argon2_memory_cost=65536)
    work, turns = asyncio.create_task(api.create_account(settings, ADA, PASSWORD)), 0
    while not work.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert (await work).result == "created"
    assert turns > 5


async def test_the_servers_own_tables_are_the_default(project: Project) -> None:
    """Without a mapping the tables are Clarinet's, and roles can be granted."""
    settings = settings_of(project, mapping="clarinet", session_strategy=None)
    created = await api.create_account(settings, ADA, PASSWORD, roles=["doctor"])
    assert created.roles == ("doctor",)
    (other,) = await api.list_accounts(settings, superusers_only=True)
    assert other.email == "admin@clarinet.ru"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sesion_strategy": "jwt"}, "unknown key sesion_strategy"),
        ({"mapping": "django"}, "mapping: not a table, 'clarinet' or 'fastapi-users'"),
        ({"mapping": {"usrs": "users"}}, "mapping: usrs"),
        ({"session_strategy": "cookie"}, "session_strategy: "),
        ({"session_lifetime_seconds": 0}, "session_lifetime_seconds: "),
        ({"argon2_memory_cost": 7168, "argon2_time_cost": 1}, "below the OWASP minimum"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(values: dict[str, Any], message: str) -> None:
    """The message names the key."""
    with pytest.raises(api.ConfigurationError) as raised:
        api.make_settings("sqlite:///test.db", **values)
    assert message in raised.value.message


def test_each_function_is_documented_and_typed() -> None:
    """What is public has a contract: arguments, results, errors."""
    functions: list[Callable[..., object]] = [
        value for name in api.__all__ if inspect.isfunction(value := getattr(api, name))
    ]
    assert len(functions) == 14
    for function in functions:
        text = inspect.getdoc(function) or ""
        assert "Args:" in text, function.__name__
        for name, parameter in inspect.signature(function).parameters.items():
            assert parameter.annotation is not inspect.Parameter.empty
            assert name == "values" or f"{name}: " in text, (function.__name__, name)
