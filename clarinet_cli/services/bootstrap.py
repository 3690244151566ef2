"""Initialise a database: create and migrate it, add roles and the first superuser. Idempotent."""

from collections.abc import Callable
from typing import Optional

from clarinet_cli.database.commits import run_uninterrupted
from clarinet_cli.database.session import database_exists, open_maintenance_connection
from clarinet_cli.database.sqlite import create_sqlite_file
from clarinet_cli.database.url import database_url, display_url, sqlite_file
from clarinet_cli.exceptions import BusyError, ConflictError
from clarinet_cli.repositories.roles import RoleRepository
from clarinet_cli.repositories.server import create_database
from clarinet_cli.results import AccountChange, Step
from clarinet_cli.services.accounts.first_superuser import (
    PasswordCallback,
    ensure_superuser,
    find_superuser,
)
from clarinet_cli.services.accounts.passwords import NewPassword, require_acceptable
from clarinet_cli.services.accounts.resolve import first_admin_email
from clarinet_cli.services.mapped import require_own_schema
from clarinet_cli.services.schema import (
    database_has_tables,
    ensure_schema,
    require_runnable,
    require_schema_order,
)
from clarinet_cli.services.settings_warnings import refuse_accidental_sqlite
from clarinet_cli.services.unit_of_work import (
    Access,
    Database,
    as_database,
    run_operation,
    unit_of_work,
)
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.types import UNCHANGED, planned_result
from clarinet_cli.utils.logger import logger

DEFAULT_ROLES = ("doctor", "auto", "admin", "expert", "ordinator")
ROLE_NAME_LENGTH = 50
NO_SUPERUSER = Step("superuser", UNCHANGED, "admin_auto_create is off")


async def superuser_is_missing(database: Database, *, admin_only: bool = False) -> bool:
    """Return whether ``initialise_database`` needs a password for a first superuser.

    Args:
        database: The database.
        admin_only: Only create the superuser; the tables must exist.

    Raises:
        StandbyError: The database must be created, but the server accepts no writes.
    """
    settings = database.settings
    if not settings.admin_auto_create:
        return False
    if not admin_only and not await database_exists(database):
        if sqlite_file(database_url(settings)) is None:
            async with open_maintenance_connection(settings):
                logger.debug("the server can create the database")
        return True
    if not admin_only and not await database_has_tables(database):
        return True
    return await run_operation(database, find_superuser) is None


async def initialise_database(
    database: Database,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    schema_anyway: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
    on_password: Optional[Callable[[list[Step]], None]] = None,
) -> list[Step]:
    """Initialise the database: create it, migrate it, add roles and the first superuser.

    Each step is a transaction of its own: after an interruption, running it again finishes
    the work. The migrations have connections of their own, for the lock and without foreign
    keys.

    Args:
        database: The database; its settings have the roles and the first administrator.
        password: For the first superuser, if there is none.
        dry_run: Change nothing, report what would be done.
        schema_anyway: Create the Clarinet tables also in the empty database of a project with
            migrations of another program.
        on_step: Called with each step that is done, to be reported after an interruption.
        on_password: Shows the steps with a generated password before the last commit.

    Returns:
        One report per step, in order.

    Raises:
        ConfigurationError: A role's name or the administrator's address cannot be used;
            nothing was created.
        InvalidInputError: The password breaks the policy, or none is given and one is
            needed.
        RefusedError: The schema is an application's, the migrations of another program come
            first, or the project's own would not be run; nothing was created.
    """
    settings = database.settings
    steps: list[Step] = []

    def add(step: Step) -> None:
        steps.append(step)
        on_step(step)

    def show(change: AccountChange) -> None:
        if on_password is not None:
            on_password([*steps, _to_step(change)])

    await _require_creatable(database, password, dry_run=dry_run, schema_anyway=schema_anyway)
    add(await ensure_database(database, dry_run=dry_run))
    SIGNALS.check_interrupted()
    if dry_run and steps[0].result != UNCHANGED:
        return steps + _steps_when_empty(settings)
    add(await ensure_schema(database, dry_run=dry_run, schema_anyway=schema_anyway))
    SIGNALS.check_interrupted()
    if dry_run and steps[1].result == planned_result("created"):
        return steps + _steps_when_empty(settings)[1:]
    add(await ensure_roles(database, dry_run=dry_run))
    SIGNALS.check_interrupted()
    add(await _superuser(database, password, show, dry_run=dry_run))
    for step in steps:
        logger.info(f"db init: {step.step}: {step.result}")
    return steps


