"""Prompts on a terminal: what is prompted for, shown, and done with the answers."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from tests.cli.scenes import ADA, ADMIN, dump, everything, populate
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal, terminal
from tests.support import PASSWORD, Project

VERIFIER = PasswordHash((Argon2Hasher(),))
CREATE = ("admin", "create", "--email", ADA)
DOWNGRADE = ("migrate", "downgrade", "base")
FIRST, SECOND = f"New password for {ADA}: ", "Confirm password: "


# The database plays no part in what is tested so.
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def stored_hash(project: Project, email: str) -> str:
    """Return the hash of an account."""
    return str(project.rows('SELECT hashed_password FROM "user" WHERE email = ?', email)[0][0])


def test_the_password_is_asked_twice_without_echo(project: Project, tmp_path: Path) -> None:
    """Two prompts, no echo of the password, only data on standard output."""
    data = tmp_path / "data"
    with terminal(project, *CREATE, "-o", "json", stdout=data) as shown:
        shown.answer(FIRST, PASSWORD)
        shown.answer(SECOND, PASSWORD)
        code = shown.end()
    assert code == 0, shown.screen
    assert PASSWORD not in shown.screen
    assert "*" not in shown.screen
    assert '"result": "created"' in data.read_text()
    assert "password" not in data.read_text()
    assert VERIFIER.verify(PASSWORD, stored_hash(project, ADA))


@on_sqlite
def test_two_different_entries_are_asked_again(project: Project) -> None:
    """Two different entries lead to another pair of prompts."""
    with terminal(project, *CREATE) as shown:
        shown.answer(FIRST, "first entry, wrong")
        shown.answer(SECOND, "second entry, wrong")
        shown.expect("passwords do not match")
        shown.answer(FIRST, PASSWORD)
        shown.answer(SECOND, PASSWORD)
        assert shown.end() == 0
    assert "entry, wrong" not in shown.screen
    assert VERIFIER.verify(PASSWORD, stored_hash(project, ADA))


@on_sqlite
def test_entries_that_go_on_differing_end_the_command(project: Project) -> None:
    """After some pairs that differ it gives up with a usage error, nothing written."""
    before = everything(project)
    with terminal(project, *CREATE) as shown:
        for number in range(3):
            shown.answer(FIRST, f"never the same {number}")
            shown.answer(SECOND, "never twice the same")
        assert shown.end() == 2
    assert "error: " in shown.text
    assert everything(project) == before


@on_sqlite
def test_ctrl_d_at_the_password_changes_nothing(project: Project) -> None:
    """The end of input is a refusal: exit 5, one line, nothing written."""
    before = everything(project)
    with terminal(project, *CREATE) as shown:
        shown.answer(FIRST, PASSWORD)
        shown.expect(SECOND)
        shown.type(CTRL_D)
        assert shown.end() == 5
    assert "error: " in shown.text
    assert "Traceback" not in shown.screen
    assert everything(project) == before


@on_sqlite
def test_ctrl_c_at_the_password_changes_nothing(project: Project) -> None:
    """An interrupted prompt ends with 130, without a traceback, nothing written."""
    before = everything(project)
    with terminal(project, *CREATE) as shown:
        shown.expect(FIRST)
        shown.type(CTRL_C)
        assert shown.end() == 130
    assert "Traceback" not in shown.screen
    assert everything(project) == before


@on_sqlite
@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("", "at least 8 characters, hard to guess"),
        (
            "admin_require_strong_password = true\n",
            "at least 12 characters with upper-case and lower-case letters and digits",
        ),
    ],
)
def test_the_rules_are_shown_before_the_first_prompt(
    project: Project, setting: str, rule: str
) -> None:
    """They are those that the settings ask for."""
    project.write_settings(setting)
    with terminal(project, *CREATE, columns=120) as shown:
        shown.expect(f"Password: {rule}")
        shown.expect(FIRST)
        shown.type(CTRL_C)
        shown.end()
    assert shown.text.index("Password: at least") < shown.text.index(FIRST)


@on_sqlite
def test_a_refused_password_is_prompted_for_again(project: Project) -> None:
    """With the reason, and before it is to be confirmed."""
    with terminal(project, *CREATE) as shown:
        shown.answer(FIRST, "admin123")
        shown.expect("well-known default; try again")
        shown.answer(FIRST, PASSWORD)
        shown.answer(SECOND, PASSWORD)
        assert shown.end() == 0
    assert "admin123" not in shown.screen
    assert VERIFIER.verify(PASSWORD, stored_hash(project, ADA))


@on_sqlite
def test_a_password_that_is_refused_three_times_ends_the_command(project: Project) -> None:
    """A usage error; the password is not repeated in any message."""
    before = everything(project)
    with terminal(project, *CREATE) as shown:
        for password in ("admin123", "short", "admin123"):
            shown.answer(FIRST, password)
        assert shown.end() == 2
    assert "admin123" not in shown.screen
    assert SECOND not in shown.screen
    assert "well-known default (3 attempts)" in shown.screen
    assert everything(project) == before


@on_sqlite
def test_an_existing_account_is_refused_before_the_prompt(project: Project) -> None:
    """A conflict is reported before the prompt for a password."""
    project.add_user(ADA)
    with terminal(project, *CREATE) as shown:
        assert shown.end() == 4
    assert "New password" not in shown.screen


@on_sqlite
def test_reset_password_asks_for_the_new_one(project: Project) -> None:
    """The prompt names the account; its old password is gone and so are its sessions."""
    populate(project)
    with terminal(project, "admin", "reset-password") as shown:
        shown.answer(f"New password for {ADMIN}: ", "another long one")
        shown.answer(SECOND, "another long one")
        assert shown.end() == 0
    assert VERIFIER.verify("another long one", stored_hash(project, ADMIN))
    assert "44444444-admin" not in project.tokens()


@on_sqlite
def test_db_init_asks_for_the_first_password(empty_project: Project) -> None:
    """On a terminal it prompts for the first password; there is no default."""
    with terminal(empty_project, "db", "init") as shown:
        shown.answer(f"New password for {ADMIN}: ", PASSWORD)
        shown.answer(SECOND, PASSWORD)
        assert shown.end() == 0
    assert VERIFIER.verify(PASSWORD, stored_hash(empty_project, ADMIN))


@on_sqlite
def test_ctrl_c_at_the_first_password_makes_no_database(empty_project: Project) -> None:
    """Nothing is made before the question is answered."""
    before = everything(empty_project)
    with terminal(empty_project, "db", "init") as shown:
        shown.expect(f"New password for {ADMIN}: ")
        shown.type(CTRL_C)
        assert shown.end() == 130
    assert everything(empty_project) == before


@on_sqlite
def test_a_hostile_address_does_not_reach_the_terminal_by_the_prompt(project: Project) -> None:
    """Control characters in the account's address are shown escaped in the question."""
    user = project.add_user("evil\x1b]0;owned\x07\x9b31m@example.org", superuser=True)
    with terminal(project, "admin", "reset-password", str(user)) as shown:
        shown.expect("New password for evil")
        shown.type(CTRL_C)
        shown.end()
    assert "\x1b]0;" not in shown.screen
    assert "\x07" not in shown.screen
    assert "\x9b" not in shown.screen
    assert r"evil\x1b]0;owned\x07\x9b31m@example.org" in shown.screen


