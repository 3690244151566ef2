"""Queries on accounts: by address, by digits of the UUID, and as rows to be shown."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from clarinet_cli.models import User
from clarinet_cli.repositories.account_listing import FETCH_SIZE, AccountListing
from clarinet_cli.repositories.expiry_policy import ExpiryPolicy
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import UserRow
from tests import oracle
from tests.oracle import IDLE_LIMIT
from tests.support import FIXTURE_NOW, Project

ELAN = "ëlan@clarinet.example"
AT_FIXTURE_NOW = ExpiryPolicy(now=FIXTURE_NOW, idle_after=IDLE_LIMIT)


async def emails_of(project: Project, email: str) -> list[str]:
    """Return the addresses of the accounts that an address means."""
    async with oracle.writing(project) as session:
        return [user.email for user in await UserRepository(session).find_by_email(email)]


async def ids_of(project: Project, digits: str) -> set[UUID]:
    """Return the ids of the accounts that the first digits of a UUID mean."""
    async with oracle.writing(project) as session:
        found = await UserRepository(session).find_by_id_prefix(digits)
        return {UUID(str(user.id)) for user in found}


async def user_rows(
    project: Project, policy: ExpiryPolicy = AT_FIXTURE_NOW, *, superusers_only: bool = False
) -> list[UserRow]:
    """Return the rows that a listing shows."""
    async with oracle.writing(project) as session:
        return await AccountListing(session).rows(policy, superusers_only=superusers_only)


def add_user_with_id(project: Project, digits: str) -> UUID:
    """Insert an account whose id is given."""
    user_id = UUID(digits)
    oracle.rows(
        project,
        'INSERT INTO "user" (email, hashed_password, is_active, is_superuser, is_verified, id)'
        " VALUES (?, '!', (1 = 1), (1 = 0), (1 = 0), ?)",
        f"{digits}@clarinet.example",
        user_id,
    )
    return user_id


async def test_an_address_is_found_in_any_case(server_project: Project) -> None:
    """The server compares addresses without regard to case, and so does the query."""
    for typed in ("ada@clarinet.example", "Ada@clarinet.example", "ADA@CLARINET.EXAMPLE"):
        assert await emails_of(server_project, typed) == ["ada@clarinet.example"]


@pytest.mark.parametrize("stored", [ELAN, "ËLAN@clarinet.example"])
async def test_letters_beyond_ascii_are_found_in_any_case(project: Project, stored: str) -> None:
    """SQLite's lower() folds ASCII only; the query folds all letters on both backends."""
    oracle.add_user(project, stored)
    for typed in (ELAN, "ËLAN@clarinet.example", "ËLan@CLARINET.EXAMPLE"):
        assert await emails_of(project, typed) == [stored]


async def test_the_exact_spelling_wins(project: Project) -> None:
    """Of two accounts that differ in case only, the one that was typed is meant."""
    both = ("dora@clarinet.example", "DORA@clarinet.example")
    for email in both:
        oracle.add_user(project, email)
    for typed in both:
        assert await emails_of(project, typed) == [typed]


async def test_a_third_spelling_means_both_accounts(project: Project) -> None:
    """An address that neither account is spelt like is ambiguous."""
    both = {"dora@clarinet.example", "DORA@clarinet.example"}
    for email in both:
        oracle.add_user(project, email)
    assert set(await emails_of(project, "Dora@clarinet.example")) == both


async def test_an_unknown_address_finds_nothing(server_project: Project) -> None:
    """The whole address has to match, and '%' is a letter like any other."""
    for typed in ("nobody@clarinet.example", "ada@clarinet", "%@clarinet.example", "a_a@x"):
        assert await emails_of(server_project, typed) == []


async def test_a_prefix_of_the_uuid_finds_its_account(server_project: Project) -> None:
    """Eight or more digits mean the account whose UUID begins with them, and no other."""
    for _, user_id in every_account(server_project):
        for length in (8, 13, 32):
            assert await ids_of(server_project, user_id.hex[:length]) == {user_id}


async def test_a_prefix_means_all_accounts_that_begin_with_it(project: Project) -> None:
    """Accounts with the same first digits are all returned, their neighbours are not."""
    first = add_user_with_id(project, "abcdef12" + "0" * 24)
    last = add_user_with_id(project, "abcdef12" + "f" * 24)
    add_user_with_id(project, "abcdef11" + "f" * 24)
    add_user_with_id(project, "abcdef13" + "0" * 24)
    assert await ids_of(project, "abcdef12") == {first, last}


