"""Translation of SQLite's errors into messages and exit codes."""

import re
import sqlite3
from typing import Optional

from sqlalchemy.exc import DBAPIError

from clarinet_cli.exceptions import (
    BUSY,
    CONFLICT,
    FAILURE,
    LOGIN_REFUSED,
    NO_SPACE,
    UNREACHABLE,
    ClarinetError,
)

DISK_HINT = "check the disk's free space"
# SQLite's messages about a schema; they contain names of the schema and no values.
MALFORMED = re.compile(r"malformed database schema \((.*?)\) - (.*)")
APPLICATION_ONLY = re.compile(
    r"(?:no such (collation) sequence|(?:unknown|no such) function): (.+)"
)
Explanation = tuple[ClarinetError, str, Optional[str]]
"""The template of an error, the reason, and the hint."""
_SQLITE: dict[str, Explanation] = {
    "SQLITE_BUSY": (BUSY, "locked by another process", None),
    "SQLITE_LOCKED": (BUSY, "locked by another process", None),
    "SQLITE_CANTOPEN": (UNREACHABLE, "the file cannot be opened", "check path and permissions"),
    "SQLITE_NOTADB": (LOGIN_REFUSED, "the file is not a SQLite database", None),
    "SQLITE_CORRUPT": (FAILURE, "the file is damaged", "restore it from a backup"),
    "SQLITE_READONLY": (FAILURE, "the file or its directory is read-only", None),
    "SQLITE_FULL": (NO_SPACE, "the disk is full", None),
    # SQLite reports a full disk as SQLITE_FULL, but an exceeded quota as a write error.
    "SQLITE_IOERR_WRITE": (
        NO_SPACE,
        "reading or writing the file failed",
        DISK_HINT,
    ),
    "SQLITE_IOERR": (
        FAILURE,
        "reading or writing the file failed",
        DISK_HINT,
    ),
    "SQLITE_CONSTRAINT_TRIGGER": (FAILURE, "a trigger of the database refused the change", None),
    "SQLITE_CONSTRAINT_CHECK": (CONFLICT, "a value violates a check of the database", None),
    "SQLITE_CONSTRAINT": (CONFLICT, "other rows depend on it, or it already exists", None),
}
DEFAULT_HINT = "the application's migrations can give the column a default"
NOT_NULL_TEXT = re.compile(r"NOT NULL constraint failed: (.+)$")
GENERATED_TEXT = re.compile(r"cannot (?:UPDATE|INSERT into) generated column")
CHECK_FAILED_TEXT = re.compile(r"CHECK constraint failed: (\w+)$")
# A driver's message may quote a row, with a token or a hash, and is never shown. These are known
# messages, from which only names of the schema are used.
_SQLITE_TEXTS: tuple[tuple[re.Pattern[str], str, Optional[str]], ...] = (
    (
        re.compile(r"Could not decode to UTF-8 column '(\w+)' with text "),
        r"a value in column \1 is not UTF-8 text",
        None,
    ),
)


def explain_sqlite_error(error: DBAPIError) -> Explanation:
    """Return the template, the reason and the hint for an error of SQLite.

    Args:
        error: What SQLAlchemy raised.
    """
    original = error.orig
    if found := _explain_sqlite_schema(str(original)):
        return found
    if match := NOT_NULL_TEXT.match(str(original)):
        return missing_value(match[1])
    if GENERATED_TEXT.match(str(original)):
        return CONFLICT, "a column that the database generates cannot be set", None
    name = getattr(original, "sqlite_errorname", "")
    for prefix, found in _SQLITE.items():
        if name.startswith(prefix):
            match = CHECK_FAILED_TEXT.match(str(original))
            return with_constraint(found, match and match[1])
    if isinstance(original, sqlite3.OperationalError):
        text = str(original)
        for form, reason, hint in _SQLITE_TEXTS:
            if match := form.match(text):
                return FAILURE, match.expand(reason), hint
    return FAILURE, f"SQLite failed: {name or type(original).__name__}", None


def _explain_sqlite_schema(text: str) -> Optional[Explanation]:
    """Return the error for a schema that this SQLite version or build cannot read."""
    if match := MALFORMED.match(text):
        reason = f"SQLite {sqlite3.sqlite_version} cannot read the schema: {match[1]}: {match[2]}"
        return (
            FAILURE,
            reason,
            "a newer SQLite, or one with extensions, may have created it",
        )
    if match := APPLICATION_ONLY.match(text):
        kind = "collation" if match[1] else "function"
        reason = f"the schema needs the {kind} {match[2]} of the application that created it"
        return FAILURE, reason, f"drop the index, trigger or constraint that uses {match[2]}"
    return None


def missing_value(column: str) -> Explanation:
    """Return the error for a column that got no value.

    Args:
        column: The column with its table.
    """
    return CONFLICT, f"{column} requires a value", DEFAULT_HINT


def with_constraint(found: Explanation, name: Optional[str]) -> Explanation:
    """Return the error with the name of the violated constraint, if it is known.

    Args:
        found: The explanation without it.
        name: The constraint; None: not known.
    """
    template, reason, hint = found
    return (template, f"{reason} (constraint {name})", hint) if name else found