def test_a_downgrade_is_done_after_a_yes(project: Project) -> None:
    """The question has the target and the counts; y does it."""
    populate(project)
    with terminal(project, *DOWNGRADE) as shown:
        shown.expect("[y/n]")
        question = " ".join(shown.text.split())
        shown.type("y\n")
        assert shown.end() == 0, shown.screen
    assert project.database in question.replace(" ", "")  # a long path is wrapped
    assert "2 in user," in question
    assert "4 in access_token" in question
    assert set(dump(project) or {}) <= {"alembic_version"}


def answered_no(shown: Terminal) -> None:
    """Answer with neither, which is asked again, then with no."""
    shown.answer("", "maybe")
    shown.answer("[y/n]", "n")


def answered_nothing(shown: Terminal) -> None:
    """Only press Return: the default is no."""
    shown.type("\n")


def ended_the_input(shown: Terminal) -> None:
    """Press Ctrl-D."""
    shown.type(CTRL_D)


def interrupted(shown: Terminal) -> None:
    """Press Ctrl-C."""
    shown.type(CTRL_C)


@on_sqlite
@pytest.mark.parametrize(
    ("press", "code"),
    [(answered_no, 5), (answered_nothing, 5), (ended_the_input, 5), (interrupted, 130)],
)
def test_a_downgrade_that_is_not_confirmed_changes_nothing(
    project: Project, press: Callable[[Terminal], None], code: int
) -> None:
    """n, Return and Ctrl-D refuse with 5, Ctrl-C aborts with 130; the schema stays."""
    populate(project)
    before = everything(project)
    with terminal(project, *DOWNGRADE) as shown:
        shown.expect("[y/n]")
        press(shown)
        assert shown.end() == code, shown.screen
    assert ("aborted" in shown.screen) == (code == 130)
    assert "Traceback" not in shown.screen
    assert everything(project) == before


@on_sqlite
def test_the_question_is_no_data(project: Project, tmp_path: Path) -> None:
    """With stdout in a file the question is on the terminal and the file has JSON only."""
    data = tmp_path / "data"
    with terminal(project, *DOWNGRADE, "-o", "json", stdout=data) as shown:
        shown.answer("[y/n]", "y")
        assert shown.end() == 0
    assert data.read_text().startswith("{")
    assert "[y/n]" not in data.read_text()


@on_sqlite
def test_yes_answers_the_question(project: Project) -> None:
    """With --yes nothing is asked, also on a terminal."""
    with terminal(project, *DOWNGRADE, "--yes") as shown:
        assert shown.end() == 0
    assert "[y/n]" not in shown.screen
    assert set(dump(project) or {}) <= {"alembic_version"}


