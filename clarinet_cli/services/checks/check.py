"""The types of the checks of ``doctor``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import Database
from clarinet_cli.database.url import database_url, sqlite_file
from clarinet_cli.results import Finding
from clarinet_cli.results.database import FindingStatus
from clarinet_cli.services.configuration import check_settings
from clarinet_cli.services.schema import check_migrations
from clarinet_cli.settings import Settings
from clarinet_cli.types import Capabilities, CheckGroup


class Problem(NamedTuple):
    """A problem that a check found, or more details of its success.

    Attributes:
        status: ``ok`` if it only adds to the description of the check.
        detail: The fact and its consequence.
        hint: The remedy.
    """

    status: FindingStatus
    detail: str
    hint: Optional[str] = None


@dataclass
class DoctorContext:
    """The project to check.

    Attributes:
        project: Its directory.
        database: Its database, with an engine that the checks share.
    """

    project: Path
    database: Database
    _comparing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _migrations: Optional[list[Finding]] = field(default=None, init=False, repr=False)

    @property
    def settings(self) -> Settings:
        """The settings, which are valid."""
        return self.database.settings

    @cached_property
    def file(self) -> Optional[Path]:
        """The SQLite file, links followed; None on a server."""
        file = sqlite_file(database_url(self.settings))
        return None if file is None else file.resolve()

    @cached_property
    def configuration(self) -> list[Finding]:
        """The findings of ``config check``."""
        return check_settings(self.project)

    async def migrations(self) -> list[Finding]:
        """Return what ``migrate check`` says; the tables are compared once.

        Raises:
            ClarinetError: The comparison failed; the next call compares again.
        """
        async with self._comparing:
            if self._migrations is None:
                self._migrations = await check_migrations(self.settings)
            return self._migrations

    @asynccontextmanager
    async def session(self, access: Access = Access.READ) -> AsyncIterator[AsyncSession]:
        """Yield a session in one transaction.

        Args:
            access: READ, or REPLICA for the replica.
        """
        async with self.database.session(access=access) as session, transaction(session, access):
            yield session


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        name: The name, for ``--skip``.
        group: The group, for ``--only``.
        description: What is true if it finds nothing.
        run: Returns the findings.
        needs_database: Whether it queries the database.
        applies: Whether it applies to an installation with these capabilities.
    """

    name: str
    group: CheckGroup
    description: str
    run: Callable[[DoctorContext], Awaitable[list[Problem]]]
    needs_database: bool = True
    applies: Callable[[Capabilities], bool] = lambda _: True
