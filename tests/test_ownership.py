"""Whose the files are that the tool makes: of what they lie beside, and never of a planted link."""

import os
import stat
from pathlib import Path

import pytest

from clarinet_cli.filesystem.ownership import give_to_directory_owner, make_directory, open_file
from tests.users import (
    MEMBER,
    OTHER_MEMBER,
    ROOT,
    SERVICE,
    STRANGER,
    TEAM,
    User,
    as_user,
    give,
    owner_of,
    shared_directory,
)

NEW = os.O_CREAT | os.O_WRONLY | os.O_APPEND


@pytest.fixture
def database(service_directory: Path) -> Path:
    """A file of the service's user that the group may write."""
    file = service_directory / "clarinet.db"
    file.touch()
    give(SERVICE, file, mode=0o660)
    return file


def make(user: User, path: Path, like: Path | None = None, umask: int = 0o022) -> None:
    """Open a file as a user, and close it."""
    as_user(user, lambda: os.close(open_file(path, NEW, like=like)), umask=umask)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(
    ("mode", "wanted"), [(0o660, 0o660), (0o640, 0o640), (0o600, 0o600), (0o644, 0o640)]
)
def test_root_makes_the_databases_owners_file(
    database: Path, umask: int, mode: int, wanted: int
) -> None:
    """Owner, group and mode are the database's, with any umask."""
    database.chmod(mode)
    beside = database.with_name("lock")
    make(ROOT, beside, database, umask)
    assert owner_of(beside) == (SERVICE.uid, SERVICE.gid, wanted)


def test_writers_of_the_database_may_write_its_side_files(database: Path) -> None:
    """The lock of a database that all may write can be written by all."""
    database.chmod(0o666)
    make(ROOT, database.with_name("lock"), database)
    assert owner_of(database.with_name("lock"))[2] == 0o666


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_member_makes_the_groups_file(database: Path, umask: int) -> None:
    """A member cannot change the owner, but sets the group and its permission."""
    os.chown(database, SERVICE.uid, TEAM)
    database.parent.chmod(0o777)
    beside = database.with_name("lock")
    make(MEMBER, beside, database, umask)
    assert owner_of(beside) == (MEMBER.uid, TEAM, 0o660)
    make(OTHER_MEMBER, beside, database)  # opens it


def test_a_file_of_another_user_excludes_the_group(database: Path) -> None:
    """The mode is meant for the database's group, not for the user's own."""
    database.parent.chmod(0o777)
    make(STRANGER, database.with_name("lock"), database)
    assert owner_of(database.with_name("lock")) == (STRANGER.uid, STRANGER.gid, 0o600)


def test_without_a_database_it_is_the_directorys(service_directory: Path) -> None:
    """Owner and group of the directory; its group gets in where it may make files anyway."""
    make(ROOT, service_directory / "private", service_directory / "missing.db")
    service_directory.chmod(0o2770)
    make(ROOT, service_directory / "shared")
    assert owner_of(service_directory / "private") == (SERVICE.uid, SERVICE.gid, 0o600)
    assert owner_of(service_directory / "shared") == (SERVICE.uid, SERVICE.gid, 0o660)


def test_what_is_there_already_keeps_its_owner(database: Path) -> None:
    """Only what was made is given away."""
    beside = database.with_name("lock")
    beside.touch(0o600)
    give(STRANGER, beside)
    make(ROOT, beside, database)
    assert owner_of(beside) == (STRANGER.uid, STRANGER.gid, 0o600)


def test_nothing_is_given_away_where_the_owner_may_not_write(database: Path) -> None:
    """In a directory reached by a planted link the file belongs to the directory's owner."""
    with shared_directory() as foreign:
        link = database.with_name("logs")
        link.symlink_to(foreign)
        make(ROOT, link / "log", database)
        assert owner_of(foreign / "log") == (0, 0, 0o600)


def test_a_planted_link_leads_to_no_new_file(service_directory: Path) -> None:
    """A dangling link is an error: its target is not created."""
    with shared_directory() as foreign:
        (service_directory / "log").symlink_to(foreign / "planted")
        with pytest.raises(FileNotFoundError) as caught:
            open_file(service_directory / "log", NEW)
        assert caught.value.filename == str(service_directory / "log")
        assert list(foreign.iterdir()) == []


def test_directories_that_are_made_are_given_too(database: Path) -> None:
    """Each that was missing, and none that was there; the group gets in as to the database."""
    there = database.with_name("var")
    there.mkdir(0o700)
    database.parent.chmod(0o755)
    give(SERVICE, there)
    as_user(ROOT, lambda: make_directory(there / "log" / "deep", like=database), umask=0o077)
    for made in (there / "log", there / "log" / "deep"):
        assert owner_of(made) == (SERVICE.uid, SERVICE.gid, 0o770)
    assert owner_of(there) == (SERVICE.uid, SERVICE.gid, 0o700)


def test_a_members_directory_is_the_groups(service_directory: Path) -> None:
    """Without a database: as the one that it was made in."""
    os.chown(service_directory, SERVICE.uid, TEAM)
    service_directory.chmod(0o2770)
    as_user(MEMBER, lambda: make_directory(service_directory / "logs"), umask=0o077)
    assert owner_of(service_directory / "logs") == (MEMBER.uid, TEAM, 0o2770)


def test_what_a_library_made_is_handed_over(service_directory: Path) -> None:
    """A new file becomes that of its directory's owner; its mode stays."""
    file = service_directory / "revision.py"
    file.touch(0o644)
    give_to_directory_owner(file)
    assert owner_of(file) == (SERVICE.uid, SERVICE.gid, 0o644)


@pytest.mark.parametrize("kind", ["symbolic", "hard", "foreign"])
def test_files_of_other_users_are_not_given_away(service_directory: Path, kind: str) -> None:
    """A hard link to a file elsewhere, or a file of another user: not changed."""
    with shared_directory() as foreign:
        secret = foreign / "secret"
        secret.touch(0o600)
        named = service_directory / "revision.py"
        match kind:
            case "symbolic":
                named.symlink_to(secret)
            case "hard":
                named.hardlink_to(secret)
            case _:
                named.touch()
                give(STRANGER, named)
        before = owner_of(named)
        give_to_directory_owner(named)
        assert owner_of(named) == before
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert secret.stat().st_uid == 0
