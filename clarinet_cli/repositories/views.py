"""The views of a database and the tables that they read."""

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DatabaseError

VIEWS = text(
    "SELECT DISTINCT viewed.oid::regclass::text, used.relname FROM pg_depend "
    "JOIN pg_rewrite ON pg_rewrite.oid = objid JOIN pg_class viewed ON viewed.oid = ev_class "
    "JOIN pg_class used ON used.oid = refobjid AND used.oid <> viewed.oid "
    "WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass "
    "AND used.relnamespace = current_schema()::regnamespace ORDER BY 1, 2"
)


def views_of(connection: Connection) -> list[tuple[str, str]]:
    """Return the views and the tables of the default schema that they read."""
    if connection.dialect.name != "sqlite":
        return [(view, used) for view, used in connection.execute(VIEWS)]
    master = connection.execute(text("SELECT rootpage, tbl_name FROM sqlite_master"))
    tables = {page: table for page, table in master if page}
    return [
        (view, table)
        for view in sorted(inspect(connection).get_view_names())
        for table in sorted({tables[page] for page in _pages(connection, view) if page in tables})
    ]


def _pages(connection: Connection, view: str) -> set[int]:
    """Return the first pages of the tables and indexes that SQLite reads for a view."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(view)
    query = f"EXPLAIN SELECT * FROM {quoted}"  # noqa: S608 - a name, quoted
    try:
        program = connection.exec_driver_sql(query).all()
    except DatabaseError:  # a view of what is not there is broken already
        return set()
    return {step[3] for step in program if step[1] == "OpenRead"}
