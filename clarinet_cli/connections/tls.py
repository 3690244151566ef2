"""TLS to PostgreSQL: the options of a URL, with the meaning that libpq gives them."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from clarinet_cli.exceptions import CONFIGURATION
from clarinet_cli.utils.logger import logger

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FILE_OPTIONS = ("sslrootcert", "sslcert", "sslkey")
TLS_OPTIONS = ("sslmode", *FILE_OPTIONS)
ALWAYS_TLS = ("require", "verify-ca", "verify-full")
SYSTEM = "system"  # the value of sslrootcert for the certificates that this machine trusts
USUAL_CA_FILE = Path(".postgresql") / "root.crt"


def tls_problem(options: Mapping[str, Any], project: Path) -> Optional[str]:
    """Return what is wrong with the TLS options of a URL, or None.

    Args:
        options: The options by name.
        project: Where relative file names start.
    """
    mode = options.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        return f"sslmode is not one of {', '.join(SSL_MODES)}"
    for name in FILE_OPTIONS:
        if name in options and mode not in ALWAYS_TLS:
            return f"{name} needs sslmode=require, verify-ca or verify-full"
        if name in options and options[name] != SYSTEM and not _file(options[name], project):
            return f"{name}: there is no such file"
    if "sslkey" in options and "sslcert" not in options:
        return "sslkey needs sslcert"
    if mode.startswith("verify") and "sslrootcert" not in options and not _usual_ca_file():
        return f"sslmode={mode} needs sslrootcert, the file of the CA's certificate, or 'system'"
    return None


def with_whole_paths(options: Mapping[str, Any], project: Path) -> dict[str, Any]:
    """Return options with the names of files made absolute."""
    whole = {
        name: str(project / options[name])
        for name in FILE_OPTIONS
        if name in options and options[name] != SYSTEM
    }
    return {**options, **whole}


def tls_of(options: Mapping[str, Any]) -> str | ssl.SSLContext:
    """Return what the driver takes for these options.

    Args:
        options: Those of a URL that ``tls_problem`` has nothing against.

    Raises:
        ConfigurationError: A file is not what it should be.
    """
    mode = str(options.get("sslmode", "prefer"))
    if mode not in ALWAYS_TLS:
        return mode
    ca = options.get("sslrootcert") or (_usual_ca_file() if mode != "require" else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    # As in libpq, 'require' with a CA file is as good as 'verify-ca'.
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    if ca == SYSTEM:
        context.load_default_certs()
    elif ca:
        _load("sslrootcert", lambda: context.load_verify_locations(str(ca)))
    if "sslcert" in options:
        key = options.get("sslkey")
        _load(
            "sslcert or sslkey",
            # Without an answer at hand the library would ask the terminal for a pass phrase.
            lambda: context.load_cert_chain(str(options["sslcert"]), key, password=""),
        )
    return context


def _load(name: str, load: Any) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        logger.bind(reported=True).error(f"{name}: {type(error).__name__}")
        raise CONFIGURATION.with_context(
            f"database_url: {name}: not a certificate or key in PEM form that can be read",
            hint="a key with a pass phrase can't be used",
        ) from error


def _file(name: object, project: Path) -> bool:
    return isinstance(name, str) and "\0" not in name and (project / name).is_file()


def _usual_ca_file() -> Optional[Path]:
    file = Path.home() / USUAL_CA_FILE
    return file if file.is_file() else None
