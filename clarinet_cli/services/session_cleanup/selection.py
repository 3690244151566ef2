"""The sessions that a clean-up deletes, and the scan that counts them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Optional, Self

from sqlalchemy import ColumnElement, and_, false, not_
from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.engine import Access
from clarinet_cli.database.table_check import require_server_tables
from clarinet_cli.models.functions import has_readable_timestamps
from clarinet_cli.repositories.expiry_policy import CREATED, ExpiryPolicy
from clarinet_cli.repositories.purge import PurgeStrategy, choose_purge_strategy
from clarinet_cli.repositories.references import (
    SESSION_TABLE,
    Reference,
    ReferenceRepository,
    can_protect,
    is_protected,
    references_to,
)
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.services.clocks import compare_clocks, expiry_policy
from clarinet_cli.services.session_cleanup.plan import CleanupPlan
from clarinet_cli.services.session_cleanup.transaction import BatchSizer, TransactionRunner
from clarinet_cli.settings import Settings

Counts = dict[str, int]


@dataclass(slots=True)
class Selection:
    """The sessions to delete, and the rows of other tables that refer to them.

    Attributes:
        plan: What to delete.
        policy: The reference time and the limits for all sessions.
        references: The foreign keys to sessions.
        clock_difference: Seconds that the database's clock is ahead of this machine's.
        protected: Stale sessions that rows of other tables protect.
        protected_by: Number of these rows by ``table.column``.
        cascaded: Rows that are deleted by cascade, by ``table.column``.
    """

    plan: CleanupPlan
    policy: ExpiryPolicy
    references: tuple[Reference, ...]
    clock_difference: float = 0.0
    protected: int = 0
    protected_by: Counts = field(default_factory=dict)
    cascaded: Counts = field(default_factory=dict)

    @classmethod
    async def create(
        cls,
        session: AsyncSession,
        settings: Settings,
        plan: CleanupPlan,
        now: Optional[datetime] = None,
    ) -> Self:
        """Freeze the reference time and read the foreign keys, in the caller's transaction.

        Args:
            session: The session of the transaction.
            settings: The idle limit.
            plan: What to delete.
            now: The reference time; by default that of the clocks.

        Raises:
            ClocksDifferError: The clocks differ too much to delete by one of them.
        """
        await require_server_tables(session)
        difference = 0.0
        if now is None:
            clocks = await compare_clocks(session)
            difference = clocks.difference
            if plan.trust_clock:
                clocks.warn("the database's clock")
                now = clocks.database
            else:
                if not plan.dry_run:
                    clocks.require_agreement()
                clocks.warn()
                now = clocks.earlier
        references = await references_to(session, SESSION_TABLE)
        return cls(plan, expiry_policy(settings, now), references, difference)

    @property
    def stale_if_valid(self) -> ColumnElement[bool]:
        """The stale sessions, among those whose timestamps can be read."""
        return self.policy.stale_if_valid(
            expired_only=self.plan.expired_only, older_than=self.plan.older_than
        )

    @property
    def reasons(self) -> dict[str, ColumnElement[bool]]:
        """Conditions of which each stale session meets one: why it is deleted."""
        plan, policy = self.plan, self.policy
        found: dict[str, ColumnElement[bool]] = {"expired": policy.expired}
        others = not_(policy.expired)
        if not plan.expired_only and policy.idle_after is not None:
            found["idle"], others = policy.idle, policy.live
        if plan.older_than is not None:
            found["old"] = and_(others, policy.ago(plan.older_than) > CREATED)
        return found

    @property
    def deletable_if_valid(self) -> ColumnElement[bool]:
        """The stale sessions that no other table protects, under the same condition."""
        if not can_protect(self.references):
            return self.stale_if_valid
        return and_(self.stale_if_valid, not_(is_protected(self.references)))

    async def choose_strategy(
        self,
        session: AsyncSession,
        *,
        count_only: bool,
        extra_sessions: Sequence[AsyncSession] = (),
    ) -> PurgeStrategy:
        """Return the strategy for these sessions; see ``choose_purge_strategy``."""
        plan = self.plan
        strategy = await choose_purge_strategy(
            session,
            self.deletable_if_valid,
            by_expiry=plan.older_than is None
            and (plan.expired_only or self.policy.idle_after is None),
            exact=plan.limit is not None or plan.largest_batch is not None,
            count_only=count_only,
            extra_sessions=extra_sessions,
        )
        strategy.reasons = self.reasons if plan.dry_run else {}
        return strategy

    async def count_before(self, transactions: TransactionRunner) -> None:
        """Count the rows that would be deleted by cascade."""
        if self.references:
            _, self.cascaded = await self._count_rows(transactions, self.deletable_if_valid)

    async def count_after(self, transactions: TransactionRunner) -> None:
        """Count the rows that were deleted by cascade, and the protected sessions."""
        if self.references and not self.plan.dry_run:
            _, left = await self._count_rows(transactions, self.deletable_if_valid)
            gone = {name: count - left.get(name, 0) for name, count in self.cascaded.items()}
            self.cascaded = {name: count for name, count in gone.items() if count > 0}
        if can_protect(self.references):
            kept = and_(self.stale_if_valid, is_protected(self.references))
            criteria = and_(kept, has_readable_timestamps())
            sessions = SessionRepository(transactions.session)
            self.protected = await transactions.run_with_retry(
                Access.READ, lambda: sessions.count(criteria)
            )
            self.protected_by, _ = await self._count_rows(transactions, kept)

    async def _count_rows(
        self, transactions: TransactionRunner, stale_if_valid: ColumnElement[bool]
    ) -> tuple[Counts, Counts]:
        """Return the numbers of rows that protect sessions, and that are deleted by cascade."""
        criteria = and_(stale_if_valid, has_readable_timestamps())
        rows = ReferenceRepository(transactions.session)
        return await transactions.run_with_retry(
            Access.READ, lambda: rows.to_sessions(self.references, criteria)
        )


async def choose_counting_strategy(session: AsyncSession) -> PurgeStrategy:
    """Return a strategy whose scan reads all sessions and finds none of them stale."""
    return await choose_purge_strategy(session, false(), by_expiry=False, count_only=True)


STEP_SECONDS = 0.05


@dataclass(slots=True)
class Scanner:
    """Counts stale sessions, each step in a transaction of its own.

    Attributes:
        transactions: Runs the steps.
        strategy: The strategy of the scan.
        found: Stale sessions found so far.
        invalid: Sessions with an unreadable timestamp so far; None if the scan does not read all.
        complete: Whether all sessions were scanned.
        finished: Whether nothing more will be found: complete, stopped or failed.
    """

    transactions: TransactionRunner
    strategy: PurgeStrategy
    found: int = 0
    invalid: Optional[int] = 0
    complete: bool = False
    finished: bool = False
    _step_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Scan all sessions, or as many as there is time for; at least one step.

        Raises:
            BusyError: Another transaction held a lock for too long.
            CleanupStopped: The run was stopped while it waited for a lock.
        """
        sizer = BatchSizer(STEP_SECONDS, self.strategy.first_scan_size)
        try:
            while not self.complete:
                scan = partial(self.strategy.scan, sizer.size)
                result = await self.transactions.run_with_retry(Access.READ, scan)
                sizer.observe(self.transactions.seconds)
                self.found, self.complete = self.found + result.found, result.done
                if self.invalid is not None:
                    self.invalid = None if result.invalid is None else self.invalid + result.invalid
                self._step_done.set()
                if self.transactions.stopped:
                    break
        finally:
            self.finished = True
            self._step_done.set()

    def next_step(self) -> asyncio.Event:
        """Return an event that is set by the next step, or by the end of the scan."""
        if not self.finished:
            self._step_done = asyncio.Event()
        return self._step_done
