"""Settings: keys, defaults, the order of the sources, and what a bad file leads to."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import SecretStr

from clarinet_cli import settings as module
from clarinet_cli.database.url import database_url
from clarinet_cli.exceptions import ConfigurationError
from clarinet_cli.mapping import Mapping
from clarinet_cli.settings import Settings, load_settings, use_project
from tests.support import Project, process_environment, replaced_environment, run_in_process

CANARY = "c4n4ry-s3cr3t"
# The settings table of the server; a secret stands here in plain text, None is unset.
DEFAULTS: dict[str, Any] = {
    "debug": False,
    "database_driver": "sqlite",
    "database_name": "clarinet",
    "database_host": "localhost",
    "database_port": 5432,
    "database_username": "postgres",
    "database_password": "postgres",
    "database_sslmode": None,
    "database_sslrootcert": None,
    "database_sslcert": None,
    "database_sslkey": None,
    "database_target_session_attrs": None,
    "database_url": None,
    "database_read_url": None,
    "mapping": "clarinet",
    "session_strategy": None,
    "session_lifetime_seconds": None,
    "admin_username": "admin",
    "admin_email": None,
    "admin_password": None,
    "admin_auto_create": True,
    "admin_require_strong_password": False,
    "extra_roles": [],
    "role_capabilities": {},
    "session_expire_hours": 24,
    "session_sliding_refresh": True,
    "session_absolute_timeout_days": 30,
    "session_idle_timeout_minutes": 60,
    "session_concurrent_limit": 5,
    "session_ip_check": False,
    "session_secure_cookie": True,
    "session_cache_ttl_seconds": 30,
    "cookie_name": "clarinet_session",
    "session_cleanup_enabled": True,
    "session_cleanup_interval": 3600,
    "session_cleanup_batch_size": 1000,
    "session_cleanup_retention_days": 30,
    "log_level": "INFO",
    "log_to_file": False,
    "storage_path": None,
    "log_dir": None,
    "log_rotation": "20 MB",
    "log_retention": "1 week",
    "log_serialize": True,
    "audit_log": None,
}
# RFC 9106, section 4, second recommended option; the server's table does not name these.
HASHING = {"argon2_time_cost": 3, "argon2_memory_cost": 65536, "argon2_parallelism": 4}
SECRETS = ("database_password", "database_url", "database_read_url", "admin_password")
# Another value for each key, as an environment variable and as Python has it afterwards.
OTHERS: dict[str, tuple[str, Any]] = {
    "debug": ("true", True),
    "database_driver": ("postgresql", "postgresql"),
    "database_name": ("other", "other"),
    "database_host": ("db.example.org", "db.example.org"),
    "database_port": ("6432", 6432),
    "database_username": ("clara", "clara"),
    "database_password": ("p@ss w%rd", "p@ss w%rd"),
    "database_sslmode": ("verify-full", "verify-full"),
    "database_sslrootcert": ("ca.pem", "ca.pem"),
    "database_sslcert": ("client.pem", "client.pem"),
    "database_sslkey": ("client.key", "client.key"),
    "database_target_session_attrs": ("read-write", "read-write"),
    "database_url": ("sqlite:///other.db", "sqlite:///other.db"),
    "database_read_url": ("sqlite:///replica.db", "sqlite:///replica.db"),
    "mapping": ('{"preset": "fastapi-users"}', Mapping()),
    "session_strategy": ("jwt", "jwt"),
    "session_lifetime_seconds": ("none", "none"),
    "admin_username": ("root", "root"),
    "admin_email": ("ada@example.org", "ada@example.org"),
    "admin_password": ("correct horse", "correct horse"),
    "admin_auto_create": ("false", False),
    "admin_require_strong_password": ("1", True),
    "extra_roles": ('["reader"]', ["reader"]),
    "role_capabilities": ('{"nurse": ["read"]}', {"nurse": ["read"]}),
    "argon2_time_cost": ("4", 4),
    "argon2_memory_cost": ("20000", 20000),
    "argon2_parallelism": ("1", 1),
    "session_expire_hours": ("12", 12),
    "session_sliding_refresh": ("false", False),
    "session_absolute_timeout_days": ("7", 7),
    "session_idle_timeout_minutes": ("0", 0),
    "session_concurrent_limit": ("1", 1),
    "session_ip_check": ("true", True),
    "session_secure_cookie": ("false", False),
    "session_cache_ttl_seconds": ("0", 0),
    "cookie_name": ("biscuit", "biscuit"),
    "session_cleanup_enabled": ("false", False),
    "session_cleanup_interval": ("60", 60),
    "session_cleanup_batch_size": ("10", 10),
    "session_cleanup_retention_days": ("0", 0),
    "log_level": ("debug", "DEBUG"),
    "log_to_file": ("true", True),
    "storage_path": ("/srv/clarinet", "/srv/clarinet"),
    "log_dir": ("/var/log/clarinet", "/var/log/clarinet"),
    "log_rotation": ("1 day", "1 day"),
    "log_retention": ("2 weeks", "2 weeks"),
    "log_serialize": ("false", False),
    "audit_log": ("audit.log", "audit.log"),
}
SERVER_FILE = """\
debug = false
database_name = "hospital"
host = "0.0.0.0"
storage_path = "./data"
extra_roles = ["reader"]

