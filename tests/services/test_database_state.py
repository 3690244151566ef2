"""Where the database is, what is in it, and waiting until it is ready."""

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

from clarinet_cli.exceptions import LoginRefusedError, UnknownDatabaseError, UnreachableError
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.results import WaitReport
from clarinet_cli.services.readiness import database_status, wait_until_ready
from clarinet_cli.services.schema import upgrade
from clarinet_cli.services.schema.environments import packaged_location
from clarinet_cli.services.schema.scripts import BASE_REVISION
from clarinet_cli.types import Readiness
from clarinet_cli.utils.logger import logger
from tests.conftest import SQLITE_FIXTURE
from tests.migrations.helpers import (
    SECOND,
    THIRD,
    add_two_revisions,
    create_empty_database,
    files,
    snapshot,
)
from tests.postgres import LOCKED_PASSWORD, LOCKED_ROLE, PostgresServer
from tests.support import Project

LONG = 120  # seconds: a wait that does not fail at once would hang the test
SERVERS = {
    "sqlite": ({"user": 6, "access_token": 13}, "e0c342bf4487"),
    "postgresql": ({"user": 5, "access_token": 12}, "453584a0fa73"),
}


@pytest.fixture
def retries() -> Iterator[list[str]]:
    """The log's records of unsuccessful tries that will be repeated."""
    records: list[str] = []
    sink = logger.add(records.append, level="INFO", format="{message}", filter=_is_a_retry)
    yield records
    logger.remove(sink)


def _is_a_retry(record: object) -> bool:
    return "not ready after" in str(record)


def override(project: Project, **values: str | int) -> None:
    """Give settings other values than those of ``settings.toml``."""
    lines = [f"{key} = {value!r}\n" for key, value in values.items()]
    (project.directory / "settings.custom.toml").write_text("".join(lines))


@dataclass
class Clock:
    """Time that passes only in ``sleep``."""

    seconds: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


def wait(project: Project, readiness: Readiness, timeout: float = LONG) -> WaitReport:
    """Wait for the project's database, by a clock that a busy machine does not move."""
    clock = Clock()
    return asyncio.run(
        wait_until_ready(
            project.settings, readiness, timeout=timeout, clock=clock, sleep=clock.sleep
        )
    )


def wait_while(
    project: Project,
    readiness: Readiness,
    retries: list[str],
    happens: Callable[[], Awaitable[None]],
    afterwards: Optional[Callable[[], Awaitable[None]]] = None,
) -> WaitReport:
    """Wait; after the first unsuccessful try let something happen."""

    async def both() -> WaitReport:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(wait_until_ready(project.settings, readiness, timeout=LONG))
            while not retries:
                await asyncio.sleep(0.01)
                assert not waiting.done()
            await happens()
        if afterwards is not None:
            await afterwards()
        return waiting.result()

    return asyncio.run(both())


