"""Commands that may set a password."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.admin.changes import report_change
from clarinet_cli.cli.completion import complete_emails, complete_roles
from clarinet_cli.cli.options import (
    SETTLE_SECONDS,
    USER_HELP,
    DryRun,
    GeneratePassword,
    Output,
    PasswordFile,
    PasswordStdin,
    SettleTime,
)
from clarinet_cli.cli.passwords import Delivery, PasswordOptions, require_password
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import INVALID


async def create(
    runtime: Runtime,
    email: Annotated[
        Optional[str],
        typer.Option(
            metavar="ADDRESS", help="The address of the account.", show_default="admin_email"
        ),
    ] = None,
    username: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="The name before @clarinet.ru, instead of --email."),
    ] = None,
    role: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="An additional role; repeatable.",
            autocompletion=complete_roles,
        ),
    ] = None,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Don't change an existing account.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make an existing account an active superuser.")
    ] = False,
    settle: SettleTime = SETTLE_SECONDS,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create a superuser with the role admin.

    Example: clarinet admin create --email ada@example.org --generate-password
    """
    from clarinet_cli.services.accounts.queries import account_exists
    from clarinet_cli.services.accounts.resolve import admin_email
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import create_admin

    if if_not_exists and update:
        raise INVALID.with_context("--if-not-exists and --update exclude each other")
    settings, later = runtime.settings, Settle(settle)
    options = PasswordOptions(password_stdin, password_file, generate_password)
    address = admin_email(settings, email=email, username=username)
    password = options.read(runtime)
    if not (dry_run or password) and not await account_exists(settings, address):
        password = require_password(runtime, None, address)
    delivery = Delivery(runtime, output)
    with delivery.checked():
        change = await create_admin(
            settings,
            address,
            password,
            roles=role or (),
            update=update,
            if_not_exists=if_not_exists,
            dry_run=dry_run,
            settle=later,
            deliver=delivery,
        )
    await report_change(runtime, change, output, later, shown=delivery.done, changed=not dry_run)


async def reset_password(
    runtime: Runtime,
    user: Annotated[
        Optional[str],
        typer.Argument(
            metavar="USER",
            help=USER_HELP,
            show_default="admin_email",
            autocompletion=complete_emails,
        ),
    ] = None,
    any_user: Annotated[
        bool, typer.Option("--any-user", help="Allow accounts that are not superusers.")
    ] = False,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Don't revoke the account's sessions.")
    ] = False,
    settle: SettleTime = SETTLE_SECONDS,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Set a new password and revoke the account's sessions.

    Example: clarinet admin reset-password ada@example.org --generate-password
    """
    from clarinet_cli.services.accounts.queries import check_resettable, settings_admin
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import reset_admin_password

    settings, later = runtime.settings, Settle(settle)
    who = await settings_admin(settings) if user is None else user
    password = PasswordOptions(password_stdin, password_file, generate_password).read(runtime)
    account = await check_resettable(settings, who, any_user=any_user)
    if not dry_run:
        password = require_password(runtime, password, account.email)
    delivery = Delivery(runtime, output)
    with delivery.checked():
        change = await reset_admin_password(
            settings,
            str(account.id),
            password,
            any_user=any_user,
            keep_sessions=keep_sessions,
            dry_run=dry_run,
            settle=later,
            deliver=delivery,
        )
    await report_change(runtime, change, output, later, shown=delivery.done, changed=not dry_run)


async def ensure(
    runtime: Runtime,
    settle: SettleTime = SETTLE_SECONDS,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create the superuser of the settings, unless an active superuser exists.

    Example: clarinet admin ensure --generate-password
    """
    from clarinet_cli.services.accounts.resolve import first_admin_email
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import ensure_admin_exists, find_active_superuser

    settings, later = runtime.settings, Settle(settle)
    password = PasswordOptions(password_stdin, password_file, generate_password).read(runtime)
    if not (dry_run or password or await find_active_superuser(settings)):
        password = require_password(runtime, None, first_admin_email(settings))
    delivery = Delivery(runtime, output)
    with delivery.checked():
        change = await ensure_admin_exists(
            settings, password, dry_run=dry_run, settle=later, deliver=delivery
        )
    await report_change(runtime, change, output, later, shown=delivery.done, changed=not dry_run)
