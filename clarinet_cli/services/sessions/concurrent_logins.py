"""Revoking the sessions that concurrent log-ins created while an account was changed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.services.unit_of_work import Access, Database, unit_of_work
from clarinet_cli.types import SETTLE_SECONDS
from clarinet_cli.utils.logger import logger


@dataclass(slots=True)
class ConcurrentLogins:
    """The accounts whose sessions are revoked again.

    Attributes:
        seconds: How long a log-in may take; 0: do not revoke again.
        wait: Waits for a number of seconds.
        accounts: The accounts whose sessions a committed transaction revoked.
        revoked: How many sessions were revoked again, by account.
    """

    seconds: float = SETTLE_SECONDS
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    accounts: set[UUID] = field(default_factory=set)
    revoked: dict[UUID, int] = field(default_factory=dict)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.seconds and self.accounts)

    async def revoke(self, database: Database) -> None:
        """Wait, then revoke the sessions created since the change, with a record for each account.

        The lock for writing is taken only when there are such sessions.

        Raises:
            ClarinetError: The driver's error, translated, or a record cannot be written; no
                session was revoked.
        """
        if not self.is_needed:
            return
        logger.info(f"waiting {self.seconds:g} s for concurrent log-ins")
        await database.disconnect()
        await self.wait(self.seconds)
        async with unit_of_work(database) as work:
            found = await SessionRepository(work.session).users_with_sessions(self.accounts)
        if not found:
            return
        async with unit_of_work(database, access=Access.WRITE) as work:
            revoked = await RevocationRepository(work.session).revoke_of_users(found)
            for user_id, count in revoked.items():
                work.record_change(user_id, "revoked", sessions_revoked=count)
        self.revoked = dict(revoked)
        logger.info(f"revoked {revoked.total()} sessions created by concurrent log-ins")
