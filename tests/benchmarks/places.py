"""Databases to measure on: created once, copied for each run."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Optional, Self
from uuid import uuid4

from tests.benchmarks.data import SETTINGS, Layout, fill, fill_accounts
from tests.benchmarks.figures import Starts
from tests.benchmarks.processes import BenchmarkError, Run, starts_of
from tests.postgres import OwnServer, PostgresServer
from tests.support import PASSWORD, Project

LOG_PREFIX = "%n %p "


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
        full: Whether these are the sizes that the targets are about.
        rows: Sessions, half of them dead.
        server_rows: The same on PostgreSQL, which is faster.
        few_rows: The small size that memory is compared with.
        list_rows: Sessions, and accounts, to list.
        users: Accounts to apply.
        pairs: Pairs of a cheap row.
        heavy_pairs: Pairs of a clean-up.
        old_pairs: Pairs with the loop that sleeps.
    """

    full: bool
    rows: int
    server_rows: int
    few_rows: int
    list_rows: int
    users: int
    pairs: int
    heavy_pairs: int
    old_pairs: int

    def rows_on(self, backend: str) -> int:
        """Return the number of sessions measured on a backend."""
        return self.rows if backend == "sqlite" else self.server_rows


@dataclass
class Bench:
    """One run of the benchmarks: its sizes, its directory, its server.

    Use it as a context manager: at the end nothing of it is left.
    """

    sizes: Sizes
    directory: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="clarinet-bench-"))
    )
    _templates: dict[tuple[str, int, Layout], Project] = field(default_factory=dict)
    _accounts: dict[int, Project] = field(default_factory=dict)
    _starts: dict[str, Starts] = field(default_factory=dict)
    _own_server: Optional[OwnServer] = None

    def __enter__(self) -> Self:
        """Begin with an empty directory and no server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove all files."""
        if self._own_server is not None:
            self._own_server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @cached_property
    def server(self) -> PostgresServer:
        """A PostgreSQL server with default settings: fsync and autovacuum are on."""
        self._own_server = OwnServer()
        server = PostgresServer(self._own_server.url)
        server.rows("postgres", f"ALTER SYSTEM SET log_line_prefix = '{LOG_PREFIX}'")
        server.rows("postgres", "SELECT pg_reload_conf()")
        return server

    @property
    def server_log(self) -> Path:
        """The file that the server logs to."""
        assert self._own_server is not None
        return self._own_server.directory / "data" / "log"

    def template(self, backend: str, rows: int, layout: Layout) -> Project:
        """Return a database with sessions, to be read or copied."""
        key = (backend, rows, layout)
        if key not in self._templates:
            project = self._project(backend)
            self._init(project)
            fill(project, rows, layout)
            self._templates[key] = project
        return self._templates[key]

    def accounts(self, number: int) -> Project:
        """Return a SQLite database with accounts and a session of every tenth, to be read."""
        if number not in self._accounts:
            project = self._project("sqlite")
            self._init(project)
            fill_accounts(project, number)
            self._accounts[number] = project
        return self._accounts[number]

    def starts(self, name: str, ours: Callable[[], Run], reference: Callable[[], Run]) -> Starts:
        """Return the time of both commands on an empty database, measured once per run."""
        if name not in self._starts:
            decide = not self.sizes.full
            self._starts[name] = starts_of(ours, reference, decide=decide)
        return self._starts[name]

    @contextlib.contextmanager
    def copy(
        self, backend: str, rows: int, layout: Layout, *, wal: bool = True
    ) -> Iterator[Project]:
        """Copy a database and remove the copy afterwards.

        Args:
            backend: ``sqlite`` or ``postgresql``.
            rows: How many sessions.
            layout: In which order.
            wal: SQLite: write-ahead log instead of a rollback journal.
        """
        template = self.template(backend, rows, layout)
        project = self._project(backend)
        if project.server is None:
            _copy_file(template.file, project.file, wal=wal)
        else:
            project.server.rows(
                "postgres",
                f"CREATE DATABASE {project.database} TEMPLATE {template.database}"
                " STRATEGY file_copy",
            )
            project.server.rows("postgres", "CHECKPOINT")
        yield project
        if project.server is not None:
            project.server.drop(project.database)
        shutil.rmtree(project.directory)

    def _project(self, backend: str) -> Project:
        name = f"bench_{uuid4().hex}"
        directory = self.directory / name
        directory.mkdir()
        server = self.server if backend == "postgresql" else None
        project = Project(directory, backend, name if server else "clarinet", server)
        settings = project.database_settings + SETTINGS
        (directory / "settings.toml").write_text(settings, "utf-8")
        return project

    def _init(self, project: Project) -> None:
        done = project.run_process("db", "init", "--password-stdin", stdin=PASSWORD)
        if done.code != 0:
            raise BenchmarkError(f"db init: {done.stderr}")


def _copy_file(source: Path, target: Path, *, wal: bool) -> None:
    """Copy a SQLite file, and sync it before the measurement."""
    shutil.copyfile(source, target)
    with contextlib.closing(sqlite3.connect(target)) as connection:
        connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def where(project: Project) -> list[str]:
    """Return the arguments that name a database to a reference or the writer."""
    server = project.server
    if server is None:
        return [str(project.file)]
    return [server.host, str(server.port), server.user, project.database]
