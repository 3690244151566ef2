"""Apply an accounts file in one transaction.

The accounts are read and compared before it begins, without a lock; those to change are read and
compared again inside. Passwords are hashed before it begins: a hash takes tens of milliseconds, and
the server's log-ins would wait.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from clarinet_cli.database.table_check import require_canonical_owners
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AppliedAccount
from clarinet_cli.services.accounts.file import GENERATE, AccountEntry, RowErrors
from clarinet_cli.services.accounts.hashes import PLACEHOLDER, PreparedPassword, hash_all
from clarinet_cli.services.accounts.matching import (
    MatchedRow,
    check_grantable_roles,
    check_new_account,
    check_single_role,
    match_rows,
    normalise_rows,
)
from clarinet_cli.services.accounts.passwords import generate_password
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE
from clarinet_cli.services.accounts.writer import AccountsWriter, Roles
from clarinet_cli.services.mapped import require_role_changes, require_verified_flag
from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
from clarinet_cli.services.unit_of_work import Access, Database, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.types import UNCHANGED, PhaseCallback


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
    progress: PhaseCallback = lambda done, total, phase: None,
    concurrent_logins: Optional[ConcurrentLogins] = None,
    on_password: Optional[Callable[[list[AppliedAccount]], None]] = None,
) -> list[AppliedAccount]:
    """Make the accounts match a file.

    A field that the file leaves out is not changed. A new account is active, neither
    superuser nor verified, and without roles, unless the file says otherwise. The password
    of an existing account is not changed.

    Args:
        database: The database to change; its settings have the hash parameters.
        declared: The accounts of the file, as ``read_accounts`` returns them.
        plan: How to apply it.
        errors: The errors of rows that were left out when the file was read.
        progress: Called while rows are compared, after each hash, and after each batch of
            changes that is written.
        concurrent_logins: Gets the accounts that lost rights.
        on_password: Shows the reports with generated passwords before the commit.

    Returns:
        One report per row, in the file's order, then those of pruned accounts.

    Raises:
        InvalidInputError: Rows cannot be used; the messages have their lines and columns.
        NotFoundError: A row names a role that does not exist.
        RefusedError: A row could mean several accounts, or no active superuser would be
            left.
        BusyError: Another process changed the accounts at the same time.
    """
    errors = errors or RowErrors()
    async with unit_of_work(database) as work:
        await require_canonical_owners(work.session)
        states = await UserRepository(work.session).states()
        repository = RoleRepository(work.session)
        roles = await repository.names() | ({ADMIN_ROLE} if repository.creates_admin else set())
    # Compared without a transaction: with a rollback journal a reader blocks writers.
    declared = _supported(declared, database.settings)
    targets, others = match_rows(states, normalise_rows(declared, progress), errors)
    check_grantable_roles(declared, roles, errors, are_rows=repository.are_rows)
    if repository.is_single:
        check_single_role(declared, errors)
    for target in targets:
        if target.account is None:
            check_new_account(target.row, database.settings, errors, generate=plan.generate)
    errors.check()
    accounts = [target.account.id for target in targets if target.account is not None]
    async with unit_of_work(database) as work:
        roles_of = await RoleRepository(work.session).for_users(accounts)
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
        made, pruned = await AccountsWriter(work, passwords, progress).write(changed, listed)
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
    settings: Settings, new: Sequence[MatchedRow], *, dry_run: bool, progress: PhaseCallback
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
    if passwords:
        progress(0, len(passwords), "hashing passwords")
    hashes = await hash_all(
        passwords, settings, lambda done, total: progress(done, total, "hashing passwords")
    )
    for email, password, hashed in zip(others, passwords, hashes, strict=True):
        prepared[email] = PreparedPassword(hashed, password.text)
    return prepared
