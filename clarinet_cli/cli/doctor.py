"""``clarinet doctor``: checks of a project, and repairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.options import DryRun, Output, Strict, Yes
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.types import CheckGroup

if TYPE_CHECKING:
    from clarinet_cli.results import Finding


async def doctor(
    runtime: Runtime,
    only: Annotated[
        Optional[list[CheckGroup]],
        typer.Option(
            "--only",
            metavar="GROUP",
            help=f"Only the checks of {', '.join(CheckGroup)}; repeatable.",
        ),
    ] = None,
    skip: Annotated[
        Optional[list[str]],
        typer.Option("--skip", metavar="CHECK", help="Skip this check; repeatable."),
    ] = None,
    list_checks: Annotated[
        bool, typer.Option("--list", help="List the checks instead of running them.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Make safe repairs: file modes, missing roles and indexes, stale sessions.",
        ),
    ] = False,
    strict: Strict = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Report problems with their consequences and remedies, and exit with 6 for an error.

    Checks configuration, connection, schema, accounts, sessions and space. Invalid settings
    and an unreachable database are findings too. 'db check' reads the rows themselves.

    Example: clarinet doctor
    """
    from clarinet_cli.cli.presentation import Presentation
    from clarinet_cli.cli.render import render_findings, render_list
    from clarinet_cli.results import CheckRow
    from clarinet_cli.services.checks import doctor

    checks = doctor.selected_checks(only or (), skip or ())
    if list_checks:
        names = {check.name for check in checks}
        rows = [row for row in doctor.list_checks() if row.check in names]
        render_list(runtime, rows, output, Presentation(CheckRow))
        return
    findings = await doctor.run_checks(runtime.project_directory, checks)
    if fix and await _repair(runtime, findings, yes=yes, dry_run=dry_run):
        findings = await doctor.run_checks(runtime.project_directory, checks)
    render_findings(runtime, findings, output, strict=strict)


async def _repair(
    runtime: Runtime, findings: "Sequence[Finding]", *, yes: bool, dry_run: bool
) -> bool:
    """Show the repairs, prompt, and make them; return whether any was made."""
    from clarinet_cli.cli.prompts import confirm
    from clarinet_cli.services.checks.check import DoctorContext
    from clarinet_cli.services.checks.repair import plan_repairs
    from clarinet_cli.services.unit_of_work import open_database

    async with open_database(runtime.settings, writes=True) as database:
        repairs = await plan_repairs(DoctorContext(runtime.project_directory, database), findings)
        for repair in repairs:
            runtime.writer.note(f"{'would ' if dry_run else ''}{repair.text} ({repair.check})")
        if dry_run or not repairs:
            return False
        await database.disconnect()
        noun = "repair" if len(repairs) == 1 else "repairs"
        confirm(runtime, f"Make {len(repairs)} {noun}?", yes=yes)
        for repair in repairs:
            await repair.run()
    return True
