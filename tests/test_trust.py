"""The files that a command executes, reads or writes as root, as the service's user or another."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarinet_cli.filesystem.trust import SAFE_VARIABLE
from clarinet_cli.services.schema import init_environment
from tests.migrations.helpers import SECOND, files, versions, write_revision
from tests.patience import PATIENCE_SECONDS
from tests.support import PASSWORD, Project, process_environment
from tests.users import ROOT, SERVICE, STRANGER, User, give, run_as, shared_directory

MARKING = "\nfrom pathlib import Path\nPath({marker!r}).touch()\n"
READING = [
    "db status",
    "db wait --for schema --timeout 0",
    "db init --dry-run",
    "migrate status",
    "migrate status --check",
    "migrate history",
    "migrate upgrade --dry-run",
    "migrate downgrade base --dry-run",
    "migrate create -m x --dry-run",
    "migrate create -m x --empty --dry-run",
]
RUNNING = [
    "migrate upgrade",
    "migrate upgrade --sql",
    "migrate downgrade base --yes",
    "migrate downgrade base --sql",
    "migrate create -m x --empty",
    "db init --generate-password",
]
CREATE = ("admin", "create", "--generate-password", "--email")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user reaches."""
    with shared_directory() as directory:
        yield directory


@pytest.fixture
def marker(place: Path) -> Path:
    """What exists once code of the project's directory has been run, by whomever."""
    directory = place / "marks"
    directory.mkdir()
    directory.chmod(0o777)
    return directory / "code-was-run"


@pytest.fixture
def own(place: Path, marker: Path) -> Project:
    """A project of the service's user, one revision behind, whose every file marks its run."""
    directory = place / "project"
    directory.mkdir()
    project = Project(directory, "sqlite", "clarinet")
    project.write_settings()
    assert project.run("db", "init", "--password-stdin", stdin=PASSWORD).code == 0
    init_environment(directory, force=False)
    write_revision(directory, SECOND)
    for file in (directory / "alembic").rglob("*.py"):
        file.write_text(file.read_text() + MARKING.format(marker=str(marker)))
    template = directory / "alembic" / "script.py.mako"
    template.write_text(f"<% open({str(marker)!r}, 'w') %>" + template.read_text())
    give_all(SERVICE, directory)
    return project


def give_all(user: User, directory: Path) -> None:
    """Give a directory and everything in it to a user; links, not what they lead to."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


class TestReading:
    """Commands that only read execute nothing, whoever owns the files."""

    @pytest.mark.parametrize("line", READING)
    def test_runs_none_of_the_files(self, own: Project, marker: Path, line: str) -> None:
        """As root in a service's project each command does its work and runs no file of it."""
        result = run_as(ROOT, own, *line.split())
        assert result.code in (0, 6, 7), result
        assert not marker.exists()

    def test_shows_what_the_files_say(self, own: Project) -> None:
        """The project's own head, parent and message are read from the files."""
        rows = own.json("migrate", "history")
        assert rows[0]["revision"] == SECOND
        assert rows[0]["message"] == f"{SECOND}: a revision of the tests."
        assert own.json("db", "status")["head"] == SECOND

    def test_dry_run_says_that_the_real_run_would_be_refused(self, own: Project) -> None:
        """A dry run shows the plan, and on standard error that root would not run it."""
        result = own.run("migrate", "upgrade", "--dry-run")
        assert (result.code, "would update" in result.stdout) == (0, True), result
        assert "would be refused" in result.stderr
        by_owner = run_as(SERVICE, own, "migrate", "upgrade", "--dry-run")
        assert (by_owner.code, by_owner.stderr) == (0, "")


