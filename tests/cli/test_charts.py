"""Charts of session counts, at a fixed time."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Optional

import pytest
from rich.cells import cell_len
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from clarinet_cli.cli.charts import (
    MAX_EMPTY_PERIODS,
    Canvas,
    group_chart,
    stats_chart,
    with_empty_periods,
)
from clarinet_cli.results import SessionGroup, SessionStats
from clarinet_cli.types import GroupBy
from tests.cli.scenes import populate
from tests.cli.terminal import terminal
from tests.support import Project

NOW = datetime(2026, 11, 22, 18, 32, tzinfo=UTC)
WIDTHS = (40, 80, 120, 200)
STATS = SessionStats(
    total=1234,
    active=612,
    idle=1,
    expired=600,
    blocked=21,
    users=56,
    average_life_seconds=604800.0,
    longest_life_seconds=2592000.0,
    next_expiry=NOW + timedelta(hours=3),
    age={"under_1h": 3, "under_1d": 120, "under_7d": 0, "under_30d": 1000, "older": 111},
)
NO_SESSIONS = SessionStats(
    0, 0, 0, 0, 0, 0, None, None, None, dict.fromkeys(STATS.age, 0), invalid=None
)
USERS = [
    SessionGroup("ada.lovelace@analytical.example.org", 40, 30, 5, 5, 0, 1),
    SessionGroup("漢字@example.org", 12, 0, 1, 11, 0, 1),
    SessionGroup("x\x1b[31m[red]@example.org", 1, 0, 0, 1, 0, 1, invalid=1),
    SessionGroup(None, 1, 0, 0, 0, 1, 0),
]
DAYS = [
    SessionGroup("2026-11-20", 5, 3, 1, 1, 0, 2),
    SessionGroup("2026-11-19", 15, 3, 1, 11, 0, 2),
    SessionGroup("2026-08-19", 1, 0, 0, 1, 0, 1),
    SessionGroup(None, 1, 0, 0, 0, 0, 1, invalid=1),
]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
AGENTS = [SessionGroup(FIREFOX, 30, 30, 0, 0, 0, 2), SessionGroup("curl/8", 3, 3, 0, 0, 0, 1)]
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def canvas(width: int, encoding: str = "utf-8") -> Canvas:
    """Return the canvas of a terminal at the fixed time."""
    return Canvas.of(width, encoding, NOW)


def drawn(chart: Any, width: int, colour: Optional[Literal["standard"]] = None) -> str:
    """Return a chart as a terminal gets it, without spaces at the ends of lines."""
    stream = io.StringIO()
    console: Any = Console(
        file=stream, width=width, force_terminal=True, color_system=colour, highlight=False
    )
    console.print(chart)
    lines = stream.getvalue().splitlines()
    assert colour or max(map(cell_len, lines), default=0) <= width
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_states_ages_and_facts(width: int, snapshot: SnapshotAssertion) -> None:
    """Numbers and shares, with bars as wide as the terminal allows."""
    assert drawn(stats_chart(STATS, canvas(width)), width) == snapshot


def test_states_have_colours(snapshot: SnapshotAssertion) -> None:
    """The same text, in colours."""
    assert drawn(stats_chart(STATS, canvas(80)), 80, "standard") == snapshot


def test_without_block_characters_bars_are_ascii(snapshot: SnapshotAssertion) -> None:
    """What an encoding lacks is not drawn."""
    text = drawn(stats_chart(STATS, canvas(80, "iso-8859-1")), 80)
    assert text.isascii()
    assert text == snapshot


def test_no_sessions_is_a_chart_too(snapshot: SnapshotAssertion) -> None:
    """Zeros without shares, and no lifetime."""
    assert drawn(stats_chart(NO_SESSIONS, canvas(80)), 80) == snapshot


def test_changes_stand_behind_the_numbers(snapshot: SnapshotAssertion) -> None:
    """Long ones too."""
    changes = {"total": "-9000", "active": "-10000", "age.older": "+1", "next_expiry": "changed"}
    assert drawn(stats_chart(STATS, canvas(80), changes), 80) == snapshot


@pytest.mark.parametrize("width", WIDTHS)
def test_users(width: int, snapshot: SnapshotAssertion) -> None:
    """The heading names the key; columns of states are there as far as there is room."""
    assert drawn(group_chart(USERS, GroupBy.USER, canvas(width)), width) == snapshot


def test_an_address_is_whole_before_the_bar_is_long() -> None:
    """In 50 columns the longest address is in one line."""
    text = drawn(group_chart(USERS, GroupBy.USER, canvas(50)), 50)
    assert "ada.lovelace@analytical.example.org" in text


@pytest.mark.parametrize("width", [50, 80])
def test_a_long_address_is_wrapped_at_its_dots(width: int) -> None:
    """No part of it is broken, and the bar beside it keeps its room."""
    address = f"carla.{'long-name-' * 2}@radiology-department.hospital.clinic.example.org"
    groups = [SessionGroup(address, 40, 30, 5, 5, 0, 1)]
    lines = drawn(group_chart(groups, GroupBy.USER, canvas(width)), width).splitlines()[2:]
    assert "██████████" in lines[0]
    parts = [line.split("  ")[0] for line in lines]
    assert len(parts) > 1
    assert all(part.endswith((".", "@")) for part in parts[:-1])
    assert "".join(parts) == address


def test_an_ipv6_address_is_whole_before_there_is_a_bar() -> None:
    """It is one line as long as its number fits beside it."""
    address = "2001:db8:85a3:1234:5678:8a2e:3700:7334"
    groups = [SessionGroup(address, 40, 30, 5, 5, 0, 1)]
    assert address in drawn(group_chart(groups, GroupBy.IP, canvas(49)), 49)


def test_agents_are_shown_by_program_and_system(snapshot: SnapshotAssertion) -> None:
    """Short, so that the numbers beside them have room."""
    assert drawn(group_chart(AGENTS, GroupBy.AGENT, canvas(60)), 60) == snapshot


def test_agents_with_the_same_words_are_distinguished() -> None:
    """Each of them is shown in full, over several lines, and the numbers keep their room."""
    agents = [
        "curl/8.5.0",
        "curl/8.6.1 (retry)",
        f"{FIREFOX} {'x' * 20} {'y' * 20}",
        FIREFOX,
        "wget",
    ]
    groups = [SessionGroup(agent, 5, 1, 1, 1, 1, 1) for agent in agents]
    text = drawn(group_chart(groups, GroupBy.AGENT, canvas(80)), 80)
    assert "curl/8.5.0 " in text
    assert "curl/8.6.1 (retry)" in text
    assert "curl 8 " not in text
    words = " ".join(line[:32].strip() for line in text.splitlines())
    assert f"{FIREFOX} {'x' * 20} {'y' * 20} {FIREFOX}" in words
    assert "active" in text.splitlines()[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_days_without_sessions_are_shown(width: int, snapshot: SnapshotAssertion) -> None:
    """Also those since the newest session; many of them in one line."""
    days = list(with_empty_periods(DAYS, GroupBy.DAY, NOW))
    assert drawn(group_chart(days, GroupBy.DAY, canvas(width)), width) == snapshot


def keys(groups: Iterator[SessionGroup]) -> list[Optional[str]]:
    """Return the keys of groups."""
    return [group.key for group in groups]


def group(key: str) -> SessionGroup:
    """Return a group with one session."""
    return SessionGroup(key, 1, 1, 0, 0, 0, 1)


def test_hours_without_sessions_are_shown_across_midnight() -> None:
    """Hours are in UTC and end with the present one."""
    hours = [group("2026-11-22T01:00Z"), group("2026-11-21T22:00Z")]
    now = datetime(2026, 11, 22, 2, 59, tzinfo=UTC)
    assert keys(with_empty_periods(hours, GroupBy.HOUR, now)) == [
        "2026-11-22T02:00Z",
        "2026-11-22T01:00Z",
        "2026-11-22T00:00Z",
        "2026-11-21T23:00Z",
        "2026-11-21T22:00Z",
    ]


def test_a_session_of_the_future_is_no_gap() -> None:
    """A row that another clock wrote is shown before the present day."""
    found = keys(with_empty_periods([group("2026-11-24"), group("2026-11-22")], GroupBy.DAY, NOW))
    assert found == ["2026-11-24", "2026-11-23", "2026-11-22"]


@pytest.mark.parametrize("key", ["0001-01-01", "9999-12-31", "10000-01-01", "", "garbage"])
def test_any_key_can_be_drawn(key: str) -> None:
    """The first and the last possible day, and keys that are not days."""
    found = keys(with_empty_periods([group(key)], GroupBy.DAY, NOW))
    assert key in found
    assert len(found) <= 2


def test_as_many_empty_days_as_fit_have_a_line_each() -> None:
    """One more, and they share a line."""
    start = NOW.date() - timedelta(days=MAX_EMPTY_PERIODS)
    found = keys(with_empty_periods([group(start.isoformat())], GroupBy.DAY, NOW))
    assert len(found) == MAX_EMPTY_PERIODS + 1
    earlier = (start - timedelta(days=1)).isoformat()
    found = keys(with_empty_periods([group(earlier)], GroupBy.DAY, NOW))
    assert found == [f"({MAX_EMPTY_PERIODS + 1} empty days)", earlier]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bars_are_proportional_and_never_vanish(encoding: str) -> None:
    """A number above 0 has a bar, 0 has none, and the whole has all of the length."""
    screen = canvas(80, encoding)
    lengths = [len(screen.bar(part, 1000, 20)) for part in range(1001)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[1], lengths[500], lengths[1000]) == (0, 1, 10, 20)


@on_sqlite
@pytest.mark.parametrize("words", ["", "--by user", "--by day", "--by hour", "--by role --top 1"])
def test_a_terminal_gets_the_chart_and_a_pipe_the_table(project: Project, words: str) -> None:
    """Bars only on a terminal; the table in a pipe has the same counts."""
    populate(project)
    with terminal(project, "session", "stats", *words.split()) as shown:
        assert shown.end() == 0
    assert "█" in shown.text
    assert max(map(len, shown.lines)) <= 80
    piped = project.run("session", "stats", *words.split())
    assert (piped.code, piped.stderr) == (0, "")
    assert "█" not in piped.stdout
    if words:
        assert piped.stdout.split()[0] == words.split()[1]


@on_sqlite
@pytest.mark.parametrize(
    ("env", "options", "styled"),
    [
        ({}, (), True),
        ({"NO_COLOR": "1"}, (), False),
        ({"TERM": "dumb"}, (), False),
        ({}, ("--color", "never"), False),
    ],
    ids=str,
)
def test_colours_can_be_refused(
    project: Project, env: dict[str, str], options: tuple[str, ...], styled: bool
) -> None:
    """The chart itself stays."""
    populate(project)
    with terminal(project, *options, "session", "stats", env=env) as shown:
        assert shown.end() == 0
    assert "█" in shown.text
    assert ("\x1b[3" in shown.screen) == styled


@on_sqlite
def test_a_terminal_without_block_characters_gets_ascii(project: Project) -> None:
    """A locale without them has bars nonetheless."""
    populate(project)
    with terminal(project, "session", "stats", env={"PYTHONIOENCODING": "iso-8859-1"}) as shown:
        assert shown.end() == 0
    assert "###" in shown.text
    assert "\\u" not in shown.text


@on_sqlite
def test_no_groups_is_a_note(project: Project) -> None:
    """Without sessions there is no table; the statistics are zeros."""
    with terminal(project, "session", "stats", "--by", "day") as shown:
        assert shown.end() == 0
    assert shown.text == "no sessions\n"
    with terminal(project, "session", "stats") as shown:
        assert shown.end() == 0
    assert shown.text.startswith("no sessions\n")


def test_hours_and_the_largest_groups(project: Project) -> None:
    """--top takes those with the most sessions, in data formats too; periods keep their order."""
    user = project.add_user("ada@example.org")
    for hours, number in ((1, 1), (30, 3), (50, 2)):
        for _ in range(number):
            project.add_session(user, now=NOW, created=timedelta(hours=hours))
    hours_of = {
        row["key"]: row["total"] for row in project.json("session", "stats", "--by", "hour")
    }
    assert hours_of == {"2026-11-22T17:00Z": 1, "2026-11-21T12:00Z": 3, "2026-11-20T16:00Z": 2}
    assert list(hours_of) == sorted(hours_of, reverse=True)
    days = project.json("session", "stats", "--by", "day", "--top", "2")
    assert [row["key"] for row in days] == ["2026-11-21", "2026-11-20"]
    for _ in range(2):
        project.add_session(user, now=NOW)
    (day,) = project.json("session", "stats", "--by", "day", "--top", "1")  # of two with three
    assert (day["key"], day["total"]) == ("2026-11-22", 3)
    project.add_session(project.add_user("bob@example.org"), ip_address="10.9.8.7")
    (first,) = project.json("session", "stats", "--by", "ip", "--top", "1")
    assert (first["key"], first["total"]) == ("127.0.0.1", 8)


@on_sqlite
def test_the_largest_of_what(project: Project) -> None:
    """--top without --by is a usage error."""
    result = project.run("session", "stats", "--top", "3")
    assert (result.code, result.stdout) == (2, "")
    assert "--by" in result.stderr
