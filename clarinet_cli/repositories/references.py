"""Foreign keys of other tables to accounts and sessions: cascades and restrictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import TABLE_NAMES, AccessToken, User, metadata
from clarinet_cli.models.mapped import mapped_tables
from clarinet_cli.repositories.base import quoted_table, stored_table

USER_TABLE = metadata.tables[str(User.__tablename__)]
SESSION_TABLE = metadata.tables[str(AccessToken.__tablename__)]
CASCADE, SET_NULL, SET_DEFAULT = "CASCADE", "SET NULL", "SET DEFAULT"
ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": CASCADE, "n": SET_NULL, "d": SET_DEFAULT}
MAX_DEPTH = 5  # of cascades
# Includes keys to tables that inherit from the target or are its partitions. Tables that this
# role cannot read are left to the server.
_POSTGRESQL = text(
    "SELECT c.oid::bigint AS key, c.relname::text AS name, con.confdeltype::text AS action,"
    " CASE WHEN pg_table_is_visible(c.oid) THEN NULL ELSE n.nspname::text END AS schema,"
    " ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place)"
    " AS columns,"
    " ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place)"
    " AS referenced"
    " FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class t ON t.oid = :target"
    " WHERE con.contype = 'f' AND con.conparentid = 0 AND c.oid <> t.oid"
    " AND (con.confrelid = t.oid OR con.confrelid IN"
    " (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = t.oid))"
    " AND has_table_privilege(c.oid, 'SELECT') ORDER BY n.nspname, c.relname, con.conname"
)
_CONSTRAINT = text(
    "SELECT c.relname || '.' || a.attname FROM pg_constraint con"
    " JOIN pg_class c ON c.oid = con.conrelid"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = con.conkey[1]"
    " WHERE con.contype = 'f' AND con.conname = :name LIMIT 1"
)
_OID = text("SELECT CAST(CAST(:name AS regclass) AS oid)::bigint")
_SQLITE = text(
    'SELECT m.name, k.id, k."from" AS source, k."to" AS target, k.on_delete AS action'
    " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k"
    " WHERE m.type = 'table' AND lower(k.\"table\") = lower(:target)"
    " AND lower(m.name) <> lower(:target) ORDER BY m.name, k.id, k.seq"
)
_SQLITE_KEY = text("SELECT name FROM pragma_table_info(:target) WHERE pk > 0 ORDER BY pk")


class _ForeignKey(NamedTuple):
    """A foreign key from the catalogue; ``key`` identifies its table there."""

    key: Any
    name: str
    schema: Optional[str]
    action: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of another table.

    Attributes:
        table: The referencing table, with the columns of the keys.
        pairs: Each column with the column that it refers to.
        action: The ``ON DELETE`` action.
        children: If the action is CASCADE, the foreign keys to the referencing table.
    """

    table: Table
    pairs: tuple[tuple[str, str], ...]
    action: str
    children: tuple["Reference", ...]

    @property
    def name(self) -> str:
        """The table and column, for messages."""
        return f"{self.table.fullname}.{self.pairs[0][0]}"

    @property
    def cascades(self) -> bool:
        """Whether its rows are deleted with the rows that they refer to."""
        return self.action == CASCADE

    @property
    def restricts(self) -> bool:
        """Whether it prevents the deletion of the rows that it refers to."""
        return self.action not in (CASCADE, SET_NULL, SET_DEFAULT)

    def join_condition(self, inner: FromClause, outer: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of *inner* refers to a row of *outer*."""
        return and_(*(inner.c[column] == outer.c[referenced] for column, referenced in self.pairs))


async def references_to(session: AsyncSession, table: Table) -> tuple[Reference, ...]:
    """Return the foreign keys of other programs' tables to a Clarinet table.

    Args:
        session: The session for the queries; a single one if there is no such key.
        table: The Clarinet table.
    """
    tables = mapped_tables(session.get_bind().dialect)
    if tables is not None and table.name == SESSION_TABLE.name and not tables.capabilities.sessions:
        return ()
    if session.get_bind().dialect.name == "sqlite":
        key: Any = stored_table(session, table.name)[1]
    else:
        key = await session.scalar(_OID, {"name": quoted_table(session, table.name)})
    found = await _references_of(session, key, 0)
    if tables is None:
        return found
    names = {stored: name for name, stored in tables.names[table.name].items()}
    return tuple(_with_clarinet_names(item, names) for item in found)


def _with_clarinet_names(reference: Reference, names: dict[str, str]) -> Reference:
    """Return a foreign key to an application's table with the Clarinet names of its columns.

    Raises:
        RefusedError: It refers to a column that is not mapped, so that its rows cannot be counted.
    """
    for _, referenced in reference.pairs:
        if referenced not in names:
            raise REFUSED.with_context(
                f"{reference.name} refers to the column {referenced}, which is not mapped"
            )
    pairs = tuple((column, names[referenced]) for column, referenced in reference.pairs)
    return replace(reference, pairs=pairs)


async def _references_of(session: AsyncSession, target: Any, depth: int) -> tuple[Reference, ...]:
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    found = await (
        _sqlite_keys(session, target) if on_sqlite else _postgresql_keys(session, target)
    )
    references = []
    own = _own_tables(session)
    for key in found:
        if (key.schema, key.name) in own:
            continue
        deeper = key.action == CASCADE and depth < MAX_DEPTH
        children = await _references_of(session, key.key, depth + 1) if deeper else ()
        columns = {name for name, _ in key.pairs} | {
            name for child in children for _, name in child.pairs
        }
        table = Table(
            key.name,
            MetaData(),
            *(Column[Any](name) for name in sorted(columns)),
            schema=key.schema,
        )
        references.append(Reference(table, key.pairs, key.action, children))
    return tuple(references)


def _own_tables(session: AsyncSession) -> set[tuple[Optional[str], str]]:
    """Return the tables whose rows this tool deletes itself."""
    tables = mapped_tables(session.get_bind().dialect)
    if tables is None:
        return {(None, name) for name in TABLE_NAMES}
    mapping = tables.mapping
    names = {mapping.users, *([mapping.tokens] if tables.capabilities.sessions else [])}
    if mapping.role_link is not None:
        names.add(mapping.role_link.table)
    # A table that the search path finds is without its schema here.
    return {(schema, name) for name in names for schema in {mapping.schema_name or None, None}}


async def _postgresql_keys(session: AsyncSession, target: int) -> list[_ForeignKey]:
    rows = await session.execute(_POSTGRESQL, {"target": target})
    return [
        _ForeignKey(
            row.key,
            row.name,
            row.schema,
            ACTIONS[row.action],
            tuple(zip(row.columns, row.referenced, strict=True)),
        )
        for row in rows
    ]


async def _sqlite_keys(session: AsyncSession, target: str) -> list[_ForeignKey]:
    rows = (await session.execute(_SQLITE, {"target": target})).all()
    if not rows:
        return []
    primary = list(await session.scalars(_SQLITE_KEY, {"target": target}))
    keys: dict[tuple[str, int], tuple[str, list[tuple[str, str]]]] = {}
    for name, number, source, referenced, action in rows:
        _, pairs = keys.setdefault((name, number), (action, []))
        pairs.append((source, referenced or primary[len(pairs)]))
    return [
        _ForeignKey(name, name, None, action, tuple(pairs))
        for (name, _), (action, pairs) in keys.items()
    ]


def is_protected(references: Sequence[Reference]) -> ColumnElement[bool]:
    """Return the condition for sessions whose deletion another table prevents.

    It does so directly, or by a reference to rows that would be deleted with the session.
    """
    return or_(literal(0) == 1, *(_protected(reference, SESSION_TABLE) for reference in references))


def is_referenced(references: Sequence[Reference]) -> ColumnElement[bool]:
    """Return the condition for sessions whose deletion would fail or delete other rows."""
    strong = [item for item in references if item.cascades or item.restricts]
    found = (_exists(item, item.table.alias(), SESSION_TABLE) for item in strong)
    return or_(literal(0) == 1, *found)


def can_protect(references: Sequence[Reference]) -> bool:
    """Return whether any of these foreign keys can prevent a deletion."""
    return any(item.restricts or can_protect(item.children) for item in references)


def _protected(reference: Reference, outer: FromClause) -> ColumnElement[bool]:
    inner = reference.table.alias()
    if reference.restricts:
        return _exists(reference, inner, outer)
    if not reference.cascades or not can_protect(reference.children):
        return literal(0) == 1
    return _exists(
        reference, inner, outer, or_(*(_protected(item, inner) for item in reference.children))
    )


def _exists(
    reference: Reference, inner: FromClause, outer: FromClause, *also: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Return the condition for rows of *outer* that a row of *inner* refers to."""
    rows = (
        select(literal(1)).select_from(inner).where(reference.join_condition(inner, outer), *also)
    )
    return exists(rows.correlate(outer))


class ReferenceRepository:
    """Queries on other programs' tables that refer to accounts or sessions.

    Args:
        session: The session for all queries.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def to_user(self, user_id: UUID) -> tuple[dict[str, int], dict[str, int]]:
        """Count the rows that prevent the deletion of an account, and those deleted with it.

        Args:
            user_id: The account.

        Returns:
            Two numbers of rows by ``table.column``: of those that refer to the account or its
            sessions and prevent the deletion, and of those that would be deleted too. Rows
            that would only lose their reference to the account count as the former.
        """
        blocking: dict[str, int] = {}
        cascading: dict[str, int] = {}
        to_users = await references_to(self.session, USER_TABLE)
        await self._count(
            to_users, USER_TABLE, col(User.id) == user_id, blocking, cascading, set_null=True
        )
        to_sessions = await references_to(self.session, SESSION_TABLE)
        of_user = col(AccessToken.user_id) == user_id
        await self._count(to_sessions, SESSION_TABLE, of_user, blocking, cascading)
        return blocking, cascading

    async def name_of(self, constraint: str) -> str:
        """Return ``table.column`` of a foreign key; its own name if the catalogue has none.

        Args:
            constraint: The name of the foreign key, also of a table that cannot be read.
        """
        if self.session.get_bind().dialect.name == "sqlite":
            return constraint
        found: Optional[str] = await self.session.scalar(_CONSTRAINT, {"name": constraint})
        return found or constraint

    async def to_sessions(
        self, references: Sequence[Reference], condition: ColumnElement[bool]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Count the rows that prevent the deletion of sessions, and those deleted with them.

        Args:
            references: What ``references_to`` returned.
            condition: The condition for the sessions.
        """
        blocking: dict[str, int] = {}
        cascading: dict[str, int] = {}
        await self._count(references, SESSION_TABLE, condition, blocking, cascading)
        return blocking, cascading

    async def _count(
        self,
        references: Sequence[Reference],
        outer: FromClause,
        condition: ColumnElement[bool],
        blocking: dict[str, int],
        cascading: dict[str, int],
        *,
        set_null: bool = False,
    ) -> None:
        """Add the numbers of rows that refer to the rows for which *condition* holds.

        Args:
            references: The foreign keys.
            outer: The table that they refer to.
            condition: A condition on *outer*.
            blocking: Receives the numbers of rows that prevent the deletion.
            cascading: Receives the numbers of rows that would be deleted too.
            set_null: Count rows that would only lose their reference as blocking.
        """
        for reference in references:
            if not (reference.cascades or reference.restricts or set_null):
                continue
            inner = reference.table.alias()
            joined = reference.join_condition(inner, outer)
            rows = select(literal(1)).select_from(outer).where(condition, joined)
            referring = exists(rows.correlate(inner))
            query = select(func.count()).select_from(inner).where(referring)
            if count := int(await self.session.scalar(query) or 0):
                counts = cascading if reference.cascades else blocking
                counts[reference.name] = counts.get(reference.name, 0) + count
                await self._count(reference.children, inner, referring, blocking, cascading)
