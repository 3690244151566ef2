"""Changes of accounts, with their roles and sessions, each in the caller's transaction.

Where an account loses rights or gets another password, its sessions are revoked in the same
transaction: the server's cache accepts a session that is not revoked until it expires.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Optional

from clarinet_cli.exceptions import CONFLICT
from clarinet_cli.models import User
from clarinet_cli.repositories.references import ReferenceRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import AccountChange
from clarinet_cli.services.accounts.editor import CREATED, AccountEditor, warn_about_argon2
from clarinet_cli.services.accounts.hashes import PreparedPassword, require_prepared
from clarinet_cli.services.accounts.resolve import (
    lock_user,
    require_grantable_roles,
    require_one,
    require_roles,
    resolve_user,
)
from clarinet_cli.services.accounts.superusers import (
    require_another_superuser,
    require_superuser,
    warn_if_no_log_in,
)
from clarinet_cli.services.mapped import (
    require_role_changes,
    require_soft_delete,
    require_verified_flag,
)
from clarinet_cli.services.unit_of_work import UnitOfWork
from clarinet_cli.types import UNCHANGED
from clarinet_cli.utils.logger import logger

AccountOperation = Callable[[AccountEditor], Awaitable[None]]


async def change_account(
    work: UnitOfWork, identifier: str, operation: AccountOperation
) -> AccountChange:
    """Change one account by an operation of this module.

    Args:
        work: A unit of work for writing.
        identifier: See ``resolve_user``.
        operation: What to do, such as ``promote``.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: Several accounts match, or the operation refuses.
        ClarinetError: Any other error of the operation; nothing was changed.
    """
    await ServerRepository(work.session).lock_accounts()
    user = await resolve_user(UserRepository(work.session), identifier)
    return await _apply(work, await lock_user(work.session, user), operation)


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
        NotFoundError: The role does not exist.
        InvalidInputError: A new account without a password.
        RefusedError: An application's accounts have no roles, or one each, or its table requires
            values that ``create_values`` of the mapping does not give.
        PreventedError: A trigger or rule of the database prevented it.
    """
    await ServerRepository(work.session).lock_accounts()
    users = UserRepository(work.session)
    found = await users.find_by_email(email)
    if found and if_not_exists:
        return await report_unchanged(work, found[0])
    if found and not update:
        raise CONFLICT.with_context(
            f"the user {email} already exists",
            hint=f"{'--update makes it a superuser, ' * superuser}"
            "--if-not-exists leaves it unchanged",
        )
    if found:
        user = await lock_user(work.session, await require_one(work.session, found, email))
        return await _apply(work, user, lambda editor: _make_superuser(editor, password, roles))
    require_role_changes(work.settings, roles)
    prepared = require_prepared(password, dry_run=work.dry_run)
    await require_grantable_roles(work.session, roles)
    await users.require_creatable()
    await warn_about_argon2(work, [prepared.hashed])
    user = User(
        email=email,
        hashed_password=prepared.hashed,
        is_active=True,
        is_superuser=superuser,
        is_verified=True,
    )
    await users.add(user)
    # A default or a trigger of an application may have given it some.
    given = await RoleRepository(work.session).for_user(user.id)
    editor = AccountEditor(work, user, given, result=CREATED)
    editor.password = prepared.generated
    if superuser:
        await editor.grant_admin()
    await editor.grant(*roles)
    return await editor.finish()


async def reset_password(
    work: UnitOfWork,
    identifier: str,
    password: Optional[PreparedPassword],
    *,
    any_user: bool = False,
    keep_sessions: bool = False,
) -> AccountChange:
    """Set a new password and revoke the account's sessions.

    Args:
        work: A unit of work for writing.
        identifier: See ``resolve_user``.
        password: The new password; None only in a dry run.
        any_user: Also for accounts that are not superusers.
        keep_sessions: Do not revoke the sessions.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: It is not a superuser and *any_user* is off, or several match.
        InvalidInputError: No password is given.
    """

    async def reset(editor: AccountEditor) -> None:
        require_superuser(editor.user, any_user=any_user)
        prepared = require_prepared(password, dry_run=work.dry_run)
        await editor.set_password(prepared, keep_sessions=keep_sessions)
        warn_if_no_log_in(editor.user, work.settings)

    return await change_account(work, identifier, reset)


async def report_unchanged(work: UnitOfWork, user: User) -> AccountChange:
    """Return the report of an account that is left as it is."""
    return await AccountEditor(
        work, user, await RoleRepository(work.session).for_user(user.id)
    ).finish()