[dicom]
aet = "CLARINET"
[dicom.pacs.main]
address = { host = "10.0.0.1", port = 11112, tags = [[8, 80], [16, 16]] }

[role_capabilities.nurse]
can_read = true
projects = ["a", "b"]

[[queues]]
name = "default"
[[queues]]
name = "gpu"
started = 2026-11-22T18:30:00Z
"""


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Every test starts without the tool's variables and leaves no project behind."""
    with replaced_environment({}):
        yield
    use_project(None)


def plain(settings: Settings, key: str) -> Any:
    """Return a value as it is written: secrets and paths as text."""
    value = getattr(settings, key)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def write(directory: Path, **files: str | bytes) -> Path:
    """Write the settings files of a project: ``toml``, ``custom`` and ``env``."""
    names = {"toml": "settings.toml", "custom": "settings.custom.toml", "env": ".env"}
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (directory / names[name]).write_bytes(data)
    return directory


def refused(directory: Path) -> str:
    """Return everything that the error about a project's settings can show."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(directory)
    error = caught.value
    return f"{error.message}\n{error.hint}\n{error!r}\n{error}\n{error.__cause__!r}"


def attempt(directory: Path) -> Settings | ConfigurationError:
    """Return a project's settings, or the error about them."""
    try:
        return load_settings(directory)
    except ConfigurationError as error:
        return error


# --- Keys and defaults ---------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [*DEFAULTS.items(), *HASHING.items()])
def test_a_key_has_its_default(tmp_path: Path, key: str, value: object) -> None:
    """Without any file each key has the server's default, of the same type."""
    found = plain(load_settings(tmp_path), key)
    assert (found, type(found)) == (value, type(value))


def test_there_are_no_other_keys() -> None:
    """The tool reads the server's keys, the cost of hashing, TLS, a replica, an audit log."""
    assert set(Settings.model_fields) - {"project_dir"} == {*DEFAULTS, *HASHING} == set(OTHERS)


@pytest.mark.parametrize(("key", "text", "value"), [(key, *pair) for key, pair in OTHERS.items()])
def test_a_key_is_read_from_its_variable(
    tmp_path: Path, key: str, text: str, value: object
) -> None:
    """CLARINET_ and the key in capitals sets each key."""
    with replaced_environment({f"CLARINET_{key.upper()}": text}):
        settings = load_settings(tmp_path)
    assert plain(settings, key) == value


def test_the_example_file_has_every_key_with_its_default(tmp_path: Path) -> None:
    """Uncommenting all of the shipped settings.toml changes nothing."""
    shipped = (Path(__file__).parent.parent / "settings.toml").read_text("utf-8")
    lines = re.findall(r"^#? ?(\w+ = .*)$", shipped, re.MULTILINE)
    listed = tomllib.loads("\n".join(lines))
    assert set(listed) == {*DEFAULTS, *HASHING}
    write(tmp_path, toml="\n".join(lines))
    settings = load_settings(tmp_path)
    assert {key: plain(settings, key) for key in listed} == DEFAULTS | HASHING


@pytest.mark.parametrize(
    ("toml", "directory"),
    [
        ("", "logs"),
        ('log_dir = "log"', "log"),
        ('storage_path = "data"', "data/logs"),
        ('storage_path = "/srv/clarinet"', "/srv/clarinet/logs"),
        ('storage_path = "/srv/clarinet"\nlog_dir = "log"', "log"),
    ],
)
def test_the_log_is_where_the_server_has_its_own(tmp_path: Path, toml: str, directory: str) -> None:
    """log_dir, else logs in storage_path, else logs in the project."""
    assert load_settings(write(tmp_path, toml=toml)).log_directory == tmp_path / directory


@pytest.mark.parametrize(
    ("toml", "level"),
    [
        ("", "INFO"),
        ("debug = true", "DEBUG"),
        ('debug = true\nlog_level = "info"', "DEBUG"),
        ('debug = true\nlog_level = "ERROR"', "ERROR"),
        ('debug = true\nlog_level = "TRACE"', "TRACE"),
    ],
)
def test_debug_makes_the_log_file_verbose(tmp_path: Path, toml: str, level: str) -> None:
    """With debug the usual level is DEBUG; another one stays, as for the server."""
    assert load_settings(write(tmp_path, toml=toml)).file_log_level == level


