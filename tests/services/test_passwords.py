"""Passwords: the policy, generated ones, and the hash that the server verifies."""

import re
import string
from pathlib import Path
from typing import Optional
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from zxcvbn import matching

from clarinet_cli.exceptions import InvalidInputError
from clarinet_cli.services.accounts.passwords import (
    COMMON_PASSWORDS,
    NewPassword,
    check_password,
    generate_password,
    hash_password,
)
from clarinet_cli.settings import Settings, load_settings
from tests.faults.processes import chance
from tests.support import CHEAP_ARGON2, Project

EMAIL = "ada@example.org"
CANARY = "c4n4ry"
SERVER = PasswordHash((Argon2Hasher(), BcryptHasher()))
# Any text that can be a password: no NUL, no half of a surrogate pair.
LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
HASH = re.compile(r"\$(argon2\w+)\$v=(\d+)\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)")


@pytest.fixture(scope="module")
def cheap(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose hashes cost as little as is allowed."""
    return configured(tmp_path_factory.mktemp("cheap"), CHEAP_ARGON2)


def configured(directory: Path, toml: str) -> Settings:
    """Return settings from this text."""
    (directory / "settings.toml").write_text(toml)
    return load_settings(directory)


def refusal(text: str, *, email: str = EMAIL, strong: bool = False) -> str:
    """Return all that the refusal of a password can show."""
    with pytest.raises(InvalidInputError) as caught:
        check_password(text, email=email, strong=strong)
    error = caught.value
    assert (error.__cause__, len(error.message.splitlines())) == (None, 1)
    return f"{error.message} {error.hint} {error!r}"


def attempt(text: str, *, strong: bool) -> Optional[InvalidInputError]:
    """Return the refusal of a password, or None when it is accepted."""
    try:
        check_password(text, email=EMAIL, strong=strong)
    except InvalidInputError as error:
        return error
    return None


# --- Policy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "shorter than 8"),
        ("1234567", "shorter than 8"),
        ("жжжжжж7", "shorter than 8"),
        (CANARY, "shorter than 8"),
        (CANARY * 200, "longer than 1024"),
        (CANARY + "\0" + CANARY, "NUL"),
        (CANARY + "\udcff\ud800", "Unicode"),
        (EMAIL, "e-mail"),
        (EMAIL.upper(), "e-mail"),
        ("password", "well-known"),
        ("ChangeMe", "well-known"),
        ("clarinet", "well-known"),
        ("admin123", "well-known"),
        ("postgres", "well-known"),
    ],
)
def test_a_broken_rule_is_named(text: str, rule: str) -> None:
    """The refusal names the rule, and no part of the password."""
    message = refusal(text)
    assert rule in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("length", "strong", "accepted"),
    [
        (7, False, False),
        (8, False, True),
        (1024, False, True),
        (1025, False, False),
        (11, True, False),
        (12, True, True),
        (1024, True, True),
        (1025, True, False),
    ],
)
@pytest.mark.parametrize("letter", ["x", "ж", "🦆", "\n"])
def test_the_limits_are_exact(letter: str, length: int, *, strong: bool, accepted: bool) -> None:
    """They count characters, not bytes, and the last one within them is within."""
    core = "Kq7wB9Zt4vN2"
    text = core[:length] if length <= 12 else core + letter * (length - 12)
    error = attempt(text, strong=strong)
    assert (error is None) is accepted
    if error is not None:
        assert ";" not in error.message


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("\0", ["shorter than 8", "NUL"]),
        ("\0\ud800" * 600, ["longer than 1024", "NUL", "Unicode"]),
        ("a@b.org", ["shorter than 8", "e-mail"]),
    ],
)
def test_several_broken_rules_are_named_at_once(text: str, rules: list[str]) -> None:
    """All broken rules are in one message."""
    message = refusal(text, email="A@B.ORG")
    known = {"shorter than 8", "longer than 1024", "NUL", "Unicode", "e-mail", "well-known"}
    assert {rule for rule in known if rule in message} == set(rules)


@pytest.mark.parametrize(
    "text", ["STRASSE@example.org", "straße@example.org", "Straße@Example.Org"]
)
def test_the_address_is_known_in_any_case(text: str) -> None:
    """Case is folded as in every alphabet, also where that changes the length."""
    assert "e-mail" in refusal(text, email="straße@example.org")


@pytest.mark.parametrize("text", sorted(COMMON_PASSWORDS))
def test_each_default_is_refused_in_any_case(text: str) -> None:
    """A list of its own, all of it in small letters."""
    for spelling in (text, text.upper(), text.title()):
        assert "well-known" in refusal(spelling)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("lower case 12", {"upper"}),
        ("UPPER CASE 12", {"lower"}),
        ("Upper and lower", {"digit"}),
        ("Short 1a", {"shorter than 12"}),
        ("only-lower", {"shorter than 12", "upper", "digit"}),
        ("............", {"upper", "lower", "digit"}),
        ("", {"shorter than 12", "upper", "lower", "digit"}),
    ],
)
def test_every_broken_rule_of_the_strong_policy_is_named(text: str, rules: set[str]) -> None:
    """All that is missing is reported at once, and only that."""
    message = refusal(text, strong=True)
    known = {"shorter than 12", "upper", "lower", "digit", "longer", "NUL", "e-mail", "well-known"}
    assert {rule for rule in known if rule in message} == rules


@pytest.mark.parametrize(
    "text",
    [
        "k8fjw2qz",
        "gK3#vQ9p",
        "correct horse battery",
        "два слова и число",
        "two\nlines and\ttabs",
        "🦆 on the lake 🦆",
        "mein hund heißt rex",
        "a" * 1012 + "Kq7wB9Zt4vN2",
        "Kq7wB9Zt4vN2" + " " * 1012,
        "[red]markup",
    ],
)
def test_a_password_within_the_rules_is_accepted(text: str) -> None:
    """Any Unicode from 8 to 1024 characters, blanks and newlines included."""
    check_password(text, email=EMAIL)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("clarinet2026", "the account's or the program's name"),
        ("Clarinet-2026!", "the account's or the program's name"),
        ("example.org", "the account's or the program's name"),
        ("adaexample", "the account's or the program's name"),
        ("ada@example.org!", "the account's or the program's name"),
        ("lovelace1815", "the account's or the program's name"),
        ("hospital_session", "the account's or the program's name"),
        ("sunshine", "common"),
        ("Password1!", "common"),
        ("Password1234", "common"),
        ("P@ssw0rd2026", "common"),
        ("Summer2026!", "common"),
        ("Welcome2026!", "common"),
        ("парольпароль", ""),
        ("йцукенгш", ""),
        ("11111111", ""),
        ("        ", ""),
        ("🦆" * 8, "repeated"),
        ("a" * 1024, "repeated"),
        ("abc" * 300, "repeated"),
        ("abcdefgh", "sequence"),
        ("87654321", ""),
        ("zxcvbnm,", ""),
        ("19720613", "date"),
    ],
)
@pytest.mark.parametrize("strong", [False, True])
def test_what_is_easy_to_guess_is_refused(text: str, reason: str, *, strong: bool) -> None:
    """Most of these have the length and kinds of characters."""
    with pytest.raises(InvalidInputError) as caught:
        check_password(
            text, email="ada.lovelace@example.org", strong=strong, words=["hospital_session"]
        )
    message = caught.value.message
    assert text.strip() == "" or text not in message
    if not strong:
        assert "too easy to guess (" in message
        assert reason in message


@pytest.mark.parametrize("length", [10, 12, 24, 1024])
def test_random_passwords_are_accepted(length: int) -> None:
    """Of small letters and digits only; drawn with a seed that a failure shows."""
    draw = chance()
    refused = 0
    for _ in range(40):
        text = "".join(draw.choices(string.ascii_lowercase + string.digits, k=length))
        refused += attempt(text, strong=False) is not None
    assert refused <= (1 if length == 10 else 0)


@pytest.mark.parametrize("symbols", ["4@8({[<369!1|0$5+7%2", "1!|", "4@1!|0$5", "aeiost0135"])
def test_no_password_takes_long_to_judge(symbols: str) -> None:
    """The readings of digits as letters are bounded for any text."""
    with patch("zxcvbn.matching.dictionary_match", wraps=matching.dictionary_match) as tried:
        attempt((symbols * 1024)[:1024], strong=False)
        attempt((symbols[::-1] * 1024)[:24], strong=False)
    assert tried.call_count < 200


def test_the_strong_policy_asks_for_more() -> None:
    """What the plain rules take is not enough; letters of any alphabet count."""
    check_password("Пароль из 12 букв", email=EMAIL, strong=True)
    check_password("longer than twelve", email=EMAIL)
    refusal("longer than twelve", strong=True)


def test_without_an_address_none_is_compared() -> None:
    """An empty address forbids nothing."""
    check_password(EMAIL, email="")
    assert "e-mail" not in refusal("", email="")


@effort(max_examples=200, deadline=None)
@given(text=st.text(LETTERS, min_size=8, max_size=1024))
def test_any_text_of_the_right_length_passes_unless_easy_to_guess(text: str) -> None:
    """Any characters will do, when they are not alike or in order."""
    error = attempt(text, strong=False)
    refusals = ("easy to guess", "well-known")
    assert error is None or any(reason in error.message for reason in refusals)
    assert len(set(text)) < 20 or error is None


@effort(max_examples=200, deadline=None)
@given(text=st.text(), strong=st.booleans())
def test_any_text_is_accepted_or_refused_in_words(text: str, *, strong: bool) -> None:
    """For any text: no other error, and accepted ones have the minimum length."""
    error = attempt(text, strong=strong)
    if error is not None:
        assert error.message.startswith("the password is refused: ")
    else:
        assert len(text) >= (12 if strong else 8)
        assert not set(text) & {"\0", "\udcff"}


# --- Generated passwords -------------------------------------------------------------------


def test_generated_passwords_meet_the_strong_policy() -> None:
    """Each is long, of unambiguous letters and digits, and differs from the others."""
    made = [generate_password() for _ in range(200)]
    for password in made:
        check_password(password.text, email=EMAIL, strong=True)
    letters = set("".join(password.text for password in made))
    assert len({password.text for password in made}) == 200
    assert all(password.generated for password in made)
    assert min(len(password.text) for password in made) >= 20
    assert "".join(letters).isascii()
    assert "".join(letters).isalnum()
    assert letters & set("0OIl1") == set()


def test_a_password_is_in_no_representation() -> None:
    """The text of a NewPassword is not in a traceback or a log line."""
    password = NewPassword(CANARY)
    assert password.text == CANARY
    assert CANARY not in f"{password!r} {password}"


# --- Hashes --------------------------------------------------------------------------------


@pytest.mark.usefixtures("real_hashes")
@pytest.mark.parametrize(
    ("toml", "cost"),
    [
        ("", (65536, 3, 4)),
        (CHEAP_ARGON2, (7168, 5, 1)),
        (
            "argon2_time_cost = 2\nargon2_memory_cost = 19456\nargon2_parallelism = 2",
            (19456, 2, 2),
        ),
    ],
)
def test_a_hash_is_argon2id_at_the_cost_of_the_settings(
    tmp_path: Path, toml: str, cost: tuple[int, int, int]
) -> None:
    """The default is RFC 9106's low-memory profile; the settings can change it."""
    hashed = hash_password(NewPassword("correct horse"), configured(tmp_path, toml))
    match = HASH.fullmatch(hashed)
    assert match is not None
    kind, version, memory, time, lanes, _, _ = match.groups()
    assert (kind, version, int(memory), int(time), int(lanes)) == ("argon2id", "19", *cost)
    assert SERVER.verify("correct horse", hashed)


@pytest.mark.usefixtures("real_hashes")
def test_two_hashes_of_one_password_differ(cheap: Settings) -> None:
    """Each has a salt of its own, of the 16 bytes that RFC 9106 asks for."""
    hashes = [hash_password(NewPassword("correct horse"), cheap) for _ in range(2)]
    salts = [match[6] for match in map(HASH.fullmatch, hashes) if match]
    assert len(set(salts)) == 2
    assert [len(salt) for salt in salts] == [22, 22]


@effort(max_examples=25, deadline=None)
@given(text=st.text(LETTERS, min_size=8, max_size=1024))
def test_the_server_verifies_the_hash_of_any_password(cheap: Settings, text: str) -> None:
    """The server takes the password, and no other one, for any Unicode text."""
    hashed = hash_password(NewPassword(text), cheap)
    assert SERVER.verify(text, hashed)
    assert not SERVER.verify(text + "x", hashed)
    assert not SERVER.verify(text[:-1], hashed)


@pytest.mark.usefixtures("real_hashes")
@pytest.mark.parametrize(
    "text", ["Ünïcödé-пароль-🦆", "line\nbreak\r\n", " spaces around ", "nfc \u00fc \u0075\u0308"]
)
def test_a_password_is_hashed_as_it_is(cheap: Settings, text: str) -> None:
    """Nothing is stripped, folded or normalised on the way."""
    hashed = hash_password(NewPassword(text), cheap)
    assert SERVER.verify(text, hashed)
    assert not SERVER.verify(text.strip() + "-", hashed)
    assert not SERVER.verify(text.swapcase(), hashed)


# --- Through a command ---------------------------------------------------------------------


def test_a_refused_password_changes_nothing(server_project: Project) -> None:
    """The hash and the sessions stay, and the password is in no byte of the output."""
    query = 'SELECT email, hashed_password FROM "user" ORDER BY email'
    before, tokens = server_project.rows(query), server_project.tokens()
    (email,) = server_project.rows('SELECT email FROM "user" WHERE is_superuser')[0]
    result = server_project.run(
        "-vv", "admin", "reset-password", email, "--password-stdin", stdin=CANARY
    )
    assert (result.code, result.stdout) == (2, "")
    assert "error: the password is refused: shorter than 8 characters" in result.stderr
    assert CANARY not in result.stderr
    assert (server_project.rows(query), server_project.tokens()) == (before, tokens)


def test_the_settings_choose_the_strong_policy(project: Project) -> None:
    """admin_require_strong_password holds for every command that sets a password."""
    project.write_settings("admin_require_strong_password = true\n")
    command = ("admin", "reset-password", "admin@clarinet.ru", "--password-stdin")
    query = 'SELECT hashed_password FROM "user"'
    before = project.rows(query)
    weak = project.run(*command, stdin="longer than twelve")
    assert (weak.code, weak.stdout) == (2, "")
    assert "no upper-case letter" in weak.stderr
    assert "no digit" in weak.stderr
    assert project.rows(query) == before
    strong = project.run(*command, stdin="Longer than 12")
    assert strong.code == 0, strong
    assert SERVER.verify("Longer than 12", project.rows(query)[0][0])


def test_fixture_passwords_stay_valid(server_project: Project) -> None:
    """A server's bcrypt hash verifies, and is not rewritten."""
    rows = server_project.rows('SELECT hashed_password FROM "user" WHERE NOT is_superuser')
    bcrypt = [row[0] for row in rows if row[0].startswith("$2b$12$")]
    assert SERVER.verify("fixture-pass-1", bcrypt[0])
    assert server_project.run("admin", "list", "--all").code == 0
    assert server_project.rows('SELECT hashed_password FROM "user" WHERE NOT is_superuser') == rows