async def promote(editor: AccountEditor) -> None:
    """Make an account a superuser with the role ``admin``.

    An account that cannot log in is promoted with a warning.
    """
    await editor.grant_admin()
    await editor.set(is_superuser=True)
    warn_if_no_log_in(editor.user, editor.work.settings)


async def demote(editor: AccountEditor) -> None:
    """Remove an account's superuser flag and role ``admin``; revoke its sessions.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await require_another_superuser(editor.work, editor.user)
    await editor.revoke_admin()
    await editor.set(is_superuser=False)
    if editor.result != UNCHANGED:
        await editor.revoke_sessions()


async def activate(editor: AccountEditor) -> None:
    """Allow an account to log in."""
    await editor.set(is_active=True)
    warn_if_no_log_in(editor.user, editor.work.settings)


async def deactivate(editor: AccountEditor) -> None:
    """Deactivate an account and revoke its sessions.

    Sessions of an account that is already inactive are revoked too: they would become valid when it
    is activated.

    Raises:
        RefusedError: It is the last active superuser.
    """
    await require_another_superuser(editor.work, editor.user)
    await editor.set(is_active=False)
    await editor.revoke_sessions()


async def set_email(editor: AccountEditor, email: str) -> None:
    """Change the address of an account and revoke its sessions.

    Args:
        editor: The account.
        email: The new address, already normalised.

    Raises:
        ConflictError: Another account has this address, as the server compares addresses.
    """
    others = await UserRepository(editor.session).find_by_email(email)
    if any(other.id != editor.user.id for other in others):
        raise CONFLICT.with_context(
            f"another account has the address {email}",
            hint=f"'clarinet admin show {email}' shows it",
        )
    await editor.set(email=email)
    if editor.result != UNCHANGED:
        await editor.revoke_sessions()


async def verify(editor: AccountEditor) -> None:
    """Mark the address of an account as verified.

    Raises:
        RefusedError: The accounts have no such flag.
    """
    require_verified_flag(editor.work.settings)
    await editor.set(is_verified=True)


async def unverify(editor: AccountEditor) -> None:
    """Mark the address of an account as not verified; see ``verify``."""
    require_verified_flag(editor.work.settings)
    await editor.set(is_verified=False)


async def delete(editor: AccountEditor, *, soft: bool = False) -> None:
    """Delete an account with its roles, its sessions, and the rows that cascade.

    Args:
        editor: The account.
        soft: Keep the row, and mark it as deleted in the column of an application.

    Raises:
        ConflictError: Rows of other tables refer to it and do not cascade.
        RefusedError: It is the last active superuser, or there is no such column.
    """
    if soft:
        require_soft_delete(editor.work.settings)
    await require_another_superuser(editor.work, editor.user)
    if soft:
        await editor.mark_deleted()
        return
    restricting, editor.cascaded = await ReferenceRepository(editor.session).to_user(editor.user.id)
    if restricting:
        email = editor.user.email
        counts = ", ".join(f"{count} in {name}" for name, count in restricting.items())
        raise CONFLICT.with_context(
            f"other rows refer to {email}: {counts}",
            hint=f"'clarinet admin deactivate {email}' locks the account and keeps them",
        )
    await editor.delete()
    if extended := await UserRepository(editor.session).extended_table():
        logger.warning(f"the row of {extended} that the account extended is left")


async def grant_role(editor: AccountEditor, role: str) -> None:
    """Grant a role to an account.

    Raises:
        NotFoundError: The role does not exist.
    """
    await require_grantable_roles(editor.session, [role])
    await editor.grant(role)


async def revoke_role(editor: AccountEditor, role: str) -> None:
    """Revoke a role of an account.

    Raises:
        NotFoundError: The role does not exist.
    """
    await require_roles(editor.session, [role])
    await editor.revoke(role)


async def _apply(work: UnitOfWork, user: User, operation: AccountOperation) -> AccountChange:
    """Apply an operation to a locked account."""
    editor = AccountEditor(work, user, await RoleRepository(work.session).for_user(user.id))
    await operation(editor)
    return await editor.finish()


async def _make_superuser(
    editor: AccountEditor, password: Optional[PreparedPassword], roles: Iterable[str]
) -> None:
    """Make an existing account an active superuser; without a password it keeps its own."""
    await require_grantable_roles(editor.session, roles)
    await editor.grant_admin()
    await editor.grant(*roles)
    await editor.set(is_active=True, is_superuser=True)
    if password is not None:
        await editor.set_password(password)
    warn_if_no_log_in(editor.user, editor.work.settings)
