"""Links in the names of files that the tool writes: only those of its user, or of root.

In a directory of somebody else a link could send what is written to any file of the user
who runs the tool, who may be root.
"""

import errno
import os
import stat
from collections import deque
from pathlib import Path

MOST_LINKS = 40  # as many as the kernel follows
KERNEL_NAMES = Path("/proc")  # its links are no names: pipe:[123]


def trusted_path(path: Path) -> Path:
    """Return *path* without the links in it, to be opened with ``nofollow``.

    Args:
        path: A file, which may be missing.

    Raises:
        OSError: A link in it belongs to another user; ``filename`` is the link.
    """
    found, left, links = Path("/"), deque(path.absolute().parts[1:]), 0
    while left:
        part = left.popleft()
        step = found.parent if part == os.pardir else found / part
        try:
            status = step.lstat()
        except FileNotFoundError:
            return step.joinpath(*left)
        if not stat.S_ISLNK(status.st_mode):
            found = step
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if status.st_uid not in (os.geteuid(), 0):
            raise OSError(errno.ELOOP, "a link that belongs to another user", str(step))
        if found.is_relative_to(KERNEL_NAMES) and os.fspath(step.readlink()).endswith("]"):
            return step.joinpath(*left)
        target = step.readlink()
        left.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        found = Path("/") if target.is_absolute() else found
    return found


def nofollow(path: Path) -> int:
    """Return the flag that keeps a link from being followed that took the file's place.

    Args:
        path: As ``trusted_path`` returns it.
    """
    return 0 if path.is_relative_to(KERNEL_NAMES) else os.O_NOFOLLOW
