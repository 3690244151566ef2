"""Which columns and rows a listing shows: by the width of the terminal, and by its options."""

import csv
import io
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from clarinet_cli.cli.cells import describe_agent
from clarinet_cli.cli.tables import FittedRows
from clarinet_cli.cli.text import Column, fit_columns, wrap_words
from tests import oracle
from tests.cli.scenes import ADA, ADMIN, admin_id, populate
from tests.cli.shown import INSTANT, UUID
from tests.cli.terminal import STYLES, terminal
from tests.support import Project

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:131.0) Gecko/20100101 Firefox/131.0"
IPV6 = "2001:db8:85a3:8d3:1319:8a2e:370:7348"
LISTINGS = ["session list", f"session list-user {ADA}", "admin list --all", "admin roles"]
GROUPS = "session stats --by ip"


@pytest.fixture
def clinic(project: Project) -> Project:
    """Accounts of all kinds, and sessions in three states from several places."""
    ada = populate(project)
    project.add_session(
        ada,
        token="55555555-firefox",
        user_agent=FIREFOX,
        ip_address=IPV6,
        created=timedelta(days=3),
        expires=timedelta(days=9),
        used=timedelta(minutes=3),
    )
    project.add_user("grace.hopper@navy.example.org", superuser=True)
    project.add_user("gone@example.org", active=False)
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, 'doctor')", ada)
    project.rows("INSERT INTO userroleslink (user_id, role_name) VALUES (?, 'expert')", ada)
    return project


def steady(project: Project, text: str) -> str:
    """Return what was shown without what differs from run to run."""
    text = UUID.sub("<uuid>", text)
    for number, (user,) in enumerate(project.rows('SELECT id FROM "user" ORDER BY email')):
        text = text.replace(str(user)[:8], f"<user {number}>")
    return INSTANT.sub("<time>", text.replace("\r\n", "\n"))


@on_sqlite
@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("color", ["always", "never"])
def test_tables_on_terminals(
    clinic: Project, width: int, color: str, snapshot: SnapshotAssertion
) -> None:
    """The columns that fit, those that matter most first, in colour and without."""
    lines = LISTINGS if color == "never" else LISTINGS[:1]
    shown = []
    for line in [*lines, "session show 55555555"]:
        with terminal(clinic, "--color", color, *line.split(), columns=width) as screen:
            assert screen.end() == 0
        shown.append(f"$ clarinet {line}\n{steady(clinic, screen.screen)}")
        assert max(map(len, screen.lines)) <= width
        assert ("\x1b" in screen.screen) == (color == "always")
    assert "\n".join(shown) == snapshot


@on_sqlite
def test_a_pipe_has_the_columns_of_a_wide_terminal(clinic: Project) -> None:
    """The same titles in the same order, with the whole values."""
    for line in LISTINGS:
        with terminal(clinic, *line.split(), columns=300) as screen:
            assert screen.end() == 0
        piped = clinic.run(*line.split())
        assert piped.stdout.splitlines()[0].split() == screen.lines[0].split()
        assert "hidden" not in screen.screen
    assert FIREFOX in clinic.run("session", "list").stdout
    assert "Firefox 131, macOS" in screen_of(clinic, "session list", 200)


def screen_of(project: Project, line: str, width: int, **env: str) -> str:
    """Return what a command that succeeds shows on a terminal, without colours."""
    with terminal(project, *line.split(), columns=width, env=env) as screen:
        assert screen.end() == 0
    return screen.text


@on_sqlite
def test_hidden_columns_are_named_once(clinic: Project) -> None:
    """One note with the names that --columns takes; none where all columns are shown."""
    shown = screen_of(clinic, "session list", 80)
    assert shown.count("hidden: ") == 1
    note = " ".join(shown[shown.index("hidden: ") :].split())
    assert note.endswith("user_id; '-o wide' shows all columns")
    assert "hidden" not in screen_of(clinic, "-q session list -o table", 80)
    assert "hidden" not in screen_of(clinic, "session list --columns id,user_agent", 80)


@on_sqlite
def test_wide_is_never_cut(clinic: Project) -> None:
    """With -o wide, or CLARINET_OUTPUT=wide, a terminal gets what a pipe gets."""
    piped = clinic.run("session", "list", "-o", "wide", "--color", "never")
    assert piped.code == 2
    piped = clinic.run("session", "list", "-o", "wide")
    assert screen_of(clinic, "--color never session list -o wide", 80) == piped.stdout
    assert screen_of(clinic, "session list", 80, CLARINET_OUTPUT="wide") == piped.stdout
    assert FIREFOX in piped.stdout
    shown = screen_of(clinic, "session show 55555555 -o wide", 80)
    assert FIREFOX in shown


