"""Whose files a command may run, obey, or write to for somebody else.

The rule, in one place. A command trusts its caller (the effective user) and root.

- **Code** that a command has to run - the files of a project's Alembic environment, those that
  name it, and their directories up to the project - belongs to the caller or to root, and
  nobody else may write it: not the world, and not a group that the caller is not in. For root
  no group but its own counts. Otherwise the command is refused. Commands that only read the
  revisions never run them, whoever owns them.
- **Settings files** may belong to the owner of the project directory too: a service's user
  owns its project, and root looks after it. A file of anybody else, or one that the world may
  write, is refused: it decides where a password is sent.
- **Completion** follows settings files under the rule for code: who presses TAB asked for nothing.
- **Logs** that root writes because a settings file of another user says so stay where that
  user could write them himself, and so do the files of a new environment for his project.

``CLARINET_SAFE_DIRECTORY``, as Git's ``safe.directory``, names project directories (separated
by ``:``, ``*`` for all) in which none of this is asked. It is read from the environment alone.
"""

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from clarinet_cli.exceptions import REFUSED, ClarinetError, RefusedError

SAFE_VARIABLE = "CLARINET_SAFE_DIRECTORY"
ROOT = 0


def require_code(paths: Iterable[Path], project: Path) -> None:
    """Refuse to run code that other users own or may write.

    Args:
        paths: The files, and the directories that they are in.
        project: The project directory that they belong to.

    Raises:
        RefusedError: Whose file it is, and the way out.
    """
    if _is_safe(project):
        return
    for path in paths:
        _require_code_file(path, project)


def is_callers_own(paths: Iterable[Path], project: Path) -> bool:
    """Return whether files can be relied on as code can: for what is done without being asked.

    Args:
        paths: The files, and the directories that they are in.
        project: The project directory that they belong to.
    """
    try:
        require_code(paths, project)
    except RefusedError:
        return False
    return True


def require_settings_file(path: Path) -> None:
    """Refuse a settings file that is neither the caller's, root's nor the project owner's.

    Args:
        path: The file; a missing one is fine.

    Raises:
        RefusedError: Whose file it is, and the way out.
    """
    found = _status(path)
    if found is None or _is_safe(path.parent):
        return
    if found.st_uid not in {os.geteuid(), ROOT, path.parent.stat().st_uid}:
        raise REFUSED.with_context(
            f"{path} belongs to {user_name(found.st_uid)}, who is neither you, root, "
            "nor the owner of its directory",
            hint=f"if it is right: chown {user_name(os.geteuid())} '{path}'",
        )
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise REFUSED.with_context(
            f"{path} can be written by everybody", hint=f"chmod o-w '{path}'"
        )


def require_log_place(path: Path, *, key: str, named_by: Path) -> None:
    """Refuse, as root, to write a log where the owner of the settings file could not.

    Args:
        path: The log, or the directory of logs.
        key: The setting that names it.
        named_by: The settings file that has this setting.

    Raises:
        RefusedError: Which setting names a place that is not its owner's.
    """
    source = _status(named_by)
    if os.geteuid() != ROOT or source is None or source.st_uid == ROOT:
        return
    if _is_safe(named_by.parent) or _could_write(source.st_uid, path):
        return
    owner = user_name(source.st_uid)
    raise REFUSED.with_context(
        f"{named_by}: {key}: {path} is not a place where {owner}, whose file this is, may write",
        hint=f"if it is right: chown root '{named_by}'",
    )


def require_project_place(paths: Iterable[Path], project: Path) -> None:
    """Refuse, as root, to put files for a project where its owner could not.

    Args:
        paths: The files; a link in the project may lead out of it.
        project: The project directory.

    Raises:
        RefusedError: Which file it is, and the way out.
    """
    owner = project.stat().st_uid
    if os.geteuid() != ROOT or owner == ROOT or _is_safe(project):
        return
    for path in paths:
        if not _could_write(owner, path):
            name = user_name(owner)
            raise REFUSED.with_context(
                f"{path.resolve()} is not a place where {name}, whose project this is, may write",
                hint=f"'sudo -u {name} clarinet …'",
            )


def user_name(number: int) -> str:
    """Return a user's name, or the number of one without a name.

    Args:
        number: The user id.
    """
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _require_code_file(path: Path, project: Path) -> None:
    found, caller = _status(path), os.geteuid()
    if found is None:  # of a link to nothing the directory is looked at
        return
    if found.st_uid not in (caller, ROOT):
        owner = user_name(found.st_uid)
        raise _refused(path, f"belongs to {owner}", f"'sudo -u {owner} clarinet …'", project)
    if found.st_mode & stat.S_IWOTH and not _is_sticky_parent(path, found, project):
        raise _refused(path, "can be written by everybody", f"chmod o-w '{path}'", project)
    if found.st_mode & stat.S_IWGRP and found.st_gid not in _groups_of(caller):
        reason = f"can be written by the group {found.st_gid}"
        raise _refused(path, reason, f"chmod g-w '{path}'", project)


def _refused(path: Path, reason: str, remedy: str, project: Path) -> ClarinetError:
    caller = user_name(os.geteuid())
    return REFUSED.with_context(
        f"{path} {reason}, and the migration's Python would run as {caller}",
        hint=f"{remedy}; or {SAFE_VARIABLE}='{project}' if you trust it",
    )


def _is_sticky_parent(path: Path, found: os.stat_result, project: Path) -> bool:
    """Whether nobody can replace what is in a directory that everybody may write, as /tmp."""
    return path == project and bool(found.st_mode & stat.S_ISVTX)


def _groups_of(caller: int) -> set[int]:
    return {0} if caller == ROOT else {os.getegid(), *os.getgroups()}


def _could_write(user: int, path: Path) -> bool:
    """Whether a user may write a file, or make it, or put another in its place."""
    if "\0" in str(path):  # that it is no name is said by who opens it
        return True
    place = path.resolve()
    found = _status(place)
    nearest = next(parent for parent in place.parents if parent.exists()).stat()
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
    except OSError:  # missing, or a loop: reading it says what is wrong
        return None
