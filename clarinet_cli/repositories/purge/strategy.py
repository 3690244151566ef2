"""The interface of a purge (scan, then delete batch by batch), and the form for any database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Optional

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    and_,
    case,
    delete,
    func,
    not_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from clarinet_cli.models import AccessToken
from clarinet_cli.models.functions import has_readable_timestamps
from clarinet_cli.repositories.base import execute_dml
from clarinet_cli.repositories.expiry_policy import CREATED

TOKEN = col(AccessToken.token)
VALID = has_readable_timestamps()
POSTGRESQL_BATCH_SECONDS = 0.045  # may double in one step, and should stay below 0.1
SQLITE_BATCH_SECONDS = 0.18
INVALID: ColumnElement[bool] = not_(VALID)


class ScanResult(NamedTuple):
    """The result of one scan step.

    Attributes:
        found: Stale sessions in this step.
        done: Whether this was the last step.
        invalid: Sessions in this step with an unreadable timestamp; None when the scan does
            not read all sessions.
    """

    found: int
    done: bool
    invalid: Optional[int]


class Batch(NamedTuple):
    """A range of neighbouring rows to delete in one transaction.

    Attributes:
        low: The range begins after this key.
        high: The range ends with this key.
        number: Stale sessions counted in it, or its share of those counted in a larger range.
        full: Whether it is as large as was asked for.
    """

    low: Any
    high: Any
    number: int
    full: bool


class ReasonCount(NamedTuple):
    """The stale sessions with one reason.

    Attributes:
        sessions: Their number.
        oldest: When the first of them was created; None if there is none.
    """

    sessions: int = 0
    oldest: Optional[datetime] = None


class PurgeStrategy(ABC):
    """Finds and deletes stale sessions on one kind of engine.

    Each scan step and each batch runs in a transaction of its own, which the caller opens.
    A delete repeats the predicate, so a session that the server extends between scan and
    delete is kept.

    Args:
        session: For all queries.
        stale: The condition for sessions to delete.
        key: The column that unlocked rows are selected by.

    Attributes:
        first_scan_size: Size of the first scan step, in a unit of the strategy's own.
        batch_seconds: How long the transaction of a batch should take.
        parameters: PostgreSQL settings for each transaction.
        row_locks: Whether other transactions lock single rows, which can be skipped.
        queries_batches: Whether ``next_batch`` runs a query, and so needs a transaction.
        stable_keys: Whether an updated row keeps its key. If so, a purge that reached its end
            has processed every stale session that the scan found.
        scans_concurrently: Whether the scan can run on its own session during the deletes.
        reasons: Conditions by which the scan counts stale sessions; each has one of them. Empty:
            it counts their total only.
        by_reason: The counts of the scan so far.
    """

    first_scan_size: ClassVar[int] = 5000
    batch_seconds: float = POSTGRESQL_BATCH_SECONDS
    parameters: ClassVar[Mapping[str, str]] = MappingProxyType({})
    row_locks: bool = True
    queries_batches: bool = True
    stable_keys: ClassVar[bool] = True
    scans_concurrently: ClassVar[bool] = False

    def __init__(
        self,
        session: AsyncSession,
        stale: ColumnElement[bool],
        key: SQLColumnExpression[Any] = TOKEN,
    ) -> None:
        self._session = session
        self._stale = stale
        self._key = key
        self.reasons: Mapping[str, ColumnElement[bool]] = {}
        self.by_reason: dict[str, ReasonCount] = {}

    @abstractmethod
    async def scan(self, size: int) -> ScanResult:
        """Count the stale sessions in the next step, of about this size."""

    @abstractmethod
    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the next batch, of about this many stale sessions; None at the end."""

    async def delete(self, batch: Batch, *, skip_locked: bool = False) -> int:
        """Delete the stale sessions of a batch and return their number.

        Args:
            batch: As ``next_batch`` returned it.
            skip_locked: Skip rows that another transaction has locked, instead of waiting.
        """
        criteria = self._criteria(batch)
        if skip_locked:
            unlocked = select(self._key).select_from(AccessToken).where(criteria)
            criteria = and_(self._key.in_(unlocked.with_for_update(skip_locked=True)), self._stale)
        return await execute_dml(self._session, delete(AccessToken).where(criteria))

    async def tokens(self, batch: Batch) -> Sequence[str]:
        """Return the tokens of the stale sessions of a batch."""
        query = select(TOKEN).where(self._criteria(batch))
        return (await self._session.scalars(query)).all()

    async def delete_tokens(self, tokens: Sequence[str]) -> int:
        """Delete those of some sessions that are stale; return their number."""
        criteria = and_(TOKEN.in_(tokens), self._stale)
        return await execute_dml(self._session, delete(AccessToken).where(criteria))

    async def count(self, batch: Batch) -> int:
        """Return the number of stale sessions in a batch; meaningful with ``stable_keys``."""
        query = select(func.count()).select_from(AccessToken).where(self._criteria(batch))
        return int((await self._session.scalars(query)).one())

    async def rewind(self, batch: Batch) -> bool:
        """Free disk space after a batch failed for lack of it, and go back to its start.

        Returns:
            Whether smaller batches may succeed. Where deleting needs no space but in the
            server's own log, they don't.
        """
        del batch
        return False

    async def detect_writers(self) -> None:
        """Adapt ``batch_seconds`` to whether other connections write, inside a transaction."""
        return

    def maintenance_due(self, *, last: bool) -> bool:
        """Return whether the engine needs maintenance after a transaction.

        Args:
            last: Nothing more will be deleted.
        """
        del last
        return False

    async def run_maintenance(self, *, last: bool) -> None:
        """Do the maintenance, outside of any transaction.

        Args:
            last: Nothing more will be deleted.
        """
        del last

    async def _count_reasons(self, session: AsyncSession, criteria: ColumnElement[bool]) -> int:
        """Count the stale sessions of a scan step by reason; return their total.

        Args:
            session: The session of the scan.
            criteria: The condition for the step's stale sessions.
        """
        counts = [
            column
            for reason in self.reasons.values()
            for column in (func.count().filter(reason), func.min(CREATED).filter(reason))
        ]
        query = select(*counts).select_from(AccessToken).where(criteria)
        found = iter((await session.execute(query)).one())
        total = 0
        for name, number, oldest in zip(self.reasons, found, found, strict=True):
            before = self.by_reason.get(name, ReasonCount())
            first = min(filter(None, (before.oldest, oldest)), default=None)
            self.by_reason[name] = ReasonCount(before.sessions + number, first)
            total += number
        return total

    @abstractmethod
    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        """Return the condition for the stale sessions of a batch."""