async def test_a_prefix_that_reads_like_a_number_finds_only_its_account(project: Project) -> None:
    """SQLite's UUID column has numeric affinity; digits are compared as digits all the same."""
    prefixes = ("00000000", "12345678", "1234567e", "23456789012", "99999999")
    expected = {
        prefix: {add_user_with_id(project, prefix.ljust(31, "a") + "b")} for prefix in prefixes
    }
    expected["55555555"] = set()
    assert {prefix: await ids_of(project, prefix) for prefix in expected} == expected


async def test_an_unknown_prefix_finds_nothing(server_project: Project) -> None:
    """Digits that no UUID begins with find no account."""
    assert await ids_of(server_project, "deadbeef") == set()


async def test_rows_have_roles_live_sessions_and_last_access(server_project: Project) -> None:
    """Each account has its own roles, its own live sessions and its own last access."""
    oracle.deactivate(server_project, "bob@clarinet.example")
    sessions = oracle.raw_sessions(server_project)
    expected = {}
    for email, user_id in every_account(server_project):
        own = [item for item in sessions if item.user_id == user_id]
        expected[email] = (
            oracle.roles_of(server_project, email),
            sum(item.state(FIXTURE_NOW) == "active" for item in own),
            max((item.last_accessed for item in own), default=None),
        )
    found = {
        row.email: (set(row.roles), row.sessions, row.last_accessed)
        for row in await user_rows(server_project)
    }
    assert found == expected
    assert found["bob@clarinet.example"][1] == 0
    assert found["ada@clarinet.example"][1] == 4
    assert found["dmitri@clarinet.example"][2] is None


async def test_rows_have_the_flags_of_each_account(server_project: Project) -> None:
    """Active, superuser and verified are those of the database, as booleans."""
    oracle.deactivate(server_project, "ada@clarinet.example")
    for row in await user_rows(server_project):
        expected = oracle.account(server_project, row.email)[:3]
        assert (row.is_active, row.is_superuser, row.is_verified) == expected


async def test_rows_are_ordered_by_address(server_project: Project) -> None:
    """Accounts come in the order of their addresses, each one once."""
    emails = [row.email for row in await user_rows(server_project)]
    assert emails == sorted(email for email, _ in every_account(server_project))


async def test_rows_of_superusers_omit_all_others(server_project: Project) -> None:
    """Only accounts with the superuser flag are listed, inactive ones too."""
    admin = next(row for row in await user_rows(server_project) if row.is_superuser)
    former = oracle.add_user(
        server_project, "former@clarinet.example", superuser=True, active=False
    )
    found = await user_rows(server_project, superusers_only=True)
    assert {UUID(str(row.id)) for row in found} == {UUID(str(admin.id)), former}


async def test_rows_are_one_statement(server_project: Project) -> None:
    """Roles, sessions and accounts are read in one statement, however many accounts."""
    async with oracle.writing(server_project) as session:
        with oracle.selects(session) as seen:
            found = await AccountListing(session).rows(AT_FIXTURE_NOW, superusers_only=False)
    assert len(found) >= 5
    assert len(seen) == 1, seen


async def test_a_long_listing_is_one_statement_too(project: Project) -> None:
    """More accounts than are fetched at once, with roles and sessions: still one."""
    oracle.apart(lambda: add_many(project, 2 * FETCH_SIZE + 1))
    async with oracle.writing(project) as session:
        with oracle.selects(session) as seen:
            stream = AccountListing(session).stream(AT_FIXTURE_NOW, superusers_only=False)
            found = [row async for some in stream for row in some]
    assert len(found) == 2 * FETCH_SIZE + 2
    assert {row.roles for row in found} == {("admin",), ("doctor",)}
    assert len(seen) == 1, seen


def add_many(project: Project, number: int) -> None:
    """Insert accounts with a role, in two statements."""
    ids = [uuid4() for _ in range(number)]
    stored = [str(user) if project.server else user.hex for user in ids]
    users = ", ".join(f"('{n}@x.example', '!', (1=1), (1=0), (1=0), '{n}')" for n in stored)
    links = ", ".join(f"('{n}', 'doctor')" for n in stored)
    names = "email, hashed_password, is_active, is_superuser, is_verified, id"
    project.rows(f'INSERT INTO "user" ({names}) VALUES {users}')
    project.rows(f"INSERT INTO userroleslink (user_id, role_name) VALUES {links}")


