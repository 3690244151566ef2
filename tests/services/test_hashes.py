"""The scheme, parameters and currency of stored hashes, without errors."""

from pathlib import Path

import bcrypt
import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError
from argon2.low_level import Type, verify_secret
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from clarinet_cli.services.accounts.hashes import HashInfo, can_log_in, hash_problem, inspect_hash
from clarinet_cli.services.accounts.passwords import NewPassword, hash_password
from clarinet_cli.settings import Settings, load_settings
from tests.oracle import SERVER_HASHER
from tests.support import CHEAP_ARGON2, PASSWORD, Project

OURS = {"time_cost": 5, "memory_cost": 7168, "parallelism": 1}
BCRYPT = "$2b$12$" + "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01232"
SALTED = "$c29tZXNhbHQ$RdescudvJCsgt3ub+b7dWRWJTmaaJObG"


@pytest.fixture(scope="module")
def cheap(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose hashes cost as little as is allowed."""
    directory = tmp_path_factory.mktemp("cheap")
    (directory / "settings.toml").write_text(CHEAP_ARGON2)
    return load_settings(directory)


@pytest.mark.usefixtures("real_hashes")
def test_a_hash_made_now_is_current(cheap: Settings) -> None:
    """argon2id with the parameters of the settings."""
    stored = hash_password(NewPassword(PASSWORD), cheap)
    assert inspect_hash(stored, cheap) == HashInfo("argon2id", current=True, parameters=OURS)


@pytest.mark.parametrize(
    "other", [{"time_cost": 4}, {"memory_cost": 8192}, {"parallelism": 2}, {"time_cost": 6}]
)
def test_other_parameters_are_not_current(cheap: Settings, other: dict[str, int]) -> None:
    """Weaker or stronger: a password set now would be hashed with others."""
    cost = OURS | other
    hasher = PasswordHasher(cost["time_cost"], cost["memory_cost"], cost["parallelism"])
    found = inspect_hash(hasher.hash(PASSWORD), cheap)
    assert found == HashInfo("argon2id", current=False, parameters=OURS | other)


@pytest.mark.parametrize(("kind", "name"), [(Type.I, "argon2i"), (Type.D, "argon2d")])
def test_other_kinds_of_argon2_are_not_current(cheap: Settings, kind: Type, name: str) -> None:
    """Also with the same parameters."""
    hasher = PasswordHasher(time_cost=5, memory_cost=7168, parallelism=1, type=kind)
    found = inspect_hash(hasher.hash(PASSWORD), cheap)
    assert found == HashInfo(name, current=False, parameters=OURS)


@pytest.mark.parametrize("version", ["", "$v=16"])
def test_an_old_version_is_not_current(cheap: Settings, version: str) -> None:
    """Before 1.3 the algorithm was another one; the first form has no version in it."""
    found = inspect_hash(f"$argon2id{version}$m=7168,t=5,p=1{SALTED}", cheap)
    assert found == HashInfo("argon2id", current=False, parameters=OURS)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$", "$2x$"])
def test_bcrypt_is_old(cheap: Settings, prefix: str) -> None:
    """Each of its prefixes, with its cost."""
    stored = BCRYPT.replace("$2b$", prefix)
    assert inspect_hash(stored, cheap) == HashInfo("bcrypt", current=False, parameters={"cost": 12})


UNKNOWN = [
    "",
    "!",
    "*",
    "plain text",
    "$",
    "$$$$$",
    "$5$rounds=5000$salt$hash",
    "$2b$12$short",
    BCRYPT + "x",
    BCRYPT + "\n",
    BCRYPT.replace("12", "1x"),
    BCRYPT.replace("$12$", "$٢٣$"),
    "$2c" + BCRYPT[3:],
    f"$argon2id$v=19$m=7168,t=5{SALTED}",
    f"$argon2id$v=19$m=7168,t=5,p=x{SALTED}",
    f"$argon2x$v=19$m=7168,t=5,p=1{SALTED}",
    f"x$argon2id$v=19$m=7168,t=5,p=1{SALTED}",
    f"$argon2id$v=19$m=7168,t=5,p=1{SALTED}\n",
    "$argon2id$v=19$m=7168,t=5,p=1$$",
    "$argon2id$v=19$m=7168,t=5,p=1$a$b",
    f"$argon2id$v=19$m=-7168,t=5,p=1{SALTED}",
    f"$argon2id$v=19$m={'9' * 5000},t=5,p=1{SALTED}",
    "\x1b[31m\0\udcff[red]",
    "$2b$03$" + "." * 53,
    "$2b$32$" + "." * 53,
    "$2b$99$" + "." * 53,
    "$2b$12$" + "." * 21 + "/" + "." * 31,
    "$2b$12$" + "." * 52 + "/",
    f"$argon2id$v=99$m=7168,t=5,p=1{SALTED}",
    f"$argon2id$v=18$m=7168,t=5,p=1{SALTED}",
    f"$argon2id$v=19$m=0,t=0,p=1{SALTED}",
    f"$argon2id$v=19$m=7,t=1,p=1{SALTED}",
    f"$argon2id$v=19$m=31,t=1,p=4{SALTED}",
    f"$argon2id$v=19$m=8,t=0,p=1{SALTED}",
    f"$argon2id$v=19$m=8,t=1,p=0{SALTED}",
    f"$argon2id$v=19$m=4294967296,t=1,p=1{SALTED}",
    f"$argon2id$v=19$m=07168,t=5,p=1{SALTED}",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHR$RdescudvJA",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ1a$RdescudvJA",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$Rdescv",
    f"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ${'A' * 88}",
]


@pytest.mark.parametrize("stored", UNKNOWN)
def test_what_the_server_can_not_verify_is_unknown(cheap: Settings, stored: str) -> None:
    """It cannot log in, and no parameter is reported."""
    assert inspect_hash(stored, cheap) == HashInfo("unknown", current=False, parameters={})


@pytest.mark.parametrize("stored", [None, b"$2b$12$", 7, 1.5])
def test_what_is_no_text_is_unknown(cheap: Settings, stored: object) -> None:
    """SQLite's columns hold anything."""
    assert inspect_hash(stored, cheap).scheme == "unknown"
    assert not can_log_in(stored, cheap)


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        ("m=8,t=20000000,p=1", "t is 20000000, above 1000"),
        ("m=1048577,t=1,p=1", "m is 1048577, above 1048576"),
        ("m=4294967295,t=1,p=1", "m is 4294967295"),
        ("m=1048576,t=2,p=1", "m times t is 2097152, above 1048576"),
        ("m=524288,t=3,p=1", "m times t"),
        ("m=4096,t=1,p=65", "p is 65, above 64"),
        ("m=512,t=100,p=64", "t times p is 6400, above 4096"),
    ],
)
def test_argon2_that_would_stop_the_server_is_a_problem(
    cheap: Settings, cost: str, reason: str
) -> None:
    """Scheme and costs are reported; verification would take too long."""
    stored = f"$argon2id$v=19${cost}{SALTED}"
    assert inspect_hash(stored, cheap).scheme == "argon2id"
    assert reason in str(hash_problem(stored, cheap))
    assert not can_log_in(stored, cheap)


