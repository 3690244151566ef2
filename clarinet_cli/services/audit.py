"""The record of each change: who did what to which row, with which result.

A record is written before its transaction commits: there is no change without one. Should
the commit then fail, a second record with the result ``failed`` says so.
"""

import json
import os
import pwd
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import FAILURE, ClarinetError
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import Access, get_async_session
from clarinet_cli.utils.logger import AUDIT, command_name, logger

FAILED = "failed"
UNCHANGED = "unchanged"


@dataclass(slots=True)
class Trail:
    """What one transaction changes, to be recorded when it commits."""

    _changes: list[tuple[Optional[str], str, dict[str, Any]]] = field(default_factory=list)

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
        """Write a record for each change."""
        for target, result, counts in self._changes:
            record(target, result, **counts)

    def write_failed(self) -> None:
        """Write that the changes did not come to be."""
        for target, _, _ in self._changes:
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
    trail, written = Trail(), False
    try:
        async with get_async_session(settings, access=Access.WRITE, dry_run=dry_run) as session:
            yield session, trail
            if not dry_run:
                trail.write()
                written = True
    except ClarinetError:
        if written:
            trail.write_failed()
        raise


def record(target: Optional[UUID | str], result: str, **counts: object) -> None:
    """Write the record of a change to the log, and to the audit log if there is one.

    Args:
        target: The id of the account, or of the session; None for many.
        result: What happened to it.
        **counts: What went with it; no secret, no address.

    Raises:
        ClarinetError: The audit log can't be written.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user": _user_name(),
        "sudo_user": os.environ.get("SUDO_USER"),
        "host": socket.gethostname(),
        "command": command_name(),
        "target": None if target is None else str(target),
        "result": result,
        **counts,
    }
    line = json.dumps({name: value for name, value in entry.items() if value is not None})
    try:
        logger.bind(**{AUDIT: line}).info(f"audit: {line}")
    except OSError as error:
        logger.bind(reported=True).error(f"audit log: {error}")
        raise FAILURE.with_context(
            f"can't write the audit log: {error.strerror}", hint="nothing was changed"
        ) from error


def _user_name() -> str:
    """Return the name of the operating-system user, whatever the environment says."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
