"""The settings explained: values, sources and findings, also where no command could use them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarinet_cli.exceptions import InvalidInputError
from clarinet_cli.results import Finding, SettingRow
from clarinet_cli.services.configuration import check_settings, list_settings_files, show_settings
from clarinet_cli.settings import Settings
from tests.support import replaced_environment

CANARY = "c4n4ry-s3cr3t"


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Every test starts without the tool's variables."""
    with replaced_environment({}):
        yield


def row(project: Path, key: str, **environment: str) -> SettingRow:
    """Return the row of one setting."""
    with replaced_environment(environment):
        (found,) = show_settings(project, [key])
    return found


def findings(project: Path, **environment: str) -> list[Finding]:
    """Return what the checks find wrong."""
    with replaced_environment(environment):
        return [item for item in check_settings(project) if item.status != "ok"]


def finding(project: Path, **environment: str) -> Finding:
    """Return the only thing that is wrong."""
    (found,) = findings(project, **environment)
    return found


def write(project: Path, text: str, name: str = "settings.toml") -> Path:
    """Write a settings file that other users cannot read."""
    file = project / name
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


# --- Values and their sources --------------------------------------------------------------


def test_every_setting_has_a_row(tmp_path: Path) -> None:
    """All keys of the settings in their order, each with its default."""
    rows = show_settings(tmp_path)
    assert [item.key for item in rows] == [k for k in Settings.model_fields if k != "project_dir"]
    assert {item.source for item in rows} == {"default"}
    assert row(tmp_path, "database_port").value == 5432


def test_the_strongest_source_is_named(tmp_path: Path) -> None:
    """A variable by its name, a file with the line; the first in the order counts."""
    toml = write(tmp_path, '# ours\n\nadmin_username = "a"\ncookie_name = "a"\nlog_dir = "a"\n')
    custom = write(tmp_path, 'cookie_name = "b"\nlog_dir = "b"\n', "settings.custom.toml")
    dotenv = write(tmp_path, "\n# x\nCLARINET_LOG_DIR=c\nCLARINET_LOG_ROTATION=c\n", ".env")
    environment = {"CLARINET_LOG_ROTATION": "d"}
    assert row(tmp_path, "admin_username").source == f"{toml}:3"
    assert row(tmp_path, "cookie_name").source == f"{custom}:1"
    assert row(tmp_path, "log_dir") == SettingRow("log_dir", "c", f"{dotenv}:3")
    found = row(tmp_path, "log_rotation", **environment)
    assert found == SettingRow("log_rotation", "d", "CLARINET_LOG_ROTATION")


def test_a_key_inside_a_table_of_another_name_is_not_its_line(tmp_path: Path) -> None:
    """The line is that of the key itself, not of one with the same name in a table."""
    toml = write(tmp_path, 'extra_roles = []\n[server]\nextra_roles = ["x"]\n')
    assert row(tmp_path, "extra_roles").source == f"{toml}:1"


def test_a_table_has_a_row_for_each_key(tmp_path: Path) -> None:
    """Tables are flat for scripts; what is nested deeper is JSON."""
    toml = write(tmp_path, '[role_capabilities]\nreader = ["see"]\nother = {a = 1}\n')
    rows = show_settings(tmp_path, ["role_capabilities"])
    assert [(item.key, item.value) for item in rows] == [
        ("role_capabilities.reader", ["see"]),
        ("role_capabilities.other", '{"a": 1}'),
    ]
    assert {item.source for item in rows} == {f"{toml}:1"}


def test_values_have_their_types(tmp_path: Path) -> None:
    """What a variable gives as text is the number, switch or list that the tool uses."""
    environment = {
        "CLARINET_DATABASE_PORT": "5433",
        "CLARINET_DEBUG": "yes",
        "CLARINET_EXTRA_ROLES": '["reader"]',
    }
    assert row(tmp_path, "database_port", **environment).value == 5433
    assert row(tmp_path, "debug", **environment).value is True
    assert row(tmp_path, "extra_roles", **environment).value == ["reader"]


def test_an_empty_variable_is_no_source(tmp_path: Path) -> None:
    """As for every other command."""
    assert row(tmp_path, "cookie_name", CLARINET_COOKIE_NAME="").source == "default"


def test_changed_leaves_out_what_is_the_default(tmp_path: Path) -> None:
    """Also if a source repeats the default."""
    write(tmp_path, 'database_port = 5432\ncookie_name = "mine"\n')
    assert [item.key for item in show_settings(tmp_path, changed=True)] == ["cookie_name"]


def test_a_key_may_be_given_as_its_variable(tmp_path: Path) -> None:
    """As in a compose file."""
    assert row(tmp_path, "CLARINET_DATABASE_PORT").key == "database_port"


def test_an_unknown_key_is_a_usage_error(tmp_path: Path) -> None:
    """With the nearest name."""
    with pytest.raises(InvalidInputError) as caught:
        show_settings(tmp_path, ["database_hots"])
    assert "database_host" in str(caught.value.hint)


