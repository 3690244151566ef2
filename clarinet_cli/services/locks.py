"""One migration and one clean-up at a time per database."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.session import get_async_session
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.exceptions import BUSY, FAILURE, UNREACHABLE, ClarinetError
from clarinet_cli.filesystem.ownership import describe_owner, open_file, repair_commands, sudo_hint
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

DEFAULT_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
# A link that somebody planted, and a pipe that nobody reads, are no locks.
LOCK_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


CheckLock = Callable[[], Awaitable[None]]


class Job(IntEnum):
    """A job that only one process at a time may do; the number is its advisory lock."""

    MIGRATION = 1
    CLEANUP = 2

    @property
    def label(self) -> str:
        """The job's name in messages."""
        return {Job.MIGRATION: "migration", Job.CLEANUP: "clean-up"}[self]


@asynccontextmanager
async def job_lock(
    settings: Settings, job: Job, *, timeout: float = DEFAULT_TIMEOUT_SECONDS
) -> AsyncIterator[CheckLock]:
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
        async with _locked_file(_followed(file), job, timeout):
            yield _always_held
        return
    async with get_async_session(settings, any_tables=True) as session:
        await _advisory_lock(session, job, timeout)
        # The lock ends with its connection: while that answers, the lock is ours.
        yield ServerRepository(session).keep_lock_alive


def _followed(file: Path) -> Path:
    """Return the file itself: one lock, by whatever link the database is reached."""
    return Path(os.path.realpath(file))


async def _always_held() -> None:
    """The kernel takes a file's lock away from no process that lives."""


@asynccontextmanager
async def _locked_file(database: Path, job: Job, timeout: float) -> AsyncIterator[None]:
    if not database.parent.is_dir():
        raise UNREACHABLE.with_context(f"there is no directory {database.parent}")
    path = database.with_name(f"{database.name}.{job.name.lower()}.lock")
    descriptor = _open_lock(path, database)
    try:
        await _lock(descriptor, path, job, timeout)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path, database: Path) -> int:
    """Open the lock file, for reading where it can't be written: the lock needs no more."""
    try:
        return open_file(path, os.O_RDWR | os.O_CREAT | LOCK_FLAGS, like=database)
    except PermissionError:
        return _open_lock_for_reading(path, database)
    except OSError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(f"can't make the lock file {path}: {error.strerror}") from error


def _open_lock_for_reading(path: Path, database: Path) -> int:
    try:
        return open_file(path, os.O_RDONLY | LOCK_FLAGS)
    except FileNotFoundError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(
            f"can't make the lock file {path} in its directory: {describe_owner(path.parent)}",
            hint=sudo_hint(database if database.exists() else path.parent),
        ) from error
    except OSError as error:
        logger.bind(reported=True).error(f"lock file {path}: {error}")
        raise FAILURE.with_context(
            f"can't open the lock file {path}: {describe_owner(path)}",
            hint=repair_commands(path, database),
        ) from error


async def _lock(descriptor: int, path: Path, job: Job, timeout: float) -> None:
    """Take the lock, which the kernel gives back with the descriptor."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise _busy(job, error) from error
        except OSError as error:
            logger.bind(reported=True).error(f"lock file {path}: {error}")
            raise FAILURE.with_context(f"can't lock {path}: {error.strerror}") from error
        else:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _advisory_lock(session: AsyncSession, job: Job, timeout: float) -> None:
    server = ServerRepository(session)
    deadline = asyncio.get_running_loop().time() + timeout
    while not await server.try_advisory_lock(int(job)):
        if asyncio.get_running_loop().time() >= deadline:
            raise _busy(job, None)
        await asyncio.sleep(POLL_SECONDS)
    await server.disable_transaction_timeout()


def _busy(job: Job, cause: Exception | None) -> ClarinetError:
    logger.bind(reported=True).error(f"lock of the {job.label} not free: {cause or 'advisory'}")
    return BUSY.with_context(f"another {job.label} is running on this database")
