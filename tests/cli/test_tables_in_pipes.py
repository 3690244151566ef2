"""Tables in a pipe: all rows, as wide as their content; sizes that no terminal has."""

from datetime import UTC, datetime

import pytest

from clarinet_cli.cli.tables import AlignedRows
from clarinet_cli.cli.text import display_width
from tests import oracle
from tests.cli.scenes import ADA, admin_id
from tests.cli.terminal import STYLES, terminal
from tests.support import Project, run_in_process

LONG = f"{'long' * 15}@example.org"
AGENT = ("Mozilla/5.0 (X11; Linux) " * 20)[:512].rstrip()
ENVIRONMENTS = [
    {"FORCE_COLOR": "1", "TERM": "dumb"},
    {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "40"},
    {"TERM": "dumb"},
    {"TERM": "unknown", "COLUMNS": "1"},
    {"COLUMNS": "0"},
    {"COLUMNS": ""},
    {"COLUMNS": "-5"},
    {"COLUMNS": "wide"},
    {"COLUMNS": "80.5"},
    {"COLUMNS": "٤٠"},
    {"COLUMNS": "9" * 5000},
    {"LINES": "0", "COLUMNS": "0"},
    {"NO_COLOR": "1", "FORCE_COLOR": "1"},
    {"TTY_COMPATIBLE": "1"},
    {"TTY_COMPATIBLE": "1", "COLUMNS": "40"},
    {"TTY_INTERACTIVE": "1", "TTY_COMPATIBLE": "0"},
    {"JUPYTER_COLUMNS": "10", "JUPYTER_LINES": "2"},
    {"TERMINAL_WIDTH": "10"},
]
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
def wide(project: Project) -> Project:
    """A project with an address and an agent that no terminal has room for."""
    user = project.add_user(LONG, superuser=True)
    project.add_session(user, token="55555555-long", user_agent=AGENT)
    return project


def many_sessions(project: Project, number: int) -> None:
    """Add so many sessions of the administrator."""
    oracle.add_sessions(project, admin_id(project), number, now=datetime.now(UTC), dead=False)


@on_sqlite
@pytest.mark.parametrize("words", ["session list", "admin list", f"session list-user {LONG}"])
def test_no_variable_changes_a_table_in_a_pipe(wide: Project, words: str) -> None:
    """The same text in any environment, apart from the bold of a header."""
    plain = wide.run(*words.split())
    assert plain.code == 0, plain
    (line,) = [line for line in plain.stdout.splitlines() if LONG in line]
    assert words == "admin list" or AGENT in line
    for env in ENVIRONMENTS:
        result = wide.run(*words.split(), env=env)
        assert STYLES.sub("", result.stdout) == plain.stdout, env
        assert ("\x1b" in result.stdout) == ("FORCE_COLOR" in env), env


@on_sqlite
@pytest.mark.parametrize("words", ["session show 55555555", f"admin show {LONG}", "db status"])
def test_no_variable_changes_a_record_in_a_pipe(wide: Project, words: str) -> None:
    """One line per field in any environment."""
    plain = wide.run(*words.split())
    assert plain.code == 0, plain
    assert words != "session show 55555555" or AGENT in plain.stdout
    for env in ENVIRONMENTS:
        result = wide.run(*words.split(), env=env)
        assert STYLES.sub("", result.stdout) == plain.stdout, env


@on_sqlite
@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1", "TERM": "dumb"}, {"COLUMNS": "0"}])
def test_a_pipe_gets_all_rows(project: Project, env: dict[str, str]) -> None:
    """A search with grep finds every row."""
    many_sessions(project, 3000)
    ids = [row["id"] for row in project.json("session", "list")]
    assert len(ids) == 3000
    for words in (("session", "list"), ("session", "list-user", "admin@clarinet.ru")):
        result = project.run(*words, env=env)
        assert (result.code, result.stderr) == (0, "")
        rows = result.stdout.splitlines()[2:]
        assert sorted(row.split()[0] for row in rows) == sorted(ids)


@on_sqlite
def test_a_pipe_gets_all_accounts(project: Project) -> None:
    """The accounts behind the five hundredth are there too."""
    emails = [f"user{number:04}@example.org" for number in range(700)]
    for email in emails:
        project.add_user(email)
    result = project.run("admin", "list", "--all")
    assert (result.code, result.stderr) == (0, "")
    assert [email for email in emails if email not in result.stdout] == []
    assert len({len(line) for line in result.stdout.splitlines() if "user0" in line}) == 1