# --- Secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["database_password", "admin_password"])
def test_a_secret_is_masked(tmp_path: Path, key: str) -> None:
    """Its source is shown all the same."""
    toml = write(tmp_path, f'{key} = "{CANARY}"')
    assert row(tmp_path, key) == SettingRow(key, "****", f"{toml}:1")


def test_an_unset_secret_is_none(tmp_path: Path) -> None:
    """So that one sees that there is none; a default secret is masked too."""
    assert row(tmp_path, "admin_password").value is None
    assert row(tmp_path, "database_password").value == "****"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://u:{CANARY}@db:5433/n", "postgresql://u:****@db:5433/n"),
        (f"postgresql://u:a%40{CANARY}@db/n?sslmode=require", "postgresql://u:****@db/n"),
        (f"postgresql://u@db/n?password={CANARY}", "postgresql://u@db/n"),
        (f"postgresql://u@db/n?sslpassword={CANARY}", "postgresql://u@db/n"),
        (f"postgresql://u:p@{CANARY}@db/n", "****"),
        (f"postgresql://u:p@{CANARY}/x@db/n", "****"),
        (f"postgresql://u/x:{CANARY}@db/n", "****"),
        (f"postgresql://u:{CANARY}", "****"),
        (CANARY, "****"),
        ("sqlite:///other.db", "sqlite:///other.db"),
    ],
)
@pytest.mark.parametrize("key", ["database_url", "database_read_url"])
def test_no_password_of_a_url_is_shown(tmp_path: Path, key: str, url: str, shown: str) -> None:
    """All but the password and the options, or nothing where it cannot be read."""
    write(tmp_path, f"{key} = {json.dumps(url)}")
    assert row(tmp_path, key).value == shown
    assert CANARY not in repr(check_settings(tmp_path))


def test_a_secret_of_the_wrong_type_is_masked(tmp_path: Path) -> None:
    """Also a value that no command could use."""
    write(tmp_path, f'database_password = ["{CANARY}"]\nadmin_password = {{ a = "{CANARY}" }}\n')
    assert {item.value for item in show_settings(tmp_path, ["database_password"])} == {"****"}
    assert CANARY not in repr(show_settings(tmp_path))
    assert CANARY not in repr(check_settings(tmp_path))


# --- Settings that cannot be used -----------------------------------------------------------

BROKEN: dict[str, tuple[str, str]] = {
    "no TOML": ("settings.toml", "a = ["),
    "a byte order mark": ("settings.custom.toml", "\ufeffdebug = true\n"),
    "no variables": (".env", "what is this?\n'\n"),
}


@pytest.mark.parametrize(("name", "text"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cant_be_read_is_a_finding(tmp_path: Path, name: str, text: str) -> None:
    """The other sources are shown, and the file is named."""
    file = write(tmp_path, text, name)
    found = finding(tmp_path, CLARINET_COOKIE_NAME="mine")
    assert (found.check, found.status) == ("files", "error")
    assert str(file) in found.detail
    assert row(tmp_path, "cookie_name", CLARINET_COOKIE_NAME="mine").value == "mine"


def test_a_directory_in_a_files_place_is_a_finding(tmp_path: Path) -> None:
    """It exists, and cannot be read."""
    (tmp_path / "settings.toml").mkdir()
    assert "not a file" in finding(tmp_path).detail


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("database_port = 99999", "database_port"),
        ('database_driver = "oracle"', "database_driver"),
        ('session_expire_hours = "long"', "session_expire_hours"),
        ("extra_roles = 1", "extra_roles"),
        ('admin_username = "a\\nb"', "admin_username"),
    ],
)
def test_an_unusable_value_is_shown_with_its_problem(tmp_path: Path, line: str, key: str) -> None:
    """The row has the value as it is written, and the check names file, line and key."""
    toml = write(tmp_path, f"debug = true\n{line}\n")
    shown = row(tmp_path, key)
    assert shown.problem
    assert shown.source == f"{toml}:2"
    found = finding(tmp_path)
    assert (found.check, found.status) == ("values", "error")
    assert found.detail.startswith(f"{toml}:2: {key}: ")
    assert row(tmp_path, "debug").value is True


def test_a_list_that_is_no_json_is_a_finding(tmp_path: Path) -> None:
    """The variable is named."""
    found = finding(tmp_path, CLARINET_EXTRA_ROLES="reader")
    assert found.detail == "CLARINET_EXTRA_ROLES: extra_roles: not valid JSON"
    assert row(tmp_path, "extra_roles", CLARINET_EXTRA_ROLES="reader").problem == "not valid JSON"


# --- Findings ------------------------------------------------------------------------------


def test_sound_settings_have_a_line_for_each_check(tmp_path: Path) -> None:
    """Nothing is wrong, and one sees what was checked."""
    write(tmp_path, 'cookie_name = "mine"\n')
    found = check_settings(tmp_path)
    assert {item.status for item in found} == {"ok"}
    names = ["files", "keys", "values", "contradictions", "shadowed", "permissions"]
    assert [item.check for item in found] == names


