"""The options before the command, help, and what a shell around the tool may do to it."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from clarinet_cli import __version__
from clarinet_cli.cli.app import app
from clarinet_cli.cli.suggestions import ALIASES
from tests import forked
from tests.cli.scenes import (
    ADA,
    ADMIN,
    EXIT_CODES,
    FORMATS,
    admin_id,
    all_commands,
    assert_failed,
    everything,
    populate,
)
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, Result, process_environment, run_in_process

UNKNOWN_USER = ("session", "list-user", "nobody@example.org")
COLOURS = {"TERM": "xterm-256color", "COLORTERM": ""}


@pytest.fixture
def backend() -> str:
    """SQLite: the database plays no part in what is tested here."""
    return "sqlite"


@pytest.fixture
def populated(project: Project) -> Project:
    """A project with sessions."""
    populate(project)
    return project


# Which project.


def test_the_option_names_the_project_from_anywhere(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -C a relative SQLite name is relative to that directory, not to the current one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for option in ("-C", "--project"):
        result = run_in_process([option, str(project.directory), "admin", "list", "-o", "json"])
        assert result.code == 0, result
        assert result.json[0]["email"] == ADMIN
    assert list(elsewhere.iterdir()) == []


def test_a_relative_project_is_relative_to_the_current_directory(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-C takes a relative path as cd does."""
    monkeypatch.chdir(project.directory.parent)
    result = run_in_process(["-C", project.directory.name, "admin", "list", "-o", "json"])
    assert result.json[0]["email"] == ADMIN


def test_the_variable_names_the_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLARINET_PROJECT does what -C does."""
    monkeypatch.chdir(tmp_path)
    env = {"CLARINET_PROJECT": str(project.directory)}
    result = run_in_process(["admin", "list", "-o", "json"], env=env)
    assert result.json[0]["email"] == ADMIN


def test_the_option_beats_the_variable(project: Project, tmp_path: Path) -> None:
    """-C wins over CLARINET_PROJECT."""
    env = {"CLARINET_PROJECT": str(tmp_path)}
    result = run_in_process(project.words("admin", "list", "-o", "json"), env=env)
    assert result.json[0]["email"] == ADMIN


def test_without_either_the_current_directory_is_the_project(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the project's directory no option is needed."""
    monkeypatch.chdir(project.directory)
    for env in ({}, {"CLARINET_PROJECT": ""}):
        result = run_in_process(["admin", "list", "-o", "json"], env=env)
        assert result.json[0]["email"] == ADMIN


def variables() -> set[str]:
    """Return the variables of the options of the root and of all commands."""
    commands = [typer.main.get_command(app), *all_commands().values()]
    named = [parameter.envvar for command in commands for parameter in command.params]
    return {name for name in named if isinstance(name, str)}


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("words", [("session", "stats"), ("admin", "list"), ("db", "init")])
def test_an_empty_variable_sets_no_option(project: Project, words: tuple[str, ...]) -> None:
    """Compose files pass an empty variable for a missing one: options have them too."""
    assert {"CLARINET_PROJECT", "CLARINET_OUTPUT"} <= variables()
    empty = dict.fromkeys(variables(), "")
    line = project.words(*words)
    assert run_in_process(line, env=empty) == run_in_process(line)


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_project_that_does_not_exist_is_a_usage_error(
    project: Project, tmp_path: Path, by_variable: bool
) -> None:
    """A missing directory, or a file: exit 2 names it; nothing is made there."""
    for path in (tmp_path / "missing", project.directory / "settings.toml"):
        words, env = ["-C", str(path)], {}
        if by_variable:
            words, env = [], {"CLARINET_PROJECT": str(path)}
        result = run_in_process([*words, "db", "init", "--generate-password"], env=env)
        assert_failed(result, 2)
        assert str(path) in result.stderr
        assert ("CLARINET_PROJECT" in result.stderr) == by_variable
        assert ("--project" in result.stderr) != by_variable
    assert not (tmp_path / "missing").exists()


# How much is said.

QUIET_SUCCESS = [
    ("db", "init"),
    ("db", "status"),
    ("db", "wait"),
    ("admin", "list"),
    ("admin", "ensure"),
    ("session", "stats"),
    ("session", "list-user", ADA),
    ("session", "revoke-user", ADA),
    ("session", "cleanup"),
    ("migrate", "status"),
    ("migrate", "upgrade"),
    ("migrate", "init"),
    ("migrate", "downgrade", "base", "--yes"),
]


