"""The clean-up deletes exactly the stale sessions, in batches, one run at a time."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Optional
from uuid import UUID

import asyncpg
import pytest

from clarinet_cli.exceptions import BusyError, ClarinetError
from clarinet_cli.results import CleanupReport
from clarinet_cli.services.locks import Job, job_lock
from clarinet_cli.services.session_cleanup import CleanupPlan, StopRequest, clean_up, serve
from tests import oracle
from tests.oracle import IDLE_LIMIT, RawSession
from tests.patience import PATIENCE_SECONDS
from tests.support import FIXTURE_NOW, Project

ADMIN = "admin@clarinet.ru"
BOB = "bob@clarinet.example"
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)


def plan(**options: Any) -> CleanupPlan:
    """Return a plan without pauses; no batch is larger than the first one."""
    largest = options.get("batch_size", 1000)
    return CleanupPlan(**{"batch_size": 1000, "largest_batch": largest, "pause": 0.0, **options})


def dead_tokens(project: Project, **options: Any) -> set[str]:
    """Return the tokens that a clean-up at the fixture's timestamp removes."""
    return tokens_of(oracle.raw_sessions(project), **options)


def tokens_of(sessions: list[RawSession], **options: Any) -> set[str]:
    """Return the tokens of those sessions that a clean-up removes."""
    return {item.token for item in sessions if item.is_stale(FIXTURE_NOW, **options)}


def add_stale(project: Project, number: int, *, now: datetime = FIXTURE_NOW) -> set[str]:
    """Add expired sessions of the first administrator, and return all stale tokens."""
    user_id = oracle.user_id_of(project, ADMIN)
    oracle.add_sessions(project, user_id, number, now=now, dead=True)
    return {item.token for item in oracle.raw_sessions(project) if item.is_stale(now)}


def revive(project: Project, *, now: datetime = FIXTURE_NOW) -> None:
    """Do to every session what the server does when one is used."""
    oracle.rows(
        project,
        "UPDATE access_token SET expires_at = ?, last_accessed = ?",
        now + timedelta(hours=24),
        now,
    )


