"""The steps that make a database ready; each is harmless when repeated."""

from clarinet_cli.database.commits import until_done
from clarinet_cli.database.session import get_async_session, open_maintenance_connection
from clarinet_cli.database.url import create_sqlite_file, database_url, display_url, sqlite_file
from clarinet_cli.exceptions import (
    BusyError,
    ConflictError,
    UnknownDatabaseError,
)
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import ServerRepository, create_database
from clarinet_cli.results import Step
from clarinet_cli.services.audit import audited_session
from clarinet_cli.settings import Settings

DEFAULT_ROLES = ("doctor", "auto", "admin", "expert", "ordinator")
ROLE_NAME_LENGTH = 50


async def database_exists(settings: Settings) -> bool:
    """Return whether there is a database to connect to.

    Raises:
        UnreachableError: The server can't be reached or refuses the log-in.
    """
    file = sqlite_file(database_url(settings))
    if file is not None:
        return file.exists()
    try:
        async with get_async_session(settings, any_tables=True) as session:
            await ServerRepository(session).ping()
    except UnknownDatabaseError:
        return False
    return True


async def ensure_database(settings: Settings, *, dry_run: bool = False) -> Step:
    """Create the SQLite file or the PostgreSQL database if there is none.

    Args:
        settings: Which database.
        dry_run: Change nothing, report what would be done.
    """
    url = database_url(settings)
    file = sqlite_file(url)
    where = display_url(url)
    if await database_exists(settings):
        return Step("database", "unchanged", where)
    if dry_run:
        return Step("database", "would_create", where)
    created = (
        create_sqlite_file(file) if file else await _create_on_server(settings, str(url.database))
    )
    return Step("database", "created" if created else "unchanged", where)


async def ensure_roles(settings: Settings, *, dry_run: bool = False) -> Step:
    """Create the roles of the server and of the settings that do not exist.

    Args:
        settings: Which database; ``extra_roles`` and the keys of ``role_capabilities``.
        dry_run: Change nothing, report what would be done.
    """
    wanted = wanted_roles(settings)
    async with get_async_session(settings) as session:
        known = await RoleRepository(session).names()
    missing = [name for name in wanted if name not in known]
    if not missing:
        return Step("roles", "unchanged", f"{len(wanted)} present")
    async with audited_session(settings, dry_run=dry_run) as (session, trail):
        await RoleRepository(session).add_missing(missing)
        trail.add(None, "created", roles=len(missing))
    return Step("roles", "would_create" if dry_run else "created", ", ".join(missing))


def wanted_roles(settings: Settings) -> list[str]:
    """Return the roles that a database needs: the server's own, then those of the settings.

    Raises:
        ConfigurationError: A name is empty or too long for its column.
    """
    names = dict.fromkeys((*DEFAULT_ROLES, *settings.extra_roles, *settings.role_capabilities))
    for name in names:
        if not name.strip() or len(name) > ROLE_NAME_LENGTH:
            key = "extra_roles" if name in settings.extra_roles else "role_capabilities"
            reason = f"{name!r} is not a role name of 1 to {ROLE_NAME_LENGTH} characters"
            raise settings.error_for(key, reason)
    return list(names)


async def _create_on_server(settings: Settings, name: str) -> bool:
    """Create a PostgreSQL database; another process may have been faster."""
    try:
        async with open_maintenance_connection(settings) as connection:
            await until_done(create_database(connection, name))
    except (ConflictError, BusyError):
        if await database_exists(settings):
            return False
        raise
    return True
