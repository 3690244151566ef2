"""Changes of accounts as transactions: alone, all or nothing, and with their record."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.changes import Change
from clarinet_cli.services.accounts.resolve import locked_user
from clarinet_cli.services.audit import Trail, audited_session
from clarinet_cli.services.sessions.settle import Settle
from clarinet_cli.settings import Settings

Rule = Callable[[Change], Awaitable[None]]
WOULD = {"created": "would_create", "updated": "would_update", "deleted": "would_delete"}


async def change_account(
    settings: Settings,
    who: str,
    rule: Rule,
    *,
    dry_run: bool = False,
    settle: Optional[Settle] = None,
) -> AccountChange:
    """Do something to one account, in one transaction.

    Args:
        settings: Which database.
        who: The account, as ``resolve_user`` reads it.
        rule: What to do; see ``account_rules``.
        dry_run: Change nothing, report what would be done.
        settle: Takes the account down when its sessions ended.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match, or the rule refuses.
        ClarinetError: What else the rule raises; nothing was changed.
    """
    async with alone(settings, dry_run=dry_run) as (session, trail):
        user = await locked_user(session, who)
        roles = await RoleRepository(session).of_user(user.id)
        change = Change(session, user, roles, settings)
        await rule(change)
        report, report_id = change.report, user.id  # a roll-back takes the account's fields away
        note_down(trail, report)
    if settle is not None and change.sessions_ended and not dry_run:
        settle.accounts.add(report_id)
    return planned(report) if dry_run else report


@asynccontextmanager
async def alone(
    settings: Settings, *, dry_run: bool = False
) -> AsyncIterator[tuple[AsyncSession, Trail]]:
    """Yield a session in which no other command changes accounts, and the trail of changes.

    Args:
        settings: Which database.
        dry_run: Roll back at the end, and leave no record.
    """
    async with audited_session(settings, dry_run=dry_run) as (session, trail):
        await ServerRepository(session).lock_accounts()
        yield session, trail


def note_down(trail: Trail, change: AccountChange) -> None:
    """Remember a change for its record."""
    trail.add(change.id, change.result, sessions_revoked=change.sessions_revoked)


def planned(change: AccountChange) -> AccountChange:
    """Return a report in the words of a dry run; what is not there yet has no id."""
    unsaved = None if change.result == "created" else change.id
    return replace(change, id=unsaved, result=WOULD.get(change.result, change.result))
