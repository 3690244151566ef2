"""``admin apply`` on the tables of other applications; the rows are compared afterwards."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clarinet_cli.exceptions import ExitCode
from tests.mapping.applications import (
    ADA,
    BOB,
    EVE,
    HASH,
    NAMES,
    SESSION_NAMES,
    Application,
    application,
    populated,
    token_of,
)
from tests.postgres import PostgresServer
from tests.support import Result

NEW, OTHER = "new@example.org", "other@example.org"
JWT = "composite-pk-jwt-pg"
OF_BOB, OF_EVE = {token_of("bob-live-1")}, {token_of("eve-live-1")}


@pytest.fixture(params=NAMES)
def any_shop(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[Application]:
    """An application of each schema, also of those whose sessions are not rows."""
    with application(request.param, tmp_path / "shop", postgres) as project:
        yield populated(project, request.param)


def apply(shop: Application, rows: Sequence[dict[str, Any]], *options: str) -> Result:
    """Apply rows from standard input."""
    words = ("admin", "apply", "-", "--settle", "0", "-o", "json", *options)
    return shop.project.run(*words, stdin=json.dumps(rows))


def test_an_export_changes_nothing(any_shop: Application) -> None:
    """What ``admin export`` wrote is what ``admin apply`` finds."""
    before = any_shop.users()
    exported = any_shop.project.run("admin", "export", "-o", "csv").stdout
    words = ("admin", "apply", "-", "--prune", "-o", "json")
    result = any_shop.project.run(*words, stdin=exported)
    assert result.code == 0, result
    assert [row["result"] for row in result.json] == ["unchanged"] * 3
    assert any_shop.users() == before


def test_accounts_are_created_with_the_further_columns(any_shop: Application) -> None:
    """Two at once, with the ids that the database or the application gives them."""
    before = any_shop.users()
    rows: list[dict[str, Any]] = [
        {"email": NEW, "password": HASH},
        {"email": BOB},
        {"email": OTHER, "password": "generate", "is_superuser": True},
    ]
    result = apply(any_shop, rows)
    assert result.code == 0, result
    first, bob, second = result.json
    after = any_shop.users()
    assert {email: after[email] for email in before} == before
    assert after[NEW] == (str(first["id"]), HASH, True, False, False)
    assert after[OTHER][0] == str(second["id"])
    assert after[OTHER][2:] == (True, True, False)
    assert [row["result"] for row in (first, bob, second)] == ["created", "unchanged", "created"]
    if any_shop.layout.username:
        query = f"SELECT username FROM {any_shop.layout.users} WHERE email = ?"
        assert any_shop.project.rows(query, OTHER) == [(OTHER,)]


def test_a_dry_run_changes_nothing(any_shop: Application) -> None:
    """It reports what the real run does, without the ids of accounts to be created."""
    before = any_shop.users()
    rows: list[dict[str, Any]] = [
        {"email": NEW, "password": "generate"},
        {"email": EVE, "is_active": True},
    ]
    result = apply(any_shop, rows, "--dry-run")
    assert result.code == 0, result
    new, eve = result.json
    assert (new["id"], new["result"]) == (None, "would_create")
    assert (str(eve["id"]), eve["result"]) == (before[EVE][0], "would_update")
    assert any_shop.users() == before


def test_rights_are_taken_with_the_sessions(shop: Application) -> None:
    """Only of the account of that row, and of those that are pruned."""
    before = shop.users()
    rows: list[dict[str, Any]] = [{"email": ADA}, {"email": BOB, "is_active": False}]
    result = apply(shop, rows)
    assert [row["sessions_revoked"] for row in result.json] == [0, 1]
    assert shop.users() == {**before, BOB: (*before[BOB][:2], False, *before[BOB][3:])}
    assert OF_BOB & shop.tokens() == set()
    assert OF_EVE <= shop.tokens()
    pruned = apply(shop, [{"email": BOB}, {"email": EVE, "is_active": True}], "--prune")
    assert pruned.code == ExitCode.REFUSED  # Ada is the last superuser
    assert shop.users()[EVE] == before[EVE]


def test_sessions_that_are_no_rows_are_warned_of(tmp_path: Path, postgres: PostgresServer) -> None:
    """A token of an account that loses its rights stays valid until it expires."""
    with application(JWT, tmp_path / "shop", postgres) as project:
        shop = populated(project, JWT)
        jwt = {"CLARINET_SESSION_STRATEGY": "jwt"}
        text = json.dumps([{"email": BOB, "is_active": False}])
        result = project.run("admin", "apply", "-", "-o", "json", stdin=text, env=jwt)
        assert result.code == 0, result
        assert "strategy jwt stay valid" in result.stderr
        assert shop.users()[BOB][2] is False


@pytest.mark.parametrize("session_name", [name for name in SESSION_NAMES if name.endswith("-pg")])
def test_a_column_without_a_value_is_named(shop: Application) -> None:
    """With the setting for it; nothing is changed."""
    users = shop.layout.users
    shop.project.rows(f"ALTER TABLE {users} ADD COLUMN birthday varchar NOT NULL DEFAULT ''")
    shop.project.rows(f"ALTER TABLE {users} ALTER COLUMN birthday DROP DEFAULT")
    before = shop.users()
    result = apply(shop, [{"email": NEW, "password": "generate"}])
    assert (result.code, shop.users()) == (ExitCode.REFUSED, before)
    assert "birthday (create_values.birthday)" in result.stderr


def test_roles_that_are_not_mapped_are_refused(any_shop: Application) -> None:
    """A row with a role is an error, and nothing is changed."""
    before = any_shop.users()
    for row in (
        {"email": BOB, "roles": ["admin"]},
        {"email": NEW, "password": HASH, "roles": ["x"]},
    ):
        result = apply(any_shop, [row])
        assert result.code in (ExitCode.REFUSED, ExitCode.NOT_FOUND), result
        assert any_shop.users() == before
