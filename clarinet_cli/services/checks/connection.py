"""Checks of the connection: the server, its clock, and its replica."""

import re
from datetime import date
from time import monotonic
from typing import Final

from clarinet_cli import timefmt
from clarinet_cli.database.engine import Access
from clarinet_cli.database.servers import url_servers
from clarinet_cli.database.url import database_url, display_url
from clarinet_cli.repositories.health import HealthRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.services.checks.check import Check, DoctorContext, Problem
from clarinet_cli.services.clocks import MAX_SKEW_SECONDS, compare_clocks
from clarinet_cli.types import CheckGroup

SLOW_SECONDS: Final = 0.1
PINGS: Final = 3
CLOCK_SECONDS: Final = 2
LAG_SECONDS: Final = 60
# https://www.postgresql.org/support/versioning/
END_OF_LIFE: Final = {
    11: date(2023, 11, 9),
    12: date(2024, 11, 21),
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}


async def check_reachable(context: DoctorContext) -> list[Problem]:
    """Measure how long the database takes to answer."""
    async with context.session() as session:
        server = ServerRepository(session)
        seconds = []
        for _ in range(PINGS):
            began = monotonic()
            await server.ping()
            seconds.append(monotonic() - began)
    url, fastest = display_url(database_url(context.settings)), min(seconds)
    text = f"{url} answers in {fastest * 1000:.1f} ms"
    if fastest > SLOW_SECONDS:
        hint = "check the load of the network and of the server's machine"
        return [Problem("warning", f"{text}: each log-in waits several times as long", hint)]
    return [Problem("ok", text)]


async def check_tls(context: DoctorContext) -> list[Problem]:
    """Report an unencrypted connection over a network."""
    remote = [
        server.host for server in url_servers(database_url(context.settings)) if not server.is_local
    ]
    if context.file is not None or not remote:
        return [Problem("ok", "the connection does not leave this machine")]
    async with context.session() as session:
        encrypted = await HealthRepository(session).is_encrypted()
    if encrypted:
        return []
    where = " or ".join(map(str, remote))
    text = f"the connection to {where} is not encrypted: hashes and tokens can be read in transit"
    return [Problem("warning", text, 'database_sslmode = "require" in settings.toml')]


async def check_server_version(context: DoctorContext) -> list[Problem]:
    """Report the version of the server, and whether it is still supported."""
    async with context.session() as session:
        version = await ServerRepository(session).version()
    if context.file is not None:
        return [Problem("ok", f"SQLite {version}")]
    match = re.match(r"\d+", version)
    major = int(match[0]) if match else 0
    ends = END_OF_LIFE.get(major, date.min if major < min(END_OF_LIFE) else date.max)
    if ends <= timefmt.machine_now().date():
        since = "" if ends == date.min else f" {ends}"
        text = f"PostgreSQL {version} is no longer supported (end of life{since})"
        return [Problem("warning", text, f"pg_upgrade to PostgreSQL {max(END_OF_LIFE)}")]
    until = "" if ends == date.max else f", supported until {ends}"
    return [Problem("ok", f"PostgreSQL {version}{until}")]


async def check_clocks(context: DoctorContext) -> list[Problem]:
    """Compare the clock of the database's host with this machine's."""
    async with context.session() as session:
        seconds = (await compare_clocks(session)).difference
    if abs(seconds) <= CLOCK_SECONDS:
        return []
    where = "ahead of" if seconds > 0 else "behind"
    text = f"the database's clock is {abs(seconds):.0f} s {where} this machine's: "
    too_much = abs(seconds) > MAX_SKEW_SECONDS
    text += "no clean-up deletes anything" if too_much else "sessions end too early or too late"
    hint = "timedatectl set-ntp true, on the machine whose clock is wrong"
    return [Problem("error" if too_much else "warning", text, hint)]


async def check_time_zone(context: DoctorContext) -> list[Problem]:
    """Report the time zone that the server shows timestamps in; they are stored in UTC."""
    if context.file is not None:
        return []
    async with context.session() as session:
        zone = await HealthRepository(session).time_zone()
    return [Problem("ok", f"timestamps are stored in UTC, and psql shows them in {zone}")]


async def check_replica(context: DoctorContext) -> list[Problem]:
    """Measure the lag of the read replica."""
    if context.settings.database_read_url is None:
        return [Problem("ok", "no read replica is configured")]
    if database_url(context.settings, replica=True).get_backend_name() == "sqlite":
        return []
    async with context.session(Access.REPLICA) as session:
        lag = await HealthRepository(session).replica_lag()
    if lag is None:
        text = "database_read_url names a writable server, not a replica"
        return [Problem("warning", text, "set it to a replica, or remove it")]
    if lag > LAG_SECONDS:
        text = (
            f"the read replica is {lag:.0f} s behind: listings show sessions that no longer exist"
        )
        hint = "see pg_stat_replication on the main server, or remove database_read_url"
        return [Problem("warning", text, hint)]
    return [Problem("ok", f"the read replica is {lag:.0f} s behind")]


GROUP = CheckGroup.CONNECTION
REACHABLE = Check("reachable", GROUP, "the database answers", check_reachable)
CHECKS = (
    REACHABLE,
    Check("tls", GROUP, "the connection is encrypted", check_tls),
    Check("server-version", GROUP, "the server's version is supported", check_server_version),
    Check("clocks", GROUP, f"the clocks differ by {CLOCK_SECONDS} s at most", check_clocks),
    Check("time-zone", GROUP, "timestamps are stored in UTC", check_time_zone),
    Check("replica", GROUP, "the read replica is up to date", check_replica),
)
