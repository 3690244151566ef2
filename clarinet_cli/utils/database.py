"""Sessions on the configured database, for other Python programs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.session import configured_settings
from clarinet_cli.services.unit_of_work import Access, unit_of_work
from clarinet_cli.settings import Settings

__all__ = ["Access", "get_async_session"]


@asynccontextmanager
async def get_async_session(
    settings: Optional[Settings] = None,
    *,
    access: Access = Access.READ,
    dry_run: bool = False,
) -> AsyncIterator[AsyncSession]:
    """Yield a session: commit at the end, roll back on an error, dispose of the engine.

    Args:
        settings: The database; the project's settings by default.
        access: WRITE when the session will change rows.
        dry_run: Roll back at the end.

    Raises:
        ClarinetError: The driver's error, translated.
    """
    source = settings or configured_settings()
    async with unit_of_work(source, access=access, dry_run=dry_run) as work:
        yield work.session
