"""One migration and one clean-up at a time per database, however their processes end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Optional

import pytest

from clarinet_cli.exceptions import BusyError, ExitCode
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.settings import load_settings
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, process_environment

# A process that takes a lock, reports it, and keeps it until the process is ended.
HOLDER = """
import asyncio, sys
from pathlib import Path
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.settings import load_settings

async def main():
    async with job_lock(load_settings(Path(sys.argv[1])), Job[sys.argv[2]], timeout=10):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def is_free(project: Project, job: Job) -> bool:
    """Whether the lock can be had at once."""
    try:
        async with job_lock(project.settings, job, timeout=0):
            return True
    except BusyError:
        return False


@asynccontextmanager
async def other_process_holding(project: Project, job: Job) -> AsyncIterator[int]:
    """Run a process that holds the lock, and yield its id."""
    words = [sys.executable, "-c", HOLDER, str(project.directory), job.name]
    environment = process_environment(project.environment)
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert said == b"held\n"
        yield process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("job", list(Job))
async def test_a_second_holder_gets_a_busy_error(project: Project, job: Job) -> None:
    """While one holds the lock another one fails at once, with the job's name and code 75."""
    async with job_lock(project.settings, job, timeout=0):
        with pytest.raises(BusyError, match=f"another {job.label} is running") as caught:
            async with job_lock(project.settings, job, timeout=0):
                pytest.fail("two holders of one lock")
    assert caught.value.exit_code == ExitCode.BUSY


async def test_the_lock_is_free_after_the_block(project: Project) -> None:
    """The next process gets it."""
    async with job_lock(project.settings, Job.CLEANUP, timeout=0):
        assert not await is_free(project, Job.CLEANUP)
    assert await is_free(project, Job.CLEANUP)


async def test_the_lock_is_free_after_an_error(project: Project) -> None:
    """An error inside the block passes through and gives the lock back."""
    with pytest.raises(ZeroDivisionError):
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            raise ZeroDivisionError
    assert await is_free(project, Job.CLEANUP)


async def test_the_lock_is_free_after_a_cancelled_holder(project: Project) -> None:
    """A task that is cancelled inside the block gives the lock back."""
    held = asyncio.Event()

    async def hold() -> None:
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            held.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await asyncio.wait_for(held.wait(), PATIENCE_SECONDS)
    assert not await is_free(project, Job.CLEANUP)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_free(project, Job.CLEANUP)


async def test_a_busy_answer_does_not_take_the_lock(project: Project) -> None:
    """A refused process holds no lock, and the holder keeps its own."""
    async with job_lock(project.settings, Job.MIGRATION, timeout=0):
        assert not await is_free(project, Job.MIGRATION)
        assert not await is_free(project, Job.MIGRATION)
    assert await is_free(project, Job.MIGRATION)


async def test_different_jobs_do_not_block_each_other(project: Project) -> None:
    """A migration and a clean-up have locks of their own."""
    async with job_lock(project.settings, Job.MIGRATION, timeout=0):
        assert await is_free(project, Job.CLEANUP)
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            assert not await is_free(project, Job.MIGRATION)
            assert not await is_free(project, Job.CLEANUP)
        assert not await is_free(project, Job.MIGRATION)


async def test_a_waiting_process_gets_the_lock(project: Project) -> None:
    """With a timeout the second one continues when the first one is done, not before."""
    order: list[str] = []

    async def wait() -> None:
        async with job_lock(project.settings, Job.MIGRATION, timeout=PATIENCE_SECONDS):
            order.append("second")

    async with job_lock(project.settings, Job.MIGRATION, timeout=0):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0.4)
        assert not task.done()
        order.append("first")
    await asyncio.wait_for(task, PATIENCE_SECONDS)
    assert order == ["first", "second"]


async def test_waiting_has_an_end(project: Project) -> None:
    """If the lock is not released in time, the wait ends with an error."""
    async with job_lock(project.settings, Job.MIGRATION, timeout=0):
        with pytest.raises(BusyError):
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                job_lock(project.settings, Job.MIGRATION, timeout=0.3),
            ):
                pytest.fail("two holders of one lock")


async def test_many_at_once_go_one_after_the_other(project: Project) -> None:
    """Of several that wait, never two are inside, and all get their turn."""
    inside, most, done = 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        async with job_lock(project.settings, Job.CLEANUP, timeout=PATIENCE_SECONDS):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(4)))
    assert (most, done) == (1, 4)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_holder_gives_the_lock_back(
    project: Project, number: signal.Signals
) -> None:
    """The lock of a killed process is free at once."""
    async with other_process_holding(project, Job.CLEANUP) as process_id:
        assert not await is_free(project, Job.CLEANUP)
        assert await is_free(project, Job.MIGRATION)
        os.kill(process_id, number)
        entered: Optional[bool] = None
        async with job_lock(project.settings, Job.CLEANUP, timeout=PATIENCE_SECONDS):
            entered = True
        assert entered


async def test_another_database_has_locks_of_its_own(project: Project, tmp_path: Path) -> None:
    """A clean-up of one database does not wait for that of another one."""
    name = "neighbour"
    if project.server is not None:
        name = f"{project.database}_neighbour"
        await asyncio.to_thread(project.server.create, name)
    neighbour = Project(tmp_path, project.backend, name, project.server)
    neighbour.write_settings()
    if project.server is None:
        neighbour.file.touch()
    try:
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            assert await is_free(neighbour, Job.CLEANUP)
    finally:
        if project.server is not None:
            await asyncio.to_thread(project.server.drop, name)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_file_under_another_name_is_the_same_database(
    project: Project, tmp_path: Path
) -> None:
    """Two projects reach one SQLite file, one of them by a symbolic link: one lock."""
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "other.db").symlink_to(project.file)
    (linked / "settings.toml").write_text('database_name = "other"\n')
    async with job_lock(project.settings, Job.CLEANUP, timeout=0):
        with pytest.raises(BusyError):
            async with job_lock(load_settings(linked), Job.CLEANUP, timeout=0):
                pytest.fail("two clean-ups of one database")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_the_lock_file_is_beside_the_database(project: Project) -> None:
    """The database is not touched, and other users cannot read the lock file."""
    content = project.file.read_bytes()
    async with job_lock(project.settings, Job.CLEANUP, timeout=0):
        beside = [path for path in project.directory.iterdir() if "lock" in path.name]
        assert len(beside) == 1
        assert beside[0].stat().st_mode & 0o007 == 0
    assert project.file.read_bytes() == content
