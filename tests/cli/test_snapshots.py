"""Exit code, standard output and standard error of each command together, on each backend."""

import re
from collections.abc import Callable

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.scenes import (
    ADA,
    ADMIN,
    back_to_nothing,
    environment,
    make_tables_missing,
    nothing,
    populate,
)
from tests.cli.shown import INSTANT, UUID, filtered, shown_in_turn
from tests.support import Project

Prepare = Callable[[Project], object]


def other_files(project: Project) -> None:
    """Put another file where the environment is to be written."""
    (project.directory / "alembic.ini").write_text("[alembic]\n")


def broken_settings(project: Project) -> None:
    """Break the settings file."""
    (project.directory / "settings.toml").write_text('database_driver = "oracle"\n')


def strange_words(project: Project) -> None:
    """Store an address and an agent with control characters."""
    user = project.add_user("evil\x1b[31m[red]@example.org")
    project.add_session(user, token="99999999-evil", user_agent="=1+1\n\x9b[bold]")
    project.rows('UPDATE "user" SET is_superuser = true')


# Lines with the same preparation that do not disturb each other are run in turn.
SCENES: dict[str, tuple[Prepare, list[str]]] = {
    "db": (
        populate,
        [
            "db init",
            "db init -o json",
            "db status",
            "db status -o json",
            "db wait",
            "db wait --for schema -o json",
            "db wait --for nonsense",
            "db wait --timeout soon",
            "-q db init",
        ],
    ),
    "db with nothing in it": (
        back_to_nothing,
        [
            "db status",
            "db init",
            "db init --dry-run",
            "admin list",
            "db init --generate-password",
        ],
    ),
    "admin create": (
        populate,
        [
            "admin create --email new@example.org",
            "admin create --email nobody --generate-password",
            "admin create --email a@host.local --generate-password",
            "admin create --email new@example.org --role nonsense --generate-password",
            "admin create --email new@example.org --dry-run",
            "admin create --email new@example.org --role doctor --generate-password",
            "admin create --email NEW@example.org --generate-password",
            "admin create --email new@example.org --if-not-exists",
            "admin create --email new@example.org --update",
            f"admin create --email {ADA} --update -o json",
            "-q admin create --username grace --generate-password",
        ],
    ),
    "admin": (
        populate,
        [
            "admin list",
            "admin list --all",
            "admin list --all -o csv",
            "admin list --all -o plain",
            "admin ensure",
            "admin ensure -o json",
            f"admin reset-password {ADA} --generate-password",
            "admin reset-password nobody@example.org",
            "admin reset-password nobody",
            "admin reset-password",
            "admin reset-password --dry-run",
            "admin reset-password --generate-password",
            "admin reset-password --generate-password --password-stdin",
        ],
    ),
    "session": (
        populate,
        [
            "session stats",
            "session stats -o json",
            f"session list-user {ADA}",
            f"session list-user {ADA} --active -o plain",
            f"session list-user {ADA} -o csv",
            "session list-user nobody@example.org",
            "session list-user 1234567",
            f"session revoke-user {ADA} --keep-current 99999999",
            f"session revoke-user {ADA} --dry-run",
            "session cleanup --dry-run",
            "session cleanup --expired-only --days 3",
            "session cleanup --limit 1 --fail-incomplete",
            "session cleanup",
            "session cleanup",
            f"session revoke-user {ADA} -o json",
            f"session revoke-user {ADA}",
            f"session list-user {ADA}",
        ],
    ),
    "migrate": (
        populate,
        [
            "migrate status",
            "migrate status --check -o json",
            "migrate history",
            "migrate history -o json",
            "migrate upgrade",
            "migrate upgrade nonsense",
            "migrate create -m later",
            "migrate downgrade -1",
            "migrate downgrade -1 --dry-run",
            "migrate downgrade nonsense --yes",
            "migrate downgrade -1 --yes",
            "migrate status --check",
            "migrate upgrade --dry-run",
            "migrate upgrade -o json",
        ],
    ),
    "migrate with an environment": (
        environment,
        [
            "migrate init",
            "init-migrations -o plain",
            "migrate create -m later",
            "migrate create -m later -o json",
            "migrate create -m later --empty --dry-run",
        ],
    ),
    "migrate with files of others": (other_files, ["migrate init", "init-migrations"]),
    "strange words": (
        strange_words,
        ["admin list", "admin list -o json", "session list-user 00000000"],
    ),
}
WITHOUT_BACKEND: dict[str, tuple[Prepare, list[str]]] = {
    "settings": (broken_settings, ["session stats", "db init", "migrate init", "-q admin list"]),
    "slips": (
        nothing,
        [
            "sesion stats",
            "session stat",
            "session stats --nonsense",
            "session cleanup --dryrun",
            "session list-user",
            "session stats -q",
            "session stats -o yaml",
            "admin create --email new@example.org --password geheim",
            "help nonsense",
        ],
    ),
    "help": (nothing, ["help exit-codes", "help exit-codes -o csv"]),
}


