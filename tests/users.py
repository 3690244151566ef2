"""Other users of the machine, whose actions run in a fork of this process.

The interpreter may lie where only root gets in, so it is not started again. What is imported
late has to be loaded before, for the same reason: see ``load_everything``.
"""

import functools
import importlib
import json
import os
import pkgutil
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import clarinet_cli
from tests.postgres import memory_directory
from tests.support import Project, Result

NOT_AN_ENVIRONMENT = "clarinet_cli.alembic"  # of an installed package: run by Alembic alone


@dataclass(frozen=True)
class User:
    """A user of the machine, by numbers, which need no entry anywhere."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = User(0, 0)
SERVICE = User(61234, 61234)
STRANGER = User(61235, 61235)
TEAM = 61300
MEMBER = User(61236, 61236, (TEAM,))
OTHER_MEMBER = User(61237, 61237, (TEAM,))


@functools.cache
def load_everything() -> None:
    """Import what a command would import while it runs."""
    for module in pkgutil.walk_packages(clarinet_cli.__path__, "clarinet_cli."):
        if not module.name.startswith(NOT_AN_ENVIRONMENT):
            importlib.import_module(module.name)
    with shared_directory() as directory:
        project = Project(directory, "sqlite", "loading")
        project.write_settings()
        for line in ("db init --generate-password", "session list -o wide", "migrate check"):
            project.run(*line.split())


@contextmanager
def shared_directory(mode: int = 0o755) -> Iterator[Path]:
    """Yield a directory that other users reach; those of pytest are for one user."""
    directory = Path(tempfile.mkdtemp(dir=memory_directory()))
    directory.chmod(mode)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def as_user(user: User, action: Callable[[], Any], *, umask: int = 0o022) -> Any:
    """Run a function as another user and return its result, as JSON represents it."""
    load_everything()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _finish(user, action, umask, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    done = json.loads(answer or '{"failed": "it died"}')
    assert "failed" not in done, done["failed"]
    return done["value"]


def run_as(
    user: User,
    project: Project,
    *words: str,
    stdin: str = "",
    env: Optional[Mapping[str, str]] = None,
    umask: int = 0o022,
) -> Result:
    """Run a command as another user."""
    ended = as_user(user, lambda: asdict(project.run(*words, stdin=stdin, env=env)), umask=umask)
    return Result(**ended)


def owner_of(path: Path) -> tuple[int, int, int]:
    """Return owner, group and mode of a file itself."""
    found = path.lstat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


def give(user: User, *paths: Path, mode: Optional[int] = None) -> None:
    """Give files to a user and their primary group."""
    for path in paths:
        os.chown(path, user.uid, user.gid)
        if mode is not None:
            path.chmod(mode)


def belongs_to(user: User, paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Return those files, by name, that are not a user's and their primary group's."""
    owners = {path.name: owner_of(path)[:2] for path in paths}
    return {name: owner for name, owner in owners.items() if owner != (user.uid, user.gid)}


def _finish(user: User, action: Callable[[], Any], umask: int, writing: int) -> None:
    """In the child: become the user, run, answer, and end without the parent's clean-up."""
    code = 1
    try:
        os.umask(umask)
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        answer = {"value": action()}
        code = 0
    except BaseException:  # noqa: BLE001 - the parent tells of it
        answer = {"failed": traceback.format_exc()}
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    os._exit(code)
