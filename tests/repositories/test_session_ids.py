"""A session by the beginning of its token: every match, no other, and by the index."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import event

from clarinet_cli.repositories.sessions import ID_LENGTH, SessionRepository
from clarinet_cli.utils.database import get_async_session
from tests import oracle
from tests.postgres import PostgresServer
from tests.support import PASSWORD, Project

# Languages in which hyphens, or two letters together, sort in ways of their own. The test
# takes those that this machine has; the bytes' own order is always there.
WANTED = ("en_US.utf8", "da_DK.utf8", "cs_CZ.utf8", "et_EE.utf8", "hu_HU.utf8")
PRESENT = subprocess.check_output(["/usr/bin/locale", "-a"], text=True)
LOCALES = ["C", *(name for name in WANTED if name in PRESENT.split())]
STARTS = (
    "abcdefgh", "ABCDEFGH", "abcdefgc", "abcdefga", "--------", "-_-_-_-_", "zzzzzzzz",
    "ZZZZZZZZ", "99999999", "abcd-efg", "abcdefg-", "abcdefg_", "abcdefgz", "abcdefgd",
)  # fmt: skip
RESTS = ("", "-", "_", "h", "a", "z" * 35, "Z" * 35, "-----", "~", "zs")
ASCII = st.characters(min_codepoint=33, max_codepoint=126)


async def found_by(project: Project, start: str) -> set[str]:
    """Return the tokens that are found by an id."""
    async with get_async_session(project.settings) as session:
        return {item.token for item in await SessionRepository(session).find_by_id(start)}


def add_all(project: Project, tokens: set[str]) -> None:
    """Add a session of one user for each token, in one statement."""
    user = project.add_user("ada@example.org")
    now = datetime.now(UTC)
    moment = f"'{now:%Y-%m-%d %H:%M:%S.%f}'"
    owner = f"'{user.hex}'" if project.server is None else f"'{user}'"
    values = ", ".join(
        f"('{token}', {owner}, {moment}, {moment}, {moment})" for token in sorted(tokens)
    )
    project.rows(
        "INSERT INTO access_token (token, user_id, created_at, expires_at, last_accessed)"
        f" VALUES {values}"
    )


@pytest.fixture(params=LOCALES)
def localised(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[Project]:
    """A project on a PostgreSQL database of some language."""
    name = f"test_{uuid4().hex}"
    postgres.rows(
        "postgres",
        f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE '{request.param}'",
    )
    project = Project(tmp_path, "postgresql", name, postgres)
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    yield project
    postgres.drop(name)


async def test_every_match_in_every_language(localised: Project) -> None:
    """In any collation an id finds all its sessions and no other."""
    tokens = {start + rest for start in STARTS for rest in RESTS}
    oracle.apart(lambda: add_all(localised, tokens))
    for start in STARTS:
        expected = {token for token in tokens if token[:ID_LENGTH] == start}
        assert await found_by(localised, start) == expected, start


@effort(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    start=st.text(ASCII, min_size=8, max_size=8),
    rests=st.sets(st.text(ASCII, max_size=6), min_size=1, max_size=8),
    others=st.sets(st.text(ASCII, min_size=8, max_size=12), max_size=8),
)
async def test_every_match_of_any_text(
    project: Project, start: str, rests: set[str], others: set[str]
) -> None:
    """Any ASCII will do for a token, upper and lower case are different letters."""
    tokens = {start + rest for rest in rests} | others
    oracle.apart(lambda: project.rows("DELETE FROM access_token"))
    oracle.apart(lambda: project.rows("DELETE FROM \"user\" WHERE email = 'ada@example.org'"))
    quoted = {token for token in tokens if "'" not in token and "?" not in token}
    oracle.apart(lambda: add_all(project, quoted | {"somebody-else"}))
    expected = {token for token in quoted if token[:ID_LENGTH] == start}
    assert await found_by(project, start) == expected


@pytest.mark.parametrize("start", ["\U0010ffff" * 8, "abcdefg\ud7ff", "ээээээээ", "a'b\"c%_\\"])
async def test_no_server_made_such_a_token(project: Project, start: str) -> None:
    """The last letter of all, the one before a gap, other alphabets, quotes and wildcards."""
    user = oracle.apart(lambda: project.add_user("ada@example.org"))
    for rest in ("", "-rest", "\U0010ffff"):
        oracle.add_session(project, user, token=start + rest)
    oracle.add_session(project, user, token=start[:-1] + "!")
    assert await found_by(project, start) == {start, start + "-rest", start + "\U0010ffff"}


async def test_the_index_is_used(project: Project) -> None:
    """The query plans of both engines use the index to find a session by its id."""
    tokens = {f"{number:08d}-{uuid4()}" for number in range(5000)}
    oracle.apart(lambda: add_all(project, tokens))
    oracle.apart(lambda: project.rows("ANALYZE"))
    wanted = "00001234"
    seen: list[tuple[str, Any]] = []
    async with get_async_session(project.settings) as session:
        connection = await session.connection()

        def note_down(_: object, __: object, statement: str, values: Any, *___: object) -> None:
            seen.append((statement, values))

        event.listen(connection.sync_connection, "before_cursor_execute", note_down)
        found = await SessionRepository(session).find_by_id(wanted)
        event.remove(connection.sync_connection, "before_cursor_execute", note_down)
        statement, values = seen[-1]
        explain = "EXPLAIN QUERY PLAN " if project.server is None else "EXPLAIN "
        plan = (await connection.exec_driver_sql(explain + statement, values)).all()
    assert [item.id for item in found] == [wanted]
    text = "\n".join(str(row) for row in plan)
    assert "SCAN access_token" not in text
    assert "Seq Scan on access_token" not in text
    assert "access_token" in text
