"""The groups in another program's command: the same rows, codes and words as ``clarinet``."""

import json
import os
import pty
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest
import typer
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from clarinet_cli.database.url import database_url
from clarinet_cli.embed import admin_app, load_settings, session_app
from clarinet_cli.exceptions import ExitCode
from tests.cli.terminal import CTRL_C, Terminal
from tests.embed.hosts import PROGRAM, host_of, run, settings_of, write_program
from tests.mapping.applications import ADA, BOB, EVE, Application, token_of
from tests.mapping.browser import Browser
from tests.mapping.documented import application
from tests.support import PASSWORD, Project, process_environment

CAROL = "carol@example.org"


def browser_of(project: Project) -> Browser:
    """Return a browser at the application."""
    engine = create_async_engine(database_url(project.settings), poolclass=NullPool)
    return Browser(application(engine))


def log_in(browser: Browser, email: str) -> httpx.Response:
    """Log in at the application."""
    return browser.post("/auth/login", {"username": email, "password": PASSWORD})


def test_an_account_of_the_mounted_command_logs_in_until_it_is_revoked(app: Application) -> None:
    """Accounts that the program's command creates can log in until it revokes them."""
    host, browser = host_of(settings_of(app.project)), browser_of(app.project)
    created = run(host, "users", "create", ADA, "--password-stdin", "-o", "json", stdin=PASSWORD)
    assert created.code == 0, created
    assert created.json["result"] == "created"
    assert log_in(browser, ADA).status_code == 204
    assert browser.get("/me").json() == {"email": ADA, "is_superuser": True}
    (session,) = run(host, "logins", "list", "-o", "json").json
    assert (session["email"], session["state"]) == (ADA, "active")
    revoked = run(host, "logins", "revoke-user", ADA, "-o", "json").json
    assert revoked["sessions_revoked"] == 1
    assert browser.get("/me").status_code == 401
    assert app.tokens() == set()


def test_commands_change_the_rows_that_they_name(shop: Application) -> None:
    """Each change is in the application's tables, and nothing else is changed."""
    host, before = host_of(settings_of(shop.project)), shop.users()
    assert run(host, "users", "promote", BOB).code == 0
    assert run(host, "users", "activate", EVE).code == 0
    assert run(host, "users", "demote", ADA).code == 0
    after = shop.users()
    assert {email: row[2:] for email, row in after.items()} == {
        ADA: (True, False, True),
        BOB: (True, True, True),
        EVE: (True, False, True),
    }
    assert {email: row[:2] for email, row in after.items()} == {
        email: row[:2] for email, row in before.items()
    }
    assert shop.tokens() == {token_of("bob-live-1"), token_of("eve-live-1")}
    assert run(host, "users", "delete", EVE, "--yes").code == 0
    assert set(shop.users()) == {ADA, BOB}
    assert shop.tokens() == {token_of("bob-live-1")}


def test_a_clean_up_deletes_what_the_given_lifetime_has_expired(shop: Application) -> None:
    """The lifetime is that of the settings that the program hands over."""
    host, before = host_of(settings_of(shop.project)), shop.tokens()
    planned = run(host, "logins", "cleanup", "--dry-run", "-o", "json").json
    assert (planned["matched"], shop.tokens()) == (1, before)
    assert run(host, "logins", "cleanup", "-o", "json").json["deleted"] == 1
    assert shop.tokens() == before - {token_of("ada-dead-1")}
    forever = host_of(settings_of(shop.project, session_lifetime_seconds="none"))
    assert run(forever, "logins", "cleanup", "-o", "json").json["matched"] == 0


def test_dry_run_changes_nothing(shop: Application) -> None:
    """What would be done is reported, and all rows are as before."""
    host, before = host_of(settings_of(shop.project)), (shop.users(), shop.tokens())
    report = run(host, "users", "deactivate", BOB, "--dry-run", "-o", "json").json
    assert (report["result"], report["sessions_revoked"]) == ("would_update", 1)
    assert run(host, "logins", "revoke-all", "--dry-run").code == 0
    assert (shop.users(), shop.tokens()) == before


@pytest.mark.parametrize(
    ("words", "code", "error", "hint"),
    [
        ("users show nobody@example.org", 3, "no user", "'myapp users list --all'"),
        ("users demote ada@example.org", 5, "last active superuser", "'myapp users promote'"),
        ("users create ada@example.org --generate-password", 4, "already exists", "--update"),
        ("users lst", 2, "Did you mean 'list'?", "'myapp users --help' shows"),
        ("logins purge", 2, "No such command 'purge'", "use 'myapp logins cleanup'"),
        ("users list -q", 2, "No such option: -q", "myapp users -q …"),
        ("users list -o xml", 2, "'xml' is not one of", "'myapp users list --help'"),
        ("users --color blue list", 2, "'blue' is not one of", ""),
        ("users create new@example.org", 2, "no password is given", "--password-stdin"),
        ("logins show 12345678", 3, "no session '12345678'", "'myapp logins list' shows"),
        ("logins revoke-all", 5, "not confirmed", "--yes"),
        ("users apply accounts.json", 3, "no file", ""),
        ("users roles", 5, "the accounts have no roles", ""),
    ],
)
def test_errors_have_their_codes_and_name_the_program(
    shop: Application, words: str, code: int, error: str, hint: str
) -> None:
    """An error is one line with its exit code; hints name the program's own commands."""
    result = run(host_of(settings_of(shop.project)), *words.split())
    assert (result.code, result.stdout) == (code, ""), result
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[1:] == [line for line in lines[1:] if line.startswith("hint: ")]
    assert hint in "".join(lines[1:])
    assert "clarinet " not in result.stderr


