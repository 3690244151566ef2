"""USER: every spelling that means an account, and those that mean none or too many."""

from uuid import UUID

import pytest

from clarinet_cli.exceptions import NotFoundError, RefusedError
from clarinet_cli.services.accounts import changes
from tests import oracle
from tests.operations import account_detail, change_account
from tests.support import Project

STORED = "ünal.öz@bücher.example"
ID = UUID("abcdef12-3456-4000-8000-00000000000a")
SPELLINGS = {
    "as stored": STORED,
    "capitals": "ÜNAL.ÖZ@BÜCHER.EXAMPLE",
    "some capitals": "Ünal.Öz@Bücher.Example",
    "decomposed": "u\u0308nal.o\u0308z@bu\u0308cher.example",
    "decomposed capitals": "U\u0308NAL.O\u0308Z@BU\u0308CHER.EXAMPLE",
    "ASCII domain": "ünal.öz@xn--bcher-kva.example",
    "wide domain": "ünal.öz@bücher．example",  # noqa: RUF001 - a full stop of its own
    "UUID": str(ID),
    "UUID in capitals": str(ID).upper(),
    "UUID without dashes": ID.hex,
    "8 digits": "abcdef12",
    "digits and a dash": "ABCDEF12-34",
    "all digits but one": str(ID)[:-1],
}


@pytest.fixture
def named(project: Project) -> Project:
    """A project with one account that can be named in many ways, and one that is close."""
    for email, user_id in ((STORED, ID), ("unal.oz@bucher.example", None)):
        added = oracle.add_user(project, email)
        if user_id is not None:
            oracle.rows(project, 'UPDATE "user" SET id = ? WHERE id = ?', user_id, added)
    return project


@pytest.mark.parametrize("name", SPELLINGS)
async def test_a_spelling_means_the_account(named: Project, name: str) -> None:
    """It is found, and only it is changed."""
    assert (await account_detail(named.settings, SPELLINGS[name])).id == ID
    change = await change_account(named.settings, SPELLINGS[name], changes.promote)
    assert (change.id, change.email, change.result) == (ID, STORED, "updated")
    promoted = oracle.rows(named, 'SELECT email FROM "user" WHERE is_superuser')
    assert set(promoted) == {("admin@clarinet.ru",), (STORED,)}


@pytest.mark.parametrize(
    "who",
    [
        "",
        "abcdef1",
        "abcdef13",
        "bcdef123",
        f"{ID}0",
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f" {ID}",
        f"{ID}\n",
        "ａｂｃｄｅｆ１２",  # noqa: RUF001 - wide letters and digits
        "????????",
        "%",
        "_" * 8,
        "ünal.öz",
        f"{STORED}.",
        f"{STORED}\0",
        "ünal.öz@bücher.example\udcff",
    ],
)
async def test_similar_identifiers_match_no_account(named: Project, who: str) -> None:
    """Not found, and nothing changes."""
    before = oracle.snapshot(named)
    with pytest.raises(NotFoundError, match="no user"):
        await change_account(named.settings, who, changes.promote)
    assert oracle.snapshot(named) == before


async def test_several_accounts_are_refused_with_the_matches(named: Project) -> None:
    """An address in a third case, or the digits of two ids: each match with its whole UUID."""
    other = UUID("abcdef12-9999-4000-8000-00000000000b")
    added = oracle.add_user(named, STORED.upper())
    oracle.rows(named, 'UPDATE "user" SET id = ? WHERE id = ?', other, added)
    before = oracle.snapshot(named)
    for who in (STORED.title(), "abcdef12"):
        with pytest.raises(RefusedError, match="is ambiguous") as caught:
            await change_account(named.settings, who, changes.delete)
        for part in (STORED, STORED.upper(), str(ID), str(other)):
            assert part in caught.value.message
        assert caught.value.hint == "give the whole UUID"
    assert oracle.snapshot(named) == before


async def test_a_whole_uuid_or_an_exact_address_is_never_ambiguous(named: Project) -> None:
    """What the refusal asks for works."""
    added = oracle.add_user(named, STORED.upper())
    change = await change_account(named.settings, str(added), changes.promote)
    assert (change.id, change.email) == (added, STORED.upper())
    change = await change_account(named.settings, STORED, changes.promote)
    assert (change.id, change.email) == (ID, STORED)
