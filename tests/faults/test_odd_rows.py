"""Rows with values that no server writes: one of them does not affect the others.

The values are drawn by a seed that each failure shows; ``CLARINET_TEST_SEED`` names another.
"""

import contextlib
import json
import os
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.cli.scenes import ADA, ADMIN, EXIT_CODES, assert_failed, populate
from tests.support import Project, Result

SEED = int(os.environ.get("CLARINET_TEST_SEED", "20261127"))
NOW = datetime.now(UTC)
SOUND = {
    "created_at": NOW - timedelta(hours=1),
    "expires_at": NOW + timedelta(days=1),
    "last_accessed": NOW - timedelta(minutes=5),
}
INSTANTS: dict[str, list[Any]] = {
    "sqlite": [
        "2026-11-22T18:30:00.000000",
        "2026-11-22 18:30:00.000000+03:00",
        "2026-13-45 18:30:00.000000",
        "2026-02-31 18:30:00.000000",
        "xxxx-xx-xx xx:xx:xx.xxxxxx",
        "0000-01-01 00:00:00.000000",
        "10000-01-01 00:00:00.000000",
        "yesterday",
        "",
        2460000.5,
        1764000000,
        -1,
        b"2026-11-22 18:30:00.000000",
        b"\xff\x00",
    ],
    "postgresql": ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01 00:00+00"],
}
READABLE: dict[str, list[str]] = {
    "sqlite": [
        "2026-11-22 18:30:00.000000+00:00",
        "2026-11-22 18:30:00",
        "2026-11-22 18:30:00Z",
        "2026-11-22 18:30:00.999999",
        "9999-12-31 23:59:59.999999",
    ],
    "postgresql": ["9999-12-31 23:59:59.999999+00", "0001-01-01 00:00+00"],
}
IDS = ["garbage", 77, 1.5, b"\xfe", b"\x00" * 16, "", "A" * 32, "{" + "b" * 32 + "}"]
TEXTS = [None, b"\xff\xfe", 5, 1.5, "", "x" * 10_000, "\x1b[31m", "[red]"]
READING = [
    "session list",
    "session list --state invalid",
    "session list --older-than 1d",
    "session stats",
    "session stats --by user",
    "session stats --by role",
    "session stats --by ip",
    "session stats --by day",
    "session stats --by hour --top 3",
    "session stats -o prometheus",
    "session cleanup --dry-run --days 1",
    "admin list --all",
    "admin list --search a",
    "admin roles",
    "admin export",
    "db status",
    "migrate status",
]


def run(project: Project, words: str) -> Result:
    """Run a command as JSON; with any rows it ends with a documented code and state names."""
    given = words.split() if "-o" in words.split() else [*words.split(), "-o", "json"]
    result = project.run(*given)
    place = f"seed {SEED}: {words}: {result}"
    assert result.code in EXIT_CODES, place
    assert "unexpected" not in result.stderr, place
    assert "Traceback" not in result.stderr, place
    if result.stdout and "prometheus" not in words:
        json.loads(result.stdout)
    return result


