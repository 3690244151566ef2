"""Opening connections to PostgreSQL, from the settings only.

The driver reads each parameter that is not passed to it from ``PG*`` variables, ``~/.pgpass`` and
``~/.postgresql``, and ``HOME`` may be another user's. So every parameter is passed, and TLS as
an ``SSLContext``.
"""

import asyncio
import getpass
import os
import ssl
from collections.abc import Sequence
from typing import Any, Optional

import asyncpg
from sqlalchemy.exc import OperationalError

from clarinet_cli.database.password_guard import (
    CLEAR_TEXT,
    READABLE_FORMS,
    GuardingLoop,
    ReadablePasswordError,
)
from clarinet_cli.database.servers import (
    DEFAULT_PORT,
    LOCALHOST,
    PORT_OPTION,
    NoServerError,
    Server,
    WrongServerError,
    servers_of,
)
from clarinet_cli.database.tls import ALWAYS_TLS, DIRECT, tls_context
from clarinet_cli.exceptions import CONFIGURATION
from clarinet_cli.utils.logger import logger

# The packages' defaults. PostgreSQL's own default /tmp is left out: any user can create a socket
# there.
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql")
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
STANDBY, PREFER_STANDBY, ANY_SERVER = "standby", "prefer-standby", "any"
TLS_REJECTED = "rejected SSL upgrade"  # the driver raises a plain ConnectionError


async def connect(
    *,
    host: Optional[str] = None,
    port: Optional[int] = None,
    options: dict[str, str],
    **given: Any,
) -> Any:
    """Open a connection of the driver, to the first server that can be used.

    As in libpq, the next server is tried if one cannot be reached or is not of the kind that
    ``target_session_attrs`` requires, but not if it refuses the log-in. With *prefer-standby* any
    server is used if there is no standby.

    Args:
        host: The server, or the directory of its socket; several, separated by commas; None: the
            default directories, then localhost.
        port: The port of all; None: the default one, or those of *options*.
        options: The options of the URL.
        **given: The other arguments of ``_connect_to``.

    Raises:
        NoServerError: None of several servers can be used.
        OSError: The only one cannot be used.
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
    """Return whether another server may accept a connection: not after a refused log-in."""
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
        server: The server.
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
    remote = not server.is_local
    settings = {name: options[name] for name in ("options", "search_path") if name in options}
    given = {
        "host": host or [*SOCKET_DIRECTORIES, LOCALHOST],
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
            return await _connect_without_tls(given, forms if remote else set())
        except (OSError, *DRIVER_ERRORS) as error:
            if encrypted is not attempts[-1] and _retry_may_help(error, encrypted=encrypted):
                continue
            if isinstance(error, (OSError, asyncpg.TargetServerAttributeNotMatched)):
                raise
            # SQLAlchemy 2.0 translates the errors of statements only.
            raise OperationalError("connect", None, error, hide_parameters=True) from error
    raise AssertionError(attempts)


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


async def _connect_without_tls(given: dict[str, Any], refused: set[str]) -> Any:
    """Connect without TLS; the password is never sent in one of the *refused* forms."""
    if not refused:
        return await asyncpg.connect(**given, ssl=False)
    loop: Any = GuardingLoop(asyncio.get_running_loop(), refused)
    try:
        return await asyncpg.connect(**given, ssl=False, loop=loop)
    except asyncpg.ConnectionDoesNotExistError as error:
        if isinstance(error.__cause__, ConnectionError):
            raise error.__cause__ from None
        raise


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
