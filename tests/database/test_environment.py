"""Only the settings name the database: the caller's variables, home and user do not."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.support import Project, Result, run_in_process
from tests.tls import Authority, TlsFront

NAMELESS = 54321  # a user id that the machine has no name for
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
# What libpq and the driver read. Each alone would lead elsewhere, or be an error.
VARIABLES = {
    "PGHOST": "host.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody_like_that",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/no/such/file",
    "PGDATABASE": "no_such_database",
    "PGSERVICE": "none",
    "PGSERVICEFILE": "/no/such/file",
    "PGOPTIONS": "-c search_path=nowhere",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/no/such/file",
    "PGSSLCERT": "/no/such/file",
    "PGSSLKEY": "/no/such/file",
    "PGSSLCRL": "/no/such/file",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLMINPROTOCOLVERSION": "nonsense",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGGSSLIB": "nonsense",
    "PGGSSENCMODE": "require",
    "PGKRBSRVNAME": "nobody",
    "PGREQUIREAUTH": "none",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGAPPNAME": "\udcff",
    "PGCLIENTENCODING": "nonsense",
    "PGTZ": "nowhere",
    "PGDATESTYLE": "nonsense",
}


@pytest.fixture
def backend() -> str:
    """A file has no variables of its own."""
    return "postgresql"


@pytest.mark.parametrize("name", [*VARIABLES, "all of them"])
def test_variables_of_postgresql_have_no_effect(
    project: Project, postgres: PostgresServer, name: str
) -> None:
    """Parts or URL, complete or not, socket or port: everything comes from the settings."""
    variables = VARIABLES if name not in VARIABLES else {name: VARIABLES[name]}
    front = TlsFront(postgres, None)
    keys = f'database_driver = "postgresql"\ndatabase_name = "{project.database}"\n'
    port = f"127.0.0.1:{front.port}"
    scenes = [
        project.database_settings,
        f'{keys}database_host = "127.0.0.1"\ndatabase_port = {front.port}\n',
        f'database_url = "postgresql://postgres@{port}/{project.database}"\n',
        f'database_url = "postgresql://postgres@{port}/{project.database}?sslmode=disable"\n',
    ]
    for settings in scenes:
        (project.directory / "settings.toml").write_text(settings)
        plain = project.run("admin", "list", "-o", "json")
        given = project.run("admin", "list", "-o", "json", env=variables)
        assert (plain.code, given) == (0, plain)
    front.stop()


def test_a_url_without_a_user_means_the_caller(
    project: Project, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As psql does, and not PGUSER."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    front = TlsFront(postgres, None)
    url = f"postgresql://127.0.0.1:{front.port}/{project.database}"
    (project.directory / "settings.toml").write_text(f'database_url = "{url}"\n')
    assert project.run("db", "status", env={"LOGNAME": "postgres", "PGUSER": "x"}).code == 0
    refused = project.run("db", "status", env={"LOGNAME": "nobody_like_that", "PGUSER": "postgres"})
    front.stop()
    assert refused.code == 7
    assert "refuses the log-in" in refused.stderr


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user of the machine can read."""
    directory = Path(tempfile.mkdtemp(prefix="clarinet-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def as_user(user: int, words: list[str], env: Mapping[str, str]) -> Result:
    """Run a command as another user, who cannot read the interpreter's own files.

    So it runs in a copy of this process, and once before in that, to have everything loaded.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run_in_process(words, env={"HOME": "/nonexistent"})
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            for name in (*NAMES, "HOME"):
                os.environ.pop(name, None)
            result = run_in_process(words, env=env)
            text = json.dumps([int(result.code), result.stdout, result.stderr])
            os.write(writing, text.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        result = Result(*json.load(pipe))
    os.waitpid(child, 0)
    return result


def test_a_user_id_without_a_name_is_reported(
    project: Project, postgres: PostgresServer, open_directory: Path
) -> None:
    """In a container with a uid of its own: 78 when no user is named, else as ever."""
    front = TlsFront(postgres, None)
    where = f"127.0.0.1:{front.port}/{project.database}"
    settings = open_directory / "settings.toml"
    words = ["-C", str(open_directory), "db", "status"]
    for text in (
        f'database_url = "postgresql://{where}"\n',
        'database_driver = "postgresql"\ndatabase_username = ""\n',
    ):
        settings.write_text(text)
        result = as_user(NAMELESS, words, {})
        assert result.code == 78, result
        assert f"no database user is named, and uid {NAMELESS} has no name" in result.stderr
        assert "hint: set database_username" in result.stderr
    settings.write_text(f'database_url = "postgresql://postgres@{where}"\n')
    result = as_user(NAMELESS, words, {})
    front.stop()
    assert result.code == 0, result


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
def test_no_home_is_no_error(open_directory: Path, mode: str) -> None:
    """Without HOME and without a name: which option is missing, with 78."""
    text = f'database_url = "postgresql://u@127.0.0.1:1/d?sslmode={mode}"\n'
    (open_directory / "settings.toml").write_text(text)
    result = as_user(NAMELESS, ["-C", str(open_directory), "db", "status"], {})
    assert result.code == 78, result
    assert f"sslmode={mode} requires sslrootcert" in result.stderr


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
def test_the_home_of_another_user_is_not_looked_into(
    project: Project, postgres: PostgresServer, open_directory: Path, mode: str
) -> None:
    """Under su or a supervisor HOME may still be root's: what is in there is not for others."""
    home = open_directory / "home"
    (home / ".postgresql").mkdir(parents=True)
    stranger = Authority(open_directory)
    shutil.copy(stranger.file, home / ".postgresql" / "root.crt")
    for name in ("postgresql.crt", "postgresql.key", "root.crl"):
        (home / ".postgresql" / name).write_text("")
    home.chmod(0o700)
    ca = Authority(open_directory)
    front = TlsFront(postgres, ca.issue("server", "127.0.0.1"))
    options: dict[str, object] = {"sslmode": mode}
    if mode == "verify-full":
        options["sslrootcert"] = ca.file
    url = front.url(options).replace("/postgres?", f"/{project.database}?")
    (open_directory / "settings.toml").write_text(f'database_url = "{url}"\n')
    words = ["-C", str(open_directory), "db", "status"]
    results = [as_user(NAMELESS, words, {"HOME": str(home)})]
    home.chmod(0o755)
    results.append(as_user(NAMELESS, words, {"HOME": str(home)}))
    front.stop()
    assert [result.code for result in results] == [0, 0], results
    assert set(front.encrypted) == {"TLSv1.3"}


def test_an_own_ca_file_is_used_and_named(
    project: Project, postgres: PostgresServer, tmp_path: Path
) -> None:
    """~/.postgresql/root.crt counts for every mode that demands TLS, as in libpq."""
    for name in ("right", "wrong"):
        (tmp_path / name / ".postgresql").mkdir(parents=True)
    right, wrong = (Authority(tmp_path / name) for name in ("right", "wrong"))
    for authority in (right, wrong):
        shutil.copy(authority.file, authority.directory / ".postgresql" / "root.crt")
    front = TlsFront(postgres, right.issue("server", "127.0.0.1"))
    for mode in ("require", "verify-ca", "verify-full"):
        url = front.url({"sslmode": mode}).replace("/postgres?", f"/{project.database}?")
        (project.directory / "settings.toml").write_text(f'database_url = "{url}"\n')
        served = project.run("db", "status", env={"HOME": str(right.directory)})
        assert served.code == 0, served
        refused = project.run("db", "status", env={"HOME": str(wrong.directory)})
        assert refused.code == 7, refused
        assert "the server's certificate is refused" in refused.stderr
        file = wrong.directory / ".postgresql" / "root.crt"
        assert f"(checked with {file})" in refused.stderr
    front.stop()
