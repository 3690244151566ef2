"""The writer that runs during a clean-up, and the waits that it measured."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.benchmarks.places import where
from tests.benchmarks.processes import ROOT, Run, python
from tests.support import Project, process_environment

# How long it writes alone before the clean-up starts.
ALONE_SECONDS = 0.5


@dataclass
class Waits:
    """The waits of the writer.

    Attributes:
        samples: When each of its transactions began, by the monotonic clock, and how many
            seconds it took.
        errors: What its driver raised.
    """

    samples: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def during(self, run: Run) -> list[float]:
        """Return the milliseconds of the transactions that overlap with a run."""
        return [
            seconds * 1000
            for began, seconds in self.samples
            if began + seconds >= run.started and began <= run.ended
        ]


@contextlib.contextmanager
def writing(project: Project) -> Iterator[Waits]:
    """Run a writer during the block; its waits are available at the end."""
    process = subprocess.Popen(
        python("-m", "tests.benchmarks.writer", *where(project)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=process_environment({}),
    )
    waits = Waits()
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(ALONE_SECONDS)
        yield waits
        output, _ = process.communicate("", timeout=60)
        seen = json.loads(output)
        waits.samples = [(began, seconds) for began, seconds in seen["samples"]]
        waits.errors = seen["errors"]
    finally:
        process.kill()
        process.communicate()
