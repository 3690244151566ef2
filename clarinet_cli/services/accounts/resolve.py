"""Resolving accounts, roles and addresses that operators name."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.table_check import require_consistent_id
from clarinet_cli.exceptions import INVALID, NOT_FOUND, REFUSED, InvalidInputError
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.settings import Settings, username_to_email
from clarinet_cli.spelling import fold_case
from clarinet_cli.utils.logger import logger

ADMIN_ROLE = "admin"
PREFIX = re.compile(r"[0-9a-f]{8,32}")
OPAQUE_FORMS = ("integer", "text")  # of an application's ids
LIST_HINT = "'clarinet admin list --all' shows all accounts"
WHO_HINT = "USER is an e-mail address, a UUID, or the first 8 or more digits of one"


async def lock_user(session: AsyncSession, user: User) -> User:
    """Return an account as it is now, locked until the end of the transaction.

    Args:
        session: A session for writing.
        user: The account as it was read.

    Raises:
        NotFoundError: It no longer exists.
    """
    found = await UserRepository(session).lock(user.id)
    if found is None:
        raise NOT_FOUND.with_context(f"no user {user.email!r}", hint=LIST_HINT)
    return found


async def resolve_user(users: UserRepository, identifier: str) -> User:
    """Return the account with an e-mail address or id.

    Args:
        users: The repository.
        identifier: An e-mail address in any case, a UUID, or at least 8 digits of one.

    Raises:
        NotFoundError: The account does not exist.
        RefusedError: Several accounts match; the error lists them.
    """
    digits = identifier.replace("-", "").casefold()
    if not storable(identifier):
        raise NOT_FOUND.with_context(f"no user {identifier!r}", hint=WHO_HINT)
    if "@" in identifier:
        found = await _with_address(users, identifier)
    elif users.id_form in OPAQUE_FORMS:
        found = await users.find_by_stored_id(identifier) or await users.find_by_login(identifier)
    elif PREFIX.fullmatch(digits):
        found = await users.find_by_id_prefix(digits)
    elif found := await users.find_by_login(identifier):
        pass
    else:
        raise NOT_FOUND.with_context(f"no user {identifier!r}", hint=WHO_HINT)
    if not found:
        similar = await users.similar_addresses(identifier, limit=3) if "@" in identifier else []
        named = " or ".join(map(repr, similar))
        hint = f"did you mean {named}? {LIST_HINT}" if similar else LIST_HINT
        raise NOT_FOUND.with_context(f"no user {identifier!r}", hint=hint)
    return await require_one(users.session, found, identifier)


async def require_one(session: AsyncSession, found: Sequence[User], identifier: str) -> User:
    """Return the one account that was found.

    Raises:
        ConfigurationError: Rows refer to it by its id in another form.
        RefusedError: Several were found; the error lists them.
    """
    if len(found) > 1:
        matches = ", ".join(f"{user.email} ({user.id})" for user in found)
        has_uuids = UserRepository(session).id_form not in OPAQUE_FORMS
        raise REFUSED.with_context(
            f"{identifier!r} is ambiguous: {matches}",
            hint=f"give the {'whole UUID' if has_uuids else 'id'}",
        )
    await require_consistent_id(session, found[0])
    return found[0]


def storable(text: str) -> bool:
    """Return whether a database can hold *text*: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def known_roles_hint(names: Collection[str]) -> str:
    """Return the hint that lists the roles that can be granted.

    Args:
        names: Their names.
    """
    return f"roles: {', '.join(sorted(names))}" if names else "there are no roles yet"


async def require_roles(session: AsyncSession, names: Iterable[str]) -> None:
    """Refuse roles that do not exist.

    Raises:
        NotFoundError: One of *names* is unknown; the hint lists those that exist.
    """
    repository = RoleRepository(session)
    wanted = set(names) - ({ADMIN_ROLE} if repository.creates_admin else set())
    known = await repository.names() if wanted else set()
    if missing := sorted(wanted - known):
        raise NOT_FOUND.with_context(
            f"no role {', '.join(map(repr, missing))}", hint=known_roles_hint(known)
        )


async def require_grantable_roles(session: AsyncSession, names: Iterable[str]) -> None:
    """Refuse roles that cannot be granted, and warn about those that no account has yet.

    Args:
        session: For the roles that exist.
        names: The roles.

    Raises:
        NotFoundError: One of *names* is unknown; the hint lists those that exist.
    """
    repository, wanted = RoleRepository(session), set(names)
    if repository.are_rows or not wanted:
        await require_roles(session, wanted)
        return
    known = await repository.names()
    if missing := ungrantable_roles(wanted, known, are_rows=False):
        raise NOT_FOUND.with_context(f"no role {missing[0]!r}", hint=known_roles_hint(known))
    for name in sorted(wanted - known):
        logger.warning(f"no account has the role {name!r} yet: does the application know it?")


