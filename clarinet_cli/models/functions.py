"""SQL functions for ids, timestamps and addresses, compiled for each backend.

Not all are stored in the server's form: SQLite stores any value in any column, and PostgreSQL has
timestamps that the server cannot read.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType, String
from sqlmodel import col

from clarinet_cli.models.mapped import EXPIRES_AT, NAIVE_TIMESTAMP, is_own, mapped_tables
from clarinet_cli.models.stored_tables import SESSIONS
from clarinet_cli.models.tables import AccessToken
from clarinet_cli.models.types import (
    PYTHON_YEARS,
    StoredId,
    UTCDateTime,
    dialect_id_form,
    parse_uuid,
)
from clarinet_cli.networks import ADDRESS_PATTERN, IN_NETWORK_FUNCTION

OLDEST = datetime(1, 1, 2, tzinfo=UTC)  # in place of a timestamp that cannot be read
CANONICAL_ID_FUNCTION = "clarinet_canonical_id"  # the SQL function of each SQLite connection


def canonical_form(stored: object) -> object:
    """Return a stored id in the server's form, or unchanged if it is not a UUID."""
    found = parse_uuid(stored)
    return stored if found is None else found.hex


class is_readable_timestamp(GenericFunction[bool]):  # noqa: N801 - the name of an SQL function
    """Whether the server can read a timestamp, so that it can be compared.

    SQLite: a text that begins with a date and time in UTC. PostgreSQL: neither infinite nor
    outside of Python's years.
    """

    type = Boolean()
    inherit_cache = True


@compiles(is_readable_timestamp, "sqlite")
def _sqlite_readable(element: Any, compiler: Any, **options: Any) -> str:
    """Return tests ordered by cost; the first one holds for nearly all timestamps."""
    if not _is_stored(element, compiler):
        return "1"
    text = compiler.process(element.clauses, **options)
    begins, ends = f"substr({text}, 1, 19)", f"substr({text}, 20)"
    in_utc = f"{ends} NOT GLOB '*[^.0-9]*' OR {ends} GLOB '*+00:00' OR {ends} GLOB '*Z'"
    # Without a modifier datetime() does not normalise 31 February and 24:00. Given the whole text
    # it would round the fraction, possibly to the next second.
    same = f"datetime({begins}, '+0 days') = {begins} AND {begins} NOT LIKE '0000%'"
    usual = (
        f"{text} GLOB (datetime({text}, '+0 days') || '.?????[0-9]') AND {text} NOT GLOB '0000*'"
    )
    is_text = f"typeof({text}) = 'text'"
    # The server's form on days 1 to 28 and in hours 00 to 18: julianday() checks the digits, but
    # accepts 31 days in any month and 24 hours a day.
    form = "'[1-9]???-??-[0-2][0-8] [01]?:??:??.?????[0-9]'"
    (timestamp,) = element.clauses
    is_expiry = getattr(timestamp, "name", None) == EXPIRES_AT
    absent = f"WHEN {text} IS NULL THEN 1 " if is_expiry and _may_never_expire(compiler) else ""
    return (
        f"CASE {absent}"
        f"WHEN {text} GLOB {form} AND julianday({text}) IS NOT NULL AND {is_text} THEN 1"
        f" WHEN {usual} AND {is_text} THEN 1"
        f" ELSE coalesce({is_text} AND {same} AND ({in_utc}), 0) END"
    )


@compiles(is_readable_timestamp, "postgresql")
def _postgresql_readable(element: Any, compiler: Any, **options: Any) -> str:
    if not _is_stored(element, compiler):
        return "true"
    return f"(({compiler.process(element.clauses, **options)}) {PYTHON_YEARS}) IS TRUE"


class is_canonical_id(GenericFunction[bool]):  # noqa: N801 - the name of an SQL function
    """Whether an id has the form that the server writes and compares with."""

    type = Boolean()
    inherit_cache = True


