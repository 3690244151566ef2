"""What can be done to one account, and what goes with it.

The rights of an account that end are ended in its sessions too, in the same transaction:
the server's cache goes on accepting a session that is not ended until its own time.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.models import User
from clarinet_cli.repositories.references import ReferenceRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.sessions import SessionRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.resolve import ADMIN_ROLE, require_roles
from clarinet_cli.services.accounts.superusers import require_another_superuser, warn_of_log_in
from clarinet_cli.services.audit import UNCHANGED
from clarinet_cli.settings import Settings


class Change:
    """One account while it is changed.

    Args:
        session: A session for writing.
        user: The account, locked.
        roles: The names of its roles.
        settings: The hash parameters.
    """

    def __init__(
        self, session: AsyncSession, user: User, roles: set[str], settings: Settings
    ) -> None:
        self.session = session
        self.settings = settings
        self.user = user
        self.roles = roles
        self.result = UNCHANGED
        self.sessions_revoked = 0
        self.cascaded: dict[str, int] = {}
        self.sessions_ended = False

    async def set(self, **flags: Any) -> None:
        """Set fields of the account; values that it has already are no change."""
        for name, value in flags.items():
            if getattr(self.user, name) != value:
                setattr(self.user, name, value)
                self.result = "updated"
        await self.session.flush()

    async def grant(self, *names: str) -> None:
        """Give the account roles that exist; ``admin`` is made if it does not."""
        if missing := set(names) - self.roles:
            await RoleRepository(self.session).add_missing(missing & {ADMIN_ROLE})
            await RoleRepository(self.session).grant(self.user.id, sorted(missing))
            self.roles |= missing
            self.result = "updated"

    async def withdraw(self, *names: str) -> None:
        """Take roles from the account."""
        if surplus := set(names) & self.roles:
            await RoleRepository(self.session).revoke(self.user.id, surplus)
            self.roles -= surplus
            self.result = "updated"

    async def give_up_rights(self) -> None:
        """Make sure that somebody else can administer the server.

        Raises:
            RefusedError: The account is the last active superuser, or the last one who can
                log in.
        """
        await require_another_superuser(self.session, self.user, self.settings)

    async def remove(self) -> None:
        """Delete the account with its roles and sessions."""
        self.sessions_revoked += await SessionRepository(self.session).delete_of_user(self.user.id)
        self.sessions_ended = True
        await RoleRepository(self.session).revoke_all(self.user.id)
        await UserRepository(self.session).remove(self.user.id)
        self.result = "deleted"

    async def end_sessions(self) -> None:
        """End all sessions of the account."""
        ended = await SessionRepository(self.session).revoke_of_user(self.user.id)
        self.sessions_revoked += ended
        self.sessions_ended = True
        self.result = "updated" if ended else self.result

    @property
    def report(self) -> AccountChange:
        """What happened to the account."""
        user, roles = self.user, tuple(sorted(self.roles))
        return AccountChange(
            user.id,
            user.email,
            self.result,
            roles,
            self.sessions_revoked,
            cascaded=self.cascaded or None,
        )


async def promote(change: Change) -> None:
    """Make an account a superuser with the role ``admin``.

    One that is inactive, or whose password nobody can verify, stays so, with a warning: it
    can't administer anything yet.
    """
    await change.grant(ADMIN_ROLE)
    await change.set(is_superuser=True)
    warn_of_log_in(change.user, change.settings)


async def demote(change: Change) -> None:
    """Take the superuser flag and the role ``admin`` from an account, and end its sessions.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await change.give_up_rights()
    await change.withdraw(ADMIN_ROLE)
    await change.set(is_superuser=False)
    if change.result != UNCHANGED:
        await change.end_sessions()


async def activate(change: Change) -> None:
    """Let an account log in."""
    await change.set(is_active=True)
    warn_of_log_in(change.user, change.settings)


async def deactivate(change: Change) -> None:
    """Let an account log in no longer, and end its sessions.

    Sessions of an account that was inactive already, which would come to life again with
    it, end too.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await change.give_up_rights()
    await change.set(is_active=False)
    await change.end_sessions()


async def delete(change: Change) -> None:
    """Delete an account with its roles, its sessions, and what the database deletes with them.

    Raises:
        ConflictError: Rows of the server's other tables refer to it and would not go along.
        RefusedError: It is the last active superuser.
    """
    await change.give_up_rights()
    change.cascaded = await _cascaded(change.session, change.user)
    await change.remove()


async def grant_role(change: Change, role: str) -> None:
    """Give an account a role.

    Raises:
        NotFoundError: There is no such role.
    """
    await require_roles(change.session, [role])
    await change.grant(role)


async def revoke_role(change: Change, role: str) -> None:
    """Take a role from an account.

    Raises:
        NotFoundError: There is no such role.
    """
    await require_roles(change.session, [role])
    await change.withdraw(role)


async def _cascaded(session: AsyncSession, user: User) -> dict[str, int]:
    """Return how many rows of other tables go with an account, by ``table.column``.

    Raises:
        ConflictError: Some refer to it, or to one of its sessions, and would not go along.
    """
    stay, go = await ReferenceRepository(session).to_user(user.id)
    if stay:
        counts = ", ".join(f"{count} in {place}" for place, count in stay.items())
        raise CONFLICT.with_context(
            f"other rows refer to {user.email}: {counts}",
            hint=f"'clarinet admin deactivate {user.email}' locks the account and keeps them",
        )
    return go
