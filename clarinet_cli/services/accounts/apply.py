"""Applying a file that declares accounts: all of it or nothing, in one transaction.

Accounts are read and compared before it, without a lock; who changes nothing takes none. What
is to be changed is read and compared once more inside.

Passwords are hashed before the transaction begins: a hash takes tens of milliseconds, and
the server's log-ins would wait for them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.session import get_async_session
from clarinet_cli.database.table_check import require_canonical_owners
from clarinet_cli.exceptions import BUSY, REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import AccountState, UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.accounts.file import GENERATE, Declared
from clarinet_cli.services.accounts.hashes import PLACEHOLDER, Progress, hash_all
from clarinet_cli.services.accounts.matching import (
    Target,
    matched,
    require_roles_of,
    require_usable,
    targets_of,
)
from clarinet_cli.services.accounts.passwords import generate_password
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE
from clarinet_cli.services.accounts.superusers import lock_superusers
from clarinet_cli.services.accounts.transactions import WOULD, alone
from clarinet_cli.services.audit import UNCHANGED
from clarinet_cli.services.sessions.settle import Settle
from clarinet_cli.settings import Settings

Roles = dict[UUID, set[str]]
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
    settle: Optional[Settle] = None,
    deliver: Optional[Callable[[list[AppliedAccount]], None]] = None,
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
        settle: Takes the accounts down that lost rights.
        deliver: Shows the reports with generated passwords before the commit.

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
        await require_canonical_owners(session)
        states = await UserRepository(session).states()
        roles = await RoleRepository(session).names()
    # Compared with nothing open: with a rollback journal a reader keeps writers waiting.
    targets, others = matched(states, targets_of(declared))
    require_roles_of(declared, roles)
    accounts = [target.account.id for target in targets if target.account is not None]
    async with get_async_session(settings) as session:
        roles_of = await RoleRepository(session).of_users(accounts)
    kept = _unchanged(targets, roles_of)
    others = others if plan.prune else []
    work = [target for target in targets if target.number not in kept]
    new = [target for target in work if target.account is None]
    for target in new:
        require_usable(target.row, settings, generate=plan.generate)
    secrets = await _secrets(settings, new, dry_run=plan.dry_run, progress=progress)
    pruned: list[AppliedAccount] = []
    if work or others:
        listed = {report.id for report in kept.values()}
        async with alone(settings, dry_run=plan.dry_run) as (session, trail):
            file = Application(session, settings, secrets)
            made, pruned = await file.write(work, listed if plan.prune else None)
            for report in (*made.values(), *pruned):
                trail.add(report.id, report.result, sessions_revoked=report.sessions_revoked)
            if deliver is not None and any(secret.told for secret in secrets.values()):
                await session.flush()
                done = kept | made
                deliver([done[target.number] for target in targets] + pruned)
        if plan.dry_run:
            made = {number: _planned(report) for number, report in made.items()}
            pruned = [_planned(report) for report in pruned]
        elif settle is not None:
            settle.accounts |= file.losers
        kept |= made
    return [kept[target.number] for target in targets] + pruned


def _unchanged(targets: Iterable[Target], roles: Roles) -> dict[int, AppliedAccount]:
    """Return the reports of the rows whose accounts are as they say, by number."""
    return {
        target.number: AppliedAccount("=", account.id, account.email, UNCHANGED, (), 0)
        for target in targets
        if (account := target.account) is not None
        and all(getattr(account, name) is value for name, value in target.row.flags.items())
        and (target.row.roles is None or set(target.row.roles) == roles[account.id])
    }


async def _secrets(
    settings: Settings, new: Sequence[Target], *, dry_run: bool, progress: Progress
) -> dict[str, Secret]:
    """Return the hash of each new account by its address."""
    secrets: dict[str, Secret] = {}
    others: list[str] = []
    for target in new:
        if target.row.password not in (None, GENERATE):
            secrets[target.email] = Secret(str(target.row.password))
        else:
            others.append(target.email)
    if dry_run:
        return secrets | {email: Secret(PLACEHOLDER) for email in others}
    passwords = [generate_password() for _ in others]
    for email, password, hashed in zip(
        others, passwords, await hash_all(passwords, settings, progress), strict=True
    ):
        secrets[email] = Secret(hashed, password.text)
    return secrets


class Application:
    """What is written of a file, in one transaction and in few statements.

    Args:
        session: A session for writing, alone.
        settings: The hash parameters.
        secrets: The hashes of new accounts by address.
    """

    def __init__(
        self, session: AsyncSession, settings: Settings, secrets: dict[str, Secret]
    ) -> None:
        self.session = session
        self.settings = settings
        self.secrets = secrets
        self.losers: set[UUID] = set()
        self._new: list[User] = []
        self._flags: dict[tuple[tuple[str, bool], ...], list[UUID]] = {}
        self._granted: list[tuple[UUID, str]] = []
        self._withdrawn: list[tuple[UUID, str]] = []

    async def write(
        self, work: Sequence[Target], listed: Optional[set[Optional[UUID]]]
    ) -> tuple[dict[int, AppliedAccount], list[AppliedAccount]]:
        """Make the accounts what rows say, once more compared: nobody changes them now.

        Args:
            work: The rows that change something.
            listed: The accounts of all other rows; None: don't deactivate further ones.

        Returns:
            The reports of the rows by number, and those of the accounts of no row.

        Raises:
            RefusedError: No superuser who can log in would be left.
            BusyError: Somebody changed the accounts just now.
        """
        before = await lock_superusers(self.session, self.settings)
        targets, others = matched(await UserRepository(self.session).states(), work)
        others = [] if listed is None else [other for other in others if other.id not in listed]
        known = {target.account.id for target in targets if target.account is not None}
        users = await UserRepository(self.session).lock_all({*known, *(it.id for it in others)})
        roles = await RoleRepository(self.session).of_users(list(users))
        made = {
            target.number: self._created(target)
            if target.account is None
            else self._updated(_as_read(users, target.account), target.row, roles)
            for target in targets
        }
        pruned = [self._pruned(_as_read(users, other)) for other in others]
        await self._flush()
        if lost := before.lost(await lock_superusers(self.session, self.settings)):
            gone = before.able or before.active
            last = ", ".join(sorted(user.email for user in users.values() if user.id in gone))
            raise REFUSED.with_context(
                f"no {lost} would be left: {last}", hint="the file has to keep one"
            )
        ended = await SessionRepository(self.session).revoke_of_users(self.losers)
        return (
            {number: _with_ended(report, ended) for number, report in made.items()},
            [_with_ended(report, ended) for report in pruned],
        )

    async def _flush(self) -> None:
        """Write what was noted down; the role ``admin`` is made if it does not exist."""
        users = UserRepository(self.session)
        await users.add_all(self._new)
        for flags, user_ids in self._flags.items():
            await users.set_flags(user_ids, dict(flags))
        repository = RoleRepository(self.session)
        if any(name == ADMIN_ROLE for _, name in self._granted):
            await repository.add_missing([ADMIN_ROLE])
        await repository.grant_many(self._granted)
        await repository.revoke_many(self._withdrawn)

    def _created(self, target: Target) -> AppliedAccount:
        row, secret = target.row, self.secrets.get(target.email)
        if secret is None:  # it was there when the passwords were hashed
            reason = f"the account {target.email} was deleted meanwhile, nothing was changed"
            raise BUSY.with_context(reason)
        user = User(email=target.email, hashed_password=secret.hashed)
        for name, value in row.flags.items():
            setattr(user, name, value)
        self._new.append(user)
        roles = row.roles or ()
        self._granted += [(user.id, name) for name in roles]
        changes = (*(name for name, value in row.flags.items() if value), *_signed("+", roles))
        return AppliedAccount("+", user.id, user.email, "created", changes, 0, secret.told)

    def _updated(self, user: AccountState, row: Declared, all_roles: Roles) -> AppliedAccount:
        """Make an account what a row says; whoever loses rights loses the sessions too."""
        had = all_roles[user.id]
        wanted = had if row.roles is None else set(row.roles)
        flags = {
            name: value for name, value in row.flags.items() if getattr(user, name) is not value
        }
        if flags:
            self._flags.setdefault(tuple(sorted(flags.items())), []).append(user.id)
        if any(name in RIGHTS and not value for name, value in flags.items()):
            self.losers.add(user.id)
        self._granted += [(user.id, name) for name in wanted - had]
        self._withdrawn += [(user.id, name) for name in had - wanted]
        changes = (
            *(f"{name}: {_word(not value)} -> {_word(value)}" for name, value in flags.items()),
            *_signed("+", wanted - had),
            *_signed("-", had - wanted),
        )
        mark, result = ("~", "updated") if changes else ("=", UNCHANGED)
        return AppliedAccount(mark, user.id, user.email, result, changes, 0)

    def _pruned(self, user: AccountState) -> AppliedAccount:
        self._flags.setdefault((("is_active", False),), []).append(user.id)
        self.losers.add(user.id)
        changes = ("is_active: true -> false", "not in the file")
        return AppliedAccount("~", user.id, user.email, "updated", changes, 0)


def _as_read(users: dict[UUID, AccountState], read: AccountState) -> AccountState:
    """Return an account that is locked by now, and still the one that was matched.

    Raises:
        BusyError: It was deleted or has another address.
    """
    user = users.get(read.id)
    if user is None or user.email != read.email:
        reason = f"the account {read.email} was changed meanwhile, nothing was changed"
        raise BUSY.with_context(reason)
    return user


def _with_ended(report: AppliedAccount, ended: Counter[UUID]) -> AppliedAccount:
    number = 0 if report.id is None else ended[report.id]
    return replace(report, sessions_revoked=number) if number else report


def _signed(sign: str, roles: Iterable[str]) -> Iterator[str]:
    return (f"{sign}{name}" for name in sorted(roles))


def _word(value: bool) -> str:
    return "true" if value else "false"


def _planned(report: AppliedAccount) -> AppliedAccount:
    unsaved = None if report.result == "created" else report.id
    result = WOULD.get(report.result, report.result)
    return replace(report, id=unsaved, result=result, password=None)
