"""Fixtures: a project on each backend, empty, ready, or with a server's database."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from clarinet_cli.services import readiness
from tests import cheap_hashes, shared_statements
from tests.forked import stop_fork_server
from tests.migrations.helpers import create_empty_database
from tests.patience import PATIENCE_SECONDS
from tests.pooler import poolers
from tests.postgres import (
    BINARIES,
    FIXTURE_TEMPLATE,
    SERVER_VARIABLE,
    OwnServer,
    PostgresServer,
    memory_directory,
)
from tests.programs import add_sqlite_program
from tests.support import PASSWORD, Project
from tests.users import SERVICE, give, shared_directory

SQLITE_FIXTURE = Path(__file__).parent / "fixtures" / "clarinet-0.10.20.sqlite.db"
OWN_SERVER = pytest.StashKey[OwnServer]()
PROGRAMS = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)  # before the root of the temporary directories is read
def pytest_configure(config: pytest.Config) -> None:
    """Hash and compile cheaply; start the PostgreSQL server, unless a variable names one."""
    cheap_hashes.use_cheap_hashes()
    shared_statements.share_statements()
    # A shell's '&' and nohup leave signals ignored, and processes of the tests inherit that.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    # Compiled once, not in each of the processes that the tests start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Those that PATH has may be older, and each is asked for its version until one fits.
    os.environ["PATH"] = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    programs = Path(tempfile.mkdtemp(prefix="clarinet-programs-"))
    programs.chmod(0o755)
    config.stash[PROGRAMS] = programs
    if add_sqlite_program(programs):
        os.environ["PATH"] += f"{os.pathsep}{programs}"
    if memory := memory_directory():
        # SQLite waits for the disk with each transaction; here for nothing.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    if SERVER_VARIABLE not in os.environ:
        config.stash[OWN_SERVER] = OwnServer(memory_directory()).prepare_for_tests()
        os.environ[SERVER_VARIABLE] = config.stash[OWN_SERVER].url
    PostgresServer(os.environ[SERVER_VARIABLE]).load_fixture()


def pytest_report_header() -> str:
    """Show whether pgbouncer itself is tested, or only its stand-in."""
    return f"poolers: {', '.join(poolers())}"


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that this run started."""
    stop_fork_server()
    if PROGRAMS in config.stash:
        shutil.rmtree(config.stash[PROGRAMS])
    if OWN_SERVER in config.stash:
        config.stash[OWN_SERVER].stop()
        del os.environ[SERVER_VARIABLE]


@pytest.fixture
def real_hashes() -> Iterator[None]:
    """Hash passwords at the cost of the settings."""
    with cheap_hashes.real_hashes():
        yield


@pytest.fixture
def one_patient_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``db wait`` with a short timeout try once, for as long as a busy machine takes."""
    monkeypatch.setattr(readiness, "FIRST_PAUSE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server; the connections of the tests' own queries are kept."""
    with PostgresServer(os.environ[SERVER_VARIABLE]) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    return str(request.param)


@pytest.fixture
def empty_project(backend: str, tmp_path: Path, postgres: PostgresServer) -> Iterator[Project]:
    """A project whose database does not exist yet."""
    directory = tmp_path / "project"
    directory.mkdir()
    name = f"test_{uuid4().hex}" if backend == "postgresql" else "clarinet"
    project = Project(directory, backend, name, postgres if backend == "postgresql" else None)
    project.write_settings()
    yield project
    if backend == "postgresql":
        postgres.drop(name)


@pytest.fixture(scope="session")
def ready_templates(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[dict[str, str]]:
    """A database on each backend as ``db init`` leaves it, to be copied."""
    names = {}
    for backend in ("sqlite", "postgresql"):
        directory = tmp_path_factory.mktemp(f"template-{backend}")
        server = postgres if backend == "postgresql" else None
        name = f"template_{uuid4().hex}" if server else "clarinet"
        project = Project(directory, backend, name, server)
        project.write_settings()
        result = project.run("db", "init", "--password-stdin", stdin=PASSWORD)
        assert result.code == 0, result
        names[backend] = name if server else str(project.file)
    yield names
    postgres.drop(names["postgresql"])


@pytest.fixture
def project(
    empty_project: Project, ready_templates: dict[str, str], postgres: PostgresServer
) -> Project:
    """A project whose database is ready: schema, roles, and admin@clarinet.ru."""
    if empty_project.server is None:
        shutil.copyfile(ready_templates["sqlite"], empty_project.file)
    else:
        postgres.create(empty_project.database, ready_templates["postgresql"])
    return empty_project


@pytest.fixture
def server_project(empty_project: Project, postgres: PostgresServer) -> Project:
    """A project with a copy of a server's database."""
    if empty_project.server is None:
        shutil.copyfile(SQLITE_FIXTURE, empty_project.file)
    else:
        postgres.create(empty_project.database, FIXTURE_TEMPLATE)
    return empty_project


@pytest.fixture
def created(empty_project: Project) -> Project:
    """A project whose database has no table."""
    create_empty_database(empty_project)
    return empty_project


@pytest.fixture
def service_directory() -> Iterator[Path]:
    """A directory of the service's user that other users can read."""
    with shared_directory() as directory:
        give(SERVICE, directory)
        yield directory
