"""Sessions: counted, shown, and revoked for one user without affecting others."""

from datetime import timedelta
from typing import Any, Optional
from uuid import UUID

import pytest

from clarinet_cli.exceptions import NotFoundError, RefusedError
from tests import oracle
from tests.operations import revoke_for_user, session_stats, sessions_of_user
from tests.oracle import RawSession
from tests.support import FIXTURE_NOW, Project

ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"
CARLA = "carla@clarinet.example"
DMITRI = "dmitri@clarinet.example"
FIRST_ADMIN = "admin@clarinet.ru"


def remaining(project: Project, gone: list[RawSession], before: set[str]) -> bool:
    """Whether exactly these sessions are gone."""
    return oracle.tokens(project) == before - {item.token for item in gone}


def newest_live(project: Project) -> tuple[list[RawSession], set[str]]:
    """Return Ada's sessions, newest first, and all tokens."""
    own = oracle.sessions_of(project, ADA)
    assert len(own) == 7
    return own, oracle.tokens(project)


class TestStats:
    """``session_stats``."""

    async def test_numbers_are_those_counted_one_by_one(self, server_project: Project) -> None:
        """At the fixture's timestamp every number equals a count in plain Python."""
        oracle.deactivate(server_project, BOB)
        sessions = oracle.raw_sessions(server_project)
        found = await session_stats(server_project.settings, now=FIXTURE_NOW)
        assert oracle.rounded(found) == oracle.stats(sessions, FIXTURE_NOW)

    @pytest.mark.parametrize(("minutes", "idle"), [(0, None), (1, 1), (600, 600)])
    async def test_idle_limit_is_that_of_the_settings(
        self, server_project: Project, minutes: int, idle: Optional[int]
    ) -> None:
        """The idle limit of the settings is used; 0 means no limit."""
        server_project.write_settings(f"session_idle_timeout_minutes = {minutes}\n")
        limit = None if idle is None else timedelta(minutes=idle)
        states = [item.state(FIXTURE_NOW, limit) for item in oracle.raw_sessions(server_project)]
        stats = await session_stats(server_project.settings, now=FIXTURE_NOW)
        assert stats.idle == states.count("idle")
        assert stats.active == states.count("active")

    async def test_the_databases_clock_is_the_default(self, project: Project) -> None:
        """Without a reference time, sessions are evaluated at the present time."""
        user_id = oracle.user_id_of(project, FIRST_ADMIN)
        for expires, used in ((60, 1), (60, 59), (60, 61), (-1, 1), (1, 1)):
            oracle.add_session(
                project, user_id, expires=timedelta(minutes=expires), used=timedelta(minutes=used)
            )
        stats = await session_stats(project.settings)
        assert (stats.total, stats.active, stats.idle, stats.expired) == (5, 3, 1, 1)

    async def test_looking_changes_nothing(self, server_project: Project) -> None:
        """Counting writes nothing."""
        before = oracle.snapshot(server_project)
        assert (await session_stats(server_project.settings)).total > 0
        assert oracle.snapshot(server_project) == before


class TestSessionsOfUser:
    """``sessions_of_user``."""

    @pytest.mark.parametrize("active_only", [False, True])
    async def test_shows_the_users_sessions_newest_first(
        self, server_project: Project, *, active_only: bool
    ) -> None:
        """All of them with their state, or those that the server accepts."""
        found = await sessions_of_user(
            server_project.settings, ADA, active_only=active_only, now=FIXTURE_NOW
        )
        expected = [
            (item.id, item.state(FIXTURE_NOW))
            for item in oracle.sessions_of(server_project, ADA)
            if not active_only or item.state(FIXTURE_NOW) == "active"
        ]
        assert [(row.id, row.state) for row in found] == expected
        assert {row.email for row in found} == {ADA}

    async def test_sessions_of_an_inactive_user_are_blocked(self, server_project: Project) -> None:
        """What would be active is blocked, and not shown as active."""
        oracle.deactivate(server_project, BOB)
        found = await sessions_of_user(server_project.settings, BOB, now=FIXTURE_NOW)
        assert [row.state for row in found] == ["blocked"] * 3
        active = await sessions_of_user(
            server_project.settings, BOB, active_only=True, now=FIXTURE_NOW
        )
        assert active == []

    async def test_user_without_sessions_has_none(self, server_project: Project) -> None:
        """No sessions is an empty list and no error."""
        assert await sessions_of_user(server_project.settings, DMITRI, now=FIXTURE_NOW) == []

    async def test_user_is_found_by_uuid_prefix_and_in_any_case(
        self, server_project: Project
    ) -> None:
        """The user can be named like everywhere."""
        digits = oracle.user_id_of(server_project, CARLA).hex[:8]
        for who in (CARLA.upper(), digits):
            (row,) = await sessions_of_user(server_project.settings, who, now=FIXTURE_NOW)
            assert (row.email, row.state) == (CARLA, "expired")

    async def test_unknown_user_is_not_found(self, server_project: Project) -> None:
        """An unknown user is an error, and no session is revoked."""
        with pytest.raises(NotFoundError, match=r"nobody@clarinet\.example"):
            await sessions_of_user(server_project.settings, "nobody@clarinet.example")


