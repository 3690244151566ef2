"""The databases of other applications: their schemas, and rows in them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.postgres import PostgresServer
from tests.support import Project

SCHEMAS = Path(__file__).parents[1] / "fixtures" / "applications"
NAMES = tuple(sorted(path.stem for path in SCHEMAS.glob("*.sql")))
ANSWERS = {
    "CLARINET_SESSION_STRATEGY": "database",
    "CLARINET_SESSION_LIFETIME_SECONDS": "3600",
}


@contextmanager
def application(name: str, directory: Path, postgres: PostgresServer) -> Iterator[Project]:
    """Yield a project whose database has the schema of an application."""
    on_sqlite = name.endswith("sqlite")
    database = "app" if on_sqlite else f"app_{uuid4().hex}"
    directory.mkdir()
    project = Project(
        directory,
        "sqlite" if on_sqlite else "postgresql",
        database,
        None if on_sqlite else postgres,
    )
    project.write_settings()
    schema = (SCHEMAS / f"{name}.sql").read_text("utf-8")
    if on_sqlite:
        with contextlib.closing(sqlite3.connect(project.file)) as connection:
            connection.executescript(schema)
    else:
        postgres.create(database)
        asyncio.run(_execute(postgres, database, schema))
    try:
        yield project
    finally:
        if not on_sqlite:
            postgres.drop(database)


def mapped(project: Project, **answers: str) -> None:
    """Have ``db inspect`` write the mapping."""
    result = project.run("--no-input", "db", "inspect", "--write", env=ANSWERS | answers)
    assert result.code == 0, result


async def _execute(postgres: PostgresServer, database: str, script: str) -> Any:
    connection = await postgres.connect(database)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