def test_the_example_settings_are_sound() -> None:
    """The settings file that comes with the tool has nothing wrong in it."""
    assert [f for f in findings(Path(__file__).parents[2]) if f.check != "permissions"] == []


def test_a_look_alike_key_is_an_error(tmp_path: Path) -> None:
    """With the file, the key and the nearest name; never the value."""
    toml = write(tmp_path, f'database_pasword = "{CANARY}"')
    found = finding(tmp_path)
    assert (found.check, found.status) == ("keys", "error")
    assert str(toml) in found.detail
    assert "database_pasword" in found.detail
    assert "database_password" in str(found.hint)
    assert CANARY not in repr(found)


def test_a_look_alike_is_found_beside_a_broken_file(tmp_path: Path) -> None:
    """One trouble does not hide another one."""
    write(tmp_path, "a = [", "settings.custom.toml")
    write(tmp_path, 'admin_emial = "a@b.example"\ndatabase_port = 0\n')
    assert [item.check for item in findings(tmp_path)] == ["files", "keys", "values"]


CONTRADICTIONS: dict[str, tuple[str, str, str]] = {
    "a server without a driver": ('database_host = "db"', "error", "database_host"),
    "a server beside SQLite": (
        'database_driver = "sqlite"\ndatabase_host = "db"',
        "warning",
        "database_host",
    ),
    "two databases": (
        'database_driver = "postgresql"\ndatabase_name = "a"\ndatabase_url = "postgresql://h/b"',
        "error",
        "the server does not read database_url",
    ),
    "two TLS modes": (
        'database_sslmode = "require"\ndatabase_url = "postgresql://h/b?sslmode=disable"',
        "error",
        "sslmode=disable contradicts",
    ),
    "a replica of another kind": (
        'database_read_url = "postgresql://h/b"',
        "error",
        "database_read_url is a postgresql database",
    ),
    "two administrators": (
        'admin_username = "a@b.example"\nadmin_email = "c@d.example"',
        "error",
        "a@b.example has no effect",
    ),
    "a password that is refused": (
        'admin_password = "short"\nadmin_require_strong_password = true',
        "error",
        "admin_password: ",
    ),
    "weak hashing": ("argon2_memory_cost = 8000", "error", "OWASP"),
    "a short absolute limit": (
        "session_expire_hours = 48\nsession_absolute_timeout_days = 1",
        "warning",
        "session_absolute_timeout_days 1",
    ),
    "an idle limit without effect": (
        "session_idle_timeout_minutes = 3000",
        "warning",
        "session_idle_timeout_minutes 3000",
    ),
    "a short retention": (
        "session_cleanup_retention_days = 7",
        "warning",
        "session_cleanup_retention_days 7",
    ),
}


@pytest.mark.parametrize(("text", "status", "part"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_values_that_contradict_each_other(
    tmp_path: Path, text: str, status: str, part: str
) -> None:
    """Each is right by itself, and both together are not what is meant."""
    write(tmp_path, text)
    found = finding(tmp_path)
    assert (found.check, found.status) == ("contradictions", status)
    assert part in found.detail


def test_an_overridden_value_is_a_warning(tmp_path: Path) -> None:
    """Both sources are named; the same value in both is nothing."""
    toml = write(tmp_path, 'cookie_name = "a"\nlog_level = "INFO"\n')
    found = finding(tmp_path, CLARINET_COOKIE_NAME="b", CLARINET_LOG_LEVEL="INFO")
    assert (found.check, found.status) == ("shadowed", "warning")
    assert found.detail == (
        f"{toml}:1: cookie_name has no effect: CLARINET_COOKIE_NAME overrides it"
    )


@pytest.mark.parametrize(
    ("mode", "who", "option"), [(0o666, "every user", "o-w"), (0o660, "the group", "g-w")]
)
def test_a_file_that_others_can_write_is_an_error(
    tmp_path: Path, mode: int, who: str, option: str
) -> None:
    """It decides where a password is sent; the owner's primary group counts as the owner."""
    toml = write(tmp_path, "debug = true\n")
    if who == "the group":
        os.chown(toml, -1, 4242)
    toml.chmod(mode)
    (found,) = [item for item in findings(tmp_path) if item.check == "permissions"]
    assert found.status == "error"
    assert f"can be written by {who}" in found.detail
    assert found.hint == f"chmod {option} {toml}"


def test_a_secret_that_every_user_can_read_is_a_warning(tmp_path: Path) -> None:
    """The key is named, and the command that helps."""
    toml = write(tmp_path, f'admin_password = "{CANARY}"')
    toml.chmod(0o644)
    found = finding(tmp_path)
    assert (found.check, found.status) == ("permissions", "warning")
    assert "admin_password" in found.detail
    assert found.hint == f"chmod o-r {toml}"


def test_the_files_are_listed_in_order(tmp_path: Path) -> None:
    """Strongest first, also those that do not exist."""
    write(tmp_path, "")
    files = list_settings_files(tmp_path)
    assert [(Path(file.path).name, file.exists) for file in files] == [
        (".env", False),
        ("settings.custom.toml", False),
        ("settings.toml", True),
    ]
