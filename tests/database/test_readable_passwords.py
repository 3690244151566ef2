"""A password is sent to another machine by TLS or SCRAM, or not at all."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from clarinet_cli.database.servers import Server
from tests.database.listener import CLEAR_TEXT, MD5, OK, PARAMETER, Listener, asking
from tests.postgres import LOCKED_PASSWORD, LOCKED_ROLE, PostgresServer
from tests.support import Project, Result
from tests.tls import TlsFront

# An address of this machine that is none of loopback: what is sent to it counts as sent away.
ANOTHER_MACHINE = "0.0.0.0"  # noqa: S104 - nothing listens there, it is connected to
CANARY = "CANARYpassword"
SALT = b"salt"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("db", "status"),
    ("db", "wait", "--timeout", "5s"),
    ("db", "init"),
    ("migrate", "status"),
    ("migrate", "upgrade"),
    ("admin", "list"),
    ("admin", "ensure"),
    ("session", "stats"),
    ("session", "cleanup"),
)
LISTENERS = Callable[..., Listener]


@pytest.fixture
def backend() -> str:
    """No password is sent to a file."""
    return "postgresql"


@pytest.fixture
def listener() -> Iterator[LISTENERS]:
    """Begin to listen, with answers to the log-in."""
    opened: list[Listener] = []

    def begin(*answers: bytes) -> Listener:
        opened.append(Listener(answers))
        return opened[-1]

    yield begin
    for one in opened:
        one.stop()


def write(
    project: Project, listener: Listener, *, host: str = ANOTHER_MACHINE, **keys: str
) -> None:
    """Write settings that name a listener."""
    given = {
        "database_driver": "postgresql",
        "database_host": host,
        "database_username": "app",
        "database_password": CANARY,
        "database_name": "main",
        "admin_password": "another long passphrase",
    }
    lines = [f'{key} = "{value}"\n' for key, value in {**given, **keys}.items()]
    text = f"database_port = {listener.port}\n{''.join(lines)}"
    (project.directory / "settings.toml").write_text(text)


def run(project: Project, words: Sequence[str]) -> Result:
    """Run a command that must fail to log in."""
    result = project.run(*words)
    assert result.code == 7, (words, result)
    return result


def test_clear_text_is_not_answered_by_any_command(
    empty_project: Project, listener: LISTENERS
) -> None:
    """A server without TLS that asks for the password itself gets nothing: 7, why, what helps."""
    hostile = listener(asking(CLEAR_TEXT))
    write(empty_project, hostile)
    for words in COMMANDS:
        result = run(empty_project, words)
        assert "asks for the password in clear text, without TLS: it was not sent" in result.stderr
        assert 'hint: use TLS (database_sslmode = "require"), or scram-sha-256' in result.stderr
    assert hostile.log_ins >= len(COMMANDS)
    assert CANARY.encode() not in hostile.received
    assert b"app" in hostile.received


@pytest.mark.parametrize(
    "answers",
    [
        (asking(CLEAR_TEXT),),
        (PARAMETER + asking(CLEAR_TEXT),),
        (asking(OK), asking(CLEAR_TEXT)),
        (asking(OK) + PARAMETER + asking(CLEAR_TEXT),),
        (asking(CLEAR_TEXT)[:1], asking(CLEAR_TEXT)[1:7], asking(CLEAR_TEXT)[7:]),
        (b"R" + (0).to_bytes(4) + asking(CLEAR_TEXT),),
        (b"R" + (4).to_bytes(4) + asking(CLEAR_TEXT),),
        (b"N" + (0).to_bytes(4) + asking(CLEAR_TEXT),),
        (b"?" * 9 + asking(CLEAR_TEXT),),
        (asking(MD5, SALT),),
        (asking(OK), asking(MD5, SALT)),
    ],
)
@pytest.mark.parametrize("mode", ["", "prefer", "allow"])
def test_no_order_of_messages_gets_the_password(
    empty_project: Project, listener: LISTENERS, answers: tuple[bytes, ...], mode: str
) -> None:
    """A second request after the log-in, in pieces, or between invalid messages."""
    hostile = listener(*answers)
    write(empty_project, hostile, database_sslmode=mode)
    run(empty_project, ("db", "status"))
    digest = hashlib.md5(f"{CANARY}app".encode(), usedforsecurity=False).hexdigest().encode()
    proof = hashlib.md5(digest + SALT, usedforsecurity=False).hexdigest().encode()
    assert hostile.log_ins
    assert CANARY.encode() not in hostile.received
    assert proof not in hostile.received


@pytest.mark.parametrize("given", ["database_url", "database_read_url"])
def test_urls_are_guarded_too(empty_project: Project, listener: LISTENERS, given: str) -> None:
    """The URL of the database and that of its replica."""
    hostile = listener(asking(CLEAR_TEXT))
    url = f"postgresql://app:{CANARY}@{ANOTHER_MACHINE}:{hostile.port}/main"
    (empty_project.directory / "settings.toml").write_text(f'{given} = "{url}"\n')
    assert "it was not sent" in run(empty_project, ("session", "stats")).stderr
    assert hostile.log_ins
    assert CANARY.encode() not in hostile.received


def test_the_maintenance_database_is_guarded_too(
    empty_project: Project, listener: LISTENERS
) -> None:
    """'db init' connects to the database 'postgres' if its own does not exist."""
    hostile = listener(asking(CLEAR_TEXT))
    hostile.unknown = "main"
    write(empty_project, hostile)
    assert "it was not sent" in run(empty_project, ("db", "init")).stderr
    assert b"database\0postgres\0" in hostile.received
    assert CANARY.encode() not in hostile.received


def test_waiting_ends_at_once(empty_project: Project, listener: LISTENERS) -> None:
    """What the server asks for does not change: 'db wait' asks it once, and not for an hour."""
    hostile = listener(asking(CLEAR_TEXT))
    write(empty_project, hostile)
    assert "not ready" not in run(empty_project, ("db", "wait", "--timeout", "1h")).stderr
    assert hostile.log_ins == 1


def test_an_md5_hash_is_sent_only_with_sslmode_disable(
    empty_project: Project, listener: LISTENERS
) -> None:
    """The hint names sslmode=disable. Clear text is not sent with it either."""
    old = listener(asking(MD5, SALT))
    write(empty_project, old)
    refused = run(empty_project, ("db", "status"))
    assert "asks for the password as an md5 hash, without TLS: it was not sent" in refused.stderr
    assert 'database_sslmode = "disable"' in refused.stderr
    assert b"md5" not in old.received
    write(empty_project, old, database_sslmode="disable")
    assert "wrong user name or password" in run(empty_project, ("db", "status")).stderr
    assert b"md5" in old.received
    hostile = listener(asking(CLEAR_TEXT))
    write(empty_project, hostile, database_sslmode="disable")
    assert "it was not sent" in run(empty_project, ("db", "status")).stderr
    assert CANARY.encode() not in hostile.received


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_this_machine(empty_project: Project, listener: LISTENERS, host: str) -> None:
    """What stays on this machine is sent as the server asks for it."""
    local = listener(asking(CLEAR_TEXT))
    write(empty_project, local, host=host)
    assert "wrong user name or password" in run(empty_project, ("db", "status")).stderr
    assert CANARY.encode() in local.received


@pytest.mark.parametrize("mode", ["prefer", "allow", "disable"])
def test_scram_needs_no_tls(empty_project: Project, postgres: PostgresServer, mode: str) -> None:
    """SCRAM does not reveal the password: a server without TLS is accepted."""
    front = TlsFront(postgres, None)
    password = LOCKED_PASSWORD.replace("%", "%25").replace("@", "%40").replace("/", "%2F")
    password = password.replace("?", "%3F").replace(" ", "%20")
    url = f"postgresql://{LOCKED_ROLE}:{password}@{ANOTHER_MACHINE}:{front.port}/postgres"
    text = f'database_url = "{url}"\ndatabase_sslmode = "{mode}"\n'
    (empty_project.directory / "settings.toml").write_text(text)
    result = empty_project.run("db", "status")
    front.stop()
    assert result.code == 0, result


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("/run/postgresql", True),
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104 - a name, nothing listens there
        ("::ffff:10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
        ("db", False),
        ("2130706433", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, *, local: bool) -> None:
    """Loopback names and addresses; no name that may resolve to another machine."""
    assert Server(host).is_local is local
