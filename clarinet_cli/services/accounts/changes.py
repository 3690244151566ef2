"""Changes of accounts, with their roles and sessions, each in the caller's transaction.

Where an account loses rights or gets another password, its sessions are revoked in the same
transaction: the server's cache accepts a session that is not revoked until it expires.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.models import User
from clarinet_cli.repositories.references import ReferenceRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.hashes import PreparedPassword, require_password
from clarinet_cli.services.accounts.resolve import (
    ADMIN_ROLE,
    lock_user,
    require_one,
    require_roles,
    resolve_user,
)
from clarinet_cli.services.accounts.superusers import (
    require_another_superuser,
    require_superuser,
    warn_of_log_in,
)
from clarinet_cli.services.mapped import (
    require_role_changes,
    require_verified_flag,
    warn_of_other_sessions,
)
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.types import UNCHANGED

CREATED = "created"
UPDATED = "updated"
DELETED = "deleted"


class Change:
    """One account while it is changed.

    Args:
        work: The unit of work, for writing.
        user: The account, locked or just added.
        roles: The names of its roles.
        result: What has been done to it so far.
    """

    def __init__(
        self, work: UnitOfWork, user: User, roles: Iterable[str] = (), result: str = UNCHANGED
    ) -> None:
        self.work = work
        self.session = work.session
        self.user = user
        self.roles = set(roles)
        self.result = result
        self.sessions_revoked = 0
        self.cascaded: dict[str, int] = {}
        self.password: Optional[str] = None

    async def set(self, **fields: Any) -> None:
        """Set fields of the account; a value that it has already is no change."""
        for name, value in fields.items():
            if getattr(self.user, name) != value:
                setattr(self.user, name, value)
                self._updated()
        await self.session.flush()

    async def set_password(
        self, password: PreparedPassword, *, keep_sessions: bool = False
    ) -> None:
        """Set a new password, and revoke the account's sessions unless they are kept."""
        await self.set(hashed_password=password.hashed)
        self._updated()
        self.password = password.generated
        if not keep_sessions:
            await self.revoke_sessions()

    async def grant(self, *names: str) -> None:
        """Grant roles that exist; ``admin`` is created if it does not.

        In an application's tables superusers have the flag alone, and no role ``admin``.

        Raises:
            RefusedError: Roles of an application are granted by the application.
        """
        if not self.work.settings.capabilities.role_changes:
            require_role_changes(self.work.settings, set(names) - {ADMIN_ROLE})
            return
        if missing := set(names) - self.roles:
            await RoleRepository(self.session).add_missing(missing & {ADMIN_ROLE})
            await RoleRepository(self.session).grant(self.user.id, sorted(missing))
            self.roles |= missing
            self._updated()

    async def withdraw(self, *names: str) -> None:
        """Revoke roles of the account; see ``grant``."""
        if not self.work.settings.capabilities.role_changes:
            require_role_changes(self.work.settings, set(names) - {ADMIN_ROLE})
            return
        if surplus := set(names) & self.roles:
            await RoleRepository(self.session).revoke(self.user.id, surplus)
            self.roles -= surplus
            self._updated()

    async def remove(self) -> None:
        """Delete the account with its roles and sessions."""
        self.sessions_revoked += await SessionRepository(self.session).delete_of_user(self.user.id)
        self._sign_out()
        await RoleRepository(self.session).revoke_all(self.user.id)
        await UserRepository(self.session).remove(self.user.id)
        self.result = DELETED

    async def revoke_sessions(self) -> None:
        """Revoke all sessions of the account."""
        revoked = await SessionRepository(self.session).revoke_of_user(self.user.id)
        self.sessions_revoked += revoked
        self._sign_out()
        if revoked:
            self._updated()

    async def finish(self) -> AccountChange:
        """Write what is pending, record the change and return its report."""
        await self.session.flush()
        user = self.user
        self.work.record_change(user.id, self.result, sessions_revoked=self.sessions_revoked)
        not_saved = self.work.dry_run and self.result == CREATED
        return AccountChange(
            None if not_saved else user.id,
            user.email,
            self.work.result(self.result),
            tuple(sorted(self.roles)),
            self.sessions_revoked,
            password=self.password,
            cascaded=self.cascaded or None,
        )

    def _updated(self) -> None:
        self.result = UPDATED if self.result == UNCHANGED else self.result

    def _sign_out(self) -> None:
        warn_of_other_sessions(self.work.settings)
        if not self.work.dry_run and self.work.settings.capabilities.sessions:
            self.work.signed_out.add(self.user.id)


