"""Queries about the state of a database that read few rows, or only an index."""

import re
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, Optional

from sqlalchemy import ColumnElement, String, and_, cast, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken, User, metadata
from clarinet_cli.models.functions import is_readable_timestamp
from clarinet_cli.models.mapped import MappedTables, mapped_tables
from clarinet_cli.models.stored_tables import SESSIONS, USERS
from clarinet_cli.repositories.base import quoted_table, quoted_tables
from clarinet_cli.repositories.catalogue import CatalogueTable, read_catalogue, table_named
from clarinet_cli.repositories.expiry_policy import CREATED, EXPIRES, LAST_ACCESSED, expiry_order
from clarinet_cli.repositories.users import EMAIL, HASH, ID

MAX_COUNTED: Final = 100_000
MAX_EXAMINED: Final = 20_000
ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
REPLICA = text(
    "SELECT pg_is_in_recovery(), CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() "
    "THEN 0 ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
)
DEAD_TUPLES = text(
    "WITH RECURSIVE part (root, oid) AS (SELECT to_regclass(name)::oid, to_regclass(name)::oid "
    "FROM unnest(CAST(:names AS text[])) t(name) UNION "
    "SELECT root, inhrelid FROM pg_inherits JOIN part ON inhparent = part.oid) "
    "SELECT c.relname::text, sum(n_live_tup), sum(n_dead_tup) FROM part "
    "JOIN pg_class c ON c.oid = root JOIN pg_stat_user_tables s ON s.relid = part.oid "
    "GROUP BY c.relname ORDER BY c.relname"
)
UNIQUE_INDEXES = text(
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :name "
    "AND sql LIKE 'CREATE UNIQUE %'"
)
WAL_KEPT = text(
    "SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint "
    "FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL "
    "AND NOT pg_is_in_recovery() ORDER BY 1"
)


class UnindexedColumn(NamedTuple):
    """A column of an application's sessions without an index.

    Attributes:
        key: The key of the mapping.
        name: The table and the column, for reports.
        statement: The statement that creates the index.
    """

    key: str
    name: str
    statement: str


# Partitions of a table by ranges of one column whose upper bound has passed.
EXPIRED_PARTITIONS = text(
    "SELECT c.oid::regclass::text, "
    "(SELECT sum(pg_total_relation_size(t.relid)) FROM pg_partition_tree(c.oid) t) "
    "FROM pg_partitioned_table p "
    "JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] "
    "AND a.attname = :column JOIN pg_type ON pg_type.oid = a.atttypid "
    "JOIN pg_inherits i ON i.inhparent = p.partrelid JOIN pg_class c ON c.oid = i.inhrelid "
    "CROSS JOIN LATERAL (SELECT substring("
    "pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']*)''\\)$') AS bound) b "
    "WHERE p.partrelid = to_regclass(:table) AND p.partstrat = 'r' AND p.partnatts = 1 "
    "AND CASE typname WHEN 'timestamptz' THEN bound::timestamptz "
    "WHEN 'timestamp' THEN bound::timestamp AT TIME ZONE 'UTC' END <= :until "
    "AND (SELECT sum(pg_relation_size(t.relid)) FROM pg_partition_tree(c.oid) t) > 0 ORDER BY 1"
)


class Backlog(NamedTuple):
    """Expired sessions that have not been deleted.

    Attributes:
        number: Their number, up to ``MAX_COUNTED``.
        oldest: The expiry of the oldest one.
    """

    number: int
    oldest: Optional[datetime]


class LimitViolations(NamedTuple):
    """Violations of the server's limits among sessions that have not expired.

    Attributes:
        examined: The number examined: those that expire next, up to ``MAX_EXAMINED``.
        too_old: The number created before the absolute limit.
        users_over_limit: The number of users with more sessions than the concurrent limit.
    """

    examined: int
    too_old: int
    users_over_limit: int


class AccountHash(NamedTuple):
    """The password hash of an account.

    Attributes:
        email: The address.
        stored: The hash as it is stored, which may be of any type.
        is_superuser: The flag of the account.
    """

    email: str
    stored: object
    is_superuser: bool