@on_sqlite
def test_quiet_shows_no_long_table(project: Project) -> None:
    """With -q a table of any length is not asked for."""
    many_sessions(project, 700)
    result = project.run("-q", "session", "list")
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


@on_sqlite
def test_a_limit_of_ones_own_holds_on_a_terminal(project: Project) -> None:
    """--limit 2000 shows 2000 sessions, one line each, without a note."""
    many_sessions(project, 2000)
    with terminal(project, "session", "list", "--limit", "2000") as shown:
        assert shown.end() == 0
    rows = [line for line in shown.lines if "admin@clarinet.ru" in line]
    assert len(rows) == 2000
    assert "only the first" not in shown.screen


@on_sqlite
def test_a_long_table_on_a_terminal_says_that_it_stops(project: Project) -> None:
    """Without --limit 500 rows are shown, and a note says how to see all."""
    many_sessions(project, 501)
    with terminal(project, "session", "list-user", "admin@clarinet.ru", columns=120) as shown:
        assert shown.end() == 0
    assert "only the first 500 rows are shown" in shown.screen


@on_sqlite
@pytest.mark.parametrize("columns", ["0", "-1", "wide", "999999999999"])
def test_a_terminal_of_no_size_still_shows_a_table(project: Project, columns: str) -> None:
    """An invalid COLUMNS is ignored: the terminal's own width is used."""
    with terminal(project, "admin", "list", env={"COLUMNS": columns, "LINES": "0"}) as shown:
        assert shown.end() == 0
    assert any("admin@clarinet.ru" in line for line in shown.lines)
    assert max(map(len, shown.lines)) <= 80


@on_sqlite
@pytest.mark.parametrize(
    "env",
    [{"COLUMNS": "0"}, {"COLUMNS": "999999999999"}, {"TERMINAL_WIDTH": "x"}, {"LINES": "-1"}],
    ids=str,
)
def test_help_is_shown_whatever_the_sizes(project: Project, env: dict[str, str]) -> None:
    """Neither nothing, nor a line of a thousand million, nor an error."""
    project.environment.update(env)
    result = project.run_process("--help")
    assert (result.code, result.stderr) == (0, "")
    assert "Usage: clarinet" in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 1000


def test_a_command_without_data_still_has_its_table() -> None:
    """Tables that need no database obey the same rule."""
    plain = run_in_process(["help", "exit-codes"])
    for env in ENVIRONMENTS:
        assert (
            STYLES.sub("", run_in_process(["help", "exit-codes"], env=env).stdout) == plain.stdout
        )


# The text itself.


def lines_of(rows: list[dict[str, object]], *, first: int) -> list[str]:
    """Return the lines of a table whose first rows give the widths."""
    table = AlignedRows(rows[:first], (), styled=False)
    return (table.header() + "".join(map(table.row, rows))).splitlines()


def test_columns_are_aligned_also_in_wide_letters() -> None:
    """Numbers to the right, text to the left, by the columns that letters take."""
    rows: list[dict[str, object]] = [
        {"email": "漢字@example.org", "sessions": 7, "is_active": True},
        {"email": "é@example.org", "sessions": 12345, "is_active": None},
    ]
    head, rule, *body = lines_of(rows, first=2)
    assert {
        display_width(line[: line.rindex(word)])
        for line, word in zip(body, ("yes", "-"), strict=True)
    }
    assert [display_width(line.rpartition("  ")[0]) for line in body] == [26, 26]
    assert head == "email             sessions  active"
    assert rule == "─" * 34


def test_a_wider_cell_behind_the_first_rows_is_not_cut() -> None:
    """It moves its line, and those after it, to the right."""
    rows: list[dict[str, object]] = [{"a": "x", "b": "y"}, {"a": "x" * 20, "b": "y"}]
    assert lines_of(rows, first=1) == ["a  b", "────", "x  y", f"{'x' * 20}  y"]
    assert lines_of([*rows, rows[0]], first=1)[-1] == f"x{' ' * 21}y"


def test_a_failure_shows_no_header(project: Project) -> None:
    """An unknown user is not found before anything of a table is shown."""
    result = project.run("session", "list-user", ADA)
    assert (result.code, result.stdout) == (3, "")