@pytest.mark.parametrize(
    "key",
    [
        "session_idle_timeout_minutes",
        "session_absolute_timeout_days",
        "session_concurrent_limit",
        "session_cleanup_retention_days",
        "session_cache_ttl_seconds",
    ],
)
@pytest.mark.parametrize("value", [-1, -(10**30)])
@pytest.mark.parametrize("source", ["environment", "env", "toml"])
def test_a_negative_limit_is_off(tmp_path: Path, key: str, value: int, source: str) -> None:
    """The server takes a negative limit as none at all; so do we, as 0."""
    variable = f"CLARINET_{key.upper()}"
    if source == "env":
        write(tmp_path, env=f"{variable}={value}")
    elif source == "toml":
        toml = f"{key} = {max(value, -9)}"
        write(tmp_path, toml=toml)
    with replaced_environment({variable: str(value)} if source == "environment" else {}):
        assert getattr(load_settings(tmp_path), key) == 0


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_every_server_driver_is_understood(tmp_path: Path, driver: str) -> None:
    """All three spellings of PostgreSQL are values of database_driver."""
    write(tmp_path, toml=f'database_driver = "{driver}"')
    assert load_settings(tmp_path).database_driver == driver


@pytest.mark.parametrize(
    ("toml", "email"),
    [
        ("", "admin@clarinet.ru"),
        ('admin_username = "root"', "admin@clarinet.ru"),
        ('admin_username = "boss"\nadmin_email = ""', "admin@clarinet.ru"),
        ('admin_username = "ada@example.org"', "ada@example.org"),
        ('admin_username = "root"\nadmin_email = "ada@example.org"', "ada@example.org"),
    ],
)
def test_first_administrator_has_the_address_that_the_server_gives(
    tmp_path: Path, toml: str, email: str
) -> None:
    """admin_email, else admin_username with an @, else admin@clarinet.ru."""
    assert load_settings(write(tmp_path, toml=toml)).first_admin_email == email


# --- Sources -------------------------------------------------------------------------------


def test_stronger_sources_win(tmp_path: Path) -> None:
    """Environment over .env over settings.custom.toml over settings.toml over defaults."""
    sources = ["toml", "custom", "env", "environment"]
    keys = ["cookie_name", "database_name", "database_host", "database_username"]
    # The first key is set in one source, the second in two, the last in all of them.
    content = {
        source: [key for key in keys if keys.index(key) >= number]
        for number, source in enumerate(sources)
    }
    write(
        tmp_path,
        toml="\n".join(f'{key} = "toml"' for key in content["toml"]),
        custom="\n".join(f'{key} = "custom"' for key in content["custom"]),
        env="\n".join(f"CLARINET_{key.upper()}=env" for key in content["env"]),
    )
    with replaced_environment({f"CLARINET_{keys[3].upper()}": "environment"}):
        settings = load_settings(tmp_path)
    assert [plain(settings, key) for key in keys] == sources
    assert settings.database_port == DEFAULTS["database_port"]


@pytest.mark.parametrize("weaker", ["toml", "custom", "env"])
def test_a_bad_value_under_a_good_one_is_not_used(tmp_path: Path, weaker: str) -> None:
    """A value that a stronger source replaces does no harm."""
    line = "CLARINET_DATABASE_PORT=x" if weaker == "env" else 'database_port = "x"'
    write(tmp_path, **{weaker: line})
    with replaced_environment({"CLARINET_DATABASE_PORT": "6432"}):
        assert load_settings(tmp_path).database_port == 6432


def test_the_files_are_those_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the current directory don't matter when another project is named."""
    (here := tmp_path / "here").mkdir()
    (there := tmp_path / "there").mkdir()
    write(here, toml='cookie_name = "here"', env="CLARINET_DATABASE_NAME=here")
    write(there, custom='cookie_name = "there"')
    monkeypatch.chdir(here)
    settings = load_settings(there)
    assert (settings.cookie_name, settings.database_name) == ("there", "clarinet")
    assert settings.project_dir == there.resolve()


def test_settings_of_a_whole_server_project_load(tmp_path: Path) -> None:
    """Unknown keys, nested tables and arrays of tables of a server are ignored."""
    write(tmp_path, toml=SERVER_FILE, env="SECRET_KEY=x\nCLARINET_PACS_AET=Y\n")
    with replaced_environment({"CLARINET_DICOM__AET": "Z", "CLARINET_QUEUES": "{not json"}):
        settings = load_settings(tmp_path)
    assert settings.database_name == "hospital"
    assert settings.extra_roles == ["reader"]
    assert settings.role_capabilities == {"nurse": {"can_read": True, "projects": ["a", "b"]}}


