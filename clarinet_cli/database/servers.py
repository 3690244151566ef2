"""The servers that a URL of PostgreSQL names: one, or several for fail-over.

Inside of the tool a URL with several has their names in ``host``, separated by commas and without
brackets, and their ports in the option ``port`` unless it is the same for all.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple, Optional
from urllib.parse import quote

from sqlalchemy import URL, make_url

PORT_OPTION = "port"
DEFAULT_PORT = 5432
MAX_PORT = 65535
LOCALHOST = "localhost"
# A comma among the hosts; what follows an '@' there may be part of a password that is not quoted.
SERVER_LIST = re.compile(
    r"(?P<start>[^:/]+://(?:[^@]*@)?)(?P<hosts>[^@/?]*,[^@/?]*)(?P<rest>[/?].*)?", re.DOTALL
)
HOST_AND_PORT = re.compile(r"(\[[^]]*\]|[^:\[\]]*)(?::([^:]*))?")


class Server(NamedTuple):
    """A server of a URL.

    Attributes:
        host: Its name, address, or the directory of its socket; None: not named.
        port: Its port; None: the default one.
    """

    host: Optional[str]
    port: Optional[int] = None

    def __str__(self) -> str:
        """Return host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host or ""
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine: reached by a socket, by default too, or by loopback."""
        host = self.host or LOCALHOST
        if host.startswith("/") or host.lower() in (LOCALHOST, f"{LOCALHOST}."):
            return True
        try:
            return ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return False


class WrongServerError(ConnectionError):
    """A server is not of the kind that ``target_session_attrs`` requires.

    Args:
        target: The value of ``target_session_attrs``.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


class NoServerError(ConnectionError):
    """None of several servers could be used.

    Args:
        failures: Each server with its error.
    """

    def __init__(self, failures: Sequence[tuple[Server, Exception]]) -> None:
        super().__init__(f"{len(failures)} servers")
        self.failures = failures


def parse_url(text: str) -> URL:
    """Return the URL of a text, whose ``host`` may be a list such as ``a:5432,b:5433``.

    Args:
        text: As an operator wrote it.

    Raises:
        ArgumentError: It is not a URL.
        ValueError: The port is not a number.
    """
    match = SERVER_LIST.fullmatch(text)
    if match is None:
        return make_url(text)
    return make_url(f"{match['start']}{match['rest'] or ''}").set(host=match["hosts"])


def split_host(text: str) -> tuple[str, Optional[str]]:
    """Return host and port of an entry such as ``db:5432``; the host alone if it has another form.

    Args:
        text: The entry, an IPv6 address in brackets.
    """
    match = None if text.startswith("/") else HOST_AND_PORT.fullmatch(text)
    return (match[1], match[2] or None) if match else (text, None)


def servers_of(
    host: Optional[str], port: Optional[int], ports: Optional[str] = None
) -> list[Server]:
    """Return the servers of a valid URL, in the order in which they are tried.

    Args:
        host: The ``host`` of the URL.
        port: The ``port`` of the URL.
        ports: Its option ``port``.
    """
    hosts = [name or None for name in (host or "").split(",")]
    numbers = [port] * len(hosts) if ports is None else [int(item) for item in ports.split(",")]
    return [Server(*pair) for pair in zip(hosts, numbers, strict=True)]


def url_servers(url: URL) -> list[Server]:
    """Return the servers of a valid URL, in the order in which they are tried."""
    ports: Any = url.query.get(PORT_OPTION)
    return servers_of(url.host, url.port, ports)


def render_url(url: URL, servers: str) -> str:
    """Return the text of a URL without its password and options.

    Args:
        url: The URL.
        servers: The text in place of its host and port.
    """
    login = URL.create(url.drivername, username=url.username, password=url.password)
    path = "" if url.database is None else f"/{quote(url.database, safe=' +/')}"
    return f"{login.render_as_string(hide_password=True)}{servers}{path}"
