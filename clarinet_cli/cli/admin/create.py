"""Commands that create accounts."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.admin.report import report_change, run_password_operation
from clarinet_cli.cli.completion import complete_roles
from clarinet_cli.cli.options import (
    SETTLE_TIME,
    DryRun,
    GeneratePassword,
    Output,
    PasswordFile,
    PasswordStdin,
    SettleTime,
)
from clarinet_cli.cli.passwords import PasswordOptions, PasswordOutput, resolve_password
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import INVALID


async def create(
    runtime: Runtime,
    address: Annotated[
        Optional[str],
        typer.Argument(
            metavar="USER",
            help="The e-mail address of the account. Default: admin_email from the settings.",
        ),
    ] = None,
    email: Annotated[
        Optional[str],
        typer.Option(metavar="ADDRESS", help="The same as USER."),
    ] = None,
    username: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="The former form of USER.", hidden=True),
    ] = None,
    role: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="A role in addition to 'admin'; with --regular, instead of it. Repeatable.",
            autocompletion=complete_roles,
        ),
    ] = None,
    regular: Annotated[
        bool,
        typer.Option(
            "--regular", help="Create a regular account, with only the roles given by --role."
        ),
    ] = False,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Do not change an existing account.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make an existing account an active superuser.")
    ] = False,
    settle: SettleTime = SETTLE_TIME,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create a superuser with the role admin, or a regular account.

    Example: clarinet admin create ada@example.org --generate-password
    """
    from clarinet_cli.services.accounts.changes import create_account
    from clarinet_cli.services.accounts.hashes import prepare_password
    from clarinet_cli.services.accounts.queries import account_exists
    from clarinet_cli.services.accounts.resolve import admin_email
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import open_database, unit_of_work

    if if_not_exists and update:
        raise INVALID.with_context("--if-not-exists and --update cannot be used together")
    if regular and update:
        raise INVALID.with_context(
            "--regular and --update cannot be used together",
            hint="'clarinet admin demote USER' makes a superuser a regular account",
        )
    settings, logins, display = (
        runtime.settings,
        ConcurrentLogins(settle),
        PasswordOutput(runtime, output),
    )
    if email is not None and username is not None and "@" not in username:
        runtime.writer.note(f"accounts have no user names: use 'clarinet admin create {email}'")
        username = None
    address = admin_email(settings, address=address, email=email, username=username)
    if username is not None:
        runtime.writer.note(f"--username is now USER: use 'clarinet admin create {address}'")
    password = PasswordOptions(password_stdin, password_file, generate_password).read(runtime)
    async with open_database(settings, writes=True) as database:
        if not (dry_run or password):
            async with unit_of_work(database) as work:
                exists = await account_exists(work, address)
            await database.disconnect()
            password = None if exists else resolve_password(runtime, None, address)
        prepared = prepare_password(password, address, settings, dry_run=dry_run)
        await run_password_operation(
            runtime,
            database,
            lambda work: create_account(
                work,
                address,
                prepared,
                roles=role or (),
                superuser=not regular,
                update=update,
                if_not_exists=if_not_exists,
            ),
            display,
            output,
            logins,
            dry_run=dry_run,
        )


async def ensure(
    runtime: Runtime,
    settle: SettleTime = SETTLE_TIME,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create the superuser named in the settings, unless an active superuser exists.

    Example: clarinet admin ensure --generate-password
    """
    from clarinet_cli.services.accounts.first_superuser import ensure_superuser, find_superuser
    from clarinet_cli.services.accounts.resolve import first_admin_email
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import open_database, run_operation

    settings, logins = runtime.settings, ConcurrentLogins(settle)
    display = PasswordOutput(runtime, output)
    password = PasswordOptions(password_stdin, password_file, generate_password).read(runtime)
    async with open_database(settings, writes=True) as database:
        found = None
        if not (dry_run or password):
            found = await run_operation(database, find_superuser)
        if not (dry_run or password or found):
            await database.disconnect()
            password = resolve_password(runtime, None, first_admin_email(settings))
        with display.warn_if_rolled_back():
            change = await ensure_superuser(
                database, password, dry_run=dry_run, on_password=display, concurrent_logins=logins
            )
        await report_change(
            runtime, database, change, output, logins, shown=display.shown, changed=not dry_run
        )