class TestWhatGoes:
    """Stale sessions are deleted, all others stay."""

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"expired_only": True},
            {"older_than": timedelta(days=30)},
            {"older_than": timedelta(days=4)},
            {"older_than": timedelta(minutes=1)},
            {"older_than": timedelta(days=4000)},
            {"older_than": timedelta(days=30), "expired_only": True},
        ],
        ids=str,
    )
    async def test_exactly_the_stale_ones_of_a_real_database(
        self, server_project: Project, options: dict[str, Any]
    ) -> None:
        """Expired, idle and old sessions by the plan; blocked and live ones stay."""
        oracle.deactivate(server_project, BOB)
        before = oracle.tokens(server_project)
        dead = dead_tokens(server_project, **options)
        assert dead
        report = await clean_up(server_project.settings, plan(**options), now=FIXTURE_NOW)
        assert oracle.tokens(server_project) == before - dead
        assert (report.matched, report.deleted, report.remaining) == (len(dead), len(dead), 0)
        assert (report.complete, report.dry_run) == (True, False)
        assert report.batches == 1
        assert report.seconds >= 0

    @pytest.mark.parametrize(("minutes", "idle"), [(0, None), (1, 1), (24 * 60 * 9, 24 * 60 * 9)])
    async def test_idle_limit_is_that_of_the_settings(
        self, server_project: Project, minutes: int, idle: Optional[int]
    ) -> None:
        """The settings' limit decides who is idle; 0 means that only expiry counts."""
        server_project.write_settings(f"session_idle_timeout_minutes = {minutes}\n")
        limit = None if idle is None else timedelta(minutes=idle)
        before = oracle.tokens(server_project)
        dead = dead_tokens(server_project, idle=limit)
        await clean_up(server_project.settings, plan(), now=FIXTURE_NOW)
        assert oracle.tokens(server_project) == before - dead

    async def test_other_tables_stay_as_they_are(self, server_project: Project) -> None:
        """Users, roles, the server's other tables and alembic_version are not touched."""
        before = oracle.snapshot(server_project)
        await clean_up(server_project.settings, plan(older_than=DAY), now=FIXTURE_NOW)
        after = oracle.snapshot(server_project)
        assert len(after["access_token"]) < len(before["access_token"])
        assert oracle.without(after, "access_token") == oracle.without(before, "access_token")

    async def test_boundaries_are_the_servers(self, project: Project) -> None:
        """Expiring now is stale, unused for just the limit is live, one tick more is stale."""
        user_id = oracle.user_id_of(project, ADMIN)
        added = {
            add_session(project, user_id, expires=expires, used=used): gone
            for expires, used, gone in (
                (timedelta(0), timedelta(0), True),
                (TICK, timedelta(0), False),
                (-TICK, timedelta(0), True),
                (DAY, IDLE_LIMIT, False),
                (DAY, IDLE_LIMIT + TICK, True),
            )
        }
        report = await clean_up(project.settings, plan(), now=FIXTURE_NOW)
        assert report.deleted == 3
        assert oracle.tokens(project) == {token for token, gone in added.items() if not gone}

    async def test_older_than_means_longer_ago(self, project: Project) -> None:
        """A session of exactly that age stays; one tick older is deleted, though live."""
        user_id = oracle.user_id_of(project, ADMIN)
        kept = add_session(project, user_id, created=30 * DAY)
        add_session(project, user_id, created=30 * DAY + TICK)
        report = await clean_up(project.settings, plan(older_than=30 * DAY), now=FIXTURE_NOW)
        assert report.deleted == 1
        assert oracle.tokens(project) == {kept}

    async def test_without_stale_sessions_nothing_is_done(self, project: Project) -> None:
        """With live sessions only, zeros are reported and everything stays."""
        add_session(project, oracle.user_id_of(project, ADMIN))
        before = oracle.snapshot(project)
        report = await clean_up(project.settings, plan(), now=FIXTURE_NOW)
        assert (report.matched, report.deleted, report.remaining, report.batches) == (0, 0, 0, 0)
        assert report.complete
        assert oracle.snapshot(project) == before

    async def test_repeating_it_finds_nothing_more(self, server_project: Project) -> None:
        """A second run matches nothing."""
        first = await clean_up(server_project.settings, plan(), now=FIXTURE_NOW)
        before = oracle.snapshot(server_project)
        second = await clean_up(server_project.settings, plan(), now=FIXTURE_NOW)
        assert first.deleted > 0
        assert (second.matched, second.deleted, second.complete) == (0, 0, True)
        assert oracle.snapshot(server_project) == before

    async def test_the_databases_clock_is_the_default(self, project: Project) -> None:
        """Without a reference time, sessions are evaluated at the present time."""
        user_id = oracle.user_id_of(project, ADMIN)
        now = datetime.now(UTC)
        kept = add_session(project, user_id, now=now, expires=timedelta(minutes=5))
        add_session(project, user_id, now=now, expires=timedelta(minutes=-5))
        report = await clean_up(project.settings, plan())
        assert report.deleted == 1
        assert oracle.tokens(project) == {kept}


