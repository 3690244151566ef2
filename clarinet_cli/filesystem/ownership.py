"""Owner, group and mode of the files that the tool creates.

A new file gets the owner, group and mode of the database, as SQLite's own files do, or of its
directory. Only root can set the owner, and only a member the group; otherwise they are not
changed. All calls use descriptors, since a path may refer to another file a moment later.
"""

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

PRIVATE = stat.S_IRUSR | stat.S_IWUSR
GROUP_READ_WRITE = stat.S_IRGRP | stat.S_IWGRP
OTHERS_READ_WRITE = stat.S_IROTH | stat.S_IWOTH
DIRECTORY_MODE = 0o755  # less the umask, with the group's permissions on the model
# O_PATH opens a directory for use as dir_fd without permission to read it.
DIRECTORY_FLAGS = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


def open_file(
    path: Path, flags: int, *, like: Optional[Path] = None, mode: Optional[int] = None
) -> int:
    """Open a file; a new one gets the owner, group and mode of its model.

    Args:
        path: The file; its directory must exist.
        flags: The flags of ``os.open``. An existing file is opened without O_CREAT, since the
            kernel's protection of sticky directories would refuse that even to root.
        like: The database that is the model of a new file, if its owner may create files in
            that directory; otherwise the directory is the model.
        mode: The mode of a new file, less the umask, instead of the model's; in a directory
            that is writable by its group the file is too.

    Returns:
        The descriptor.

    Raises:
        OSError: It cannot be opened or created; ``filename`` is the whole path.
    """
    with _directory(path.parent) as directory:
        try:
            return _open_in(directory, path.name or os.curdir, flags, like, mode)
        except OSError as error:
            error.filename = str(path)
            raise


def make_directory(path: Path, *, like: Optional[Path] = None) -> None:
    """Create a directory and its missing parents.

    Args:
        path: The directory.
        like: See ``open_file``.

    Raises:
        OSError: It cannot be created.
    """
    if path.is_dir():
        return
    make_directory(path.parent, like=like)
    with _directory(path.parent) as parent:
        try:
            os.mkdir(path.name, DIRECTORY_MODE, dir_fd=parent)
        except FileExistsError:
            return
        except OSError as error:
            error.filename = str(path)
            raise
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with _closing(os.open(path.name, flags, dir_fd=parent)) as made:
            model = _template_status(parent, like)
            bits = model.st_mode & (stat.S_IRWXG | stat.S_ISGID)
            if not stat.S_ISDIR(model.st_mode) and bits & stat.S_IRGRP:
                bits = (bits | stat.S_IXGRP) & ~stat.S_ISGID
            _chown_and_chmod(made, model, stat.S_IMODE(os.fstat(made).st_mode) | bits)


def give_to_directory_owner(path: Path) -> None:
    """Set the owner and group of a file that a library has created to those of its directory.

    Args:
        path: The file; a link or a file of another user is not changed.
    """
    with (
        suppress(OSError),
        _directory(path.parent) as directory,
        _closing(os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)) as made,
    ):
        found = os.fstat(made)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid():
            _chown_and_chmod(made, os.fstat(directory), None)


def describe_owner(path: Path) -> str:
    """Return owner, group and mode of a file, or why they cannot be read, for a message.

    Args:
        path: The file.
    """
    try:
        found = path.stat()
    except OSError as error:
        return str(error.strerror)
    return f"it belongs to {_names(found)}, mode {stat.S_IMODE(found.st_mode):04o}"


def os_error_reason(error: OSError, path: Path) -> str:
    """Return why a file cannot be opened; if a permission is missing, with the file's owner.

    Args:
        error: The error.
        path: The file, used if the error has no ``filename``.
    """
    reason = error.strerror or type(error).__name__
    if not isinstance(error, PermissionError):
        return reason
    named = Path(os.path.normpath(os.fsdecode(error.filename or path)))
    unreadable = named if os.path.lexists(named) else named.parent
    return (
        f"{reason}: {'' if unreadable == named else 'its directory: '}{describe_owner(unreadable)}"
    )


