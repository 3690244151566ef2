"""Each address and password that the tool accepts can log in at the server."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tests.oracle import remove_accounts, snapshot
from tests.server.spellings import FORMS
from tests.server.visits import Server
from tests.support import Project

FEW: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
ADMIN = "admin@clarinet.ru"
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
PASSWORDS = st.one_of(
    st.text(LETTERS, min_size=8, max_size=40),
    st.text(LETTERS, min_size=900, max_size=1024),
    st.text(st.sampled_from(" \t\r\n\v\f\u00a0\u2028\ufeff"), min_size=8, max_size=20),
    st.text(st.sampled_from("&=+%;#?\"'\\/<>$"), min_size=8, max_size=20),
    st.text(st.sampled_from("e\u0301\u0308u\u00fc\u200d\U0001f986\U0010ffff"), min_size=8),
)
LOCAL = st.text(
    st.one_of(
        st.characters(categories=["L", "N"]), st.sampled_from("!#$%&'*+-/=?^_`{|}~.\u0301\u0308")
    ),
    min_size=1,
    max_size=40,
)
TAKEN = [
    "".join(chr(0x4E00 + i * 7919 % 20000) for i in range(1024)),
    "\v\f  8 \u00a0&=+% \ufeff",
    "50%+50% = 1&x",
]
ADDRESSES = st.one_of(
    st.emails(),
    st.builds(
        "{}@{}".format,
        LOCAL,
        st.sampled_from(
            [
                "example.org",
                "B\u00dcCHER.example.org",
                "xn--bcher-kva.example.org",
                "a.b.example.de",
            ]
        ),
    ),
    st.text(max_size=40),
    st.builds("{}@{}".format, LOCAL, st.text(max_size=20)),
)


def as_piped(text: str) -> bytes:
    """Return a password with the one line end that the tool takes away."""
    return (text + "\r\n").encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("password", TAKEN)
def test_an_odd_password_is_accepted(project: Project, password: str) -> None:
    """A password that is hard to guess is accepted, with any letters and blanks."""
    done = project.run("admin", "reset-password", "--password-stdin", stdin=as_piped(password))
    assert done.code == 0, done


@effort(max_examples=10, **FEW)
@given(password=PASSWORDS)
@example(password=TAKEN[0])
@example(password=TAKEN[1])
@example(password=TAKEN[2])
@example(password="\n\r\n  8 \n\r")
def test_any_password_that_is_accepted_logs_in(project: Project, password: str) -> None:
    """The form carries it, the server verifies it, and a shorter one is refused.

    One that is refused, with several lines or easy to guess, cannot log in.
    """
    server = Server(project)
    done = project.run("admin", "reset-password", "--password-stdin", stdin=as_piped(password))
    if done.code != 0:
        assert done.code == 2, done
        assert server.log_in(ADMIN, password) is None
        return
    cookie = server.log_in(ADMIN, password)
    assert cookie is not None
    assert server.accepts(cookie)
    assert server.log_in(ADMIN, password[:-1]) is None


@effort(max_examples=20, **FEW)
@given(
    password=st.one_of(
        st.text(LETTERS, max_size=7),
        st.text(LETTERS, min_size=1025, max_size=1100),
        st.text(LETTERS, min_size=7, max_size=20).map(lambda text: text + "\0"),
        st.just(ADMIN.upper()),
        st.text(LETTERS, min_size=8, max_size=20).map(lambda text: text + "\ud800"),
    )
)
def test_a_password_that_is_refused_changes_nothing(project: Project, password: str) -> None:
    """No row differs afterwards, and the exit code is that of an invalid value."""
    before = snapshot(project)
    done = project.run("admin", "reset-password", "--password-stdin", stdin=as_piped(password))
    assert (done.code, done.stdout) == (2, "")
    assert snapshot(project) == before


@effort(max_examples=15, **FEW)
@given(address=ADDRESSES)
@example(address="u\u0308ber@xn--bcher-kva.example.org")
@example(address="-o@example.org")
@example(address="a=b&c+d%20@example.org")
def test_any_address_that_is_accepted_logs_in(project: Project, address: str) -> None:
    """The account logs in under the reported address; a refusal changes nothing."""
    before = snapshot(project)
    command = ("admin", "create", "-o", "json", "--generate-password")
    done = project.run(*command, f"--email={address}")
    if done.code != 0:
        assert done.code in {2, 4}, done
        assert snapshot(project) == before
        return
    server = Server(project)
    cookie = server.log_in(done.json["email"], done.json["password"])
    assert cookie is not None
    found = server.who_is(cookie)
    assert found is not None
    assert (found["email"], found["id"]) == (done.json["email"], done.json["id"])


@effort(max_examples=10, **FEW)
@given(
    address=ADDRESSES,
    forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=2),
)
@example(address="\u0130i@example.org", forms=[lambda text: text.replace("\u0130", "i")])
@example(address="\u03a3\u0391\u03a3@example.org", forms=[str.lower])
@example(address="\u00e9lan@example.org", forms=[str.upper])
def test_two_accounts_never_shut_each_other_out(
    project: Project, address: str, forms: list[Callable[[str], str]]
) -> None:
    """Where the tool takes another form for another account, the server does so too."""
    remove_accounts(project)
    command = ("admin", "create", "-o", "json", "--generate-password")
    other = reduce(lambda text, form: form(text), forms, address)
    done = [project.run(*command, f"--email={text}") for text in (address, other)]
    assert {result.code for result in done} <= {0, 2, 4}, done
    server = Server(project)
    for account in [result.json for result in done if result.code == 0]:
        cookie = server.log_in(account["email"], account["password"])
        found = server.who_is(cookie or "")
        assert found is not None
        assert found["id"] == account["id"]