class KeysetPurge(PurgeStrategy):
    """Keyset pagination over the tokens.

    For engines that speak PostgreSQL's protocol without having ``ctid``, for partitioned
    tables, and for SQLite tables ``WITHOUT ROWID``.
    """

    def __init__(self, session: AsyncSession, stale: ColumnElement[bool]) -> None:
        super().__init__(session, stale)
        if session.get_bind().dialect.name == "sqlite":
            self.row_locks, self.batch_seconds = False, SQLITE_BATCH_SECONDS
        self._scanned: Optional[str] = None
        self._batched: Optional[str] = None

    async def scan(self, size: int) -> ScanResult:
        """Count among the next *size* keys."""
        is_stale = case((self._stale, 1), else_=0).label("stale")
        is_invalid = case((INVALID, 1), else_=0).label("invalid")
        rows = select(TOKEN.label("token"), is_stale, is_invalid).where(_after(self._scanned))
        step = rows.order_by(TOKEN).limit(size).subquery()
        sums = (func.sum(step.c.stale), func.sum(step.c.invalid))
        query = select(func.max(step.c.token), func.count(), *sums).select_from(step)
        high, number, found, invalid = (await self._session.execute(query)).one()
        if self.reasons and high is not None:
            here = and_(_after(self._scanned), high >= TOKEN, self._stale)
            found = await self._count_reasons(self._session, here)
        self._scanned = high or self._scanned
        return ScanResult(int(found or 0), done=number < size, invalid=int(invalid or 0))

    async def next_batch(self, size: int) -> Optional[Batch]:
        """Return the range of the next *size* stale keys."""
        keys: Select[tuple[str]] = select(TOKEN.label("token"))
        rows = keys.where(_after(self._batched), self._stale)
        step = rows.order_by(TOKEN).limit(size).subquery()
        query = select(func.max(step.c.token), func.count()).select_from(step)
        high, number = (await self._session.execute(query)).one()
        if not number:
            return None
        batch = Batch(self._batched, high, number, full=number == size)
        self._batched = high
        return batch

    async def rewind(self, batch: Batch) -> bool:
        """Go back to the first key of the batch."""
        self._batched = batch.low
        return True

    def _criteria(self, batch: Batch) -> ColumnElement[bool]:
        return and_(_after(batch.low), TOKEN <= batch.high, self._stale)


def _after(token: Optional[str]) -> ColumnElement[bool]:
    return true() if token is None else TOKEN > token
