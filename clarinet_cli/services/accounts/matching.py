"""Matching the rows of a file to accounts, and checking the rows."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Optional
from uuid import UUID

from clarinet_cli.exceptions import INVALID, NOT_FOUND, REFUSED, InvalidInputError
from clarinet_cli.repositories.users import AccountState
from clarinet_cli.services.accounts.file import GENERATE, AccountEntry, RowErrors
from clarinet_cli.services.accounts.hashes import UNKNOWN, hash_problem, inspect_hash
from clarinet_cli.services.accounts.resolve import (
    as_stored,
    known_roles_hint,
    normalise_email,
    ungrantable_roles,
)
from clarinet_cli.settings import Settings
from clarinet_cli.spelling import fold_case
from clarinet_cli.types import PhaseCallback

SOURCE_HINT = (
    "password 'generate', or a prepared argon2 or bcrypt hash; or --generate-password for all"
)
PROGRESS_ROWS = 1000
HASH_HINT = "a file cannot contain plain-text passwords"


@dataclass(frozen=True, slots=True)
class MatchedRow:
    """A row of a file and the account that it means.

    Attributes:
        row: The row.
        number: Its index among the rows.
        email: Its address in the form that is stored.
        account: The account, or None for a new one.
    """

    row: AccountEntry
    number: int
    email: str
    account: Optional[AccountState] = None


def normalise_rows(declared: Sequence[AccountEntry], progress: PhaseCallback) -> list[MatchedRow]:
    """Return the rows with the form of their address that would be stored.

    Args:
        declared: The rows.
        progress: Called after every 1000 of them.
    """
    rows: list[MatchedRow] = []
    for number, row in enumerate(declared):
        if number % PROGRESS_ROWS == 0:
            progress(number, len(declared), "comparing accounts")
        rows.append(MatchedRow(row, number, as_stored(row.email)))
    return rows


def match_rows(
    states: Iterable[AccountState], targets: Sequence[MatchedRow], errors: RowErrors
) -> tuple[list[MatchedRow], list[AccountState]]:
    """Return each row with the account that it means, and the active accounts of no row.

    They are compared exactly as written, then in the form that is stored, then without
    regard to case.

    Args:
        states: All accounts.
        targets: The rows.
        errors: Gets those of rows that mean several accounts, or the account of another row;
            these rows are left out.
    """
    spellings = {text for target in targets for text in (target.row.email, target.email)}
    wanted = {fold_case(target.email) for target in targets}
    exact: dict[str, list[AccountState]] = {}
    by_folded: dict[str, list[AccountState]] = {}
    active: dict[UUID, AccountState] = {}
    for state in states:
        if state.email in spellings:
            exact.setdefault(state.email, []).append(state)
        if (key := fold_case(state.email)) in wanted:
            by_folded.setdefault(key, []).append(state)
        if state.is_active:
            active[state.id] = state
    pairs: list[MatchedRow] = []
    seen: set[object] = set()
    for target in targets:
        row, key = target.row, fold_case(target.email)
        found = exact.get(row.email) or exact.get(target.email) or by_folded.get(key, [])
        if len(found) > 1:
            matches = ", ".join(f"{state.email} ({state.id})" for state in found)
            errors.add(row.field_error("email", REFUSED, f"{row.email!r} is ambiguous: {matches}"))
            continue
        means = found[0].id if found else key
        if means in seen:
            errors.add(row.field_error("email", INVALID, f"{row.email!r} is given twice"))
            continue
        seen.add(means)
        if found:
            active.pop(found[0].id, None)
        pairs.append(replace(target, account=found[0] if found else None))
    return pairs, sorted(active.values(), key=lambda state: state.email)


def check_grantable_roles(
    declared: Iterable[AccountEntry], roles: Collection[str], errors: RowErrors, *, are_rows: bool
) -> None:
    """Find the rows with roles that cannot be granted.

    Args:
        declared: The rows.
        roles: The names of those that exist.
        errors: Gets the first such role of each row.
        are_rows: See ``ungrantable_roles``.
    """
    for row in declared:
        if missing := ungrantable_roles(row.roles or (), roles, are_rows=are_rows):
            hint = known_roles_hint(roles)
            errors.add(row.field_error("roles", NOT_FOUND, f"no role {missing[0]!r}", hint))


def check_single_role(declared: Iterable[AccountEntry], errors: RowErrors) -> None:
    """Find the rows with several roles, where an account has one.

    Args:
        declared: The rows.
        errors: Gets an error for each.
    """
    for row in declared:
        if len(row.roles or ()) > 1:
            reason = "an account can have one role only, and several are given"
            errors.add(row.field_error("roles", REFUSED, reason))


def check_new_account(
    row: AccountEntry, settings: Settings, errors: RowErrors, *, generate: bool
) -> None:
    """Check that the address and the password source of a new account can be used.

    Args:
        row: The account.
        settings: The hash parameters.
        errors: Gets what is wrong with it.
        generate: A row without a source gets a generated password.
    """
    try:
        normalise_email(row.email)
    except InvalidInputError as error:
        errors.add(row.field_error("email", INVALID, error.message))
        return
    if row.password is None and not generate:
        reason = f"the new account {row.email} has no source for its password"
        errors.add(row.field_error("password", INVALID, reason, SOURCE_HINT))
        return
    if row.password in (None, GENERATE):
        return
    if problem := hash_problem(row.password, settings):
        known = inspect_hash(row.password, settings) != UNKNOWN
        hint = "its cost would block the server at each log-in" if known else HASH_HINT
        reason = problem if known else f"neither 'generate' nor {problem.removeprefix('not ')}"
        errors.add(row.field_error("password", INVALID, reason, hint))