@pytest.mark.parametrize("cost", ["m=8,t=1,p=1", "m=1048576,t=1,p=4", "m=102400,t=2,p=8"])
@pytest.mark.parametrize("kind", ["argon2id", "argon2i", "argon2d"])
def test_argon2_within_the_bounds_is_no_problem(cheap: Settings, kind: str, cost: str) -> None:
    """From the minimum of the algorithm to one second of work, of each kind."""
    assert hash_problem(f"${kind}$v=19${cost}{SALTED}", cheap) is None


@pytest.mark.parametrize(("cost", "usable"), [(4, True), (16, True), (17, False), (31, False)])
def test_the_costs_of_bcrypt_have_bounds(cheap: Settings, *, cost: int, usable: bool) -> None:
    """Each step doubles the time: 31 takes days."""
    stored = BCRYPT.replace("$12$", f"${cost:02}$")
    assert inspect_hash(stored, cheap).parameters == {"cost": cost}
    assert can_log_in(stored, cheap) is usable


def test_what_the_settings_ask_for_is_no_problem(tmp_path: Path) -> None:
    """A hash of this tool is never refused, with any cost."""
    costs = "argon2_time_cost = 3\nargon2_memory_cost = 1048576\n"
    (tmp_path / "settings.toml").write_text(costs)
    settings = load_settings(tmp_path)
    stored = f"$argon2id$v=19$m=1048576,t=3,p={settings.argon2_parallelism}{SALTED}"
    assert hash_problem(stored, settings) is None
    assert hash_problem(stored.replace("t=3", "t=4"), settings) is not None


