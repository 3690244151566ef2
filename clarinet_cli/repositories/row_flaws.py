"""Invalid rows: values in a wrong form, and references to missing rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Optional

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    String,
    Table,
    and_,
    case,
    cast,
    exists,
    func,
    inspect,
    literal,
    literal_column,
    not_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.models import TABLE_NAMES, metadata
from clarinet_cli.models.functions import is_canonical_id, is_readable_timestamp
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.models.types import StoredId, StoredText, UTCDateTime, as_text
from clarinet_cli.repositories.base import tables_of

FlawKind = Literal["nulls", "values", "ids", "timestamps", "tokens", "orphans"]

IDS_SHOWN: Final = 5
ROWS_AT_ONCE: Final = 50_000  # in rollback-journal mode a commit waits for as many
MIN_TOKEN_LENGTH: Final = 32  # characters: those of a UUID; eight of them are shown
ID_LENGTH: Final = 8
ROWID: Final[ColumnElement[int]] = literal_column("rowid", Integer)
USERS, ROLES, LINKS, SESSIONS = (
    metadata.tables[name] for name in ("user", "userrole", "userroleslink", "access_token")
)
NULLABLE: Final = ("email", "hashed_password")  # in the tables of applications
ID_FORMS: Final = {
    "uuid": "a UUID",
    "uuid-dashed": "a UUID with dashes",
    "uuid-hex": "32 hexadecimal digits",
    "integer": "a number",
    "text": "a text",
}
REFERENCES: Final = (
    (LINKS.c.user_id, USERS.c.id),
    (LINKS.c.role_name, ROLES.c.name),
    (SESSIONS.c.user_id, USERS.c.id),
)


class RowFlaw(NamedTuple):
    """A condition that no row may meet.

    Attributes:
        kind: The kind of flaw.
        column: The column with the flaw.
        condition: The condition for rows with the flaw.
    """

    kind: FlawKind
    column: Column[Any]
    condition: ColumnElement[bool]


@dataclass(slots=True)
class FlawedRows:
    """The rows with one flaw.

    Attributes:
        kind: The kind of flaw.
        column: The column, as ``table.column``.
        count: The number of rows.
        ids: Up to five of them: the id of the account or session, or the position of a row without
            an id that may be shown.
        of_sessions: Whether they are sessions.
    """

    kind: FlawKind
    column: str
    count: int = 0
    ids: tuple[str, ...] = ()
    of_sessions: bool = False


class RowFlawRepository:
    """Queries for flawed rows of the Clarinet tables.

    Args:
        session: The session for all queries; each method has its own transaction.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._on_sqlite = session.get_bind().dialect.name == "sqlite"
        self._mapped = mapped_tables(session.get_bind().dialect)

    @property
    def id_form(self) -> str:
        """The form of an id, in words."""
        return ID_FORMS[self._mapped.id_form if self._mapped else "uuid-hex"]

    async def flaws(self) -> dict[str, list[RowFlaw]]:
        """Return the flaws to search for, by table, for the columns that exist."""
        if self._mapped is None:
            connection = await self.session.connection()
            present = await connection.run_sync(_columns)
        else:
            names = self._mapped.names
            present = {
                (table, key) for table in (USERS.name, SESSIONS.name) for key in names[table]
            }
        found: dict[str, list[RowFlaw]] = {}
        for flaw in self._all_flaws():
            table = flaw.column.table.name
            refers_to = [other for column, other in REFERENCES if column is flaw.column]
            needed = [flaw.column, *(refers_to if flaw.kind == "orphans" else ())]
            if all((column.table.name, column.name) in present for column in needed):
                found.setdefault(table, []).append(flaw)
        return found

    async def required_additions(self) -> list[str]:
        """Return the additional columns that need a value in each new row."""
        connection = await self.session.connection()
        return await connection.run_sync(_required_additions)

    async def has_rowids(self, table: str) -> bool:
        """Return whether a table is a SQLite table with rowids.

        Args:
            table: A Clarinet table.
        """
        if not self._on_sqlite or self._is_query(table):
            return False
        name = tables_of(self.session.get_bind().dialect).names[table]
        query = text("SELECT count(*) FROM pragma_table_list WHERE name = :name AND NOT wr")
        return bool(await self.session.scalar(query, {"name": name}))

    async def end_of_part(self, table: str, after: int) -> Optional[int]:
        """Return the last rowid of the next part of a SQLite table, or None at its end.

        Args:
            table: A Clarinet table.
            after: The last rowid of the part before.
        """
        query = (
            select(ROWID)
            .select_from(metadata.tables[table])
            .where(after < ROWID)
            .order_by(ROWID)
            .limit(ROWS_AT_ONCE)
            .subquery()
        )
        found = await self.session.scalar(select(func.max(query.c.rowid)))
        return None if found is None else int(found)

    async def count(
        self, table: str, flaws: Sequence[RowFlaw], part: Optional[tuple[int, int]] = None
    ) -> list[FlawedRows]:
        """Count the rows with each flaw in one pass, and find the ids of up to five of them.

        Args:
            table: A Clarinet table.
            flaws: The flaws of this table to count.
            part: Only rows with a rowid above the first and up to the second.
        """
        here = metadata.tables[table]
        within = literal(1) == 1 if part is None else and_(part[0] < ROWID, part[1] >= ROWID)
        counted = select(*(func.count().filter(flaw.condition) for flaw in flaws))
        counts = (await self.session.execute(counted.select_from(here).where(within))).one()
        found = []
        for flaw, count in zip(flaws, counts, strict=True):
            if count:
                named = select(self._name_of_row(here)).where(within, flaw.condition)
                names = await self.session.scalars(named.limit(IDS_SHOWN))
                ids = tuple(map(as_text, names))
                name = f"{table}.{flaw.column.name}"
                if self._mapped is not None:
                    stored = self._mapped.names[table][flaw.column.name]
                    name = f"{self._mapped.stored.fullname(table)}.{stored}"
                found.append(FlawedRows(flaw.kind, name, count, ids, table == SESSIONS.name))
        return found

    async def same_addresses(self) -> list[tuple[str, ...]]:
        """Return the ids of accounts whose addresses the server treats as equal, by address."""
        folded = func.lower(USERS.c.email)
        several = select(folded).group_by(folded).having(func.count() > 1)
        query = select(folded, cast(USERS.c.id, String)).where(folded.in_(several)).order_by(folded)
        groups: dict[str, list[str]] = {}
        for address, user_id in await self.session.execute(query):
            groups.setdefault(as_text(address), []).append(as_text(user_id))
        return [tuple(ids) for ids in groups.values()]

    def _all_flaws(self) -> Iterator[RowFlaw]:
        for column in (item for name in TABLE_NAMES for item in metadata.tables[name].columns):
            if not (column.nullable or (self._mapped and column.name in NULLABLE)):
                yield RowFlaw("nulls", column, column.is_(None))
            if isinstance(column.type, UTCDateTime):
                yield RowFlaw(
                    "timestamps", column, _if_not_null(column, not_(is_readable_timestamp(column)))
                )
            if isinstance(column.type, StoredId) and self._on_sqlite:
                # The lookup is quicker, and the account's own id is judged for all its rows.
                known = [_row_exists(column, other) for key, other in REFERENCES if key is column]
                non_canonical = and_(*map(not_, known), not_(is_canonical_id(column)))
                yield RowFlaw("ids", column, _if_not_null(column, non_canonical))
            if isinstance(column.type, StoredText) and self._on_sqlite:
                yield RowFlaw("values", column, _if_not_null(column, func.typeof(column) != "text"))
            if isinstance(column.type, Boolean) and self._on_sqlite:
                stored: ColumnElement[Any] = cast(column, String)
                yield RowFlaw("values", column, _if_not_null(column, stored.not_in(("0", "1"))))
        token = SESSIONS.c.token
        yield RowFlaw("tokens", token, _if_not_null(token, func.length(token) < MIN_TOKEN_LENGTH))
        for column, other in REFERENCES:
            yield RowFlaw(
                "orphans",
                column,
                _if_not_null(column, not_(self._referred_row_exists(column, other))),
            )

    def _referred_row_exists(self, column: Column[Any], other: Column[Any]) -> ColumnElement[bool]:
        """Return whether the row exists that a column refers to, deleted accounts included."""
        if self._mapped is None or column.table is not SESSIONS:
            return _row_exists(column, other)
        owner = self._mapped.column(SESSIONS.name, "user_id")
        users = self._mapped.qualified_name(self._mapped.stored_name(USERS.name)[1])
        key = self._mapped.quote(self._mapped.mapping.user_columns.id)
        subquery = f"EXISTS (SELECT 1 FROM {users} AS o WHERE o.{key} = {owner})"  # noqa: S608 - the names are quoted
        return literal_column(subquery, Boolean)

    def _is_query(self, table: str) -> bool:
        """Return whether an application's table is read by a query, whose rows have no number."""
        return self._mapped is not None and self._mapped.is_query(table)

    def _name_of_row(self, table: Table) -> ColumnElement[str]:
        """Return the expression that identifies a row; of a token only the public part."""
        number = "'row ' || rowid" if self._on_sqlite else "'row ' || ctid::text"
        unnamed = "'a row without an id'" if self._is_query(table.name) else number
        address: ColumnElement[str] = literal_column(unnamed, String)
        if table is SESSIONS:
            token = table.c.token
            whole = func.length(token) >= MIN_TOKEN_LENGTH
            if self._on_sqlite:
                whole = and_(whole, func.typeof(token) == "text")
            return case((whole, func.substr(token, 1, ID_LENGTH)), else_=address)
        names = [cast(column, String) for column in table.primary_key.columns]
        return func.coalesce(names[0] if len(names) == 1 else names[0] + " " + names[1], address)


def _columns(connection: Connection) -> set[tuple[str, str]]:
    inspector = inspect(connection)
    tables = set(inspector.get_table_names()) & set(TABLE_NAMES)
    return {(table, item["name"]) for table in tables for item in inspector.get_columns(table)}


def _required_additions(connection: Connection) -> list[str]:
    inspector = inspect(connection)
    return [
        f"{table}.{item['name']}"
        for table in sorted(set(inspector.get_table_names()) & set(TABLE_NAMES))
        for item in inspector.get_columns(table)
        if item["name"] not in metadata.tables[table].columns
        and not item["nullable"]
        and item.get("default") is None
        and not (item.get("computed") or item.get("identity") or item.get("autoincrement") is True)
    ]


def _if_not_null(column: Column[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(column.is_not(None), condition)


def _row_exists(column: Column[Any], other: Column[Any]) -> ColumnElement[bool]:
    """Return whether the row exists that a column refers to."""
    return exists(select(literal(1)).where(other == column).correlate(column.table))
