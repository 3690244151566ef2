"""Foreign keys of tables that are not ours: what goes with an account or a session, or keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    MetaData,
    Table,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import TABLE_NAMES, AccessToken, User, metadata

USERS = metadata.tables[str(User.__tablename__)]
SESSIONS = metadata.tables[str(AccessToken.__tablename__)]
CASCADE, SET_NULL, SET_DEFAULT = "CASCADE", "SET NULL", "SET DEFAULT"
ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": CASCADE, "n": SET_NULL, "d": SET_DEFAULT}
DEEPEST = 5  # cascades of cascades
# Also those to the tables that inherit from one or are its partitions. A table that can't be
# read can't be looked at: the server alone knows what it does.
_POSTGRESQL = text(
    "SELECT c.oid::bigint AS key, c.relname::text AS name, con.confdeltype::text AS action,"
    " CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE n.nspname::text END AS schema,"
    " ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place)"
    " AS columns,"
    " ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place)"
    " AS referred"
    " FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class t ON t.oid = :target"
    " WHERE con.contype = 'f' AND con.conparentid = 0 AND c.oid <> t.oid"
    " AND (con.confrelid = t.oid OR con.confrelid IN"
    " (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = t.oid))"
    " AND has_table_privilege(c.oid, 'SELECT') ORDER BY n.nspname, c.relname, con.conname"
)
_OID = text("SELECT CAST(CAST(:name AS regclass) AS oid)::bigint")
_SQLITE = text(
    'SELECT m.name, k.id, k."from" AS source, k."to" AS target, k.on_delete AS action'
    " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k"
    " WHERE m.type = 'table' AND lower(k.\"table\") = lower(:target)"
    " AND lower(m.name) <> lower(:target) ORDER BY m.name, k.id, k.seq"
)
_SQLITE_KEY = text("SELECT name FROM pragma_table_info(:target) WHERE pk > 0 ORDER BY pk")


class _Found(NamedTuple):
    """A foreign key as a catalogue has it; ``key`` names its table there."""

    key: Any
    name: str
    schema: Optional[str]
    action: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of another table.

    Attributes:
        table: The table with its columns.
        pairs: Each column, and the one that it refers to.
        action: What happens when the other row is deleted.
        inner: Where rows go along: the foreign keys that lead to them in turn.
    """

    table: Table
    pairs: tuple[tuple[str, str], ...]
    action: str
    inner: tuple["Reference", ...]

    @property
    def name(self) -> str:
        """The table and column, as messages show it."""
        return f"{self.table.fullname}.{self.pairs[0][0]}"

    @property
    def cascades(self) -> bool:
        """Whether its rows go along."""
        return self.action == CASCADE

    @property
    def forbids(self) -> bool:
        """Whether a row that it refers to can't be deleted."""
        return self.action not in (CASCADE, SET_NULL, SET_DEFAULT)

    def joined(self, place: FromClause, outer: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of *place* refers to one of *outer*."""
        return and_(*(place.c[column] == outer.c[referred] for column, referred in self.pairs))


async def references_to(session: AsyncSession, table: Table) -> tuple[Reference, ...]:
    """Return the foreign keys that lead to one of our tables from others that are not ours.

    Args:
        session: For the queries: one, where there is no such key.
        table: The table.
    """
    if session.get_bind().dialect.name == "sqlite":
        return await _followed(session, table.name, 0)
    name = session.get_bind().dialect.identifier_preparer.quote(table.name)
    return await _followed(session, await session.scalar(_OID, {"name": name}), 0)


async def _followed(session: AsyncSession, target: Any, depth: int) -> tuple[Reference, ...]:
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    found = await (_in_sqlite(session, target) if on_sqlite else _on_server(session, target))
    references = []
    for key in found:
        if key.schema is None and key.name in TABLE_NAMES:
            continue
        deeper = key.action == CASCADE and depth < DEEPEST
        inner = await _followed(session, key.key, depth + 1) if deeper else ()
        columns = {name for name, _ in key.pairs} | {
            name for child in inner for _, name in child.pairs
        }
        table = Table(key.name, MetaData(), *map(_column, sorted(columns)), schema=key.schema)
        references.append(Reference(table, key.pairs, key.action, inner))
    return tuple(references)


def _column(name: str) -> Column[Any]:
    return Column(name)


async def _on_server(session: AsyncSession, target: int) -> list[_Found]:
    rows = await session.execute(_POSTGRESQL, {"target": target})
    return [
        _Found(
            row.key,
            row.name,
            row.schema,
            ACTIONS[row.action],
            tuple(zip(row.columns, row.referred, strict=True)),
        )
        for row in rows
    ]


async def _in_sqlite(session: AsyncSession, target: str) -> list[_Found]:
    rows = (await session.execute(_SQLITE, {"target": target})).all()
    if not rows:
        return []
    primary = list(await session.scalars(_SQLITE_KEY, {"target": target}))
    keys: dict[tuple[str, int], tuple[str, list[tuple[str, str]]]] = {}
    for name, number, source, referred, action in rows:
        _, pairs = keys.setdefault((name, number), (action, []))
        pairs.append((source, referred or primary[len(pairs)]))
    return [
        _Found(name, name, None, action, tuple(pairs))
        for (name, _), (action, pairs) in keys.items()
    ]


def protected(references: Sequence[Reference]) -> ColumnElement[bool]:
    """Return the condition for sessions that another table does not let go.

    Directly, or by way of rows that would go along.
    """
    return or_(literal(0) == 1, *(_held(reference, SESSIONS) for reference in references))


def referred(references: Sequence[Reference]) -> ColumnElement[bool]:
    """Return the condition for sessions that another table refers to, and would lose rows of."""
    meant = [item for item in references if item.cascades or item.forbids]
    found = (_exists(item, item.table.alias(), SESSIONS) for item in meant)
    return or_(literal(0) == 1, *found)


def can_protect(references: Sequence[Reference]) -> bool:
    """Return whether any of these foreign keys can keep a row from being deleted."""
    return any(item.forbids or can_protect(item.inner) for item in references)


def _held(reference: Reference, outer: FromClause) -> ColumnElement[bool]:
    place = reference.table.alias()
    if reference.forbids:
        return _exists(reference, place, outer)
    if not reference.cascades or not can_protect(reference.inner):
        return literal(0) == 1
    return _exists(reference, place, outer, or_(*(_held(item, place) for item in reference.inner)))


def _exists(
    reference: Reference, place: FromClause, outer: FromClause, *also: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Return the condition for rows of *outer* that one of *place* refers to."""
    rows = select(literal(1)).select_from(place).where(reference.joined(place, outer), *also)
    return exists(rows.correlate(outer))


class ReferenceRepository:
    """Rows of tables that are not ours, and refer to accounts or sessions.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def to_user(self, user_id: UUID) -> tuple[dict[str, int], dict[str, int]]:
        """Return what keeps an account from being deleted, and what would go with it.

        Args:
            user_id: The account.

        Returns:
            Twice the number of rows by ``table.column``: of those that refer to the account
            or its sessions and stay, and of those that would be deleted along. What would
            only lose its reference to the account counts as what stays: so it is not lost.
        """
        stay: dict[str, int] = {}
        go: dict[str, int] = {}
        to_users = await references_to(self.session, USERS)
        await self._count(to_users, USERS, col(User.id) == user_id, stay, go, loose=True)
        to_sessions = await references_to(self.session, SESSIONS)
        of_user = col(AccessToken.user_id) == user_id
        await self._count(to_sessions, SESSIONS, of_user, stay, go)
        return stay, go

    async def to_sessions(
        self, references: Sequence[Reference], here: ColumnElement[bool]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many rows keep sessions from being deleted, and how many would go along.

        Args:
            references: What ``references_to`` found.
            here: Which sessions.
        """
        stay: dict[str, int] = {}
        go: dict[str, int] = {}
        await self._count(references, SESSIONS, here, stay, go)
        return stay, go

    async def _count(
        self,
        references: Sequence[Reference],
        outer: FromClause,
        here: ColumnElement[bool],
        stay: dict[str, int],
        go: dict[str, int],
        *,
        loose: bool = False,
    ) -> None:
        """Add the rows that lead to those for which *here* holds.

        Args:
            references: The foreign keys.
            outer: What they lead to.
            here: A condition on *outer*.
            stay: Where rows are counted that keep the others.
            go: Where rows are counted that go along.
            loose: Count rows that would only lose their reference as such that stay.
        """
        for reference in references:
            if not (reference.cascades or reference.forbids or loose):
                continue
            place = reference.table.alias()
            joined = reference.joined(place, outer)
            rows = select(literal(1)).select_from(outer).where(here, joined)
            along = exists(rows.correlate(place))
            query = select(func.count()).select_from(place).where(along)
            if count := int(await self.session.scalar(query) or 0):
                counts = go if reference.cascades else stay
                counts[reference.name] = counts.get(reference.name, 0) + count
                await self._count(reference.inner, place, along, stay, go)