@pytest.mark.parametrize("words", QUIET_SUCCESS)
def test_quiet_says_nothing_on_success(populated: Project, words: tuple[str, ...]) -> None:
    """With -q a success is silent on both streams."""
    for option in ("-q", "--quiet"):
        assert populated.run(option, *words) == Result(0, "", "")


def test_quiet_does_the_work(populated: Project) -> None:
    """With -q stale sessions are deleted, and live ones stay."""
    assert populated.run("-q", "session", "cleanup").code == 0
    assert populated.tokens() == {"11111111-active", "44444444-admin"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (UNKNOWN_USER, 3),
        (("admin", "create", "--generate-password", "--email", ADMIN), 4),
        (("migrate", "downgrade", "base"), 5),
        (("admin", "create", "--email", "new@example.org"), 2),
        (("session", "stats", "--nonsense"), 2),
        (("nonsense",), 2),
    ],
)
def test_quiet_says_one_line_on_failure(
    project: Project, words: tuple[str, ...], code: int
) -> None:
    """With -q a failure is one line on standard error, and the exit code is the same."""
    result = project.run("-q", *words)
    assert (result.code, result.stdout) == (code, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert project.run(*words).code == code


@pytest.mark.parametrize("form", FORMATS)
def test_quiet_prints_what_is_asked_for(populated: Project, form: str) -> None:
    """An explicit -o prints its data also with -q."""
    loud = populated.run("admin", "list", "-o", form)
    assert populated.run("-q", "admin", "list", "-o", form) == loud
    assert ADMIN in loud.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("admin", "create", "--email", "new@example.org", "--generate-password"),
        ("admin", "reset-password", "--generate-password"),
    ],
)
def test_quiet_prints_a_generated_password_alone(project: Project, words: tuple[str, ...]) -> None:
    """The password is the only line on standard output."""
    result = project.run("-q", *words)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert len(result.stdout.strip()) >= 20
    assert " " not in result.stdout


def test_quiet_db_init_prints_its_generated_password_alone(empty_project: Project) -> None:
    """``password=$(clarinet -q db init --generate-password)`` works in a script."""
    result = empty_project.run("-q", "db", "init", "--generate-password")
    assert (result.code, result.stderr) == (0, "")
    assert len(result.stdout.strip()) >= 20
    assert result.stdout.count("\n") == 1
    again = empty_project.run("-q", "db", "init", "--generate-password")
    assert again == Result(0, "", "")


def test_verbose_logs_information_on_standard_error(populated: Project) -> None:
    """-v shows INFO, -vv DEBUG too; the data is the same."""
    plain = populated.run("session", "cleanup", "--dry-run", "-o", "jsonl")
    assert plain.stderr.startswith("dry run: ")  # a note for a person, in every format
    assert plain.stderr.count("\n") == 1
    create = ("admin", "create", "--generate-password", "-o", "json", "--email")
    some = populated.run("-v", *create, "a@example.org")
    assert " INFO " in some.stderr
    assert " DEBUG " not in some.stderr
    assert some.json["result"] == "created"
    user = populated.add_user("dead@example.org")
    for words in (["-vv"], ["-v", "-v"], ["--verbose", "--verbose"], ["-vvv"]):
        populated.add_session(user, expires=-timedelta(hours=1))
        result = populated.run(*words, "session", "cleanup", "-o", "json")
        assert " DEBUG " in result.stderr
        assert result.json["deleted"] >= 1


def test_without_verbose_there_is_no_log(project: Project) -> None:
    """A success without notes leaves standard error empty."""
    for words in (("db", "init"), ("session", "stats"), ("migrate", "status"), ("admin", "list")):
        assert project.run(*words).stderr == ""


