"""Named sessions and everybody's: ended together or not at all, and recorded."""

import json
from datetime import timedelta
from uuid import UUID

import pytest

from clarinet_cli.exceptions import NotFoundError, RefusedError
from clarinet_cli.services.sessions import revoke as module
from tests.cli.scenes import ADA, ADMIN, admin_id, populate
from tests.operations import count_to_revoke, revoke_all, revoke_sessions
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
    async def test_an_unknown_one_saves_all(
        self, populated: tuple[Project, UUID], unknown: str
    ) -> None:
        """Nothing is ended when one of the ids means no session."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="no session"):
            await revoke_sessions(project.settings, ["11111111", unknown])
        assert tokens(project) == before

    async def test_an_ambiguous_one_saves_all(self, populated: tuple[Project, UUID]) -> None:
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

    async def test_somebody_elses_is_not_the_users(self, populated: tuple[Project, UUID]) -> None:
        """With a user only that user's sessions are looked at."""
        project, _ = populated
        before = tokens(project)
        with pytest.raises(NotFoundError, match="the user has no session"):
            await revoke_sessions(project.settings, ["44444444"], identifier=ADA)
        assert tokens(project) == before


class TestEverybody:
    """``revoke_all``."""

    @pytest.mark.parametrize("size", [1, 2, 3, 5000])
    async def test_nobody_is_left(
        self, populated: tuple[Project, UUID], size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the size of a transaction, all sessions go and nothing else."""
        monkeypatch.setattr(module, "BATCH_SIZE", size)
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
        monkeypatch.setattr(module, "BATCH_SIZE", size)
        project, _ = populated
        bob = apart(lambda: project.add_user("bob@example.org"))
        apart(lambda: project.add_session(bob, token="bobbobbo-b"))
        planned = await count_to_revoke(project.settings, [ADMIN.upper(), "bob@example.org"])
        report = await revoke_all(project.settings, [ADMIN.upper(), "bob@example.org"])
        assert (report.sessions_revoked, report.sessions_kept) == (3, 2)
        assert (planned.result, planned.sessions_revoked) == ("would_revoke", 3)
        assert planned.sessions_kept == 2
        assert tokens(project) == {"44444444-admin", "bobbobbo-b"}

    async def test_an_empty_table_is_unchanged(self, project: Project) -> None:
        """Nothing to end is no change."""
        report = await revoke_all(project.settings, [])
        assert (report.result, report.sessions_revoked, report.sessions_kept) == ("unchanged", 0, 0)

    async def test_it_ends_between_two_transactions(
        self, populated: tuple[Project, UUID], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Asked to stop it says what is done; the next run ends the rest."""
        monkeypatch.setattr(module, "BATCH_SIZE", 1)
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


RECORDS = [
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
    records = [json.loads(text) for text in log.read_text().splitlines()]
    names = {"ada": str(ada)}
    assert [record.get("target") for record in records] == [
        names.get(str(target), target) for target, _ in expected
    ]
    for record, (_, counts) in zip(records, expected, strict=True):
        # A job of many transactions is on record before the first of them commits.
        assert record["result"] == ("started" if "revoke-all" in line and not counts else "revoked")
        assert record["command"] == " ".join(line.split()[:2])
        assert counts.items() <= record.items()
