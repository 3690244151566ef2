"""Checks of accounts and roles."""

from collections import Counter
from datetime import timedelta
from operator import attrgetter
from typing import Final

from clarinet_cli import timefmt
from clarinet_cli.repositories.health import MAX_EXAMINED, HealthRepository
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.row_flaws import RowFlawRepository
from clarinet_cli.services.accounts.hashes import can_log_in, inspect_hash
from clarinet_cli.services.bootstrap import wanted_roles
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.checks.rows import duplicate_address_findings, join_ids
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import CheckGroup

UNUSED: Final = timedelta(days=90)
NAMED: Final = 5
RESET_HINT = "clarinet admin reset-password --any-user USER"


async def check_superuser(context: DoctorContext) -> list[Problem]:
    """Check that a superuser can log in."""
    async with context.session() as session:
        accounts = await HealthRepository(session).hashes()
    superusers = [stored for _, stored, is_superuser in accounts if is_superuser]
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
    return [Problem("warning", text, f"clarinet admin demote {unused[0]}")]


async def check_verified(context: DoctorContext) -> list[Problem]:
    """Count active accounts whose address is not verified."""
    async with context.session() as session:
        count = await HealthRepository(session).unverified()
    if not count:
        return []
    text = f"{pluralize(count, 'active account')} not verified: a server may refuse them"
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
    """Count hashes by scheme: those that cannot be verified, and those that are old."""
    settings = context.settings
    async with context.session() as session:
        accounts = await HealthRepository(session).hashes()
    # Accounts of an application that log in by OAuth have no hash.
    accounts = [item for item in accounts if item[1] is not None]
    unusable = [email for email, stored, _ in accounts if not can_log_in(stored, settings)]
    infos = [inspect_hash(stored, settings) for _, stored, _ in accounts]
    old = Counter(info.scheme for info in infos if not info.current and info.scheme != "unknown")
    found = []
    if unusable:
        text = f"{pluralize(len(unusable), 'active account')} whose password hash cannot be "
        text += f"verified: {join_ids(unusable, len(unusable))}"
        found.append(Problem("warning", text, RESET_HINT))
    if old:
        counts = ", ".join(f"{count} {scheme}" for scheme, count in old.most_common())
        text = f"hashes with other parameters than those of the settings: {counts}; they work, but "
        text += "are weaker against offline guessing"
        found.append(Problem("warning", text, RESET_HINT))
    if not found and len(accounts) == MAX_EXAMINED:
        return [Problem("ok", f"the hashes of {MAX_EXAMINED} accounts are current")]
    return found


async def check_roles(context: DoctorContext) -> list[Problem]:
    """Find roles that the server and the settings name, and that do not exist."""
    async with context.session() as session:
        known = await RoleRepository(session).names()
    missing = [name for name in wanted_roles(context.settings) if name not in known]
    if not missing:
        return []
    text = (
        f"{pluralize(len(missing), 'role')} missing: {', '.join(missing)}; they cannot be granted"
    )
    return [Problem("warning", text, "clarinet doctor --fix")]


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
