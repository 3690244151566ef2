"""Column types: timestamps as each backend stores them, and ids that stay text."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError
from sqlmodel import col

from clarinet_cli.database.engine import Access
from clarinet_cli.models import AccessToken, User
from clarinet_cli.models import types as module
from clarinet_cli.models.types import UTCDateTime, iso_texts, new_user_id
from clarinet_cli.timefmt import iso_text
from clarinet_cli.utils.database import get_async_session
from tests.support import Project

INSTANT = datetime(2026, 11, 22, 18, 30, 5, 42, tzinfo=UTC)
CREATED = col(AccessToken.created_at)
ZONES = [
    UTC,
    timezone(timedelta(hours=3)),
    timezone(timedelta(hours=-9, minutes=-30)),
    timezone(timedelta(hours=14)),
]


def insert(project: Project, created_at: datetime) -> None:
    """Store one account and one session of it through the models."""

    async def work() -> None:
        user = User(email="ada@example.org", hashed_password="!")
        token = AccessToken(
            token="0123456789abcdef",
            user_id=user.id,
            created_at=created_at,
            expires_at=INSTANT,
            last_accessed=INSTANT,
        )
        async with get_async_session(project.settings, access=Access.WRITE) as session:
            session.add(user)
            await session.flush()
            session.add(token)

    asyncio.run(work())


def values(project: Project, *columns: Any) -> list[tuple[Any, ...]]:
    """Read columns through the models."""

    async def work() -> list[tuple[Any, ...]]:
        async with get_async_session(project.settings) as session:
            return [tuple(row) for row in await session.execute(select(*columns))]

    return asyncio.run(work())


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_a_timestamp_of_any_zone_is_stored_as_the_server_does(
    project: Project, zone: timezone
) -> None:
    """SQLite: naive text in UTC, with microseconds; PostgreSQL: timestamptz."""
    insert(project, INSTANT.astimezone(zone))
    if project.server is None:
        query = "SELECT created_at, typeof(created_at) FROM access_token"
        expected: tuple[object, str] = ("2026-11-22 18:30:05.000042", "text")
    else:
        query = "SELECT created_at, pg_typeof(created_at)::text FROM access_token"
        expected = (INSTANT, "timestamp with time zone")
    assert project.rows(query) == [expected]


def test_a_whole_second_is_stored_with_its_microseconds(project: Project) -> None:
    """All texts have one length, so that SQLite compares them in order of time."""
    whole = INSTANT.replace(microsecond=0)
    insert(project, whole)
    stored = whole if project.server else "2026-11-22 18:30:05.000000"
    assert project.rows("SELECT created_at FROM access_token") == [(stored,)]


def test_a_timestamp_is_read_back_aware_and_in_utc(project: Project) -> None:
    """A timestamp of any zone is read in UTC."""
    insert(project, INSTANT.astimezone(ZONES[1]))
    ((found,),) = values(project, CREATED)
    assert (found, found.tzinfo) == (INSTANT, UTC)


def test_a_servers_timestamps_are_read_as_utc(server_project: Project) -> None:
    """A server's timestamps are aware UTC, and the same on both backends."""
    found = [row[0] for row in values(server_project, col(AccessToken.last_accessed))]
    assert {instant.tzinfo for instant in found} == {UTC}
    assert max(found).date().isoformat() == "2026-11-22"


def test_a_naive_timestamp_is_refused(project: Project) -> None:
    """Without a time zone a timestamp is ambiguous: nothing is stored."""
    with pytest.raises((ValueError, StatementError), match="time zone"):
        insert(project, INSTANT.replace(tzinfo=None))
    assert project.count("access_token") == 0


def test_a_naive_timestamp_is_refused_in_a_comparison(project: Project) -> None:
    """A query cannot compare with a naive timestamp either."""
    with pytest.raises((ValueError, StatementError), match="time zone"):
        values(project, CREATED < INSTANT.replace(tzinfo=None))


def test_timestamps_compare_in_the_database(project: Project) -> None:
    """Timestamps are compared as such, in any zone."""
    insert(project, INSTANT)
    tick = timedelta(microseconds=1)
    same = INSTANT.astimezone(ZONES[2])
    later, earlier = (INSTANT + tick).astimezone(ZONES[3]), (INSTANT - tick).astimezone(ZONES[1])
    comparisons = [same == CREATED, later > CREATED, earlier < CREATED, later < CREATED]
    assert values(project, *comparisons) == [(True, True, True, False)]


