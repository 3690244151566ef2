"""Making a database ready, whatever its state: entry points that own the transactions."""

from collections.abc import Callable
from typing import Optional

from clarinet_cli.results import AccountChange, Step
from clarinet_cli.services.accounts.passwords import NewPassword, require_acceptable
from clarinet_cli.services.accounts.resolve import first_admin_email
from clarinet_cli.services.bootstrap import (
    database_exists,
    ensure_database,
    ensure_roles,
    wanted_roles,
)
from clarinet_cli.services.schema import (
    database_has_tables,
    ensure_schema,
    require_runnable,
    require_schema_order,
)
from clarinet_cli.services.settings_warnings import refuse_accidental_sqlite
from clarinet_cli.settings import Settings
from clarinet_cli.signals import SIGNALS
from clarinet_cli.utils.admin import Deliver, ensure_admin_exists, find_active_superuser
from clarinet_cli.utils.logger import logger


async def create_admin_user(
    settings: Optional[Settings] = None,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    deliver: Optional[Deliver] = None,
) -> AccountChange:
    """Make sure that a first superuser exists; repeating it changes nothing.

    Args:
        settings: Which database, and who the first administrator is; the project's settings
            by default.
        password: For a new account.
        dry_run: Change nothing, report what would be done.
        deliver: Shows a generated password before the commit; fails when it can't.

    Raises:
        InvalidInputError: A new account is needed and no password is given.
    """
    return await ensure_admin_exists(settings, password, dry_run=dry_run, deliver=deliver)


async def superuser_is_missing(settings: Settings) -> bool:
    """Return whether making the database ready needs a password for a first superuser."""
    if not settings.admin_auto_create:
        return False
    if not (await database_exists(settings) and await database_has_tables(settings)):
        return True
    return await find_active_superuser(settings) is None


async def initialise_database(
    settings: Settings,
    password: Optional[NewPassword] = None,
    *,
    dry_run: bool = False,
    schema_anyway: bool = False,
    progress: Optional[list[Step]] = None,
    deliver: Optional[Callable[[list[Step]], None]] = None,
) -> list[Step]:
    """Make the database ready: create it, migrate it, add roles and the first superuser.

    Each step is a transaction of its own, and each sees what is there already: after an
    interruption, running it again finishes the work.

    Args:
        settings: Which database; roles, and who the first administrator is.
        password: For the first superuser, if there is none.
        dry_run: Change nothing, report what would be done.
        schema_anyway: Make our tables also in the empty database of a project with
            migrations of another program.
        progress: Gets the steps that are done, for who interrupts the others.
        deliver: Shows the steps with a generated password before the last commit.

    Returns:
        One report a step, in order.

    Raises:
        ConfigurationError: A role's name or the administrator's address can't be used;
            nothing was created.
        InvalidInputError: The password breaks the policy, or none is given and one is
            needed.
        RefusedError: The migrations of another program come first, or the project's own
            would not be run; nothing was created.
    """
    _refuse_early(settings, password)
    if not schema_anyway:
        await require_schema_order(settings, creates=True)
    if not dry_run:
        await require_runnable(settings)
    steps = [] if progress is None else progress
    steps.append(await ensure_database(settings, dry_run=dry_run))
    SIGNALS.check_interrupted()
    if dry_run and steps[0].result != "unchanged":
        return steps + _steps_on_nothing(settings)
    steps.append(await ensure_schema(settings, dry_run=dry_run, schema_anyway=schema_anyway))
    SIGNALS.check_interrupted()
    if dry_run and steps[1].result == "would_create":
        return steps + _steps_on_nothing(settings)[1:]
    steps.append(await ensure_roles(settings, dry_run=dry_run))
    SIGNALS.check_interrupted()

    def show(change: AccountChange) -> None:
        if deliver is not None:
            deliver([*steps, _step_of(change)])

    steps.append(await _superuser(settings, password, show, dry_run=dry_run))
    for step in steps:
        logger.info(f"db init: {step.step}: {step.result}")
    return steps


def _refuse_early(settings: Settings, password: Optional[NewPassword]) -> None:
    """Refuse values that a later step would refuse, before anything is created."""
    refuse_accidental_sqlite(settings)
    wanted_roles(settings)
    if settings.admin_auto_create:
        email = first_admin_email(settings)
        if password is not None:
            require_acceptable(password, email, settings)


async def _superuser(
    settings: Settings, password: Optional[NewPassword], deliver: Deliver, *, dry_run: bool
) -> Step:
    if not settings.admin_auto_create:
        return Step("superuser", "unchanged", "admin_auto_create is off")
    return _step_of(await create_admin_user(settings, password, dry_run=dry_run, deliver=deliver))


def _step_of(change: AccountChange) -> Step:
    return Step("superuser", change.result, change.email, change.password)


def _steps_on_nothing(settings: Settings) -> list[Step]:
    """What the steps after the database would do on an empty one."""
    email = first_admin_email(settings)
    superuser = (
        Step("superuser", "would_create", email)
        if settings.admin_auto_create
        else Step("superuser", "unchanged", "admin_auto_create is off")
    )
    return [
        Step("schema", "would_create", "all revisions"),
        Step("roles", "would_create", ", ".join(wanted_roles(settings))),
        superuser,
    ]
