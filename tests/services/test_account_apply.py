"""Applying a file of accounts: what it changes, what it refuses, and what it does not touch."""

import json
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Optional

import pytest
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import (
    BusyError,
    ClarinetError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.accounts import apply as applying
from clarinet_cli.services.accounts import hashes as hashing
from clarinet_cli.services.accounts.apply import ApplyPlan
from clarinet_cli.services.accounts.file import RowErrors, read_accounts
from clarinet_cli.services.accounts.matching import match_rows, normalise_rows
from clarinet_cli.services.accounts.passwords import NewPassword, hash_password
from clarinet_cli.services.accounts.queries import stream_declared
from clarinet_cli.settings import Settings
from tests import oracle
from tests.operations import apply_accounts
from tests.oracle import SERVER_HASHER
from tests.support import FIXTURE_NOW, Project

ADA = "ada@clarinet.example"
BOB = "bob@clarinet.example"
DMITRI = "dmitri@clarinet.example"
NEW = "new@clarinet.example"
SLOW = "$argon2id$v=19$m=8,t=20000000,p=1$c29tZXNhbHQ$RdescudvJA"
HASH = BcryptHasher(rounds=4).hash("prepared password")


async def apply(project: Project, *rows: dict[str, Any], **plan: bool) -> list[AppliedAccount]:
    """Apply a file with these rows."""
    declared = read_accounts(json.dumps(rows).encode(), "file")
    return await apply_accounts(project.settings, declared, ApplyPlan(**plan))


async def refused(
    project: Project, kind: type[ClarinetError], *rows: dict[str, Any], **plan: bool
) -> ClarinetError:
    """Apply a file that is refused; nothing at all is changed."""
    before = oracle.snapshot(project)
    with pytest.raises(kind) as caught:
        await apply(project, *rows, **plan)
    assert oracle.snapshot(project) == before
    return caught.value


def row(email: str, **said: Any) -> dict[str, Any]:
    """Return a row of the file."""
    return {"email": email, **said}


@pytest.fixture
def superuser(server_project: Project) -> str:
    """The address of the only superuser that the server made."""
    ((email,),) = server_project.rows('SELECT email FROM "user" WHERE is_superuser')
    return str(email)


@pytest.fixture(autouse=True)
def inactive_doctor(request: pytest.FixtureRequest) -> None:
    """On the server's database dmitri is inactive and a doctor, on either backend."""
    if "server_project" in request.fixturenames:
        project: Project = request.getfixturevalue("server_project")
        project.rows('UPDATE "user" SET is_active = (1 = 0) WHERE email = ?', DMITRI)
        project.rows(
            "INSERT INTO userroleslink (user_id, role_name)"
            " SELECT id, 'doctor' FROM \"user\" WHERE email = ? ON CONFLICT DO NOTHING",
            DMITRI,
        )


def flags(project: Project, email: str) -> tuple[bool, ...]:
    """Return active, superuser and verified of an account."""
    return tuple(map(bool, oracle.account(project, email)[:3]))


# --- Nothing to do -------------------------------------------------------------------------


async def test_what_was_exported_changes_nothing(server_project: Project) -> None:
    """Export, then apply: every row is unchanged, and so is every byte of the tables."""
    before = oracle.snapshot(server_project)
    batches = stream_declared(server_project.settings)
    rows = [item async for some in batches for item in some]
    said = [{name: getattr(item, name) for name in item.__slots__} for item in rows]
    assert [item["email"] for item in said] == sorted(item["email"] for item in said)
    reports = await apply(server_project, *said, prune=True)
    assert [(report.mark, report.result) for report in reports] == [("=", "unchanged")] * len(rows)
    assert [report.changes for report in reports] == [()] * len(rows)
    assert len(rows) == oracle.count(server_project, "user")
    assert oracle.snapshot(server_project) == before


async def test_what_is_not_mentioned_is_kept(server_project: Project, superuser: str) -> None:
    """A row with only an address keeps flags, roles, password and sessions."""
    before = oracle.snapshot(server_project)
    reports = await apply(server_project, row(DMITRI), row(superuser.upper()))
    assert [report.email for report in reports] == [DMITRI, superuser]
    assert oracle.snapshot(server_project) == before


async def test_the_password_of_an_existing_account_is_not_touched(server_project: Project) -> None:
    """A source of a password is for a new account only, so that a file can be applied again."""
    before = oracle.snapshot(server_project)
    (report, other) = await apply(
        server_project, row(ADA, password="generate"), row(BOB, password=HASH)
    )
    assert (report.result, report.password, other.result) == ("unchanged", None, "unchanged")
    assert oracle.snapshot(server_project) == before


# --- New accounts --------------------------------------------------------------------------


async def test_a_new_account_with_a_generated_password(server_project: Project) -> None:
    """It is only active unless the file has more; the password is reported, and works."""
    (report,) = await apply(server_project, row(NEW, password="generate"))
    assert (report.mark, report.result, report.sessions_revoked) == ("+", "created", 0)
    assert report.id == oracle.user_id_of(server_project, NEW)
    assert flags(server_project, NEW) == (True, False, False)
    assert oracle.roles_of(server_project, NEW) == set()
    stored = oracle.hash_of(server_project, NEW)
    assert stored.startswith("$argon2id$")
    assert SERVER_HASHER.verify(str(report.password), stored)
    assert str(report.password) not in repr(report)


async def test_a_new_account_with_a_prepared_hash(server_project: Project) -> None:
    """The hash is stored unchanged; no password is reported."""
    said = row(NEW, password=HASH, is_superuser=True, is_verified=True, roles=["expert", "admin"])
    (report,) = await apply(server_project, said)
    assert report.password is None
    assert oracle.hash_of(server_project, NEW) == HASH
    assert flags(server_project, NEW) == (True, True, True)
    assert oracle.roles_of(server_project, NEW) == {"admin", "expert"}
    assert report.changes == ("is_superuser", "is_verified", "+admin", "+expert")


async def test_generate_serves_rows_without_a_source(server_project: Project) -> None:
    """What was exported elsewhere can be applied to a new database."""
    reports = await apply(server_project, row(NEW), row("x@clarinet.example"), generate=True)
    assert len({report.password for report in reports}) == 2
    for report in reports:
        stored = oracle.hash_of(server_project, report.email)
        assert SERVER_HASHER.verify(str(report.password), stored)


async def test_the_address_of_a_new_account_is_normalised(server_project: Project) -> None:
    """It is stored as the server stores it; the domain in lower case, composed letters."""
    (report,) = await apply(server_project, row(" Zoe\u0308@Clarinet.EXAMPLE ", password=HASH))
    assert report.email == "Zoë@clarinet.example"
    again = await apply(server_project, row("ZOE\u0308@clarinet.example"))
    assert [(item.mark, item.email) for item in again] == [("=", report.email)]


# --- Existing accounts ---------------------------------------------------------------------


async def test_flags_and_roles_become_those_of_the_file(server_project: Project) -> None:
    """Roles are the whole set: others are taken away; each difference is reported."""
    said = row(DMITRI, is_active=True, is_verified=True, roles=["expert"])
    (report,) = await apply(server_project, said)
    assert (report.mark, report.result) == ("~", "updated")
    assert report.changes == (
        "is_active: false -> true",
        "is_verified: false -> true",
        "+expert",
        "-doctor",
    )
    assert flags(server_project, DMITRI) == (True, False, True)
    assert oracle.roles_of(server_project, DMITRI) == {"expert"}


@pytest.mark.parametrize("flag", ["is_active", "is_superuser"])
async def test_losing_rights_revokes_the_sessions(server_project: Project, flag: str) -> None:
    """Deactivated or no longer superuser: the sessions end in the same transaction."""
    await apply(server_project, row(BOB, is_superuser=True))
    owner = oracle.user_id_of(server_project, BOB)
    oracle.add_sessions(server_project, owner, 3, now=FIXTURE_NOW, dead=False)
    had = len(oracle.sessions_of(server_project, BOB))
    others = oracle.tokens(server_project) - {
        s.token for s in oracle.sessions_of(server_project, BOB)
    }
    (report,) = await apply(server_project, row(BOB, **{flag: False}))
    assert report.sessions_revoked == had >= 3
    assert oracle.tokens(server_project) == others


@pytest.mark.parametrize(
    "said", [{"is_superuser": True}, {"roles": ["doctor"]}, {"is_verified": True}]
)
async def test_gaining_rights_keeps_the_sessions(
    server_project: Project, said: dict[str, Any]
) -> None:
    """New rights end no session."""
    before = oracle.tokens(server_project)
    (report,) = await apply(server_project, row(BOB, **said))
    assert (report.result, report.sessions_revoked) == ("updated", 0)
    assert oracle.tokens(server_project) == before


async def test_two_accounts_that_differ_in_case_are_distinguished(server_project: Project) -> None:
    """The exact spelling means its own account; any other would mean both."""
    oracle.add_user(server_project, "ADA@clarinet.example")
    reports = await apply(server_project, row(ADA), row("ADA@clarinet.example", is_verified=True))
    assert [report.email for report in reports] == [ADA, "ADA@clarinet.example"]
    assert flags(server_project, ADA)[2] is False
    error = await refused(server_project, RefusedError, row("Ada@clarinet.example"))
    assert "line 1, column 12 (email)" in error.message
    assert str(oracle.user_id_of(server_project, ADA)) in error.message


async def test_an_old_address_that_is_none_can_be_named(server_project: Project) -> None:
    """An invalid stored address is exported and applied, though it could not be created."""
    oracle.add_user(server_project, "root@server.local")
    (report,) = await apply(server_project, row("root@server.local", is_verified=True))
    assert report.result == "updated"


# --- All or nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind", "expected"),
    [
        (row("no address", password="generate"), InvalidInputError, "(email): 'no address' is not"),
        (row("a@host.local", password="generate"), InvalidInputError, "(email): 'a@host.local'"),
        (row(NEW), InvalidInputError, "(password): the new account new@clarinet.example has no"),
        (row(NEW, password="hunter22"), InvalidInputError, "(password): neither 'generate' nor"),
        (row(NEW, password=HASH[:-1]), InvalidInputError, "(password): neither 'generate' nor"),
        (row(NEW, password="$2b$31$" + "." * 53), InvalidInputError, "bcrypt's cost is 31, not 4"),
        (row(NEW, password="$2b$99$" + "." * 53), InvalidInputError, "(password): neither"),
        (row(NEW, password=SLOW), InvalidInputError, "(password): argon2's t is 20000000, above"),
        (row(NEW, password=SLOW.replace("t=20000000", "t=0")), InvalidInputError, "neither"),
        (row(NEW, password=SLOW.replace("=19", "=99")), InvalidInputError, "(password): neither"),
        (row(NEW, password=HASH, roles=["nope"]), NotFoundError, "(roles): no role 'nope'"),
        (row(BOB, roles=["doctor", "nope"]), NotFoundError, "(roles): no role 'nope'"),
        (row(ADA.upper()), InvalidInputError, "(email): 'ADA@CLARINET.EXAMPLE' is given twice"),
    ],
)
async def test_a_bad_row_stops_everything(
    server_project: Project, bad: dict[str, Any], kind: type[ClarinetError], expected: str
) -> None:
    """The rows before it are not applied either; the message has the line, and no password."""
    good = row(ADA, is_superuser=True, roles=["doctor"])
    error = await refused(server_project, kind, good, row("x@clarinet.example", password=HASH), bad)
    assert error.message.startswith("file: line 1, column ")
    assert expected in error.message
    assert "hunter22" not in f"{error.message} {error.hint}"
    assert HASH[:-1] not in f"{error.message} {error.hint}"