def test_nothing_stays_nothing() -> None:
    """NULL is None in both directions."""
    kind, dialect = UTCDateTime(), sqlite.dialect()
    assert kind.process_bind_param(None, dialect) is None
    assert kind.process_result_value(None, dialect) is None


# --- Ids -----------------------------------------------------------------------------------


def kind_in_sqlite(candidate: UUID) -> str:
    """Return how a column declared ``UUID`` keeps the digits of an id."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE u (id UUID)")
        connection.execute("INSERT INTO u VALUES (?)", [candidate.hex])
        return str(connection.execute("SELECT typeof(id) FROM u").fetchone()[0])
    finally:
        connection.close()


def offer(monkeypatch: pytest.MonkeyPatch, candidates: Iterator[UUID]) -> None:
    """Let chance give these ids: no test can wait for one in a million."""
    monkeypatch.setattr(module, "uuid4", lambda: next(candidates))


@pytest.mark.parametrize(
    "digits",
    [
        "12345678123445678123456781234567",
        "00000000000040008000000000000000",
        "1234567812344567812345678123e567",
        "1e234567123445678123456781234567",
        "000000000000400080000000000000e1",
    ],
)
def test_a_new_id_never_looks_like_a_number(monkeypatch: pytest.MonkeyPatch, digits: str) -> None:
    """An id that SQLite would round to a float is thrown away."""
    good = UUID("a2345678123445678123456781234567")
    assert kind_in_sqlite(UUID(digits)) != "text"
    offer(monkeypatch, iter([UUID(digits), UUID(digits), good]))
    assert new_user_id() == good


@effort(max_examples=300, deadline=None)
@given(digits=st.text("0123456789e", min_size=32, max_size=32))
def test_every_new_id_is_kept_as_text(digits: str) -> None:
    """Each random id is stored as text in SQLite, and is random enough."""
    fallback = UUID("a2345678123445678123456781234567")
    with pytest.MonkeyPatch.context() as monkeypatch:
        offer(monkeypatch, iter([UUID(digits), fallback]))
        chosen = new_user_id()
    assert kind_in_sqlite(chosen) == "text"
    # No more is thrown away than has to be: at most what begins like a number.
    assert (chosen == UUID(digits)) == (re.fullmatch(r"\d+(e\d+)?", digits) is None)


def test_new_ids_are_random_uuids() -> None:
    """Version 4, and no two alike."""
    made = {new_user_id() for _ in range(100)}
    assert len(made) == 100
    assert {made_id.version for made_id in made} == {uuid4().version}


def test_a_new_account_gets_such_an_id() -> None:
    """The model makes its own id, another one for each account."""
    first, second = (User(email="ada@example.org", hashed_password="!") for _ in range(2))
    assert first.id != second.id
    assert isinstance(first.id, UUID)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_many_stored_texts_are_the_timestamps_of_each(instants: list[datetime]) -> None:
    """The fast conversion gives the text of each timestamp, also of whole seconds."""
    instants += [instant.replace(microsecond=0) for instant in instants]
    naive = [instant.replace(tzinfo=None) for instant in instants]
    stored = [instant.isoformat(" ", "microseconds") for instant in naive]
    for sound in (True, False):
        assert iso_texts(stored, valid=sound) == [iso_text(instant) for instant in instants]


def test_other_forms_among_stored_texts_are_read() -> None:
    """A text without a fraction, as SQL of an operator may have left it, is taken apart."""
    usual, short = "2026-11-22 18:30:00.120000", "2026-11-22 18:30:00"
    assert iso_texts([usual, short]) == ["2026-11-22T18:30:00.120000Z", "2026-11-22T18:30:00Z"]


@pytest.mark.parametrize(
    "stored",
    ["", "yesterday", "2026-11-22 18:30:00.12\n000", "0000-01-01 00:00:00", 2026, b"2026", None],
)
def test_a_stored_value_that_is_no_timestamp_is_none(stored: Any) -> None:
    """It is not passed on as if it were one, and the others are read all the same."""
    usual = "2026-11-22 18:30:00.120000"
    assert iso_texts([usual, stored]) == ["2026-11-22T18:30:00.120000Z", None]
