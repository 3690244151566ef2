"""Checks which files a command may execute, read settings from, or write on behalf of another user.

A command trusts its caller (the effective user) and root.

- **Code** that a command executes - the files of a project's Alembic environment, the files
  that configure it, and their directories up to the project - must be owned by the caller or
  by root and must not be writable by anyone else: not by others, and not by a group that the
  caller is not a member of. For root only the group 0 counts. Otherwise the command is refused.
  Commands that only read the revisions never execute them, whoever owns them.
- **Settings files** may also be owned by the owner of the project directory, since a service's
  user owns its project and root administers it. A file of any other user, or one that is
  writable by others, is refused: it decides where a password is sent.
- **Completion** reads settings files under the rule for code.
- **Log files and new environments** that root writes for a project or a settings file of
  another user must be in a place where that user could write them.
- **Symbolic links** in the name of a file that a command writes must be owned by the caller or
  by root: any other link could redirect the write to any file of the caller.

``CLARINET_SAFE_DIRECTORY``, like Git's ``safe.directory``, lists project directories (separated
by ``:``, ``*`` for all) that are exempt. It is read from the environment only.
"""

import errno
import os
import pwd
import stat
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from clarinet_cli.exceptions import REFUSED, ClarinetError, RefusedError
from clarinet_cli.filesystem.ownership import group_name, user_name

SAFE_VARIABLE = "CLARINET_SAFE_DIRECTORY"
ROOT = 0
MAX_LINKS = 40  # the kernel's limit
PROC = Path("/proc")  # its links may not be paths: pipe:[123]


def require_code(paths: Iterable[Path], project: Path) -> None:
    """Refuse to run code that another user owns or may write.

    Args:
        paths: The files and their directories.
        project: The project directory.

    Raises:
        RefusedError: Another user owns one or may write it.
    """
    if _is_safe(project):
        return
    caller = os.geteuid()
    groups = {0} if caller == ROOT else {os.getegid(), *os.getgroups()}
    for path in paths:
        found = _status(path)
        if found is None:  # a broken link; its directory is checked too
            continue
        if found.st_uid not in (caller, ROOT):
            owner = user_name(found.st_uid)
            raise _refused(path, f"belongs to {owner}", f"'sudo -u {owner} clarinet …'", project)
        sticky_project = path == project and found.st_mode & stat.S_ISVTX  # like /tmp
        if found.st_mode & stat.S_IWOTH and not sticky_project:
            raise _refused(path, "is world-writable", f"chmod o-w '{path}'", project)
        if found.st_mode & stat.S_IWGRP and found.st_gid not in groups:
            reason = f"can be written by the group {found.st_gid}"
            raise _refused(path, reason, f"chmod g-w '{path}'", project)


def is_trusted(paths: Iterable[Path], project: Path) -> bool:
    """Return whether ``require_code`` accepts files.

    Args:
        paths: The files and their directories.
        project: The project directory.
    """
    try:
        require_code(paths, project)
    except RefusedError:
        return False
    return True


def require_settings_file(path: Path) -> None:
    """Refuse a settings file that is not owned by the caller, root or the project's owner.

    Args:
        path: The file, which may be missing.

    Raises:
        RefusedError: Another user owns it, or others may write it.
    """
    found = _status(path)
    if found is None or _is_safe(path.parent):
        return
    if found.st_uid not in {os.geteuid(), ROOT, path.parent.stat().st_uid}:
        raise REFUSED.with_context(
            f"{path} belongs to {user_name(found.st_uid)}, who is neither you, root, "
            "nor the owner of its directory",
            hint=f"to allow it: chown {user_name(os.geteuid())} '{path}'",
        )
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise REFUSED.with_context(f"{path} is world-writable", hint=f"chmod o-w '{path}'")


def writable_by_others(path: Path) -> Optional[str]:
    """Return who can change a file in addition to its owner, or None.

    The owner's primary group counts as the owner: many systems give each user one.

    Args:
        path: The file; None is returned for a missing one.
    """
    found = _status(path)
    if found is None:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "every user"
    if found.st_mode & stat.S_IWGRP and found.st_gid != _primary_group(found.st_uid):
        return f"the group {group_name(found.st_gid)}"
    return None


