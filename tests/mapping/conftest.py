"""An application's database for each schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mapping.applications import NAMES, SESSION_NAMES, Application, application, populated
from tests.postgres import PostgresServer
from tests.support import Project


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each schema in turn."""
    return str(request.param)


@pytest.fixture
def app(name: str, tmp_path: Path, postgres: PostgresServer) -> Iterator[Project]:
    """A project with the empty tables of an application."""
    with application(name, tmp_path / "app", postgres) as project:
        yield project


@pytest.fixture(params=SESSION_NAMES)
def session_name(request: pytest.FixtureRequest) -> str:
    """Each schema whose sessions are rows in turn."""
    return str(request.param)


@pytest.fixture
def shop(session_name: str, tmp_path: Path, postgres: PostgresServer) -> Iterator[Application]:
    """An application with accounts and sessions, and its mapping."""
    with application(session_name, tmp_path / "shop", postgres) as project:
        yield populated(project, session_name)