def test_a_traceback_is_there_with_two_v_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is one line and a hint; its traceback comes with -vv.

    The text of the error stays away also then, with those of its causes: who converts or
    stores a value quotes it, and it may be a token.
    """

    def broken(*_: object) -> None:
        message = "the canary of an unexpected error"
        try:
            raise KeyError(message)
        except KeyError as error:
            raise ZeroDivisionError(message.upper()) from error

    monkeypatch.setattr("clarinet_cli.repositories.stats.SessionStatsRepository.stats", broken)
    for words in ([], ["-v"]):
        result = project.run(*words, "session", "stats")
        assert (result.code, result.stdout) == (1, "")
        assert "Traceback" not in result.stderr
        assert "canary" not in result.stderr
        assert "-vv" in result.stderr
    loud = project.run("-vv", "session", "stats")
    assert loud.code == 1
    assert loud.stderr.count("Traceback") == 2
    assert "KeyError" in loud.stderr
    assert "ZeroDivisionError" in loud.stderr
    assert "line " in loud.stderr
    assert "canary" not in loud.stderr.replace('message = "the canary', "").lower()
    quiet = project.run("-q", "session", "stats")
    assert (quiet.code, quiet.stderr.count("\n")) == (1, 1)


# Colours.


@pytest.mark.parametrize("words", [("admin", "list"), UNKNOWN_USER, ("session",), ("--help",)])
@pytest.mark.parametrize("options", [(), ("--color", "auto"), ("--color", "never")])
def test_a_pipe_gets_no_colour(
    project: Project, words: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """By default nothing but a terminal gets escape codes."""
    result = project.run(*options, *words, env=COLOURS)
    assert result.stdout + result.stderr
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (("--color", "always"), {}),
        (("--color=always",), {"NO_COLOR": "1"}),
        ((), {"FORCE_COLOR": "1"}),
        (("--color", "auto"), {"FORCE_COLOR": "1"}),
    ],
)
def test_colour_in_a_pipe_where_it_is_asked_for(
    project: Project, options: tuple[str, ...], env: dict[str, str]
) -> None:
    """--color always and FORCE_COLOR colour tables and errors; the option beats NO_COLOR."""
    table = project.run(*options, "admin", "list", env=COLOURS | env)
    assert "\x1b[" in table.stdout
    assert ADMIN in table.stdout
    error = project.run(*options, *UNKNOWN_USER, env=COLOURS | env)
    assert "\x1b[1;31merror:\x1b[0m" in error.stderr


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "plain"])
def test_data_for_programs_is_never_coloured(project: Project, form: str) -> None:
    """Colour is for tables and messages; documents stay documents."""
    asked = project.run("--color", "always", "admin", "list", "-o", form, env=COLOURS)
    assert asked == project.run("admin", "list", "-o", form)


def test_never_beats_force_color(project: Project) -> None:
    """--color never wins over FORCE_COLOR: not one escape code."""
    env = COLOURS | {"FORCE_COLOR": "1"}
    for words in (("admin", "list"), UNKNOWN_USER):
        result = project.run("--color", "never", *words, env=env)
        assert "\x1b" not in result.stdout + result.stderr


def test_an_unknown_colour_mode_is_a_usage_error(project: Project) -> None:
    """Exit 2 names the three modes."""
    result = project.run("--color", "sometimes", "admin", "list")
    assert_failed(result, 2)
    assert all(mode in result.stderr for mode in ("auto", "always", "never"))


# Never asking.


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("admin", "create", "--email", ADA), 2, "--password-stdin"),
        (("admin", "reset-password"), 2, "--password-file"),
        (("migrate", "downgrade", "base"), 5, "--yes"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--no-input",)])
def test_without_a_terminal_there_is_no_prompt(
    project: Project, options: tuple[str, ...], words: tuple[str, ...], code: int, named: str
) -> None:
    """What waits on standard input answers no question; the needed option is named."""
    before = everything(project)
    result = project.run(*options, *words, stdin="y\ncorrect horse\ncorrect horse\n")
    assert_failed(result, code)
    assert named in result.stderr
    assert everything(project) == before


# Help.


def test_version(project: Project) -> None:
    """--version prints name and version on standard output."""
    expected = Result(0, f"clarinet {__version__}\n", "")
    assert run_in_process(["--version"]) == expected
    assert project.run("--version", "nonsense") == expected


@pytest.mark.parametrize(
    ("words", "shown"),
    [([], "Usage: clarinet [OPTIONS] COMMAND")]
    + [
        ([group], f"Usage: clarinet {group} [OPTIONS] COMMAND")
        for group in ("db", "admin", "session", "migrate")
    ],
)
def test_a_group_without_a_command_shows_its_help_on_standard_error(
    words: list[str], shown: str
) -> None:
    """Nothing was asked for: the help is a usage error, exit 2, and no data."""
    result = run_in_process(words)
    assert (result.code, result.stdout) == (2, "")
    assert shown in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_data_when_asked_for(option: str) -> None:
    """Asked for, help is on standard output and a success."""
    result = run_in_process([option])
    assert (result.code, result.stderr) == (0, "")
    for word in ("db", "admin", "session", "migrate", "--color", "--no-input", "--project"):
        assert word in result.stdout


def test_every_command_has_help_with_its_name() -> None:
    """Each command explains itself, by --help, -h and ``help …`` alike."""
    for name in all_commands():
        words = name.split()
        result = run_in_process([*words, "--help"])
        assert (result.code, result.stderr) == (0, ""), name
        assert f"Usage: clarinet {name}" in result.stdout
        assert run_in_process([*words, "-h"]) == result
        assert run_in_process(["help", *words]) == result


def test_help_works_with_a_broken_settings_file(project: Project) -> None:
    """A broken file breaks no help and no version."""
    (project.directory / "settings.toml").write_text("this is = = no TOML")
    for words in (["--help"], ["session", "stats", "--help"], ["help", "exit-codes"]):
        assert project.run(*words).code == 0
    assert project.run("session", "stats").code == 78


def test_help_of_a_group_lists_its_commands() -> None:
    """``help session`` is what ``session --help`` is."""
    result = run_in_process(["help", "session"])
    assert result.code == 0
    assert result == run_in_process(["session", "--help"])
    for word in ("stats", "list-user", "revoke-user", "cleanup"):
        assert word in result.stdout


def test_help_lists_the_exit_codes() -> None:
    """``help exit-codes`` has the codes of the contract, each with its meaning."""
    rows = run_in_process(["help", "exit-codes", "-o", "json"]).json
    assert [row["code"] for row in rows] == sorted(EXIT_CODES)
    meanings = {row["code"]: row["meaning"] for row in rows}
    promised = {
        0: "nothing to do",
        1: "failed",
        2: "usage",
        3: "does not exist",
        4: "already exists",
        5: "refused",
        6: "the check failed",
        7: "cannot be reached",
        75: "try again",
        78: "configuration is invalid",
        129: "SIGHUP",
        130: "SIGINT",
        131: "SIGQUIT",
        143: "SIGTERM",
    }
    for code, words in promised.items():
        assert words in meanings[code]
    table = run_in_process(["help", "exit-codes"])
    assert all(meaning in table.stdout for meaning in meanings.values())


@pytest.mark.parametrize("words", [["help", "nonsense"], ["help", "session", "nonsense"]])
def test_help_about_nothing_is_a_usage_error(words: list[str]) -> None:
    """An unknown topic ends with 2 and its name."""
    result = run_in_process(words)
    assert_failed(result, 2)
    assert "nonsense" in result.stderr


# Slips.


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (("sesion", "stats"), "session"),
        (("session", "stat"), "stats"),
        (("session", "list_user", ADA), "list-user"),
        (("admin", "reset-pasword"), "reset-password"),
        (("migrate", "upgrad"), "upgrade"),
    ],
)
def test_a_misspelled_command_is_suggested(
    project: Project, words: tuple[str, ...], suggested: str
) -> None:
    """Exit 2 names what may have been meant."""
    result = project.run(*words)
    assert_failed(result, 2)
    assert f"'{suggested}'" in result.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("admin", "lock", ADA), "use 'clarinet admin deactivate'"),
        (("admin", "rename", ADA), "use 'clarinet admin set-email'"),
        (("session", "ls"), "use 'clarinet session list'"),
        (("session", "nonsense"), "'clarinet session --help' shows the commands"),
        (("nonsense",), "'clarinet --help' shows the commands"),
    ],
)
def test_the_name_of_another_tool_has_a_hint(
    project: Project, words: tuple[str, ...], hint: str
) -> None:
    """The command that does it here, else where the commands are listed."""
    result = project.run(*words)
    assert_failed(result, 2)
    assert f"hint: {hint}\n" in result.stderr


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("admin", "reactivate"), "deactivate"),
        (("admin", "eactivate"), "deactivate"),
        (("admin", "revoke"), "'revoke-role'"),
        (("session", "list-all"), "Did you mean"),
        (("session", "nonsense"), "Did you mean"),
    ],
)
def test_nothing_of_another_meaning_is_suggested(
    project: Project, words: tuple[str, ...], wrong: str
) -> None:
    """A name that is merely alike is not what was meant."""
    result = project.run(*words)
    assert_failed(result, 2)
    assert f"No such command {words[1]!r}" in result.stderr
    assert wrong not in result.stderr.replace("'clarinet admin activate'", "")


@pytest.mark.parametrize(
    ("group", "word", "meant"),
    [(group, word, meant) for group, words in ALIASES.items() for word, meant in words.items()],
)
def test_the_words_of_other_tools_lead_to_a_command(group: str, word: str, meant: str) -> None:
    """Exit 2, and the hint names a command that there is."""
    result = run_in_process([*group.split(), word])
    assert_failed(result, 2)
    assert f"hint: use 'clarinet {meant}'" in result.stderr
    options = {"--all"}
    command = [part for part in meant.split() if part not in options]
    assert run_in_process([*command, "--help"]).code == 0


def test_an_unknown_option_is_a_usage_error_on_every_command() -> None:
    """Exit 2 names the option and the way to the command's help."""
    wrong = {}
    for name in all_commands():
        result = run_in_process([*name.split(), "--nonsense"])
        assert_failed(result, 2)
        assert "--nonsense" in result.stderr, name
        if f"hint: 'clarinet {name} --help'" not in result.stderr:
            wrong[name] = result.stderr
    assert wrong == {}