class TestRevokeForUser:
    """``revoke_for_user``."""

    async def test_ends_only_the_sessions_of_the_user(self, server_project: Project) -> None:
        """Stale and live ones are revoked; other users' sessions and all other tables stay."""
        own, tokens = newest_live(server_project)
        before = oracle.snapshot(server_project)
        report = await revoke_for_user(server_project.settings, ADA)
        assert (report.email, report.result) == (ADA, "revoked")
        assert UUID(str(report.id)) == oracle.user_id_of(server_project, ADA)
        assert (report.sessions_revoked, report.sessions_kept) == (7, 0)
        assert remaining(server_project, own, tokens)
        after = oracle.snapshot(server_project)
        assert oracle.without(after, "access_token") == oracle.without(before, "access_token")

    @pytest.mark.parametrize("number", [1, 3, 6])
    async def test_newest_are_kept(self, server_project: Project, number: int) -> None:
        """The newest by creation stay, the others go."""
        own, tokens = newest_live(server_project)
        report = await revoke_for_user(server_project.settings, ADA, keep_newest=number)
        assert (report.sessions_revoked, report.sessions_kept) == (7 - number, number)
        assert remaining(server_project, own[number:], tokens)

    @pytest.mark.parametrize("number", [7, 1000])
    async def test_keeping_as_many_as_there_are_changes_nothing(
        self, server_project: Project, number: int
    ) -> None:
        """With nothing to revoke the result is 'unchanged'."""
        before = oracle.snapshot(server_project)
        report = await revoke_for_user(server_project.settings, ADA, keep_newest=number)
        assert (report.result, report.sessions_revoked) == ("unchanged", 0)
        assert report.sessions_kept == 7
        assert oracle.snapshot(server_project) == before

    @pytest.mark.parametrize("position", [0, 3, 6])
    async def test_current_one_is_kept(self, server_project: Project, position: int) -> None:
        """The session that is named stays, all others of the user go."""
        own, tokens = newest_live(server_project)
        kept = own[position]
        report = await revoke_for_user(server_project.settings, ADA, keep_current=[kept.id])
        assert (report.sessions_revoked, report.sessions_kept) == (6, 1)
        assert remaining(server_project, [item for item in own if item != kept], tokens)

    @pytest.mark.parametrize(("position", "kept"), [(5, 3), (1, 2)])
    async def test_current_and_newest_are_both_kept(
        self, server_project: Project, position: int, kept: int
    ) -> None:
        """The two newest and the named one stay; when it is one of them, two stay."""
        own, tokens = newest_live(server_project)
        report = await revoke_for_user(
            server_project.settings, ADA, keep_current=[own[position].id], keep_newest=2
        )
        assert (report.sessions_revoked, report.sessions_kept) == (7 - kept, kept)
        spared = {own[0], own[1], own[position]}
        assert remaining(server_project, [item for item in own if item not in spared], tokens)

    async def test_unknown_session_is_not_found(self, server_project: Project) -> None:
        """An id that no session of the user has: not found, and nothing is revoked."""
        before = oracle.snapshot(server_project)
        for wanted in ("ffffffff", "", "1", "a' OR '1'='1", "[red]xxx", "????????"):
            with pytest.raises(NotFoundError):
                await revoke_for_user(server_project.settings, ADA, keep_current=[wanted])
        assert oracle.snapshot(server_project) == before

    async def test_seven_characters_of_an_id_are_not_enough(self, server_project: Project) -> None:
        """An id has eight characters; fewer don't name a session."""
        before = oracle.snapshot(server_project)
        short = oracle.sessions_of(server_project, ADA)[0].id[:7]
        with pytest.raises(NotFoundError):
            await revoke_for_user(server_project.settings, ADA, keep_current=[short])
        assert oracle.snapshot(server_project) == before

    async def test_session_of_another_user_is_not_found(self, server_project: Project) -> None:
        """Another user's session cannot be kept, and nothing is revoked."""
        before = oracle.snapshot(server_project)
        other = oracle.sessions_of(server_project, BOB)[0]
        with pytest.raises(NotFoundError):
            await revoke_for_user(server_project.settings, ADA, keep_current=[other.id])
        assert oracle.snapshot(server_project) == before

    async def test_ambiguous_session_is_refused(self, server_project: Project) -> None:
        """Two sessions of the user have the id: refused, and nothing is revoked."""
        user_id = oracle.user_id_of(server_project, ADA)
        for end in ("-one", "-two"):
            oracle.add_session(server_project, user_id, token=f"12345678{end}")
        before = oracle.snapshot(server_project)
        with pytest.raises(RefusedError, match="ambiguous") as caught:
            await revoke_for_user(server_project.settings, ADA, keep_current=["12345678"])
        assert "12345678-" not in f"{caught.value.message} {caught.value.hint}"
        assert oracle.snapshot(server_project) == before

    async def test_same_id_at_another_user_is_not_ambiguous(self, server_project: Project) -> None:
        """Among one user's sessions the id means one: it stays, the other user's too."""
        kept = [
            oracle.add_session(
                server_project, oracle.user_id_of(server_project, email), token=f"12345678-{email}"
            )
            for email in (ADA, BOB)
        ]
        report = await revoke_for_user(server_project.settings, ADA, keep_current=["12345678"])
        assert (report.sessions_revoked, report.sessions_kept) == (7, 1)
        assert set(kept) <= oracle.tokens(server_project)

    async def test_the_whole_token_is_not_repeated_in_an_error(
        self, server_project: Project
    ) -> None:
        """A pasted token of another user is not in the message."""
        token = oracle.sessions_of(server_project, BOB)[0].token
        with pytest.raises(NotFoundError) as caught:
            await revoke_for_user(server_project.settings, ADA, keep_current=[token])
        told = f"{caught.value.message} {caught.value.hint}"
        assert token[:8] in told
        assert token[:9] not in told
        assert token[9:] not in told

    @pytest.mark.parametrize("options", [{}, {"keep_newest": 2}])
    async def test_dry_run_counts_and_changes_nothing(
        self, server_project: Project, options: dict[str, Any]
    ) -> None:
        """The numbers are those of the real run, and every session is still there."""
        before = oracle.snapshot(server_project)
        dry = await revoke_for_user(server_project.settings, ADA, dry_run=True, **options)
        assert oracle.snapshot(server_project) == before
        real = await revoke_for_user(server_project.settings, ADA, **options)
        assert (dry.result, real.result) == ("would_revoke", "revoked")
        assert dry.sessions_revoked == real.sessions_revoked == 7 - len(options) * 2
        assert dry.sessions_kept == real.sessions_kept

    async def test_user_without_sessions_is_unchanged(self, server_project: Project) -> None:
        """Without sessions the result is 'unchanged', and no other user is affected."""
        before = oracle.snapshot(server_project)
        report = await revoke_for_user(server_project.settings, DMITRI)
        assert (report.result, report.sessions_revoked, report.sessions_kept) == ("unchanged", 0, 0)
        assert oracle.snapshot(server_project) == before

    async def test_inactive_user_can_be_logged_out(self, server_project: Project) -> None:
        """Blocked sessions are revoked like others."""
        oracle.deactivate(server_project, BOB)
        report = await revoke_for_user(server_project.settings, BOB)
        assert (report.result, report.sessions_revoked) == ("revoked", 3)
        assert oracle.sessions_of(server_project, BOB) == []

    @pytest.mark.parametrize("who", ["nobody@clarinet.example", "deadbeef"])
    async def test_unknown_user_is_not_found(self, server_project: Project, who: str) -> None:
        """An unknown user is an error, and no session is revoked."""
        before = oracle.snapshot(server_project)
        with pytest.raises(NotFoundError):
            await revoke_for_user(server_project.settings, who)
        assert oracle.snapshot(server_project) == before

    async def test_ambiguous_user_is_refused(self, server_project: Project) -> None:
        """An address that means two accounts logs neither out."""
        oracle.add_user(server_project, "Ada@clarinet.example")
        before = oracle.snapshot(server_project)
        with pytest.raises(RefusedError, match="ambiguous"):
            await revoke_for_user(server_project.settings, "ADA@clarinet.example")
        assert oracle.snapshot(server_project) == before


