"""A primary and a standby that streams from it, made with the binaries of the test server."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from tests.patience import PATIENCE_SECONDS
from tests.postgres import BINARIES, OwnServer, PostgresServer, memory_directory
from tests.support import Project

SYNCHRONOUS = {"synchronous_standby_names": "*", "synchronous_commit": "remote_apply"}
SYSTEM_USER = "pgserver"  # the server does not run as root


class ReplicaPair:
    """A primary, and a standby of it.

    A commit on the primary waits until the standby shows it, so that a fail-over loses nothing
    that a client was told is committed, however busy the machine is.

    Attributes:
        primary: The server that accepts writes at the start.
        standby: The server that does once it is promoted.
    """

    def __init__(self) -> None:
        self._own = OwnServer(memory_directory()).prepare_for_tests()
        self.primary = PostgresServer(self._own.url)
        self._copy = self._own.directory / "standby"
        self._copy.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self._copy, SYSTEM_USER)
        source = ["-h", self.primary.host, "-U", self.primary.user]
        _run("pg_basebackup", *source, "-D", self._copy, "-R", "-X", "stream", "-c", "fast")
        (self._copy / f".s.PGSQL.{self.primary.port}.lock").unlink()  # it names the primary
        options = f"-h '' -k {self._copy} -c hot_standby_feedback=on"
        _run("pg_ctl", "-D", self._copy, "-w", "-l", self._copy / "log", "-o", options, "start")
        self.standby = PostgresServer(f"postgresql://postgres@/postgres?host={self._copy}")
        for setting, value in SYNCHRONOUS.items():
            self.primary.rows("postgres", f"ALTER SYSTEM SET {setting} = '{value}'")
        self.primary.rows("postgres", "SELECT pg_reload_conf()")
        wait_for(
            lambda: self.primary.rows(
                "postgres", "SELECT sync_state FROM pg_stat_replication WHERE sync_state = 'sync'"
            )
        )

    def __enter__(self) -> Self:
        """Return the pair."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both and remove their files."""
        _run("pg_ctl", "-D", self._copy, "-m", "immediate", "stop", check=False)
        self._own.stop()

    def url(self, database: str, *servers: PostgresServer, options: str = "") -> str:
        """Return a URL of a database on these servers, by default both, the primary first."""
        hosts = ",".join(server.host for server in servers or (self.primary, self.standby))
        return f"postgresql://postgres@/{database}?host={hosts}{options}"

    def kill_primary(self) -> None:
        """End the primary as in a crash."""
        process_id = Path(self.primary.host, "postmaster.pid").read_text().split()[0]
        os.kill(int(process_id), signal.SIGQUIT)

    def promote(self) -> None:
        """Make the standby accept writes."""
        assert self.standby.rows("postgres", "SELECT pg_promote()") == [(True,)]


def project_on(directory: Path, server: PostgresServer, url: str) -> Project:
    """Return a project whose settings have a URL.

    Args:
        directory: Of the project.
        server: Where ``Project.rows`` reads and writes.
        url: For the settings.
    """
    project = Project(directory, "postgresql", "clarinet", server)
    (directory / "settings.toml").write_text(f'database_url = "{url}"\nargon2_time_cost = 1\n')
    return project


def wait_for(condition: Any) -> None:
    """Wait until a function returns a true value."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _run(name: str, *arguments: str | Path, check: bool = True) -> None:
    options: dict[str, Any] = {"user": SYSTEM_USER} if os.geteuid() == 0 else {}
    command = [str(BINARIES / name), *map(str, arguments)]
    done = subprocess.run(
        command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", **options
    )
    assert done.returncode == 0 or not check, done.stderr.decode()
