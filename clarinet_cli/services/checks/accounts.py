"""Checks of accounts and roles."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Final

from clarinet_cli import timefmt
from clarinet_cli.repositories.health import MAX_EXAMINED, HealthRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.row_flaws import IDS_SHOWN, RowFlawRepository
from clarinet_cli.services.accounts.hashes import can_log_in, inspect_hash
from clarinet_cli.services.bootstrap import required_roles
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.checks.rows import duplicate_address_findings, join_ids
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import CheckGroup

UNUSED: Final = timedelta(days=90)
RESET: Final = "clarinet admin reset-password --any-user"


async def check_superuser(context: DoctorContext) -> list[Problem]:
    """Check that a superuser can log in."""
    async with context.session() as session:
        accounts = await HealthRepository(session).hashes()
    superusers = [account.stored for account in accounts if account.is_superuser]
    able = [stored for stored in superusers if can_log_in(stored, context.settings)]
    if able:
        return [Problem("ok", f"{pluralize(len(able), 'active superuser')} can log in")]
    if superusers:
        text = f"{pluralize(len(superusers), 'active superuser')}, but no usable password hash: "
        text += "no one can administer the server"
        return [Problem("error", text, "clarinet admin reset-password USER --generate-password")]
    text = "there is no active superuser: no one can administer the server"
    return [Problem("error", text, "clarinet admin ensure --generate-password")]


async def check_unused_superusers(context: DoctorContext) -> list[Problem]:
    """Find superusers that were not used for a long time, as far as their sessions are kept."""
    async with context.session() as session:
        used = await HealthRepository(session).superusers_last_used()
    now = timefmt.machine_now()
    unused = [email for email, last in used if now - last > UNUSED]
    if not unused:
        return []
    text = f"{pluralize(len(unused), 'superuser')} not used for {UNUSED.days} days: "
    text += f"{join_ids(unused, len(unused))}; misuse of unused accounts goes unnoticed"
    return [Problem("warning", text, f"clarinet admin demote {_one_or_each(unused, len(unused))}")]


async def check_verified(context: DoctorContext) -> list[Problem]:
    """Find active accounts whose address is not verified."""
    async with context.session() as session:
        count, first = await HealthRepository(session).unverified(IDS_SHOWN)
    if not count:
        return []
    text = f"{pluralize(count, 'active account')} not verified: {join_ids(first, count)}; "
    text += "a server may refuse their log-ins"
    hint = f"clarinet admin verify {_one_or_each(first, count)}"
    if count > IDS_SHOWN:
        hint = "'clarinet admin export', then 'clarinet admin apply FILE' with is_verified"
    return [Problem("warning", text, hint)]


async def check_duplicate_addresses(context: DoctorContext) -> list[Problem]:
    """Find accounts whose addresses the server treats as equal."""
    async with context.session() as session:
        groups = await RowFlawRepository(session).same_addresses()
    return [
        Problem(item.status, item.detail, item.hint)
        for item in duplicate_address_findings(groups)
        if item.status != "ok"
    ]


async def check_hashes(context: DoctorContext) -> list[Problem]:
    """Find hashes that cannot be verified, and count those that are old by scheme."""
    settings = context.settings
    async with context.session() as session:
        accounts = await HealthRepository(session).hashes()
    # Accounts of an application that log in by OAuth have no hash.
    accounts = [account for account in accounts if account.stored is not None]
    unusable = [email for email, stored, _ in accounts if not can_log_in(stored, settings)]
    infos = [(email, inspect_hash(stored, settings)) for email, stored, _ in accounts]
    old = [
        (email, info.scheme)
        for email, info in infos
        if not info.current and info.scheme != "unknown"
    ]
    found = []
    if unusable:
        text = f"{pluralize(len(unusable), 'active account')} whose password hash cannot be "
        text += f"verified: {join_ids(unusable, len(unusable))}"
        found.append(Problem("warning", text, f"{RESET} {_one_or_each(unusable, len(unusable))}"))
    if not settings.capabilities.own_schema and {info.scheme for _, info in infos} == {"bcrypt"}:
        text = (
            "all password hashes are bcrypt: fastapi-users before version 13 refuses the argon2id "
        )
        text += "hashes of new passwords"
        hint = "check the application's version before 'clarinet admin reset-password'"
        found.append(Problem("warning", text, hint))
    elif old:
        named = [email for email, _ in old]
        schemes = Counter(scheme for _, scheme in old)
        counts = ", ".join(f"{count} {scheme}" for scheme, count in schemes.most_common())
        text = f"hashes with other parameters than those of the settings: {counts} "
        text += (
            f"({join_ids(named, len(named))}); they work, but are weaker against offline guessing"
        )
        found.append(Problem("warning", text, f"{RESET} {_one_or_each(named, len(named))}"))
    if not found and len(accounts) == MAX_EXAMINED:
        return [Problem("ok", f"the hashes of {MAX_EXAMINED} accounts are current")]
    return found


async def check_roles(context: DoctorContext) -> list[Problem]:
    """Find roles that the server and the settings name, and that do not exist."""
    async with context.session() as session:
        known = await RoleRepository(session).names()
    missing = [name for name in required_roles(context.settings) if name not in known]
    if not missing:
        return []
    text = f"{pluralize(len(missing), 'role')} missing and cannot be granted: {', '.join(missing)}"
    return [Problem("warning", text, "clarinet doctor --fix")]


def _one_or_each(emails: Sequence[str], count: int) -> str:
    """Return the USER of a command that has to be run for each of some accounts.

    Args:
        emails: The first accounts.
        count: How many there are.
    """
    return shlex.quote(emails[0]) if count == 1 else "USER, for each of them"


GROUP = CheckGroup.ACCOUNTS
CHECKS = (
    Check("superuser", GROUP, "an active superuser can log in", check_superuser),
    Check(
        "unused-superusers",
        GROUP,
        f"each superuser with sessions was used within {UNUSED.days} days",
        check_unused_superusers,
        applies=lambda capabilities: capabilities.sessions and capabilities.idle,
    ),
    Check(
        "verified",
        GROUP,
        "each active account is verified",
        check_verified,
        applies=attrgetter("verified"),
    ),
    Check(
        "same-addresses",
        GROUP,
        "no two addresses are the same for the server",
        check_duplicate_addresses,
    ),
    Check("hashes", GROUP, "every hash has the parameters of the settings", check_hashes),
    Check(
        "roles",
        GROUP,
        "each role of the server and of the settings exists",
        check_roles,
        applies=attrgetter("own_schema"),
    ),
)
