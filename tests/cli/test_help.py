"""Help that teaches: a purpose, examples that run, and a reference that is current."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any, Optional
from uuid import UUID

import pytest
import typer
from typer import core
from typer.testing import CliRunner

from clarinet_cli.cli.app import app
from clarinet_cli.cli.commands import GROUPS
from clarinet_cli.exceptions import ExitCode
from tests.cli.scenes import ADA, ADMIN, admin_id
from tests.support import PASSWORD, Project

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^Example: (clarinet .+)$", re.MULTILINE)


def commands() -> dict[str, Any]:
    """Return each command by its words."""
    root = typer.main.get_command(app)
    context = root.make_context("clarinet", ["help", "exit-codes"])
    found: dict[str, Any] = {}
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.resolve_command(context, [name])[1]  # type: ignore[attr-defined]
        if name not in GROUPS:
            found[name] = command
            continue
        for inner in command.commands:
            found[f"{name} {inner}"] = command.commands[inner]
    return found


COMMANDS = commands()
EXAMPLES = [
    example for command in COMMANDS.values() for example in EXAMPLE.findall(command.help or "")
]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_purpose_and_explains_each_option(name: str) -> None:
    """The first line of the help is a sentence, and no option is without words."""
    command = COMMANDS[name]
    first = (command.help or "").splitlines()[0]
    assert first.endswith((".", "('migrate init')."))
    assert first[0].isupper()
    assert not [item.name for item in command.params if not item.help]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_cut_in_80_columns(name: str) -> None:
    """The names of options, and of the settings that are their defaults, are complete."""
    result = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"})
    assert "--help" in result.stdout
    assert "…" not in result.stdout


@pytest.mark.parametrize("columns", ["80", "120", None])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_what_an_operator_types(name: str, columns: Optional[str]) -> None:
    """No type of Python, no value that cannot be typed, no escape sequence, no markup lost.

    Without a width it is the help in a pipe.
    """
    words = [*name.split(), "--help"]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": columns}).stdout
    assert not re.findall(r"<\w+|\[\d*<?=?x|default: \(|default: \d+\.\d|…|\x1b", shown)
    parameters = COMMANDS[name].params if name else []
    texts = [COMMANDS[name].help if name else "", *(item.help for item in parameters)]
    assert not [text for text in texts if "[" in (text or "")]  # Rich takes it for a style
    options = [item for item in parameters if isinstance(item, core.TyperOption)]
    valued = [item for item in options if not (item.is_flag or item.count or item.hidden)]
    assert not [item.name for item in valued if not item.metavar]
    assert not [item.metavar for item in valued if str(item.metavar) not in shown]
    assert max(map(len, shown.splitlines())) <= int(columns or 80)


def test_the_reference_names_each_variable_that_an_option_reads() -> None:
    """The options' variables are in their rows and in the table of variables."""
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    table = text.partition("## Environment variables")[2]
    variables = {
        item.envvar
        for command in [typer.main.get_command(app), *COMMANDS.values()]
        for item in command.params
        if item.envvar
    }
    assert variables == {"CLARINET_OUTPUT", "CLARINET_PROJECT", "CLARINET_SETTLE"}
    assert not [name for name in variables if f"| `{name}` |" not in table]
    assert not [name for name in variables if f"Variable: `{name}`" not in text]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_terminal_wraps_each_paragraph(name: str) -> None:
    """No line of the help is broken where the source breaks it."""
    paragraphs = (COMMANDS[name].help or "").split("\n\n")
    assert not [part for part in paragraphs if "\n" in part.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example(name: str) -> None:
    """The help of each command shows it in use."""
    assert EXAMPLE.search(COMMANDS[name].help or ""), name


# What must have happened to ada before a command has something to do.
BEFOREHAND = {
    "admin promote": ("admin", "demote", ADA),
    "admin activate": ("admin", "deactivate", ADA),
    "admin verify": ("admin", "unverify", ADA),
    "admin revoke-role": ("admin", "grant-role", ADA, "doctor"),
}


def make_ada(project: Project) -> None:
    """Make her a superuser with two sessions, beside a session of the first one."""
    project.run("admin", "create", "--email", ADA, "--password-stdin", stdin=PASSWORD)
    ada = UUID(project.json("admin", "show", ADA)["id"])
    for _ in range(2):
        project.add_session(ada)
    project.add_session(admin_id(project))


# Only what 'db' does depends on the backend so much that each is tried.
RUNS = [
    pytest.param(example, backend, id=f"{example}-{backend}")
    for example in EXAMPLES
    for backend in ("sqlite", "postgresql")
    if backend == "sqlite" or example.startswith("clarinet db ")
]


@pytest.mark.parametrize(("example", "backend"), RUNS)
def test_each_example_runs(example: str, project: Project) -> None:
    """The examples of the help succeed on an initialised database."""
    words = shlex.split(example)[1:]
    if ADA in words and "create" not in words:
        make_ada(project)
    if beforehand := BEFOREHAND.get(" ".join(words[:2])):
        assert project.run(*beforehand).code == ExitCode.OK
    if "8f3kQ2xZ" in example:
        owner = project.json("admin", "show", ADA if ADA in words else ADMIN)["id"]
        project.add_session(UUID(owner), token="8f3kQ2xZ-and-the-rest")
    if "migrate create" in example:
        project.run("migrate", "init")
    file = project.directory / "accounts.json"
    file.write_text(project.run("admin", "export").stdout)
    backups = project.directory / "backups"
    backups.mkdir()
    saved = project.directory / "clarinet.backup"
    if saved.name in words:
        assert project.run("db", "backup", str(saved)).code == ExitCode.OK
    for path in (file, backups, saved):
        words = [str(path) if word == path.name else word for word in words]
    # A shell takes the place of its process.
    result = project.run_process(*words) if "shell" in words[:2] else project.run(*words)
    assert result.code == ExitCode.OK, result
    if ADA in words:
        assert "unchanged" not in result.stdout, result


def script(name: str) -> Any:
    """Return a script of ``docs`` as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_reference_is_current() -> None:
    """``make reference`` would change nothing."""
    module = script("make_reference")
    assert module.REFERENCE.read_text("utf-8") == module.reference()


@pytest.mark.parametrize("command", ["session stats", "session list"])
def test_the_pictures_are_current(command: str) -> None:
    """``make pictures`` would change nothing."""
    module = script("make_pictures")
    assert command in module.COMMANDS
    assert module.file_of(command).read_text("utf-8") == module.picture(command)


def test_the_readme_has_the_exit_codes() -> None:
    """The README's table of exit codes is the program's."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in readme