class TestRunning:
    """What has to run the files refuses those of others."""

    @pytest.mark.parametrize("line", RUNNING)
    @pytest.mark.parametrize("user", [ROOT, STRANGER], ids=["root", "stranger"])
    def test_refuses_files_of_another_user(
        self, own: Project, marker: Path, line: str, user: User
    ) -> None:
        """Refused with the owner and a hint; nothing ran, nothing changed in schema or files."""
        for file in own.directory.glob("clarinet.db*"):
            file.chmod(0o666)
        own.directory.chmod(0o777)
        before = set(files(own.directory / "alembic")), versions(own)
        result = run_as(user, own, *line.split())
        assert (result.code, result.stdout) == (5, ""), result
        assert f"belongs to {SERVICE.uid}" in result.stderr
        assert f"sudo -u {SERVICE.uid} clarinet" in result.stderr
        assert not marker.exists()
        assert (set(files(own.directory / "alembic")), versions(own)) == before

    def test_leaves_no_database_that_it_would_not_fill(self, own: Project, marker: Path) -> None:
        """'db init' as root, database not made yet: refused before a file is there."""
        own.file.unlink()
        before = files(own.directory)
        result = run_as(ROOT, own, "db", "init", "--generate-password")
        assert (result.code, result.stdout) == (5, ""), result
        assert f"sudo -u {SERVICE.uid} clarinet" in result.stderr
        assert files(own.directory) == before
        assert not marker.exists()
        assert run_as(SERVICE, own, "db", "init", "--generate-password").code == 0

    @pytest.mark.parametrize("line", RUNNING[:3])
    def test_the_owner_runs_them(self, own: Project, marker: Path, line: str) -> None:
        """As their owner the same commands run the files."""
        result = run_as(SERVICE, own, *line.split())
        assert result.code == 0, result
        assert marker.exists()

    def test_variable_of_the_caller_allows_it(self, own: Project, marker: Path) -> None:
        """A directory named in the environment is trusted; one named in its own .env is not."""
        (own.directory / ".env").write_text(f"{SAFE_VARIABLE}={own.directory}\n")
        assert own.run("migrate", "upgrade").code == 5
        elsewhere = own.run("migrate", "upgrade", env={SAFE_VARIABLE: "/elsewhere"})
        assert elsewhere.code == 5
        assert not marker.exists()
        named = own.run("migrate", "upgrade", env={SAFE_VARIABLE: f"/x:{own.directory}"})
        assert named.code == 0, named
        assert versions(own) == [SECOND]

    @pytest.mark.parametrize(
        "name",
        [
            ".",
            "alembic.ini",
            "alembic",
            "alembic/env.py",
            "alembic/script.py.mako",
            "alembic/versions",
            f"alembic/versions/{SECOND}_test.py",
        ],
    )
    @pytest.mark.parametrize("how", ["owned", "everybody", "group", "link"])
    def test_one_file_is_enough(self, own: Project, marker: Path, name: str, how: str) -> None:
        """All is root's but one file or directory, which another may change: refused, named."""
        give_all(ROOT, own.directory)
        path = own.directory / name
        match how:
            case "owned":
                give(SERVICE, path)
            case "everybody":
                path.chmod(0o666 if path.is_file() else 0o777)
            case "group":
                os.chown(path, 0, SERVICE.gid)
                path.chmod(0o664 if path.is_file() else 0o775)
            case "link":
                if name == ".":
                    return
                elsewhere = own.directory.parent / "elsewhere"
                elsewhere.mkdir()
                path.rename(elsewhere / path.name)
                path.symlink_to(elsewhere / path.name)
                give(SERVICE, elsewhere)
        result = own.run("migrate", "upgrade")
        assert result.code == 5, result
        place = elsewhere if how == "link" else path.resolve()
        assert str(place) in result.stderr
        assert not marker.exists()

    def test_files_of_root_are_run(self, own: Project, marker: Path) -> None:
        """Files of root that only root may write are run by root and by a service."""
        give_all(ROOT, own.directory)
        assert own.run("migrate", "upgrade", "--sql").code == 0
        marker.unlink()
        assert run_as(SERVICE, own, "migrate", "upgrade", "--sql").code == 0

    def test_byte_code_and_modules_count_too(self, own: Project, marker: Path) -> None:
        """Cached byte code and modules on prepend_sys_path are code as well."""
        give_all(ROOT, own.directory)
        cache = own.directory / "alembic" / "versions" / "__pycache__"
        cache.mkdir()
        (cache / "x.pyc").touch()
        give(SERVICE, cache / "x.pyc")
        assert own.run("migrate", "upgrade").code == 5
        give(ROOT, cache / "x.pyc")
        ini = own.directory / "alembic.ini"
        ini.write_text(ini.read_text() + "prepend_sys_path = lib\n")
        (own.directory / "lib").mkdir()
        (own.directory / "lib" / "argon2.py").touch()
        give(SERVICE, own.directory / "lib" / "argon2.py")
        assert "argon2.py" in own.run("migrate", "upgrade").stderr
        assert not marker.exists()


