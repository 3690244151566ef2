"""Settings that may not be what was meant: one line, and no accidental database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clarinet_cli.services.settings_warnings import SERVER_PARTS, settings_warnings
from clarinet_cli.settings import load_settings
from tests.cli.terminal import terminal
from tests.support import Project, Result, replaced_environment, run_in_process

CANARY = "c4n4ry-s3cr3t"
TYPICAL = f'databse_driver = "postgresql"\ndatabase_host = "db"\ndatabase_password = "{CANARY}"\n'
UNSET_DRIVER = "database_driver is not set, which means sqlite"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Every test starts without the tool's variables."""
    with replaced_environment({}):
        yield


def warnings(directory: Path, toml: str = "", **environment: str) -> list[str]:
    """Return the warnings about the settings of a project."""
    (directory / "settings.toml").write_text(toml, encoding="utf-8")
    with replaced_environment(environment):
        return settings_warnings(load_settings(directory))


def warned(result: Result) -> list[str]:
    """Return the lines of a result that warn."""
    return [line for line in result.stderr.splitlines() if line.startswith("warning: ")]


# --- Misspelt keys -------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["settings.toml", "settings.custom.toml"])
def test_a_misspelled_key_in_a_file_is_named(tmp_path: Path, file: str) -> None:
    """File, key, and the key that may be meant; its value is not shown."""
    (tmp_path / file).write_text(f'database_pasword = "{CANARY}"')
    (line,) = settings_warnings(load_settings(tmp_path))
    assert line == (
        f"{tmp_path / file}: unknown key database_pasword (did you mean database_password?)"
    )


def test_a_misspelled_variable_is_named(tmp_path: Path) -> None:
    """Those of the process and of .env, with the prefix as they are written there."""
    (tmp_path / ".env").write_text(f"CLARINET_ADMIN_EMIAL={CANARY}\nOTHER_DATABASE_HOSTS=x\n")
    in_file, in_environment = sorted(warnings(tmp_path, CLARINET_DATABASE_PASS=CANARY))
    assert f"{tmp_path}/.env: unknown key CLARINET_ADMIN_EMIAL" in in_file
    assert "environment: unknown key CLARINET_DATABASE_PASS" in in_environment
    assert CANARY not in in_file + in_environment


@pytest.mark.parametrize("prefix", ["CLARINT", "CLARNIET", "CLARINETT", "LARINET"])
def test_a_misspelled_prefix_is_named(tmp_path: Path, prefix: str) -> None:
    """A known key after a misspelled prefix has no effect either."""
    (line,) = warnings(tmp_path, **{f"{prefix}_DATABASE_HOST": "db"})
    assert f"{prefix}_DATABASE_HOST (did you mean CLARINET_DATABASE_HOST?)" in line


@pytest.mark.parametrize(
    "name", ["DATABASE_HOSTS", "DATABASE_PASS", "ADMIN_EMIAL", "OTHER_LOG_DIRS"]
)
def test_variables_of_other_programs_in_dotenv_are_theirs(tmp_path: Path, name: str) -> None:
    """A .env is shared: without the prefix no variable is reported."""
    (tmp_path / ".env").write_text(f"{name}=x\n")
    assert warnings(tmp_path) == []


def test_a_misspelled_prefix_in_dotenv_is_named(tmp_path: Path) -> None:
    """As among the variables of the process."""
    (tmp_path / ".env").write_text("CLARINT_DATABASE_HOST=db\n")
    (line,) = warnings(tmp_path)
    assert f"{tmp_path}/.env: unknown key CLARINT_DATABASE_HOST" in line


def test_a_table_that_should_be_a_prefix_is_named(tmp_path: Path) -> None:
    """[database] host is not database_host, for the server neither."""
    found = warnings(tmp_path, '[database]\nhost = "db"\necho = true\n[dicom]\nport = 104\n')
    assert [line.partition("unknown key ")[2] for line in found] == [
        "[database] host (did you mean database_host?)"
    ]


@pytest.mark.parametrize(
    "environment",
    [
        {"CLARINET_PROJECT": ".", "CLARINET_OUTPUT": "json"},
        {"CLARINET_DATABASE_POOL_SIZE": "9", "CLARINET_DICOM__AET": "X"},
        {"DATABASE_HOST": "db", "POSTGRES_PASSWORD": "x", "DATABASE_URL": "x"},
        {"CLARINET_DATABASE_HOST": ""},
    ],
    ids=str,
)
def test_other_variables_are_not_misspelled(tmp_path: Path, environment: dict[str, str]) -> None:
    """What belongs to the server, to the tool or to others is not mentioned."""
    assert warnings(tmp_path, **environment) == []


# --- Parts without effect ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            'database_host = "db"\ndatabase_username = "clara"\ndatabase_password = "x"',
            f"{' and '.join(SERVER_PARTS)} have no effect: {UNSET_DRIVER}",
        ),
        (
            'database_driver = "sqlite"\ndatabase_host = "db"',
            "database_host has no effect: database_driver is sqlite",
        ),
        ('database_driver = "sqlite"\ndatabase_host = "localhost"', ""),
        ('database_host = "localhost"', "database_driver is not set"),
        ('database_driver = "postgresql"\ndatabase_host = "db"', ""),
        ('database_url = "postgresql://h/d"\ndatabase_password = "x"', ""),
        ('database_name = "clarinet"\ndatabase_port = 5432', ""),
    ],
)
def test_parts_of_a_server_beside_sqlite_have_no_effect(
    tmp_path: Path, toml: str, line: str
) -> None:
    """Host, user or password for a driver that has none; defaults written out are fine."""
    found = warnings(tmp_path, toml)
    assert found == [line] if line.startswith("database_host ") else bool(found) == bool(line)


# --- A URL that the server does not read ---------------------------------------------------

