"""Warnings about settings that may be mistakes, before a database is opened.

A misspelled key is ignored like the server's other keys, and the default is used: with
``databse_driver`` the tool would use an empty SQLite file instead of the server.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Optional

from sqlalchemy import URL

from clarinet_cli.database.servers import DEFAULT_PORT, Server, url_servers
from clarinet_cli.database.url import database_url, display_url, sqlite_file, url_from_parts
from clarinet_cli.exceptions import CONFIGURATION, ClarinetError
from clarinet_cli.settings import ENV_PREFIX, Settings
from clarinet_cli.sources import written_keys
from clarinet_cli.spelling import edit_distance, find_misspellings

SERVER_PARTS = ("database_host", "database_username", "database_password")
PARTS = ("database_driver", "database_name", "database_host", "database_port")
LOCAL_HOSTS = {None, "", "127.0.0.1", "::1"}
MAX_PREFIX_EDITS = 2


def settings_warnings(settings: Settings) -> list[str]:
    """Return warnings about misspelled keys and keys without effect.

    Args:
        settings: The project's settings.
    """
    found = [
        f"{key.source}: unknown key {key.written} (did you mean {' or '.join(key.intended)}?)"
        for key in misspelled_keys(settings.project_dir)
    ]
    return [*found, *unused_server_settings(settings), *another_database(settings)]


class MisspelledKey(NamedTuple):
    """An unknown key that resembles known ones.

    Attributes:
        source: The file or the environment, for messages.
        written: The key as written.
        intended: The known keys that it may be a misspelling of.
    """

    source: str
    written: str
    intended: list[str]


def misspelled_keys(project: Path) -> list[MisspelledKey]:
    """Return the unknown keys that resemble a known one.

    Args:
        project: The directory of the settings files; unreadable files are skipped.
    """
    keys = sorted(set(Settings.model_fields) - {"project_dir"})
    found = []
    for where, written, key in written_keys(Settings, project):
        intended = (
            _with_misspelled_prefix(written, keys)
            if key is None
            else list(_intended_keys(key, tuple(keys)))
        )
        if intended:
            found.append(MisspelledKey(where, written, intended))
    return found


def refuse_accidental_sqlite(settings: Settings) -> None:
    """Refuse to create a SQLite file if the settings seem to describe a server.

    A new database with an administrator would look like success.

    Raises:
        ConfigurationError: ``database_driver`` is not set, but ``database_host`` or a
            misspelled driver is.
    """
    if "database_driver" in settings.model_fields_set or settings.database_url is not None:
        return
    keys = misspelled_keys(settings.project_dir)
    misspelled = next((key for key in keys if "database_driver" in key.intended), None)
    if not misspelled and "database_host" not in settings.model_fields_set:
        return
    file = sqlite_file(database_url(settings))
    if file is None or file.exists():
        return
    reason = (
        f"{misspelled.source}: unknown key {misspelled.written}"
        if misspelled
        else "database_host is set"
    )
    raise CONFIGURATION.with_context(
        f"{reason}, but without database_driver the new database would be the file {file}",
        hint="set database_driver to postgresql or sqlite",
    )


@lru_cache(1024)
def _intended_keys(key: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that a key may be a misspelling of; names within tables are free."""
    return () if key.partition(".")[0] in keys else tuple(find_misspellings(key, keys))


def _with_misspelled_prefix(variable: str, keys: list[str]) -> list[str]:
    """Return the intended name of a variable such as ``CLARINT_DATABASE_HOST``."""
    prefix, _, key = variable.partition("_")
    edits = edit_distance(f"{prefix}_", ENV_PREFIX, limit=MAX_PREFIX_EDITS)
    return [f"{ENV_PREFIX}{key}"] if edits <= MAX_PREFIX_EDITS and key.lower() in keys else []


def unused_server_settings(settings: Settings) -> Iterator[str]:
    """Yield a warning about server settings that have no effect with SQLite.

    Args:
        settings: The project's settings.
    """
    if settings.database_url is not None or not settings.database_driver.startswith("sqlite"):
        return
    named = "database_driver" in settings.model_fields_set
    unused = [
        key
        for key in SERVER_PARTS
        if key in settings.model_fields_set
        and not (named and getattr(settings, key) == Settings.model_fields[key].default)
    ]
    if unused:
        verb = "has" if len(unused) == 1 else "have"
        driver = "is sqlite" if named else "is not set, which means sqlite"
        yield f"{' and '.join(unused)} {verb} no effect: database_driver {driver}"


def another_database(settings: Settings) -> Iterator[str]:
    """Yield a warning if the server, which ignores ``database_url``, uses another database.

    Args:
        settings: The project's settings.
    """
    if settings.database_url is None or not settings.model_fields_set & set(PARTS):
        return
    try:
        parts, url = url_from_parts(settings), database_url(settings)
    except ClarinetError:  # the command itself reports it
        return
    if _identity(parts) != _identity(url):
        yield f"the server does not read database_url and uses {display_url(parts)}"


def _identity(url: URL) -> tuple[Optional[str], ...]:
    """Return the parts of a URL that identify a database, without the user."""
    if file := sqlite_file(url):
        return (str(file.resolve()),)
    servers = [
        Server("localhost" if host in LOCAL_HOSTS else host, port or DEFAULT_PORT)
        for host, port in url_servers(url)
    ]
    return (",".join(map(str, servers)), url.database)