def insert(project: Project, table: str, **values: Any) -> None:
    """Insert a row without the tool, its values as they are."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    if project.server is None:
        with contextlib.closing(sqlite3.connect(project.file)) as connection, connection:
            connection.execute(
                f'INSERT INTO "{table}" ({names}) VALUES ({marks})', [*map(stored, values.values())]
            )
        return
    literals = ", ".join("NULL" if value is None else f"'{value}'" for value in values.values())
    project.rows(f'INSERT INTO "{table}" ({names}) VALUES ({literals})')


def stored(value: Any) -> Any:
    """Return a value as the server stores it in SQLite."""
    if isinstance(value, UUID):
        return value.hex
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value


def add_session(project: Project, token: str, user_id: Any, **odd: Any) -> None:
    """Insert a session, valid but for some values."""
    insert(project, "access_token", **{"token": token, "user_id": user_id, **SOUND, **odd})


def let_columns_be_null(project: Project) -> None:
    """Recreate the tables without constraints, as an import may have left them."""
    for table in ("access_token", "userroleslink", "userrole", "user"):
        columns = project.rows(f"SELECT name, type FROM pragma_table_info('{table}')")
        declared = ", ".join(f"{name} {kind}" for name, kind in columns)
        project.rows(f'ALTER TABLE "{table}" RENAME TO old')
        project.rows(f'CREATE TABLE "{table}" ({declared})')
        project.rows(f'INSERT INTO "{table}" SELECT * FROM old')
        project.rows("DROP TABLE old")


@pytest.mark.parametrize("column", SOUND)
def test_an_unreadable_timestamp_makes_a_session_invalid(project: Project, column: str) -> None:
    """It is listed and counted as invalid, never cleaned up, and can be ended."""
    ada = populate(project)
    values = INSTANTS[project.backend]
    for number, value in enumerate(values):
        add_session(project, f"odd{number:05}-token", ada, **{column: value})
    rows = run(project, "session list").json
    assert [row["id"] for row in rows if row["state"] == "invalid"] == [
        row["id"] for row in run(project, "session list --state invalid").json
    ]
    assert {row["id"] for row in rows if row["state"] == "invalid"} == {
        f"odd{number:05}" for number in range(len(values))
    }
    stats = run(project, "session stats").json
    assert stats["invalid"] == len(values)
    states = ("active", "idle", "expired", "blocked", "invalid")
    assert sum(stats[state] for state in states) == stats["total"] == len(rows)
    groups = run(project, "session stats --by user").json
    assert sum(group.get("invalid", 0) for group in groups) == len(values)
    report = run(project, "session cleanup --days 1")
    assert (report.json["deleted"], report.json["invalid"]) == (2, len(values))
    assert f"kept {len(values)} sessions with an unreadable timestamp" in report.stderr
    assert {token for token in project.tokens() if token.startswith("odd")} == {
        f"odd{number:05}-token" for number in range(len(values))
    }
    assert run(project, "session show odd00000").json["state"] == "invalid"
    assert run(project, "session revoke odd00000").json[0]["result"] == "revoked"
    report = run(project, f"session revoke-user {ADA}")
    assert report.json["sessions_revoked"] == len(values)
    assert project.count("access_token") == 1


@pytest.mark.parametrize("column", SOUND)
def test_a_readable_timestamp_in_another_form_is_used(project: Project, column: str) -> None:
    """A text with a zone, without a fraction, or with a distant year is a valid timestamp."""
    ada = populate(project)
    for number, value in enumerate(READABLE[project.backend]):
        add_session(project, f"odd{number:05}-token", ada, **{column: value})
    rows = run(project, "session list").json
    assert "invalid" not in {row["state"] for row in rows}
    assert all(row[column] for row in rows)
    assert "invalid" not in run(project, "session stats").json


def test_pages_of_a_listing_lose_no_session(project: Project) -> None:
    """Sessions with an unreadable creation are listed once each, like all others."""
    ada = populate(project)
    values = INSTANTS[project.backend]
    for number in range(260):
        add_session(project, f"{number:08}-odd", ada, created_at=values[number % len(values)])
    listed = [row["id"] for row in run(project, "session list").json]
    assert len(listed) == len(set(listed)) == project.count("access_token")


def add_odd_sessions(project: Project, ada: UUID, draw: random.Random) -> None:
    """Insert sessions with odd values in every column that takes them."""
    for number in range(60):
        odd = {
            name: draw.choice(INSTANTS[project.backend]) for name in SOUND if draw.random() < 0.4
        }
        token: Any = f"{number:05}{draw.getrandbits(64):x}"
        owner: Any = ada
        if project.server is None:
            odd |= {name: None for name in SOUND if draw.random() < 0.1}
            odd |= {"ip_address": draw.choice(TEXTS), "user_agent": draw.choice(TEXTS)}
            token = draw.choice([token, token, token.encode() + b"\xff", number, None])
            owner = draw.choice([ada, *IDS, None])
        add_session(project, token, owner, **odd)


def add_odd_accounts(project: Project, ada: UUID, draw: random.Random) -> None:
    """Insert accounts, roles and links with odd values in every column."""
    for number in range(30):
        insert(
            project,
            "user",
            id=draw.choice([uuid4(), *IDS, None]),
            email=draw.choice([f"odd{number}@example.org", *TEXTS]),
            hashed_password=draw.choice(["!", *TEXTS]),
            is_active=draw.choice([1, 0, 2, None, "yes", b"\x01"]),
            is_superuser=draw.choice([1, 0, None, "no"]),
            is_verified=draw.choice([1, 0, None]),
        )
    for name in TEXTS:
        insert(project, "userrole", name=name)
        insert(project, "userroleslink", user_id=ada, role_name=name)
        insert(project, "userroleslink", user_id=draw.choice([*IDS, None]), role_name="admin")


def test_every_command_works_with_odd_rows(project: Project) -> None:
    """Odd values in every column that takes them: each command ends in known words."""
    ada = populate(project)
    draw = random.Random(SEED)  # noqa: S311 - values to try, not secrets
    if project.server is None:
        let_columns_be_null(project)
        add_odd_accounts(project, ada, draw)
    add_odd_sessions(project, ada, draw)
    for words in READING:
        assert run(project, words).code == 0, words
    emails = {row["email"] for row in run(project, "admin list --all").json}
    for email in sorted(email for email in emails if "@" in email):
        for words in ("admin show", "session list-user", "session revoke-user"):
            run(project, f"{words} {email}")
        for words in ("admin deactivate", "admin promote", "admin delete", "admin demote"):
            run(project, f"{words} {email} --dry-run")
    assert run(project, f"admin show {ADMIN}").code == 0
    assert run(project, "admin create --email new@example.org --generate-password").code == 0
    assert run(project, "session cleanup").code == 0
    assert run(project, "session revoke-all --yes").code == 0
    assert project.count("access_token") == 0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", [b"\xff", 7, None])
def test_a_revision_that_is_no_text_is_shown(project: Project, value: Any) -> None:
    """It is an unknown revision, and the schema is not changed."""
    project.rows("CREATE TABLE versions AS SELECT * FROM alembic_version")
    project.rows("DROP TABLE alembic_version")
    project.rows("CREATE TABLE alembic_version (version_num)")
    project.rows("INSERT INTO alembic_version VALUES (?)", value)
    for words in ("db status", "migrate status", "migrate history"):
        assert run(project, words).code == 0
    for words in ("migrate upgrade", "migrate upgrade --dry-run", "migrate downgrade -1 --yes"):
        assert run(project, words).code == 5


@pytest.mark.parametrize(
    "words",
    [
        "migrate upgrade head-1 --dry-run",
        "migrate upgrade head-1",
        "migrate upgrade base+9 --dry-run",
        "migrate downgrade head+3 --dry-run",
    ],
)
def test_a_relative_revision_without_an_answer_is_not_found(project: Project, words: str) -> None:
    """The revision does not exist, which is not an unexpected error."""
    assert_failed(project.run(*words.split()), 3)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("session list --limit 9223372036854775807", 0),
        ("session list --limit 9223372036854775808", 2),
        ("session list --older-than 0001-01-01T00:00+14:00", 0),
        ("session list --idle-for 0001-01-01T00:00+14:00", 0),
        ("session list --older-than 9999-12-31T23:00-14:00", 0),
        ("session list --older-than \u0663d", 2),
        ("session list --older-than \uff12\uff10\uff12\uff16-11-22", 2),
        ("session cleanup --max-time \u0663s", 2),
    ],
)
def test_numbers_and_times_at_the_edge_are_taken_or_refused(
    project: Project, words: str, code: int
) -> None:
    """What no database can count to, and digits of other scripts, are usage errors."""
    populate(project)
    assert run(project, words).code == code


@pytest.mark.parametrize(
    "words",
    [
        ("admin", "show"),
        ("session", "show"),
        ("session", "list", "--older-than"),
        ("admin", "list", "--role"),
        ("migrate", "upgrade"),
        ("session", "list", "--state"),
        (),
    ],
)
def test_a_message_is_short_however_long_its_argument(
    project: Project, words: tuple[str, ...]
) -> None:
    """It shows the beginning and the end: what is wrong, and with what."""
    result = project.run(*words, "x" * 1_000_000)
    assert result.code in (2, 3)
    assert "xxxx" in result.stderr
    assert len(result.stderr) < 1500