@compiles(is_canonical_id, "sqlite")
def _sqlite_is_canonical(element: Any, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    return f"({_FORMS[dialect_id_form(compiler.dialect) or 'uuid-hex'].format(value)})"


@compiles(is_canonical_id, "postgresql")
def _postgresql_is_canonical(element: Any, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    pattern = _PATTERNS.get(dialect_id_form(compiler.dialect) or "")
    return f"({value} ~ '^{pattern}$')" if pattern else f"({value} IS NOT NULL)"


class canonical_id(GenericFunction[Any]):  # noqa: N801 - the name of an SQL function
    """An id in the server's form."""

    type = StoredId()
    inherit_cache = True


@compiles(canonical_id, "sqlite")
def _sqlite_id(element: Any, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    if dialect_id_form(compiler.dialect) not in (None, "uuid-hex"):
        return str(value)  # compared in the form that the application stores
    return f"CASE WHEN {_is_hex(value)} THEN {value} ELSE {CANONICAL_ID_FUNCTION}({value}) END"


@compiles(canonical_id, "postgresql")
def _postgresql_id(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


class stored_timestamp(GenericFunction[datetime]):  # noqa: N801 - the name of an SQL function
    """A timestamp that was read from a column of sessions, as such a column stores it."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(stored_timestamp, "sqlite")
def _sqlite_stored(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(stored_timestamp, "postgresql")
def _postgresql_stored(element: Any, compiler: Any, **options: Any) -> str:
    """Return a timestamp without a time zone where the application's columns have none."""
    timestamp = str(compiler.process(element.clauses, **options))
    tables = mapped_tables(compiler.dialect)
    is_naive = tables is not None and tables.timestamp_type(EXPIRES_AT) == NAIVE_TIMESTAMP
    return f"({timestamp} AT TIME ZONE 'UTC')" if is_naive else timestamp


class in_network(GenericFunction[bool]):  # noqa: N801 - the name of an SQL function
    """Whether a stored address is in a network, which is text in CIDR notation."""

    type = Boolean()
    inherit_cache = True


@compiles(in_network, "sqlite")
def _sqlite_in_network(element: Any, compiler: Any, **options: Any) -> str:
    """Return a call of the connection's function, with bytes: the text need not be UTF-8."""
    address, network = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{IN_NETWORK_FUNCTION}(CAST({address} AS BLOB), {network})"


@compiles(in_network, "postgresql")
def _postgresql_in_network(element: Any, compiler: Any, **options: Any) -> str:
    """Return a comparison as ``inet``, for values that have this form."""
    stored, network = (compiler.process(clause, **options) for clause in element.clauses)
    # Without a zone (after a percent sign) and, in a column of type inet, the prefix length.
    address = f"split_part(split_part(CAST({stored} AS VARCHAR), '/', 1), chr(37), 1)"
    return (
        f"CASE WHEN {address} ~ '{ADDRESS_PATTERN}'"
        f" THEN CAST({address} AS INET) <<= CAST({network} AS INET) ELSE false END"
    )


def _is_hex(value: str) -> str:
    is_text = f"typeof({value}) = 'text' AND length({value}) = 32"
    return f"{is_text} AND {value} NOT GLOB '*[^0-9a-f]*'"


_PATTERNS = {  # of PostgreSQL, where the ids of other forms are not text
    "uuid-hex": "[0-9a-f]{32} *",
    "uuid-dashed": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} *",
}
_FORMS = {
    "uuid-hex": _is_hex("{0}"),
    "uuid-dashed": "typeof({0}) = 'text' AND length({0}) = 36 AND {0} NOT GLOB '*[^0-9a-f-]*'",
    "integer": "typeof({0}) = 'integer'",
    "text": "typeof({0}) = 'text'",
}


def _is_stored(element: Any, compiler: Any) -> bool:
    """Return whether a timestamp is one of a column, and not absent or computed from another."""
    tables = mapped_tables(compiler.dialect)
    (timestamp,) = element.clauses
    if tables is None or not is_own(getattr(timestamp, "table", None)):
        return True
    return tables.has(timestamp.table.name, timestamp.name)


def has_readable_timestamps() -> ColumnElement[bool]:
    """Return the condition that all timestamps of a session can be read."""
    timestamps = (AccessToken.expires_at, AccessToken.last_accessed, AccessToken.created_at)
    return and_(*(is_readable_timestamp(col(timestamp)) for timestamp in timestamps))


class lifetime_between(GenericFunction[Any]):  # noqa: N801 - the name of an SQL function
    """The time from the first timestamp to the second.

    PostgreSQL: an interval. SQLite, which cannot subtract text timestamps: days with a fraction,
    precise to a millisecond, as its date functions round. Microseconds from ``strftime`` would
    take four times as long.
    """

    type = NullType()  # as the driver has it
    inherit_cache = True


class utc_day(GenericFunction[str]):  # noqa: N801 - the name of an SQL function
    """The day of a timestamp in UTC, as ``YYYY-MM-DD``."""

    type = String()
    inherit_cache = True


class utc_hour(GenericFunction[str]):  # noqa: N801 - the name of an SQL function
    """The hour of a timestamp in UTC, as ``YYYY-MM-DDTHH:00Z``."""

    type = String()
    inherit_cache = True


@compiles(utc_day, "sqlite")
def _sqlite_day(element: Any, compiler: Any, **options: Any) -> str:
    return f"date({compiler.process(element.clauses, **options)})"


@compiles(utc_day, "postgresql")
def _postgresql_day(element: Any, compiler: Any, **options: Any) -> str:
    timestamp = compiler.process(element.clauses, **options)
    return f"to_char({timestamp} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


@compiles(utc_hour, "sqlite")
def _sqlite_hour(element: Any, compiler: Any, **options: Any) -> str:
    timestamp = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:00Z', {timestamp})"


@compiles(utc_hour, "postgresql")
def _postgresql_hour(element: Any, compiler: Any, **options: Any) -> str:
    timestamp = compiler.process(element.clauses, **options)
    return f"""to_char({timestamp} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24":00Z"')"""


@compiles(lifetime_between, "sqlite")
def _sqlite_lifetime(element: Any, compiler: Any, **options: Any) -> str:
    start, end = _start_and_end(element, compiler, **options)
    return f"(julianday({end}) - julianday({start}))"


@compiles(lifetime_between, "postgresql")
def _postgresql_lifetime(element: Any, compiler: Any, **options: Any) -> str:
    start, end = _start_and_end(element, compiler, **options)
    return f"({end} - {start})"


def _start_and_end(element: Any, compiler: Any, **options: Any) -> tuple[str, str]:
    """Return the timestamps of a lifetime; the end is NULL if the session does not expire."""
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    tables = mapped_tables(compiler.dialect)
    if tables is not None and tables.may_never_expire:
        stored = tables.has(SESSIONS, EXPIRES_AT)
        end = (
            tables.column(SESSIONS, EXPIRES_AT, nullable=True)
            if stored
            else tables.null(EXPIRES_AT)
        )
    return start, end


def _may_never_expire(compiler: Any) -> bool:
    """Return whether sessions may have no expiry, and so no lifetime."""
    tables = mapped_tables(compiler.dialect)
    return tables is not None and tables.may_never_expire