@effort(max_examples=300, deadline=None)
@given(
    version=st.sampled_from(["", "$v=16", "$v=19"]),
    memory=st.integers(0, 40),
    passes=st.integers(0, 3),
    lanes=st.integers(0, 5),
    salt=st.text("Aaz0+/", max_size=14),
    digest=st.text("Aaz0+/", max_size=9),
)
def test_argon2_verifies_where_its_library_does(
    cheap: Settings, version: str, memory: int, passes: int, lanes: int, salt: str, digest: str
) -> None:
    """'unknown' is exactly what the server's library raises an error for."""
    stored = f"$argon2id{version}$m={memory},t={passes},p={lanes}${salt}${digest}"
    try:
        verify_secret(stored.encode(), b"x", Type.ID)
    except VerifyMismatchError:
        verified = True
    except VerificationError:
        verified = False
    else:
        verified = True
    assert can_log_in(stored, cheap) is verified


@effort(max_examples=200, deadline=None)
@given(
    cost=st.sampled_from(["00", "03", "04", "32", "99"]),
    rest=st.text("./Oa2u", min_size=53, max_size=53),
)
def test_bcrypt_verifies_where_its_library_does(cheap: Settings, cost: str, rest: str) -> None:
    """A cost or a salt that the library refuses is an error in the server's log-in."""
    stored = f"$2b${cost}${rest}"
    try:
        bcrypt.checkpw(b"x", stored.encode())
    except ValueError:
        assert inspect_hash(stored, cheap).scheme == "unknown"


FRAGMENTS = st.sampled_from(
    [
        *("$", "argon2id", "argon2i", "2b", "2y", "v=19", "v=", "m=7168", ",", "t=5", "p=1", "="),
        *("12", "abcdefghijklmnopqrstuu", "ABCDEFGHIJKLMNOPQRSTUVWXYZ01232", "c29tZXNhbHQ", "-1"),
        *("٣", "\n", "$argon2id$v=19$m=7168,t=5,p=1$"),
    ]
)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@effort(max_examples=300, deadline=None)
@given(stored=ANY_TEXT | st.lists(FRAGMENTS, max_size=20).map("".join))
def test_any_text_is_inspected_without_an_error(cheap: Settings, stored: str) -> None:
    """With any stored text: a known scheme, or 'unknown' without details."""
    found = inspect_hash(stored, cheap)
    assert found.scheme in {"argon2id", "argon2i", "argon2d", "bcrypt", "unknown"}
    if found.scheme == "unknown":
        assert (found.current, found.parameters) == (False, {})
    else:
        assert any(hasher.identify(stored) for hasher in SERVER_HASHER.hashers)


def test_the_hashes_of_a_real_server_are_distinguished(server_project: Project) -> None:
    """Bcrypt of old users, argon2 of the server's parameters, and a current one of this tool."""
    query = 'SELECT email, hashed_password FROM "user" ORDER BY email'
    for email, stored in server_project.rows(query):
        shown = server_project.json("admin", "show", email)
        scheme, parameters = ("bcrypt", {"cost": 12})
        if not stored.startswith("$2b$12$"):
            scheme = "argon2id"
            parameters = {"time_cost": 3, "memory_cost": 65536, "parallelism": 4}
        assert (shown["password_scheme"], shown["password_current"]) == (scheme, False)
        assert shown["password_parameters"] == parameters
    words = ("admin", "reset-password", "bob@clarinet.example", "--any-user", "--password-stdin")
    assert server_project.run(*words, stdin=PASSWORD).code == 0
    bob = server_project.json("admin", "show", "bob@clarinet.example")
    assert (bob["password_current"], bob["password_parameters"]) == (True, OURS)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "plain"])
def test_no_part_of_a_hash_is_shown(server_project: Project, form: str) -> None:
    """Neither salt nor digest, nor other text in its place, in any format or log."""
    query = 'UPDATE "user" SET hashed_password = ? WHERE email = ?'
    server_project.rows(query, "geheim-1\x1b[31m", "carla@clarinet.example")
    for email, stored in server_project.rows('SELECT email, hashed_password FROM "user"'):
        result = server_project.run("-vv", "admin", "show", email, "-o", form)
        assert result.code == 0, result
        assert email.partition("@")[0] in result.stdout
        for part in stored.split("$")[3:] or ["geheim"]:
            assert "=" in part or part[:6] not in result.stdout + result.stderr
