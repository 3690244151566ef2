"""How a connection to PostgreSQL is opened: in one place, and by the settings alone.

The driver would take what it is not given from ``PG*`` variables, ``~/.pgpass`` and
``~/.postgresql`` of whoever ``HOME`` belongs to. So it is given everything.
"""

import asyncio
import getpass
import os
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Optional

import asyncpg

from clarinet_cli.database.tls import (
    ALWAYS_TLS,
    CLEAR_TEXT,
    DIRECT,
    READABLE_PASSWORDS,
    ReadablePasswordError,
    tls_context,
)
from clarinet_cli.exceptions import CONFIGURATION

# Where packages put the server's socket. Upstream's /tmp is not among them: there everybody
# can put one.
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql")
LOCAL_HOSTS = ("localhost", "localhost.")
DEFAULT_PORT = 5432
DECLINED = "rejected SSL upgrade"  # the driver has no class for it
HEADER_BYTES = 5  # of a message: its type and its length, which counts itself
AUTHENTICATION, READY = b"R", b"Z"
LEAST_LENGTHS = {AUTHENTICATION: 8}  # of others: their length itself


async def connect(
    *,
    host: Optional[str] = None,
    port: int = DEFAULT_PORT,
    user: Optional[str] = None,
    password: str = "",
    database: Optional[str] = None,
    options: dict[str, str],
    timeout: Optional[float],
    **driver: Any,
) -> Any:
    """Open a connection of the driver.

    With ``sslmode`` *prefer* and *allow* a server that refuses one way is tried the other way,
    as libpq does. The driver does so too, but only with its own search for certificates.

    Args:
        host: The server, or the directory of its socket; None: the usual directories, then
            this machine.
        port: Its port.
        user: The database's user; None: the name of the user who runs this.
        password: Sent when the server asks for one.
        database: None: the user's name.
        options: Those of the URL.
        timeout: Seconds for one try; None: as long as it takes.
        **driver: Passed on.

    Raises:
        ReadablePasswordError: The server is another machine, without TLS, and the password
            would be readable on the way. It has not been sent.
    """
    user = user or user_name()
    mode = options.get("sslmode", "prefer")
    remote = host is not None and not is_local(host)
    settings = {name: options[name] for name in ("options", "search_path") if name in options}
    given = {
        "host": host or [*SOCKET_DIRECTORIES, LOCAL_HOSTS[0]],
        "port": port,
        "user": user,
        "password": password,
        "database": database or user,
        "timeout": timeout,
        "direct_tls": options.get("sslnegotiation") == DIRECT,
        "target_session_attrs": options.get("target_session_attrs", "any"),
        "krbsrvname": "postgres",
        "gsslib": "gssapi",
        "server_settings": {**driver.pop("server_settings", {}), **settings},
        **driver,
    }
    ways = _ways(mode, socket=(host or "").startswith("/"))
    forms = {CLEAR_TEXT} if mode == "disable" else set(READABLE_PASSWORDS.values())
    for encrypted in ways:
        try:
            if encrypted:
                return await asyncpg.connect(**given, ssl=tls_context(options))
            return await _plain(given, forms if remote else set())
        except (OSError, asyncpg.PostgresError) as error:
            if encrypted is ways[-1] or not _another_way_may_help(error, encrypted=encrypted):
                raise
    raise AssertionError(ways)


def is_local(host: str) -> bool:
    """Return whether what is sent to a host stays on this machine: a socket, or loopback."""
    if host.startswith("/") or host.lower() in LOCAL_HOSTS:
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _ways(mode: str, *, socket: bool) -> Sequence[bool]:
    """Return whether to encrypt, for each try."""
    if mode in ALWAYS_TLS and not socket:
        return (True,)
    return {"prefer": (True, False), "allow": (False, True)}.get("" if socket else mode, (False,))


