"""``--watch``: pictures on a terminal, JSON lines in a pipe, and nothing held between two."""

import contextlib
import fcntl
import json
import signal
import sqlite3
import struct
import termios
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests import forked
from tests.cli.scenes import ADA, admin_id, populate
from tests.cli.terminal import CTRL_C, Terminal, terminal
from tests.patience import PATIENCE_SECONDS
from tests.support import Project, process_environment

FAST, NEVER = "0.1s", "1d"
HIDE_CURSOR, SHOW_CURSOR, CURSOR_UP = "\x1b[?25l", "\x1b[?25h", "\x1b[1A"
CLEAR_SCREEN = "\x1b[2J"
WATCHED = ("session stats", "session stats --by user", "session list", "db status")
OURS = "application_name = 'clarinet' AND datname = $1"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@pytest.fixture
def ada(project: Project) -> UUID:
    """A user with sessions in several states."""
    return populate(project)


@contextlib.contextmanager
def watching(
    project: Project, words: str, interval: str = FAST, **options: Any
) -> Iterator[Terminal]:
    """Watch at a terminal without colours; its modes are the same afterwards."""
    with terminal(
        project, "--color", "never", *words.split(), "--watch", interval, **options
    ) as shown:
        before = termios.tcgetattr(shown.master)
        yield shown
        assert termios.tcgetattr(shown.master) == before
        assert shown.screen.count(HIDE_CURSOR) == shown.screen.count(SHOW_CURSOR)