def test_a_misspelled_option_is_suggested(project: Project) -> None:
    """The nearest option is in the message."""
    result = project.run("session", "cleanup", "--dryrun")
    assert_failed(result, 2)
    assert "--dry-run" in result.stderr


@pytest.mark.parametrize(
    "words", [("session", "stats"), ("migrate", "downgrade", "base"), ("session",)]
)
def test_a_root_option_after_the_command_gets_a_hint(
    project: Project, words: tuple[str, ...]
) -> None:
    """Exit 2, with a hint to put it before the command."""
    before = everything(project)
    wrong = {}
    for option in ("-q", "--quiet", "-v", "-vv", "--no-input", "-C", "--color", "--project"):
        result = project.run(*words, option)
        assert_failed(result, 2)
        expected = f"clarinet {'-v' if option == '-vv' else option}"
        if "before the command" not in result.stderr or expected not in result.stderr:
            wrong[option] = result.stderr
    assert wrong == {}
    assert everything(project) == before


def test_a_missing_argument_is_named(project: Project) -> None:
    """Exit 2 names what is missing."""
    result = project.run("session", "list-user")
    assert_failed(result, 2)
    assert "USER" in result.stderr


# The shell around it.


def piped(project: Project, words: tuple[str, ...], opened: Callable[[], int]) -> tuple[int, str]:
    """Run a command whose standard output is a descriptor; return its code and stderr."""
    stdout = opened()
    try:
        done = forked.run(project.words(*words), stdout=stdout, env=process_environment({}))
    finally:
        os.close(stdout)
    return done.returncode, done.stderr.decode()


