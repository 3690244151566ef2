"""The options behind the ``?`` of a URL: those of libpq, and what hosted databases add.

An option has an effect, or it is known to need none here, or it is refused with the reason.
"""

import re
from collections.abc import Mapping
from typing import Any, Optional

from clarinet_cli.connections.tls import SSL_MODES, TLS_OPTIONS

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
KERBEROS = "this tool logs in by password or certificate, not by Kerberos"
WITHOUT_CERTIFICATES = "a certificate that was revoked is not looked for"
NOT_POSSIBLE = {
    "channel_binding=require": (
        "the driver can't bind the log-in to the TLS connection; sslmode=verify-full and "
        "sslrootcert=system or a CA file instead prove who the server is"
    ),
    "gssencmode=require": "the driver has TLS alone",
    "hostaddr": "write the address as the host",
    "krbsrvname": KERBEROS,
    "gsslib": KERBEROS,
    "gssdelegation": KERBEROS,
    "passfile": "set database_password, or CLARINET_DATABASE_PASSWORD in the environment",
    "service": "write the parts of the service into the URL",
    "servicefile": "write the parts of the service into the URL",
    "sslcrl": WITHOUT_CERTIFICATES,
    "sslcrldir": WITHOUT_CERTIFICATES,
    "sslaccept": "use sslmode",
    "sslidentity": "use sslcert and sslkey",
    "requiressl": "use sslmode=require",
    "replication": "this tool runs statements",
}
BINDINGS = ("disable", "prefer", "require")


def read_options(query: Mapping[str, Any]) -> tuple[dict[str, str], Optional[str]]:
    """Return the options that have an effect, under their usual names, and what is wrong.

    Args:
        query: As it stands in the URL, without its parts.
    """
    found: dict[str, str] = {}
    for name, value in query.items():
        if problem := _problem(name, value, query):
            return {}, problem
        if name in NEEDLESS or name in ("channel_binding", "gssencmode"):
            continue
        key, text = OTHER_NAMES.get(name, name), str(value)
        if name == "ssl":
            key, text = "sslmode", SSL_VALUES[text.lower()]
        if found.setdefault(key, text) != text:
            return {}, f"{name} contradicts {key}={found[key]}"
    return found, None


def known_options() -> str:
    """Return what an operator may write, for a hint."""
    return f"known: {', '.join(sorted({*EFFECTIVE, *PARTS}))}"


def _problem(name: str, value: Any, query: Mapping[str, Any]) -> Optional[str]:
    """Return why an option can't be used, or None."""
    if not isinstance(value, str):
        return f"{name} is given several times" if name in EFFECTIVE else _unknown(name, value)
    if "\0" in value:
        return f"{name} has a NUL character"
    if reason := NOT_POSSIBLE.get(name) or NOT_POSSIBLE.get(f"{name}={value}"):
        # Who verifies the server has what a channel binding is for.
        if name != "channel_binding" or query.get("sslmode") != "verify-full":
            return f"{name}{f'={value}' if name not in NOT_POSSIBLE else ''}: {reason}"
    elif name == "ssl" and value.lower() not in SSL_VALUES:
        return f"ssl is not one of {', '.join(SSL_VALUES)}"
    elif name == "target_session_attrs" and value not in TARGETS:
        return f"target_session_attrs is not one of {', '.join(TARGETS)}"
    elif name == "connect_timeout" and not (value.isascii() and value.isdigit()):
        return "connect_timeout is not a number of seconds"
    elif name in ("channel_binding", "gssencmode"):
        return None if value in BINDINGS else f"{name} is not one of {', '.join(BINDINGS)}"
    elif name not in EFFECTIVE and name not in NEEDLESS:
        return _unknown(name, value)
    return None


def _unknown(name: str, value: object) -> str:
    """Say so; what stands before an '@' may be the rest of a password, and not an option."""
    is_name = re.fullmatch(r"\w{1,40}", name) and "@" not in str(value)
    return f"unknown option {name!r}" if is_name else "what follows the '?' is not options"
