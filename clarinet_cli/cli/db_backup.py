"""``clarinet db backup`` and ``clarinet db restore``."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from clarinet_cli.cli.options import Output
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import INVALID, REFUSED

STANDARD_OUTPUT = "-"
AccountsOnly = Annotated[
    bool,
    typer.Option(
        "--accounts-only", help="Our four tables alone: a portable copy of who may log in."
    ),
]


async def backup(
    runtime: Runtime,
    file: Annotated[
        Optional[Path],
        typer.Argument(metavar="[FILE]", help="The file to write, or - for standard output."),
    ] = None,
    directory: Annotated[
        Optional[Path],
        typer.Option(
            "--directory", metavar="DIR", help="Write a file with the time in its name there."
        ),
    ] = None,
    keep: Annotated[
        Optional[int],
        typer.Option(
            "--keep", metavar="N", min=1, help="Then remove the oldest of those files beyond N."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    accounts_only: AccountsOnly = False,
    compress: Annotated[
        Optional[str],
        typer.Option(
            "--compress",
            metavar="METHOD[:LEVEL]",
            help="PostgreSQL: how to compress, as pg_dump takes it.",
        ),
    ] = None,
    quick_check: Annotated[
        bool,
        typer.Option(
            "--quick-check",
            help="SQLite: verify the structure, and not each row by each index.",
        ),
    ] = False,
    output: Output = None,
) -> None:
    """Write a verified backup of the database, while others go on using it.

    SQLite: a SQLite file of one moment. PostgreSQL: an archive of pg_dump. The file has mode
    0600, and is there only when it is whole and has been read back.

    Example: clarinet db backup --directory backups --keep 14
    """
    from clarinet_cli.services.backup.make import BackupPlan, back_up

    settings = runtime.settings
    _require_one_target(file, directory, keep)
    to_stdout = file is not None and str(file) == STANDARD_OUTPUT
    plan = BackupPlan(
        file=None if to_stdout else file,
        directory=directory,
        keep=keep,
        replace=force,
        accounts_only=accounts_only,
        compress=compress,
        quick=quick_check,
    )
    with progress(runtime, "backup") as update:
        report = await back_up(settings, plan, progress=update)
    if report.lock_seconds:
        runtime.writer.note(
            "rollback journal: commits of others may have waited up to "
            f"{report.lock_seconds:.2f} s; in WAL mode none waits"
        )
    if report.dangling_references:
        runtime.writer.note(
            f"{report.dangling_references} rows refer to rows that do not exist, in the "
            "database as in the backup"
        )
    if not to_stdout:
        render(runtime, report, output, changed=True)


def _require_one_target(
    file: Optional[Path], directory: Optional[Path], keep: Optional[int]
) -> None:
    if (file is None) == (directory is None):
        raise INVALID.with_context(
            "give FILE or --directory, and not both", hint="'-' is standard output, for a pipe"
        )
    if keep is not None and directory is None:
        raise INVALID.with_context("--keep needs --directory")
    if str(file) == STANDARD_OUTPUT and sys.stdout.isatty():
        raise REFUSED.with_context(
            "a backup is not written to a terminal", hint="name a FILE, or a pipe behind it"
        )
