"""``clarinet config``: the settings, also when they are invalid."""

from typing import Annotated, Optional

import typer

from clarinet_cli.cli.commands import command, group
from clarinet_cli.cli.options import Output, Strict
from clarinet_cli.cli.presentation import Presentation
from clarinet_cli.cli.render import render_findings, render_list
from clarinet_cli.cli.runtime import Runtime

app = group("config")


@command(app)
async def show(
    runtime: Runtime,
    keys: Annotated[
        Optional[list[str]], typer.Argument(metavar="KEY", help="Only these settings.")
    ] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are set.")] = False,
    output: Output = None,
) -> None:
    """Show each setting with its value and the source of it.

    A secret is shown as ****. An invalid value is shown as written, with the reason; a file
    that cannot be read is skipped with a warning.

    Example: clarinet config show --changed
    """
    from clarinet_cli.results import SettingRow
    from clarinet_cli.services.configuration import show_settings, unreadable_files

    project = runtime.project_directory
    rows = show_settings(project, keys or (), changed=changed)
    for finding in unreadable_files(project):
        runtime.writer.warn(finding.detail)
    render_list(
        runtime, rows, output, Presentation(SettingRow, empty="every setting is the default")
    )


@command(app)
async def check(runtime: Runtime, strict: Strict = False, output: Output = None) -> None:
    """Check the settings, and exit with 6 when something is wrong.

    Reports unreadable files, misspelled keys, values that are invalid, contradict each other or
    are overridden, and files that other users can write. No connection is made.

    Example: clarinet config check
    """
    from clarinet_cli.services.configuration import check_settings

    render_findings(runtime, check_settings(runtime.project_directory), output, strict=strict)


@command(app)
async def path(runtime: Runtime, output: Output = None) -> None:
    """Show the settings files, highest precedence first, and whether they exist.

    Environment variables override all files.

    Example: clarinet config path
    """
    from clarinet_cli.results import SettingsFile
    from clarinet_cli.services.configuration import list_settings_files

    files = list_settings_files(runtime.project_directory)
    render_list(runtime, files, output, Presentation(SettingsFile))