async def test_the_same_new_account_twice_is_refused(server_project: Project) -> None:
    """In any case of the letters: it would be one account."""
    error = await refused(
        server_project,
        InvalidInputError,
        row(NEW, password=HASH),
        row("NEW@clarinet.example", password=HASH),
    )
    assert "is given twice" in error.message


async def test_the_role_admin_comes_into_being_when_it_is_named(project: Project) -> None:
    """As with 'admin create'."""
    oracle.remove_accounts(project)
    oracle.rows(project, "DELETE FROM userrole")
    await apply(project, row(NEW, password=HASH, roles=["admin"]))
    assert oracle.roles_of(project, NEW) == {"admin"}


async def test_a_dry_run_changes_nothing_and_says_all(server_project: Project) -> None:
    """The same rows with the same marks, 'would' in the results, and no password made."""
    rows = (row(NEW, password="generate"), row(DMITRI, is_active=True), row(ADA))
    before = oracle.snapshot(server_project)
    planned = await apply(server_project, *rows, dry_run=True)
    assert oracle.snapshot(server_project) == before
    assert [item.result for item in planned] == ["would_create", "would_update", "unchanged"]
    assert [item.password for item in planned] == [None] * 3
    assert planned[0].id is None
    done = await apply(server_project, *rows)
    assert [(a.mark, a.email, a.changes) for a in planned] == [
        (b.mark, b.email, b.changes) for b in done
    ]