class TestBatches:
    """Each batch is a transaction of its own."""

    async def test_each_batch_is_committed_before_the_next(self, project: Project) -> None:
        """After each batch another connection sees just so many sessions less."""
        dead = add_stale(project, 10)
        kept = add_session(project, oracle.user_id_of(project, ADMIN))
        seen: list[tuple[int, int, int]] = []

        def look(deleted: int, matched: int) -> None:
            seen.append((deleted, matched, oracle.count(project)))

        report = await clean_up(
            project.settings, plan(batch_size=4), now=FIXTURE_NOW, progress=look
        )
        assert len(dead) == 10
        assert seen == [(4, 10, 7), (8, 10, 3), (10, 10, 1)]
        assert (report.deleted, report.batches) == (10, 3)
        assert oracle.tokens(project) == {kept}

    @pytest.mark.parametrize(
        ("limit", "size", "deleted", "batches"),
        [(3, 2, 3, 2), (1, 1000, 1, 1), (4, 4, 4, 1), (10, 3, 10, 4), (99, 1000, 10, 1)],
    )
    async def test_limit_is_the_maximum_that_is_deleted(
        self, project: Project, limit: int, size: int, deleted: int, batches: int
    ) -> None:
        """No session more than the limit is deleted, and the report has the number that remains."""
        add_stale(project, 10)
        report = await clean_up(
            project.settings, plan(limit=limit, batch_size=size), now=FIXTURE_NOW
        )
        assert (report.matched, report.deleted, report.batches) == (10, deleted, batches)
        assert report.remaining == 10 - deleted == oracle.count(project)
        assert report.complete == (deleted == 10)

    async def test_max_time_ends_the_run_after_a_batch(self, project: Project) -> None:
        """When the time is up no further batch begins, and the report is true."""
        add_stale(project, 10)
        report = await clean_up(
            project.settings,
            plan(batch_size=1, max_time=0.5),
            now=FIXTURE_NOW,
            progress=lambda deleted, matched: time.sleep(0.5),
        )
        assert report.matched == 10
        assert report.deleted == report.batches <= 1
        assert report.remaining == oracle.count(project) == 10 - report.deleted
        assert not report.complete

    async def test_enough_time_lets_the_run_finish(self, project: Project) -> None:
        """A limit of time that is not reached changes nothing."""
        add_stale(project, 10)
        report = await clean_up(
            project.settings, plan(batch_size=3, max_time=600.0), now=FIXTURE_NOW
        )
        assert (report.deleted, report.complete) == (10, True)
        assert oracle.count(project) == 0

    @pytest.mark.parametrize("options", [{}, {"expired_only": True}, {"older_than": DAY}], ids=str)
    async def test_dry_run_counts_and_deletes_nothing(
        self, server_project: Project, options: dict[str, Any]
    ) -> None:
        """The number is that of the real run, and every row is still there."""
        before = oracle.snapshot(server_project)
        dead = dead_tokens(server_project, **options)
        report = await clean_up(
            server_project.settings, plan(dry_run=True, **options), now=FIXTURE_NOW
        )
        assert (report.matched, report.deleted, report.remaining) == (len(dead), 0, len(dead))
        assert (report.batches, report.complete, report.dry_run) == (0, False, True)
        assert oracle.snapshot(server_project) == before

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"expired_only": True},
            {"older_than": DAY},
            {"older_than": DAY, "expired_only": True},
        ],
        ids=str,
    )
    async def test_dry_run_counts_each_session_under_one_reason(
        self, server_project: Project, options: dict[str, Any]
    ) -> None:
        """Expired before idle before old; with the creation of the oldest of each."""
        idle_limit = None if options.get("expired_only") else IDLE_LIMIT
        expected: dict[str, list[datetime]] = {"expired": []}
        expected |= {} if options.get("expired_only") else {"idle": []}
        expected |= {"old": []} if "older_than" in options else {}
        for item in oracle.raw_sessions(server_project):
            if item.is_stale(FIXTURE_NOW, **options):
                state = item.state(FIXTURE_NOW, idle_limit)
                reason = state if state in ("expired", "idle") else "old"
                expected[reason].append(item.created_at)
        report = await clean_up(
            server_project.settings, plan(dry_run=True, **options), now=FIXTURE_NOW
        )
        assert report.matched_by == {name: len(found) for name, found in expected.items()}
        assert sum(report.matched_by.values()) == report.matched
        assert report.oldest == {name: min(found, default=None) for name, found in expected.items()}
        done = await clean_up(server_project.settings, plan(**options), now=FIXTURE_NOW)
        assert (done.deleted, done.matched_by, done.oldest) == (report.matched, None, None)

    async def test_stop_ends_the_run_after_the_batch_at_hand(self, project: Project) -> None:
        """Asked to stop in the first batch, the run ends with it and reports the truth."""
        add_stale(project, 10)
        stop = StopRequest()
        report = await clean_up(
            project.settings,
            plan(batch_size=3),
            now=FIXTURE_NOW,
            stop=stop,
            progress=lambda deleted, matched: stop.request(signal.SIGTERM),
        )
        assert (report.matched, report.deleted, report.batches) == (10, 3, 1)
        assert report.remaining == oracle.count(project) == 7
        assert not report.complete
        assert stop.signal == signal.SIGTERM

    async def test_stop_does_not_wait_for_the_pause(self, project: Project) -> None:
        """A run that pauses between two batches ends when it is asked to."""
        add_stale(project, 10)
        async with paused_clean_up(project) as (task, stop):
            stop.request(signal.SIGINT)
            report = await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert (report.deleted, report.remaining) == (1, 9)
        assert oracle.count(project) == 9

    async def test_stop_before_the_start_deletes_nothing(self, project: Project) -> None:
        """Asked before the first batch, the run reports what there would have been to do."""
        add_stale(project, 3)
        stop = StopRequest()
        stop.request(signal.SIGINT)
        report = await clean_up(project.settings, plan(), now=FIXTURE_NOW, stop=stop)
        assert (report.matched, report.deleted, report.remaining) == (3, 0, 3)
        assert oracle.count(project) == 3


