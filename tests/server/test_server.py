"""The application in the tests has the rules of the server, so that it is a reference."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import MultipleResultsFound

from tests.oracle import sessions_of, user_id_of
from tests.server.visits import Server
from tests.support import FIXTURE_NOW, PASSWORD, Project

ADMIN = "admin@clarinet.ru"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def log_in(server: Server) -> str:
    """Log the administrator in."""
    cookie = server.log_in(ADMIN, PASSWORD)
    assert cookie is not None
    return cookie


def test_its_rows_have_the_physical_form_of_the_tables(project: Project) -> None:
    """UUID and times are stored as the tool stores and reads them."""
    server = Server(project, now=FIXTURE_NOW)
    cookie = log_in(server)
    row: tuple[Any, ...]
    (row,) = project.rows("SELECT token, user_id, created_at, expires_at FROM access_token")
    if project.backend == "sqlite":
        expected: tuple[Any, ...] = (
            user_id_of(project, ADMIN).hex,
            "2026-11-22 18:32:00.000000",
            "2026-11-23 18:32:00.000000",
        )
        assert row == (cookie, *expected)
    else:
        assert row[0] == cookie
        assert isinstance(row[1], UUID)
        assert row[2:] == (FIXTURE_NOW, FIXTURE_NOW + DAY)


def test_a_log_in_ends_the_oldest_sessions_above_the_limit(project: Project) -> None:
    """Of seven log-ins the five newest stay good."""
    server = Server(project, now=FIXTURE_NOW)
    cookies = []
    for number in range(7):
        server.now = FIXTURE_NOW + timedelta(seconds=number)
        cookies.append(log_in(server))
    assert [server.accepts(cookie) for cookie in cookies] == [False] * 2 + [True] * 5
    assert project.tokens() == set(cookies[2:])


def test_without_a_limit_all_sessions_stay(project: Project) -> None:
    """A limit of 0 is none."""
    project.write_settings("session_concurrent_limit = 0\n")
    server = Server(project)
    cookies = [log_in(server) for _ in range(6)]
    assert all(server.accepts(cookie) for cookie in cookies)


@pytest.mark.parametrize(
    ("toml", "age", "left", "moved_to"),
    [
        ("", HOUR, 13 * HOUR, 13 * HOUR),
        ("", HOUR, 11 * HOUR, 24 * HOUR),
        ("", 30 * DAY - 15 * HOUR, 11 * HOUR, 15 * HOUR),
        ("", 40 * DAY, 11 * HOUR, 11 * HOUR),
        ("session_absolute_timeout_days = 0\n", 40 * DAY, 11 * HOUR, 24 * HOUR),
        ("session_sliding_refresh = false\n", HOUR, 11 * HOUR, 11 * HOUR),
    ],
)
def test_a_use_moves_the_end_when_half_the_life_is_over(
    project: Project, toml: str, age: timedelta, left: timedelta, moved_to: timedelta
) -> None:
    """Never beyond the absolute limit, never backwards, and only where it is asked for."""
    project.write_settings(toml)
    token = project.add_session(
        user_id_of(project, ADMIN), now=FIXTURE_NOW, created=age, expires=left
    )
    assert Server(project, now=FIXTURE_NOW).accepts(token)
    (session,) = sessions_of(project, ADMIN)
    assert session.last_accessed == FIXTURE_NOW
    assert session.expires_at == FIXTURE_NOW + moved_to


def test_a_refused_request_writes_nothing(project: Project) -> None:
    """A request does not make an idle session live again."""
    token = project.add_session(user_id_of(project, ADMIN), now=FIXTURE_NOW, used=2 * HOUR)
    before = sessions_of(project, ADMIN)
    assert not Server(project, now=FIXTURE_NOW).accepts(token)
    assert sessions_of(project, ADMIN) == before


@pytest.mark.parametrize("checked", [False, True])
def test_an_address_is_compared_when_the_settings_say_so(project: Project, checked: bool) -> None:
    """The cookie is good from its own address, and from another one without the check."""
    project.write_settings(f"session_ip_check = {str(checked).lower()}\n")
    server = Server(project)
    cookie = server.log_in(ADMIN, PASSWORD, address="192.0.2.7")
    assert cookie is not None
    assert server.accepts(cookie, address="192.0.2.7")
    assert server.accepts(cookie, address="192.0.2.8") != checked


def test_two_accounts_that_differ_in_case_shut_each_other_out(project: Project) -> None:
    """The server's query expects one row: the tool creates no second account in other case."""
    project.add_user("Admin@clarinet.ru")
    with pytest.raises(MultipleResultsFound):
        Server(project).log_in(ADMIN, PASSWORD)
    command = ("admin", "create", "--generate-password", "--email")
    assert project.run(*command, "ADMIN@clarinet.ru").code == 4
    assert project.count("user") == 2