# --- The last superuser, and pruning -------------------------------------------------------


@pytest.mark.parametrize("said", [{"is_superuser": False}, {"is_active": False}])
async def test_the_last_superuser_stays(
    server_project: Project, superuser: str, said: dict[str, Any]
) -> None:
    """No row takes the last active superuser away; one that makes another allows it."""
    error = await refused(
        server_project, RefusedError, row(ADA, is_verified=True), row(superuser, **said)
    )
    assert "superuser" in error.message
    await apply(server_project, row(superuser, **said), row(ADA, is_superuser=True))
    assert flags(server_project, ADA)[:2] == (True, True)
    assert flags(server_project, superuser)[:2] != (True, True)


async def test_a_superuser_who_can_not_log_in_is_no_other_one(
    server_project: Project, superuser: str
) -> None:
    """Neither by a row nor by pruning is the last one taken whose password is verifiable."""
    server_project.rows(
        'UPDATE "user" SET hashed_password = ?, is_superuser = (1 = 1) WHERE email = ?', "!", ADA
    )
    for rows, prune in (([row(superuser, is_active=False)], False), ([row(ADA)], True)):
        error = await refused(server_project, RefusedError, *rows, prune=prune)
        assert error.message == f"no active superuser who can log in would be left: {superuser}"
    new = row(NEW, password="generate", is_superuser=True)
    for dry_run in (True, False):
        await apply(server_project, row(superuser, is_active=False), new, dry_run=dry_run)