class HealthRepository:
    """Queries whose duration does not grow with the number of sessions.

    Args:
        session: The session that all queries run in.
    """

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def backlog(self, now: datetime) -> Backlog:
        """Return the sessions that have expired, by the index on the expiry.

        Args:
            now: The reference time.
        """
        expired = and_(EXPIRES <= now, is_readable_timestamp(EXPIRES))
        some = select(literal(1)).where(expired).limit(MAX_COUNTED).subquery()
        count = int(await self.session.scalar(select(func.count()).select_from(some)) or 0)
        oldest = select(EXPIRES).where(expired).order_by(expiry_order(self.session)).limit(1)
        return Backlog(count, await self.session.scalar(oldest))

    async def expired_partitions(self, column: str, until: datetime) -> list[tuple[str, int]]:
        """Return the partitions of sessions whose rows are all older than a timestamp, with sizes.

        They are found by their bounds, and no row is read.

        Args:
            column: The column by whose ranges PostgreSQL partitions the table.
            until: The timestamp, which ranges end with or before.
        """
        table = quoted_table(self.session, str(AccessToken.__tablename__))
        values = {"table": table, "column": column, "until": until}
        rows = await self.session.execute(EXPIRED_PARTITIONS, values)
        return [(str(name), int(size)) for name, size in rows]

    async def limit_violations(
        self, now: datetime, oldest: Optional[datetime], concurrent_limit: int
    ) -> LimitViolations:
        """Count violations of the server's limits among the sessions that expire next.

        Args:
            now: The reference time.
            oldest: The earliest permitted creation of a session; None: no limit.
            concurrent_limit: The maximum number for a user; 0: no limit.
        """
        live = (
            select(CREATED.label("created"), cast(col(AccessToken.user_id), String).label("owner"))
            .where(now < EXPIRES)
            .order_by(EXPIRES)
            .limit(MAX_EXAMINED)
            .subquery()
        )
        old: ColumnElement[bool] = literal(0) == 1 if oldest is None else live.c.created < oldest
        query = select(func.count(), func.count().filter(old)).select_from(live)
        examined, too_old = (await self.session.execute(query)).one()
        crowded = 0
        if concurrent_limit:
            users = select(live.c.owner).group_by(live.c.owner)
            users = users.having(func.count() > concurrent_limit)
            query_users = select(func.count()).select_from(users.subquery())
            crowded = int(await self.session.scalar(query_users) or 0)
        return LimitViolations(int(examined), int(too_old), crowded)

    async def hashes(self) -> list[AccountHash]:
        """Return the password hashes of active accounts.

        Superusers come first; at most ``MAX_EXAMINED`` in all.
        """
        superuser = col(User.is_superuser)
        query = select(EMAIL, HASH, superuser).where(col(User.is_active))
        rows = await self.session.execute(query.order_by(superuser.desc()).limit(MAX_EXAMINED))
        return [AccountHash(str(email), stored, bool(flag)) for email, stored, flag in rows]

    async def unverified(self, limit: int) -> tuple[int, list[str]]:
        """Return the number of active accounts that are not verified, and the first addresses.

        Args:
            limit: Return at most this many addresses.
        """
        matches = and_(col(User.is_active), col(User.is_verified).is_(False))
        count = await self.session.scalar(select(func.count()).select_from(User).where(matches))
        first = await self.session.scalars(
            select(EMAIL).where(matches).order_by(EMAIL).limit(limit)
        )
        return int(count or 0), [str(email) for email in first]

    async def superusers_last_used(self) -> list[tuple[str, datetime]]:
        """Return address and last use of each active superuser with sessions."""
        used = func.max(LAST_ACCESSED).filter(is_readable_timestamp(LAST_ACCESSED))
        query = (
            select(EMAIL, used)
            .join(AccessToken, col(AccessToken.user_id) == ID)
            .where(col(User.is_superuser), col(User.is_active))
            .group_by(EMAIL)
            .order_by(EMAIL)
        )
        rows = await self.session.execute(query)
        return [(str(email), last) for email, last in rows if last is not None]

    async def unindexed_columns(self) -> list[UnindexedColumn]:
        """Return the columns of an application's sessions that an index should begin with."""
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is None:
            return []
        found = await self._mapped_table(tables, SESSIONS)
        names = tables.names[SESSIONS]
        keys = ["user_id"]
        if tables.capabilities.expiry:
            keys.append("expires_at" if "expires_at" in names else "created_at")
        missing = [key for key in keys if found and names[key] not in found.indexed]
        table, quoted = tables.stored.fullname(SESSIONS), quoted_table(self.session, SESSIONS)
        return [
            UnindexedColumn(
                key,
                f"{table}.{names[key]}",
                _index_statement(tables, quoted, names[key]),
            )
            for key in missing
            if found
        ]

    async def address_without_constraint(self) -> Optional[str]:
        """Return an application's column of addresses if it is not unique."""
        tables = mapped_tables(self.session.get_bind().dialect)
        if tables is None:
            return None
        found = await self._mapped_table(tables, USERS)
        name = tables.mapping.user_columns.email
        if found is None or frozenset((name,)) in found.unique:
            return None
        if tables.on_sqlite:  # of whose indexes on expressions SQLAlchemy reflects none
            statements = await self.session.scalars(UNIQUE_INDEXES, {"name": found.name})
            folded = re.compile(rf"\(\s*lower\(\W?{re.escape(name)}\W?\)\s*\)", re.IGNORECASE)
            if any(folded.search(statement) for statement in statements):
                return None
        return f"{tables.stored.fullname(USERS)}.{name}"

    async def _mapped_table(self, tables: MappedTables, table: str) -> Optional[CatalogueTable]:
        schema, name = tables.stored_name(table)
        return table_named(await read_catalogue(self.session), schema, name)

    async def is_encrypted(self) -> bool:
        """Return whether the connection to PostgreSQL uses TLS."""
        return bool(await self.session.scalar(ENCRYPTED))

    async def time_zone(self) -> str:
        """Return the time zone that PostgreSQL shows timestamps in."""
        return str((await self.session.scalars(text("SHOW timezone"))).one())

    async def replica_lag(self) -> Optional[float]:
        """Return the seconds that a replica is behind, or None if the server is not a replica."""
        is_replica, seconds = (await self.session.execute(REPLICA)).one()
        return float(seconds or 0) if is_replica else None

    async def dead_tuples(self) -> list[tuple[str, int, int]]:
        """Return name, live and dead rows of the tables in PostgreSQL, by its statistics."""
        places = quoted_tables(self.session.get_bind().dialect)
        rows = await self.session.execute(DEAD_TUPLES, {"names": list(places.values())})
        return [(str(name), int(live or 0), int(dead or 0)) for name, live, dead in rows]

    async def wal_of_inactive_slots(self) -> list[tuple[str, int]]:
        """Return each replication slot without a reader, and the bytes of log that it keeps."""
        rows = await self.session.execute(WAL_KEPT)
        return [(str(name), int(size)) for name, size in rows]


async def create_index(session: AsyncSession, name: str) -> None:
    """Create an index of the models.

    Args:
        session: A session in a write transaction; on PostgreSQL writers of the table wait for it.
        name: The name of the index.
    """
    indexes = (index for table in metadata.tables.values() for index in table.indexes)
    index = next(index for index in indexes if index.name == name)
    connection = await session.connection()
    await connection.run_sync(partial(index.create, checkfirst=True))


def _index_statement(tables: MappedTables, quoted: str, column: str) -> str:
    """Return the statement that creates an index, whose name PostgreSQL chooses itself."""
    name = ""
    if tables.on_sqlite:
        name = f"{tables.quote(f'ix_{tables.mapping.tokens}_{column}')} "
    return f"CREATE INDEX {name}ON {quoted} ({tables.quote(column)})"