def test_a_file_cannot_move_the_project(tmp_path: Path) -> None:
    """The project directory is that of the files, regardless of their values."""
    write(tmp_path, toml='project_dir = "/elsewhere"', env="CLARINET_PROJECT_DIR=/elsewhere")
    with replaced_environment({"CLARINET_PROJECT_DIR": "/elsewhere"}):
        assert load_settings(tmp_path).project_dir == tmp_path.resolve()


@pytest.mark.parametrize("key", OTHERS)
@pytest.mark.parametrize("source", ["environment", "env"])
def test_an_empty_variable_is_unset(tmp_path: Path, key: str, source: str) -> None:
    """Compose files pass an empty variable for a missing one: the weaker source counts."""
    text, value = OTHERS[key]
    variable = f"CLARINET_{key.upper()}"
    toml_value = value if isinstance(value, str) else json.loads(text)
    write(tmp_path, toml=f"{key} = {toml_literal(toml_value)}")
    if source == "env":
        write(tmp_path, env=f"{variable}=\n")
    with replaced_environment({variable: ""} if source == "environment" else {}):
        assert plain(load_settings(tmp_path), key) == value


@pytest.mark.parametrize("key", [*DEFAULTS, *HASHING])
def test_an_empty_variable_alone_leaves_the_default(tmp_path: Path, key: str) -> None:
    """Without a weaker source each key has its default."""
    with replaced_environment({f"CLARINET_{key.upper()}": ""}):
        assert plain(load_settings(tmp_path), key) == (DEFAULTS | HASHING)[key]


@pytest.mark.parametrize(
    "key",
    [
        "admin_email",
        "admin_password",
        "audit_log",
        "database_read_url",
        "database_url",
        "log_dir",
        "storage_path",
    ],
)
def test_an_empty_text_in_a_file_is_unset(tmp_path: Path, key: str) -> None:
    """If a key may be unset, an empty text unsets it."""
    write(tmp_path, toml=f'{key} = ""')
    assert getattr(load_settings(tmp_path), key) is None


def toml_literal(value: Any) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


TABLES = {
    "toml": "[role_capabilities.nurse]\nread = true\n[role_capabilities.clerk]\nread = true\n",
    "custom": "[role_capabilities.nurse]\nwrite = true\n",
    "env": 'CLARINET_ROLE_CAPABILITIES=\'{"nurse": {"sign": true}}\'\n',
}


@pytest.mark.parametrize(
    ("sources", "value"),
    [
        (["toml"], {"nurse": {"read": True}, "clerk": {"read": True}}),
        (["toml", "custom"], {"nurse": {"write": True}}),
        (["toml", "env"], {"nurse": {"sign": True}}),
        (["toml", "custom", "env"], {"nurse": {"sign": True}}),
    ],
)
def test_the_strongest_table_counts_whole(
    tmp_path: Path, sources: list[str], value: dict[str, Any]
) -> None:
    """A table of settings.custom.toml replaces that of settings.toml, as for the server."""
    write(tmp_path, **{source: TABLES[source] for source in sources})
    assert load_settings(tmp_path).role_capabilities == value


def test_an_empty_table_counts_too(tmp_path: Path) -> None:
    """A variable with an empty table takes all capabilities of the files away."""
    write(tmp_path, toml=TABLES["toml"])
    with replaced_environment({"CLARINET_ROLE_CAPABILITIES": "{}"}):
        assert load_settings(tmp_path).role_capabilities == {}


# --- Secrets -------------------------------------------------------------------------------