Rule = Callable[[Change], Awaitable[None]]


async def change_account(work: UnitOfWork, who: str, rule: Rule) -> AccountChange:
    """Change one account by a rule of this module.

    Args:
        work: A unit of work for writing.
        who: The account, as ``resolve_user`` reads it.
        rule: What to do, such as ``promote``.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: Several accounts match, or the rule refuses.
        ClarinetError: What else the rule raises; nothing was changed.
    """
    await ServerRepository(work.session).lock_accounts()
    user = await resolve_user(UserRepository(work.session), who)
    return await _changed(work, await lock_user(work.session, user), rule)


async def create_account(
    work: UnitOfWork,
    email: str,
    password: Optional[PreparedPassword],
    *,
    roles: Iterable[str] = (),
    superuser: bool = True,
    update: bool = False,
    if_not_exists: bool = False,
) -> AccountChange:
    """Create an active, verified account.

    Args:
        work: A unit of work for writing.
        email: The address, already normalised.
        password: The password; without one an existing account keeps its own.
        roles: Its roles, besides the role ``admin`` of a superuser.
        superuser: With the superuser flag and the role ``admin``.
        update: Make an existing account an active superuser.
        if_not_exists: Leave an existing account as it is.

    Raises:
        ConflictError: The account exists, and neither option was given.
        NotFoundError: There is no such role.
        InvalidInputError: A new account without a password.
    """
    await ServerRepository(work.session).lock_accounts()
    users = UserRepository(work.session)
    found = await users.with_email(email)
    if found and if_not_exists:
        return await unchanged(work, found[0])
    if found and not update:
        raise CONFLICT.with_context(
            f"the user {email} exists already",
            hint=f"{'--update makes it an administrator, ' * superuser}"
            "--if-not-exists leaves it as it is",
        )
    if found:
        user = await lock_user(work.session, await require_one(work.session, found, email))
        return await _changed(work, user, lambda change: _make_superuser(change, password, roles))
    require_role_changes(work.settings, roles)
    prepared = require_password(password, dry_run=work.dry_run)
    await require_roles(work.session, roles)
    await users.require_creatable()
    user = User(
        email=email,
        hashed_password=prepared.hashed,
        is_active=True,
        is_superuser=superuser,
        is_verified=True,
    )
    await users.add(user)
    change = Change(work, user, result=CREATED)
    change.password = prepared.generated
    await change.grant(*([ADMIN_ROLE] if superuser else []), *roles)
    return await change.finish()


async def reset_password(
    work: UnitOfWork,
    who: str,
    password: Optional[PreparedPassword],
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
) -> AccountChange:
    """Set a new password and revoke the account's sessions.

    Args:
        work: A unit of work for writing.
        who: The account, as ``resolve_user`` reads it.
        password: The new password; None only in a dry run.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Do not revoke the sessions.

    Raises:
        NotFoundError: There is no such account.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
        InvalidInputError: No password is given.
    """

    async def reset(change: Change) -> None:
        require_superuser(change.user, any_user=any_user)
        prepared = require_password(password, dry_run=work.dry_run)
        await change.set_password(prepared, keep_sessions=keep_sessions)
        warn_of_log_in(change.user, work.settings)

    return await change_account(work, who, reset)


async def unchanged(work: UnitOfWork, user: User) -> AccountChange:
    """Return the report of an account that is left as it is."""
    return await Change(work, user, await RoleRepository(work.session).of_user(user.id)).finish()


