"""Checks of sessions, by the index on their expiry."""

from datetime import datetime, timedelta
from operator import attrgetter
from shlex import quote
from typing import Final

from clarinet_cli.repositories.health import MAX_COUNTED, MAX_EXAMINED, HealthRepository
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.clocks import compare_clocks
from clarinet_cli.settings import Settings
from clarinet_cli.textfmt import format_size, pluralize
from clarinet_cli.timefmt import iso_text
from clarinet_cli.types import Capabilities, CheckGroup

OVERDUE: Final = timedelta(days=1)  # a clean-up an hour is usual, one a night common
EXPIRES_AT: Final = "expires_at"
MAX_DROPPED: Final = 10  # partitions in a hint


async def check_backlog(context: DoctorContext) -> list[Problem]:
    """Find expired sessions that no clean-up has removed for days."""
    async with context.session() as session:
        now = (await compare_clocks(session)).earlier
        found = await HealthRepository(session).backlog(now)
    if found.oldest is None:
        return []
    more = " or more" if found.number == MAX_COUNTED else ""
    text = f"{found.number}{more} expired sessions were not deleted, the oldest since "
    text += iso_text(found.oldest)
    interval = timedelta(seconds=context.settings.server_limit("session_cleanup_interval"))
    if now - found.oldest < max(OVERDUE, 2 * interval):
        return [Problem("ok", text)]
    why = "the clean-up may not run"
    if not context.settings.capabilities.own_schema:
        why = "fastapi-users itself never deletes them"
    elif not context.settings.session_cleanup_enabled:
        why = "session_cleanup_enabled is off"
    return [
        Problem("warning", f"{text}: {why}, and queries read them all", "clarinet session cleanup")
    ]


async def check_partitions(context: DoctorContext) -> list[Problem]:
    """Find partitions with expired sessions only, which can be dropped."""
    if context.file is not None:
        return []
    async with context.session() as session:
        now = (await compare_clocks(session)).earlier
        health = HealthRepository(session)
        found = await health.expired_partitions(*_expiry_column(context.settings, now))
    if not found:
        return []
    names, size = [name for name, _ in found], sum(size for _, size in found)
    text = (
        f"all sessions in {pluralize(len(names), 'partition')} ({format_size(size)}) have "
        "expired: dropping a partition is faster than deleting its rows by 'session cleanup'"
    )
    statement = f"DROP TABLE {', '.join(names[:MAX_DROPPED])}"
    return [Problem("warning", text, f"clarinet db shell -c {quote(statement)}")]


def _expiry_column(settings: Settings, now: datetime) -> tuple[str, datetime]:
    """Return a column, and the latest value with which a session has expired for sure."""
    mapping = settings.table_mapping
    if mapping is None:
        return EXPIRES_AT, now
    if mapping.token_columns.expires_at:
        return mapping.token_columns.expires_at, now
    lifetime = timedelta(seconds=int(mapping.session_lifetime_seconds or 0))
    return mapping.token_columns.created_at, now - lifetime


async def check_absolute_limit(context: DoctorContext) -> list[Problem]:
    """Find live sessions that are older than the server's absolute limit."""
    days = context.settings.server_limit("session_absolute_timeout_days")
    if not days:
        return [Problem("ok", "session_absolute_timeout_days is off")]
    async with context.session() as session:
        now = (await compare_clocks(session)).earlier
        found = await HealthRepository(session).limit_violations(now, now - timedelta(days=days), 0)
    if not found.too_old:
        return []
    text = pluralize(found.too_old, "live session")
    if found.examined == MAX_EXAMINED:
        text += f" among the {found.examined} that expire next"
    text += f" with an age above session_absolute_timeout_days {days}: "
    text += "the limit was higher when they began, or another program created them"
    return [Problem("warning", text, f"clarinet session cleanup --days {days}")]


async def check_concurrent_limit(context: DoctorContext) -> list[Problem]:
    """Find users with more live sessions than the server allows at a log-in."""
    limit = context.settings.server_limit("session_concurrent_limit")
    if not limit:
        return [Problem("ok", "session_concurrent_limit is off")]
    async with context.session() as session:
        now = (await compare_clocks(session)).earlier
        found = await HealthRepository(session).limit_violations(now, None, limit)
    if not found.users_over_limit:
        return []
    text = f"{pluralize(found.users_over_limit, 'user')} with more unexpired sessions than "
    text += f"session_concurrent_limit {limit}: the oldest are revoked at the next log-in"
    return [Problem("warning", text, f"clarinet session revoke-user USER --keep-newest {limit}")]


def _expire(capabilities: Capabilities) -> bool:
    return capabilities.sessions and capabilities.expiry


GROUP = CheckGroup.SESSIONS
STORED = attrgetter("sessions")
CHECKS = (
    Check("backlog", GROUP, "no expired session is left", check_backlog, applies=_expire),
    Check(
        "partitions",
        GROUP,
        "no partition has only expired sessions",
        check_partitions,
        applies=_expire,
    ),
    Check(
        "absolute-limit", GROUP, "no live session is too old", check_absolute_limit, applies=STORED
    ),
    Check(
        "concurrent-limit",
        GROUP,
        "no user has too many sessions",
        check_concurrent_limit,
        applies=STORED,
    ),
)
