"""The record of each change: who did what to which row, with which result.

A record is written and synced before its transaction commits, so that every change has one. The
outcome of the transaction is one of three:

- It committed: no other record follows.
- It was certainly rolled back: a second record has the result ``failed``.
- The connection was lost during the commit: a second record has the result
  ``unknown`` and the ``reason``.

A job of many transactions writes ``started`` before its first commit, and at its end how
many rows its committed transactions changed. A ``started`` without an end means that the job
was killed: the number of rows that it changed is not recorded. When the outcome of its last
transaction is unknown, the end is ``unknown``, with the ``reason`` and the number of its rows as
``uncertain``.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Optional
from uuid import UUID

from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.filesystem.ownership import user_name
from clarinet_cli.services.audit_log import NOTHING_CHANGED, AuditLog, open_audit_log
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import UNCHANGED
from clarinet_cli.utils.logger import AUDIT, command_name, logger

FAILED = "failed"
STARTED = "started"
UNKNOWN = "unknown"


class _Entry(dict[str, object]):
    """A record: an object in a structured log, one line of JSON elsewhere."""

    def __str__(self) -> str:
        """Return the line."""
        return json.dumps(self)


@dataclass(slots=True)
class TransactionAudit:
    """The changes of one transaction, recorded before it commits.

    Attributes:
        log: The audit log.
    """

    log: AuditLog = field(default_factory=AuditLog)
    _entries: list[_Entry] = field(default_factory=list)
    _pending: list[_Entry] = field(default_factory=list)

    def add(self, target: Optional[UUID | str], result: str, **counts: object) -> None:
        """Add a change; ``unchanged`` is ignored.

        Args:
            target: The id of the account, or of the session; None for many.
            result: ``created``, ``updated``, ``deleted``, ``revoked``.
            **counts: Further counts, such as ``sessions_revoked``; no secret, no address.
        """
        if result != UNCHANGED:
            self._entries.append(_entry(target, result, **counts))

    def write(self) -> None:
        """Write a record for each change; they are uncertain until the commit.

        Raises:
            ClarinetError: They cannot be written.
        """
        self._pending = self._entries
        try:
            _record(self.log, self._entries, hint=NOTHING_CHANGED)
        except ClarinetError:
            if self.log.can_undo:
                self._pending = []
            raise

    def committed(self) -> None:
        """Mark the changes as committed."""
        self._pending = []

    def close(self, error: Optional[ClarinetError] = None) -> None:
        """Write the outcome of each recorded change that is not committed.

        An error of the audit log is suppressed here: the first error is the one to show.

        Args:
            error: Why it is not known whether the changes were made; None: they were not.
        """
        result = FAILED if error is None else UNKNOWN
        counts = {} if error is None else {"reason": error.message}
        entries = [_entry(entry.get("target"), result, **counts) for entry in self._pending]
        with suppress(ClarinetError):
            _record(self.log, entries)


@contextmanager
def audit_transaction() -> Iterator[TransactionAudit]:
    """Yield the audit records of one transaction, with the audit log opened before it begins.

    Raises:
        ClarinetError: The audit log cannot be opened or written.
    """
    unknown: Optional[ClarinetError] = None
    with open_audit_log() as log:
        audit = TransactionAudit(log)
        try:
            yield audit
        except ClarinetError as error:
            unknown = error if error.outcome_unknown else None
            raise
        finally:
            audit.close(unknown)


@dataclass(slots=True)
class JobRecord:
    """The records of a job of many transactions; see the module.

    Attributes:
        log: The audit log.
        result: What the job does to rows: ``deleted``, ``revoked``.
        count: The name of their number.
        extra_fields: More counts of the last record.
        done: The rows that committed transactions changed.
    """

    log: AuditLog
    result: str
    count: str
    extra_fields: dict[str, object] = field(default_factory=dict)
    done: int = 0
    _started: bool = False
    _pending: int = 0

    def before_commit(self, rows: int) -> None:
        """Record the start of the job before its first commit that changes rows.

        Raises:
            ClarinetError: The first record cannot be written.
        """
        if rows and not self._started:
            _record(self.log, [_entry(None, STARTED)], hint=NOTHING_CHANGED)
            self._started = True
        self._pending = rows

    def committed(self) -> None:
        """Mark the last transaction as committed."""
        self.done += self._pending
        self._pending = 0

    def close(self, error: Optional[ClarinetError] = None) -> None:
        """Write the last record, if there was a first one.

        Args:
            error: Why the outcome of the last transaction is unknown.

        Raises:
            ClarinetError: It cannot be written; the hint says what was done.
        """
        if not self._started:
            return
        counts: dict[str, object] = {self.count: self.done, **self.extra_fields}
        if error is not None:
            counts |= {"uncertain": self._pending, "reason": error.message}
            entry = _entry(None, UNKNOWN, **counts)
        else:
            entry = _entry(None, self.result if self.done else FAILED, **counts)
        verb = "was" if self.done == 1 else "were"
        _record(self.log, [entry], hint=f"{pluralize(self.done, 'session')} {verb} {self.result}")


@asynccontextmanager
async def audited_job(
    result: str, *, count: str, dry_run: bool = False
) -> AsyncIterator[JobRecord]:
    """Yield the records of a job, with the audit log opened before the job begins.

    Args:
        result: What the job does to rows: ``deleted``, ``revoked``.
        count: The name of the number of these rows.
        dry_run: Leave no record.

    Raises:
        ClarinetError: The audit log cannot be opened or written.
    """
    unknown: Optional[ClarinetError] = None
    with nullcontext(AuditLog()) if dry_run else open_audit_log() as log:
        job = JobRecord(log, result, count)
        try:
            yield job
        except ClarinetError as error:
            unknown = error if error.outcome_unknown else None
            raise
        finally:
            job.close(unknown)


def _entry(target: object, result: str, **counts: object) -> _Entry:
    fields: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user": user_name(os.geteuid()),
        "sudo_user": os.environ.get("SUDO_USER"),
        "host": socket.gethostname(),
        "command": command_name(),
        "target": None if target is None else str(target),
        "result": result,
        **counts,
    }
    return _Entry({name: value for name, value in fields.items() if value is not None})


def _record(log: AuditLog, entries: Iterable[_Entry], *, hint: Optional[str] = None) -> None:
    """Write records to the audit log, if there is one, and then to the ordinary one."""
    entries = list(entries)
    if not entries:
        return
    log.append([str(entry) for entry in entries], hint=hint)
    for entry in entries:
        logger.bind(**{AUDIT: entry}).info(f"audit: {entry}")