class TestStatus:
    """``db status``."""

    def test_ready_database(self, project: Project) -> None:
        """Backend, version, size, revision, head, and the rows of the Clarinet tables."""
        project.add_session(project.add_user("ada@clarinet.example"))
        before = snapshot(project)
        status = asyncio.run(database_status(project.settings))
        assert snapshot(project) == before

        assert status.backend == project.backend
        query = "SHOW server_version" if project.server else "SELECT sqlite_version()"
        assert status.server_version == project.rows(query)[0][0]
        assert (status.revision, status.head) == (BASE_REVISION, BASE_REVISION)
        assert status.managed_by == str(packaged_location())
        assert status.tables == {"user": 2, "userrole": 5, "userroleslink": 1, "access_token": 1}
        if project.server is None:
            assert status.size_bytes == project.file.stat().st_size > 0
            assert status.url == f"sqlite:///{project.file}"
        else:
            assert status.size_bytes > 1_000_000
            assert f"/{project.database}" in status.url

    def test_servers_database(self, server_project: Project) -> None:
        """The server's own revision and manager, and the four Clarinet tables of its twenty."""
        counts, revision = SERVERS[server_project.backend]
        status = asyncio.run(database_status(server_project.settings))
        assert (status.revision, status.head) == (revision, BASE_REVISION)
        assert "another Alembic environment" in status.managed_by
        assert set(status.tables) == set(TABLE_NAMES)
        assert counts.items() <= status.tables.items()
        for table, count in status.tables.items():
            assert count == server_project.count(table)

    def test_empty_database(self, empty_project: Project) -> None:
        """No revision and no tables, but a head to go to."""
        create_empty_database(empty_project)
        status = asyncio.run(database_status(empty_project.settings))
        assert (status.revision, status.head, status.tables) == (None, BASE_REVISION, {})

    def test_own_environment(self, project: Project) -> None:
        """Behind the project's own head: both revisions, and the environment's directory."""
        add_two_revisions(project)
        status = asyncio.run(database_status(project.settings))
        assert (status.revision, status.head) == (BASE_REVISION, THIRD)
        assert status.managed_by == str(project.directory / "alembic")

    def test_missing_database(self, empty_project: Project) -> None:
        """Asking does not create it."""
        with pytest.raises(UnreachableError):
            asyncio.run(database_status(empty_project.settings))
        assert set(files(empty_project.directory)) == {"settings.toml"}

    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_url_has_no_secret(self, project: Project) -> None:
        """The URL names user, place and database; the password is not in it, in any spelling."""
        override(project, database_username=LOCKED_ROLE, database_password=LOCKED_PASSWORD)
        status = asyncio.run(database_status(project.settings))
        assert status.url.startswith(f"postgresql://{LOCKED_ROLE}:")
        assert project.database in status.url
        for part in ("p@ss", "p%40ss", "w:rd", "w%3Ard", "%42"):
            assert part not in repr(status)


