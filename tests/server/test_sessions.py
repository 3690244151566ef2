"""The tool's states and changes of sessions, and the server's acceptance of their cookies."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from clarinet_cli.services.session_cleanup import CleanupPlan, clean_up
from tests.operations import sessions_of_user
from tests.oracle import (
    add_session,
    deactivate,
    raw_sessions,
    rows,
    sessions_of,
    tokens,
    user_id_of,
)
from tests.server.visits import Server, accepts, logged_in
from tests.support import FIXTURE_NOW, FIXTURE_PASSWORD, PASSWORD, Project

ADMIN = "admin@clarinet.ru"
ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# created and used ago, expiring in the future: each state with room for a slow machine
AGES = {
    "active": [(HOUR, HOUR, MINUTE), (29 * DAY, HOUR, 59 * MINUTE), (HOUR, 5 * MINUTE, MINUTE)],
    "idle": [(2 * HOUR, 22 * HOUR, 61 * MINUTE), (3 * DAY, HOUR, 2 * DAY)],
    "expired": [(25 * HOUR, -HOUR, MINUTE), (2 * DAY, -MINUTE, 2 * DAY)],
}


def add_each(project: Project, email: str) -> dict[str, str]:
    """Give an account sessions of all ages; return the state that each should be in."""
    user_id = user_id_of(project, email)
    return {
        project.add_session(user_id, created=created, expires=expires, used=used): state
        for state, ages in AGES.items()
        for created, expires, used in ages
    }


def shown_states(project: Project, email: str) -> dict[str, str]:
    """Return the state that the tool shows for each id."""
    listed = project.json("session", "list-user", email)
    return {session["id"]: session["state"] for session in listed}


# --- States --------------------------------------------------------------------------------


def test_the_states_shown_are_what_the_server_does(server_project: Project) -> None:
    """A cookie opens the door exactly when the tool calls its session active."""
    rows(server_project, "DELETE FROM access_token")
    for email in (ADA, BOB):
        expected = add_each(server_project, email)
        if email == BOB:
            deactivate(server_project, BOB)
            expected = {
                token: "blocked" if state == "active" else state
                for token, state in expected.items()
            }
        shown = shown_states(server_project, email)
        assert shown == {token[:8]: state for token, state in expected.items()}
        for token in expected:
            assert accepts(server_project, token) == (shown[token[:8]] == "active")


def test_the_sessions_of_a_real_server_are_shown_as_it_judges_them(
    server_project: Project,
) -> None:
    """Row by row, at the time of the fixtures."""
    server = Server(server_project, now=FIXTURE_NOW)
    sessions = raw_sessions(server_project)
    emails = [row[0] for row in server_project.rows('SELECT email FROM "user"')]
    shown = {
        session.id: session.state
        for email in emails
        for session in asyncio.run(
            sessions_of_user(server_project.settings, email, now=FIXTURE_NOW)
        )
    }
    assert set(shown) == {session.id for session in sessions}
    assert len(set(shown.values())) >= 3
    for session in sessions:
        assert server.accepts(session.token) == (shown[session.id] == "active")


@pytest.mark.parametrize("idle_minutes", [0, 60])
def test_the_expiry_is_the_same_in_server_and_tool(project: Project, idle_minutes: int) -> None:
    """To the microsecond: at the expiry, and at the idle limit."""
    project.write_settings(f"session_idle_timeout_minutes = {idle_minutes}\n")
    user_id, step = user_id_of(project, ADMIN), timedelta(microseconds=1)
    for moved in (-step, timedelta(0), step):
        project.add_session(user_id, now=FIXTURE_NOW, expires=moved)
        project.add_session(user_id, now=FIXTURE_NOW, created=2 * HOUR, used=HOUR + moved)
    listed = asyncio.run(sessions_of_user(project.settings, ADMIN, now=FIXTURE_NOW))
    shown = {session.id: session.state for session in listed}
    server = Server(project, now=FIXTURE_NOW)
    judged = {token[:8]: server.accepts(token) for token in sorted(project.tokens())}
    assert judged == {key: state == "active" for key, state in shown.items()}
    assert sum(judged.values()) == (3 if idle_minutes else 4)


def test_a_cookie_from_a_log_in_is_the_session_that_is_shown(project: Project) -> None:
    """Id, browser, address and times are those of the log-in; a log-out removes it."""
    server = Server(project)
    before = datetime.now(UTC)
    cookie = server.log_in(ADMIN, PASSWORD, user_agent="curl/8 " + "x" * 600, address="192.0.2.7")
    assert cookie is not None
    (shown,) = project.json("session", "list-user", ADMIN)
    assert (shown["id"], shown["state"]) == (cookie[:8], "active")
    assert (shown["ip_address"], len(shown["user_agent"])) == ("192.0.2.7", 512)
    created, expires = (datetime.fromisoformat(shown[key]) for key in ("created_at", "expires_at"))
    assert before - timedelta(seconds=1) <= created <= datetime.now(UTC)
    assert expires - created == DAY
    server.log_out(cookie)
    assert project.json("session", "list-user", ADMIN) == []
    assert not server.accepts(cookie)


# --- Revoking ------------------------------------------------------------------------------


def test_revoked_cookies_are_refused(server_project: Project) -> None:
    """All those of one user, and no other."""
    ada = [logged_in(server_project, ADA, FIXTURE_PASSWORD) for _ in range(2)]
    bob = logged_in(server_project, BOB, FIXTURE_PASSWORD)
    held = len(sessions_of(server_project, ADA))
    report = server_project.json("session", "revoke-user", ADA)
    assert (report["result"], report["sessions_revoked"]) == ("revoked", held)
    assert [accepts(server_project, cookie) for cookie in ada] == [False, False]
    assert accepts(server_project, bob)


def test_a_dry_run_refuses_no_cookie(project: Project) -> None:
    """Who is inside stays inside."""
    cookie = logged_in(project, ADMIN, PASSWORD)
    report = project.json("session", "revoke-user", ADMIN, "--dry-run")
    assert (report["result"], report["sessions_revoked"]) == ("would_revoke", 1)
    assert accepts(project, cookie)


@pytest.mark.parametrize("by_id", [True, False])
def test_the_cookie_that_is_kept_stays_good(project: Project, by_id: bool) -> None:
    """One by its id, or the newest; the others are refused."""
    cookies = [logged_in(project, ADMIN, PASSWORD) for _ in range(3)]
    keep = ["--keep-current", cookies[0][:8]] if by_id else ["--keep-newest", "1"]
    assert project.json("session", "revoke-user", ADMIN, *keep)["sessions_revoked"] == 2
    expected = [True, False, False] if by_id else [False, False, True]
    assert [accepts(project, cookie) for cookie in cookies] == expected


def test_an_id_that_begins_with_a_dash_is_no_option(project: Project) -> None:
    """One cookie in 64 does, since the server's tokens are base64 for addresses."""
    owner = user_id_of(project, ADMIN)
    kept = project.add_session(owner, token="-yZ_x-9Q" + "a" * 35)
    other = project.add_session(owner, token="--help__" + "b" * 35)
    report = project.json("session", "revoke-user", ADMIN, "--keep-current", kept[:8])
    assert report["sessions_revoked"] == 1
    assert (accepts(project, kept), accepts(project, other)) == (True, False)


