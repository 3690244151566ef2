"""Sessions that a log-in under way begins with rights or a password that are no longer.

The server checks the password, then inserts the session: a log-in that read the old hash, or
an account that was still active, may insert after the change has committed. It shows no
trace of that before, so the sessions of the account are ended once more when a request that
was under way at the commit has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from clarinet_cli.database.session import get_async_session
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.services.audit import audited_session
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

SETTLE_SECONDS = 1.0


@dataclass(slots=True)
class Settle:
    """The accounts whose sessions end once more, and when.

    Attributes:
        seconds: How long a log-in may take; 0 for no second time.
        wait: How to wait for that.
        accounts: Whose sessions ended in a transaction that has committed.
        ended: How many sessions ended the second time, by account.
    """

    seconds: float = SETTLE_SECONDS
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    accounts: set[UUID] = field(default_factory=set)
    ended: dict[UUID, int] = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.seconds and self.accounts)

    async def sweep(self, settings: Settings) -> None:
        """Wait, then end the sessions that began meanwhile, with a record for each account.

        Args:
            settings: Which database.

        Raises:
            ClarinetError: The driver's error, in the operator's words, or a record can't be
                written; no session was ended.
        """
        if not self.is_due:
            return
        logger.info(f"waiting {self.seconds:g} s for log-ins under way")
        await self.wait(self.seconds)
        async with get_async_session(settings) as session:
            found = await SessionRepository(session).users_with_sessions(self.accounts)
        if not found:
            return
        async with audited_session(settings) as (session, trail):
            ended = await SessionRepository(session).revoke_of_users(found)
            for user_id, number in ended.items():
                trail.add(user_id, "revoked", sessions_revoked=number)
        self.ended = dict(ended)
        logger.info(f"revoked {ended.total()} sessions that began meanwhile")
