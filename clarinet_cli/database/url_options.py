"""The options after the ``?`` of a URL: those of libpq, and those that hosted databases add.

An option is supported, ignored because it has no effect here, or refused with the reason.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Optional

from clarinet_cli.database.tls import SSL_MODES, TLS_OPTIONS

# Names of other drivers for the same option.
ALIASES = {"schema": "search_path", "currentSchema": "search_path"}
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
TARGET_OPTION = "target_session_attrs"
TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
SUPPORTED = (
    *TLS_OPTIONS,
    "ssl",
    "connect_timeout",
    "application_name",
    TARGET_OPTION,
    "options",
    "search_path",
    *ALIASES,
)
PARTS = ("host", "port", "user", "password", "dbname")
# Options of pools and caches that this tool does not have, or for what it always does.
IGNORED = frozenset(
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
NO_KERBEROS = ("Kerberos is not supported", "use a password or a client certificate")
NO_SERVICE = ("service files are not read", "write the parameters of the service into the URL")
NO_REVOCATION = ("certificate revocation lists are not supported", None)
REFUSED: dict[str, tuple[str, Optional[str]]] = {
    "channel_binding=require": (
        "the driver does not support channel binding",
        "use sslmode=verify-full with sslrootcert=system or a CA file to verify the server",
    ),
    "gssencmode=require": ("the driver supports TLS only", "use sslmode=require"),
    "hostaddr": ("not supported", "write the address as the host"),
    "krbsrvname": NO_KERBEROS,
    "gsslib": NO_KERBEROS,
    "gssdelegation": NO_KERBEROS,
    "passfile": (
        "PostgreSQL's password file is not read",
        "set database_password, or CLARINET_DATABASE_PASSWORD in the environment",
    ),
    "service": NO_SERVICE,
    "servicefile": NO_SERVICE,
    "sslcrl": NO_REVOCATION,
    "sslcrldir": NO_REVOCATION,
    "sslaccept": ("not an option of libpq", "use sslmode"),
    "sslidentity": ("not an option of libpq", "use sslcert and sslkey"),
    "requiressl": ("no longer an option of libpq", "use sslmode=require"),
    "replication": ("replication connections are not supported", None),
}
BINDINGS = ("disable", "prefer", "require")
CHOICES: dict[str, Collection[str]] = {
    "ssl": SSL_VALUES,
    TARGET_OPTION: TARGETS,
    "channel_binding": BINDINGS,
    "gssencmode": BINDINGS,
}


class OptionProblem(NamedTuple):
    """Why an option cannot be used, and a hint."""

    reason: str
    hint: Optional[str] = None


def read_options(query: Mapping[str, Any]) -> tuple[dict[str, str], Optional[OptionProblem]]:
    """Return the supported options by libpq's names, and the first problem if there is one.

    Args:
        query: The query of the URL, without ``PARTS``.
    """
    found: dict[str, str] = {}
    for name, value in query.items():
        if problem := _problem(name, value, query):
            return {}, problem
        if name not in SUPPORTED:
            continue
        key, text = ALIASES.get(name, name), str(value)
        if name == "ssl":
            key, text = "sslmode", SSL_VALUES[text.lower()]
        if found.setdefault(key, text) != text:
            return {}, OptionProblem(f"{name} contradicts {key}={found[key]}")
    return found, None


def _problem(name: str, value: Any, query: Mapping[str, Any]) -> Optional[OptionProblem]:
    """Return why an option cannot be used, or None."""
    if name not in (*SUPPORTED, *IGNORED, *CHOICES) and name not in REFUSED:
        is_name = re.fullmatch(r"\w{1,40}", name) and "@" not in str(value)
        reason = (
            f"unknown option {name!r}" if is_name else "the text after '?' is not a list of options"
        )
        return OptionProblem(reason, f"known: {', '.join(sorted({*SUPPORTED, *PARTS}))}")
    if not isinstance(value, str):
        return OptionProblem(f"{name} is given several times")
    if "\0" in value:
        return OptionProblem(f"{name} has a NUL character")
    text = value.lower() if name == "ssl" else value
    if name in CHOICES and text not in CHOICES[name]:
        return OptionProblem(f"{name} is not one of {', '.join(CHOICES[name])}")
    if name == "connect_timeout" and not (text.isascii() and text.isdigit()):
        return OptionProblem("connect_timeout is not a number of seconds")
    # A verified server makes channel binding unnecessary.
    if name == "channel_binding" and query.get("sslmode") == "verify-full":
        return None
    for written in (name, f"{name}={value}"):
        if written in REFUSED:
            reason, hint = REFUSED[written]
            return OptionProblem(f"{written}: {reason}", hint)
    return None
