"""Revoke the sessions of all users, in batches of one transaction each."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.exceptions import PreventedError
from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import RevokeAllReport
from clarinet_cli.services.accounts.resolve import resolve_user
from clarinet_cli.services.audit import JobRecord, audited_job
from clarinet_cli.services.sessions.queries import one_session
from clarinet_cli.services.sessions.revoke import BATCH_SIZE, REVOKED
from clarinet_cli.services.unit_of_work import Access, Database, UnitOfWork, unit_of_work
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import UNCHANGED, ProgressCallback, planned_result
from clarinet_cli.utils.logger import logger


async def count_to_revoke(
    work: UnitOfWork, excluded: Sequence[str], *, keep_current: Collection[str] = ()
) -> RevokeAllReport:
    """Return what ``revoke_all`` would do.

    Args:
        work: A unit of work.
        excluded: The users whose sessions are kept, as ``resolve_user`` reads them.
        keep_current: The ids of other sessions to keep.

    Raises:
        NotFoundError: The user or session does not exist.
        RefusedError: Several match.
    """
    users = await _resolve_user_ids(work.session, excluded)
    keep = await _resolve_tokens(work.session, keep_current)
    repository = RevocationRepository(work.session)
    to_revoke = await repository.count_others(users, keep)
    kept = await repository.count() - to_revoke
    result = planned_result(REVOKED) if to_revoke else UNCHANGED
    return RevokeAllReport(result, to_revoke, kept)


async def revoke_all(
    database: Database,
    excluded: Sequence[str],
    *,
    keep_current: Collection[str] = (),
    progress: ProgressCallback = lambda done, total: None,
    stopped: Callable[[], bool] = bool,
) -> RevokeAllReport:
    """Revoke all sessions but those of some users.

    Every session that exists at the start is revoked; sessions created during the run may remain.
    They are revoked in batches, each in a transaction, so that the server's log-ins do not wait for
    all of them; after an error the next run continues.

    Args:
        database: The database to change.
        excluded: The users whose sessions are kept, as ``resolve_user`` reads them.
        keep_current: The ids of other sessions to keep.
        progress: Called after each batch.
        stopped: Called between two batches; returns whether to stop.

    Raises:
        NotFoundError: The user or session does not exist; nothing was revoked.
        RefusedError: Several match.
    """
    async with audited_job(REVOKED, count="sessions_revoked") as record:
        async with unit_of_work(database) as work:
            excluded_ids = await _resolve_user_ids(work.session, excluded)
            keep = await _resolve_tokens(work.session, keep_current)
            to_revoke = await RevocationRepository(work.session).count_others(excluded_ids, keep)
        try:
            async for done in _revoke_batches(database, excluded_ids, keep, record, stopped):
                progress(done, max(to_revoke, done))
        except PreventedError as error:
            verb = "was" if record.done == 1 else "were"
            hint = f"{pluralize(record.done, 'session')} {verb} revoked"
            logger.bind(reported=True).error(f"{error.message}; {hint}")
            raise error.with_context(error.message, hint=hint) from error
    logger.info(f"{REVOKED} {pluralize(record.done, 'session')}")
    async with unit_of_work(database) as work:
        kept = await RevocationRepository(work.session).count_unless_revoked()
    return RevokeAllReport(REVOKED if record.done else UNCHANGED, record.done, kept)


async def _revoke_batches(
    database: Database,
    excluded: Collection[UUID],
    keep: Collection[str],
    record: JobRecord,
    stopped: Callable[[], bool],
) -> AsyncGenerator[int, None]:
    """Revoke sessions in batches by keyset, and yield after each how many are revoked."""
    async with database.session(access=Access.WRITE) as session:
        repository = RevocationRepository(session)
        async with transaction(session, Access.READ):
            pause = await ServerRepository(session).pause_between_batches()
            last = await repository.last_key()
        after = None
        while last is not None and not stopped():
            async with transaction(session, Access.WRITE):
                after, removed = await repository.revoke_key_range(
                    after, last, BATCH_SIZE, excluded=excluded, keep=keep
                )
                record.before_commit(removed)
            record.committed()
            yield record.done
            if after is None:
                return
            await asyncio.sleep(pause)


async def _resolve_user_ids(session: AsyncSession, users: Sequence[str]) -> set[UUID]:
    repository = UserRepository(session)
    return {(await resolve_user(repository, identifier)).id for identifier in users}


async def _resolve_tokens(session: AsyncSession, ids: Collection[str]) -> set[str]:
    """Return the tokens of the sessions with these ids."""
    repository = SessionRepository(session)
    return {(await one_session(repository, session_id)).token for session_id in ids}