async def test_prune_deactivates_accounts_that_are_not_in_the_file(
    server_project: Project, superuser: str
) -> None:
    """Active accounts that no row means are deactivated, and their sessions end."""
    kept = {
        s.token for email in (ADA, superuser) for s in oracle.sessions_of(server_project, email)
    }
    emails = [item[0] for item in oracle.rows(server_project, 'SELECT email FROM "user"')]
    inactive = oracle.tokens(server_project) - kept
    reports = await apply(server_project, row(superuser), row(ADA), prune=True)
    pruned = reports[2:]
    assert [item.email for item in pruned] == sorted(set(emails) - {ADA, superuser, DMITRI})
    assert all(item.changes == ("is_active: true -> false", "not in the file") for item in pruned)
    assert sum(item.sessions_revoked for item in pruned) == len(inactive)
    assert oracle.tokens(server_project) == kept
    for email in emails:
        assert flags(server_project, email)[0] is (email in {ADA, superuser})


async def test_prune_never_takes_the_last_superuser(server_project: Project) -> None:
    """A file that forgets the superuser is refused as a whole."""
    await refused(server_project, RefusedError, row(ADA), prune=True)
    await refused(server_project, RefusedError, prune=True)


# --- Beside others -------------------------------------------------------------------------


def when_hashing(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something while passwords are hashed, before the transaction begins."""
    real = hashing.hash_all

    async def hash_all(
        passwords: Any, settings: Settings, progress: Callable[[int, int], None]
    ) -> list[str]:
        hashed = await real(passwords, settings, progress)
        oracle.apart(work)
        return hashed

    monkeypatch.setattr(applying, "hash_all", hash_all)


async def test_no_transaction_is_open_while_passwords_are_hashed(
    server_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server can write without waiting, and its change is respected."""
    when_hashing(
        monkeypatch,
        lambda: server_project.rows('UPDATE "user" SET is_verified = true WHERE email = ?', ADA),
    )
    reports = await apply(server_project, row(NEW, password="generate"), row(ADA, is_verified=True))
    assert [report.result for report in reports] == ["created", "unchanged"]


async def test_an_account_created_during_the_run_is_updated(
    server_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its password; the generated one is not reported."""
    when_hashing(monkeypatch, lambda: server_project.add_user(NEW, hashed_password=HASH))
    (report,) = await apply(server_project, row(NEW, password="generate", is_verified=True))
    assert (report.result, report.password) == ("updated", None)
    assert oracle.hash_of(server_project, NEW) == HASH


async def test_an_account_deleted_during_the_run_stops_everything(
    server_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no password source: nothing is changed, and a second run succeeds."""
    oracle.add_user(server_project, "gone@clarinet.example")
    rows = (row(NEW, password="generate"), row("gone@clarinet.example", is_verified=True))

    def go() -> None:
        server_project.rows('DELETE FROM "user" WHERE email = ?', "gone@clarinet.example")

    when_hashing(monkeypatch, go)
    with pytest.raises(BusyError):
        await apply(server_project, *rows)
    assert oracle.rows(server_project, 'SELECT 1 FROM "user" WHERE email = ?', NEW) == []


async def test_no_more_hashes_than_cores_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hash takes 64 MiB and the cores already; the progress counts each."""
    lock, now, most = threading.Lock(), 0, 0

    def counted(password: NewPassword, settings: Settings) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        hashed = hash_password(password, settings)
        with lock:
            now -= 1
        return f"{password.text}:{hashed}"

    monkeypatch.setattr(hashing, "hash_password", counted)
    settings = Settings(
        project_dir=".", argon2_time_cost=5, argon2_memory_cost=7168, argon2_parallelism=1
    )
    told: list[tuple[int, int]] = []
    passwords = [NewPassword(f"password {number}") for number in range(40)]
    hashes = await hashing.hash_all(passwords, settings, lambda *counts: told.append(counts))
    assert [text.partition(":")[0] for text in hashes] == [item.text for item in passwords]
    assert most <= len(os.sched_getaffinity(0))
    assert told == [(number, 40) for number in range(1, 41)]


@pytest.mark.parametrize("plan", [{}, {"dry_run": True}])
async def test_the_progress_of_an_update_is_reported(
    server_project: Project, plan: dict[str, bool]
) -> None:
    """A long file without new passwords counts its rows, then the changes that are written."""
    emails = [f"user{number}@clarinet.example" for number in range(600)]
    await apply(server_project, *(row(email, password=HASH) for email in emails))
    rows = [row(email, is_verified=True, roles=["doctor"]) for email in emails]
    declared = read_accounts(json.dumps(rows).encode(), "file")
    seen: list[tuple[int, int, str]] = []
    await apply_accounts(
        server_project.settings,
        declared,
        ApplyPlan(**plan),
        progress=lambda *counts: seen.append(counts),
    )
    phases = dict.fromkeys(phase for _, _, phase in seen)
    assert list(phases) == ["comparing accounts", "writing changes"]
    written = [(done, total) for done, total, phase in seen if phase == "writing changes"]
    assert written[0] == (0, 1200)
    assert written[-1] == (1200, 1200)
    assert len(written) > 3
    assert written == sorted(written)


@pytest.mark.parametrize("plan", [{}, {"prune": True}, {"dry_run": True}])
async def test_what_changes_nothing_waits_for_no_writer(
    project: Project, plan: dict[str, bool]
) -> None:
    """No lock for writing is taken, neither of the database nor of a row."""
    exported = [row("admin@clarinet.ru", is_superuser=True, roles=["admin"])]
    async with oracle.held_transaction(project, 'UPDATE "user" SET is_verified = is_verified'):
        (report,) = await apply(project, *exported, **plan)
    assert report.result == "unchanged"


async def test_no_statement_is_made_for_each_change(project: Project) -> None:
    """Many accounts are created, changed and pruned in as many statements as a few."""
    counts = []
    for number in (3, 40):
        emails = [f"user{number}-{each}@clarinet.example" for each in range(3 * number)]
        for email in emails[number:]:
            oracle.add_session(project, oracle.add_user(project, email))
        kept = row("admin@clarinet.ru")
        rows = [
            row(email, password=HASH, roles=["doctor"], is_active=False)
            for email in emails[: 2 * number]
        ]
        made: list[str] = []
        note = partial(_note, made)
        event.listen(Engine, "before_cursor_execute", note)
        reports = await apply(project, kept, *rows, prune=True)
        event.remove(Engine, "before_cursor_execute", note)
        results = Counter(report.result for report in reports)
        assert results == {"unchanged": 1, "created": number, "updated": 2 * number}
        assert sum(report.sessions_revoked for report in reports) == 2 * number
        counts.append(len(made))
    assert counts[0] == counts[1]


def _note(made: list[str], *arguments: Any) -> None:
    made.append(arguments[2])


async def test_no_statement_is_made_for_each_row(project: Project) -> None:
    """Rows that are unchanged cost no query of their own."""
    emails = [f"user{number}@clarinet.example" for number in range(30)]
    for email in emails:
        oracle.add_user(project, email)
    counts = []
    for number in (3, 30):
        some = read_accounts(json.dumps([row(email) for email in emails[:number]]).encode(), "file")
        async with oracle.writing(project) as session:
            with oracle.selects(session) as made:
                states = await UserRepository(session).states()
                match_rows(states, normalise_rows(some, lambda *_: None), RowErrors())
                await _nothing(session)
        counts.append(len(made))
    assert counts[0] == counts[1]


async def _nothing(session: AsyncSession) -> Optional[Awaitable[None]]:
    """Query the superusers, as every application does."""
    await UserRepository(session).active_superusers()
    return None
