"""Translation of the database drivers' errors into messages and exit codes."""

import re
import socket
import sqlite3
import ssl
from typing import TYPE_CHECKING, Optional

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from clarinet_cli.database.password_guard import CLEAR_TEXT, ReadablePasswordError
from clarinet_cli.database.servers import NoServerError, WrongServerError
from clarinet_cli.database.sqlite_errors import (
    Explanation,
    explain_sqlite_error,
    missing_value,
    with_constraint,
)
from clarinet_cli.exceptions import (
    BUSY,
    CONFIGURATION,
    CONFLICT,
    FAILURE,
    LOGIN_REFUSED,
    NO_SPACE,
    PREVENTED,
    UNKNOWN_DATABASE,
    UNREACHABLE,
    ClarinetError,
)

if TYPE_CHECKING:
    from clarinet_cli.models.stored_tables import StoredTables

IDNA = "idna"  # the codec for host names
INIT_HINT = "'clarinet db init' creates what is missing"
TABLE_HINT = "'clarinet db init' creates the tables, or reports what to do if some exist"
DEPENDENTS_HINT = (
    "drop those tables, views or foreign keys first, with the program that created them"
)
SERVER_HINT = "check that the server is running, and database_host and database_port"
SERVERS_HINT = "check that one of the servers is running, and their names and ports"
WRONG_SERVER = {
    "read-write": "accepts no writes",
    "primary": "is a standby",
    "read-only": "accepts writes",
    "standby": "is not a standby",
    "prefer-standby": "is not a standby",
}
TARGET_HINT = "add a server of that kind to database_url, or change target_session_attrs"
TLS_HINT = "check sslrootcert, the CA's file, and sslcert and sslkey, the client's certificate"
NO_TLS_HINT = "database_sslmode, or sslmode in database_url, requires TLS"
CLEAR_TEXT_HINT = 'use TLS (database_sslmode = "require"), or scram-sha-256 on the server'
HASH_HINT = f'{CLEAR_TEXT_HINT}; database_sslmode = "disable" sends it unencrypted'
SCHEMA_HINT = "'clarinet migrate status' lists the differences and what to do about them"
ROW_SECURITY = "check_enable_rls"  # the server function that raises the error
POLICY_HINT = (
    "use a role with BYPASSRLS, or the owner of the table without FORCE ROW LEVEL SECURITY"
)
OUTCOME_HINT = (
    "'clarinet admin show USER' or 'clarinet session stats' shows the current state; "
    "after a migration 'clarinet migrate status' does"
)
OPTION_HINT = "check 'options' and 'search_path' in database_url"
OPTION_STATES = ("22", "42")  # unknown parameter, invalid value
LOGIN_HINT = "check database_username and database_password (or database_url)"


NOT_NULL = "23502"
# SQLSTATE codes (PostgreSQL's manual, appendix A); the first two characters are the class.
_POSTGRESQL: dict[str, Explanation] = {
    "28P01": (LOGIN_REFUSED, "refuses the log-in: wrong user name or password", LOGIN_HINT),
    "28000": (LOGIN_REFUSED, "refuses the log-in", LOGIN_HINT),
    "3D000": (UNKNOWN_DATABASE, "the database does not exist", INIT_HINT),
    "57P03": (UNREACHABLE, "the server is starting up or shutting down", None),
    "53300": (UNREACHABLE, "the server has no free connection", None),
    "57014": (UNREACHABLE, "did not answer in time", None),
    "55P03": (BUSY, "locked by another process", None),
    "40P01": (BUSY, "deadlock with another process", None),
    "40001": (BUSY, "another process changed the same rows", None),
    "55006": (BUSY, "in use by another process", None),
    "42P01": (FAILURE, "the tables are missing", TABLE_HINT),
    "42703": (FAILURE, "the tables differ from the expected schema", SCHEMA_HINT),
    "42P07": (CONFLICT, "a table or index of that name already exists", SCHEMA_HINT),
    "42701": (CONFLICT, "a column of that name already exists", SCHEMA_HINT),
    "2BP01": (CONFLICT, "other tables or views depend on it", DEPENDENTS_HINT),
    "42501": (
        FAILURE,
        "the database user lacks the permission",
        "grant it, or connect as the owner",
    ),
    "25006": (FAILURE, "the database is read-only", "it may be a replica"),
    "0A000": (FAILURE, "a rule, a view or the server does not allow this change", None),
    "22001": (CONFLICT, "a value is too long for its column", None),
    **dict.fromkeys(
        ("22003", "22007", "22008", "22P02"),
        (CONFLICT, "a value is not of the type of its column", None),
    ),
    "23514": (CONFLICT, "a value violates a check of the database", None),
    "428C9": (CONFLICT, "a column that the database generates cannot be set", None),
    "P0001": (FAILURE, "a trigger or a function of the database refused the change", None),
    "42P04": (CONFLICT, "the database already exists", None),
    "53100": (NO_SPACE, "the server's disk is full", None),
}
_POSTGRESQL_CLASSES: dict[str, Explanation] = {
    "08": (UNREACHABLE, "the connection was lost", SERVER_HINT),
    "57": (UNREACHABLE, "the server ended the connection", None),
    "53": (FAILURE, "the server is out of resources", None),
    "23": (CONFLICT, "other rows depend on it, or it already exists", None),
}


