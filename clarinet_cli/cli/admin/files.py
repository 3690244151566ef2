"""Commands that write accounts to a file and bring a file's accounts to the database."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from clarinet_cli.cli.delivery import Delivery
from clarinet_cli.cli.groups import run
from clarinet_cli.cli.inputs import FILE_LIMIT, read_limited
from clarinet_cli.cli.invocation import project_settings
from clarinet_cli.cli.notes import report_changes
from clarinet_cli.cli.options import SETTLE_SECONDS, DryRun, GeneratePassword, Output, SettleTime
from clarinet_cli.cli.output import Listing, note, render, render_stream
from clarinet_cli.cli.progress import progress
from clarinet_cli.exceptions import INVALID, NOT_FOUND
from clarinet_cli.types import OutputFormat

STDIN = "-"
APPLIED_COLUMNS = ("mark", "email", "changes", "sessions_revoked", "password")


def export(output: Output = OutputFormat.JSON) -> None:
    """Write all accounts, without secrets, as 'admin apply' reads them.

    The format is JSON unless -o says otherwise.

    Example: clarinet admin export -o csv
    """
    from clarinet_cli.results import DeclaredAccount
    from clarinet_cli.services.accounts.queries import stream_declared

    listing = Listing(DeclaredAccount, empty="no accounts")
    run(render_stream(stream_declared(project_settings()), output, listing))


def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file, or - for standard input.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Deactivate the accounts that are not in the file.")
    ] = False,
    generate_password: GeneratePassword = False,
    settle: SettleTime = SETTLE_SECONDS,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Make the accounts what a file says of them, all or nothing.

    JSON or CSV as 'admin export' writes it: email, is_active, is_superuser, is_verified,
    roles; what is left out stays as it is. For new accounts also password: 'generate', or a
    prepared argon2 or bcrypt hash; the password of an existing account is not touched.
    + created, ~ updated, = unchanged.

    Example: clarinet admin apply accounts.json --dry-run
    """
    from clarinet_cli.results import AppliedAccount
    from clarinet_cli.services.accounts.apply import ApplyPlan, apply_accounts
    from clarinet_cli.services.accounts.file import read_accounts
    from clarinet_cli.services.sessions.settle import Settle

    settings, later = project_settings(), Settle(settle)
    name = "standard input" if file == STDIN else file
    declared = read_accounts(_content(file), name)
    plan = ApplyPlan(generate=generate_password, prune=prune, dry_run=dry_run)

    listing = Listing(AppliedAccount, APPLIED_COLUMNS, "no accounts in the file")
    delivery = None if dry_run else Delivery(output, listing)

    def show(rows: list[AppliedAccount]) -> None:
        if delivery is None or not delivery.done:
            render(rows, output, listing, done=not dry_run)
        counts = [sum(row.mark == mark for row in rows) for mark in "+~="]
        note("{} created, {} updated, {} unchanged{}".format(*counts, " (dry run)" * dry_run))

    with (
        nullcontext() if delivery is None else delivery.checked(),
        progress("hashing passwords") as tell,
    ):
        rows = run(
            apply_accounts(settings, declared, plan, progress=tell, settle=later, deliver=delivery)
        )
    shown = delivery is not None and delivery.done
    report_changes(settings, rows, later, show, shown=shown)


def _content(file: str) -> bytes:
    if file == STDIN:
        return read_limited(sys.stdin.buffer, FILE_LIMIT, "standard input")
    try:
        with Path(file).open("rb") as stream:
            return read_limited(stream, FILE_LIMIT, file)
    except FileNotFoundError:
        raise NOT_FOUND.with_context(f"no file {file}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a file"
        raise INVALID.with_context(f"can't read {file!r}: {reason}") from error
