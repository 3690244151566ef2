"""Applying a file that declares accounts: all of it or nothing, in one transaction.

Passwords are hashed before the transaction begins: a hash takes tens of milliseconds, and
the server's log-ins would wait for them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import BUSY, REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.account_changes import WOULD, alone
from clarinet_cli.services.account_files import GENERATE, Declared
from clarinet_cli.services.account_matching import Pair, matched, require_roles_of, require_usable
from clarinet_cli.services.account_rules import Change
from clarinet_cli.services.accounts import as_stored
from clarinet_cli.services.audit import UNCHANGED, Trail
from clarinet_cli.services.hashes import PLACEHOLDER
from clarinet_cli.services.password_hashing import Progress, hash_all
from clarinet_cli.services.passwords import generate_password
from clarinet_cli.services.superusers import lock_superusers
from clarinet_cli.settings import Settings
from clarinet_cli.utils.database import get_async_session

RIGHTS = ("is_active", "is_superuser")  # what the sessions end with


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """How a file is applied.

    Attributes:
        generate: Make up a password for each new account without a source of one.
        prune: Deactivate the accounts that the file does not name.
        dry_run: Change nothing, report what would be done.
    """

    generate: bool = False
    prune: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """The hash of a new account's password, and the password if somebody has to be told."""

    hashed: str = field(repr=False)
    told: Optional[str] = field(default=None, repr=False)


async def apply_accounts(
    settings: Settings,
    declared: Sequence[Declared],
    plan: ApplyPlan,
    *,
    progress: Progress = lambda done, total: None,
) -> list[AppliedAccount]:
    """Make the accounts what a file says of them.

    A field that the file leaves out stays as it is. A new account is active, neither
    superuser nor verified, and without roles, unless the file says otherwise. The password
    of an account that exists is not touched.

    Args:
        settings: Which database, and the hash parameters.
        declared: What the file says, as ``read_accounts`` returns it.
        plan: How to apply it.
        progress: Called after each hash with those done so far and all.

    Returns:
        One report a row, in the file's order, then those of pruned accounts.

    Raises:
        InvalidInputError: A row can't be used; the message has its line and column.
        NotFoundError: A row names a role that does not exist.
        RefusedError: A row could mean several accounts, or no active superuser would be
            left.
        BusyError: Somebody else changed the accounts meanwhile.
    """
    async with get_async_session(settings) as session:
        pairs = await matched(session, declared)
        await require_roles_of(session, declared)
    new = [row for row, user in pairs if user is None]
    for row in new:
        require_usable(row, settings, generate=plan.generate)
    secrets = await _secrets(settings, new, dry_run=plan.dry_run, progress=progress)
    async with alone(settings, dry_run=plan.dry_run) as (session, trail):
        return await _apply(session, trail, declared, secrets, plan, settings)


async def _secrets(
    settings: Settings, new: Sequence[Declared], *, dry_run: bool, progress: Progress
) -> dict[str, Secret]:
    """Return the hash of each new account by its address."""
    secrets: dict[str, Secret] = {}
    others: list[str] = []
    for row in new:
        if row.password not in (None, GENERATE):
            secrets[as_stored(row.email)] = Secret(str(row.password))
        else:
            others.append(as_stored(row.email))
    if dry_run:
        return secrets | {email: Secret(PLACEHOLDER) for email in others}
    passwords = [generate_password() for _ in others]
    for email, password, hashed in zip(
        others, passwords, await hash_all(passwords, settings, progress), strict=True
    ):
        secrets[email] = Secret(hashed, password.text)
    return secrets


async def _apply(
    session: AsyncSession,
    trail: Trail,
    declared: Sequence[Declared],
    secrets: dict[str, Secret],
    plan: ApplyPlan,
    settings: Settings,
) -> list[AppliedAccount]:
    users = UserRepository(session)
    before = await lock_superusers(session, settings)
    pairs = await matched(session, declared, lock=True)
    others = await _others(users, pairs) if plan.prune else []
    existing = [user for _, user in pairs if user is not None] + others
    roles = await RoleRepository(session).of_users([user.id for user in existing])
    reports = []
    for row, user in pairs:
        if user is None:
            report = await _created(session, row, secrets, settings)
        else:
            report = await _updated(Change(session, user, roles[user.id], settings), row)
        reports.append(report)
    reports += [
        await _deactivated(Change(session, user, roles[user.id], settings)) for user in others
    ]
    if lost := before.lost(await lock_superusers(session, settings)):
        gone = before.able or before.active
        last = ", ".join(sorted(user.email for user in existing if user.id in gone))
        raise REFUSED.with_context(
            f"no {lost} would be left: {last}", hint="the file has to keep one"
        )
    for report in reports:
        trail.add(report.id, report.result, sessions_revoked=report.sessions_revoked)
    return [_planned(report) for report in reports] if plan.dry_run else reports


async def _others(users: UserRepository, pairs: Sequence[Pair]) -> list[User]:
    """Return the active accounts that no row means, locked."""
    listed = {user.id for _, user in pairs if user is not None}
    return await users.active_others(listed)


async def _created(
    session: AsyncSession, row: Declared, secrets: dict[str, Secret], settings: Settings
) -> AppliedAccount:
    email = as_stored(row.email)
    secret = secrets.get(email)
    if secret is None:  # it was there when the passwords were hashed
        raise BUSY.with_context(f"the account {email} was deleted meanwhile, nothing was changed")
    user = User(email=email, hashed_password=secret.hashed)
    for name, value in row.flags.items():
        setattr(user, name, value)
    await UserRepository(session).add(user)
    change = Change(session, user, set(), settings)
    await change.grant(*(row.roles or ()))
    changes = (*(name for name, value in row.flags.items() if value), *_signed("+", change.roles))
    return AppliedAccount("+", user.id, email, "created", changes, 0, secret.told)


async def _updated(change: Change, row: Declared) -> AppliedAccount:
    """Make an account what a row says; whoever loses rights loses the sessions too."""
    user, roles = change.user, set(change.roles)
    flags = {name: value for name, value in row.flags.items() if getattr(user, name) is not value}
    loses = any(name in RIGHTS and not value for name, value in flags.items())
    wanted = roles if row.roles is None else set(row.roles)
    await change.set(**flags)
    await change.grant(*wanted)
    await change.withdraw(*(roles - wanted))
    if loses:
        await change.end_sessions()
    changes = (
        *(f"{name}: {_word(not value)} -> {_word(value)}" for name, value in flags.items()),
        *_signed("+", wanted - roles),
        *_signed("-", roles - wanted),
    )
    return _report(change, changes)


async def _deactivated(change: Change) -> AppliedAccount:
    await change.set(is_active=False)
    await change.end_sessions()
    return _report(change, ("is_active: true -> false", "not in the file"))


def _report(change: Change, changes: tuple[str, ...]) -> AppliedAccount:
    mark = "=" if change.result == UNCHANGED else "~"
    user = change.user
    return AppliedAccount(
        mark, user.id, user.email, change.result, changes, change.sessions_revoked
    )


def _signed(sign: str, roles: Iterable[str]) -> Iterator[str]:
    return (f"{sign}{name}" for name in sorted(roles))


def _word(value: bool) -> str:
    return "true" if value else "false"


def _planned(report: AppliedAccount) -> AppliedAccount:
    unsaved = None if report.result == "created" else report.id
    result = WOULD.get(report.result, report.result)
    return replace(report, id=unsaved, result=result, password=None)