MISSING_TABLE = "the table {name} is missing"

# Missing or duplicate parts of a schema. Only names are taken from a driver's message: they come
# from statements and revisions of Clarinet, in which values are parameters.
_NAMES: tuple[tuple[re.Pattern[str], ClarinetError, str, str], ...] = tuple(
    (
        re.compile(pattern),
        template,
        reason,
        TABLE_HINT if reason == MISSING_TABLE else SCHEMA_HINT,
    )
    for pattern, template, reason in (
        (r"no such table: (?:main\.)?(?P<name>\w+)$", FAILURE, MISSING_TABLE),
        (r'relation "(?:\w+\.)?(?P<name>\w+)" does not exist', FAILURE, MISSING_TABLE),
        (r"no such column: (?:main\.)?(?P<name>[\w.]+)$", FAILURE, "missing column {name}"),
        (
            r"table (?P<table>\w+) has no column named (?P<name>\w+)$",
            FAILURE,
            "missing column {table}.{name}",
        ),
        (
            r'column "(?P<name>\w+)" of relation "(?P<table>\w+)" does not exist',
            FAILURE,
            "missing column {table}.{name}",
        ),
        (r'column "?(?P<name>[\w.]+)"? does not exist', FAILURE, "missing column {name}"),
        (
            r'(?P<kind>table|index) "?(?P<name>\w+)"? already exists',
            CONFLICT,
            "{kind} {name} already exists",
        ),
        (r'relation "(?P<name>\w+)" already exists', CONFLICT, "{name} already exists"),
        (r"duplicate column name: (?P<name>\w+)$", CONFLICT, "column {name} already exists"),
        (
            r'column "(?P<name>\w+)" of relation "(?P<table>\w+)" already exists',
            CONFLICT,
            "column {table}.{name} already exists",
        ),
    )
)
_NAMES_STATES = ("42P01", "42703", "42P07", "42701")


def explain_driver_error(
    error: Exception,
    backend: str,
    target: str,
    *,
    ca: Optional[str] = None,
    tables: Optional["StoredTables"] = None,
) -> Optional[ClarinetError]:
    """Return the error to show for *error*, or None if it is not an error of the database.

    Args:
        error: The error of SQLAlchemy, the driver or the operating system.
        backend: ``sqlite`` or ``postgresql``.
        target: The redacted URL, for the message.
        ca: The CA file that the server's certificate was verified with; see ``tls.ca_file``.
        tables: The tables of an application; None: the Clarinet tables.
    """
    if isinstance(error, StaleDataError):
        table = _quoted_name(str(error))
        table = table if tables is None else tables.reported(table)
        return PREVENTED.with_context(f"a trigger or rule on {table} prevented the change")
    if isinstance(error, DBAPIError):
        found = _explain_names(driver_exception(error))
        found = found or (
            explain_sqlite_error(error) if backend == "sqlite" else _explain_postgresql(error)
        )
        template, reason, hint = found
        return template.with_context(f"{target}: {reason}", hint=hint)
    other_codec = isinstance(error, UnicodeError) and getattr(error, "encoding", IDNA) != IDNA
    if backend == "sqlite" or other_codec:
        return None
    if isinstance(error, ReadablePasswordError):
        hint = CLEAR_TEXT_HINT if error.form == CLEAR_TEXT else HASH_HINT
        reason = f"the server asks for the password {error.form}, without TLS: it was not sent"
        return LOGIN_REFUSED.with_context(f"{target}: {reason}", hint=hint)
    reason, hint = _explain_connection(error, ca)
    return UNREACHABLE.with_context(f"{target}: {reason}", hint=hint)