def closed_pipe() -> int:
    """A pipe whose reader is gone already."""
    read, write = os.pipe()
    os.close(read)
    return write


def full_disk() -> int:
    """A file on a disk without room."""
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_closed_pipe_is_no_error(populated: Project, form: str) -> None:
    """``… | head -1``: silence, exit 0, no traceback at the interpreter's end."""
    words = ("session", "list-user", ADA, "-o", form)
    assert piped(populated, words, closed_pipe) == (0, "")


def test_help_into_a_closed_pipe_is_silent(project: Project) -> None:
    """``clarinet --help | head -1`` shows no traceback."""
    code, stderr = piped(project, ("--help",), closed_pipe)
    assert stderr == ""
    assert code in {0, 1}


@pytest.mark.parametrize("form", ["table", "json"])
def test_data_that_can_not_be_written_is_a_failure(populated: Project, form: str) -> None:
    """On a full disk: exit 1 and one line with the reason."""
    code, stderr = piped(populated, ("session", "stats", "-o", form), full_disk)
    assert code == 1
    assert stderr.startswith("error: ")
    assert "No space left" in stderr
    assert "Traceback" not in stderr


def with_closed(project: Project, redirections: str, *words: str) -> Result:
    """Run a command by a shell with these redirections, in an interpreter of its own."""
    script = f'exec "$@" {redirections}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *project.process(*words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=process_environment({}),
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_without_standard_input_commands_work(project: Project) -> None:
    """``<&-``, as some schedulers do it: data as ever."""
    result = with_closed(project, "<&-", "admin", "list", "-o", "json")
    assert (result.code, result.stderr) == (0, "")
    assert result.json[0]["email"] == ADMIN


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("admin", "reset-password"), 2),
        (("admin", "reset-password", "--password-stdin"), 2),
        (("migrate", "downgrade", "base"), 5),
    ],
)
def test_without_standard_input_there_is_no_prompt(
    project: Project, words: tuple[str, ...], code: int
) -> None:
    """A closed standard input is not a terminal and has no password; nothing is written."""
    before = everything(project)
    assert_failed(project.run_process(*words, redirections="<&-"), code)
    assert everything(project) == before


