"""Commands that may need a password."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_emails, complete_roles
from clarinet_cli.cli.delivery import Delivery
from clarinet_cli.cli.groups import run
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.notes import report_change
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
from clarinet_cli.cli.prompts import PasswordOptions, required_password
from clarinet_cli.exceptions import INVALID


def create(
    email: Annotated[
        Optional[str],
        typer.Option(metavar="ADDRESS", help="The account's address.", show_default="admin_email"),
    ] = None,
    username: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="The name before @clarinet.ru, instead of an address."),
    ] = None,
    role: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="A further role; can be repeated.",
            autocompletion=complete_roles,
        ),
    ] = None,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Leave an existing account as it is.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make an existing account an administrator.")
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
    from clarinet_cli.cli.passwords import configured_password
    from clarinet_cli.services.accounts.queries import account_exists
    from clarinet_cli.services.accounts.resolve import admin_email
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import create_admin

    if if_not_exists and update:
        raise INVALID.with_context("--if-not-exists and --update exclude each other")
    settings, later = project_settings(), Settle(settle)
    options = PasswordOptions(password_stdin, password_file, generate_password)
    address = admin_email(settings, email=email, username=username)
    password = options.read()
    if not (dry_run or password) and not run(account_exists(settings, address)):
        configured = configured_password(settings, address)
        password = required_password(None, configured, address)
    delivery = Delivery(output)
    with delivery.checked():
        change = run(
            create_admin(
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
        )
    report_change(settings, change, output, later, shown=delivery.done, done=not dry_run)


def reset_password(
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
        bool, typer.Option("--any-user", help="Also for accounts that are not superusers.")
    ] = False,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Don't end the account's sessions.")
    ] = False,
    settle: SettleTime = SETTLE_SECONDS,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Set a new password and end the account's sessions.

    Example: clarinet admin reset-password ada@example.org --generate-password
    """
    from clarinet_cli.cli.passwords import configured_password
    from clarinet_cli.services.accounts.queries import check_resettable, settings_admin
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import reset_admin_password

    settings, later = project_settings(), Settle(settle)
    who = run(settings_admin(settings)) if user is None else user
    password = PasswordOptions(password_stdin, password_file, generate_password).read()
    account = run(check_resettable(settings, who, any_user=any_user))
    if not dry_run:
        configured = configured_password(settings, account.email)
        password = required_password(password, configured, account.email)
    delivery = Delivery(output)
    with delivery.checked():
        change = run(
            reset_admin_password(
                settings,
                str(account.id),
                password,
                any_user=any_user,
                keep_sessions=keep_sessions,
                dry_run=dry_run,
                settle=later,
                deliver=delivery,
            )
        )
    report_change(settings, change, output, later, shown=delivery.done, done=not dry_run)


def ensure(
    settle: SettleTime = SETTLE_SECONDS,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Make sure that an active superuser exists; create the one of the settings if not.

    Example: clarinet admin ensure --generate-password
    """
    from clarinet_cli.cli.passwords import configured_password
    from clarinet_cli.services.accounts.resolve import first_admin_email
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.utils.admin import (
        ensure_admin_exists,
        find_active_superuser,
    )

    settings, later = project_settings(), Settle(settle)
    password = PasswordOptions(password_stdin, password_file, generate_password).read()
    if not (dry_run or password or run(find_active_superuser(settings))):
        email = first_admin_email(settings)
        password = required_password(None, configured_password(settings, email), email)
    delivery = Delivery(output)
    work = ensure_admin_exists(settings, password, dry_run=dry_run, settle=later, deliver=delivery)
    with delivery.checked():
        change = run(work)
    report_change(settings, change, output, later, shown=delivery.done, done=not dry_run)