async def promote(change: Change) -> None:
    """Make an account a superuser with the role ``admin``.

    An account that can't log in stays so, with a warning.
    """
    await change.grant(ADMIN_ROLE)
    await change.set(is_superuser=True)
    warn_of_log_in(change.user, change.work.settings)


async def demote(change: Change) -> None:
    """Take the superuser flag and the role ``admin`` from an account; revoke its sessions.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await require_another_superuser(change.work, change.user)
    await change.withdraw(ADMIN_ROLE)
    await change.set(is_superuser=False)
    if change.result != UNCHANGED:
        await change.revoke_sessions()


async def activate(change: Change) -> None:
    """Allow an account to log in."""
    await change.set(is_active=True)
    warn_of_log_in(change.user, change.work.settings)


async def deactivate(change: Change) -> None:
    """Do not allow an account to log in any more, and revoke its sessions.

    Sessions of an account that is inactive already are revoked too: they would be valid
    again as soon as it is activated.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await require_another_superuser(change.work, change.user)
    await change.set(is_active=False)
    await change.revoke_sessions()


async def set_email(change: Change, email: str) -> None:
    """Change the address of an account and revoke its sessions.

    Args:
        change: The account.
        email: The new address, already normalised.

    Raises:
        ConflictError: Another account has this address, as the server compares addresses.
    """
    others = await UserRepository(change.session).with_email(email)
    if any(other.id != change.user.id for other in others):
        raise CONFLICT.with_context(
            f"another account has the address {email}",
            hint=f"'clarinet admin show {email}' shows it",
        )
    await change.set(email=email)
    if change.result != UNCHANGED:
        await change.revoke_sessions()


async def verify(change: Change) -> None:
    """Mark the address of an account as verified.

    Raises:
        RefusedError: The accounts have no such flag.
    """
    require_verified_flag(change.work.settings)
    await change.set(is_verified=True)


async def unverify(change: Change) -> None:
    """Mark the address of an account as not verified; see ``verify``."""
    require_verified_flag(change.work.settings)
    await change.set(is_verified=False)


async def delete(change: Change) -> None:
    """Delete an account with its roles, its sessions, and the rows that cascade.

    Raises:
        ConflictError: Rows of other tables refer to it and do not cascade.
        RefusedError: It is the last active superuser.
    """
    await require_another_superuser(change.work, change.user)
    change.cascaded = await _count_cascaded(change.session, change.user)
    await change.remove()


async def grant_role(change: Change, role: str) -> None:
    """Grant a role to an account.

    Raises:
        NotFoundError: There is no such role.
    """
    await require_roles(change.session, [role])
    await change.grant(role)


async def revoke_role(change: Change, role: str) -> None:
    """Revoke a role of an account.

    Raises:
        NotFoundError: There is no such role.
    """
    await require_roles(change.session, [role])
    await change.withdraw(role)


async def _changed(work: UnitOfWork, user: User, rule: Rule) -> AccountChange:
    """Apply a rule to a locked account."""
    change = Change(work, user, await RoleRepository(work.session).of_user(user.id))
    await rule(change)
    return await change.finish()


async def _make_superuser(
    change: Change, password: Optional[PreparedPassword], roles: Iterable[str]
) -> None:
    """Make an existing account an active superuser; without a password it keeps its own."""
    await require_roles(change.session, roles)
    await change.grant(ADMIN_ROLE, *roles)
    await change.set(is_active=True, is_superuser=True)
    if password is not None:
        await change.set_password(password)
    warn_of_log_in(change.user, change.work.settings)


async def _count_cascaded(session: AsyncSession, user: User) -> dict[str, int]:
    """Return how many rows of other tables are deleted with an account, by ``table.column``.

    Raises:
        ConflictError: Some refer to it, or to one of its sessions, and do not cascade.
    """
    restricting, cascading = await ReferenceRepository(session).to_user(user.id)
    if restricting:
        counts = ", ".join(f"{count} in {place}" for place, count in restricting.items())
        raise CONFLICT.with_context(
            f"other rows refer to {user.email}: {counts}",
            hint=f"'clarinet admin deactivate {user.email}' locks the account and keeps them",
        )
    return cascading