def test_without_standard_error_the_data_comes(project: Project) -> None:
    """``2>&-`` loses messages, not the result."""
    result = with_closed(project, "2>&-", "admin", "list", "-o", "json")
    assert result.code == 0
    assert result.json[0]["email"] == ADMIN


def test_without_standard_output_the_work_is_done_and_the_loss_is_reported(
    populated: Project,
) -> None:
    """``>&-``: the code is about the rows, and that the report went nowhere is a warning."""
    result = with_closed(populated, ">&-", "session", "cleanup", "-o", "json")
    warning = "warning: cannot write the result: standard output is closed\n"
    assert result == Result(0, "", warning)
    assert populated.tokens() == {"11111111-active", "44444444-admin"}


@pytest.mark.parametrize("words", [("--help",), ("session", "--help")])
def test_help_on_a_full_disk_is_one_line(populated: Project, words: tuple[str, ...]) -> None:
    """Typer writes the help; its failure is reported like any other."""
    result = populated.run_process(*words, redirections=">/dev/full")
    assert result == Result(1, "", "error: standard output: No space left on device\n")


def test_without_standard_output_nothing_to_say_is_no_loss(populated: Project) -> None:
    """``-q … >&-``: a command that has nothing to write succeeds."""
    words = ("-q", "session", "cleanup")
    assert populated.run_process(*words, redirections=">&-") == Result(0, "", "")
    assert populated.tokens() == {"11111111-active", "44444444-admin"}


def test_a_new_password_that_can_not_be_shown_is_not_set(populated: Project) -> None:
    """It is shown before the commit: when it went nowhere, nothing is changed."""
    words = ("-q", "admin", "reset-password", "--generate-password")
    before = populated.rows('SELECT hashed_password FROM "user" ORDER BY email')
    result = populated.run_process(*words, redirections=">&-")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: the new password cannot be shown: ")
    assert populated.rows('SELECT hashed_password FROM "user" ORDER BY email') == before


@pytest.mark.parametrize("script", ["clarinet", "clarinet-cli"])
def test_both_console_scripts_are_the_tool(project: Project, script: str) -> None:
    """``clarinet`` and ``clarinet-cli`` are one program."""
    path = Path(sys.executable).with_name(script)
    done = subprocess.run(
        [str(path), "-C", str(project.directory), "--version"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"clarinet {__version__}\n")


@pytest.mark.parametrize("session_id", ["-ab_9Z-x", "-9--__ab", "-oh12345", "--ab1234"])
def test_a_session_id_may_begin_with_a_dash(project: Project, session_id: str) -> None:
    """One token in 64 begins with a dash: its id is an argument, with '--' in any case."""
    project.add_session(admin_id(project), token=f"{session_id}-and-the-rest")
    plain = session_id[1] not in "-o"
    for words in (("show",), ("revoke", "--dry-run")):
        before = [session_id] if plain else ["--", session_id]
        result = project.run("session", *words, *before)
        assert result.code == 0, result
        assert session_id in result.stdout
    if plain:
        assert project.json("session", "show", session_id)["id"] == session_id
    assert project.run("session", "show", "-o", "json", "--", session_id).code == 0
