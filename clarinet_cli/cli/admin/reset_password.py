"""The command that sets a new password."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.admin.report import run_password_operation
from clarinet_cli.cli.completion import complete_emails
from clarinet_cli.cli.options import (
    SETTLE_TIME,
    USER_HELP,
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


async def reset_password(
    runtime: Runtime,
    user: Annotated[
        Optional[str],
        typer.Argument(
            metavar="USER",
            help=f"{USER_HELP} Default: admin_email from the settings.",
            autocompletion=complete_emails,
        ),
    ] = None,
    username: Annotated[
        Optional[str], typer.Option(metavar="NAME", help="The former form of USER.", hidden=True)
    ] = None,
    any_user: Annotated[
        bool, typer.Option("--any-user", help="Allow accounts that are not superusers.")
    ] = False,
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Do not revoke the account's sessions.")
    ] = False,
    settle: SettleTime = SETTLE_TIME,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    generate_password: GeneratePassword = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Set a new password and revoke the account's sessions.

    Example: clarinet admin reset-password ada@example.org --generate-password
    """
    from clarinet_cli.services.accounts import changes
    from clarinet_cli.services.accounts.hashes import prepare_password
    from clarinet_cli.services.accounts.queries import resettable_account
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import open_database, unit_of_work
    from clarinet_cli.settings import username_to_email

    settings, logins = runtime.settings, ConcurrentLogins(settle)
    display = PasswordOutput(runtime, output)
    if username is not None:
        if user is not None:
            raise INVALID.with_context("USER and --username cannot be used together")
        own = settings.capabilities.own_schema
        user = username_to_email(username) if own else username
        runtime.writer.note(f"--username is now USER: use 'clarinet admin reset-password {user}'")
    password = PasswordOptions(password_stdin, password_file, generate_password).read(runtime)
    async with open_database(settings, writes=True) as database:
        async with unit_of_work(database) as work:
            account = await resettable_account(work, user, any_user=any_user)
        if not dry_run:
            await database.disconnect()
            password = resolve_password(runtime, password, account.email)
        prepared = prepare_password(password, account.email, settings, dry_run=dry_run)
        await run_password_operation(
            runtime,
            database,
            lambda work: changes.reset_password(
                work, str(account.id), prepared, any_user=any_user, keep_sessions=keep_sessions
            ),
            display,
            output,
            logins,
            dry_run=dry_run,
            outcome={"password": "changed"},
        )
