"""Revoking the sessions of log-ins that were under way when an account changed.

The server checks the password, then inserts the session: a log-in that read the old hash, or
an account that was still active, may insert it after the change has committed. Such a log-in
can't be seen before, so the sessions of the account are revoked again after some time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.services.unit_of_work import Access, Database, unit_of_work
from clarinet_cli.utils.logger import logger

LATE_LOGIN_SECONDS = 1.0


@dataclass(slots=True)
class LateLogins:
    """The accounts whose sessions are revoked again.

    Attributes:
        seconds: How long a log-in may take; 0: do not revoke again.
        wait: How to wait for that long.
        accounts: The accounts whose sessions a committed transaction revoked.
        revoked: How many sessions were revoked again, by account.
    """

    seconds: float = LATE_LOGIN_SECONDS
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    accounts: set[UUID] = field(default_factory=set)
    revoked: dict[UUID, int] = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.seconds and self.accounts)

    async def revoke(self, database: Database) -> None:
        """Wait, then revoke the sessions created meanwhile, with a record for each account.

        The lock for writing is taken only when there are such sessions.

        Raises:
            ClarinetError: The driver's error, translated, or a record can't be written; no
                session was revoked.
        """
        if not self.is_due:
            return
        logger.info(f"waiting {self.seconds:g} s for log-ins under way")
        await database.disconnect()
        await self.wait(self.seconds)
        async with unit_of_work(database) as work:
            found = await SessionRepository(work.session).users_with_sessions(self.accounts)
        if not found:
            return
        async with unit_of_work(database, access=Access.WRITE) as work:
            revoked = await SessionRepository(work.session).revoke_of_users(found)
            for user_id, count in revoked.items():
                work.record_change(user_id, "revoked", sessions_revoked=count)
        self.revoked = dict(revoked)
        logger.info(f"revoked {revoked.total()} sessions of late log-ins")