@on_sqlite
@pytest.mark.parametrize("line", LISTINGS)
def test_columns_are_chosen_in_every_format(clinic: Project, line: str) -> None:
    """--columns gives the fields and their order, each once."""
    chosen = ["members", "name"] if line == "admin roles" else ["email", "id"]
    words = [*line.split(), "--columns", f"{chosen[0]}, {chosen[1]},{chosen[0]}"]
    every = clinic.json(*line.split())
    expected = [{name: row[name] for name in chosen} for row in every]
    found = clinic.json(*words)
    assert found == expected
    assert list(found[0]) == chosen
    lines = clinic.run(*words, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(text) for text in lines] == expected
    rows = list(csv.reader(io.StringIO(clinic.run(*words, "-o", "csv").stdout)))
    assert rows[0] == chosen
    assert rows[1:] == [list(map(str, row.values())) for row in expected]
    plain = clinic.run(*words, "-o", "plain").stdout
    assert plain == "".join("\t".join(row) + "\n" for row in rows[1:])
    assert clinic.run(*words).stdout.splitlines()[0].split() == chosen


@pytest.mark.parametrize("option", ["--columns", "--sort"])
@on_sqlite
def test_an_unknown_name_is_refused(clinic: Project, option: str) -> None:
    """With 2, the probable name and all names, and before the database is opened."""
    result = clinic.run("session", "list", option, "emial")
    assert (result.code, result.stdout) == (2, "")
    assert "did you mean 'email'?" in result.stderr
    assert "id, user_id, email, state" in result.stderr
    for line in LISTINGS:
        assert clinic.run(*line.split(), option, "").code == 2
    for value in ("email:up", "email:", "roles") if option == "--sort" else ("email,,id", ","):
        expected = 0 if value == "email:" else 2
        assert clinic.run("admin", "list", option, value).code == expected, value


@on_sqlite
@pytest.mark.parametrize(
    ("line", "title", "name"),
    [
        ("session list --columns", "address", "ip_address"),
        ("session list --sort", "last used", "last_accessed"),
        ("admin list --all --columns", "logged in", "last_login"),
        ("session stats --by user --columns", "user", "key"),
    ],
)
def test_the_title_of_a_column_suggests_its_name(
    clinic: Project, line: str, title: str, name: str
) -> None:
    """Someone who has seen the table only learns what the column is called."""
    result = clinic.run(*line.split(), title)
    assert (result.code, result.stdout) == (2, "")
    assert f"{title!r}; did you mean {name!r}?" in result.stderr


KEYS = {
    "session list": (
        *("id", "user_id", "email", "state", "created_at", "expires_at"),
        *("last_accessed", "ip_address", "user_agent"),
    ),
    f"session list-user {ADA}": ("state", "last_accessed", "ip_address"),
    "admin list --all": (
        *("id", "email", "is_active", "is_superuser", "is_verified", "sessions"),
        *("last_accessed", "last_login"),
    ),
    "admin roles": ("name", "members"),
    "migrate history": ("revision", "current"),
    GROUPS: ("key", "total", "idle"),
}


def lowest_first(value: Any) -> tuple[bool, Any]:
    """Order missing values before all others."""
    return (value is not None, value if value is not None else 0)


@pytest.mark.parametrize("line", KEYS)
def test_listings_are_sorted_by_each_key(clinic: Project, line: str) -> None:
    """Upwards or downwards, missing values lowest, and the limit applies to the order."""
    every = clinic.json(*line.split())
    for key in KEYS[line]:
        up = clinic.json(*line.split(), "--sort", key)
        down = clinic.json(*line.split(), "--sort", f"{key}:desc")
        values = sorted((row[key] for row in every), key=lowest_first)
        assert [row[key] for row in up] == values, key
        assert [row[key] for row in down] == values[::-1], key
        first = clinic.json(*line.split(), "--sort", f"{key}:asc", "--limit", "2")
        assert first == up[:2]


def test_many_sessions_are_sorted_in_pages(project: Project) -> None:
    """Every session once, in order, ties by id, behind the first page too."""
    oracle.add_sessions(project, admin_id(project), 3_000, now=datetime.now(UTC), dead=True)
    every = project.json("session", "list")
    for key, backwards in (("last_accessed", True), ("ip_address", False), ("state", False)):
        order = f"{key}:{'desc' if backwards else 'asc'}"
        found = project.json("session", "list", "--sort", order)
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in every)
        values = [lowest_first(row[key]) for row in found]
        assert values == sorted(values, reverse=backwards)
    limited = project.json("session", "list", "--sort", "state", "--limit", "2000")
    assert limited == found[:2000]