async def test_results_hold_no_more_than_eight_characters_of_a_token(
    server_project: Project,
) -> None:
    """Neither numbers nor rows nor reports show a ninth character of any token."""
    settings, tokens = server_project.settings, oracle.tokens(server_project)
    own = oracle.sessions_of(server_project, ADA)
    rows = await sessions_of_user(settings, ADA, now=FIXTURE_NOW)
    results = [
        await session_stats(settings, now=FIXTURE_NOW),
        rows,
        await revoke_for_user(settings, ADA, keep_current=[own[0].token], dry_run=True),
        await revoke_for_user(settings, ADA, keep_current=[own[0].id], keep_newest=2),
    ]
    assert [row.id for row in rows] == [item.token[:8] for item in own]
    shown = repr(results)
    for token in tokens:
        assert token[:9] not in shown
        assert token[9:] not in shown


def test_an_ambiguous_session_shows_no_more_than_the_id(project: Project) -> None:
    """A whole token of one of two with the same id selects it; no token is shown."""
    user = project.add_user("twins@clarinet.example")
    for rest in ("aaaa-CANARY-1", "bbbb-CANARY-2", "cccc-CANARY-3"):
        project.add_session(user, token=f"99999999-{rest}")
    words = ("session", "revoke-user", "twins@clarinet.example", "--keep-current")
    for wanted, code in (("99999999", 5), ("99999999-dddd-CANARY-4", 3)):
        refused = project.run(*words, wanted)
        assert (refused.code, refused.stdout) == (code, "")
        assert "CANARY" not in refused.stderr
    assert project.run(*words, "99999999-bbbb-CANARY-2").code == 0
    assert project.tokens() == {"99999999-bbbb-CANARY-2"}
