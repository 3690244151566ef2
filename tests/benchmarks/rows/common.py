"""Helpers of several rows: run a command of the tool, run a reference."""

from pathlib import Path

from tests.benchmarks.places import where
from tests.benchmarks.processes import Run, measure, python
from tests.support import Project

REFERENCES = Path(__file__).parent.parent / "references.py"


def command(project: Project, *words: str) -> Run:
    """Run a command of the tool in a project."""
    return measure(project.process(*words), env=project.environment)


def reference(name: str, *words: str) -> Run:
    """Run a reference."""
    return measure(python(str(REFERENCES), name, *words))


def reference_on(project: Project, name: str) -> Run:
    """Run a reference on a project's database."""
    return reference(name, *where(project))
