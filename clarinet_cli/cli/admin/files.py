"""Commands that export accounts to a file and apply a file's accounts to the database."""

from contextlib import nullcontext
from typing import Annotated

import typer

from clarinet_cli.cli.admin.report import report_changes
from clarinet_cli.cli.options import SETTLE_TIME, DryRun, GeneratePassword, Output, SettleTime
from clarinet_cli.cli.passwords import PasswordOutput
from clarinet_cli.cli.presentation import Presentation
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import read_file
from clarinet_cli.cli.render import render_list, render_rows
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.types import STDIO, OutputFormat

APPLIED_COLUMNS = ("mark", "email", "changes", "sessions_revoked", "password")


async def export(runtime: Runtime, output: Output = OutputFormat.JSON) -> None:
    """Export all accounts, without secrets, in the format of 'admin apply'.

    The format is JSON unless -o says otherwise.

    Example: clarinet admin export -o csv
    """
    from clarinet_cli.results import DeclaredAccount
    from clarinet_cli.services.accounts.queries import stream_declared

    presentation = Presentation(DeclaredAccount, empty="no accounts")
    await render_rows(runtime, stream_declared(runtime.settings), output, presentation)


async def apply(
    runtime: Runtime,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file, or - for standard input.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Deactivate the accounts that are not in the file.")
    ] = False,
    generate_password: GeneratePassword = False,
    settle: SettleTime = SETTLE_TIME,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Apply an accounts file atomically.

    JSON or CSV as 'admin export' writes it: email, is_active, is_superuser, is_verified,
    roles; omitted fields are not changed. For new accounts also password: 'generate', or an
    argon2 or bcrypt hash; the password of an existing account is not changed.
    + created, ~ updated, = unchanged.

    Example: clarinet admin apply accounts.json --dry-run
    """
    from clarinet_cli.results import AppliedAccount
    from clarinet_cli.services.accounts.apply import ApplyPlan, apply_accounts
    from clarinet_cli.services.accounts.file import RowErrors, read_accounts
    from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
    from clarinet_cli.services.unit_of_work import open_database

    logins = ConcurrentLogins(settle)
    errors = RowErrors()
    source = "standard input" if file == STDIO else file
    declared = read_accounts(read_file(file), source, errors)
    plan = ApplyPlan(generate=generate_password, prune=prune, dry_run=dry_run)

    presentation = Presentation(
        AppliedAccount,
        APPLIED_COLUMNS,
        empty="no accounts in the file",
        complete=True,
        titles={"sessions_revoked": "would revoke"} if dry_run else {},
    )
    display = None if dry_run else PasswordOutput(runtime, output, presentation)

    def show(rows: list[AppliedAccount]) -> None:
        if display is None or not display.shown:
            render_list(runtime, rows, output, presentation, changed=not dry_run)
        counts = [sum(row.mark == mark for row in rows) for mark in "+~="]
        runtime.writer.note(
            "{} created, {} updated, {} unchanged{}".format(*counts, " (dry run)" * dry_run)
        )

    async with open_database(runtime.settings, writes=True) as database:
        with (
            nullcontext() if display is None else display.warn_if_rolled_back(),
            progress(runtime, "comparing accounts") as update,
        ):

            def show_passwords(reports: list[AppliedAccount]) -> None:
                update.stop()
                if display is not None:
                    display(reports)

            rows = await apply_accounts(
                database,
                declared,
                plan,
                errors=errors,
                progress=update,
                concurrent_logins=logins,
                on_password=show_passwords,
            )
        shown = display is not None and display.shown
        await report_changes(runtime, database, rows, logins, show, shown=shown)
