"""Query a schema without the tool; environments with revisions of the tests."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Optional

from clarinet_cli.services.schema import init_environment
from clarinet_cli.services.schema.scripts import BASE_REVISION
from tests.support import Project

Table = dict[str, list[tuple[Any, ...]]]
Snapshot = tuple[dict[str, Any], dict[str, list[str]]]

SECOND = "b20000000002"
THIRD = "c30000000003"

# What information_schema.columns shows, read from where it reads, which is much faster.
COLUMNS = """
SELECT relname, 'columns', attname, format_type(atttypid, atttypmod), attnotnull::text,
  coalesce(pg_get_expr(adbin, adrelid), '')
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
ORDER BY relname, attnum
"""
INDEXES = """
SELECT tablename, 'indexes', indexname, indexdef, '', '' FROM pg_indexes
WHERE schemaname = 'public' ORDER BY indexname
"""
CONSTRAINTS = """
SELECT relname, 'constraints', conname, contype::text, pg_get_constraintdef(pg_constraint.oid), ''
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE connamespace = 'public'::regnamespace ORDER BY relname, conname
"""
SCHEMA = f"({COLUMNS}) UNION ALL ({INDEXES}) UNION ALL ({CONSTRAINTS})"

REVISION = '''"""{revision}: a revision of the tests."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


def table_names(project: Project) -> set[str]:
    """Return the names of all tables of the database."""
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    if project.server is None:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {row[0] for row in project.rows(query)}


def schema(project: Project) -> dict[str, Table]:
    """Return columns, indexes and constraints of every table."""
    return _sqlite_schema(project) if project.server is None else _postgresql_schema(project)


def contents(project: Project) -> dict[str, list[str]]:
    """Return all rows of every table, in a fixed order."""
    found: dict[str, list[str]] = {name: [] for name in table_names(project)}
    if project.server is None:
        for name in found:
            found[name] = sorted(map(repr, project.rows(f'SELECT * FROM "{name}"')))
    elif found:
        parts = [f"SELECT '{name}', t::text FROM \"{name}\" AS t" for name in found]
        for name, row in project.rows(" UNION ALL ".join(parts)):
            found[name].append(row)
    return {name: sorted(rows) for name, rows in found.items()}


def snapshot(project: Project) -> Snapshot:
    """Return everything: the schema of all tables and all rows."""
    return schema(project), contents(project)


def files(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory with its content, byte code left out."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def versions(project: Project) -> list[str]:
    """Return the revisions recorded in the database."""
    return [row[0] for row in project.rows("SELECT version_num FROM alembic_version")]


def create_empty_database(project: Project) -> None:
    """Create the database, without tables, without the tool."""
    if project.server is None:
        project.file.touch()
    else:
        project.server.create(project.database)


def drop_database(project: Project) -> None:
    """Remove the database without the tool."""
    if project.server is None:
        project.file.unlink(missing_ok=True)
    else:
        project.server.drop(project.database)


def write_revision(
    directory: Path,
    revision: str,
    *,
    down_revision: str = BASE_REVISION,
    upgrade: str = "pass",
    downgrade: str = "pass",
) -> Path:
    """Write a revision into the environment of a project directory."""
    file = directory / "alembic" / "versions" / f"{revision}_test.py"
    text = REVISION.format(
        revision=revision,
        down_revision=down_revision,
        upgrade=upgrade.replace("\n", "\n    "),
        downgrade=downgrade.replace("\n", "\n    "),
    )
    file.write_text(text, encoding="utf-8")
    return file


def add_table_revision(
    project: Project, revision: str, table: str, *, down_revision: Optional[str] = None
) -> None:
    """Give the project an environment of its own with a revision that makes a table."""
    init_environment(project.directory, force=False)
    write_revision(
        project.directory,
        revision,
        down_revision=down_revision or BASE_REVISION,
        upgrade=f'op.create_table("{table}", sa.Column("id", sa.Integer(), primary_key=True))',
        downgrade=f'op.drop_table("{table}")',
    )


def add_two_revisions(project: Project) -> None:
    """Give the project an environment with two more revisions: tables ``second``, ``third``."""
    add_table_revision(project, SECOND, "second")
    add_table_revision(project, THIRD, "third", down_revision=SECOND)


def _sqlite_schema(project: Project) -> dict[str, Table]:
    with closing(sqlite3.connect(project.file)) as connection:

        def ask(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        names = [row[0] for row in ask("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: {
                "columns": ask(
                    'SELECT name, type, "notnull", dflt_value, pk'
                    f" FROM pragma_table_info('{name}')"
                ),
                "indexes": ask(
                    'SELECT list.name, list."unique", origin, partial, seqno, info.name'
                    f" FROM pragma_index_list('{name}') AS list, pragma_index_info(list.name)"
                    " AS info ORDER BY 1, 5"
                ),
                "constraints": ask(
                    'SELECT "from", "table", "to", on_update, on_delete'
                    f" FROM pragma_foreign_key_list('{name}') ORDER BY 1"
                ),
            }
            for name in names
        }


def _postgresql_schema(project: Project) -> dict[str, Table]:
    found: dict[str, Table] = {
        name: {"columns": [], "indexes": [], "constraints": []} for name in table_names(project)
    }
    for name, kind, *rest in project.rows(SCHEMA):
        found[name][kind].append(tuple(rest))
    return found
