"""Expiry that is derived from the creation, by its index; and tokens that are stored as digests."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_database
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.exceptions import ExitCode
from clarinet_cli.models import AccessToken
from clarinet_cli.repositories.purge.strategy import TOKEN
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.services.clocks import current_policy
from clarinet_cli.services.unit_of_work import unit_of_work
from clarinet_cli.settings import load_settings
from tests.mapping.applications import ADA, BOB, Application, token_of

SECRET = "a" * 43


def plan_of_clean_up(shop: Application) -> str:
    """Return the plan of the query for expired sessions."""

    async def explain() -> str:
        settings = load_settings(shop.project.directory)
        async with (
            open_database(settings) as database,
            database.session() as session,
            transaction(session, Access.READ),
        ):
            policy = await current_policy(session, settings)
            query = select(TOKEN).select_from(AccessToken).where(policy.expired)
            bind: Any = session.get_bind()
            compiled = query.compile(dialect=bind.dialect)
            on_sqlite = ServerRepository(session).backend == "sqlite"
            connection = await session.connection()
            prefix = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"
            sync = connection.sync_connection
            assert sync is not None
            values = tuple(
                process(value)
                if callable(process := compiled._bind_processors.get(name))
                else value
                for name, value in compiled.params.items()
            )
            if on_sqlite:
                values *= str(compiled).count("?")
            rows = await connection.exec_driver_sql(f"{prefix} {compiled}", values)
            return "\n".join(str(row) for row in rows.all())

    return asyncio.run(explain())


def test_the_index_on_the_creation_serves_the_expiry(shop: Application) -> None:
    """Where there is one, few expired sessions among many are found without reading all."""
    shop.add_sessions(BOB, 20_000, timedelta(minutes=1))
    if shop.project.server is not None:
        shop.project.rows(f"ANALYZE {shop.layout.tokens}")
    plan = plan_of_clean_up(shop)
    indexed = shop.layout.created == "created_at"
    uses_index = "ndex" in plan.replace("COVERING INDEX", "Index").replace("INDEX", "Index")
    assert uses_index == indexed, plan
    before = shop.tokens()
    report = shop.project.json("session", "cleanup")
    assert (report["matched"], report["deleted"]) == (1, 1)
    assert before - shop.tokens() == {token_of("ada-dead-1")}


def test_the_limit_of_the_expiry_is_the_same_by_both_ways(shop: Application) -> None:
    """A second on either side of it: the clean-up agrees with the state that is shown."""
    second = timedelta(seconds=1)
    hour = timedelta(hours=1)
    shop.add_session(BOB, token_of("bob-old-1"), hour + 2 * second)
    shop.add_session(BOB, token_of("bob-young-1"), hour - 30 * second)
    states = {row["id"]: row["state"] for row in shop.project.json("session", "list-user", BOB)}
    assert states == {"bob-old-": "expired", "bob-youn": "active", "bob-live": "active"}
    assert shop.project.json("session", "stats")["expired"] == 2
    assert shop.project.json("session", "cleanup")["deleted"] == 2
    assert token_of("bob-young-1") in shop.tokens()
    assert token_of("bob-old-1") not in shop.tokens()


def use_digests(shop: Application, name: str) -> None:
    """Store digests of the tokens, and set token_digest in the mapping."""
    if shop.project.server is not None:
        shop.project.rows(f"ALTER TABLE {shop.layout.tokens} ALTER token TYPE varchar(64)")
    shop.add_session(BOB, hashlib.sha256(SECRET.encode()).hexdigest(), timedelta(minutes=2))
    file = shop.project.directory / "settings.toml"
    changed = file.read_text().replace("[mapping]", f'[mapping]\ntoken_digest = "{name}"', 1)
    file.write_text(changed)


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_a_session_is_found_by_its_token_though_a_digest_is_stored(shop: Application) -> None:
    """Its id is that of the digest, which a note explains."""
    use_digests(shop, "sha256")
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    shown = shop.project.run("session", "show", SECRET, "-o", "json")
    assert (shown.code, shown.json["id"]) == (0, digest[:8])
    assert "token_digest" in shown.stderr
    assert SECRET not in shown.stdout + shown.stderr
    assert shop.project.json("session", "show", digest[:12])["id"] == digest[:8]
    assert "token_digest" in shop.project.run("session", "list").stderr
    shop.project.json("session", "revoke", SECRET)
    assert digest not in shop.tokens()
    assert len(shop.tokens()) == 5


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-sqlite"])
def test_a_digest_that_cannot_be_computed_is_named(shop: Application) -> None:
    """A token is not found, and the hint gives the reason; the id still finds the session."""
    use_digests(shop, "other")
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    result = shop.project.run("session", "show", SECRET)
    assert result.code == ExitCode.NOT_FOUND
    assert "digest that cannot be computed here" in result.stderr
    assert SECRET not in result.stderr
    assert shop.project.json("session", "show", digest[:8])["email"] == BOB
    assert shop.project.json("session", "revoke-user", ADA)["sessions_revoked"] == 3


@pytest.mark.parametrize("session_name", ["plural-int-pg", "official-pg"])
def test_a_column_that_may_hold_digests_is_uncertain(shop: Application) -> None:
    """By its length, or by its name."""
    tokens = shop.layout.tokens

    def uncertain() -> dict[str, str]:
        found: dict[str, str] = shop.project.json("db", "inspect")["uncertain"]
        return found

    assert "token_digest" not in uncertain()
    shop.project.rows(f"ALTER TABLE {tokens} ALTER token TYPE varchar(64)")
    assert f"{tokens}.token" in uncertain()["token_digest"]
    shop.project.rows(f"ALTER TABLE {tokens} ALTER token TYPE varchar(43)")
    shop.project.rows(f"ALTER TABLE {tokens} RENAME token TO token_hash")
    assert f"{tokens}.token_hash" in uncertain()["token_digest"]


def test_a_mapping_is_checked_once_for_each_engine(shop: Application) -> None:
    """The transactions of one command rely on the first check; the next command checks again."""

    async def statements() -> list[int]:
        settings, counts = load_settings(shop.project.directory), []
        async with open_database(settings) as database:
            for _ in range(2):
                executed: list[str] = []
                async with unit_of_work(database) as work:
                    bind: Any = work.session.get_bind()

                    def record(*arguments: Any) -> None:
                        executed.append(arguments[2])  # noqa: B023 - of this transaction

                    event.listen(bind, "before_cursor_execute", record)
                    await require_server_tables(work.session)
                    event.remove(bind, "before_cursor_execute", record)
                counts.append(len(executed))
        return counts

    assert asyncio.run(statements()) == [0, 0]
    file = shop.project.directory / "settings.toml"
    file.write_text(file.read_text().replace("[mapping]", '[mapping]\nlogin = "nickname"', 1))
    assert shop.project.run("session", "list").code == ExitCode.CONFIGURATION
