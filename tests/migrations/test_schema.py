"""The schema that the revisions make, against the one that a real server made."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from clarinet_cli.database.session import get_connection
from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.services.schema import downgrade, upgrade
from clarinet_cli.services.schema.comparison import COMPARISON
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests.conftest import SQLITE_FIXTURE
from tests.migrations.helpers import (
    create_empty_database,
    schema,
    snapshot,
    table_names,
    versions,
)
from tests.postgres import FIXTURE_TEMPLATE
from tests.support import Project

CHANGES = {
    "index missing": "DROP INDEX ix_access_token_expires_at",
    "index not unique": 'DROP INDEX ix_user_email; CREATE INDEX ix_user_email ON "user" (email)',
    "column missing": "ALTER TABLE access_token DROP COLUMN user_agent",
    "column too many": 'ALTER TABLE "user" ADD COLUMN nickname varchar',
    "table missing": "DROP TABLE userroleslink",
}


@pytest.fixture
def migrated(empty_project: Project) -> Project:
    """A database to which the revisions were applied, and nothing else."""
    create_empty_database(empty_project)
    asyncio.run(upgrade(empty_project.settings))
    return empty_project


@pytest.fixture
def served(migrated: Project, tmp_path: Path) -> Iterator[Project]:
    """Beside it, the database of a real server on the same backend."""
    directory = tmp_path / "served"
    directory.mkdir()
    other = Project(directory, migrated.backend, f"served_{uuid4().hex}", migrated.server)
    if other.server is None:
        shutil.copyfile(SQLITE_FIXTURE, other.file)
        yield other
        return
    other.server.create(other.database, FIXTURE_TEMPLATE)
    yield other
    other.server.drop(other.database)


def differences(project: Project) -> list[Any]:
    """Compare the models with the database as a revision's autogenerate does."""

    def compare(connection: Connection) -> list[Any]:
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=COMPARISON), metadata)
        )

    async def ask() -> list[Any]:
        async with get_connection(project.settings) as connection:
            return await connection.run_sync(compare)

    return asyncio.run(ask())


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_table_is_the_servers_own(migrated: Project, served: Project, table: str) -> None:
    """Columns in order, declared types, nullability, keys and indexes: all as the server's."""
    ours, theirs = schema(migrated)[table], schema(served)[table]
    assert ours["columns"]
    assert ours["indexes"]
    assert ours == theirs


def test_revisions_make_four_tables_and_no_more(migrated: Project) -> None:
    """The four Clarinet tables and Alembic's own, at the first revision."""
    assert table_names(migrated) == {*TABLE_NAMES, "alembic_version"}
    assert versions(migrated) == [BASE_REVISION]


def test_sessions_end_with_their_user_but_role_links_do_not(migrated: Project) -> None:
    """Only the foreign key of a session has ON DELETE CASCADE."""
    tables = schema(migrated)
    sessions, links = (
        [repr(row) for row in tables[name]["constraints"]]
        for name in ("access_token", "userroleslink")
    )
    assert len([row for row in sessions if "CASCADE" in row]) == 1
    assert not [row for row in links if "CASCADE" in row]


def test_models_are_what_the_revisions_make(migrated: Project) -> None:
    """Autogenerate finds nothing to do right after an upgrade."""
    assert differences(migrated) == []


def test_models_are_what_the_server_has(server_project: Project) -> None:
    """Autogenerate finds no difference in a server's tables, and ignores other ones."""
    assert differences(server_project) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_comparison_sees_a_change(project: Project, change: str) -> None:
    """A table that was changed by hand is a difference."""
    for statement in change.split("; "):
        project.rows(statement)
    assert differences(project)


def test_downgrade_drops_only_the_clarinet_tables(project: Project) -> None:
    """After a downgrade to base the Clarinet tables are dropped; others keep all rows."""
    project.rows("CREATE TABLE neighbour (id integer PRIMARY KEY, note varchar)")
    project.rows("INSERT INTO neighbour VALUES (1, 'stays')")
    before = schema(project)["neighbour"]

    asyncio.run(downgrade(project.settings, "base"))

    assert table_names(project) == {"neighbour", "alembic_version"}
    assert schema(project)["neighbour"] == before
    assert project.rows("SELECT * FROM neighbour") == [(1, "stays")]
    assert versions(project) == []


def test_round_trip_ends_where_it_began(migrated: Project) -> None:
    """Upgrade, downgrade and upgrade leave the schema of the first upgrade."""
    before = snapshot(migrated)
    asyncio.run(downgrade(migrated.settings, "base"))
    assert not table_names(migrated) & set(TABLE_NAMES)
    asyncio.run(upgrade(migrated.settings))
    assert snapshot(migrated) == before