@pytest.mark.parametrize("module", ["typer", "rich", "gc"])
def test_module_of_the_current_directory_is_not_imported(tmp_path: Path, module: str) -> None:
    """``python -m`` would search the current directory first: the libraries are not from there."""
    marker = tmp_path / "code-was-run"
    (tmp_path / f"{module}.py").write_text(MARKING.format(marker=str(marker)))
    done = subprocess.run(
        [sys.executable, "-m", "clarinet_cli", "session", "list", "--help"],
        cwd=tmp_path,
        env=process_environment({}),
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0
    assert not marker.exists()


class TestSettingsFiles:
    """The files that name the database and where passwords are sent."""

    @pytest.mark.parametrize("name", ["settings.toml", "settings.custom.toml", ".env"])
    def test_file_of_a_third_user_is_refused(self, own: Project, name: str) -> None:
        """Neither the caller's nor root's nor the project owner's: refused, with the owner."""
        file = own.directory / name
        file.touch()
        give(STRANGER, file)
        for user in (ROOT, SERVICE):
            result = run_as(user, own, "db", "status")
            assert (result.code, result.stdout) == (5, "")
            assert f"{file} belongs to {STRANGER.uid}" in result.stderr
            assert "chown" in result.stderr

    @pytest.mark.parametrize("name", ["settings.toml", "settings.custom.toml", ".env"])
    def test_file_that_every_user_may_write_is_refused(self, own: Project, name: str) -> None:
        """With the command that mends it, after which it is read."""
        file = own.directory / name
        file.touch()
        give(SERVICE, file, mode=0o666)
        result = own.run("db", "status")
        assert result.code == 5
        assert f"chmod o-w '{file}'" in result.stderr
        file.chmod(0o664)
        assert own.run("db", "status").code == 0

    def test_files_of_the_service_are_read_by_root(self, own: Project) -> None:
        """The usual case: a service's user owns the project, and root maintains it."""
        assert own.run("db", "status").code == 0
        assert own.run("session", "stats").code == 0

    def test_file_in_a_directory_for_all(self, own: Project) -> None:
        """In /tmp another user's settings.toml is refused; the caller's own is read."""
        give(ROOT, own.directory)
        own.directory.chmod(0o1777)
        give(STRANGER, own.directory / "settings.toml")
        assert own.run("db", "status").code == 5
        give(ROOT, own.directory / "settings.toml")
        assert own.run("db", "status").code == 0


class TestLogs:
    """Logs that root writes because of another user's settings."""

    @pytest.mark.parametrize(
        "lines",
        ['audit_log = "{place}/log"\n', 'log_to_file = true\nlog_dir = "{place}"\n'],
        ids=["audit_log", "log_dir"],
    )
    def test_stay_where_that_user_could_write(self, own: Project, lines: str) -> None:
        """Refused in root's directory before anything is created; accepted in the user's own."""
        theirs, ours = own.directory / "logs", own.directory.parent / "system"
        theirs.mkdir()
        ours.mkdir()
        give(SERVICE, theirs)
        link = own.directory / "link"
        link.symlink_to(ours)
        for place, code in ((theirs, 0), (ours, 5), (link, 5)):
            own.write_settings(lines.format(place=place))
            give(SERVICE, own.directory / "settings.toml")
            result = own.run(*CREATE, f"a{code}@clarinet.example")
            assert result.code == code, result
            if code:
                assert f"chown root '{own.directory / 'settings.toml'}'" in result.stderr
        assert list(ours.iterdir()) == []
        assert list(theirs.iterdir()) != []

    def test_where_a_group_may_write(self, own: Project) -> None:
        """A directory of root's that the service's group may write, as in /var/log, will do."""
        account = pwd.getpwnam("nobody")
        user = User(account.pw_uid, account.pw_gid)
        place = own.directory.parent / "log"
        place.mkdir()
        own.write_settings(f'audit_log = "{place}/log"\n')
        give(user, own.directory, own.directory / "settings.toml")
        for mode, code in ((0o755, 5), (0o775, 0)):
            os.chown(place, 0, user.gid)
            place.chmod(mode)
            assert own.run(*CREATE, f"a{code}@clarinet.example").code == code

    def test_hard_link_to_a_file_of_root(self, own: Project) -> None:
        """Root's file under a second name in the service's directory is not written."""
        precious = own.directory.parent / "precious"
        precious.write_text("as it was")
        (own.directory / "log").hardlink_to(precious)
        own.write_settings('audit_log = "log"\n')
        give(SERVICE, own.directory / "settings.toml")
        assert own.run(*CREATE, "a@clarinet.example").code == 5
        assert precious.read_text() == "as it was"

    def test_of_root_itself_may_be_anywhere(self, own: Project) -> None:
        """Settings of root's, or the command line, name any place."""
        give(ROOT, own.directory / "settings.toml")
        log = own.directory.parent / "audit.log"
        own.write_settings(f'audit_log = "{log}"\n')
        assert own.run(*CREATE, "a@clarinet.example").code == 0
        assert log.exists()


class TestNewEnvironment:
    """What 'migrate init' writes as root."""

    @pytest.mark.parametrize("how", ["link", "pyproject.toml"])
    def test_stays_where_the_owner_of_the_project_could_write(self, place: Path, how: str) -> None:
        """A link, or a script_location, that leads out of the project: refused, no file made."""
        directory, system = place / "project", place / "system"
        directory.mkdir()
        system.mkdir()
        project = Project(directory, "sqlite", "clarinet")
        project.write_settings()
        if how == "link":
            (directory / "alembic").symlink_to(system)
        else:
            (directory / how).write_text(f'[tool.alembic]\nscript_location = "{system}/x"\n')
        give_all(SERVICE, directory)
        before = files(directory)
        for words in (["init"], ["init", "--dry-run"]):
            result = project.run("migrate", *words)
            assert result.code == 5, result
            assert f"sudo -u {SERVICE.uid}" in result.stderr
        assert list(system.iterdir()) == []
        assert files(directory) == before
