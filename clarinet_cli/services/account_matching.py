"""Which account each row of a file means, and whether the row can be used."""

from collections.abc import Iterable, Sequence
from typing import Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.exceptions import INVALID, NOT_FOUND, REFUSED, InvalidInputError
from clarinet_cli.letter_case import folded
from clarinet_cli.models import User
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.services.account_files import GENERATE, Declared
from clarinet_cli.services.accounts import ADMIN_ROLE, as_stored
from clarinet_cli.services.emails import normalise_email
from clarinet_cli.services.hashes import UNKNOWN, hash_problem, inspect_hash
from clarinet_cli.settings import Settings

SOURCE_HINT = (
    "password 'generate', or a prepared argon2 or bcrypt hash; or --generate-password for all"
)
HASH_HINT = "a password itself belongs in no file"
Pair = tuple[Declared, Optional[User]]


async def matched(
    session: AsyncSession, declared: Sequence[Declared], *, lock: bool = False
) -> list[Pair]:
    """Return each row with the account that it means, or None for a new one.

    Args:
        session: A session; one for writing with *lock*.
        declared: The rows.
        lock: Let nobody else change those accounts until the end of the transaction.

    Raises:
        InvalidInputError: Two rows mean the same account.
        RefusedError: A row could mean several accounts.
    """
    stored = [as_stored(row.email) for row in declared]
    spellings = [*stored, *(row.email for row in declared)]
    known = await UserRepository(session).with_emails(spellings, lock=lock)
    exact = {user.email: [user] for user in known}
    by_folded: dict[str, list[User]] = {}
    for user in known:
        by_folded.setdefault(folded(user.email), []).append(user)
    pairs: list[Pair] = []
    seen: set[str] = set()
    for row, email in zip(declared, stored, strict=True):
        found = exact.get(row.email) or exact.get(email) or by_folded.get(folded(email), [])
        if len(found) > 1:
            matches = ", ".join(f"{user.email} ({user.id})" for user in found)
            raise row.refused("email", REFUSED, f"{row.email!r} is ambiguous: {matches}")
        key = str(found[0].id) if found else folded(email)
        if key in seen:
            raise row.refused("email", INVALID, f"{row.email!r} stands there twice")
        seen.add(key)
        pairs.append((row, found[0] if found else None))
    return pairs


async def require_roles_of(session: AsyncSession, declared: Iterable[Declared]) -> None:
    """Refuse rows with roles that do not exist.

    Raises:
        NotFoundError: The first such role, with its line and column.
    """
    known = await RoleRepository(session).names() | {ADMIN_ROLE}
    for row in declared:
        if missing := [name for name in row.roles or () if name not in known]:
            hint = f"roles: {', '.join(sorted(known))}"
            raise row.refused("roles", NOT_FOUND, f"no role {missing[0]!r}", hint)


def require_usable(row: Declared, settings: Settings, *, generate: bool) -> None:
    """Refuse a new account whose address or password source can't be used.

    Args:
        row: The account.
        settings: The hash parameters.
        generate: A row without a source gets a generated password.

    Raises:
        InvalidInputError: Why, with line and column.
    """
    try:
        normalise_email(row.email)
    except InvalidInputError as error:
        raise row.refused("email", INVALID, error.message) from None
    if row.password is None and not generate:
        reason = f"a new account, {row.email}, without a source for its password"
        raise row.refused("password", INVALID, reason, SOURCE_HINT)
    if row.password in (None, GENERATE):
        return
    if problem := hash_problem(row.password, settings):
        known = inspect_hash(row.password, settings) != UNKNOWN
        hint = "it would stop the server at each log-in" if known else HASH_HINT
        reason = problem if known else f"neither 'generate' nor {problem.removeprefix('not ')}"
        raise row.refused("password", INVALID, reason, hint)
