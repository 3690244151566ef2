"""One run of a clean-up: scan all sessions, then delete the stale ones batch by batch."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Optional

from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import driver_errors
from clarinet_cli.exceptions import BusyError, ConflictError, NoSpaceError
from clarinet_cli.repositories.base import batches
from clarinet_cli.repositories.purge import Batch, PurgeStrategy
from clarinet_cli.repositories.references import ReferenceRepository
from clarinet_cli.services.audit import JobRecord
from clarinet_cli.services.locks import CheckLock
from clarinet_cli.services.session_cleanup.plan import CleanupPlan
from clarinet_cli.services.session_cleanup.selection import Scanner, Selection
from clarinet_cli.services.session_cleanup.transaction import (
    RETRY_INTERVAL_SECONDS,
    RETRY_SECONDS,
    ROW_LOCK_SECONDS,
    BatchSizer,
    CleanupStopped,
    TransactionRunner,
)
from clarinet_cli.types import ProgressCallback
from clarinet_cli.utils.logger import logger

LOCK_CHECK_SECONDS = 0.2


class DeleteResult(NamedTuple):
    """The result of one delete.

    Attributes:
        deleted: Sessions deleted.
        undeleted: Sessions that are still stale and still exist: a trigger or rule may keep them.
    """

    deleted: int
    undeleted: int


@dataclass(slots=True)
class CleanupRun:
    """The state of a run.

    Attributes:
        plan: What to delete, and the limits.
        selection: The sessions to delete.
        strategy: How to find and delete them.
        transactions: Runs the deletes.
        scanner: Finds stale sessions; with a session of its own, while others are deleted.
        sizer: The size of the batches.
        pause: Seconds between two batches.
        record: The audit record.
        check_lock: Fails when another process may have taken the lock of clean-ups.
        progress: Called after each batch.
        deleted: Sessions deleted.
        batches: Transactions that deleted some.
        processed: Sessions deleted, not deleted, or found to be live again.
        undeleted: Sessions still stale and still there after their delete.
        reached_end: Whether all batches were processed.
        out_of_space: The error of the full disk that ended the run.
        locked_batches: Batches with rows that another transaction has locked.
        protected_by: Sessions that the server refused to delete, by the ``table.column`` that
            refers to them: this role cannot read it.
    """

    plan: CleanupPlan
    selection: Selection
    strategy: PurgeStrategy
    transactions: TransactionRunner
    scanner: Scanner
    sizer: BatchSizer
    pause: float
    record: JobRecord
    check_lock: CheckLock
    progress: ProgressCallback
    deleted: int = 0
    batches: int = 0
    processed: int = 0
    undeleted: int = 0
    reached_end: bool = False
    out_of_space: Optional[NoSpaceError] = None
    locked_batches: deque[Batch] = field(default_factory=deque)
    protected_by: Counter[str] = field(default_factory=Counter)
    _lock_checked: float = 0.0

    async def execute(self) -> None:
        """Scan all sessions and delete the stale ones, as far as the plan allows.

        Raises:
            NoSpaceError: The disk was full before anything was deleted.
        """
        try:
            await self._scan_and_delete()
        except CleanupStopped:
            logger.debug("clean-up: stopped while it waited for a lock")
        except NoSpaceError as error:
            logger.debug("clean-up: the disk is full")
            self.out_of_space = error
        finally:
            self.record.extra_fields["matched"] = self.scanner.found
        if self.out_of_space is not None and not self.deleted:
            raise self.out_of_space

    @property
    def processed_all(self) -> bool:
        """Whether all stale sessions were processed, so that only ``undeleted`` are left."""
        if not self.scanner.complete or self.locked_batches:
            return False
        all_deleted = self.deleted == self.scanner.found
        return all_deleted or (self.reached_end and self.strategy.stable_keys)

    async def _scan_and_delete(self) -> None:
        await self.selection.count_before(self.transactions)
        if self.plan.dry_run:
            await self.scanner.run()
        elif self.strategy.scans_concurrently:
            scan = asyncio.create_task(self.scanner.run())
            try:
                await self._delete_batches()
                await scan
            finally:
                scan.cancel()
                await asyncio.gather(scan, return_exceptions=True)
        else:
            try:
                await self.scanner.run()
            except NoSpaceError as error:
                logger.debug("clean-up: no disk space to store what is stale")
                self.out_of_space = error
            if self.scanner.complete or self.out_of_space:
                await self._delete_batches()

    async def _delete_batches(self) -> None:
        while self._should_continue and not self.reached_end:
            await self._check_lock_throttled()
            scan_finished, next_step = self.scanner.finished, self.scanner.next_step()
            batch = await self._next_batch()
            if batch is not None:
                await self._delete(batch)
                await self._maintain()
                await self._pause()
            elif scan_finished:
                self.reached_end = True
            else:
                await next_step.wait()
        await self._maintain(last=True)
        await self._retry_locked()

    @property
    def _next_size(self) -> int:
        """Maximum sessions for the next transaction."""
        limit = self.plan.limit
        return self.sizer.size if limit is None else min(self.sizer.size, limit - self.deleted)

    @property
    def _should_continue(self) -> bool:
        return self._next_size > 0 and not self.transactions.stopped

    async def _check_lock_throttled(self) -> None:
        """Fail if the lock of clean-ups was lost; checked at intervals, to save round trips."""
        now = asyncio.get_running_loop().time()
        if now - self._lock_checked >= LOCK_CHECK_SECONDS:
            await self.check_lock()
            self._lock_checked = now

    async def _next_batch(self) -> Optional[Batch]:
        """Return the next batch, of a size that depends on whether others write."""
        if not self.strategy.queries_batches:
            return await self.strategy.next_batch(self._next_size)

        async def query() -> Optional[Batch]:
            await self.strategy.detect_writers()
            self.sizer.set_target(self.strategy.batch_seconds)
            return await self.strategy.next_batch(self._next_size)

        return await self.transactions.run_with_retry(Access.READ, query)

    async def _delete(self, batch: Batch) -> None:
        """Delete a batch; rows that another transaction has locked are tried again later."""
        try:
            result = await self._delete_once(batch, wait=not self.strategy.row_locks)
        except BusyError as error:
            logger.debug(f"clean-up: {error.message}")
            if not self.strategy.row_locks:
                raise
            # The unlocked rows are deleted, the others kept for ``_retry_locked``.
            result = await self._delete_once(batch, skip_locked=True)
            self.locked_batches.append(batch._replace(number=batch.number - result.deleted))
            self._add(result, processed=result.deleted)
        except ConflictError as error:
            logger.debug(f"clean-up: {error.message}")
            await self._delete_unprotected(batch)
        except NoSpaceError as error:
            logger.debug(f"clean-up: {error.message}")
            if not self.sizer.shrink():
                raise
            with driver_errors(self.transactions.url):
                rewound = await self.strategy.rewind(batch)
            if not rewound:
                raise
        else:
            if batch.full:
                self.sizer.observe(self.transactions.seconds)
            self._add(result, processed=batch.number)

    async def _delete_unprotected(self, batch: Batch) -> None:
        """Delete the sessions of a batch that no foreign key protects, found by bisection."""
        run = self.transactions.run_with_retry
        tokens = await run(Access.READ, partial(self.strategy.tokens, batch))
        pending = list(batches(tokens))
        while pending and not self.transactions.stopped:
            some = pending.pop()
            try:
                deleted = await self._delete_tokens(some)
            except ConflictError as error:
                logger.debug(f"clean-up: {error.message}")
                half = len(some) // 2
                if half:
                    pending += [some[:half], some[half:]]
                    continue
                references = ReferenceRepository(self.transactions.session)
                name = partial(references.name_of, error.constraint or "another table")
                self.protected_by[await run(Access.READ, name)] += 1
            else:
                self._add(DeleteResult(deleted, 0), processed=0)
        self.processed += batch.number

    async def _delete_tokens(self, tokens: Sequence[str]) -> int:
        """Delete sessions in one transaction, with its audit record before the commit."""

        async def delete() -> int:
            deleted = await self.strategy.delete_tokens(tokens)
            self.record.before_commit(deleted)
            return deleted

        deleted = await self.transactions.run_with_retry(Access.WRITE, delete)
        self.record.committed()
        return deleted

    async def _retry_locked(self) -> None:
        """Try the rows that were locked again, for ``RETRY_SECONDS``."""
        give_up = asyncio.get_running_loop().time() + RETRY_SECONDS
        while self.locked_batches and not self.transactions.stopped:
            batch = self.locked_batches[0]
            if self._next_size < batch.number:
                return
            await self._check_lock_throttled()
            try:
                result = await self._delete_once(batch, wait=False)
            except BusyError as error:
                logger.debug(f"clean-up: still locked: {error.message}")
                if asyncio.get_running_loop().time() >= give_up:
                    return
                self.locked_batches.rotate()
                await self.transactions.sleep(RETRY_INTERVAL_SECONDS)
            else:
                self.locked_batches.popleft()
                self._add(result, processed=batch.number)

    async def _delete_once(
        self, batch: Batch, *, skip_locked: bool = False, wait: bool = True
    ) -> DeleteResult:
        """Delete a batch in one transaction, with its audit record before the commit.

        If fewer sessions are deleted than were found, those that are still stale are counted.

        Args:
            batch: What to delete.
            skip_locked: Skip rows that another transaction has locked.
            wait: See ``TransactionRunner.run_with_retry``.
        """

        async def delete() -> DeleteResult:
            deleted = await self.strategy.delete(batch, skip_locked=skip_locked)
            countable = self.strategy.stable_keys and not skip_locked
            undeleted = (
                await self.strategy.count(batch) if countable and deleted < batch.number else 0
            )
            self.record.before_commit(deleted)
            return DeleteResult(deleted, undeleted)

        result = await self.transactions.run_with_retry(
            Access.WRITE, delete, lock_timeout=ROW_LOCK_SECONDS, wait=wait
        )
        self.record.committed()
        return result

    async def _maintain(self, *, last: bool = False) -> None:
        if self.strategy.maintenance_due(last=last):
            with driver_errors(self.transactions.url):
                await self.strategy.run_maintenance(last=last)

    async def _pause(self) -> None:
        """Sleep between batches, so that other writers can proceed.

        The time of maintenance counts as a part of the pause, unless the plan sets it. On a nearly
        full disk batches and pauses are short.
        """
        if not self._should_continue or (
            self.scanner.finished and self.processed >= self.scanner.found
        ):
            return
        pause = self.pause
        if self.plan.pause is None:
            if self.sizer.disk_limit is not None:
                pause = min(pause, 2 * self.transactions.seconds)
            pause -= asyncio.get_running_loop().time() - self.transactions.finished
        await self.transactions.sleep(pause)

    def _add(self, result: DeleteResult, *, processed: int) -> None:
        self.deleted += result.deleted
        self.undeleted += result.undeleted
        self.processed += processed
        self.batches += 1 if result.deleted else 0
        logger.debug(
            f"clean-up: batch {self.batches}, {self.deleted} of {self.scanner.found} deleted"
        )
        self.progress(self.deleted, self.scanner.found)
