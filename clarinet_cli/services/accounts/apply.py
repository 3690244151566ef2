"""Applying an accounts file atomically, in one transaction.

The accounts are read and compared before it begins, without a lock; what is to be changed is
read and compared again inside. Passwords are hashed before it begins: a hash takes tens of
milliseconds, and the server's log-ins would wait.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional
from uuid import UUID

from clarinet_cli.database.table_check import require_canonical_owners
from clarinet_cli.exceptions import BUSY, REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import AccountState, UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.accounts.editor import CREATED, UPDATED
from clarinet_cli.services.accounts.file import GENERATE, AccountEntry, RowErrors
from clarinet_cli.services.accounts.hashes import PLACEHOLDER, PreparedPassword, hash_all
from clarinet_cli.services.accounts.matching import (
    MatchedRow,
    check_new_account,
    check_roles,
    check_single_role,
    match_rows,
    normalise_rows,
)
from clarinet_cli.services.accounts.passwords import generate_password
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE
from clarinet_cli.services.accounts.superusers import lock_superusers
from clarinet_cli.services.mapped import (
    require_role_changes,
    require_verified_flag,
    warn_of_other_sessions,
)
from clarinet_cli.services.sessions.revoke import ConcurrentLogins
from clarinet_cli.services.unit_of_work import Access, Database, UnitOfWork, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.types import UNCHANGED, ProgressCallback

Roles = dict[UUID, set[str]]
PRIVILEGE_FLAGS = ("is_active", "is_superuser")  # sessions are revoked with either


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """How a file is applied.

    Attributes:
        generate: Generate a password for each new account without a source of one.
        prune: Deactivate the accounts that the file does not name.
        dry_run: Change nothing, report what would be done.
    """

    generate: bool = False
    prune: bool = False
    dry_run: bool = False


async def apply_accounts(
    database: Database,
    declared: Sequence[AccountEntry],
    plan: ApplyPlan,
    *,
    errors: Optional[RowErrors] = None,
    progress: ProgressCallback = lambda done, total: None,
    concurrent_logins: Optional[ConcurrentLogins] = None,
    on_password: Optional[Callable[[list[AppliedAccount]], None]] = None,
) -> list[AppliedAccount]:
    """Make the accounts match a file.

    A field that the file leaves out is not changed. A new account is active, neither
    superuser nor verified, and without roles, unless the file says otherwise. The password
    of an existing account is not changed.

    Args:
        database: Where; its settings have the hash parameters.
        declared: The accounts of the file, as ``read_accounts`` returns them.
        plan: How to apply it.
        errors: Those of rows that were left out when the file was read.
        progress: Called after each hash.
        concurrent_logins: Gets the accounts that lost rights.
        on_password: Shows the reports with generated passwords before the commit.

    Returns:
        One report a row, in the file's order, then those of pruned accounts.

    Raises:
        InvalidInputError: Rows can't be used; the messages have their lines and columns.
        NotFoundError: A row names a role that does not exist.
        RefusedError: A row could mean several accounts, or no active superuser would be
            left.
        BusyError: Another process changed the accounts meanwhile.
    """
    errors = errors or RowErrors()
    async with unit_of_work(database) as work:
        await require_canonical_owners(work.session)
        states = await UserRepository(work.session).states()
        repository = RoleRepository(work.session)
        roles = await repository.names() | ({ADMIN_ROLE} if repository.creates_admin else set())
    # Compared without a transaction: with a rollback journal a reader blocks writers.
    declared = _supported(declared, database.settings)
    targets, others = match_rows(states, normalise_rows(declared), errors)
    if repository.are_rows:
        check_roles(declared, roles, errors)
    if repository.is_single:
        check_single_role(declared, errors)
    for target in targets:
        if target.account is None:
            check_new_account(target.row, database.settings, errors, generate=plan.generate)
    errors.check()
    accounts = [target.account.id for target in targets if target.account is not None]
    async with unit_of_work(database) as work:
        roles_of = await RoleRepository(work.session).of_users(accounts)
    done = {
        target.number: AppliedAccount("=", account.id, account.email, UNCHANGED, (), 0)
        for target in targets
        if (account := target.account) is not None
        and all(getattr(account, name) is value for name, value in target.row.flags.items())
        and (target.row.roles is None or set(target.row.roles) == roles_of[account.id])
    }
    require_role_changes(database.settings, _changed_roles(targets, roles_of))
    others = others if plan.prune else []
    changed = [target for target in targets if target.number not in done]
    if not (changed or others):
        return [done[target.number] for target in targets]
    new = [target for target in changed if target.account is None]
    if new:
        async with unit_of_work(database) as work:
            await UserRepository(work.session).require_creatable()
    passwords = await _prepare_passwords(
        database.settings, new, dry_run=plan.dry_run, progress=progress
    )
    listed = {report.id for report in done.values()} if plan.prune else None
    async with unit_of_work(database, access=Access.WRITE, dry_run=plan.dry_run) as work:
        await ServerRepository(work.session).lock_accounts()
        made, pruned = await AccountsWriter(work, passwords).write(changed, listed)
        done |= made
        reports = [*(done[target.number] for target in targets), *pruned]
        if on_password is not None and any(report.password for report in reports):
            await work.session.flush()
            on_password(reports)
    if concurrent_logins is not None:
        concurrent_logins.accounts |= work.revoked_users
    return reports


def _supported(declared: Sequence[AccountEntry], settings: Settings) -> list[AccountEntry]:
    """Return the rows without a flag that the accounts lack; a row that sets it is refused."""
    if settings.capabilities.verified:
        return list(declared)
    if any(row.flags.get("is_verified") for row in declared):
        require_verified_flag(settings)
    return [
        replace(row, flags={name: row.flags[name] for name in row.flags if name != "is_verified"})
        for row in declared
    ]


def _changed_roles(targets: Iterable[MatchedRow], roles: Roles) -> set[str]:
    """Return the roles that rows grant to an account or revoke from it."""
    changed: set[str] = set()
    for target in targets:
        if target.row.roles is not None:
            had = set() if target.account is None else roles[target.account.id]
            changed |= had ^ set(target.row.roles)
    return changed


async def _prepare_passwords(
    settings: Settings, new: Sequence[MatchedRow], *, dry_run: bool, progress: ProgressCallback
) -> dict[str, PreparedPassword]:
    """Return the password of each new account by its address."""
    prepared: dict[str, PreparedPassword] = {}
    others: list[str] = []
    for target in new:
        if target.row.password not in (None, GENERATE):
            prepared[target.email] = PreparedPassword(str(target.row.password))
        else:
            others.append(target.email)
    if dry_run:
        return prepared | {email: PreparedPassword(PLACEHOLDER) for email in others}
    passwords = [generate_password() for _ in others]
    for email, password, hashed in zip(
        others, passwords, await hash_all(passwords, settings, progress), strict=True
    ):
        prepared[email] = PreparedPassword(hashed, password.text)
    return prepared


class AccountsWriter:
    """The changes of a file, written in one transaction and in few statements.

    Args:
        work: A unit of work for writing that holds the lock on accounts.
        passwords: The passwords of new accounts by address.
    """

    def __init__(self, work: UnitOfWork, passwords: dict[str, PreparedPassword]) -> None:
        self.work = work
        self.session = work.session
        self.passwords = passwords
        self._revoked_users: set[UUID] = set()
        self._new: dict[int, tuple[User, Sequence[str]]] = {}
        self._flags: dict[tuple[tuple[str, bool], ...], list[UUID]] = {}
        self._granted: list[tuple[UUID, str]] = []
        self._revoked: list[tuple[UUID, str]] = []

    async def write(
        self, work: Sequence[MatchedRow], listed: Optional[set[Optional[UUID]]]
    ) -> tuple[dict[int, AppliedAccount], list[AppliedAccount]]:
        """Make the accounts match rows, which are compared again under the lock.

        Args:
            work: The rows that change something.
            listed: The accounts of all other rows; None: don't deactivate further ones.

        Returns:
            The reports of the rows by number, and those of the accounts of no row.

        Raises:
            RefusedError: No superuser who can log in would be left.
            BusyError: Another process changed the accounts meanwhile.
        """
        before = await lock_superusers(self.work)
        errors = RowErrors()
        targets, others = match_rows(await UserRepository(self.session).states(), work, errors)
        errors.check()
        others = [] if listed is None else [other for other in others if other.id not in listed]
        known = {target.account.id for target in targets if target.account is not None}
        users = await UserRepository(self.session).lock_all({*known, *(it.id for it in others)})
        roles = await RoleRepository(self.session).of_users(list(users))
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
        await self._flush()
        for number, (added, _) in self._new.items():  # some ids are given by the database
            made[number] = replace(made[number], id=added.id)
        if lost := before.lost(await lock_superusers(self.work)):
            gone = before.usable or before.active
            last = ", ".join(sorted(user.email for user in users.values() if user.id in gone))
            raise REFUSED.with_context(
                f"no {lost} would be left: {last}", hint="the file has to keep one"
            )
        revoked = await SessionRepository(self.session).revoke_of_users(self._revoked_users)
        if self._revoked_users:
            warn_of_other_sessions(self.work.settings)
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
        await users.add_all([user for user, _ in self._new.values()])
        self._granted += [(user.id, name) for user, names in self._new.values() for name in names]
        for flags, user_ids in self._flags.items():
            await users.set_flags(user_ids, dict(flags))
        repository = RoleRepository(self.session)
        if repository.creates_admin and any(name == ADMIN_ROLE for _, name in self._granted):
            await repository.add_missing([ADMIN_ROLE])
        replaced = {user_id for user_id, _ in self._granted} if repository.is_single else set()
        await repository.grant_many(self._granted)
        await repository.revoke_many([link for link in self._revoked if link[0] not in replaced])

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
        roles = row.roles or ()
        self._new[target.number] = (user, roles)
        changes = (
            *(name for name, value in row.flags.items() if value),
            *_role_changes("+", roles),
        )
        return AppliedAccount("+", user.id, user.email, CREATED, changes, 0, password.generated)

    def _updated(self, user: AccountState, row: AccountEntry, all_roles: Roles) -> AppliedAccount:
        """Make an account match a row; with rights that it loses its sessions are revoked."""
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