class TestRevived:
    """The server extends a session between scan and delete."""

    async def test_a_session_revived_between_two_batches_survives(
        self, server_project: Project
    ) -> None:
        """What the server lets in again after the first batch stays, with its new times."""
        before = oracle.tokens(server_project)
        dead = dead_tokens(server_project)
        assert len(dead) > 2
        report = await clean_up(
            server_project.settings,
            plan(batch_size=1),
            now=FIXTURE_NOW,
            progress=lambda deleted, matched: revive(server_project),
        )
        left = oracle.raw_sessions(server_project)
        assert (report.matched, report.deleted, report.remaining) == (len(dead), 1, 0)
        assert report.complete
        assert len(before - {item.token for item in left}) == 1
        assert {item.state(FIXTURE_NOW) for item in left} == {"active"}

    async def test_a_session_revived_while_the_delete_waits_survives(
        self, project: Project
    ) -> None:
        """The server's transaction extends a session that is still stale; then it commits."""
        dead = sorted(add_stale(project, 5))
        query = "UPDATE access_token SET expires_at = ?, last_accessed = ? WHERE token = ?"
        values = (FIXTURE_NOW + DAY, FIXTURE_NOW, dead[0])
        async with oracle.held_transaction(project, query, *values) as commit:
            task = asyncio.create_task(clean_up(project.settings, plan(), now=FIXTURE_NOW))
            await lock_is_awaited(project)
            assert not task.done()
            commit()
            report = await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert oracle.tokens(project) == {dead[0]}
        assert (report.deleted, report.remaining, report.complete) == (4, 0, True)

    async def test_a_session_that_expires_during_the_run_is_left_for_the_next(
        self, project: Project
    ) -> None:
        """All batches use one reference time: new log-ins stay."""
        add_stale(project, 4)
        added: set[str] = set()

        def log_in(deleted: int, matched: int) -> None:
            user_id = oracle.user_id_of(project, ADMIN)
            added.add(add_session(project, user_id, expires=TICK, used=timedelta(0)))

        report = await clean_up(
            project.settings, plan(batch_size=2), now=FIXTURE_NOW, progress=log_in
        )
        assert (report.deleted, report.complete) == (4, True)
        assert len(added) == 2
        assert oracle.tokens(project) == added


