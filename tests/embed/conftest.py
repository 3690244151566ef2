"""The documented application on each backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mapping.applications import LAYOUTS, Application, application, fill
from tests.postgres import PostgresServer


@pytest.fixture(params=["official-sqlite", "official-pg"])
def app(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[Application]:
    """The documented application without accounts; its project has no mapping."""
    name = str(request.param)
    with application(name, tmp_path / "app", postgres) as project:
        yield Application(project, LAYOUTS[name], {})


@pytest.fixture
def shop(app: Application) -> Application:
    """The same with accounts and sessions."""
    return fill(app)