def _another_way_may_help(error: Exception, *, encrypted: bool) -> bool:
    """Return whether the server may take with TLS what it refused without, or vice versa."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return False
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return True  # its rules for who may connect, and how
    if not encrypted:
        return isinstance(error, ReadablePasswordError)
    return DECLINED in str(error) or isinstance(error, (ssl.SSLError, ConnectionResetError))


async def _plain(given: dict[str, Any], refused: set[str]) -> Any:
    """Connect without TLS; a password is not given in a form among those refused."""
    if not refused:
        return await asyncpg.connect(**given, ssl=False)
    loop: Any = _GuardingLoop(asyncio.get_running_loop(), refused)
    try:
        return await asyncpg.connect(**given, ssl=False, loop=loop)
    except asyncpg.ConnectionDoesNotExistError as error:
        if isinstance(error.__cause__, ConnectionError):
            raise error.__cause__ from None
        raise


class _GuardingLoop:
    """The event loop as the driver is given it: its connections have a guard in front.

    Args:
        loop: The real one.
        refused: The forms of a password that are not sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, refused: set[str]) -> None:
        self._loop = loop
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *arguments: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect, with a guard that sees first what the server sends."""

        def guarded() -> _PasswordGuard:
            return _PasswordGuard(factory(), self._refused)

        transport, guard = await self._loop.create_connection(guarded, *arguments, **options)
        return transport, guard.driver


class _PasswordGuard(asyncio.Protocol):
    """Reads the server's side of the log-in before the driver does, and may end it there.

    Args:
        driver: The driver's protocol, which is told everything else.
        refused: The forms of a password that are not sent.
    """

    def __init__(self, driver: asyncio.Protocol, refused: set[str]) -> None:
        self.driver = driver
        self._refused = refused
        self._unread = bytearray()
        self._transport: Any = None
        self._reason: Optional[ConnectionError] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the driver begin."""
        self._transport = transport
        self.driver.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand whole messages on until the server is ready; then the driver reads by itself.

        The driver answers whatever is asked for until then, also after it was let in.
        """
        self._unread += data
        while self._reason is None and (message := self._next_message()):
            form = READABLE_PASSWORDS.get(int.from_bytes(message[HEADER_BYTES:9]))
            if message[:1] == AUTHENTICATION and form in self._refused:
                self._end(ReadablePasswordError(str(form)))
            elif message[:1] == READY:
                self._transport.set_protocol(self.driver)
                self.driver.data_received(message + self._unread)
                self._unread.clear()
            else:
                self.driver.data_received(message)

    def connection_lost(self, error: Optional[Exception]) -> None:
        """Tell the driver, with the reason when it is ours."""
        self.driver.connection_lost(self._reason or error)

    def eof_received(self) -> Optional[bool]:
        """Tell the driver."""
        return self.driver.eof_received()

    def pause_writing(self) -> None:
        """Tell the driver."""
        self.driver.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self.driver.resume_writing()

    def _next_message(self) -> bytes:
        """Take the next whole message from what has come in; nothing when there is none."""
        if len(self._unread) < HEADER_BYTES:
            return b""
        length = int.from_bytes(self._unread[1:HEADER_BYTES])
        if length < LEAST_LENGTHS.get(bytes(self._unread[:1]), 4):
            self._end(ConnectionError("not what a PostgreSQL server says"))
            return b""
        if len(self._unread) <= length:
            return b""
        message = bytes(self._unread[: length + 1])
        del self._unread[: length + 1]
        return message

    def _end(self, reason: ConnectionError) -> None:
        self._reason = reason
        self._transport.abort()


def user_name() -> str:
    """Return the name of the user who runs this.

    Raises:
        ConfigurationError: A number has none, as in a container with a user of its own.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise CONFIGURATION.with_context(
            f"no database user is named, and uid {os.geteuid()} has no name on this machine",
            hint="set database_username, or write postgresql://USER@… in database_url",
        ) from None
