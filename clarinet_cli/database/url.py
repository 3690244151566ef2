"""The URL of the configured database."""

from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Optional

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from clarinet_cli.database.servers import (
    DEFAULT_PORT,
    MAX_PORT,
    PORT_OPTION,
    Server,
    parse_url,
    render_url,
    split_host,
    url_servers,
)
from clarinet_cli.database.sqlite import is_file, missing_file, refuse_unusable_name
from clarinet_cli.database.tls import (
    FILE_OPTIONS,
    TLS_OPTIONS,
    mode_problem,
    tls_problem,
    with_absolute_paths,
)
from clarinet_cli.database.url_options import PARTS, TARGET_OPTION, read_options
from clarinet_cli.exceptions import UNREACHABLE
from clarinet_cli.settings import Settings

MASK = "****"  # in place of a secret
SQLITE_SUFFIX = ".db"  # the server appends it to any name
OTHER_SUFFIXES = {".db", ".sqlite", ".sqlite3"}  # earlier versions did not append .db to these
# Also settings: database_sslmode, …
SETTINGS_OPTIONS = ("sslmode", *FILE_OPTIONS, TARGET_OPTION)
URL_HINT = (
    "such as postgresql://user:password@host:5432/name, "
    "with '@' and '/' in the password written as %40 and %2F"
)
SERVERS_HINT = "such as postgresql://user@a:5432,b:5433/name?target_session_attrs=read-write"
BACKENDS_HINT = "the database can be SQLite (sqlite:///FILE) or PostgreSQL (postgresql://…)"
OTHER_DATABASES = {
    "mysql": "MySQL",
    "mysqlx": "MySQL",
    "mariadb": "MariaDB",
    "mssql": "Microsoft SQL Server",
    "sqlserver": "Microsoft SQL Server",
    "oracle": "Oracle Database",
    "mongodb": "MongoDB",
}
POSTGRESQL_NAMES = {"postgres", "postgresql"}


def database_url(settings: Settings, *, replica: bool = False) -> URL:
    """Return the URL to connect to, with an async driver and an absolute SQLite path.

    Args:
        settings: ``database_url`` overrides the other keys; a relative SQLite path starts at
            the project directory.
        replica: Prefer ``database_read_url``, which is read-only and may lag.

    Raises:
        ConfigurationError: ``database_url`` cannot be parsed or has an unknown driver, or the
            host is invalid.
        UnreachableError: The SQLite file is missing, and an earlier version used another one.
    """
    if replica and settings.database_read_url is not None:
        text = settings.database_read_url.get_secret_value()
        return _parse_url(settings, "database_read_url", text)
    if settings.database_url is not None:
        return _parse_url(settings, "database_url", settings.database_url.get_secret_value())
    return url_from_parts(settings)


def url_from_parts(settings: Settings) -> URL:
    """Return the URL without regard to ``database_url``, which the server does not read.

    Raises:
        ConfigurationError: The host is invalid.
        UnreachableError: The SQLite file is missing, and an earlier version used another one.
    """
    if settings.database_driver.startswith("sqlite"):
        return _sqlite_url(_named_sqlite_file(settings))
    hosts = [_host(settings, "database_host", host) for host in settings.database_host.split(",")]
    _refuse_empty_host(settings, "database_host", hosts)
    host = ",".join(name or "" for name in hosts) or None
    return URL.create(
        "postgresql+asyncpg",
        username=settings.database_username or None,
        password=settings.database_password.get_secret_value() or None,
        host=host,
        port=settings.database_port,
        database=settings.database_name,
        query=_with_tls(settings, "database_sslmode", host, {}),
    )