class TestOneAtATime:
    """A clean-up has a lock."""

    async def test_a_second_clean_up_is_busy_and_deletes_nothing(self, project: Project) -> None:
        """While one pauses between batches another one is refused; the first one continues."""
        add_stale(project, 10)
        async with paused_clean_up(project) as (task, stop):
            before = oracle.snapshot(project)
            with pytest.raises(BusyError, match="clean-up"):
                await clean_up(project.settings, plan(), now=FIXTURE_NOW)
            assert oracle.snapshot(project) == before
            stop.request(signal.SIGINT)
            report = await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert report.deleted == 1
        assert oracle.count(project) == 9

    async def test_a_dry_run_needs_no_lock(self, project: Project) -> None:
        """Beside a running clean-up a dry run counts what is left."""
        add_stale(project, 10)
        async with paused_clean_up(project):
            report = await clean_up(project.settings, plan(dry_run=True), now=FIXTURE_NOW)
        assert (report.matched, report.deleted) == (9, 0)

    async def test_a_dry_run_takes_no_lock(self, project: Project) -> None:
        """A dry run does not block a clean-up."""
        add_stale(project, 3)
        await clean_up(project.settings, plan(dry_run=True), now=FIXTURE_NOW)
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            report = await clean_up(project.settings, plan(dry_run=True), now=FIXTURE_NOW)
        assert report.matched == 3
        assert (await clean_up(project.settings, plan(), now=FIXTURE_NOW)).deleted == 3

    async def test_a_migration_does_not_count(self, project: Project) -> None:
        """The lock of a migration is another one."""
        add_stale(project, 3)
        async with job_lock(project.settings, Job.MIGRATION, timeout=0):
            report = await clean_up(project.settings, plan(), now=FIXTURE_NOW)
        assert report.deleted == 3
        assert oracle.count(project) == 0

    async def test_the_lock_is_free_after_a_run(self, project: Project) -> None:
        """The next process gets it."""
        add_stale(project, 3)
        await clean_up(project.settings, plan(limit=1), now=FIXTURE_NOW)
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            assert oracle.count(project) == 2

    async def test_after_an_error_batches_stay_committed_and_the_next_run_continues(
        self, project: Project
    ) -> None:
        """A run that breaks off keeps what it committed and gives the lock back."""
        add_stale(project, 10)

        def break_off(deleted: int, matched: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await clean_up(
                project.settings, plan(batch_size=4), now=FIXTURE_NOW, progress=break_off
            )
        assert oracle.count(project) == 6
        report = await clean_up(project.settings, plan(batch_size=4), now=FIXTURE_NOW)
        assert (report.matched, report.deleted, report.complete) == (6, 6, True)
        assert oracle.count(project) == 0

    async def test_when_the_database_refuses_nothing_is_lost(self, project: Project) -> None:
        """A failed delete is an error, all rows stay, and the lock is released."""
        add_stale(project, 3)
        oracle.forbid_deleting_sessions(project)
        before = oracle.snapshot(project)
        with pytest.raises(ClarinetError):
            await clean_up(project.settings, plan(), now=FIXTURE_NOW)
        assert oracle.snapshot(project) == before
        async with job_lock(project.settings, Job.CLEANUP, timeout=0):
            assert oracle.count(project) == 3


class TestForEver:
    """``serve``: the service."""

    async def test_cleans_again_and_again(self, project: Project) -> None:
        """Sessions that expire after a run are deleted by a later one; live ones stay."""
        kept = add_session(project, oracle.user_id_of(project, ADMIN), now=datetime.now(UTC))
        async with service(project, interval=0.05) as running:
            for number in (3, 2):
                add_stale(project, number, now=datetime.now(UTC))
                await running.deleted(number)
                assert oracle.tokens(project) == {kept}
            assert not running.task.done()

    async def test_ends_on_request(self, project: Project) -> None:
        """A long interval does not keep it from stopping."""
        add_stale(project, 3, now=datetime.now(UTC))
        async with service(project, interval=3600) as running:
            await running.deleted(3)
            assert not running.task.done()
            running.stop.request(signal.SIGTERM)
            await asyncio.wait_for(running.task, PATIENCE_SECONDS)
        assert oracle.count(project) == 0

    async def test_does_not_begin_after_a_request(self, project: Project) -> None:
        """Asked to stop before the first run, nothing is deleted."""
        add_stale(project, 3, now=datetime.now(UTC))
        stop = StopRequest()
        stop.request(signal.SIGTERM)
        reports: list[CleanupReport] = []
        await asyncio.wait_for(
            serve(project.settings, plan(), interval=0.05, stop=stop, report=reports.append),
            PATIENCE_SECONDS,
        )
        assert oracle.count(project) == 3
        assert sum(report.deleted for report in reports) == 0

    async def test_survives_a_database_that_is_unreachable_for_a_while(
        self, project: Project
    ) -> None:
        """Without a database it retries, and deletes once it is back."""
        add_stale(project, 3, now=datetime.now(UTC))
        async with service(project, interval=0.2) as running:
            await running.deleted(3)
            with away(project):
                running.forget()
                await asyncio.sleep(0.8)
                assert running.reports.empty()
                assert not running.task.done()
            add_stale(project, 2, now=datetime.now(UTC))
            await running.deleted(2)
        assert oracle.count(project) == 0

    async def test_ends_on_request_while_the_database_is_unreachable(
        self, project: Project
    ) -> None:
        """A request ends the wait for the database, without an error."""
        with away(project):
            async with service(project, interval=0.05) as running:
                await asyncio.sleep(0.3)
                assert not running.task.done()
                running.stop.request(signal.SIGINT)
                await asyncio.wait_for(running.task, PATIENCE_SECONDS)

    async def test_survives_another_clean_up(self, project: Project) -> None:
        """During another clean-up it deletes nothing; afterwards it continues."""
        add_stale(project, 3, now=datetime.now(UTC))
        async with contextlib.AsyncExitStack() as stack:
            async with job_lock(project.settings, Job.CLEANUP, timeout=0):
                running = await stack.enter_async_context(service(project, interval=0.05))
                await asyncio.sleep(0.3)
                assert not running.task.done()
                assert oracle.count(project) == 3
            await running.deleted(3)
        assert oracle.count(project) == 0

    async def test_follows_its_plan(self, project: Project) -> None:
        """Batch size and limit count in every run."""
        add_stale(project, 5, now=datetime.now(UTC))
        async with service(project, interval=0.05, limit=2) as running:
            deleted = [(await running.next()).deleted for _ in range(4)]
        assert deleted == [2, 2, 1, 0]


@dataclass
class Running:
    """A service under way."""

    task: "asyncio.Task[None]"
    stop: StopRequest
    reports: "asyncio.Queue[CleanupReport]" = field(default_factory=asyncio.Queue)

    async def next(self) -> CleanupReport:
        """Wait for the next report, or for the service's early end."""
        waiting = asyncio.create_task(self.reports.get())
        await asyncio.wait(
            {waiting, self.task}, timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED"
        )
        if not waiting.done():
            waiting.cancel()
            pytest.fail(f"no report; {self.task!r}")
        return waiting.result()

    async def deleted(self, number: int) -> None:
        """Wait until so many sessions are reported as deleted, and no more."""
        total = 0
        while total < number:
            total += (await self.next()).deleted
        assert total == number

    def forget(self) -> None:
        """Drop the reports that are there already."""
        while not self.reports.empty():
            self.reports.get_nowait()


@asynccontextmanager
async def service(project: Project, *, interval: float, **options: Any) -> AsyncIterator[Running]:
    """Run the service in this loop and end it afterwards."""
    reports: asyncio.Queue[CleanupReport] = asyncio.Queue()
    stop = StopRequest()
    work = serve(
        project.settings,
        plan(**options),
        interval=interval,
        stop=stop,
        report=reports.put_nowait,
    )
    task = asyncio.create_task(work)
    try:
        yield Running(task, stop, reports)
    finally:
        stop.request(signal.SIGTERM)
        await asyncio.wait_for(task, PATIENCE_SECONDS)


@asynccontextmanager
async def paused_clean_up(
    project: Project,
) -> AsyncIterator[tuple["asyncio.Task[CleanupReport]", StopRequest]]:
    """Run a clean-up that has deleted one session and pauses for long before the next."""
    stop, paused = StopRequest(), asyncio.Event()
    work = clean_up(
        project.settings,
        plan(batch_size=1, pause=3600.0),
        now=FIXTURE_NOW,
        stop=stop,
        progress=lambda deleted, matched: paused.set(),
    )
    task = asyncio.create_task(work)
    try:
        await asyncio.wait_for(paused.wait(), PATIENCE_SECONDS)
        yield task, stop
    finally:
        stop.request(signal.SIGINT)
        await asyncio.wait_for(task, PATIENCE_SECONDS)


@contextlib.contextmanager
def away(project: Project) -> Iterator[None]:
    """Take the database away inside the block: move the file, or rename the database."""
    if project.server is None:
        hidden = project.file.with_suffix(".hidden")
        shutil.move(project.file, hidden)
        try:
            yield
        finally:
            shutil.move(hidden, project.file)
        return
    hidden_name = f"{project.database}_hidden"
    rename(project, project.database, hidden_name)
    try:
        yield
    finally:
        rename(project, hidden_name, project.database)


def rename(project: Project, old: str, new: str) -> None:
    """Rename a PostgreSQL database as soon as the last connection to it has ended."""
    server = project.server
    assert server is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    statement = f'ALTER DATABASE "{old}" RENAME TO "{new}"'
    while True:
        server.leave(old)
        try:
            oracle.apart(lambda: server.rows("postgres", statement))
        except asyncpg.ObjectInUseError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


async def lock_is_awaited(project: Project) -> None:
    """Wait until the tool waits for another transaction's lock."""
    if project.server is None:
        await asyncio.sleep(0.3)  # SQLite does not tell who waits
        return
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    for _ in range(500):
        if await asyncio.to_thread(project.rows, query):
            return
        await asyncio.sleep(0.02)
    pytest.fail("no statement waits for a lock")


def add_session(project: Project, user_id: UUID, **options: Any) -> str:
    """Insert a session without the tool, at the fixture's time unless given otherwise."""
    return oracle.add_session(project, user_id, **{"now": FIXTURE_NOW, **options})
