"""A wrong clock of the database's host, or of this machine, removes no live session."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from clarinet_cli import timefmt
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.session_cleanup import CleanupPlan, StopRequest, serve
from tests import oracle
from tests.support import Project

ADMIN = "admin@clarinet.ru"
MINUTE = timedelta(minutes=1)
DEAD = "dead-" + "d" * 30
ENDING = "ends-" + "e" * 30
IDLING = "idle-" + "i" * 30
FRESH = "live-" + "l" * 30
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def shift_database(project: Project, seconds: float) -> None:
    """Make the database's clock wrong: its function is found after another of the name."""
    project.rows(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => {seconds})'"
    )
    project.rows(f'ALTER DATABASE "{project.database}" SET search_path = public, pg_catalog')


@pytest.fixture
def shift_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that makes this machine's clock wrong for the tool."""

    def shift(seconds: float) -> None:
        monkeypatch.setattr(
            timefmt, "machine_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds)
        )

    return shift


@pytest.fixture
def four(project: Project) -> Project:
    """A project with a stale session, one that ends soon, one that idles soon, and a fresh one."""
    user = oracle.user_id_of(project, ADMIN)
    project.add_session(user, token=DEAD, expires=-120 * MINUTE, used=180 * MINUTE)
    project.add_session(user, token=ENDING, expires=5 * MINUTE)
    project.add_session(user, token=IDLING, created=80 * MINUTE, used=55 * MINUTE)
    project.add_session(user, token=FRESH)
    return project


@on_postgresql
@pytest.mark.parametrize("seconds", [600, -600, 301])
@pytest.mark.parametrize("whose", ["database", "machine"])
def test_nothing_is_deleted_by_clocks_that_differ_much(
    four: Project, shift_machine: Callable[[float], None], whose: str, seconds: float
) -> None:
    """Above five minutes a clean-up refuses: both times, and the option that trusts one."""
    if whose == "database":
        shift_database(four, seconds)
    else:
        shift_machine(seconds)
    ahead = (seconds > 0) == (whose == "database")
    result = four.run("session", "cleanup")
    assert (result.code, result.stdout) == (1, ""), result
    error, hint = result.stderr.splitlines()
    where = "ahead of" if ahead else "behind"
    assert error.startswith("error: the database's clock is ")
    assert f"s {where} this machine's (database 20" in error
    assert "Z, local 20" in error
    assert error.endswith("Z): no session was deleted")
    assert hint == "hint: fix the clock, or use --trust-clock to use the database's"
    assert four.count("access_token") == 4


@on_postgresql
@pytest.mark.parametrize("seconds", [250, -250])
@pytest.mark.parametrize("whose", ["database", "machine"])
def test_the_earlier_clock_counts(
    four: Project, shift_machine: Callable[[float], None], whose: str, seconds: float
) -> None:
    """Below that a clean-up warns, reports the difference, and spares what one takes for live."""
    user = oracle.user_id_of(four, ADMIN)
    between = "half-" + "h" * 30
    four.add_session(user, token=between, expires=timedelta(seconds=seconds / 2))
    if whose == "database":
        shift_database(four, seconds)
    else:
        shift_machine(seconds)
    result = four.run("session", "cleanup", "-o", "json")
    assert result.code == 0, result
    report = result.json
    ahead = seconds if whose == "database" else -seconds
    assert report["clock_difference_seconds"] == pytest.approx(ahead, abs=20)
    assert result.stderr.count("using the earlier clock") == 1
    assert (report["deleted"], report["remaining"], report["complete"]) == (1, 0, True)
    assert four.tokens() == {ENDING, IDLING, FRESH, between}


@on_postgresql
def test_a_dry_run_only_warns(four: Project) -> None:
    """It counts by the earlier clock, however much they differ."""
    shift_database(four, 600)
    result = four.run("session", "cleanup", "--dry-run", "-o", "json")
    assert result.code == 0, result
    assert result.json["matched"] == 1
    assert result.json["clock_difference_seconds"] == pytest.approx(600, abs=20)
    assert result.stderr.count("using the earlier clock") == 1


@on_postgresql
@pytest.mark.parametrize(("seconds", "shown"), [(600, "10 min"), (-600, "-10 min")])
def test_a_table_shows_how_far_clocks_differ_in_both_directions(
    four: Project, seconds: float, shown: str
) -> None:
    """With its unit, the one that is behind too."""
    shift_database(four, seconds)
    result = four.run("session", "cleanup", "--dry-run")
    assert re.search(f"^clock difference +{shown}$", result.stdout, re.MULTILINE)


@on_postgresql
@pytest.mark.parametrize(
    ("seconds", "left"), [(600, {FRESH}), (-600, {ENDING, IDLING, FRESH})], ids=["ahead", "behind"]
)
def test_a_clock_can_be_trusted(four: Project, seconds: float, left: set[str]) -> None:
    """The database's clock is then used, whether it is ahead or behind."""
    shift_database(four, seconds)
    result = four.run("session", "cleanup", "--trust-clock", "-o", "json")
    assert result.code == 0, result
    assert result.stderr.count("this machine's; using the database's clock") == 1
    assert result.json["clock_difference_seconds"] == pytest.approx(seconds, abs=20)
    assert four.tokens() == left


@on_postgresql
@pytest.mark.parametrize("seconds", [600, -600])
@pytest.mark.parametrize(
    "words",
    [
        ("session", "stats"),
        ("session", "stats", "--by", "user"),
        ("session", "list"),
        ("session", "list-user", ADMIN),
        ("session", "show", ENDING[:8]),
        ("admin", "list"),
        ("admin", "show", ADMIN),
    ],
    ids=" ".join,
)
def test_commands_that_only_read_warn(
    four: Project, words: tuple[str, ...], seconds: float
) -> None:
    """One line on standard error, and the states are those of the earlier clock."""
    shift_database(four, seconds)
    result = four.run(*words, "-o", "json")
    assert result.code == 0, result
    assert result.stderr.count("\n") == result.stderr.count("using the earlier clock") == 1
    by_state = {row["id"]: row["state"] for row in four.json("session", "list")}
    assert by_state[ENDING[:8]] == by_state[IDLING[:8]] == "active"


@on_postgresql
def test_a_small_difference_is_only_a_field(four: Project) -> None:
    """Half a minute gives no warning."""
    shift_database(four, 20)
    result = four.run("session", "cleanup", "-o", "json")
    assert (result.code, result.stderr) == (0, ""), result
    assert 0 < result.json["clock_difference_seconds"] <= 20


def test_clocks_that_agree(four: Project) -> None:
    """The duration of the query is not reported as a difference."""
    result = four.run("session", "cleanup", "-o", "json")
    assert (result.code, result.stderr) == (0, ""), result
    assert result.json["clock_difference_seconds"] == 0


@on_postgresql
async def test_the_service_outlives_a_wrong_clock(
    four: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run is refused until the clock is right again, and then deletes."""
    asked: list[datetime] = []
    reports: list[CleanupReport] = []
    stop = StopRequest()

    def machine_now() -> datetime:
        asked.append(datetime.now(UTC))
        return asked[-1] - (10 * MINUTE if len(asked) <= 4 else timedelta(0))

    def report(found: CleanupReport) -> None:
        reports.append(found)
        stop.request(15)

    monkeypatch.setattr(timefmt, "machine_now", machine_now)
    plan = CleanupPlan(batch_size=1000)
    await serve(four.settings, plan, interval=0.01, stop=stop, report=report)
    assert len(asked) == 6  # twice a run
    assert [found.deleted for found in reports] == [1]
    assert oracle.tokens(four) == {ENDING, IDLING, FRESH}
