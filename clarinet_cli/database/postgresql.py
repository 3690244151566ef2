"""Opening connections to PostgreSQL, from the settings only.

The driver reads each parameter that is not passed to it from ``PG*`` variables, ``~/.pgpass`` and
``~/.postgresql``, and ``HOME`` may be another user's. So every parameter is passed, and TLS as
an ``SSLContext``.
"""

import asyncio
import getpass
import os
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Optional

import asyncpg
from sqlalchemy.exc import OperationalError

from clarinet_cli.database.servers import (
    DEFAULT_PORT,
    PORT_OPTION,
    NoServerError,
    Server,
    WrongServerError,
    servers_of,
)
from clarinet_cli.database.tls import (
    ALWAYS_TLS,
    CLEAR_TEXT,
    DIRECT,
    READABLE_FORMS,
    ReadablePasswordError,
    tls_context,
)
from clarinet_cli.exceptions import CONFIGURATION
from clarinet_cli.utils.logger import logger

# The packages' defaults. PostgreSQL's own default /tmp is left out: any user can create a socket
# there.
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql")
LOCAL_HOSTS = ("localhost", "localhost.")
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
STANDBY, PREFER_STANDBY, ANY_SERVER = "standby", "prefer-standby", "any"
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
TLS_REJECTED = "rejected SSL upgrade"  # the driver raises a plain ConnectionError
HEADER_BYTES = 5  # type (1 byte) and length (4 bytes, which include themselves)
AUTHENTICATION, READY = b"R", b"Z"
MIN_LENGTH = 4
MIN_LENGTHS = {AUTHENTICATION: 8}


async def connect(
    *,
    host: Optional[str] = None,
    port: Optional[int] = None,
    options: dict[str, str],
    **given: Any,
) -> Any:
    """Open a connection of the driver, to the first server that can be used.

    As in libpq, the next server is tried if one can't be reached or is not of the kind that
    ``target_session_attrs`` requires, but not if it refuses the log-in. With *prefer-standby* any
    server is used if there is no standby.

    Args:
        host: The server, or the directory of its socket; several, separated by commas; None: the
            default directories, then localhost.
        port: The port of all; None: the default one, or those of *options*.
        options: The options of the URL.
        **given: See ``_connect_to``.

    Raises:
        NoServerError: None of several servers can be used.
        OSError: The only one can't be used.
        ReadablePasswordError: The server, on another machine and without TLS, asks for the
            password in a readable form. It has not been sent.
        OperationalError: The server or the driver refuses the connection.
    """
    target = options.get("target_session_attrs", ANY_SERVER)
    servers = servers_of(host, port, options.get(PORT_OPTION))
    failures: list[tuple[Server, Exception]] = []
    for server in servers:
        try:
            return await _connect_to(server, target, options, **given)
        except asyncpg.TargetServerAttributeNotMatched as error:
            logger.debug(f"{server}: {error}")
            failures.append((server, WrongServerError(target)))
        except (OSError, OperationalError) as error:  # including TimeoutError
            if len(servers) == 1 or not _next_server_may_help(error):
                raise
            logger.debug(f"{server}: {type(error).__name__}")
            failures.append((server, error))
    if target == PREFER_STANDBY:
        for server, failure in failures:
            if isinstance(failure, WrongServerError):
                return await _connect_to(server, ANY_SERVER, options, **given)
    if len(servers) == 1:
        raise failures[0][1]
    raise NoServerError(failures)


def _next_server_may_help(error: Exception) -> bool:
    """Return whether another server may accept a connection, as after all but a refused log-in."""
    if isinstance(error, OperationalError):
        return isinstance(error.orig, (asyncpg.CannotConnectNowError, asyncpg.InterfaceError))
    return not isinstance(error, ReadablePasswordError)


async def _connect_to(
    server: Server,
    target: str,
    options: dict[str, str],
    *,
    user: Optional[str] = None,
    password: str = "",
    database: Optional[str] = None,
    timeout: Optional[float],
    **driver: Any,
) -> Any:
    """Open a connection to one server.

    With ``sslmode`` *prefer* and *allow* a rejected connection is retried with or without TLS, as
    in libpq. The driver retries too, but only with its own search for certificates.

    Args:
        server: Which.
        target: What ``target_session_attrs`` requires of it.
        options: The options of the URL.
        user: The database user; None: the name of the operating-system user.
        password: Sent if the server asks for one.
        database: None: the same as *user*.
        timeout: Seconds for one attempt; None: no limit.
        **driver: Passed to the driver.
    """
    host = server.host
    user = user or default_user()
    mode = options.get("sslmode", "prefer")
    remote = host is not None and not is_local(host)
    settings = {name: options[name] for name in ("options", "search_path") if name in options}
    given = {
        "host": host or [*SOCKET_DIRECTORIES, LOCAL_HOSTS[0]],
        "port": server.port or DEFAULT_PORT,
        "user": user,
        "password": password,
        "database": database or user,
        "timeout": timeout,
        "direct_tls": options.get("sslnegotiation") == DIRECT,
        "target_session_attrs": STANDBY if target == PREFER_STANDBY else target,
        "krbsrvname": "postgres",
        "gsslib": "gssapi",
        "server_settings": {**driver.pop("server_settings", {}), **settings},
        **driver,
    }
    attempts = _attempts(mode, socket=(host or "").startswith("/"))
    forms = {CLEAR_TEXT} if mode == "disable" else set(READABLE_FORMS.values())
    for encrypted in attempts:
        try:
            if encrypted:
                return await asyncpg.connect(**given, ssl=tls_context(options))
            return await _plain(given, forms if remote else set())
        except (OSError, *DRIVER_ERRORS) as error:
            if encrypted is not attempts[-1] and _retry_may_help(error, encrypted=encrypted):
                continue
            if isinstance(error, (OSError, asyncpg.TargetServerAttributeNotMatched)):
                raise
            # SQLAlchemy 2.0 translates the errors of statements only.
            raise OperationalError("connect", None, error, hide_parameters=True) from error
    raise AssertionError(attempts)


