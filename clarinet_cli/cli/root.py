"""The root of the command line and its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from clarinet_cli import __version__
from clarinet_cli.cli.groups import LazyGroup
from clarinet_cli.cli.invocation import ColorMode, Invocation, use
from clarinet_cli.cli.options import DryRun, Output
from clarinet_cli.exceptions import INVALID

PROJECT_VARIABLE = "CLARINET_PROJECT"

app = typer.Typer(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"clarinet {__version__}")
        raise typer.Exit


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
        raise INVALID.with_context(f"{where}: there is no directory {str(given)!r}")
    return path


def _color_mode(given: str) -> ColorMode:
    if given not in list(ColorMode):
        raise INVALID.with_context(f"--color: {given!r} is not one of {', '.join(ColorMode)}")
    return ColorMode(given)


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
            help="The directory of settings.toml; SQLite names are relative to it.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Nothing on success, one line on failure."),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Log more; twice for debugging."),
    ] = 0,
    color: Annotated[ColorMode, typer.Option(help="When to colour.")] = ColorMode.AUTO,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never prompt.")] = False,
    audit_log: Annotated[
        Optional[Path],
        typer.Option(
            "--audit-log",
            metavar="FILE",
            help="Append a record of each change to this file.",
            show_default="audit_log",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    """Administer the users, roles and log-in sessions of a Clarinet database."""
    use(
        Invocation(
            project=_directory(ctx, project),
            verbosity=verbose or 0,
            quiet=quiet,
            color=_color_mode(color),
            no_input=no_input,
            audit_log=Path(audit_log) if audit_log else None,
        )
    )


@app.command("init-migrations")
def init_migrations(
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Put an Alembic environment into the project directory ('migrate init')."""
    from clarinet_cli.cli.migrate import init

    init(force=force, dry_run=dry_run, output=output)


@app.command("help")
def show_help(
    ctx: typer.Context,
    topic: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="TOPIC", help="'exit-codes', or the words of a command."),
    ] = None,
    output: Output = None,
) -> None:
    """Explain the exit codes or a command."""
    if topic == ["exit-codes"]:
        from clarinet_cli.cli.output import Listing, render
        from clarinet_cli.exceptions import ExitCode
        from clarinet_cli.results import ExitCodeRow

        rows = [ExitCodeRow(code.value, code.meaning) for code in ExitCode]
        render(rows, output, Listing(ExitCodeRow))
        return
    root_context = ctx.find_root()
    raise typer.Exit(
        root_context.command.main(
            args=[*(topic or ()), "--help"], prog_name="clarinet", standalone_mode=False
        )
    )