@on_sqlite
def test_a_limit_says_that_there_is_more(clinic: Project) -> None:
    """On standard error in every format, and not when nothing is left out."""
    for line in [*LISTINGS, "migrate history", GROUPS]:
        number = len(clinic.json(*line.split()))
        for form in ("table", "json", "csv"):
            whole = clinic.run(*line.split(), "--limit", str(number), "-o", form)
            assert "there are more" not in whole.stderr
        if number > 1:
            some = clinic.run(*line.split(), "--limit", "1", "-o", "json")
            assert len(some.json) == 1
            assert some.stderr == "only the first row is shown; there are more\n"
            quiet = clinic.run("-q", *line.split(), "--limit", "1", "-o", "json")
            assert quiet.stderr == ""


@on_sqlite
def test_groups_are_drawn_in_order(clinic: Project) -> None:
    """The bars of session stats obey --sort and --limit; --columns shows a table of these."""
    shown = screen_of(clinic, f"{GROUPS} --sort total --limit 2", 120)
    lines = [line.split()[0] for line in shown.splitlines() if line]
    every = clinic.json(*GROUPS.split(), "--sort", "total", "--limit", "2")
    assert lines[2:4] == [row["key"] or "-" for row in every]
    assert "there are more" in shown
    assert screen_of(clinic, f"{GROUPS} --columns key,total", 80).split()[:2] == ["ip", "total"]
    for option in ("--sort=total", "--limit=2", "--columns=total"):
        assert clinic.run("session", "stats", option).code == 2


@on_sqlite
def test_a_terminal_gets_thousands_of_rows_in_lines(project: Project) -> None:
    """--limit 1500 shows 1500 accounts, aligned, one line each."""
    for number in range(600):
        project.add_user(f"user{number:04}@example.org")
    shown = screen_of(project, "admin list --all --limit 1500", 80)
    rows = [line for line in shown.splitlines() if "@" in line]
    assert len(rows) == 601
    assert len({line.index("@") for line in rows if "user" in line}) == 1


@on_sqlite
def test_generated_passwords_have_lines_of_their_own(project: Project) -> None:
    """At 80 columns each password of a new account is uncut, on its own line."""
    emails = [f"{'a.rather.long.name' * 3}{number}@example.org" for number in range(3)]
    file = project.directory / "accounts.json"
    file.write_text(json.dumps([{"email": email, "password": "generate"} for email in emails]))
    lines = screen_of(project, f"admin apply {file}", 80).splitlines()
    for email in emails:
        place = lines.index(f"password of {email}:")
        assert re.fullmatch(r"[A-Za-z0-9]{24}", lines[place + 1])


@on_sqlite
@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_generated_password_of_one_account_has_a_line_of_its_own(
    project: Project, width: int
) -> None:
    """Uncut, below the other fields; a typed password is not shown."""
    for line in (f"create {ADA}", f"reset-password {ADA}"):
        shown = screen_of(project, f"admin {line} --generate-password", width)
        lines = shown.splitlines()
        assert re.fullmatch(r"[A-Za-z0-9]{24}", lines[lines.index("password:") + 1])
        assert shown.count("password") == 1
    wide = screen_of(project, f"admin reset-password {ADA} --generate-password -o wide", width)
    assert re.search(r"^password  +[A-Za-z0-9]{24}$", wide, re.MULTILINE)


@on_sqlite
def test_a_narrow_terminal_breaks_no_id_and_no_address(project: Project) -> None:
    """At 40 columns what does not fit beside its title is below it; titles are wrapped."""
    email = "a.rather.long.name@radiology.hospital.example.org"
    shown = screen_of(project, f"admin create {email} --generate-password", 40)
    stored = project.json("admin", "show", email)["id"]
    assert re.search(rf"^id\n +{stored}$", shown, re.MULTILINE)
    file = project.directory / "accounts.json"
    file.write_text(json.dumps([{"email": f"b.{email}", "password": "generate"}]))
    lines = screen_of(project, f"admin apply {file}", 40).splitlines()
    table = lines[lines.index("─" * 40) - 1 :]
    assert table[0].split() == ["revoked"]
    assert max(map(len, table)) <= 40
    assert f"password of b.{email}:" in "".join(table)