PARTS = 'database_driver = "postgresql"\ndatabase_host = "db"\ndatabase_name = "hospital"\n'


@pytest.mark.parametrize(
    ("toml", "other"),
    [
        (PARTS + 'database_url = "postgresql://u:p@db/hospital"', None),
        (PARTS + 'database_url = "postgres://u:p@db:5432/hospital?sslmode=require"', None),
        (PARTS + f'database_url = "postgresql://u:{CANARY}@db/clinic"', "@db:5432/hospital"),
        (PARTS + 'database_url = "postgresql://u:p@replica/hospital"', "@db:5432/hospital"),
        (PARTS + 'database_url = "postgresql://u:p@db:6432/hospital"', "@db:5432/hospital"),
        (PARTS + 'database_url = "sqlite:///hospital.db"', "@db:5432/hospital"),
        ('database_name = "a"\ndatabase_url = "sqlite:///a.db"', None),
        ('database_name = "a"\ndatabase_url = "sqlite:///b.db"', "/a.db"),
        ('database_url = "postgresql://u:p@db/clinic"', None),
        ('database_name = "a"\ndatabase_url = "nonsense"', None),
        (PARTS.replace("db", "[::1]", 1) + 'database_url = "postgresql://u@[::1]/hospital"', None),
        (
            PARTS.replace('"db"', '"127.0.0.1"')
            + 'database_url = "postgresql://u@localhost/hospital"',
            None,
        ),
    ],
)
def test_a_url_beside_parts_of_another_database_is_reported(
    tmp_path: Path, toml: str, other: str | None
) -> None:
    """The server takes the parts: which database that is, without a password."""
    found = [line for line in warnings(tmp_path, toml) if "does not read database_url" in line]
    assert bool(found) == (other is not None)
    if other is not None:
        assert found[0].endswith(other)
        assert CANARY not in found[0]


# --- On the command line -------------------------------------------------------------------

COMMANDS = [
    ("db", "init"),
    ("db", "status"),
    ("db", "wait"),
    ("admin", "list"),
    ("admin", "ensure"),
    ("admin", "delete", "admin@clarinet.ru", "--dry-run"),
    ("session", "stats"),
    ("session", "cleanup", "--dry-run"),
    ("migrate", "status"),
    ("migrate", "upgrade", "--dry-run"),
    ("migrate", "init", "--dry-run"),
]


@on_sqlite
def test_every_command_warns_once_in_one_line(project: Project) -> None:
    """All findings in one line on standard error; the exit code and the data are the same."""
    codes = {words: project.run(*words, "-o", "json").code for words in COMMANDS}
    project.write_settings('databse_port = 5\ndatabase_password = "x"\nlog_levl = "INFO"\n')
    for words, code in codes.items():
        result = project.run(*words, "-o", "json")
        assert result.code == code, result
        (line,) = warned(result)
        assert all(key in line for key in ("databse_port", "log_levl", "database_password")), line
        assert "warning" not in result.stdout
        assert warned(project.run("-q", *words)) == []


@on_sqlite
def test_a_command_that_asks_first_warns_once(project: Project) -> None:
    """It reads the settings for the question and for the work."""
    project.add_user("ada@example.org")
    project.write_settings("databse_port = 5\n")
    with terminal(project, "admin", "delete", "ada@example.org", columns=400) as shown:
        shown.answer("Delete ada@example.org", "y")
        assert shown.end() == 0
    assert shown.text.count("warning: ") == 1
    assert project.count("user") == 1


@on_sqlite
def test_help_and_version_do_not_look_at_settings(project: Project) -> None:
    """No settings are read, so there is no warning."""
    project.write_settings("databse_port = 5\n")
    for words in (("--help",), ("--version",), ("help", "exit-codes"), ("db", "init", "--help")):
        assert project.run(*words).stderr == ""


# --- The accidental database ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        (TYPICAL, "databse_driver"),
        ('databse_driver = "postgresql"\n', "databse_driver"),
        ('[database]\ndriver = "postgresql"\n', "[database] driver"),
        ('database_host = "db"\n', "database_host"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_init_makes_no_file_where_a_server_is_meant(
    tmp_path: Path, toml: str, names: str, dry: tuple[str, ...]
) -> None:
    """Exit 78 before a password is asked for; the file is named and not made."""
    (tmp_path / "settings.toml").write_text(toml)
    result = run_in_process(["-C", str(tmp_path), "db", "init", *dry])
    assert (result.code, result.stdout) == (78, "")
    assert names in result.stderr
    assert f"{tmp_path}/clarinet.db" in result.stderr
    assert "hint: set database_driver" in result.stderr
    assert CANARY not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]


@pytest.mark.parametrize(
    "toml",
    [
        'database_driver = "sqlite"\ndatabase_host = "db"\ndatabase_password = "x"\n',
        'database_driver = "sqlite"\ndatabse_driver = "postgresql"\n',
        'database_password = "x"\n',
        'databse_driver = "postgresql"\ndatabase_url = "sqlite:///clarinet.db"\n',
    ],
)
def test_init_makes_the_file_of_a_driver_that_is_named(tmp_path: Path, toml: str) -> None:
    """Who names sqlite means it: a warning at most."""
    (tmp_path / "settings.toml").write_text(f"{toml}admin_auto_create = false\n")
    result = run_in_process(["-C", str(tmp_path), "db", "init"])
    assert result.code == 0, result
    assert (tmp_path / "clarinet.db").exists()


@on_sqlite
def test_init_completes_a_file_that_is_there(project: Project) -> None:
    """An existing database is intended: the warning suffices."""
    (project.directory / "settings.toml").write_text(TYPICAL)
    result = project.run("db", "init")
    assert result.code == 0, result
    assert len(warned(result)) == 1