async def _require_creatable(
    database: Database, password: Optional[NewPassword], *, dry_run: bool, schema_anyway: bool
) -> None:
    """Refuse what a later step would refuse, before anything is created."""
    settings = database.settings
    require_own_schema(settings)
    refuse_accidental_sqlite(settings)
    required_roles(settings)
    if settings.admin_auto_create:
        email = first_admin_email(settings)
        if password is not None:
            require_acceptable(password, email, settings)
    if not schema_anyway:
        await require_schema_order(database, creates=True)
    if not dry_run:
        await require_runnable(database)


async def initialise_superuser(
    database: Database,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    on_password: Optional[Callable[[list[Step]], None]] = None,
) -> list[Step]:
    """Add only the first superuser, to existing tables; see ``initialise_database``."""

    def show(change: AccountChange) -> None:
        if on_password is not None:
            on_password([_to_step(change)])

    return [await _superuser(database, password, show, dry_run=dry_run)]


async def _superuser(
    database: Database,
    password: Optional[NewPassword],
    on_password: PasswordCallback,
    *,
    dry_run: bool,
) -> Step:
    if not database.settings.admin_auto_create:
        return NO_SUPERUSER
    return _to_step(
        await ensure_superuser(database, password, dry_run=dry_run, on_password=on_password)
    )


def _to_step(change: AccountChange) -> Step:
    return Step("superuser", change.result, change.email, change.password)


def _steps_when_empty(settings: Settings) -> list[Step]:
    """Return what the steps after the first would do in an empty database."""
    would_create = planned_result("created")
    superuser = NO_SUPERUSER
    if settings.admin_auto_create:
        superuser = Step("superuser", would_create, first_admin_email(settings))
    return [
        Step("schema", would_create, "all revisions"),
        Step("roles", would_create, ", ".join(required_roles(settings))),
        superuser,
    ]


async def ensure_database(source: Settings | Database, *, dry_run: bool = False) -> Step:
    """Create the SQLite file or the PostgreSQL database if there is none.

    Args:
        source: The settings, which name the database, or a ``Database`` whose engine is used.
        dry_run: Change nothing, report what would be done.
    """
    async with as_database(source) as database:
        exists = await database_exists(database)
    settings = database.settings
    url = database_url(settings)
    file = sqlite_file(url)
    where = display_url(url)
    if exists:
        return Step("database", UNCHANGED, where)
    if dry_run:
        return Step("database", planned_result("created"), where)
    created = (
        create_sqlite_file(file) if file else await _create_on_server(settings, str(url.database))
    )
    return Step("database", "created" if created else UNCHANGED, where)


async def ensure_roles(database: Database, *, dry_run: bool = False) -> Step:
    """Create the roles of the server and of the settings that do not exist.

    It takes no lock for writing when there are none.

    Args:
        database: The database to change; ``extra_roles`` and the keys of ``role_capabilities`` are
            read.
        dry_run: Change nothing, report what would be done.
    """
    wanted = required_roles(database.settings)
    async with unit_of_work(database) as work:
        known = await RoleRepository(work.session).names()
    missing = [name for name in wanted if name not in known]
    if not missing:
        return Step("roles", UNCHANGED, f"{len(wanted)} present")
    async with unit_of_work(database, access=Access.WRITE, dry_run=dry_run) as work:
        await RoleRepository(work.session).add_missing(missing)
        work.record_change(None, "created", roles=len(missing))
    return Step("roles", work.result("created"), ", ".join(missing))


def required_roles(settings: Settings) -> list[str]:
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
    """Create a PostgreSQL database; return False when another process has done so."""
    try:
        async with open_maintenance_connection(settings) as connection:
            await run_uninterrupted(create_database(connection, name))
    except (ConflictError, BusyError):
        if await database_exists(settings):
            return False
        raise
    return True