def test_hints_that_need_other_commands_are_left_out(app: Application) -> None:
    """No hint sends an operator to a command that the program does not have."""
    app.project.rows("DROP TABLE accesstoken")
    result = run(host_of(settings_of(app.project)), "logins", "stats")
    assert result.code == ExitCode.CONFIGURATION
    assert "accesstoken" in result.stderr
    assert "clarinet " not in result.stderr
    assert "hint" not in result.stderr


def test_a_group_alone_leaves_out_hints_at_the_other_one(app: Application) -> None:
    """Only what is mounted is advised."""
    host = typer.Typer()
    host.add_typer(session_app, name="logins", context_settings={"obj": settings_of(app.project)})
    host.command()(lambda: None)
    result = run(host, "logins", "list-user", "nobody@example.org")
    assert (result.code, result.stderr) == (3, "error: no user 'nobody@example.org'\n")


def test_help_names_the_program(app: Application) -> None:
    """Examples and references in the help can be copied."""
    host = host_of(settings_of(app.project))
    text = run(host, "users", "promote", "--help").stdout
    assert "Usage: myapp users promote" in text
    assert "Example: myapp users promote" in text
    listed = run(host, "users", "--help")
    assert listed.code == 0
    assert "'myapp users apply'" in " ".join(listed.stdout.replace("│", "").split())
    bare = run(host, "users")
    assert (bare.code, bare.stdout) == (2, "")
    assert "reset-password" in bare.stderr


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "plain", "table"])
def test_formats_are_those_of_the_tool(shop: Application, form: str) -> None:
    """Both command lines write the same bytes."""
    (shop.project.directory / "settings.toml").write_text(
        f"{shop.project.database_settings}mapping = 'fastapi-users'\n"
        "session_strategy = 'database'\nsession_lifetime_seconds = 3600\n"
    )
    host = host_of(settings_of(shop.project))
    for ours, theirs in (("admin list --all", "users list --all"), ("session list", "logins list")):
        expected = shop.project.run(*ours.split(), "-o", form)
        found = run(host, *theirs.split(), "-o", form)
        assert (found.code, found.stdout) == (0, expected.stdout)


def test_quiet_and_verbose_stand_before_the_command(shop: Application) -> None:
    """The verbosity is the group's own; by default nothing is logged."""
    host = host_of(settings_of(shop.project))
    assert run(host, "users", "-q", "promote", BOB).stdout == ""
    silent = run(host, "users", "-q", "show", "nobody@example.org")
    assert silent.stderr == "error: no user 'nobody@example.org'\n"
    loud = run(host, "users", "-v", "demote", BOB)
    assert '"command": "admin demote"' in loud.stderr
    assert " INFO " not in run(host, "users", "activate", EVE).stderr


def test_the_object_may_come_from_the_callback_of_the_program(shop: Application) -> None:
    """A program that chooses its database by an option sets the object of its context."""
    host = typer.Typer()
    host.add_typer(admin_app, name="users")

    @host.callback()
    def choose(ctx: typer.Context, lifetime: int = 3600) -> None:
        ctx.obj = settings_of(shop.project, session_lifetime_seconds=lifetime)

    (ada,) = run(host, "users", "list", "-o", "json").json
    assert ada["sessions"] == 2
    (ada,) = run(host, "--lifetime", "120", "users", "list", "-o", "json").json
    assert ada["sessions"] == 1


def test_settings_of_files_can_be_handed_over(shop: Application) -> None:
    """A directory that ``db inspect`` has written to is read when the program asks for it."""
    (shop.project.directory / "settings.toml").write_text(
        f"{shop.project.database_settings}mapping = 'fastapi-users'\n"
        "session_strategy = 'database'\nsession_lifetime_seconds = 3600\n"
    )
    host = host_of(load_settings(shop.project.directory))
    assert len(run(host, "users", "list", "--all", "-o", "json").json) == 3