@pytest.mark.parametrize("name", SCENES)
def test_commands(project: Project, name: str, snapshot: SnapshotAssertion) -> None:
    """Exit codes, data and messages are those of the snapshot."""
    prepare, lines = SCENES[name]
    prepare(project)
    assert shown_in_turn(project, lines) == snapshot


@pytest.mark.parametrize("name", WITHOUT_BACKEND)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_commands_that_need_no_database(
    project: Project, name: str, snapshot: SnapshotAssertion
) -> None:
    """Exit codes, data and messages are those of the snapshot."""
    prepare, lines = WITHOUT_BACKEND[name]
    prepare(project)
    assert shown_in_turn(project, lines) == snapshot


def test_a_new_database(empty_project: Project, snapshot: SnapshotAssertion) -> None:
    """From nothing to a working database, and once more."""
    lines = [
        "session stats",
        "admin list",
        "db status",
        "migrate status",
        "db init",
        "db init --dry-run",
        "db init --generate-password",
        "db init --generate-password",
        "admin list",
    ]
    assert shown_in_turn(empty_project, lines) == snapshot


def test_missing_tables(empty_project: Project, snapshot: SnapshotAssertion) -> None:
    """A database without tables, seen by the commands that need them."""
    make_tables_missing(empty_project)
    lines = [
        "session stats",
        f"session list-user {ADMIN}",
        "session cleanup",
        "admin ensure --generate-password",
        "migrate status",
    ]
    assert shown_in_turn(empty_project, lines) == snapshot


def test_a_servers_database(server_project: Project, snapshot: SnapshotAssertion) -> None:
    """In a server's database the schema is not changed, and the messages report it."""
    lines = [
        "db init --generate-password",
        "migrate status",
        "migrate upgrade",
        "migrate downgrade base --yes",
        "db status",
    ]
    assert shown_in_turn(server_project, lines) == snapshot


def test_the_filters_hide_only_what_varies(project: Project) -> None:
    """A snapshot has no path, database name, id, timestamp or password of one run."""
    populate(project)
    for words in (("admin", "list", "-o", "json"), ("db", "status"), ("session", "stats")):
        shown = filtered(project, project.run(*words))
        assert str(project.directory) not in shown
        assert project.server is None or project.database not in shown
        assert not UUID.search(shown)
        assert not INSTANT.search(shown)


# Each command that prints data, in a form that leaves things as they are.
EVERY_COMMAND = [
    "db init",
    "db status",
    "db wait",
    "admin create --email new@example.org --dry-run",
    "admin reset-password --dry-run",
    "admin list --all",
    "admin ensure",
    "session stats",
    "session stats --by user",
    f"session list-user {ADA}",
    f"session revoke-user {ADA} --dry-run",
    "session cleanup --dry-run",
    "migrate init --dry-run",
    "init-migrations --dry-run",
    "migrate upgrade",
    "migrate downgrade -1 --dry-run",
    "migrate status",
    "migrate history",
    "migrate create -m later --empty --dry-run",
    "help exit-codes",
]
FORMATS = ("table", "json", "jsonl", "csv", "plain")
# What differs from run to run and has no name beside it in these formats.
UNNAMED = [
    (
        re.compile(r"^(sqlite|postgresql),[0-9.]+,([^,]+),\d+,", re.MULTILINE),
        r"\1,<version>,\2,<size>,",
    ),
    (re.compile(r"(?<=,)\d+\.\d+(?=,|$)", re.MULTILINE), "<number>"),
    (re.compile(r"(_seconds\t)\d+\.\d+"), r"\1<number>"),
    (re.compile(r"(size_bytes\t)\d+"), r"\1<size>"),
    (re.compile(r"(server_version\t)\S+"), r"\1<version>"),
]


@pytest.mark.parametrize("form", FORMATS)
def test_every_command_in_every_format(
    project: Project, form: str, snapshot: SnapshotAssertion
) -> None:
    """What each command writes in one format, on each backend."""
    populate(project)
    environment(project)
    shown = []
    for line in EVERY_COMMAND:
        text = filtered(project, project.run(*line.split(), "-o", form))
        for pattern, replacement in UNNAMED:
            text = pattern.sub(replacement, text)
        shown.append(f"$ clarinet {line} -o {form}\n{text}")
    assert "\n".join(shown) == snapshot