async def test_an_exact_address_is_found_by_the_index(server_project: Project) -> None:
    """One statement, which the unique index on the address answers, however many accounts."""
    async with oracle.writing(server_project) as session:
        with oracle.selects(session) as seen:
            found = await UserRepository(session).find_by_email("ada@clarinet.example")
        assert [user.email for user in found] == ["ada@clarinet.example"]
        [statement] = seen
        if server_project.server is not None:
            # Five rows are read faster without an index: ask whether one could serve.
            await session.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if server_project.server else "EXPLAIN QUERY PLAN"
        connection = await session.connection()
        plan = await connection.exec_driver_sql(f"{explain} {statement}", ("ada@clarinet.example",))
        shown = " ".join(str(row) for row in plan)
    assert "ix_user_email" in shown, shown
    assert "SCAN user" not in shown


async def test_several_roles_and_sessions_do_not_multiply(project: Project) -> None:
    """An account with three roles and four sessions is one row with three and four."""
    user_id = oracle.add_user(project, "busy@clarinet.example")
    for role in ("doctor", "expert", "auto"):
        oracle.rows(project, "INSERT INTO userroleslink VALUES (?, ?)", user_id, role)
    oracle.add_sessions(project, user_id, 4, now=FIXTURE_NOW, dead=False)
    oracle.add_sessions(project, user_id, 2, now=FIXTURE_NOW, dead=True)
    row = next(row for row in await user_rows(project) if row.email == "busy@clarinet.example")
    assert (row.roles, row.sessions) == (("auto", "doctor", "expert"), 4)


async def test_role_names_with_odd_letters_stay_whole(project: Project) -> None:
    """Commas, spaces and quotes in a role's name don't split it."""
    names = ("a, b", "c;d", 'e"f', "é g")
    user_id = oracle.add_user(project, "odd@clarinet.example")
    for name in names:
        oracle.rows(project, "INSERT INTO userrole VALUES (?)", name)
        oracle.rows(project, "INSERT INTO userroleslink VALUES (?, ?)", user_id, name)
    row = next(row for row in await user_rows(project) if row.email == "odd@clarinet.example")
    assert row.roles == tuple(sorted(names))


async def test_live_sessions_follow_the_idle_limit(project: Project) -> None:
    """A session unused for longer than the limit is not counted; without a limit it is."""
    user_id = oracle.add_user(project, "idle@clarinet.example")
    for minutes in (30, 90):
        oracle.add_session(project, user_id, now=FIXTURE_NOW, used=timedelta(minutes=minutes))
    limits = {None: 2, timedelta(minutes=60): 1, timedelta(minutes=1): 0}
    for idle, live in limits.items():
        found = await user_rows(project, ExpiryPolicy(now=FIXTURE_NOW, idle_after=idle))
        row = next(row for row in found if row.email == "idle@clarinet.example")
        assert (row.sessions, idle) == (live, idle)
        assert row.last_accessed == FIXTURE_NOW - timedelta(minutes=30)


async def test_last_access_is_aware_utc(server_project: Project) -> None:
    """Timestamps leave the database aware of their time zone on both backends."""
    seen = [row.last_accessed for row in await user_rows(server_project) if row.last_accessed]
    assert seen
    assert all(instant.utcoffset() == timedelta(0) for instant in seen)


async def test_active_superusers_are_both(project: Project) -> None:
    """Inactive superusers and active people without the flag cannot administer."""
    for email, active, superuser in (
        ("off@clarinet.example", False, True),
        ("plain@clarinet.example", True, False),
        ("second@clarinet.example", True, True),
    ):
        oracle.add_user(project, email, active=active, superuser=superuser)
    async with oracle.writing(project) as session:
        found = {user.email for user in await UserRepository(session).active_superusers()}
    assert found == {"admin@clarinet.ru", "second@clarinet.example"}


async def test_a_repository_does_not_commit(project: Project) -> None:
    """What a repository inserts is gone when the caller rolls back."""
    before = oracle.snapshot(project)
    async with oracle.writing(project, dry_run=True) as session:
        await UserRepository(session).add(User(email="ghost@clarinet.example", hashed_password="!"))
        assert len(await UserRepository(session).find_by_email("ghost@clarinet.example")) == 1
    assert oracle.snapshot(project) == before


def every_account(project: Project) -> list[tuple[str, UUID]]:
    """Return address and id of every account."""
    found = oracle.rows(project, 'SELECT email, id FROM "user"')
    return [(row[0], UUID(str(row[1]))) for row in found]