@on_sqlite
@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (CREATE, 2, ["--password-stdin", "--password-file", "--generate-password"]),
        (DOWNGRADE, 5, ["--yes"]),
    ],
)
def test_no_input_never_asks_on_a_terminal(
    project: Project, arguments: tuple[str, ...], code: int, named: list[str]
) -> None:
    """--no-input ends at once and names the options that give what is missing."""
    before = everything(project)
    with terminal(project, "--no-input", *arguments) as shown:
        assert shown.end() == code, shown.screen
    assert "New password" not in shown.screen
    assert "[y/n]" not in shown.screen
    assert all(option in shown.screen for option in named)
    assert everything(project) == before


@on_sqlite
def test_a_table_is_not_wider_than_the_terminal(project: Project) -> None:
    """Long user agents fold inside their column; times are relative."""
    ada = populate(project)
    project.add_session(ada, token="55555555-long", user_agent="Mozilla " * 60)
    with terminal(project, "session", "list-user", ADA, columns=80) as shown:
        assert shown.end() == 0
    assert max(map(len, shown.lines)) <= 80
    assert "ago" in shown.screen
    assert "Mozilla" in shown.screen


@on_sqlite
def test_relative_times_look_back_and_forward(project: Project) -> None:
    """On a terminal a time is whole, and the past so long ago and the future in so long."""
    populate(project)
    with terminal(project, "session", "show", "11111111", columns=200) as shown:
        assert shown.end() == 0
    times = dict(line.split(None, 1) for line in shown.lines if " " in line.strip())
    whole = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"
    assert re.fullmatch(rf"{whole} \(10 min ago\)", times["created"].strip())
    assert re.fullmatch(rf"{whole} \(in (59|60) min\)", times["expires"].strip())


@on_sqlite
def test_colours_only_where_a_terminal_shows_them(project: Project) -> None:
    """By default a terminal gets colour codes and nothing else that moves its cursor."""
    with terminal(project, "session", "list-user", "nobody@example.org") as shown:
        assert shown.end() == 3
    assert "\x1b[" in shown.screen
    assert "\x1b" not in shown.text


@on_sqlite
def test_never_means_no_codes_on_a_terminal(project: Project) -> None:
    """With --color never not one escape code is written, bold included."""
    with terminal(project, "--color", "never", "admin", "list") as shown:
        assert shown.end() == 0
    assert ADMIN in shown.screen
    assert "\x1b" not in shown.screen


@on_sqlite
def test_no_color_is_obeyed_on_a_terminal(project: Project) -> None:
    """NO_COLOR set: no colour in the messages."""
    unknown = ("session", "list-user", "nobody@example.org")
    with terminal(project, *unknown, env={"NO_COLOR": "1"}) as shown:
        assert shown.end() == 3
    assert "error: no user" in shown.screen


def test_progress_is_a_bar_on_a_terminal_and_no_data(project: Project, tmp_path: Path) -> None:
    """While a clean-up runs the terminal shows how far it is; standard output has the report."""
    user = project.add_user("ada@example.org")
    for number in range(12):
        project.add_session(user, token=f"dead{number:04}-", expires=timedelta(hours=-1))
    report = tmp_path / "report"
    words = ("session", "cleanup", "--batch-size", "2", "--sleep", "200ms", "-o", "json")
    with terminal(project, *words, stdout=report) as screen:
        screen.expect("cleaning up")
        screen.expect("/12")
        assert screen.end() == 0
    assert json.loads(report.read_text())["deleted"] == 12
    assert project.count("access_token") == 0


def test_generated_passwords_replace_the_bar(project: Project, tmp_path: Path) -> None:
    """They are shown before the commit, while work continues: the table begins its own line."""
    file = tmp_path / "accounts.csv"
    file.write_text("email,password\nada@example.org,generate\nbob@example.org,generate\n")
    with terminal(project, "admin", "apply", str(file)) as screen:
        assert screen.end() == 0
    shown, _, table = screen.screen.partition("mark")
    _, bar, after = shown.rpartition("writing changes")
    assert bar
    assert "\x1b[2K" in after  # the line of the bar is erased
    assert "password of bob@example.org:" in table
    assert "writing changes" not in table


def test_quiet_shows_no_progress(project: Project) -> None:
    """With -q the terminal stays empty."""
    user = project.add_user("ada@example.org")
    project.add_session(user, expires=timedelta(hours=-1))
    with terminal(project, "-q", "session", "cleanup", "--sleep", "200ms") as screen:
        assert screen.end() == 0
    assert screen.text.strip() == ""
    assert project.count("access_token") == 0


def test_verbose_without_a_terminal_logs_progress_in_lines(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -v a line on standard error every half minute; else nothing."""
    monkeypatch.setattr("clarinet_cli.cli.progress.PROGRESS_LINE_SECONDS", 0.0)
    user = project.add_user("ada@example.org")
    for number in range(8):
        project.add_session(user, token=f"dead{number:04}-", expires=timedelta(hours=-1))
    words = ("session", "cleanup", "--limit", "4", "--batch-size", "2", "-o", "json")
    verbose, silent = project.run("-v", *words), project.run(*words)
    assert "cleaning up: 2 of 8\n" in verbose.stderr
    assert "cleaning up: 4 of 8\n" in verbose.stderr
    assert silent.stderr == ""
    assert verbose.json["deleted"] + silent.json["deleted"] == 8