def repair_commands(path: Path, like: Path) -> str:
    """Return the shell commands that set a file's owner and mode to those of a new file.

    Args:
        path: The file.
        like: The database that is its model; see ``open_file``.
    """
    try:
        found, model = path.stat(), like.stat()
    except OSError:
        return sudo_hint(like)
    name, commands = shlex.quote(str(path)), []
    if (found.st_uid, found.st_gid) != (model.st_uid, model.st_gid):
        commands.append(f"sudo chown {_names(model)} {name}")
    if _file_mode(model) & ~found.st_mode:
        commands.append(f"sudo chmod {_file_mode(model):04o} {name}")
    return " && ".join(commands) or sudo_hint(like)


def sudo_hint(path: Path) -> str:
    """Return the shell command that runs the tool as the owner of a file, for a hint.

    Args:
        path: The file.
    """
    try:
        number = path.stat().st_uid
    except OSError:
        return "run it as the owner"
    name = user_name(number)
    return f"sudo -u {name if not name.isdigit() else shlex.quote(f'#{name}')} clarinet …"


def _names(found: os.stat_result) -> str:
    return f"{user_name(found.st_uid)}:{group_name(found.st_gid)}"


def user_name(number: int) -> str:
    """Return the name of a uid of the operating system, or the uid as text if it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Return the name of a gid of the operating system, or the gid as text if it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _open_in(
    directory: int, name: str, flags: int, like: Optional[Path], mode: Optional[int]
) -> int:
    if not flags & os.O_CREAT:
        return os.open(name, flags, dir_fd=directory)
    try:
        made = os.open(name, flags | os.O_EXCL, PRIVATE if mode is None else mode, dir_fd=directory)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(name, flags & ~os.O_CREAT, dir_fd=directory)
    model = _template_status(directory, like)
    wanted = _file_mode(model)
    if mode is not None:
        wanted = stat.S_IMODE(os.fstat(made).st_mode) | (wanted & GROUP_READ_WRITE)
    _chown_and_chmod(made, model, wanted)
    return made


def _template_status(directory: int, like: Optional[Path]) -> os.stat_result:
    """Return the status of the file that a new file is modelled on; see ``open_file``."""
    parent = os.fstat(directory)
    if like is None:
        return parent
    with suppress(OSError):
        if os.path.samestat(like.parent.stat(), parent):
            return os.stat(like.name, dir_fd=directory)
        found = like.stat()
        if (
            parent.st_uid == found.st_uid
            or (parent.st_gid == found.st_gid and parent.st_mode & stat.S_IWGRP)
            or parent.st_mode & stat.S_IWOTH
        ):
            return found
    return parent


def _file_mode(model: os.stat_result) -> int:
    """Return the mode of a new file; others have access only if they may write the model."""
    if stat.S_ISDIR(model.st_mode):
        return PRIVATE | (GROUP_READ_WRITE if model.st_mode & stat.S_IWGRP else 0)
    others = OTHERS_READ_WRITE if model.st_mode & stat.S_IWOTH else 0
    return PRIVATE | (model.st_mode & GROUP_READ_WRITE) | others


def _chown_and_chmod(made: int, model: os.stat_result, mode: Optional[int]) -> None:
    """Set owner, group and mode of a new file, as far as this is permitted."""
    owner = model.st_uid if os.geteuid() == 0 else -1
    with suppress(OSError):
        os.fchown(made, owner, model.st_gid)
    if mode is not None:
        now = os.fstat(made)
        if now.st_gid != model.st_gid:  # the group could not be set: keep its permissions
            mode = (mode & ~stat.S_IRWXG) | (now.st_mode & stat.S_IRWXG)
        os.fchmod(made, mode)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    with _closing(os.open(path, DIRECTORY_FLAGS)) as opened:
        yield opened


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
