"""The record of each change: who did what to which row, with which result.

A record is written before its transaction commits: there is no change without one. Should
the change not come to be after all, a second record with the result ``failed`` says so.
"""

import json
import os
import pwd
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import Access, get_async_session
from clarinet_cli.utils.logger import AUDIT, command_name, logger, open_audit_log

FAILED = "failed"
UNCHANGED = "unchanged"


@dataclass(slots=True)
class Trail:
    """What one transaction changes, to be recorded when it commits."""

    _changes: list[tuple[Optional[str], str, dict[str, Any]]] = field(default_factory=list)
    _uncertain: list[Optional[str]] = field(default_factory=list)

    def add(self, target: Optional[UUID | str], result: str, **counts: object) -> None:
        """Remember a change; what is unchanged is none.

        Args:
            target: The id of the account, or of the session; None for many.
            result: ``created``, ``updated``, ``deleted``, ``revoked``.
            **counts: What went with it, such as ``sessions_revoked``; no secret, no address.
        """
        if result != UNCHANGED:
            self._changes.append((None if target is None else str(target), result, counts))

    def write(self) -> None:
        """Write a record for each change; they are uncertain until the commit."""
        for target, result, counts in self._changes:
            self._uncertain.append(target)
            record(target, result, **counts)

    def committed(self) -> None:
        """The changes have come to be."""
        self._uncertain.clear()

    def write_failed(self) -> None:
        """Write of each change that was recorded and is not committed that it failed.

        An audit log that can't take that either is not the error to be shown.
        """
        for target in self._uncertain:
            with suppress(ClarinetError):
                record(target, FAILED)


@asynccontextmanager
async def audited_session(
    settings: Settings, *, dry_run: bool = False
) -> AsyncIterator[tuple[AsyncSession, Trail]]:
    """Yield a session for writing, and where its changes are noted down.

    At the end the records are written and the transaction commits; a dry run is rolled back
    and leaves no record.

    Args:
        settings: Which database.
        dry_run: Roll back at the end.

    Raises:
        ClarinetError: The driver's error, in the operator's words, or a record can't be
            written; nothing was changed.
    """
    trail = Trail()
    if not dry_run:
        open_audit_log()
    try:
        async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
            yield session, trail
            if not dry_run:
                _write_or_refuse(trail)
        trail.committed()
    finally:
        trail.write_failed()


def _write_or_refuse(trail: Trail) -> None:
    """Write the records before the commit; without them nothing is changed."""
    try:
        trail.write()
    except ClarinetError as error:
        logger.bind(reported=True).error(f"audit log: {error.message}")
        raise FAILURE.with_context(error.message, hint="nothing was changed") from error


class _Entry(dict[str, object]):
    """A record: an object in a structured log, one line of JSON elsewhere."""

    def __str__(self) -> str:
        """Return the line."""
        return json.dumps(self)


def record(target: Optional[UUID | str], result: str, **counts: object) -> None:
    """Write the record of a change to the log, and to the audit log if there is one.

    Args:
        target: The id of the account, or of the session; None for many.
        result: What happened to it.
        **counts: What went with it; no secret, no address.

    Raises:
        ClarinetError: The audit log can't be written.
    """
    open_audit_log()
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user": _user_name(),
        "sudo_user": os.environ.get("SUDO_USER"),
        "host": socket.gethostname(),
        "command": command_name(),
        "target": None if target is None else str(target),
        "result": result,
        **counts,
    }
    entry = _Entry({name: value for name, value in fields.items() if value is not None})
    try:
        logger.bind(**{AUDIT: entry}).info(f"audit: {entry}")
    except OSError as error:
        logger.bind(reported=True).error(f"audit log: {error}")
        raise FAILURE.with_context(f"can't write the audit log: {error.strerror}") from error


def record_done(result: str, done: str, **counts: object) -> None:
    """Write the record of a job that took several transactions, after them.

    Args:
        result: What happened.
        done: What was done, in words, for the hint of an error: it can't be taken back.
        **counts: See ``record``.

    Raises:
        ClarinetError: The audit log can't be written.
    """
    try:
        record(None, result, **counts)
    except ClarinetError as error:
        logger.bind(reported=True).error(f"audit log: {error.message}; {done}")
        raise FAILURE.with_context(error.message, hint=done) from error


def _user_name() -> str:
    """Return the name of the operating-system user, whatever the environment says."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
