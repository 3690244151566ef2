"""Writing the declared accounts of a file: inserts, updates, roles and records."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Optional, TypeVar
from uuid import UUID

from clarinet_cli.exceptions import BUSY, REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.base import batches
from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import AccountState, UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.accounts.editor import CREATED, UPDATED, warn_about_argon2
from clarinet_cli.services.accounts.file import AccountEntry, RowErrors
from clarinet_cli.services.accounts.hashes import PreparedPassword
from clarinet_cli.services.accounts.matching import MatchedRow, match_rows
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE
from clarinet_cli.services.accounts.superusers import lock_superusers
from clarinet_cli.services.mapped import warn_about_other_sessions
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.types import UNCHANGED, PhaseCallback

ItemT = TypeVar("ItemT")
Roles = dict[UUID, set[str]]
PRIVILEGE_FLAGS = ("is_active", "is_superuser")  # sessions are revoked with either


class AccountsWriter:
    """The changes of a file, written in one transaction and in few statements.

    Args:
        work: A unit of work for writing that holds the lock on accounts.
        passwords: The passwords of new accounts by address.
        progress: Called after each batch of changes.
    """

    def __init__(
        self, work: UnitOfWork, passwords: dict[str, PreparedPassword], progress: PhaseCallback
    ) -> None:
        self.work = work
        self.session = work.session
        self.passwords = passwords
        self._progress = progress
        self._done = self._total = 0
        self._revoked_users: set[UUID] = set()
        self._new: dict[int, tuple[User, Optional[Sequence[str]]]] = {}
        self._flags: dict[tuple[tuple[str, bool], ...], list[UUID]] = {}
        self._granted: list[tuple[UUID, str]] = []
        self._revoked: list[tuple[UUID, str]] = []

    async def write(
        self, rows: Sequence[MatchedRow], listed: Optional[set[Optional[UUID]]]
    ) -> tuple[dict[int, AppliedAccount], list[AppliedAccount]]:
        """Make the accounts match rows, which are compared again under the lock.

        Args:
            rows: The rows that change something.
            listed: The accounts of all other rows; None: don't deactivate further ones.

        Returns:
            The reports of the rows by number, and those of the accounts of no row.

        Raises:
            RefusedError: No superuser who can log in would be left.
            BusyError: Another process changed the accounts at the same time.
        """
        before = await lock_superusers(self.work)
        errors = RowErrors()
        targets, others = match_rows(await UserRepository(self.session).states(), rows, errors)
        errors.check()
        others = [] if listed is None else [other for other in others if other.id not in listed]
        known = {target.account.id for target in targets if target.account is not None}
        users = await UserRepository(self.session).lock_all({*known, *(it.id for it in others)})
        roles = await RoleRepository(self.session).for_users(list(users))
        pruned: list[AppliedAccount] = []
        made = {
            target.number: self._created(target)
            if target.account is None
            else self._updated(_require_unchanged(users, target.account), target.row, roles)
            for target in targets
        }
        for user in (_require_unchanged(users, other) for other in others):
            self._flags.setdefault((("is_active", False),), []).append(user.id)
            self._revoked_users.add(user.id)
            changes = ("is_active: true -> false", "not in the file")
            pruned.append(AppliedAccount("~", user.id, user.email, UPDATED, changes, 0))
        await warn_about_argon2(self.work, [user.hashed_password for user, _ in self._new.values()])
        await self._flush()
        for number, (added, _) in self._new.items():  # some ids are given by the database
            made[number] = replace(made[number], id=added.id)
        if lost := before.lost(await lock_superusers(self.work)):
            gone = before.usable or before.active
            last = ", ".join(sorted(user.email for user in users.values() if user.id in gone))
            raise REFUSED.with_context(
                f"no {lost} would be left: {last}", hint="the file must keep one"
            )
        revoked = await RevocationRepository(self.session).revoke_of_users(self._revoked_users)
        if self._revoked_users:
            warn_about_other_sessions(self.work.settings)
        if not self.work.dry_run and self.work.settings.capabilities.sessions:
            self.work.revoked_users.update(self._revoked_users)
        return (
            {number: self._finish(report, revoked) for number, report in made.items()},
            [self._finish(report, revoked) for report in pruned],
        )

    def _finish(self, report: AppliedAccount, revoked: Counter[UUID]) -> AppliedAccount:
        """Record a change, and return its report with the number of sessions revoked."""
        count = revoked[report.id] if report.id is not None else 0
        self.work.record_change(report.id, report.result, sessions_revoked=count)
        not_saved = self.work.dry_run and report.result == CREATED
        return replace(
            report,
            id=None if not_saved else report.id,
            result=self.work.result(report.result),
            sessions_revoked=count,
        )

    async def _flush(self) -> None:
        """Write the collected changes; the role ``admin`` is created if it does not exist."""
        users = UserRepository(self.session)
        self._total = (
            len(self._new)
            + sum(len(names or ()) for _, names in self._new.values())
            + sum(map(len, self._flags.values()))
            + len(self._granted)
            + len(self._revoked)
        )
        self._progress(0, self._total, "writing changes")
        await self._write([user for user, _ in self._new.values()], users.add_all)
        await self._grant_to_new()
        for flags, user_ids in self._flags.items():
            await self._write(user_ids, partial(users.set_flags, flags=dict(flags)))
        repository = RoleRepository(self.session)
        if repository.creates_admin and any(name == ADMIN_ROLE for _, name in self._granted):
            await repository.add_missing([ADMIN_ROLE])
        replaced = {user_id for user_id, _ in self._granted} if repository.is_single else set()
        await self._write(self._granted, repository.grant_many)
        surplus = [link for link in self._revoked if link[0] not in replaced]
        await self._write(surplus, repository.revoke_many)

    async def _grant_to_new(self) -> None:
        """Grant the declared roles, apart from those given by a default of an application."""
        given = await RoleRepository(self.session).for_users(
            [user.id for user, _ in self._new.values()]
        )
        for user, declared in self._new.values():
            roles = given[user.id]
            wanted = roles if declared is None else set(declared)
            self._granted += [(user.id, name) for name in wanted - roles]
            self._revoked += [(user.id, name) for name in roles - wanted]

    async def _write(
        self, items: Sequence[ItemT], write: Callable[[Sequence[ItemT]], Awaitable[None]]
    ) -> None:
        """Write changes in batches, and report the progress after each."""
        for some in batches(items):
            await write(some)
            self._done += len(some)
            self._progress(self._done, self._total, "writing changes")

    def _created(self, target: MatchedRow) -> AppliedAccount:
        row, password = target.row, self.passwords.get(target.email)
        if password is None:  # the account existed when the passwords were hashed
            reason = (
                f"the account {target.email} was deleted by another process, nothing was changed"
            )
            raise BUSY.with_context(reason)
        user = User(email=target.email, hashed_password=password.hashed)
        for name, value in row.flags.items():
            setattr(user, name, value)
        self._new[target.number] = (user, row.roles)
        changes = (
            *(name for name, value in row.flags.items() if value),
            *_role_changes("+", row.roles or ()),
        )
        return AppliedAccount("+", user.id, user.email, CREATED, changes, 0, password.generated)

    def _updated(self, user: AccountState, row: AccountEntry, all_roles: Roles) -> AppliedAccount:
        """Update an account to match a row; revoke its sessions if it loses rights."""
        had = all_roles[user.id]
        wanted = had if row.roles is None else set(row.roles)
        flags = {
            name: value for name, value in row.flags.items() if getattr(user, name) is not value
        }
        if flags:
            self._flags.setdefault(tuple(sorted(flags.items())), []).append(user.id)
        if any(name in PRIVILEGE_FLAGS and not value for name, value in flags.items()):
            self._revoked_users.add(user.id)
        self._granted += [(user.id, name) for name in wanted - had]
        self._revoked += [(user.id, name) for name in had - wanted]
        changes = (
            *(
                f"{name}: {_bool_text(not value)} -> {_bool_text(value)}"
                for name, value in flags.items()
            ),
            *_role_changes("+", wanted - had),
            *_role_changes("-", had - wanted),
        )
        mark, result = ("~", UPDATED) if changes else ("=", UNCHANGED)
        return AppliedAccount(mark, user.id, user.email, result, changes, 0)


def _require_unchanged(users: dict[UUID, AccountState], read: AccountState) -> AccountState:
    """Return a locked account, if it is still the one that was matched.

    Raises:
        BusyError: It was deleted or has another address.
    """
    user = users.get(read.id)
    if user is None or user.email != read.email:
        reason = f"the account {read.email} was changed by another process, nothing was changed"
        raise BUSY.with_context(reason)
    return user


def _role_changes(sign: str, roles: Iterable[str]) -> Iterator[str]:
    return (f"{sign}{name}" for name in sorted(roles))


def _bool_text(value: bool) -> str:
    return "true" if value else "false"