@contextlib.contextmanager
def piped(project: Project, words: str, interval: str = FAST) -> Iterator[forked.Process]:
    """Watch in a pipe."""
    with forked.start(
        project.words(*words.split(), "--watch", interval),
        env=process_environment(project.environment),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: forked.Process) -> Any:
    """Wait for a line of standard output and return its JSON."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that nothing announces."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@on_sqlite
@pytest.mark.parametrize("columns", [80, 120])
def test_new_changed_and_removed_sessions_are_marked(
    project: Project, ada: UUID, columns: int
) -> None:
    """Each picture replaces the one before; the last one stays when q ends the command."""
    with watching(project, "session list", columns=columns) as shown:
        shown.expect("every 0.1 s; q to quit")
        shown.expect("~ changed")
        project.add_session(ada, token="55555555-new")
        shown.expect("+  55555555")
        shown.expect("   55555555")
        project.rows("UPDATE access_token SET user_agent = 'x' WHERE token = '55555555-new'")
        shown.expect("~  55555555")
        project.rows("DELETE FROM access_token WHERE token = '55555555-new'")
        shown.expect("-  55555555")
        shown.type("q")
        assert shown.end() == 0
    assert CURSOR_UP in shown.screen
    last = shown.text.rpartition("q to quit")[2]
    assert "44444444" in last
    assert max(map(len, last.splitlines())) <= columns


@on_sqlite
def test_counts_show_by_how_much_they_changed(project: Project, ada: UUID) -> None:
    """States, ages and users, each beside its number."""
    with watching(project, "session stats") as shown:
        shown.expect("4 sessions")
        for number in range(3):
            project.add_session(ada, token=f"5555555{number}-new")
            shown.expect(f"{5 + number} sessions +1")
        shown.expect("+1   ")
        project.rows("DELETE FROM access_token WHERE token LIKE '5555555%'")
        shown.expect("4 sessions -3")
        shown.type("q")
        assert shown.end() == 0


@on_sqlite
def test_new_and_removed_groups_are_marked(project: Project, ada: UUID) -> None:
    """A group without sessions is there for one more picture."""
    with watching(project, "session stats --by user") as shown:
        shown.expect(ADA)
        bob = project.add_user("bob@example.org")
        project.add_session(bob, token="66666666-bob")
        shown.expect("new")
        project.add_session(bob, token="77777777-bob")
        shown.expect("+1")
        project.rows("DELETE FROM access_token WHERE user_id = ?", bob)
        shown.expect("gone")
        shown.type("q")
        assert shown.end() == 0


def test_numbers_of_rows_are_watched_on_each_backend(project: Project) -> None:
    """The change follows the number."""
    with watching(project, "db status") as shown:
        shown.expect("tables access_token")
        project.add_session(admin_id(project))
        shown.expect("+1")
        shown.type("q")
        assert shown.end() == 0


@on_sqlite
@pytest.mark.parametrize("words", WATCHED)
def test_a_signal_ends_it_and_restores_the_terminal(
    project: Project, ada: UUID, words: str
) -> None:
    """Also in the long pause between two pictures; the exit code is that of the signal."""
    with watching(project, words, NEVER) as shown:
        shown.expect("q to quit")
        shown.type(CTRL_C)
        assert shown.end() == 130
    with watching(project, words, NEVER) as shown:
        shown.expect("q to quit")
        shown.process.send_signal(signal.SIGTERM)
        assert shown.end() == 143


@on_sqlite
def test_typed_keys_are_not_shown(project: Project, ada: UUID) -> None:
    """Other keys than q are ignored."""
    with watching(project, "session stats", NEVER) as shown:
        shown.expect("next expiry")
        shown.type("xyzzy\n")
        shown.type("Q")
        assert shown.end() == 0
    assert "xyzzy" not in shown.screen


@on_sqlite
def test_a_stopped_command_gives_the_terminal_back(project: Project, ada: UUID) -> None:
    """Ctrl-Z restores cursor and echo; continued, it draws on."""
    with watching(project, "session stats") as shown:
        shown.expect("next expiry")
        before = termios.tcgetattr(shown.master)
        shown.process.send_signal(signal.SIGTSTP)
        shown.expect(SHOW_CURSOR)
        eventually(lambda: termios.tcgetattr(shown.master) != before)
        shown.process.send_signal(signal.SIGCONT)
        shown.expect("next expiry")
        eventually(lambda: termios.tcgetattr(shown.master) == before)
        shown.type("q")
        assert shown.end() == 0


@on_sqlite
def test_the_first_failure_is_that_of_the_command(project: Project) -> None:
    """A missing database is an error, not a frame."""
    project.file.unlink()
    with watching(project, "session list") as shown:
        assert shown.end() == 7
    assert "error: " in shown.text
    assert HIDE_CURSOR not in shown.screen


@on_sqlite
def test_an_unreachable_database_is_retried(project: Project, ada: UUID) -> None:
    """The picture stays, with the error above it; another file of that name is read then."""
    with watching(project, "session list") as shown:
        shown.expect("44444444")
        project.file.rename(project.file.with_suffix(".gone"))
        shown.expect("error: ")
        shown.expect("trying again")
        shown.expect("44444444")
        with contextlib.closing(sqlite3.connect(project.file.with_suffix(".gone"))) as source:
            copy = project.file.with_suffix(".copy")
            with contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        copy.rename(project.file)
        project.add_session(ada, token="55555555-copy")
        shown.expect("+  55555555")
        shown.type("q")
        assert shown.end() == 0
    assert "error: " not in shown.text.rpartition("q to quit")[2]


@on_sqlite
def test_a_dumb_terminal_gets_one_picture_after_another(project: Project, ada: UUID) -> None:
    """Nothing is sent that such a terminal would show as it is."""
    with terminal(project, "session", "stats", "--watch", FAST, env={"TERM": "dumb"}) as shown:
        for _ in range(3):
            shown.expect("next expiry")
        shown.type("q")
        assert shown.end() == 0
    assert "\x1b" not in shown.screen


@on_sqlite
def test_a_picture_fits_a_terminal_of_another_width(project: Project, ada: UUID) -> None:
    """Enlarged, the terminal is cleared and gets a wider picture."""
    with watching(project, "session stats", columns=80) as shown:
        shown.expect("next expiry")
        size = struct.pack("HHHH", 24, 120, 0, 0)
        fcntl.ioctl(shown.master, termios.TIOCSWINSZ, size)
        shown.expect(CLEAR_SCREEN)
        shown.expect("next expiry")
        shown.type("q")
        assert shown.end() == 0
    assert max(map(len, shown.text.rpartition(CLEAR_SCREEN)[2].split("\n"))) > 80


@on_sqlite
def test_tables_of_a_locale_without_lines_are_those_of_the_listing(
    project: Project, ada: UUID
) -> None:
    """Dashes replace lines, as without --watch."""
    env = {"PYTHONIOENCODING": "iso-8859-1"}
    with terminal(project, "session", "list", env=env) as listed:
        assert listed.end() == 0
    with watching(project, "session list", NEVER, env=env) as shown:
        shown.expect("44444444")
        shown.type("q")
        assert shown.end() == 0
    assert "-----" in shown.text
    assert "|" not in shown.text
    assert "|" not in listed.text


@on_sqlite
def test_without_a_keyboard_no_key_is_promised(project: Project, ada: UUID) -> None:
    """Standard input that is not a terminal is not read."""
    with terminal(project, "session", "stats", "--watch", FAST, stdin=Path("/dev/null")) as shown:
        shown.expect("next expiry")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
    assert "q to quit" not in shown.screen


@on_sqlite
@pytest.mark.parametrize("words", WATCHED)
def test_a_pipe_gets_a_line_for_each_reading(project: Project, ada: UUID, words: str) -> None:
    """The JSON of the command without --watch, at once; a closed pipe is the end."""
    expected = project.json(*words.split())
    with piped(project, words) as process:
        for _ in range(3):
            assert next_line(process) == expected
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


@on_sqlite
@pytest.mark.parametrize(
    "words",
    [
        "session list --columns state,id --limit 2",
        "session list --limit 1 --sort created_at",
        "session stats --by user --columns total,key --limit 1",
        "session stats --by ip --sort key:desc",
    ],
)
def test_a_line_has_the_chosen_rows_and_fields(project: Project, ada: UUID, words: str) -> None:
    """--columns, --limit and --sort choose the same as without --watch."""
    expected = project.json(*words.split())
    with piped(project, words) as process:
        line = next_line(process)
    assert [list(row.items()) for row in line] == [list(row.items()) for row in expected]


@on_sqlite
def test_json_on_a_terminal_is_lines_too(project: Project, ada: UUID) -> None:
    """-o json shows no chart."""
    with terminal(project, "session", "stats", "--watch", FAST, "-o", "json") as shown:
        shown.expect('{"total": 4, ')
        shown.expect('{"total": 4, ')
        shown.process.send_signal(signal.SIGTERM)
        assert shown.end() == 143


@on_sqlite
@pytest.mark.parametrize("options", ["--watch", "--watch -o json", "-o json --watch"])
def test_the_interval_may_be_left_out(project: Project, ada: UUID, options: str) -> None:
    """What follows is not taken for it."""
    with forked.start(
        project.words("session", "stats", *options.split()),
        env=process_environment(project.environment),
    ) as process:
        assert next_line(process)["total"] == 4
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 143


@on_sqlite
@pytest.mark.parametrize(
    "line",
    [
        "session stats --watch 0",
        "session stats --watch 50ms",
        "session stats --watch=soon",
        "session list --watch 2d3",
        "session list --watch -o csv",
        "session stats --watch -o prometheus",
        "db status --watch -o plain",
        "-q db status --watch",
        "session list-user ada@example.org --watch",
    ],
)
def test_what_can_not_be_watched_is_a_usage_error(project: Project, line: str) -> None:
    """Too short an interval, a format for one result, and commands without the option."""
    result = project.run(*line.split())
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")


@on_postgresql
def test_a_server_is_asked_by_one_connection_without_a_transaction(
    project: Project, ada: UUID
) -> None:
    """Between two pictures its connection is idle, and holds back no vacuum."""
    server = project.server
    assert server is not None
    with piped(project, "session list", NEVER) as process:
        next_line(process)
        query = f"SELECT state, xact_start, backend_xmin FROM pg_stat_activity WHERE {OURS}"
        idle = [("idle", None, None)]
        eventually(lambda: server.rows("postgres", query, project.database) == idle)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 143


@on_postgresql
def test_a_closed_connection_is_opened_again(project: Project, ada: UUID) -> None:
    """A warning on standard error; the lines continue."""
    server = project.server
    assert server is not None
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"
    with piped(project, "session stats") as process:
        next_line(process)
        assert server.rows("postgres", cut, project.database)
        assert process.stderr is not None
        warning = process.stderr.readline().decode()
        assert warning.startswith("warning: ")
        assert "trying again" in warning
        project.add_session(ada)
        while next_line(process)["total"] != 5:
            pass


@on_sqlite
@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("words", WATCHED)
def test_nothing_is_locked_between_two_readings(
    project: Project, ada: UUID, words: str, mode: str
) -> None:
    """A writer need not wait, and the log is written back and truncated."""
    with contextlib.closing(sqlite3.connect(project.file, timeout=0)) as connection:
        connection.isolation_level = None
        connection.execute(f"PRAGMA journal_mode = {mode}")
        with piped(project, words, NEVER) as process:
            next_line(process)
            eventually(lambda: _commits(connection))
            if mode == "wal":
                result = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                assert result == (0, 0, 0)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 143


def _commits(connection: sqlite3.Connection) -> bool:
    """Try to commit a change; the reading whose line has just come may be about to end."""
    try:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE access_token SET user_agent = 'x'")
    except sqlite3.OperationalError:
        return False
    connection.execute("COMMIT")
    return True


@on_sqlite
def test_the_limit_of_a_terminal_makes_no_session_new_or_gone(project: Project) -> None:
    """A session that a newer one pushes out of the first hundred still exists."""
    user = admin_id(project)
    for number in range(100):
        project.add_session(user, token=f"{number:08}-old", created=timedelta(hours=number + 1))
    with watching(project, "session list", columns=100) as shown:
        shown.expect("~ changed")
        project.add_session(user, token="aaaaaaaa-new")
        shown.expect("only the first 100 rows")
        shown.expect("+  aaaaaaaa")
        shown.type("q")
        assert shown.end() == 0
    assert "-  00000099" not in shown.text
