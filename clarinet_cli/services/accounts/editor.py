"""Changes of one account in a transaction, recorded for its report and the audit log."""

from collections.abc import Iterable
from typing import Any, Optional

from clarinet_cli.exceptions import REFUSED
from clarinet_cli.models import User
from clarinet_cli.repositories.revocation import RevocationRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.hashes import PreparedPassword
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE
from clarinet_cli.services.mapped import require_role_changes, warn_about_other_sessions
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.types import UNCHANGED
from clarinet_cli.utils.logger import logger

CREATED = "created"
UPDATED = "updated"
DELETED = "deleted"


async def warn_about_argon2(work: UnitOfWork, hashed: Iterable[str]) -> None:
    """Warn of a new argon2 hash where an application has only hashes of bcrypt.

    Args:
        work: A unit of work in which the hashes are not written yet.
        hashed: The hashes.
    """
    if work.settings.capabilities.own_schema:
        return
    is_argon2 = any(item.startswith("$argon2") for item in hashed)
    if is_argon2 and await UserRepository(work.session).has_only_bcrypt():
        logger.warning(
            "all password hashes of the application are bcrypt, and the new one is argon2id: "
            "fastapi-users before version 13 refuses it"
        )


class AccountEditor:
    """Changes one account in a transaction, and records the result.

    Args:
        work: The unit of work, for writing.
        user: The account, locked or just added.
        roles: Names of its roles.
        result: The result so far.
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
        """Set fields of the account; equal values do not count as a change."""
        for name, value in fields.items():
            if getattr(self.user, name) != value:
                setattr(self.user, name, value)
                self._updated()
        await self.session.flush()

    async def set_password(
        self, password: PreparedPassword, *, keep_sessions: bool = False
    ) -> None:
        """Set a new password, and revoke the account's sessions unless they are kept."""
        await warn_about_argon2(self.work, [password.hashed])
        await self.set(hashed_password=password.hashed)
        self._updated()
        self.password = password.generated
        if not keep_sessions:
            await self.revoke_sessions()

    async def grant(self, *names: str) -> None:
        """Grant roles that exist; ``admin`` is created if it does not.

        Raises:
            RefusedError: Accounts have no roles, or one role each and several are given.
        """
        require_role_changes(self.work.settings, names)
        repository = RoleRepository(self.session)
        if missing := set(names) - self.roles:
            if repository.is_single and len(set(names)) > 1:
                raise REFUSED.with_context(
                    "an account can have one role only, and several are given"
                )
            if repository.creates_admin:
                await repository.add_missing(missing & {ADMIN_ROLE})
            await repository.grant(self.user.id, sorted(missing))
            self.roles = missing if repository.is_single else self.roles | missing
            self._updated()

    async def grant_admin(self) -> None:
        """Grant the role ``admin``; superusers of an application have only the flag."""
        if self.work.settings.capabilities.admin_role:
            await self.grant(ADMIN_ROLE)

    async def revoke_admin(self) -> None:
        """Revoke the role ``admin``; see ``grant_admin``."""
        if self.work.settings.capabilities.admin_role:
            await self.revoke(ADMIN_ROLE)

    async def revoke(self, *names: str) -> None:
        """Revoke roles of the account; see ``grant``."""
        require_role_changes(self.work.settings, names)
        if surplus := set(names) & self.roles:
            await RoleRepository(self.session).revoke(self.user.id, surplus)
            self.roles -= surplus
            self._updated()

    async def delete(self) -> None:
        """Delete the account with its roles and sessions."""
        self.sessions_revoked += await RevocationRepository(self.session).delete_of_user(
            self.user.id
        )
        self._record_revocation()
        await RoleRepository(self.session).revoke_all(self.user.id)
        await UserRepository(self.session).remove(self.user.id)
        self.result = DELETED

    async def mark_deleted(self) -> None:
        """Mark the account as deleted in the column of an application, and revoke its sessions."""
        await self.revoke_sessions()
        await UserRepository(self.session).mark_deleted(self.user.id)
        self.result = DELETED

    async def revoke_sessions(self) -> None:
        """Revoke all sessions of the account."""
        revoked = await RevocationRepository(self.session).revoke_of_user(self.user.id)
        self.sessions_revoked += revoked
        self._record_revocation()
        if revoked:
            self._updated()

    async def finish(self) -> AccountChange:
        """Flush pending changes, record the change and return its report."""
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

    def _record_revocation(self) -> None:
        warn_about_other_sessions(self.work.settings)
        if not self.work.dry_run and self.work.settings.capabilities.sessions:
            self.work.revoked_users.add(self.user.id)