@on_sqlite
@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(clinic: Project, env: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal get words without escape sequences."""
    for line in (*LISTINGS, "session show 55555555"):
        with terminal(clinic, *line.split(), env=env) as screen:
            assert screen.end() == 0
        assert "\x1b" not in screen.screen


@on_sqlite
def test_agents_are_parsed_for_terminals_only(clinic: Project) -> None:
    """The library is loaded for a terminal's table with agents, and for nothing else."""
    program = (
        "import sys; from clarinet_cli.cli.main import run_command_line;"
        "run_command_line(sys.argv[1:]); print('ua_parser' in sys.modules, file=sys.stderr)"
    )
    from tests import forked
    from tests.support import process_environment

    for line in ("session list", "session list -o jsonl", "session show 55555555"):
        done = forked.run(clinic.words(*line.split()), program=program, env=process_environment({}))
        assert done.stderr.decode().endswith("False\n"), done
        assert FIREFOX in done.stdout.decode()
    assert "clarinet_cli" in sys.modules


@on_sqlite
def test_long_values_of_settings_are_whole(project: Project) -> None:
    """A value without spaces is on one line, so that it can be copied."""
    directory = f"/var/lib/{'clinic-' * 14}data"
    project.write_settings(f'storage_path = "{directory}"\n')
    assert directory in screen_of(project, "config show", 80)


AGENTS = {
    FIREFOX: "Firefox 131, macOS",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/17.5 Mobile/15E148 Safari/604.1": "Safari 17, iOS",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/129.0.0.0 Safari/537.36 Edg/129.0": "Edge 129, Windows",
    "curl/8.5.0": "curl 8",
    "": "",
    "unheard-of/1": "unheard-of/1",
    "x" * 100_000: "x" * 23 + "…",
    "\x1b[31m": "\\x1b[31m",
}


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent[:20])
def test_agents_in_a_few_words(agent: str) -> None:
    """Program, version and system; what is not recognised is shortened and escaped."""
    assert describe_agent(agent) == AGENTS[agent]


def test_columns_that_do_not_fit_are_left_out() -> None:
    """The first ones are kept, and a later one that is narrow enough is shown."""
    columns = [Column(name, name, right=False, width=10, min_width=10) for name in "abc"]
    columns.insert(2, Column("long", "long", right=False, width=30, min_width=30))
    assert [item.name for item in fit_columns(columns, 34, 2, kept=1)] == ["a", "b", "c"]
    assert [item.name for item in fit_columns(columns, 8, 2, kept=2)] == ["a", "b"]
    assert [item.width for item in fit_columns(columns, 66, 2)] == [10, 10, 30, 10]


def test_a_long_address_is_wrapped_at_its_dots() -> None:
    """It leaves room for other columns, and no part of it is broken."""
    address = "zoe.longlastname-with-hyphens@department.hospital-north.clarinet.example"
    assert wrap_words(address, 32) == [
        "zoe.longlastname-with-hyphens@",
        "department.hospital-north.",
        "clarinet.example",
    ]


def test_words_are_not_broken() -> None:
    """Lines break at spaces; a longer word has a line for itself."""
    assert wrap_words("one two three", 7) == ["one two", "three"]
    assert wrap_words("one http://example.org/path two", 5) == [
        "one",
        "http://example.org/path",
        "two",
    ]
    assert wrap_words("", 5) == [""]


def test_a_word_wider_than_its_column_moves_the_other_cells() -> None:
    """To the next line, aligned; or along the line where that fits the terminal."""
    rows: list[dict[str, object]] = [
        {"key": "a", "value": "x" * 50, "source": "file"},
        {"key": "b", "value": "y", "source": "file"},
    ]
    table = FittedRows(rows, (), width=40, styled=False)
    head, rule = table.header().splitlines()
    assert len(rule) <= 40
    column = head.index("source")
    assert table.row(rows[0]).splitlines() == [f"a    {'x' * 50}", f"{' ' * column}file"]
    assert table.row(rows[1]).index("file") == column
    short = FittedRows(rows[1:], (), width=40, styled=False)
    assert short.row({"key": "b", "value": "z" * 9, "source": "s"}) == f"b    {'z' * 9}  s\n"


def test_two_wide_words_of_a_row_stay_within_the_terminal() -> None:
    """The second one ends at its right edge, on a line of its own."""
    rows: list[dict[str, object]] = [{"key": "a", "value": "x" * 50, "source": "s" * 30}]
    table = FittedRows(rows, (), width=40, styled=False)
    assert table.row(rows[0]).splitlines() == [f"a    {'x' * 50}", f"{' ' * 10}{'s' * 30}"]


def test_styles_do_not_change_the_alignment() -> None:
    """Colours are beside words, and columns are where they are without them."""
    rows: list[dict[str, object]] = [
        {"state": "active", "email": ADMIN, "is_active": False},
        {"state": "idle", "email": ADA, "is_active": True},
    ]
    plain, styled = (FittedRows(rows, (), width=80, styled=styled) for styled in (False, True))
    for row in rows:
        assert "\x1b" in styled.row(row)
        assert STYLES.sub("", styled.row(row)) == plain.row(row)