def test_secrets_show_in_no_representation(tmp_path: Path) -> None:
    """Secrets are SecretStr: repr, str and a dump of the settings don't show them."""
    values = {
        "database_password": CANARY,
        "database_url": f"postgresql://u:{CANARY}@h/d",
        "database_read_url": f"postgresql://u:{CANARY}@replica/d",
        "admin_password": CANARY,
    }
    write(tmp_path, toml="\n".join(f'{key} = "{value}"' for key, value in values.items()))
    settings = load_settings(tmp_path)
    assert {key: getattr(settings, key).get_secret_value() for key in SECRETS} == values
    assert all(isinstance(getattr(settings, key), SecretStr) for key in SECRETS)
    shown = [repr(settings), str(settings), f"{settings.model_dump()}", settings.model_dump_json()]
    assert not [text for text in shown if CANARY in text]


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize(
    "value", [f'["{CANARY}"]', f'{{ inner = "{CANARY}" }}', "4711471147", f'[["{CANARY}"]]']
)
def test_a_secret_of_the_wrong_type_is_not_shown(tmp_path: Path, key: str, value: str) -> None:
    """The error names file and key of a bad secret, and nothing of its value."""
    text = refused(write(tmp_path, toml=f"{key} = {value}"))
    assert f"{tmp_path}/settings.toml: {key}: " in text
    assert CANARY not in text
    assert "4711471147" not in text


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("line", [f'{{}} = "{CANARY}', f"{{}} = {CANARY}", f'{{}} = "\\{CANARY}"'])
def test_a_broken_line_with_a_secret_is_not_shown(tmp_path: Path, key: str, line: str) -> None:
    """The error about bad TOML names file and place, not the line's text."""
    text = refused(write(tmp_path, toml=f"{line.format(key)}\ndebug = true\n"))
    assert f"{tmp_path}/settings.toml: not valid TOML: " in text
    assert "line 1" in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "url",
    [
        CANARY,
        f"//{CANARY}@host/name",
        f"postgresql://user:{CANARY}@host:{CANARY}/name",
        f"mysql://user:{CANARY}@host/name",
        f"postgresql:/user:{CANARY}@host/name",
    ],
)
@pytest.mark.parametrize("source", ["environment", "toml"])
def test_a_database_url_that_is_none_names_its_source_and_no_secret(
    tmp_path: Path, url: str, source: str
) -> None:
    """A URL that cannot be used is a configuration error with file or variable and key."""
    if source == "toml":
        write(tmp_path, toml=f'database_url = "{url}"')
    where = {"environment": "CLARINET_DATABASE_URL", "toml": f"{tmp_path}/settings.toml"}[source]
    environment = {"CLARINET_DATABASE_URL": url} if source == "environment" else {}
    with replaced_environment(environment), pytest.raises(ConfigurationError) as caught:
        database_url(load_settings(tmp_path))
    error = caught.value
    assert CANARY not in f"{error!r} {error.message} {error.hint} {error.__cause__!r}"
    assert "database_url" in error.message
    assert where in error.message


# --- What cannot be used --------------------------------------------------------------------

BAD_VALUES = [
    ("debug", '"maybe"'),
    ("database_driver", '"mysql"'),
    ("database_driver", '""'),
    ("database_name", '""'),
    ("database_name", "7"),
    ("database_host", "[]"),
    ("database_port", '"many"'),
    ("database_port", "0"),
    ("database_port", "65536"),
    ("database_port", "54.5"),
    ("admin_username", '""'),
    ("admin_auto_create", "7"),
    ("extra_roles", '"reader"'),
    ("extra_roles", "[1]"),
    ("role_capabilities", "[]"),
    ("argon2_time_cost", "0"),
    ("argon2_parallelism", "0"),
    ("session_expire_hours", "nan"),
    ("session_idle_timeout_minutes", "0.5"),
    ("session_expire_hours", "-1"),
    ("session_cleanup_batch_size", "0"),
    ("session_cleanup_interval", "0"),
    ("session_cleanup_retention_days", "36501"),
    ("log_level", '"LOUD"'),
    ("log_level", "3"),
    ("log_dir", "[]"),
]


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
@pytest.mark.parametrize("file", ["settings.toml", "settings.custom.toml"])
def test_a_bad_value_in_a_file_names_file_and_key(
    tmp_path: Path, file: str, key: str, value: str
) -> None:
    """Wrong types, unknown drivers and values out of range: file, key, nothing else."""
    (tmp_path / file).write_text(f"{key} = {value}\n")
    text = refused(tmp_path)
    assert f"{tmp_path / file}: {key}: " in text
    assert "pydantic" not in text


@pytest.mark.parametrize("source", ["environment", "env"])
def test_a_bad_value_in_a_variable_names_it(tmp_path: Path, source: str) -> None:
    """A variable is named as it is written; one of .env, by that file and the key."""
    line = {"CLARINET_DATABASE_PORT": "many"}
    if source == "env":
        write(tmp_path, env="CLARINET_DATABASE_PORT=many")
    with replaced_environment(line if source == "environment" else {}):
        text = refused(tmp_path)
    where = {"environment": "CLARINET_DATABASE_PORT", "env": f"{tmp_path}/.env: database_port"}
    assert where[source] in text


@pytest.mark.parametrize("key", ["extra_roles", "role_capabilities"])
@pytest.mark.parametrize("source", ["environment", "env"])
def test_bad_json_in_a_variable_names_it(tmp_path: Path, key: str, source: str) -> None:
    """Lists and tables are JSON in variables; what is not names variable and key."""
    variable = f"CLARINET_{key.upper()}"
    if source == "env":
        write(tmp_path, env=f"{variable}=[reader\n")
    with replaced_environment({variable: "[reader"} if source == "environment" else {}):
        text = refused(tmp_path)
    assert (variable if source == "environment" else f"{tmp_path}/.env") in text
    assert key in text
    assert "JSON" in text


