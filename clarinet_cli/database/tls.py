"""TLS to PostgreSQL: the options of a URL, with the same meaning as in libpq and asyncpg.

asyncpg can build the TLS context from ``sslmode``, ``sslrootcert``, ``sslcert`` and ``sslkey``
itself, but then reads ``PGSSL*`` variables and ``~/.postgresql`` too, and has no ``system``.
"""

import os
import pwd
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from clarinet_cli.exceptions import CONFIGURATION
from clarinet_cli.utils.logger import logger

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILE_OPTIONS = ("sslrootcert", "sslcert", "sslkey")
TLS_OPTIONS = ("sslmode", *FILE_OPTIONS, "sslpassword", "sslnegotiation")
ALWAYS_TLS = ("require", "verify-ca", "verify-full")
DIRECT = "direct"
NEGOTIATIONS = ("postgres", DIRECT)
SYSTEM = "system"  # sslrootcert=system: the certificates that this machine trusts
DEFAULT_CA_FILE = Path(".postgresql") / "root.crt"


def tls_problem(options: Mapping[str, Any], project: Path) -> Optional[str]:
    """Return why the TLS options of a URL are invalid, or None if they are valid.

    Args:
        options: The options by name.
        project: The directory that relative file names start at.
    """
    mode = options.get("sslmode", "prefer")
    if problem := mode_problem(options):
        return problem
    for name in FILE_OPTIONS:
        if name in options and (problem := _file_problem(name, options[name], mode, project)):
            return problem
    for name in ("sslkey", "sslpassword"):
        if name in options and "sslcert" not in options:
            return f"{name} requires sslcert"
    negotiation = options.get("sslnegotiation", NEGOTIATIONS[0])
    if negotiation not in NEGOTIATIONS:
        return f"sslnegotiation is not one of {', '.join(NEGOTIATIONS)}"
    if negotiation == DIRECT and mode not in ALWAYS_TLS:
        return f"sslnegotiation={DIRECT} requires sslmode=require, verify-ca or verify-full"
    if mode.startswith("verify") and "sslrootcert" not in options and not default_ca_file():
        return f"sslmode={mode} requires sslrootcert, the file of the CA's certificate, or 'system'"
    return None


def mode_problem(options: Mapping[str, Any]) -> Optional[str]:
    """Return why ``sslmode`` is invalid, or None; for sockets, which have no TLS, too."""
    if options.get("sslmode", "prefer") not in SSL_MODES:
        return f"sslmode is not one of {', '.join(SSL_MODES)}"
    return None


def with_absolute_paths(options: Mapping[str, Any], project: Path) -> dict[str, Any]:
    """Return options with absolute file names."""
    whole = {
        name: str(project / options[name])
        for name in FILE_OPTIONS
        if name in options and (name, options[name]) != (FILE_OPTIONS[0], SYSTEM)
    }
    return {**options, **whole}


def ca_file(options: Mapping[str, Any]) -> Optional[str]:
    """Return the CA file that the server's certificate is verified with, ``system``, or None.

    As in libpq and asyncpg, *require* with a CA file means *verify-ca*; without ``sslrootcert`` the
    CA file is ``~/.postgresql/root.crt``.
    """
    if options.get("sslmode") not in ALWAYS_TLS:
        return None
    usual = default_ca_file()
    return options.get("sslrootcert") or (str(usual) if usual else None)


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the TLS context for the options of a URL.

    Args:
        options: Valid options; see ``tls_problem``.

    Raises:
        ConfigurationError: A file is not a certificate or key in PEM form.
    """
    ca = ca_file(options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options.get("sslmode") == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])  # required by sslnegotiation=direct
    if ca == SYSTEM:
        context.load_default_certs()
    elif ca:
        _load("sslrootcert", ca, lambda: context.load_verify_locations(ca))
    if "sslcert" in options:
        cert, key = str(options["sslcert"]), options.get("sslkey")
        # Without a pass phrase OpenSSL would prompt for one on the terminal.
        phrase = str(options.get("sslpassword", ""))
        files = cert if key is None else f"{cert}, {key}"
        _load(
            "sslcert or sslkey",
            files,
            lambda: context.load_cert_chain(cert, key, password=phrase),
        )
    return context


def _load(name: str, file: str, load: Any) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        logger.bind(reported=True).error(f"{name}: {type(error).__name__}")
        raise CONFIGURATION.with_context(
            f"{name}: not a certificate or key in PEM form that can be read ({file})",
            hint="a key with a pass phrase requires sslpassword in database_url",
        ) from error


def _file_problem(option: str, name: object, mode: str, project: Path) -> Optional[str]:
    if mode not in ALWAYS_TLS:
        return f"{option} requires sslmode=require, verify-ca or verify-full"
    if name == SYSTEM and option == "sslrootcert":  # any host can get such a certificate
        return None if mode == "verify-full" else "sslrootcert=system requires sslmode=verify-full"
    if not isinstance(name, str) or "\0" in name or not (project / name).is_file():
        return f"{option}: no such file"
    return None if os.access(project / name, os.R_OK) else f"{option}: the file cannot be read"


def default_ca_file() -> Optional[Path]:
    """Return libpq's default CA file if it exists.

    It is not read from a home directory that another user owns, as ``HOME`` may name after su.
    """
    try:
        file = Path(os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir) / DEFAULT_CA_FILE
        return file if file.parents[1].stat().st_uid == os.geteuid() and file.is_file() else None
    except (KeyError, OSError, ValueError):
        return None
