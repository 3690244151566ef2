"""The root of the command line: its options, and the commands without a group."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from clarinet_cli import __version__
from clarinet_cli.cli.commands import Command, LazyGroup, command
from clarinet_cli.cli.doctor import doctor
from clarinet_cli.cli.options import Color, DryRun, Force, NoInput, Output, Quiet, Verbose
from clarinet_cli.cli.parsers import parse_color
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.shells import install_completion, show_completion
from clarinet_cli.cli.writer import ColorMode
from clarinet_cli.exceptions import INVALID

PROJECT_VARIABLE = "CLARINET_PROJECT"

app = typer.Typer(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,  # Typer's scripts; see clarinet_cli.cli.shells
)


def _show_version(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        typer.echo(f"clarinet {__version__}")
        raise typer.Exit


def _repeat_in_hints(ctx: typer.Context, given: Path | str | None) -> Path | str | None:
    """Repeat the option in the commands that hints and notes advise: they need it too.

    A variable of the environment is still set for them.
    """
    source = getattr(ctx.get_parameter_source("project"), "name", "")
    if given and source == "COMMANDLINE" and not ctx.resilient_parsing:

        def repeat(text: str) -> str:
            from clarinet_cli.cli.hints import add_project

            return add_project(str(given), text)

        writer = ctx.ensure_object(Runtime).writer
        writer.rewrite = writer.rewrite_hint = repeat
    return given


def _directory(ctx: typer.Context, given: Path | str | None) -> Optional[Path]:
    if not given:
        return None
    path = Path(given)
    source = getattr(ctx.get_parameter_source("project"), "name", "")
    where = PROJECT_VARIABLE if source == "ENVIRONMENT" else "--project"
    try:
        found = path.is_dir()
    except OSError as error:
        raise INVALID.with_context(f"{where}: {path}: {error.strerror}") from error
    if not found:
        raise INVALID.with_context(f"{where}: directory {str(given)!r} does not exist")
    return path


@app.callback()
def root(
    ctx: typer.Context,
    project: Annotated[
        Optional[Path],
        typer.Option(
            "--project",
            "-C",
            metavar="DIR",
            envvar=PROJECT_VARIABLE,
            callback=_repeat_in_hints,
            help="The directory of settings.toml; SQLite names are relative to it.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorMode.AUTO,
    no_input: NoInput = False,
    audit_log: Annotated[
        Optional[Path],
        typer.Option(
            "--audit-log",
            metavar="FILE",
            help="Append a record of each change to this file. Default: audit_log from the "
            "settings.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            is_eager=True,
            callback=install_completion,
            help="Install completion for the current shell: bash, zsh or fish.",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            is_eager=True,
            callback=show_completion,
            help="Print the completion script of the current shell.",
        ),
    ] = False,
) -> None:
    """Administer the users, roles and sessions of a Clarinet database.

    Example: clarinet -C /srv/clarinet session stats
    """
    runtime = ctx.ensure_object(Runtime)
    runtime.writer.quiet = quiet
    runtime.writer.color = parse_color(color)
    runtime.project = _directory(ctx, project)
    runtime.verbosity = verbose or 0
    runtime.no_input = no_input
    runtime.audit_log = Path(audit_log) if audit_log else None


@command(app)
async def init_migrations(
    runtime: Runtime, force: Force = False, dry_run: DryRun = False, output: Output = None
) -> None:
    """Create an Alembic environment in the project directory ('migrate init').

    Example: clarinet init-migrations
    """
    from clarinet_cli.cli.migrate import init

    await init(runtime, force=force, dry_run=dry_run, output=output)


command(app)(doctor)


@app.command("help", cls=Command)
def show_help(
    ctx: typer.Context,
    topic: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="TOPIC", help="'exit-codes', or the words of a command."),
    ] = None,
    output: Output = None,
) -> Any:
    """Explain the exit codes or a command.

    Example: clarinet help exit-codes
    """
    if topic == ["exit-codes"]:
        from clarinet_cli.cli.presentation import Presentation
        from clarinet_cli.cli.render import render_list
        from clarinet_cli.exceptions import ExitCode
        from clarinet_cli.results import ExitCodeRow

        rows = [ExitCodeRow(code.value, code.meaning) for code in ExitCode]
        render_list(ctx.obj, rows, output, Presentation(ExitCodeRow))
        return None
    root_context = ctx.find_root()
    return root_context.command.main(
        args=[*(topic or ()), "--help"], prog_name="clarinet", standalone_mode=False
    )