class TestWait:
    """``db wait``."""

    @pytest.mark.parametrize("readiness", Readiness)
    def test_ready_at_once(self, project: Project, readiness: Readiness) -> None:
        """One try, and the report names the database."""
        report = wait(project, readiness)
        assert (report.ready, report.attempts) == (readiness.value, 1)
        assert report.seconds >= 0
        assert project.database in report.url

    def test_servers_schema_is_ready(self, server_project: Project) -> None:
        """A schema that a server migrates is ready when the Clarinet tables exist."""
        assert wait(server_project, Readiness.SCHEMA).attempts == 1

    def test_connection_needs_no_schema(self, empty_project: Project) -> None:
        """An empty database is one that can be connected to."""
        create_empty_database(empty_project)
        assert wait(empty_project, Readiness.CONNECTION).attempts == 1

    @pytest.mark.parametrize("backend", ["sqlite"])
    @pytest.mark.parametrize("readiness", Readiness)
    def test_file_appears(
        self, empty_project: Project, retries: list[str], readiness: Readiness
    ) -> None:
        """A SQLite file that is not there yet is waited for."""

        async def appear() -> None:
            shutil.copyfile(SQLITE_FIXTURE, empty_project.file)

        report = wait_while(empty_project, readiness, retries, appear)
        assert report.attempts == len(retries) + 1 > 1
        assert "does not exist" in retries[0]

    def test_schema_appears(self, empty_project: Project, retries: list[str]) -> None:
        """An empty database is waited for until its schema is at head."""
        create_empty_database(empty_project)

        async def appear() -> None:
            await upgrade(empty_project.settings)

        report = wait_while(empty_project, Readiness.SCHEMA, retries, appear)
        assert report.attempts == len(retries) + 1 > 1
        assert BASE_REVISION in retries[0]

    def test_pending_revisions_are_waited_for(self, project: Project, retries: list[str]) -> None:
        """A schema that is not at head is not ready."""
        add_two_revisions(project)

        async def appear() -> None:
            await upgrade(project.settings)

        report = wait_while(project, Readiness.SCHEMA, retries, appear)
        assert report.attempts > 1
        assert SECOND in retries[0]

    def test_schema_does_not_appear(self, empty_project: Project, retries: list[str]) -> None:
        """Not ready in time: the time and the reason; nothing was created."""
        create_empty_database(empty_project)
        with pytest.raises(UnreachableError, match=BASE_REVISION) as caught:
            wait(empty_project, Readiness.SCHEMA, timeout=10)
        assert "not ready after 10 s" in caught.value.message
        assert len(retries) == 9
        assert snapshot(empty_project) == ({}, {})

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_file_does_not_appear(self, empty_project: Project) -> None:
        """Waiting does not create the file."""
        with pytest.raises(UnreachableError, match="does not exist"):
            wait(empty_project, Readiness.CONNECTION, timeout=10)
        assert set(files(empty_project.directory)) == {"settings.toml"}

    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_unknown_database_fails_at_once(
        self, empty_project: Project, retries: list[str]
    ) -> None:
        """The server's answer will not change: no second try, though there is time."""
        with pytest.raises(UnknownDatabaseError):
            wait(empty_project, Readiness.CONNECTION)
        assert retries == []

    @pytest.mark.parametrize("backend", ["postgresql"])
    @pytest.mark.parametrize("readiness", Readiness)
    def test_wrong_password_fails_at_once(
        self, project: Project, retries: list[str], readiness: Readiness
    ) -> None:
        """A refused log-in is not retried; the password is not in the message."""
        override(project, database_username=LOCKED_ROLE, database_password="canary")
        with pytest.raises(LoginRefusedError) as caught:
            wait(project, readiness)
        assert "canary" not in caught.value.message
        assert project.database in caught.value.message
        assert retries == []

    @pytest.mark.parametrize("backend", ["sqlite"])
    def test_file_that_is_no_database_fails_at_once(
        self, empty_project: Project, retries: list[str]
    ) -> None:
        """A file of another kind will not become a database."""
        empty_project.file.write_bytes(b"not a database, and long enough to be none\n" * 100)
        with pytest.raises(LoginRefusedError):
            wait(empty_project, Readiness.CONNECTION)
        assert retries == []

    def test_unreachable_host_is_tried_again(self, tmp_path: Path, retries: list[str]) -> None:
        """A server that does not answer is tried until the time is over, less and less often."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            (tmp_path / "settings.toml").write_text(
                'database_driver = "postgresql"\ndatabase_host = "127.0.0.1"\n'
                f'database_port = {unused.getsockname()[1]}\ndatabase_password = "canary"\n'
            )
            project = Project(tmp_path, "postgresql", "clarinet")
            with pytest.raises(UnreachableError, match="refused") as caught:
                wait(project, Readiness.CONNECTION, timeout=10)
        assert not isinstance(caught.value, LoginRefusedError)
        assert "not ready after 10 s" in caught.value.message
        assert "canary" not in caught.value.message
        assert len(retries) == 9  # after 0, 0.1, 0.3, 0.7, 1.5, 3.1, 5.1, 7.1 and 9.1 s

    def test_server_that_accepts_and_says_nothing(self, tmp_path: Path, retries: list[str]) -> None:
        """A server that hangs does not make the wait longer than its time."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            (tmp_path / "settings.toml").write_text(
                f'database_url = "postgresql://ada:canary@127.0.0.1:{port}/clarinet"\n'
            )
            project = Project(tmp_path, "postgresql", "clarinet")
            with pytest.raises(UnreachableError, match="in time"):
                wait(project, Readiness.CONNECTION, timeout=0.4)
        assert retries

    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_server_appears(self, project: Project, retries: list[str]) -> None:
        """A server that starts to listen during the wait is found."""
        assert project.server is not None
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        relay = Relay(project.server)
        override(project, database_host="127.0.0.1", database_port=port)
        report = wait_while(
            project, Readiness.SCHEMA, retries, lambda: relay.listen(port), relay.close
        )
        assert report.attempts == len(retries) + 1 > 1
        assert relay.connections


class Relay:
    """A port of this machine behind which the PostgreSQL server is."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.connections = 0

    async def listen(self, port: int) -> None:
        """Accept connections from now on."""
        self.listener = await asyncio.start_server(self.connect, "127.0.0.1", port)

    async def close(self) -> None:
        """Accept no more connections."""
        self.listener.close()
        await self.listener.wait_closed()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client and the server until the client leaves."""
        self.connections += 1
        if self.server.host.startswith("/"):
            path = f"{self.server.host}/.s.PGSQL.{self.server.port}"
            answers, questions = await asyncio.open_unix_connection(path)
        else:
            answers, questions = await asyncio.open_connection(self.server.host, self.server.port)
        back = asyncio.create_task(pump(answers, writer))
        await pump(reader, questions)
        await back


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends, and the end too."""
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