@pytest.mark.parametrize("file", ["settings.toml", "settings.custom.toml"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"database_name = ", "TOML"),
        (b"= 3", "TOML"),
        (b"[database\n", "TOML"),
        (b"debug = true\ndebug = true\n", "TOML"),
        (b"when = 2026-13-45\n", "TOML"),
        (b"\xef\xbb\xbfdebug = true\n", "begins with a byte order mark"),
        (b'cookie_name = "\xff\xfe"\n', "UTF-8"),
        (b"\x00\x01\x02", "TOML"),
        (b"[" * 5000, "TOML"),
        (b"key = " + b"[" * 50_000, "TOML"),
        (b"number = " + b"9" * 5000, "TOML"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, file: str, content: bytes, reason: str) -> None:
    """A file that is not TOML or not UTF-8 is a configuration error with its name."""
    (tmp_path / file).write_bytes(content)
    text = refused(tmp_path)
    assert f"{tmp_path / file}: " in text
    assert reason in text


@pytest.mark.parametrize("file", ["settings.toml", "settings.custom.toml", ".env"])
def test_a_directory_in_place_of_a_file_is_named(tmp_path: Path, file: str) -> None:
    """A mount that made a directory of the file is an error, not silence."""
    (tmp_path / file).mkdir()
    assert f"{tmp_path / file}: " in refused(tmp_path)


def test_dotenv_with_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    """It would silently become a part of the first key."""
    text = refused(write(tmp_path, env=b"\xef\xbb\xbfCLARINET_COOKIE_NAME=biscuit\r\n"))
    assert f"{tmp_path}/.env: begins with a byte order mark" in text


def test_dotenv_may_have_the_line_ends_of_windows(tmp_path: Path) -> None:
    """A carriage return before a newline belongs to neither value nor key."""
    write(tmp_path, env=b"CLARINET_DATABASE_HOST=db\r\nCLARINET_COOKIE_NAME='biscuit'\r\n")
    settings = load_settings(tmp_path)
    assert (settings.database_host, settings.cookie_name) == ("db", "biscuit")


TEXT_KEYS = [
    "database_name",
    "database_host",
    "database_username",
    "admin_username",
    "admin_email",
    "cookie_name",
    "log_rotation",
    "log_dir",
    "audit_log",
    "storage_path",
]


@pytest.mark.parametrize("key", [*TEXT_KEYS, *SECRETS])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{CANARY}\r", "ends with a carriage return"),
        (f"{CANARY}\n", "ends with a newline"),
        (f"\ufeff{CANARY}", "begins with a byte order mark"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "toml"])
def test_a_line_end_in_a_value_is_named(
    tmp_path: Path, key: str, value: str, reason: str, source: str
) -> None:
    """A value from a file with other line ends is refused with its source, not taken."""
    variable = f"CLARINET_{key.upper()}"
    if source == "toml":
        write(tmp_path, toml=f"{key} = {json.dumps(value)}")
    with replaced_environment({variable: value} if source == "environment" else {}):
        text = refused(tmp_path)
    where = variable if source == "environment" else f"{tmp_path}/settings.toml"
    assert f"{where}: {key}: {reason}" in text
    assert (CANARY in text) == (key not in SECRETS)


@pytest.mark.parametrize("key", ["database_port", "debug", "log_level", "database_driver"])
def test_a_line_end_in_a_number_is_named(tmp_path: Path, key: str) -> None:
    """The reason is the invisible character, not the type."""
    with replaced_environment({f"CLARINET_{key.upper()}": f"{OTHERS[key][0]}\r"}):
        text = refused(tmp_path)
    assert f"CLARINET_{key.upper()}: {key}: ends with a carriage return" in text


@pytest.mark.parametrize("key", TEXT_KEYS)
@pytest.mark.parametrize("letter", ["\0", "\x1b", "\n", "\x7f", "\x85"])
def test_a_control_character_in_a_value_is_refused(tmp_path: Path, key: str, letter: str) -> None:
    """Names cannot contain characters that a terminal would interpret."""
    write(tmp_path, toml=f'{key} = "a\\u{ord(letter):04x}b"')
    assert f"{tmp_path}/settings.toml: {key}: contains a" in refused(tmp_path)


@pytest.mark.parametrize(
    "line", ['extra_roles = ["a\\r"]', '"role_capabilities" = { "a\\r" = [] }']
)
def test_a_line_end_in_a_roles_name_is_refused(tmp_path: Path, line: str) -> None:
    """It would be a role of its own in the database."""
    text = refused(write(tmp_path, toml=line))
    assert f"{tmp_path}/settings.toml: " in text
    assert "ends with a carriage return" in text


