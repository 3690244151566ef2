"""Listings: each filter, the order, the limit, and one session with its user."""

from datetime import timedelta
from typing import Optional

import pytest

from clarinet_cli.exceptions import NotFoundError
from clarinet_cli.repositories import listing as module
from clarinet_cli.results import SessionRow
from clarinet_cli.services.sessions.queries import list_sessions
from clarinet_cli.types import SessionFilter, StateName
from tests import oracle
from tests.operations import show_session
from tests.oracle import IDLE_LIMIT, RawSession
from tests.support import FIXTURE_NOW, Project

ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"


async def listed(
    project: Project, where: SessionFilter, *, who: Optional[str] = None
) -> list[SessionRow]:
    """Return all rows of a listing at the fixture's timestamp."""
    pages = list_sessions(project.settings, where, identifier=who, now=FIXTURE_NOW)
    return [row async for page in pages for row in page]


def newest_first(sessions: list[RawSession]) -> list[str]:
    """Return the ids in the order of a listing."""
    ordered = sorted(sessions, key=lambda item: item.token)
    ordered.sort(key=lambda item: item.created_at, reverse=True)
    return [item.id for item in ordered]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_all_are_listed_newest_first(
    server_project: Project, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any page size each session is listed once, as stored."""
    for name in ("FIRST_PAGE", "SORTED_PAGE", "KEYSET_PAGE", "KEY_BATCH"):
        monkeypatch.setattr(module, name, size)
    raw = oracle.raw_sessions(server_project)
    found = await listed(server_project, SessionFilter())
    assert [row.id for row in found] == newest_first(raw)
    by_id = {item.id: item for item in raw}
    for row in found:
        item = by_id[row.id]
        assert (row.user_id, row.state) == (item.user_id, item.state(FIXTURE_NOW))
        assert (row.created_at, row.expires_at) == (item.created_at, item.expires_at)
        assert row.last_accessed == item.last_accessed
        assert (row.ip_address, row.user_agent) == (item.ip_address, item.user_agent)


@pytest.mark.parametrize("size", [1, 3])
async def test_sessions_of_one_moment_are_all_listed(
    project: Project, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-ins of the same microsecond do not get lost between two pages."""
    for name in ("FIRST_PAGE", "SORTED_PAGE", "KEYSET_PAGE", "KEY_BATCH"):
        monkeypatch.setattr(module, name, size)
    user = oracle.user_id_of(project, "admin@clarinet.ru")
    for number in range(7):
        oracle.add_session(project, user, token=f"same-{number:03d}", now=FIXTURE_NOW)
    found = await listed(project, SessionFilter())
    assert [row.id for row in found] == [f"same-{number:03d}" for number in range(7)]


JUDGED = tuple(state for state in StateName if state is not StateName.INVALID)


@pytest.mark.parametrize("states", [(state,) for state in JUDGED] + [JUDGED[:2]])
async def test_states(server_project: Project, states: tuple[StateName, ...]) -> None:
    """Those in one of the states, as the server judges them."""
    oracle.deactivate(server_project, BOB)
    raw = [
        item
        for item in oracle.raw_sessions(server_project)
        if item.state(FIXTURE_NOW, IDLE_LIMIT) in states
    ]
    assert raw
    found = await listed(server_project, SessionFilter(states=states))
    assert [row.id for row in found] == newest_first(raw)


@pytest.mark.parametrize("number", [1, 2, 4, 100])
async def test_limit(server_project: Project, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest, and never more than asked for, also with the next page begun."""
    for name in ("FIRST_PAGE", "SORTED_PAGE", "KEYSET_PAGE", "KEY_BATCH"):
        monkeypatch.setattr(module, name, 3)
    found = await listed(server_project, SessionFilter(limit=number))
    assert [row.id for row in found] == newest_first(oracle.raw_sessions(server_project))[:number]


@pytest.mark.parametrize("hours", [0, 1, 24, 24 * 40])
async def test_times(server_project: Project, hours: int) -> None:
    """Longer ago than this, unused for this long: by the timestamp of the listing."""
    raw, span = oracle.raw_sessions(server_project), timedelta(hours=hours)
    old = [item for item in raw if FIXTURE_NOW - item.created_at > span]
    found = await listed(server_project, SessionFilter(older_than=span))
    assert [row.id for row in found] == newest_first(old)
    unused = [item for item in raw if FIXTURE_NOW - item.last_accessed >= span]
    found = await listed(server_project, SessionFilter(idle_for=span))
    assert [row.id for row in found] == newest_first(unused)


async def test_address_and_agent(project: Project) -> None:
    """The address exactly; the agent in any case, with no letter a wildcard."""
    user = oracle.user_id_of(project, "admin@clarinet.ru")
    agents = {"aaaaaaaa": "Firefox/100%", "bbbbbbbb": "Chromium ÄÖ_", "cccccccc": None}
    for token, agent in agents.items():
        address = None if agent is None else f"10.0.0.{len(agent)}"
        oracle.add_session(project, user, token=token, user_agent=agent, ip_address=address)
    for where, expected in (
        (SessionFilter(agent="fireFOX"), {"aaaaaaaa"}),
        (SessionFilter(agent="0%"), {"aaaaaaaa"}),
        (SessionFilter(agent="äö_"), {"bbbbbbbb"}),
        (SessionFilter(agent="f%x"), set()),
        (SessionFilter(agent="\0"), set()),
        (SessionFilter(agent="\ud800"), set()),
        (SessionFilter(ips=("10.0.0.12",)), {"aaaaaaaa", "bbbbbbbb"}),
        (SessionFilter(ips=("10.0.0.1",)), set()),
        (SessionFilter(ips=("10.0.0.1", "10.0.0.12")), {"aaaaaaaa", "bbbbbbbb"}),
        (SessionFilter(ips=("10.0.0.12",), agent="chrom"), {"bbbbbbbb"}),
    ):
        assert {row.id for row in await listed(project, where)} == expected, where


async def test_one_users(server_project: Project) -> None:
    """All conditions hold together."""
    found = await listed(server_project, SessionFilter(states=(StateName.ACTIVE,)), who=ADA)
    expected = [
        item
        for item in oracle.sessions_of(server_project, ADA)
        if item.state(FIXTURE_NOW) == "active"
    ]
    assert expected
    assert [row.id for row in found] == newest_first(expected)
    with pytest.raises(NotFoundError):
        await listed(server_project, SessionFilter(), who="nobody@clarinet.example")


async def test_one_session_and_its_user(server_project: Project) -> None:
    """The session's fields, the user's flags and roles, and how often the user is logged in."""
    oracle.deactivate(server_project, BOB)
    for who in (ADA, BOB):
        own = oracle.sessions_of(server_project, who)
        item = own[0]
        found = await show_session(server_project.settings, item.token, now=FIXTURE_NOW)
        assert (found.id, found.email, found.user_id) == (item.id, who, item.user_id)
        assert found.state == item.state(FIXTURE_NOW)
        assert found.is_active == (who == ADA)
        live = [each for each in own if each.state(FIXTURE_NOW) == "active"]
        assert found.sessions == len(live)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_session_without_a_user_is_shown(project: Project) -> None:
    """SQLite may have one whose user was deleted: it is listed without a user."""
    token = oracle.add_orphan_session(project, FIXTURE_NOW)
    found = await show_session(project.settings, token[:8], now=FIXTURE_NOW)
    assert (found.id, found.email, found.state) == (token[:8], None, "blocked")
    assert (found.is_active, found.roles, found.sessions) == (None, (), 0)


def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages and lots of tokens so small that few sessions need several of each."""
    sizes = {"FIRST_PAGE": 2, "SORTED_PAGE": 3, "KEYSET_PAGE": 3, "KEY_BATCH": 7}
    for name, size in sizes.items():
        monkeypatch.setattr(module, name, size)


def add_numbered(project: Project, number: int) -> list[str]:
    """Add sessions of one moment; return their ids in the order of a listing."""
    user = oracle.user_id_of(project, "admin@clarinet.ru")
    ids = [f"same-{place:03d}" for place in range(number)]
    for token in ids:
        oracle.add_session(project, user, token=token, now=FIXTURE_NOW)
    return ids


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 9, 10, 16, 22, 23, 24])
async def test_lots_of_several_pages(
    project: Project, limit: Optional[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a page, a lot of tokens or the limit ends, no session is lost or there twice."""
    small_pages(monkeypatch)
    ids = add_numbered(project, 23)
    found = await listed(project, SessionFilter(limit=limit))
    assert [row.id for row in found] == ids[:limit]


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_sessions_deleted_during_the_listing_are_omitted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page, or a whole lot of tokens, that is gone does not end the listing."""
    small_pages(monkeypatch)
    ids = add_numbered(project, 30)
    pages = list_sessions(project.settings, now=FIXTURE_NOW)
    seen = [row.id for row in await anext(pages)]
    seen += [row.id for row in await anext(pages)]
    assert seen == ids[:5]
    oracle.rows(project, "DELETE FROM access_token WHERE token BETWEEN ? AND ?", ids[5], ids[20])
    assert [row.id async for page in pages for row in page] == ids[21:]


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_limit_holds_when_sessions_are_deleted_during_the_listing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next ones take their places."""
    small_pages(monkeypatch)
    ids = add_numbered(project, 30)
    pages = list_sessions(project.settings, SessionFilter(limit=12), now=FIXTURE_NOW)
    seen = [row.id for _ in range(2) for row in await anext(pages)]
    gone = ids[len(seen) : len(seen) + 2]
    oracle.rows(project, "DELETE FROM access_token WHERE token IN (?, ?)", *gone)
    seen += [row.id async for page in pages for row in page]
    assert seen == [name for name in ids if name not in gone][:12]


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("where", [SessionFilter(), SessionFilter(states=(StateName.ACTIVE,))])
async def test_a_copy_is_of_one_moment(
    project: Project, where: SessionFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite nothing that changes after the first page, or during it, is in the listing."""
    small_pages(monkeypatch)
    ids = add_numbered(project, 10)
    pages = list_sessions(project.settings, where, now=FIXTURE_NOW)
    rows = list(await anext(pages))
    oracle.rows(project, "DELETE FROM access_token WHERE token = ?", ids[4])
    oracle.rows(project, "UPDATE access_token SET created_at = ? WHERE token = ?", "2001", ids[5])
    oracle.rows(project, 'UPDATE "user" SET is_active = 0, email = ?', "other@clarinet.example")
    rows += [row async for page in pages for row in page]
    assert [row.id for row in rows] == ids
    assert {(row.email, row.state) for row in rows} == {("admin@clarinet.ru", "active")}