@pytest.mark.parametrize("given", [None, "sqlite:///test.db"])
def test_without_settings_nothing_is_opened(
    given: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint shows how to pass them; a settings file nearby is not read."""
    (tmp_path / "settings.toml").write_text("database_name = 'other'\n")
    monkeypatch.chdir(tmp_path)
    result = run(host_of(given), "users", "list")
    assert result.code == ExitCode.CONFIGURATION
    assert "'myapp users' has no settings" in result.stderr
    assert "context_settings" in result.stderr


def test_no_variable_and_no_file_changes_the_given_settings(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that are handed over are all that counts."""
    monkeypatch.chdir(shop.project.directory)
    settings = settings_of(shop.project)
    Path("settings.toml").write_text("database_url = 'sqlite:///other.db'\n")
    monkeypatch.setenv("CLARINET_DATABASE_URL", "sqlite:///another.db")
    host = host_of(settings)
    done = run(host, "users", "list", "--all", "-o", "json")
    assert len(done.json) == 3
    assert done.stderr == ""


def test_two_databases_do_not_mix(shop: Application, tmp_path: Path) -> None:
    """Groups that are mounted twice have each their own settings and their own names."""
    host = typer.Typer()
    for name, lifetime in (("first", 3600), ("second", 120)):
        inner = host_of(settings_of(shop.project, session_lifetime_seconds=lifetime))
        host.add_typer(inner, name=name)
    counts = [
        run(host, name, "logins", "stats", "-o", "json").json["active"]
        for name in ("first", "second", "first")
    ]
    assert counts == [3, 1, 3]
    hint = run(host, "second", "users", "show", "nobody@example.org").stderr
    assert "'myapp second users list --all'" in hint
    assert "use 'myapp first logins cleanup'" in run(host, "first", "logins", "purge").stderr


def test_an_audit_log_of_the_settings_is_written(shop: Application, tmp_path: Path) -> None:
    """Changes are on record as with the tool."""
    log = tmp_path / "audit.log"
    host = host_of(settings_of(shop.project, audit_log=str(log)))
    assert run(host, "users", "promote", BOB).code == 0
    (record,) = map(json.loads, log.read_text().splitlines())
    assert (record["command"], record["target"]) == ("admin promote", str(shop.ids[BOB]))


def start(shop: Application, *words: str) -> Terminal:
    """Start the program at a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*write_program(shop.project), *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=process_environment({"TERM": "xterm-256color"}),
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its terminal
    )
    os.close(slave)
    return Terminal(process, master)


def test_prompts_are_answered_at_a_terminal(shop: Application) -> None:
    """A confirmation names the account; yes deletes it."""
    terminal = start(shop, "users", "delete", EVE)
    terminal.expect(f"Delete {EVE}")
    terminal.answer("[y/n]", "y")
    assert terminal.end() == 0
    assert set(shop.users()) == {ADA, BOB}


def test_ctrl_c_at_a_prompt_changes_nothing(shop: Application) -> None:
    """The code is that of the signal, and nothing is deleted."""
    terminal = start(shop, "users", "delete", EVE)
    terminal.expect("[y/n]")
    terminal.type(CTRL_C)
    assert terminal.end() == ExitCode.INTERRUPTED
    assert "aborted" in terminal.text
    assert "Traceback" not in terminal.text
    assert EVE in shop.users()


def test_a_closed_pipe_is_no_error(shop: Application) -> None:
    """A reader that closes the pipe after one line ends the command without an error."""
    program = write_program(shop.project)
    for words in ("users list --all -o csv", "users --help"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [*program, *words.split()],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            env=process_environment({}),
            check=False,
            text=True,
        )
        os.close(writer)
        assert done.stderr == ""
        assert done.returncode in (0, 1)


@pytest.mark.parametrize(
    ("words", "code"), [("users list", 1), ("users -q promote bob@example.org", 0)]
)
def test_closed_standard_output_is_an_error_for_data_alone(
    shop: Application, words: str, code: int
) -> None:
    """Data that cannot be written are an error; a change without a report is made."""
    command = shlex.join([*write_program(shop.project), *words.split()])
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {command} >&-"],
        env=process_environment({}),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr == "error: standard output is closed\n" * code


def test_the_program_keeps_its_own_commands(app: Application) -> None:
    """What is mounted changes nothing beside it."""
    host = host_of(settings_of(app.project))
    assert run(host, "serve").stdout == "serving\n"
    assert PROGRAM in run(host, "--help").stdout


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (f"users reset-password --username {BOB} --any-user", f"users reset-password {BOB}'"),
        (f"users create --username c --email {CAROL}", f"users create {CAROL}'"),
        ("logins cleanup-once", "logins cleanup'"),
    ],
)
def test_the_note_of_a_former_form_names_the_mounted_command(
    shop: Application, words: str, note: str
) -> None:
    """It can be copied: the group is called as the program calls it."""
    host = host_of(settings_of(shop.project))
    options = [] if words.startswith("logins") else ["--generate-password"]
    done = run(host, *words.split(), *options, "--dry-run")
    assert done.code == 0, done
    assert f"'{PROGRAM} {note}" in done.stderr
    assert " admin " not in done.stderr
    assert "session cleanup" not in done.stderr