@pytest.mark.parametrize("key", ["admin_password", "database_password"])
def test_a_password_may_have_control_characters_inside(tmp_path: Path, key: str) -> None:
    """Only its start and end are checked."""
    value = "a\r\nb\x1b\ufeffc\t"
    write(tmp_path, toml=f"{key} = {json.dumps(value)}")
    assert plain(load_settings(tmp_path), key) == value


def test_dotenv_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    """A .env in another encoding is a configuration error with its name."""
    assert f"{tmp_path}/.env: not UTF-8" in refused(
        write(tmp_path, env=b"CLARINET_ADMIN_EMAIL=\xe4da@example.org")
    )


def test_all_bad_values_are_named_at_once(tmp_path: Path) -> None:
    """Two mistakes in two files are one error that has both."""
    write(tmp_path, toml='database_port = "x"', custom='debug = "maybe"')
    text = refused(tmp_path)
    assert f"{tmp_path}/settings.toml: database_port: " in text
    assert f"{tmp_path}/settings.custom.toml: debug: " in text


@pytest.mark.parametrize(
    ("time_cost", "memory_cost"), [(1, 47104), (2, 19456), (3, 12288), (4, 9216), (5, 7168)]
)
def test_hashing_is_never_weaker_than_owasp(
    tmp_path: Path, time_cost: int, memory_cost: int
) -> None:
    """Each line of OWASP's table is accepted, a KiB less is refused with file and key."""
    toml = "argon2_time_cost = {}\nargon2_memory_cost = {}\n"
    write(tmp_path, toml=toml.format(time_cost, memory_cost))
    assert load_settings(tmp_path).argon2_memory_cost == memory_cost
    text = refused(write(tmp_path, toml=toml.format(time_cost, memory_cost - 1)))
    assert "argon2_memory_cost" in text
    assert f"{tmp_path}/settings.toml" in text


def test_more_time_does_not_buy_less_memory(tmp_path: Path) -> None:
    """Below 7 MiB no time cost is enough."""
    write(tmp_path, toml="argon2_time_cost = 100\nargon2_memory_cost = 7167\n")
    assert "argon2_memory_cost" in refused(tmp_path)


# --- The module's object -------------------------------------------------------------------


def test_settings_are_built_on_first_use(tmp_path: Path) -> None:
    """Naming a project reads nothing; the attribute does, once, until another is named."""
    use_project(write(tmp_path, toml="= broken"))
    with pytest.raises(ConfigurationError):
        _ = module.settings
    write(tmp_path, toml='cookie_name = "mended"')
    first = module.settings
    write(tmp_path, toml='cookie_name = "changed"')
    assert first.cookie_name == "mended"
    assert module.settings is first
    use_project(tmp_path)
    assert module.settings.cookie_name == "changed"


def test_without_a_name_the_project_is_the_variables_or_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLARINET_PROJECT names the project; without it, it is the current directory."""
    (here := tmp_path / "here").mkdir()
    (there := tmp_path / "there").mkdir()
    monkeypatch.chdir(here)
    use_project(None)
    assert module.settings.project_dir == here.resolve()
    use_project(None)
    monkeypatch.setenv("CLARINET_PROJECT", str(there))
    assert module.settings.project_dir == there.resolve()


def test_the_module_has_no_other_late_attributes() -> None:
    """A misspelt import fails as in any module."""
    with pytest.raises(AttributeError, match="setings"):
        _ = module.setings


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    """The shared object is frozen."""
    settings = load_settings(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "debug", True)  # noqa: B010 - the type checker knows it is frozen
    assert settings.debug is False


def test_importing_the_module_reads_no_file(tmp_path: Path) -> None:
    """In a fresh interpreter a broken file hurts at the first use, not at the import."""
    write(tmp_path, toml="= broken")
    program = (
        "import clarinet_cli.settings; print('imported')\n"
        "from clarinet_cli.exceptions import ConfigurationError\n"
        "try:\n from clarinet_cli.settings import settings\n"
        "except ConfigurationError as error:\n print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=process_environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"imported\n{tmp_path}/settings.toml: not valid TOML")


# --- Any text ------------------------------------------------------------------------------

KEYS = st.sampled_from([*DEFAULTS, *HASHING, "project_dir", "unknown"])
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text().map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    st.lists(st.integers(-9, 99)).map(str),
    st.sampled_from(["{}", "{ a = 1 }", "[[]]", "2026-11-22", "07:30:00", "''", '"sqlite"']),
)
LINES = st.lists(st.tuples(KEYS, VALUES), max_size=6, unique_by=lambda line: line[0])
ASSIGNMENTS = LINES.map(lambda lines: "".join(f"{key} = {value}\n" for key, value in lines))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all the texts that a property test tries."""
    return tmp_path_factory.mktemp("scratch")