def display_url(url: URL) -> str:
    """Return *url* for messages, without driver, password and options."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    servers = url_servers(url)
    if not any((server.host or "").startswith("/") for server in servers):
        shown = url.set(drivername="postgresql")
        return render_url(shown, ",".join(map(str, servers)))
    query = {name: url.query[name] for name in (PORT_OPTION,) if name in url.query}
    return URL.create(
        "postgresql",
        username=url.username,
        password=url.password,
        port=url.port,
        database=url.database,
        query={"host": str(url.host), **query},
    ).render_as_string(hide_password=True)


def masked_url(text: str) -> Optional[str]:
    """Return the text of a URL without password and options, or None when it cannot be read.

    Args:
        text: The URL as the operator wrote it. The text before the last '@' may be part of a
            password that was not quoted.
    """
    try:
        url = parse_url(text)
    except (ArgumentError, ValueError):
        return None
    if "@" in f"{url.username or ''}{url.host or ''}{url.database or ''}":
        return None
    several = "," in (url.host or "")
    servers = url.host if several else str(Server(url.host, url.port))
    return render_url(url, str(servers)).replace(":***@", f":{MASK}@")


def sqlite_file(url: URL) -> Optional[Path]:
    """Return the file of a SQLite URL, or None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def require_sqlite_file(url: URL, project: Optional[Path] = None) -> None:
    """Raise an error if the SQLite file is missing.

    Args:
        url: The URL of the database.
        project: The project directory; see ``missing_file``.

    Raises:
        UnreachableError: It is missing.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise missing_file(file, project)


def _parse_url(settings: Settings, key: str, text: str) -> URL:
    """Return the URL that a setting contains; its text is a secret and never in a message."""
    try:
        url = parse_url(text)
        backend = url.drivername.split("+")[0]
    except (ArgumentError, ValueError):
        raise settings.error_for(key, "not a database URL", hint=URL_HINT) from None
    if backend in POSTGRESQL_NAMES:
        return _postgresql_url(settings, key, url.set(drivername="postgresql+asyncpg"))
    if backend in OTHER_DATABASES:
        reason = f"{OTHER_DATABASES[backend]} is not supported"
        raise settings.error_for(key, reason, hint=BACKENDS_HINT)
    if backend != "sqlite" or "\0" in (url.database or ""):
        reason = f"unknown driver {url.drivername!r}"
        raise settings.error_for(key, reason, hint=BACKENDS_HINT)
    return _sqlite_url(settings.project_dir / (url.database or ""))


def _postgresql_url(settings: Settings, key: str, url: URL) -> URL:
    """Return a validated URL; options such as ``host`` and ``port`` become its parts."""
    query = dict(url.query)
    parts: dict[str, Any] = {name: query.pop(name) for name in PARTS if name in query}
    host, port, ports = _servers(settings, key, url, parts)
    for name in ("user", "password", "dbname"):
        if not isinstance(parts.get(name, ""), str):
            raise settings.error_for(key, f"{name} is given several times")
    options, problem = read_options(query)
    if problem:
        raise settings.error_for(key, problem.reason, hint=problem.hint)
    options |= ports
    return URL.create(
        url.drivername,
        username=url.username or parts.get("user"),
        password=url.password or parts.get("password"),
        host=host,
        port=port,
        database=url.database or parts.get("dbname"),
        query=_with_tls(settings, key, host, options),
    )


def _servers(
    settings: Settings, key: str, url: URL, parts: dict[str, Any]
) -> tuple[Optional[str], Optional[int], dict[str, str]]:
    """Return host and port of a URL, and the option ``port`` when the ports differ.

    Args:
        settings: For the error.
        key: The setting with the URL.
        url: Its text, parsed; its host may be a list with ports.
        parts: The options ``host`` and ``port``, which override it. SQLAlchemy's form has several
            options ``host``, each with its port.
    """
    named = parts.get("host") or url.host or ""
    text = named if isinstance(named, str) else ",".join(named)
    with_ports = not isinstance(named, str) or "host" not in parts
    entries = [
        split_host(item) if with_ports and "," in text else (item, None) for item in text.split(",")
    ]
    hosts = [_host(settings, key, host) for host, _ in entries]
    _refuse_empty_host(settings, key, hosts)
    given = parts.get("port")
    if given is None:
        texts = [port or str(url.port or 0) for _, port in entries]
    else:
        texts = given.split(",") if isinstance(given, str) else list(given)
    if any(not (item.isascii() and item.isdigit()) or int(item) > MAX_PORT for item in texts):
        raise settings.error_for(key, f"invalid port (1-{MAX_PORT})")
    if len(texts) not in (1, len(hosts)):
        raise settings.error_for(key, f"{len(texts)} ports for {len(hosts)} hosts")
    host = ",".join(name or "" for name in hosts) or None
    if len(set(texts)) == 1:
        return host, int(texts[0]) or None, {}
    numbers = ",".join(str(int(item) or DEFAULT_PORT) for item in texts)
    return host, None, {PORT_OPTION: numbers}


def _refuse_empty_host(settings: Settings, key: str, hosts: Sequence[Optional[str]]) -> None:
    """Raise an error if one of several hosts is empty."""
    if len(hosts) > 1 and not all(hosts):
        raise settings.error_for(key, "a host of the list is empty", hint=SERVERS_HINT)


def _with_tls(
    settings: Settings, key: str, host: Optional[str], options: dict[str, str]
) -> dict[str, str]:
    """Return the options of a URL completed by the TLS settings.

    Raises:
        ConfigurationError: They contradict each other or are invalid.
    """
    for name in SETTINGS_OPTIONS:
        if name == TARGET_OPTION and key == "database_read_url":
            continue  # the setting is about the main database
        value = getattr(settings, f"database_{name}")
        if value is not None and options.setdefault(name, value) != value:
            reason = f"{name}={options[name]} contradicts database_{name} = {value!r}"
            raise settings.error_for(key, reason, hint="set one of them, or both to the same value")
    hosts = (host or "").split(",")
    socket = all(name.startswith("/") for name in hosts)  # sockets have no TLS
    problem = mode_problem(options) if socket else tls_problem(options, settings.project_dir)
    if problem:
        name = f"database_{problem.partition(' ')[0].partition('=')[0].rstrip(':')}"
        raise settings.error_for(name if getattr(settings, name, None) else key, problem)
    if socket:
        return {name: value for name, value in options.items() if name not in TLS_OPTIONS}
    return with_absolute_paths(options, settings.project_dir)


def _host(settings: Settings, key: str, host: object) -> Optional[str]:
    """Return a host for the resolver: an IPv6 address without its brackets."""
    # The text before an '@' may be part of a password and is never shown.
    if not isinstance(host, str) or set(host) & set("\0@"):
        raise settings.error_for(key, "the host is not a host name", hint=URL_HINT)
    if not set(host) & set("[]"):
        return host or None
    address = host[1:-1]
    try:
        IPv6Address(address if host == f"[{address}]" else host)
    except ValueError:
        reason = "not an IPv6 address in brackets"
        raise settings.error_for(key, reason, hint="such as [::1]") from None
    return address


def _named_sqlite_file(settings: Settings) -> Path:
    """Return the file that the server opens for ``database_name``.

    Raises:
        UnreachableError: It is missing, and a file with the bare name exists.
    """
    name = settings.database_name
    file = settings.project_dir / f"{name}{SQLITE_SUFFIX}"
    bare = settings.project_dir / name
    if bare.suffix in OTHER_SUFFIXES and is_file(bare) and not is_file(file):
        hint = f'rename the file, or set database_url = "sqlite:///{name}"'
        if bare.suffix == SQLITE_SUFFIX:
            hint = f'set database_name = "{name.removesuffix(SQLITE_SUFFIX)}"'
        raise UNREACHABLE.with_context(
            f"database_name {name!r} means {file}, as for the server; that file does not exist, "
            f"but {bare} does",
            hint=hint,
        )
    return file


def _sqlite_url(file: Path) -> URL:
    refuse_unusable_name(file)
    return URL.create("sqlite+aiosqlite", database=str(file))
