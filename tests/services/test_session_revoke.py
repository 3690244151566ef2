"""Revoking named sessions, or those of all users: all or none, and recorded."""

import json
from datetime import timedelta
from uuid import UUID

import pytest

from clarinet_cli.exceptions import NotFoundError, RefusedError
from clarinet_cli.services.sessions import revoke as module
from clarinet_cli.services.sessions import revoke_all as all_module
from clarinet_cli.types import SessionFilter, StateName
from tests.cli.scenes import ADA, ADMIN, admin_id, populate
from tests.operations import (
    count_matching_sessions,
    count_to_revoke,
    revoke_all,
    revoke_matching,
    revoke_sessions,
)
from tests.oracle import apart
from tests.support import Project

DAY = timedelta(days=1)


def tokens(project: Project) -> set[str]:
    """Return all tokens, from inside a running event loop."""
    return apart(project.tokens)


@pytest.fixture
def populated(project: Project) -> tuple[Project, UUID]:
    """A project with ada's three sessions and one of the admin."""
    return project, populate(project)


class TestNamed:
    """``revoke_sessions``."""

    async def test_ends_what_is_named_and_nothing_else(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """Ids of several users, in any state, one twice: each is ended once."""
        project, ada = populated
        wanted = ["33333333", "44444444", "33333333"]
        changes = await revoke_sessions(project.settings, wanted)
        assert [(item.id, item.email, item.result) for item in changes] == [
            ("33333333", ADA, "revoked"),
            ("44444444", ADMIN, "revoked"),
        ]
        assert changes[0].user_id == ada
        assert tokens(project) == {"11111111-active", "22222222-idle"}

    @pytest.mark.parametrize(
        "unknown", ["99999999", "1", "", "1111111", "1111\0111", "1111111\ud800"]
    )
    async def test_an_unknown_id_prevents_the_revocation(
        self, populated: tuple[Project, UUID], unknown: str
    ) -> None:
        """Nothing is ended when one of the ids means no session."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="no session"):
            await revoke_sessions(project.settings, ["11111111", unknown])
        assert tokens(project) == before

    async def test_an_ambiguous_id_prevents_the_revocation(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """The matches are listed without their tokens, and a user narrows them."""
        project, ada = populated
        apart(lambda: project.add_session(ada, token="samesame-one"))
        apart(lambda: project.add_session(admin_id(project), token="samesame-two"))
        before = tokens(project)
        with pytest.raises(RefusedError, match="ambiguous") as caught:
            await revoke_sessions(project.settings, ["11111111", "samesame"])
        assert caught.value.message.count("created") == 2
        assert ADA in caught.value.message
        assert "samesame-" not in caught.value.message
        assert tokens(project) == before
        (change,) = await revoke_sessions(project.settings, ["samesame"], identifier=ADA)
        assert change.email == ADA
        assert tokens(project) == before - {"samesame-one"}

    async def test_the_whole_token_names_one(self, populated: tuple[Project, UUID]) -> None:
        """Of two with one id the whole token means one."""
        project, ada = populated
        apart(lambda: project.add_session(ada, token="samesame-one"))
        apart(lambda: project.add_session(ada, token="samesame-two"))
        before = tokens(project)
        (change,) = await revoke_sessions(project.settings, ["samesame-two"])
        assert (change.id, change.result) == ("samesame", "revoked")
        assert tokens(project) == before - {"samesame-two"}

    async def test_another_users_session_is_not_found(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """With a user only that user's sessions are looked at."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="the user has no session"):
            await revoke_sessions(project.settings, ["44444444"], identifier=ADA)
        assert tokens(project) == before


class TestEverybody:
    """``revoke_all``."""

    @pytest.mark.parametrize("size", [1, 2, 3, 5000])
    async def test_all_sessions_are_revoked(
        self, populated: tuple[Project, UUID], size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With any size of the transactions all sessions are deleted and nothing else."""
        monkeypatch.setattr(all_module, "BATCH_SIZE", size)
        project, _ = populated
        told: list[tuple[int, int]] = []
        report = await revoke_all(
            project.settings, [], progress=lambda done, of: told.append((done, of))
        )
        assert (report.result, report.sessions_revoked, report.sessions_kept) == ("revoked", 4, 0)
        assert tokens(project) == set()
        assert told[-1] == (4, 4)
        assert apart(lambda: project.count("user")) == 2

    @pytest.mark.parametrize("size", [1, 5000])
    async def test_those_to_spare_keep_theirs(
        self, populated: tuple[Project, UUID], size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The sessions of each user that is excepted stay."""
        monkeypatch.setattr(all_module, "BATCH_SIZE", size)
        project, _ = populated
        bob = apart(lambda: project.add_user("bob@example.org"))
        apart(lambda: project.add_session(bob, token="bobbobbo-b"))
        planned = await count_to_revoke(project.settings, [ADMIN.upper(), "bob@example.org"])
        report = await revoke_all(project.settings, [ADMIN.upper(), "bob@example.org"])
        assert (report.sessions_revoked, report.sessions_kept) == (3, 2)
        assert (planned.result, planned.sessions_revoked) == ("would_revoke", 3)
        assert planned.sessions_kept == 2
        assert tokens(project) == {"44444444-admin", "bobbobbo-b"}

    @pytest.mark.parametrize("size", [1, 5000])
    async def test_a_session_is_kept_by_its_id(
        self, populated: tuple[Project, UUID], size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The operator's own session stays, in addition to those of the users excluded."""
        monkeypatch.setattr(all_module, "BATCH_SIZE", size)
        project, _ = populated
        planned = await count_to_revoke(project.settings, [], keep_current=["11111111"])
        assert (planned.sessions_revoked, planned.sessions_kept) == (3, 1)
        report = await revoke_all(project.settings, [], keep_current=["11111111"])
        assert (report.sessions_revoked, report.sessions_kept) == (3, 1)
        assert tokens(project) == {"11111111-active"}

    async def test_several_sessions_are_kept_by_their_ids(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """Each that is named, not only the last one."""
        project, _ = populated
        wanted = ["11111111", "44444444"]
        planned = await count_to_revoke(project.settings, [], keep_current=wanted)
        assert (planned.sessions_revoked, planned.sessions_kept) == (2, 2)
        report = await revoke_all(project.settings, [], keep_current=wanted)
        assert (report.sessions_revoked, report.sessions_kept) == (2, 2)
        assert tokens(project) == {"11111111-active", "44444444-admin"}

    async def test_an_unknown_session_to_keep_saves_all(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """A typing mistake must not revoke the session that was to be kept."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="no session '99999999'"):
            await revoke_all(project.settings, [], keep_current=["99999999"])
        assert tokens(project) == before

    async def test_an_empty_table_is_unchanged(self, project: Project) -> None:
        """Without sessions the result is 'unchanged'."""
        report = await revoke_all(project.settings, [])
        assert (report.result, report.sessions_revoked, report.sessions_kept) == ("unchanged", 0, 0)

    async def test_it_ends_between_two_transactions(
        self, populated: tuple[Project, UUID], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a stop request it reports what is done; the next run revokes the rest."""
        monkeypatch.setattr(all_module, "BATCH_SIZE", 1)
        project, _ = populated
        asked = iter([False, True])
        report = await revoke_all(project.settings, [], stopped=lambda: next(asked))
        assert (report.result, report.sessions_revoked, report.sessions_kept) == ("revoked", 1, 3)
        assert len(tokens(project)) == 3
        await revoke_all(project.settings, [])
        assert tokens(project) == set()

    async def test_an_unknown_user_to_spare_saves_all(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """A typing mistake must not throw the one out who was to stay."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="nobody"):
            await revoke_all(project.settings, [ADMIN, "nobody@example.org"])
        assert tokens(project) == before


FILTERS = [
    (SessionFilter(states=(StateName.IDLE, StateName.EXPIRED)), {"22222222", "33333333"}),
    (SessionFilter(older_than=timedelta(hours=5)), {"22222222", "33333333"}),
    (SessionFilter(idle_for=timedelta(hours=5), ips=("127.0.0.0/8",)), {"22222222"}),
    (SessionFilter(agent="hyperlink"), {"44444444"}),
    (SessionFilter(agent="\0"), set[str]()),
    (SessionFilter(ips=("127.0.0.1",)), {"11111111", "22222222", "44444444"}),
    (SessionFilter(ips=("10.0.0.0/8", "127.0.0.1")), {"11111111", "22222222", "44444444"}),
    (SessionFilter(ips=("10.0.0.0/8",)), set[str]()),
]


class TestMatching:
    """``revoke_matching``."""

    @pytest.mark.parametrize(("where", "expected"), FILTERS)
    @pytest.mark.parametrize("size", [1, 5000])
    async def test_revokes_what_matches_and_nothing_else(
        self,
        populated: tuple[Project, UUID],
        where: SessionFilter,
        expected: set[str],
        size: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The dry run, the count and the revocation agree, with any batch size."""
        for name in ("BATCH_SIZE", "PAGE_SIZE"):
            monkeypatch.setattr(module, name, size)
        project, _ = populated
        before = tokens(project)
        planned = await revoke_matching(project.settings, where, dry_run=True)
        assert {change.result for change in planned} <= {"would_revoke"}
        assert tokens(project) == before
        sessions, users = await count_matching_sessions(project.settings, where)
        assert (sessions, users) == (len(planned), len({change.user_id for change in planned}))
        changes = await revoke_matching(project.settings, where)
        assert {change.id for change in changes} == {change.id for change in planned} == expected
        assert {change.result for change in changes} <= {"revoked"}
        assert {token[:8] for token in before - tokens(project)} == expected

    async def test_a_user_narrows_it(self, populated: tuple[Project, UUID]) -> None:
        """Only that user's sessions are revoked."""
        project, _ = populated
        changes = await revoke_matching(
            project.settings, SessionFilter(ips=("127.0.0.1",)), identifier=ADA
        )
        assert {change.id for change in changes} == {"11111111", "22222222"}
        with pytest.raises(NotFoundError, match="nobody"):
            await revoke_matching(project.settings, SessionFilter(), identifier="nobody@x.org")

    async def test_a_filter_narrows_ids(self, populated: tuple[Project, UUID]) -> None:
        """A named session that does not match is an error, and none is revoked."""
        project, _ = populated
        idle = SessionFilter(states=(StateName.IDLE,))
        before = tokens(project)
        with pytest.raises(NotFoundError, match="'11111111' does not match the filter"):
            await revoke_sessions(project.settings, ["22222222", "11111111"], idle)
        assert tokens(project) == before
        (change,) = await revoke_sessions(project.settings, ["22222222"], idle)
        assert (change.id, change.result) == ("22222222", "revoked")

    async def test_concurrent_logins_are_revoked_too(self, populated: tuple[Project, UUID]) -> None:
        """A session that is created during the run is revoked at its end."""
        project, ada = populated
        created = iter([True])

        def log_in(done: int, total: int) -> None:
            if next(created, False):
                apart(lambda: project.add_session(ada, token="00000000-late"))

        changes = await revoke_matching(
            project.settings, SessionFilter(), identifier=ADA, progress=log_in
        )
        assert {change.id for change in changes} >= {"00000000"}
        assert tokens(project) == {"44444444-admin"}

    async def test_a_session_that_matches_no_longer_is_kept(
        self, populated: tuple[Project, UUID], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It moved to another address after the listing and before its transaction."""
        monkeypatch.setattr(module, "BATCH_SIZE", 1)
        project, _ = populated
        before = tokens(project)

        def move(done: int, total: int) -> None:
            statement = "UPDATE access_token SET ip_address = '10.9.9.9'"
            apart(lambda: project.rows(f"{statement} WHERE ip_address = '127.0.0.1'"))

        (change,) = await revoke_matching(
            project.settings, SessionFilter(ips=("127.0.0.1",)), progress=move
        )
        assert {token[:8] for token in before - tokens(project)} == {change.id}

    async def test_it_stops_between_two_transactions(
        self, populated: tuple[Project, UUID], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On request it reports what is done."""
        monkeypatch.setattr(module, "BATCH_SIZE", 1)
        project, _ = populated
        requested = iter([False, True])
        changes = await revoke_matching(
            project.settings, SessionFilter(ips=("127.0.0.1",)), stopped=lambda: next(requested)
        )
        assert len(changes) == 1
        assert len(tokens(project)) == 3

    async def test_a_session_of_another_tables_row_is_expired(
        self, populated: tuple[Project, UUID]
    ) -> None:
        """It is not deleted, and the next run does not change it."""
        project, _ = populated
        apart(
            lambda: project.rows(
                "CREATE TABLE visits (token varchar(43) REFERENCES access_token (token))"
            )
        )
        apart(lambda: project.rows("INSERT INTO visits VALUES ('11111111-active')"))
        where = SessionFilter(agent="mozilla")
        (change,) = await revoke_matching(project.settings, where)
        assert (change.id, change.result) == ("11111111", "revoked")
        assert "11111111-active" in tokens(project)
        assert await revoke_matching(project.settings, where) == []


RECORDS = [
    ("session revoke --ip 127.0.0.1 --agent html --yes", []),
    (f"session revoke --user {ADA} --ip 127.0.0.0/8 --yes", [("11111111", {}), ("22222222", {})]),
    ("session revoke 11111111 44444444", [("11111111", {}), ("44444444", {})]),
    (f"session revoke-user {ADA}", [("ada", {"sessions_revoked": 3})]),
    ("session revoke-all --yes", [(None, {}), (None, {"sessions_revoked": 4})]),
]


@pytest.mark.parametrize(("line", "expected"), RECORDS, ids=[line for line, _ in RECORDS])
def test_each_end_is_recorded(
    project: Project, line: str, expected: list[tuple[str | None, dict[str, int]]]
) -> None:
    """Who was thrown out, by which command, and how many; a dry run leaves no record."""
    ada = populate(project)
    log = project.directory / "audit.log"
    words = ("--audit-log", str(log), *line.split())
    assert project.run(*words, "--dry-run").code == 0
    assert not log.exists()
    assert project.run(*words).code == 0
    records = [json.loads(text) for text in log.read_text().splitlines()] if expected else []
    names = {"ada": str(ada)}
    assert [record.get("target") for record in records] == [
        names.get(str(target), target) for target, _ in expected
    ]
    for record, (_, counts) in zip(records, expected, strict=True):
        # A job of many transactions is on record before the first of them commits.
        assert record["result"] == ("started" if "revoke-all" in line and not counts else "revoked")
        assert record["command"] == " ".join(line.split()[:2])
        assert counts.items() <= record.items()
