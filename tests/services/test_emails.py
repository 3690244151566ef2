"""E-mail addresses: what is accepted, and the form that is stored."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import EmailStr, TypeAdapter

from clarinet_cli.exceptions import InvalidInputError
from clarinet_cli.services.accounts.resolve import normalise_email
from tests.support import Project

SERVER: TypeAdapter[str] = TypeAdapter(EmailStr)


def attempt(text: str) -> str | InvalidInputError:
    """Return the stored form, or the refusal."""
    try:
        return normalise_email(text)
    except InvalidInputError as error:
        return error


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("ada@example.org", "ada@example.org"),
        ("Ada.Lovelace@Example.ORG", "Ada.Lovelace@example.org"),
        ("ada+cron@mail.example.org", "ada+cron@mail.example.org"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("жанна@почта.рф", "жанна@почта.рф"),
        ("ada@xn--80a1acny.xn--p1ai", "ada@почта.рф"),
        ("u\u0308nal@example.org", "\u00fcnal@example.org"),
        ("ada@ＥＸＡＭＰＬＥ.org", "ada@example.org"),  # noqa: RUF001 - full-width letters
        ("admin@clarinet.ru", "admin@clarinet.ru"),
    ],
)
def test_an_address_is_stored_as_the_server_stores_it(text: str, stored: str) -> None:
    """The domain in lower case and Unicode, the local part composed and in its own case."""
    assert normalise_email(text) == stored == SERVER.validate_python(text)


@pytest.mark.parametrize(
    "text",
    [
        "nobody",
        "",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "ada@localhost",
        "ada example@example.org",
        "ada@example..org",
        ".ada@example.org",
        "ada@[127.0.0.1]",
        "ada@example.org\n",
        "ada\x00@example.org",
        "ada@exam ple.org",
        "ada@" + "a" * 64 + ".org",
        "ada@" + "a." * 200 + "org",
        "\udcff@example.org",
        "ada@\udcff.org",
        "Ada <ada@example.org>",
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str) -> None:
    """The error repeats what was typed, escaped, and gives the reason."""
    with pytest.raises(InvalidInputError) as caught:
        normalise_email(text)
    message = caught.value.message
    assert repr(text) in message
    start, _, reason = message.partition(" is not a usable e-mail address: ")
    assert (start, bool(reason.strip())) == (repr(text), True)


@pytest.mark.parametrize(
    "domain", ["clinic.local", "printer.local", "example.test", "a.invalid", "a.localhost"]
)
def test_a_special_use_domain_is_refused_with_that_reason(domain: str) -> None:
    """Such an address would later break the server's own responses."""
    with pytest.raises(InvalidInputError, match="special-use or reserved"):
        normalise_email(f"ada@{domain}")


@effort(max_examples=400, deadline=None)
@given(
    text=st.one_of(
        st.text(),
        st.emails(),
        st.tuples(st.text(min_size=1), st.text(min_size=1)).map("@".join),
        st.text(st.characters(), min_size=1).map(lambda local: f"{local}@example.org"),
        st.text(st.characters(), min_size=1).map(lambda domain: f"ada@{domain}.org"),
        st.binary().map(lambda data: data.decode("utf-8", "surrogateescape") + "@a.org"),
    )
)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """What is accepted is what the server would store, and stays so; all else is one error."""
    outcome = attempt(text)
    if isinstance(outcome, InvalidInputError):
        assert repr(text) in outcome.message
    else:
        assert outcome == SERVER.validate_python(text) == normalise_email(outcome)


@pytest.mark.parametrize("address", ["nobody", "ada@clinic.local"])
def test_no_account_is_made_with_an_unusable_address(project: Project, address: str) -> None:
    """'admin create' refuses it as a usage error, and no row is written."""
    before = project.rows('SELECT email FROM "user"')
    result = project.run("admin", "create", "--email", address, "--generate-password")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: '{address}' is not a usable e-mail address: ")
    assert project.rows('SELECT email FROM "user"') == before


def test_the_normal_form_is_what_is_stored(project: Project) -> None:
    """The row has the form that the server would compare with."""
    account = project.json(
        "admin", "create", "--email", "Ada@EXAMPLE.Org", "--password-stdin", stdin="long enough 1"
    )
    assert account["email"] == "Ada@example.org"
    rows = project.rows('SELECT email FROM "user" WHERE email <> ?', "admin@clarinet.ru")
    assert rows == [("Ada@example.org",)]
