"""The row about applying many accounts."""

import json
from pathlib import Path

from tests.benchmarks.data import Layout
from tests.benchmarks.figures import Figure, compare, missing
from tests.benchmarks.places import Bench
from tests.benchmarks.processes import Run, UnknownCommandError, in_turn, seconds
from tests.benchmarks.rows.common import command, reference

TARGET = 1.15
HEAVIEST_PAIRS = 3


def apply(bench: Bench) -> list[Figure]:
    """New accounts with generated passwords against only their hashes."""
    users = bench.sizes.users
    wanted = _declared(bench.directory / "users.json", users)
    nobody = _declared(bench.directory / "nobody.json", 1)

    def ours(file: Path) -> Run:
        with bench.copy("sqlite", 0, Layout.INTERLEAVED) as project:
            return command(project, "admin", "apply", str(file))

    try:
        runs, hashes = in_turn(
            min(bench.sizes.pairs, HEAVIEST_PAIRS),
            lambda: ours(wanted),
            lambda: reference("hashes", str(users)),
        )
    except UnknownCommandError as error:
        return [missing("apply", str(error))]
    starts = bench.starts("apply", lambda: ours(nobody), lambda: reference("hashes", "1"))
    peak = max(run.memory for run in runs)
    note = f"{users} users; peak memory {peak:.0f} MiB"
    return [
        compare("apply", seconds(runs), seconds(hashes), target=TARGET, starts=starts, note=note)
    ]


def _declared(file: Path, users: int) -> Path:
    """Write a file that declares new accounts."""
    accounts = [
        {"email": f"new{number}@example.org", "password": "generate"} for number in range(users)
    ]
    file.write_text(json.dumps(accounts), "utf-8")
    return file