def is_local(host: str) -> bool:
    """Return whether a host is this machine: a socket directory or a loopback address."""
    if host.startswith("/") or host.lower() in LOCAL_HOSTS:
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _attempts(mode: str, *, socket: bool) -> Sequence[bool]:
    """Return for each attempt whether to use TLS."""
    if mode in ALWAYS_TLS and not socket:
        return (True,)
    return {"prefer": (True, False), "allow": (False, True)}.get("" if socket else mode, (False,))


def _retry_may_help(error: Exception, *, encrypted: bool) -> bool:
    """Return whether the server may accept the same connection with TLS, or without it."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return False
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return True  # pg_hba.conf may require the other form
    if not encrypted:
        return isinstance(error, ReadablePasswordError)
    return TLS_REJECTED in str(error) or isinstance(error, (ssl.SSLError, ConnectionResetError))


async def _plain(given: dict[str, Any], refused: set[str]) -> Any:
    """Connect without TLS; the password is never sent in one of the *refused* forms."""
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
    """An event loop for the driver that puts a guard in front of its connections.

    Args:
        loop: The running event loop.
        refused: The forms in which the password is not sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, refused: set[str]) -> None:
        self._loop = loop
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *arguments: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect, with a guard that receives the server's messages before the driver."""

        def guarded() -> _PasswordGuard:
            return _PasswordGuard(factory(), self._refused)

        transport, guard = await self._loop.create_connection(guarded, *arguments, **options)
        return transport, guard.driver


class _PasswordGuard(asyncio.Protocol):
    """A protocol that checks the server's log-in messages before the driver receives them.

    Args:
        driver: The driver's protocol.
        refused: The forms in which the password is not sent.
    """

    def __init__(self, driver: asyncio.Protocol, refused: set[str]) -> None:
        self.driver = driver
        self._refused = refused
        self._unread = bytearray()
        self._transport: Any = None
        self._reason: Optional[ConnectionError] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the driver."""
        self._transport = transport
        self.driver.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass complete messages to the driver, until the server is ready for queries.

        Until then the driver answers any request for a password, even after a successful one.
        """
        self._unread += data
        while self._reason is None and (message := self._next_message()):
            form = READABLE_FORMS.get(int.from_bytes(message[HEADER_BYTES:9]))
            if message[:1] == AUTHENTICATION and form in self._refused:
                self._end(ReadablePasswordError(str(form)))
            elif message[:1] == READY:
                self._transport.set_protocol(self.driver)
                self.driver.data_received(message + self._unread)
                self._unread.clear()
            else:
                self.driver.data_received(message)

    def connection_lost(self, error: Optional[Exception]) -> None:
        """Notify the driver, with the guard's own error if there is one."""
        self.driver.connection_lost(self._reason or error)

    def eof_received(self) -> Optional[bool]:
        """Notify the driver."""
        return self.driver.eof_received()

    def pause_writing(self) -> None:
        """Notify the driver."""
        self.driver.pause_writing()

    def resume_writing(self) -> None:
        """Notify the driver."""
        self.driver.resume_writing()

    def _next_message(self) -> bytes:
        """Remove and return the next complete message, or return no bytes if there is none."""
        if len(self._unread) < HEADER_BYTES:
            return b""
        length = int.from_bytes(self._unread[1:HEADER_BYTES])
        if length < MIN_LENGTHS.get(bytes(self._unread[:1]), MIN_LENGTH):
            self._end(ConnectionError("not the protocol of a PostgreSQL server"))
            return b""
        if len(self._unread) <= length:
            return b""
        message = bytes(self._unread[: length + 1])
        del self._unread[: length + 1]
        return message

    def _end(self, reason: ConnectionError) -> None:
        self._reason = reason
        self._transport.abort()


def default_user() -> str:
    """Return the database user to connect as by default: the operating-system user.

    Raises:
        ConfigurationError: The uid has no name, as it may be in a container.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise CONFIGURATION.with_context(
            f"no database user is named, and uid {os.geteuid()} has no name on this machine",
            hint="set database_username, or write postgresql://USER@… in database_url",
        ) from None
