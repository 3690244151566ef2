"""Temporary files of SQLite: no token and no hash is written to one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import Project

SESSIONS = 6_000
USERS = 1_500
AGENT = "Mozilla/5.0 " + "x" * 300  # so that few rows are more than SQLite keeps in memory
REST = "CANARY" + "t" * 800
HASH = "$argon2id$CANARY" + "h" * 1500
PREFIX = "etilqs_"  # of the names that SQLite gives them
INSTRUCTIONS = 30_000  # of SQLite's machine between two readings


@pytest.fixture
def backend() -> str:
    """The files that PostgreSQL sorts in are the server's own."""
    return "sqlite"


class TemporaryFiles:
    """Every file that SQLite opens for a while, read while it works.

    They have no name any more once they are open: they are found among this process's files.
    """

    def __init__(self) -> None:
        self.bytes_seen = 0
        self.found: set[str] = set()

    def read(self) -> int:
        """Search each file for the canary."""
        for path in Path("/proc/self/fd").iterdir():
            try:
                target = str(path.readlink())
            except OSError:
                continue
            if Path(target).name.startswith(PREFIX):
                content = path.read_bytes()
                self.bytes_seen = max(self.bytes_seen, len(content))
                if b"CANARY" in content:
                    start = content.index(b"CANARY")
                    self.found.add(content[max(0, start - 80) : start + 20].decode("latin-1"))
        return 0


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[TemporaryFiles]:
    """Watch SQLite's temporary files, whichever connection has them."""
    files = TemporaryFiles()
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_progress_handler(files.read, INSTRUCTIONS)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    yield files
    monkeypatch.undo()


@pytest.fixture
def crowded(project: Project) -> Project:
    """A project with more accounts and sessions than SQLite sorts in memory."""
    owner = project.add_user("ada@example.org", superuser=True)
    now = datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(project.file)) as connection, connection:
        connection.executemany(
            "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed,"
            " user_agent) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    f"{number:08x}-{REST}",
                    owner.hex,
                    str(now - timedelta(seconds=number * 7919 % SESSIONS, microseconds=1)),
                    str(now + timedelta(hours=1, microseconds=1)),
                    str(now - timedelta(microseconds=1)),
                    AGENT,
                )
                for number in range(SESSIONS)
            ),
        )
        connection.executemany(
            'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser,'
            " is_verified) VALUES (?, ?, ?, 1, 0, 0)",
            (
                (f"a{number:031x}", f"u{number * 7919 % USERS}@example.org", HASH)
                for number in range(USERS)
            ),
        )
    return project


COMMANDS = [
    ("session", "list", "-o", "jsonl"),
    ("session", "list", "--limit", str(SESSIONS - 1), "-o", "jsonl"),
    ("session", "list", "--agent", "mozilla", "-o", "plain"),
    ("session", "list-user", "ada@example.org", "-o", "csv"),
    ("session", "stats", "--by", "agent"),
    ("admin", "list", "--all", "-o", "jsonl"),
    ("admin", "export"),
    ("session", "revoke-user", "ada@example.org", "--keep-newest", "5000"),
    ("session", "revoke-all", "--yes", "--except", "u1@example.org"),
    ("session", "cleanup", "--days", "0"),
    ("admin", "delete", "u1@example.org", "--yes"),
    ("admin", "delete", "ada@example.org", "--yes"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_secret_is_in_a_temporary_file(
    crowded: Project, temporary: TemporaryFiles, words: tuple[str, ...]
) -> None:
    """Neither a token's rest nor a hash, in any moment of the command."""
    result = crowded.run(*words)
    assert not temporary.found
    assert result.code == 0, result


def test_the_listing_uses_a_temporary_file(crowded: Project, temporary: TemporaryFiles) -> None:
    """All sessions are more than memory is used for: without a file the test above is void."""
    assert crowded.run("session", "list", "-o", "jsonl").code == 0
    assert temporary.bytes_seen > 1_000_000


@pytest.fixture
def referred(crowded: Project) -> Project:
    """The same, all sessions expired, and another program's table that refers to each."""
    crowded.rows(
        "CREATE TABLE sums (token varchar REFERENCES access_token (token) ON DELETE CASCADE)"
    )
    crowded.rows("INSERT INTO sums SELECT token FROM access_token")
    crowded.rows("CREATE INDEX sums_token ON sums (token)")
    crowded.rows("UPDATE access_token SET expires_at = '2020-01-01 00:00:00.000001'")
    return crowded


@pytest.mark.parametrize(
    "words",
    [
        ("session", "revoke-user", "ada@example.org", "--keep-newest", "600"),
        ("session", "revoke-all", "--yes"),
        ("session", "cleanup"),
        ("admin", "delete", "ada@example.org", "--yes"),
    ],
    ids=" ".join,
)
def test_no_secret_is_in_a_temporary_file_when_a_statement_may_be_undone(
    referred: Project, temporary: TemporaryFiles, words: tuple[str, ...]
) -> None:
    """Where another table points at sessions, SQLite keeps the pages that a statement changes."""
    result = referred.run(*words)
    assert not temporary.found
    assert result.code == 0, result
