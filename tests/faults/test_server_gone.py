"""The PostgreSQL server stops while a command waits for it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import OwnServer, PostgresServer, memory_directory
from tests.support import PASSWORD, Project, process_environment

UNTIL_SOMEBODY_WAITS = """DO $$ BEGIN
  WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$"""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[tuple[Project, Path]]:
    """A ready project on a server of its own, and the file with the server's process id."""
    own = OwnServer(memory_directory()).prepare_for_tests()
    project = Project(tmp_path, "postgresql", "clarinet", PostgresServer(own.url))
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    yield project, own.directory / "data" / "postmaster.pid"
    own.stop()


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT], ids=["crash", "fast"])
@pytest.mark.parametrize("verbose", [[], ["-v"]], ids=["", "-v"])
def test_is_one_error_and_one_hint(
    mortal: tuple[Project, Path], number: signal.Signals, verbose: list[str]
) -> None:
    """7 and one error line, without messages of asyncio."""
    project, process_id = mortal
    server = project.server
    assert server is not None

    async def kill() -> tuple[int, str]:
        holder, watcher = await asyncio.gather(
            server.connect(project.database), server.connect("postgres")
        )
        await holder.execute('BEGIN; LOCK TABLE "user", access_token')
        command = project.process("session", "cleanup")
        command[3:3] = verbose
        process = await asyncio.create_subprocess_exec(
            *command, stdout=-1, stderr=-1, env=process_environment({})
        )
        await watcher.execute(UNTIL_SOMEBODY_WAITS)
        os.kill(int(process_id.read_text().split()[0]), number)
        _, stderr = await process.communicate()
        for connection in (holder, watcher):
            connection.terminate()
        assert process.returncode is not None
        return process.returncode, stderr.decode()

    code, text = asyncio.run(kill())
    errors = [line for line in text.splitlines() if line.lower().startswith("error")]
    assert (code, len(errors)) == (7, 1), text
    assert "never retrieved" not in text
    assert "Traceback" not in text
