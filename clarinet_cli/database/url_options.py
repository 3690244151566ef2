"""The options behind the ``?`` of a URL: those of libpq, and what hosted databases add.

An option has an effect, or it is known to need none here, or it is refused with the reason.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Optional

from clarinet_cli.database.tls import SSL_MODES, TLS_OPTIONS

# Other spellings of the same.
OTHER_NAMES = {"schema": "search_path", "currentSchema": "search_path"}
SSL_VALUES = {
    "true": "require",
    "1": "require",
    "on": "require",
    "no-verify": "require",
    "false": "disable",
    "0": "disable",
    "off": "disable",
    **{mode: mode for mode in SSL_MODES},
}
TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
EFFECTIVE = (
    *TLS_OPTIONS,
    "ssl",
    "connect_timeout",
    "application_name",
    "target_session_attrs",
    "options",
    "search_path",
    *OTHER_NAMES,
)
PARTS = ("host", "port", "user", "password", "dbname")
# About pools, caches and sockets that this tool does not have, or how it behaves anyway.
NEEDLESS = frozenset(
    {
        "client_encoding",
        "connection_limit",
        "fallback_application_name",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "max_idle_connection_lifetime",
        "pgbouncer",
        "pool_max_conns",
        "pool_mode",
        "pool_timeout",
        "preferQueryMode",
        "prepareThreshold",
        "prepared_statement_cache_size",
        "socket_timeout",
        "sslcompression",
        "sslsni",
        "statement_cache_size",
        "supa",
        "tcp_user_timeout",
        "uselibpqcompat",
    }
)
NO_KERBEROS = ("this tool has no Kerberos", "log in by password or certificate")
NO_SERVICE = ("this tool reads no service file", "write the parts of the service into the URL")
NO_LIST = ("this tool looks for no certificate that was revoked", None)
NOT_POSSIBLE: dict[str, tuple[str, Optional[str]]] = {
    "channel_binding=require": (
        "the driver can't bind the log-in to the TLS connection",
        "sslmode=verify-full, with sslrootcert=system or a CA's file, proves who the server is",
    ),
    "gssencmode=require": ("the driver encrypts by TLS alone", "use sslmode=require"),
    "hostaddr": ("this tool looks up the host itself", "write the address as the host"),
    "krbsrvname": NO_KERBEROS,
    "gsslib": NO_KERBEROS,
    "gssdelegation": NO_KERBEROS,
    "passfile": (
        "this tool reads no password file of PostgreSQL",
        "set database_password, or CLARINET_DATABASE_PASSWORD in the environment",
    ),
    "service": NO_SERVICE,
    "servicefile": NO_SERVICE,
    "sslcrl": NO_LIST,
    "sslcrldir": NO_LIST,
    "sslaccept": ("not an option of libpq", "use sslmode"),
    "sslidentity": ("not an option of libpq", "use sslcert and sslkey"),
    "requiressl": ("not an option of libpq any more", "use sslmode=require"),
    "replication": ("this tool runs statements", None),
}
BINDINGS = ("disable", "prefer", "require")
ONE_OF: dict[str, Collection[str]] = {
    "ssl": SSL_VALUES,
    "target_session_attrs": TARGETS,
    "channel_binding": BINDINGS,
    "gssencmode": BINDINGS,
}


class Problem(NamedTuple):
    """What is wrong with an option, and the way out."""

    reason: str
    hint: Optional[str] = None


def read_options(query: Mapping[str, Any]) -> tuple[dict[str, str], Optional[Problem]]:
    """Return the options that have an effect, under their usual names, and what is wrong.

    Args:
        query: As it stands in the URL, without its parts.
    """
    found: dict[str, str] = {}
    for name, value in query.items():
        if problem := _problem(name, value, query):
            return {}, problem
        if name not in EFFECTIVE:
            continue
        key, text = OTHER_NAMES.get(name, name), str(value)
        if name == "ssl":
            key, text = "sslmode", SSL_VALUES[text.lower()]
        if found.setdefault(key, text) != text:
            return {}, Problem(f"{name} contradicts {key}={found[key]}")
    return found, None


def _problem(name: str, value: Any, query: Mapping[str, Any]) -> Optional[Problem]:
    """Return why an option can't be used, or None."""
    if name not in (*EFFECTIVE, *NEEDLESS, *ONE_OF) and name not in NOT_POSSIBLE:
        return _unknown(name, value)
    if not isinstance(value, str):
        return Problem(f"{name} is given several times")
    if "\0" in value:
        return Problem(f"{name} has a NUL character")
    text = value.lower() if name == "ssl" else value
    if name in ONE_OF and text not in ONE_OF[name]:
        return Problem(f"{name} is not one of {', '.join(ONE_OF[name])}")
    if name == "connect_timeout" and not (text.isascii() and text.isdigit()):
        return Problem("connect_timeout is not a number of seconds")
    # Who verifies the server has what a channel binding is for.
    if name == "channel_binding" and query.get("sslmode") == "verify-full":
        return None
    for written in (name, f"{name}={value}"):
        if written in NOT_POSSIBLE:
            reason, hint = NOT_POSSIBLE[written]
            return Problem(f"{written}: {reason}", hint)
    return None


def _unknown(name: str, value: object) -> Problem:
    """Say so; what stands before an '@' may be the rest of a password, and not an option."""
    is_name = re.fullmatch(r"\w{1,40}", name) and "@" not in str(value)
    reason = f"unknown option {name!r}" if is_name else "what follows the '?' is not options"
    return Problem(reason, f"known: {', '.join(sorted({*EFFECTIVE, *PARTS}))}")
