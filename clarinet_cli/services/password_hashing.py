"""Hashing many passwords at once, on all cores and outside any transaction."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from clarinet_cli.services.passwords import NewPassword, hash_password
from clarinet_cli.settings import Settings

Progress = Callable[[int, int], None]


async def hash_all(
    passwords: Sequence[NewPassword], settings: Settings, progress: Progress
) -> list[str]:
    """Return the hash of each password, in order.

    No more hashes are under way than there are cores for this process: each takes
    ``argon2_memory_cost`` KiB, and its lanes use the cores already.

    Args:
        passwords: The passwords.
        settings: The hash parameters.
        progress: Called after each with those done so far and all.
    """
    loop = asyncio.get_running_loop()
    done = 0

    async def counted(work: Awaitable[str]) -> str:
        nonlocal done
        hashed = await work
        done += 1
        progress(done, len(passwords))
        return hashed

    with ThreadPoolExecutor(_cores()) as pool:
        works = [
            counted(loop.run_in_executor(pool, hash_password, password, settings))
            for password in passwords
        ]
        return await asyncio.gather(*works)


def _cores() -> int:
    """Return how many cores this process may use; not every system can tell."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