def test_a_revoked_cookie_is_accepted_for_the_time_of_the_note(project: Project) -> None:
    """A server that caches a token for 30 s accepts it for that time, and no longer."""
    start = datetime.now(UTC)
    server = Server(project, now=start, caching=True)
    cookie = server.log_in(ADMIN, PASSWORD)
    assert cookie is not None
    assert server.accepts(cookie)
    result = project.run("session", "revoke-user", ADMIN)
    assert "up to 30 s (session_cache_ttl_seconds)" in result.stderr
    server.now = start + timedelta(seconds=29)
    assert server.accepts(cookie)
    server.now = start + timedelta(seconds=30)
    assert not server.accepts(cookie)


# --- Cleaning up ---------------------------------------------------------------------------


def test_a_clean_up_removes_what_the_server_refuses_for_good(server_project: Project) -> None:
    """Stale ones are deleted; accepted ones stay, also those of accounts that are inactive."""
    rows(server_project, "DELETE FROM access_token")
    ada, bob = add_each(server_project, ADA), add_each(server_project, BOB)
    deactivate(server_project, BOB)
    report = server_project.json("session", "cleanup")
    dead = sum(state != "active" for state in [*ada.values(), *bob.values()])
    assert (report["deleted"], report["remaining"]) == (dead, 0)
    left = server_project.tokens()
    assert left == {token for token, state in {**ada, **bob}.items() if state == "active"}
    assert {token for token in ada if accepts(server_project, token)} == left & set(ada)
    assert not any(accepts(server_project, token) for token in bob)


INSTANTS = st.timedeltas(-3 * DAY, 40 * DAY)


@effort(
    max_examples=8,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    plans=st.lists(
        st.tuples(st.booleans(), INSTANTS, st.timedeltas(timedelta(0), 2 * HOUR)),
        min_size=1,
        max_size=5,
    )
)
def test_a_clean_up_never_removes_what_the_server_accepts(
    project: Project, plans: list[tuple[bool, timedelta, timedelta]]
) -> None:
    """For any timestamps: deleted sessions were refused before, kept ones are unchanged."""
    owner, server = user_id_of(project, ADMIN), Server(project, now=FIXTURE_NOW)

    def plant() -> set[str]:
        rows(project, "DELETE FROM access_token")
        for number, (soon, left, used) in enumerate(plans):
            add_session(
                project,
                owner,
                now=FIXTURE_NOW,
                token=f"token-{number}",
                created=3 * HOUR,
                expires=left / 1000 if soon else left,
                used=used,
            )
        return tokens(project)

    accepted = {token for token in plant() if server.accepts(token)}
    everything = plant()  # again, since being accepted is a use, which moves a session's times
    plan = CleanupPlan(batch_size=2)
    report = asyncio.run(clean_up(project.settings, plan, now=FIXTURE_NOW))
    assert tokens(project) == accepted
    assert report.deleted == len(everything - accepted)


def test_a_session_in_use_outlives_clean_ups(project: Project) -> None:
    """The server moves its end as it is used: a clean-up a day later finds it alive."""
    start = FIXTURE_NOW
    server = Server(project, now=start)
    used, unused = (server.log_in(ADMIN, PASSWORD) for _ in range(2))
    assert used is not None
    for _ in range(60):
        server.now = (server.now or start) + 30 * MINUTE
        assert server.accepts(used)
    plan = CleanupPlan(batch_size=100)
    report = asyncio.run(clean_up(project.settings, plan, now=server.now))
    assert (report.deleted, project.tokens()) == (1, {used})
    assert unused not in project.tokens()
    assert server.accepts(used)
