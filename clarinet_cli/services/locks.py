"""One migration and one clean-up at a time per database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path

from filelock import AsyncFileLock, Timeout
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import BUSY, FAILURE, UNREACHABLE, ClarinetError
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import database_url, get_async_session, sqlite_file
from clarinet_cli.utils.logger import logger

DEFAULT_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
LOCK_FILE_MODE = 0o660


StillHeld = Callable[[], Awaitable[None]]


class Job(IntEnum):
    """A job that only one process at a time may do; the number is its advisory lock."""

    MIGRATION = 1
    CLEANUP = 2

    @property
    def label(self) -> str:
        """The job's name in messages."""
        return {Job.MIGRATION: "migration", Job.CLEANUP: "clean-up"}[self]


@asynccontextmanager
async def exclusive(
    settings: Settings, job: Job, *, timeout: float = DEFAULT_TIMEOUT_SECONDS
) -> AsyncIterator[StillHeld]:
    """Hold the lock of *job* on the configured database inside the block.

    SQLite: a lock on a file beside the database, given back by the kernel when the process
    ends in whatever way. PostgreSQL: an advisory lock of a transaction that stays open, on a
    connection of its own: unlike a session's lock it holds behind pgbouncer in transaction
    mode, and the server gives it back when the connection ends.

    Args:
        settings: Which database.
        job: Which lock.
        timeout: Seconds to wait for it; 0 tries once.

    Yields:
        A function that a long job awaits now and then: it fails when the lock was lost.

    Raises:
        BusyError: Somebody else held it all that time.
    """
    file = sqlite_file(database_url(settings))
    if file is not None:
        file = file.resolve()  # one lock, by whatever link the database is reached
        async with _locked_file(
            file.with_name(f"{file.name}.{job.name.lower()}.lock"), job, timeout
        ):
            yield _always_held
        return
    async with get_async_session(settings) as session:
        await _advisory_lock(session, job, timeout)
        # The lock ends with its connection: while that answers, the lock is ours.
        yield ServerRepository(session).hold


async def _always_held() -> None:
    """The kernel takes a file's lock away from no process that lives."""


@asynccontextmanager
async def _locked_file(path: Path, job: Job, timeout: float) -> AsyncIterator[None]:
    if not path.parent.is_dir():  # the lock would make it, for a mistyped name too
        raise UNREACHABLE.with_context(f"there is no directory {path.parent}")
    lock = AsyncFileLock(path, timeout=timeout, mode=LOCK_FILE_MODE, fallback_to_soft=False)
    try:
        await lock.acquire()
    except Timeout as error:
        raise _busy(job, error) from error
    except OSError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(f"can't make the lock file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        await lock.release()


async def _advisory_lock(session: AsyncSession, job: Job, timeout: float) -> None:
    server = ServerRepository(session)
    deadline = asyncio.get_running_loop().time() + timeout
    while not await server.try_advisory_lock(int(job)):
        if asyncio.get_running_loop().time() >= deadline:
            raise _busy(job, None)
        await asyncio.sleep(POLL_SECONDS)
    await server.stay_open()


def _busy(job: Job, cause: Exception | None) -> ClarinetError:
    logger.bind(reported=True).error(f"lock of the {job.label} not free: {cause or 'advisory'}")
    return BUSY.with_context(f"another {job.label} is running on this database")
