"""Locks: one migration, one clean-up and one restore at a time per database."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path

from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import FAILURE, JOB_RUNNING, UNREACHABLE, ClarinetError
from clarinet_cli.filesystem.ownership import describe_owner, open_file, repair_commands, sudo_hint
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.services.unit_of_work import open_database, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

DEFAULT_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
# Refuse links and don't block on pipes, which other users may have created.
LOCK_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


CheckLock = Callable[[], Awaitable[None]]


class Job(IntEnum):
    """A job that only one process at a time may run; the value is its advisory lock."""

    MIGRATION = 1
    CLEANUP = 2
    RESTORE = 4  # 3 is that of accounts, in the repositories

    @property
    def label(self) -> str:
        """The job's name in messages."""
        return {Job.MIGRATION: "migration", Job.CLEANUP: "clean-up", Job.RESTORE: "restore"}[self]


@asynccontextmanager
async def job_lock(
    settings: Settings, job: Job, *, timeout: float = DEFAULT_TIMEOUT_SECONDS
) -> AsyncIterator[CheckLock]:
    """Hold the lock of *job* on the configured database inside the block.

    SQLite: a lock on a file next to the database, which the kernel releases when the process
    ends. PostgreSQL: a transaction-level advisory lock on a connection of its own. Unlike a
    session-level lock it works behind pgbouncer in transaction mode; the server releases it
    when the connection ends.

    Args:
        settings: The database.
        job: The job.
        timeout: Seconds to wait for the lock; 0: try once.

    Yields:
        A function that a long job awaits periodically; it fails if the lock was lost.

    Raises:
        JobRunningError: Another process held the lock during that time.
        StandbyError: The server accepts no writes.
    """
    file = sqlite_file(database_url(settings))
    if file is not None:
        async with _locked_file(file, job, timeout):
            yield _always_held
        return
    async with (
        open_database(settings, writes=True) as database,
        unit_of_work(database, check_tables=False) as work,
    ):
        server = ServerRepository(work.session)
        deadline = asyncio.get_running_loop().time() + timeout
        while not await server.try_advisory_lock(int(job)):
            if asyncio.get_running_loop().time() >= deadline:
                raise _busy(job, None)
            await asyncio.sleep(POLL_SECONDS)
        await server.disable_transaction_timeout()
        # The lock ends with its connection: the lock is held while that answers.
        yield ServerRepository(work.session).keep_lock_alive


async def _always_held() -> None:
    """Do nothing: a file lock lasts as long as the process."""


@asynccontextmanager
async def _locked_file(database: Path, job: Job, timeout: float) -> AsyncIterator[None]:
    database = Path(os.path.realpath(database))  # noqa: ASYNC240 - all links share one lock
    if not database.parent.is_dir():
        raise UNREACHABLE.with_context(f"directory {database.parent} does not exist")
    path = database.with_name(f"{database.name}.{job.name.lower()}.lock")
    try:
        descriptor = open_file(path, os.O_RDWR | os.O_CREAT | LOCK_FLAGS, like=database)
    except PermissionError:
        descriptor = _open_lock_for_reading(path, database)
    except OSError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(
            f"cannot create the lock file {path}: {error.strerror}"
        ) from error
    try:
        await _lock(descriptor, path, job, timeout)
        yield
    finally:
        os.close(descriptor)


def _open_lock_for_reading(path: Path, database: Path) -> int:
    try:
        return open_file(path, os.O_RDONLY | LOCK_FLAGS)
    except FileNotFoundError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(
            f"cannot create the lock file {path} in its directory: {describe_owner(path.parent)}",
            hint=sudo_hint(database if database.exists() else path.parent),
        ) from error
    except OSError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(
            f"cannot open the lock file {path}: {describe_owner(path)}",
            hint=repair_commands(path, database),
        ) from error


async def _lock(descriptor: int, path: Path, job: Job, timeout: float) -> None:
    """Lock the file until its descriptor is closed."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise _busy(job, error) from error
        except OSError as error:
            logger.bind(reported=True).error(f"lock file {path}: {error}")
            raise FAILURE.with_context(f"cannot lock {path}: {error.strerror}") from error
        else:
            return
        await asyncio.sleep(POLL_SECONDS)


def _busy(job: Job, cause: Exception | None) -> ClarinetError:
    logger.bind(reported=True).error(
        f"the lock of the {job.label} is held: {cause or 'advisory lock'}"
    )
    return JOB_RUNNING.with_context(f"another {job.label} is running on this database")