@effort(max_examples=150, deadline=None)
@given(text=st.one_of(ASSIGNMENTS, st.text(), st.binary()))
@example(text="a = " + "[" * 50_000)
@example(text="a = " + "9" * 5000)
def test_any_file_gives_settings_or_a_configuration_error(scratch: Path, text: str | bytes) -> None:
    """Any settings.toml gives settings, or an error that names the file."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    write(scratch, toml=data)
    outcome = attempt(scratch)
    if isinstance(outcome, ConfigurationError):
        assert f"{scratch}/settings.toml: " in outcome.message
    else:
        assert outcome.project_dir == scratch.resolve()


@effort(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_characters="\0"), max_size=200))
def test_any_variable_gives_settings_or_a_configuration_error(scratch: Path, text: str) -> None:
    """Any value of a variable gives settings, or an error that names it."""
    write(scratch, toml="")
    key = "extra_roles" if len(text) % 2 else "database_port"
    encoded = os.fsdecode(text.encode("utf-8", "replace"))
    variable = f"CLARINET_{key.upper()}"
    with replaced_environment({variable: encoded}):
        outcome = attempt(scratch)
    if isinstance(outcome, ConfigurationError):
        assert variable in outcome.message
    else:
        assert isinstance(getattr(outcome, key), (int, list))


# --- On the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"= broken", "not valid TOML"),
        (b'database_port = "many"', "database_port"),
        (b'database_driver = "mysql"', "database_driver"),
        (b'cookie_name = "\xff"', "UTF-8"),
        (b"debug = \n\n\n", "not valid TOML"),
        (b'database_url = "nonsense"', "database_url"),
        (b"key = " + b"[" * 50_000, "not valid TOML"),
    ],
)
def test_a_broken_file_ends_a_command_with_78(tmp_path: Path, content: bytes, reason: str) -> None:
    """One error line with file and reason, exit code 78, nothing on standard output."""
    write(tmp_path, toml=content)
    result = run_in_process(["-C", str(tmp_path), "session", "stats"])
    assert (result.code, result.stdout) == (78, "")
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert f"{tmp_path}/settings.toml" in first
    assert reason in first
    assert [line for line in rest if not line.startswith("hint: ")] == []


@pytest.mark.parametrize(
    "words",
    [["--help"], ["session", "--help"], ["session", "cleanup", "-h"], ["--version"]],
    ids=" ".join,
)
def test_help_works_beside_a_broken_file(tmp_path: Path, words: list[str]) -> None:
    """Help and version are there when nothing else is."""
    write(tmp_path, toml="= broken", env=b"\xff")
    result = run_in_process(["-C", str(tmp_path), *words])
    assert (result.code, result.stderr) == (0, "")
    assert "clarinet" in result.stdout


@pytest.mark.parametrize("name", [".", "/", "a\\u0000b"])
def test_a_database_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    """A name that cannot be a SQLite file is a clear error, never an unexpected one."""
    write(tmp_path, toml=f'database_name = "{name}"\nadmin_auto_create = false\n')
    result = run_in_process(["-C", str(tmp_path), "db", "init"])
    assert "unexpected" not in result.stderr
    assert result.code == 78
    assert "database_name" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml"}


@pytest.mark.parametrize(
    "line",
    [
        "session_idle_timeout_minutes = 9999999999",
        "session_idle_timeout_minutes = 9999999999999999",
        "session_cleanup_retention_days = 9999999",
        "session_cleanup_retention_days = 9999999999999999",
    ],
)
@pytest.mark.parametrize("command", ["stats", "cleanup"])
def test_times_of_a_thousand_years_are_no_accident(
    project: Project, line: str, command: str
) -> None:
    """A huge limit means 'never', or is refused as a setting; no session is lost by it."""
    token = project.add_session(project.add_user("ada@example.org"))
    project.write_settings(f"{line}\n")
    result = project.run("session", command)
    assert result.code in (0, 78), result
    assert project.tokens() == {token}


@pytest.mark.parametrize(
    "line",
    [
        "argon2_memory_cost = 99999999999999999999",
        "argon2_time_cost = 99999999999",
        "argon2_memory_cost = 7168\nargon2_time_cost = 5\nargon2_parallelism = 256",
    ],
)
def test_hashing_beyond_what_argon2_can_is_refused(tmp_path: Path, line: str) -> None:
    """A cost that the algorithm cannot express is a configuration error with the key."""
    text = refused(write(tmp_path, toml=line))
    assert "argon2_" in text