def driver_exception(error: DBAPIError) -> Optional[BaseException]:
    """Return what the driver itself raised, where SQLAlchemy translated it to a class of its own.

    Args:
        error: An error of SQLAlchemy, which has an attribute for this from 2.1 on.
    """
    adapted = type(error.orig).__module__.startswith("sqlalchemy.")
    return error.orig.__cause__ if adapted and error.orig is not None else error.orig


def outcome_unknown_error(error: Exception, backend: str, target: str) -> ClarinetError:
    """Return the error to show if it is unknown whether a transaction was committed.

    Args:
        error: The error; its cause is that of SQLAlchemy, the driver or the operating system.
        backend: ``sqlite`` or ``postgresql``.
        target: The redacted URL, for the message.
    """
    cause = error.__cause__
    found = explain_driver_error(cause, backend, target) if isinstance(cause, Exception) else None
    found = found or UNREACHABLE.with_context(f"{target}: no answer in time")
    return found.with_context(
        f"{found.message}, during the commit: it is unknown whether the change was made",
        hint=OUTCOME_HINT,
        outcome_unknown=True,
    )


def _explain_connection(error: Exception, ca: Optional[str]) -> tuple[str, str]:
    """Return reason and hint for servers that cannot be used."""
    if isinstance(error, NoServerError):
        found = [(server, *_explain_connection(cause, ca)) for server, cause in error.failures]
        reason = "; ".join(f"{server}: {text}" for server, text, _ in found)
        hints = [hint for _, _, hint in found if hint != SERVER_HINT]
        return reason, next(iter(hints), SERVERS_HINT)
    if isinstance(error, WrongServerError):
        reason = f"the server {WRONG_SERVER[error.target]} (target_session_attrs={error.target})"
        return reason, TARGET_HINT
    if isinstance(error, DBAPIError):
        return _explain_postgresql(error)[1], SERVER_HINT
    return _explain_tls(error, ca) or (_explain_network(error), SERVER_HINT)


def _explain_tls(error: Exception, ca: Optional[str]) -> Optional[tuple[str, str]]:
    """Return reason and hint for an error of TLS, or None for any other error."""
    if "rejected SSL upgrade" in str(error):
        return "the server does not offer TLS", NO_TLS_HINT
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the server's certificate is refused: {error.verify_message}"
        return f"{reason} (checked with {ca})" if ca else reason, TLS_HINT
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}", TLS_HINT
    return None


def _quoted_name(message: str) -> str:
    """Return the table name that a message in any language quotes."""
    found = re.search(r"[\"'«„“]\s*(\w+)", message)
    return found[1] if found else "a table"


def _explain_network(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "the host name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, FileNotFoundError):
        return "the socket does not exist"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _explain_names(original: object) -> Optional[Explanation]:
    """Return the error for a part of the schema that is missing or a duplicate."""
    state = getattr(original, "sqlstate", None)
    if state not in _NAMES_STATES and not isinstance(original, sqlite3.OperationalError):
        return None
    text = str(original)
    for pattern, template, reason, hint in _NAMES:
        if match := pattern.match(text):
            return template, reason.format(**match.groupdict()), hint
    return None


def _explain_postgresql(error: DBAPIError) -> Explanation:
    state = str(getattr(error.orig, "sqlstate", "") or "")
    original = driver_exception(error)
    if getattr(original, "server_source_function", None) == ROW_SECURITY:
        table = _quoted_name(str(original))
        return FAILURE, f"row-level security on {table} hides rows from this user", POLICY_HINT
    if state == NOT_NULL:
        table, name = getattr(original, "table_name", ""), getattr(original, "column_name", "")
        return missing_value(f"{table}.{name}")
    found = _POSTGRESQL.get(state) or _POSTGRESQL_CLASSES.get(state[:2])
    if found is not None:
        return with_constraint(found, getattr(original, "constraint_name", None))
    fatal = getattr(original, "severity_en", None) == "FATAL"  # from a log-in, not from a statement
    if fatal and state[:2] in OPTION_STATES:
        return CONFIGURATION, "the server rejects a connection option", OPTION_HINT
    if error.connection_invalidated:
        return _POSTGRESQL_CLASSES["08"]
    if isinstance(error, IntegrityError):
        return _POSTGRESQL_CLASSES["23"]
    if state:
        return FAILURE, f"the server answered with error {state}", None
    kind = type(original or error).__name__
    return FAILURE, f"the driver failed: {kind}", None
