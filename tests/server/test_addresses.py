"""The spellings of an address that the server accepts, and the account that the tool finds."""

import asyncio
from collections.abc import Callable
from functools import reduce

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tests.operations import find_account
from tests.oracle import add_user, remove_accounts
from tests.server.spellings import FORMS
from tests.server.tables import UserDatabase, make_engine
from tests.server.visits import accepts, log_in, logged_in
from tests.support import PASSWORD, Project

CREATE = ("admin", "create", "--password-stdin", "--email")
BOTH = {"sqlite", "postgresql"}
# typed at the tool, stored by it, and the backends whose server takes it as typed
SPELLINGS = [
    ("ada@example.org", "ada@example.org", BOTH),
    ("ADA@Example.ORG", "ADA@example.org", BOTH),
    ("\u00dcn\u00efc\u00f6de@example.org", "\u00dcn\u00efc\u00f6de@example.org", BOTH),
    ("U\u0308ni\u0308@example.org", "\u00dcn\u00ef@example.org", set()),
    ("\u0410\u0434\u0430@example.org", "\u0410\u0434\u0430@example.org", BOTH),
    ("ada@b\u00fccher.example.org", "ada@b\u00fccher.example.org", BOTH),
    ("ada@BU\u0308CHER.example.org", "ada@b\u00fccher.example.org", set()),
    ("ada@B\u00dcCHER.example.org", "ada@b\u00fccher.example.org", {"postgresql"}),
    ("ada@xn--bcher-kva.example.org", "ada@b\u00fccher.example.org", set()),
    ("ADA@XN--BCHER-KVA.example.org", "ADA@b\u00fccher.example.org", set()),
    ("ada@example\u3002org", "ada@example.org", set()),
    ("\u212aurt@example.org", "Kurt@example.org", {"postgresql"}),
    ("ΣΑΣ@example.org", "ΣΑΣ@example.org", BOTH),
    ("İi@example.org", "İi@example.org", BOTH),
    ("stra\u00dfe@example.org", "stra\u00dfe@example.org", BOTH),
]


@pytest.mark.parametrize(("typed", "stored", "taken_by"), SPELLINGS)
def test_an_account_logs_in_as_stored_and_where_the_server_folds_as_typed(
    project: Project, typed: str, stored: str, taken_by: set[str]
) -> None:
    """The server folds only case; the tool reports the stored form and finds both."""
    created = project.json(*CREATE, typed, stdin=PASSWORD)
    assert created["email"] == stored
    assert accepts(project, logged_in(project, stored, PASSWORD))
    assert (log_in(project, typed, PASSWORD) is not None) == (project.backend in taken_by)
    for spelling in (typed, stored):
        found = project.json("admin", "create", "--if-not-exists", "--email", spelling)
        assert (found["id"], found["result"]) == (created["id"], "unchanged")


@pytest.mark.parametrize(
    "stored",
    [
        "U\u0308ni\u0308@example.org",
        "ada@xn--bcher-kva.example.org",
        "ada@B\u00dcCHER.example.org",
        "Ada@EXAMPLE.org",
        "ada@clinic.local",
    ],
)
def test_an_address_that_is_stored_in_another_form_is_found_as_the_server_finds_it(
    project: Project, stored: str
) -> None:
    """An import may have left it so: the server logs it in, so the tool has to find it."""
    hashed = project.rows('SELECT hashed_password FROM "user"')[0][0]
    user_id = project.add_user(stored, hashed_password=hashed)
    cookie = logged_in(project, stored, PASSWORD)
    report = project.json("session", "revoke-user", stored)
    assert (report["result"], report["sessions_revoked"]) == ("revoked", 1)
    assert project.rows("SELECT user_id FROM access_token WHERE user_id = ?", user_id) == []
    assert not accepts(project, cookie)


def test_the_spelling_that_the_server_takes_wins_over_the_normal_one(project: Project) -> None:
    """Two accounts whose normal forms are one: each is found under its own spelling."""
    decomposed, composed = "u\u0308@example.org", "\u00fc@example.org"
    ids = {stored: str(project.add_user(stored)) for stored in (decomposed, composed)}
    for stored, user_id in ids.items():
        change = project.json(
            "admin", "reset-password", stored, "--any-user", "--generate-password"
        )
        assert (change["id"], change["email"]) == (user_id, stored)
        assert accepts(project, logged_in(project, stored, change["password"]))


LETTERS = st.characters(exclude_characters="\0@", exclude_categories=["Cs"])
ADDRESSES = st.builds(
    "{}@{}".format,
    st.one_of(st.text(LETTERS, min_size=1, max_size=12), st.sampled_from(["u\u0308", "ΣΑΣ", "İ"])),
    st.sampled_from(["example.org", "B\u00dcCHER.example.org", "xn--bcher-kva.example.org"]),
)


@effort(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    stored=ADDRESSES,
    before=st.sampled_from(FORMS),
    after=st.lists(st.sampled_from(FORMS), max_size=2),
)
def test_the_tool_finds_every_account_that_the_server_finds(
    project: Project, stored: str, before: Callable[[str], str], after: list[Callable[[str], str]]
) -> None:
    """With any stored text the tool finds every account that the server finds."""
    remove_accounts(project)
    stored = before(stored)
    user_id = add_user(project, stored)
    typed = reduce(lambda text, form: form(text), after, stored)
    server = UserDatabase(make_engine(project))
    if asyncio.run(server.get_by_email(typed)) is None:
        assert typed != stored
        return
    found = asyncio.run(find_account(project.settings, typed))
    assert found.id == user_id