def readable_by_others(path: Path) -> bool:
    """Return whether every user of the machine may read a file.

    Args:
        path: The file; False is returned for a missing one.
    """
    found = _status(path)
    return found is not None and bool(found.st_mode & stat.S_IROTH)


def _primary_group(user: int) -> Optional[int]:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return None


def require_log_location(path: Path, *, key: str, named_by: Path) -> None:
    """Refuse, as root, to write a log where the owner of the settings file could not.

    Args:
        path: The log file or directory.
        key: The setting that names it.
        named_by: The settings file that contains the setting.

    Raises:
        RefusedError: The owner of the settings file could not write there.
    """
    source = _status(named_by)
    if os.geteuid() != ROOT or source is None or source.st_uid == ROOT:
        return
    if _is_safe(named_by.parent) or _could_write(source.st_uid, path):
        return
    owner = user_name(source.st_uid)
    raise REFUSED.with_context(
        f"{named_by}: {key}: {owner}, the owner of this file, cannot write to {path}",
        hint=f"to allow it: chown root '{named_by}'",
    )


def require_project_location(paths: Iterable[Path], project: Path) -> None:
    """Refuse, as root, to create files for a project where its owner could not.

    Args:
        paths: The files; a link in the project may lead out of it.
        project: The project directory.

    Raises:
        RefusedError: The owner of the project could not write one.
    """
    owner = project.stat().st_uid
    if os.geteuid() != ROOT or owner == ROOT or _is_safe(project):
        return
    for path in paths:
        if not _could_write(owner, path):
            name = user_name(owner)
            raise REFUSED.with_context(
                f"{name}, the owner of the project, cannot write to {path.resolve()}",
                hint=f"'sudo -u {name} clarinet …'",
            )


def trusted_path(path: Path) -> Path:
    """Return *path* with its links resolved, to be opened with ``nofollow``.

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
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if status.st_uid not in (os.geteuid(), ROOT):
            raise OSError(errno.ELOOP, "a link that belongs to another user", str(step))
        if found.is_relative_to(PROC) and os.fspath(step.readlink()).endswith("]"):
            return step.joinpath(*left)
        target = step.readlink()
        left.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        found = Path("/") if target.is_absolute() else found
    return found


def nofollow(path: Path) -> int:
    """Return the flag of ``os.open`` that refuses a link created after ``trusted_path``.

    Args:
        path: The path that ``trusted_path`` returned.
    """
    return 0 if path.is_relative_to(PROC) else os.O_NOFOLLOW


def _refused(path: Path, reason: str, remedy: str, project: Path) -> ClarinetError:
    caller = user_name(os.geteuid())
    return REFUSED.with_context(
        f"{path} {reason}, and the migration's Python would run as {caller}",
        hint=f"{remedy}; or {SAFE_VARIABLE}='{project}' if you trust it",
    )


def _could_write(user: int, path: Path) -> bool:
    """Return whether a user may write, create or replace a file."""
    if "\0" in str(path):  # opening it reports the error
        return True
    resolved = path.resolve()
    found = _status(resolved)
    nearest = next(parent for parent in resolved.parents if parent.exists()).stat()
    if found is None or stat.S_ISDIR(found.st_mode):
        return _may_write(user, found or nearest)
    if _may_write(user, found):
        return True
    replaceable = found.st_nlink == 1 and not nearest.st_mode & stat.S_ISVTX
    return replaceable and _may_write(user, nearest)


def _may_write(user: int, found: os.stat_result) -> bool:
    if found.st_uid == user:
        return bool(found.st_mode & stat.S_IWUSR)
    if found.st_gid in _groups_by_name(user):
        return bool(found.st_mode & stat.S_IWGRP)
    return bool(found.st_mode & stat.S_IWOTH)


def _groups_by_name(user: int) -> list[int]:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return []
    return os.getgrouplist(entry.pw_name, entry.pw_gid)


def _is_safe(project: Path) -> bool:
    named = os.environ.get(SAFE_VARIABLE, "").split(os.pathsep)
    return "*" in named or any(name and Path(name).resolve() == project.resolve() for name in named)


def _status(path: Path) -> Optional[os.stat_result]:
    try:
        return path.stat()
    except OSError:  # missing or unreadable; opening it reports the error
        return None