def ungrantable_roles(names: Iterable[str], known: Collection[str], *, are_rows: bool) -> list[str]:
    """Return the roles that cannot be granted.

    Args:
        names: The roles.
        known: Those that exist.
        are_rows: Each role is a row of a table of its own. Elsewhere an unknown one may be
            granted for the first time, unless it is a known one in another case: an application
            that has an enumeration in its code fails to read it.
    """
    folded = {fold_case(name) for name in known}
    return [name for name in names if name not in known and (are_rows or fold_case(name) in folded)]


async def _with_address(users: UserRepository, identifier: str) -> Sequence[User]:
    """Find an address as typed, which is how the server looks for it, and in its normal form.

    The server folds case only: if the forms differ otherwise, it would log in the account with the
    address as typed.
    """
    normal = as_stored(identifier)
    if fold_case(normal) == fold_case(identifier):
        return await users.find_by_email(identifier, normal)
    return await users.find_by_email(identifier) or await users.find_by_email(normal)


def as_stored(identifier: str) -> str:
    """Return the normalised address, or *identifier* unchanged if it is not a valid address."""
    try:
        return normalise_email(identifier)
    except InvalidInputError:
        return identifier


def normalise_email(text: str) -> str:
    """Return the address in the form that the server stores.

    The server checks addresses with email-validator too, without asking the network. A
    special-use domain such as ``.local`` (RFC 6761) would break its own responses later.

    Args:
        text: The address as entered.

    Raises:
        InvalidInputError: It is not an address, with the reason.
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(text, check_deliverability=False).normalized
    except (EmailNotValidError, UnicodeError) as error:
        reason = str(error) if isinstance(error, EmailNotValidError) else "not valid text"
        raise INVALID.with_context(f"{text!r} is not a usable e-mail address: {reason}") from None


def admin_email(
    settings: Settings,
    *,
    address: Optional[str] = None,
    email: Optional[str] = None,
    username: Optional[str] = None,
) -> str:
    """Return the normalised address of a new account.

    Args:
        settings: They name the administrator if no other argument does.
        address: An address.
        email: The same address, from another option.
        username: A name, which gets the server's domain unless it is an address itself.

    Raises:
        InvalidInputError: The arguments name different addresses, or one is not usable.
        ConfigurationError: The address of the settings is not usable.
    """
    if address is not None and "@" not in address:
        raise INVALID.with_context(
            f"{address!r} is not an e-mail address", hint=_username_hint(settings, address)
        )
    if username is not None and "@" not in username and not settings.capabilities.own_schema:
        raise INVALID.with_context(
            f"--username {username} means an address of the Clarinet server",
            hint="give the whole e-mail address as USER",
        )
    named = (address, email, None if username is None else username_to_email(username))
    given = [normalise_email(text) for text in named if text is not None]
    if len({fold_case(text) for text in given}) > 1:
        raise INVALID.with_context(
            f"different addresses are given: {', '.join(given)}",
            hint="name the account once, by USER or --email",
        )
    return given[0] if given else first_admin_email(settings)


def _username_hint(settings: Settings, name: str) -> Optional[str]:
    """Return the hint for a name that is given instead of an address; None if it cannot be one."""
    try:
        email = normalise_email(username_to_email(name))
    except InvalidInputError:
        return None
    return f"give the whole address, such as {email}" if settings.capabilities.own_schema else None


def first_admin_email(settings: Settings) -> str:
    """Return the normalised address of the administrator that the settings describe.

    An application has no default: the server's default is in a domain of its developers, who would
    receive the mail for resetting a password.

    Raises:
        ConfigurationError: ``admin_email`` or ``admin_username`` gives no usable address.
        InvalidInputError: An application's settings name none.
    """
    if not settings.names_admin:
        raise INVALID.with_context(
            "no address is given, and the settings have no admin_email",
            hint="set admin_email in settings.toml, or CLARINET_ADMIN_EMAIL",
        )
    try:
        return normalise_email(settings.first_admin_email)
    except InvalidInputError as error:
        key = "admin_email" if settings.admin_email else "admin_username"
        raise settings.error_for(key, error.message) from None
