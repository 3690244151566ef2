"""``clarinet db inspect``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, cast

import typer

from clarinet_cli.cli.options import Output
from clarinet_cli.cli.prompts import interactive, prompt
from clarinet_cli.cli.render import render
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.types import OutputFormat

if TYPE_CHECKING:
    from clarinet_cli.mapping import Lifetime, SessionStrategy
    from clarinet_cli.services.inspection import Proposal

STRATEGIES = ("database", "jwt", "redis")


async def inspect(
    runtime: Runtime,
    write: Annotated[
        bool, typer.Option("--write", help="Put the mapping into settings.toml.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace another mapping, or write another user's file."),
    ] = False,
    output: Output = None,
) -> None:
    """Propose how the tables of an application are mapped, from the catalogue alone.

    For an application that uses fastapi-users over SQLAlchemy. What no catalogue shows is
    prompted for; in a script CLARINET_SESSION_STRATEGY and CLARINET_SESSION_LIFETIME_SECONDS
    answer. With --write all of it has to be known, else the command is refused.

    Example: clarinet db inspect
    """
    from clarinet_cli.services.inspection import describe, inspect_database, write_proposal
    from clarinet_cli.services.unit_of_work import run_operation

    settings = runtime.settings
    proposal = await run_operation(settings, inspect_database, check_tables=False)
    if interactive(runtime) and proposal.values:
        proposal = _prompt_for_rest(runtime, proposal)
    result = write_proposal(settings, proposal, force=force) if write else describe(proposal)
    if output in (None, OutputFormat.TABLE):
        render(runtime, replace(result, settings=None), output, changed=write)
        if not runtime.writer.quiet and result.settings:
            runtime.writer.write([f"\n{result.settings}\n"], data=False)
    else:
        render(runtime, result, output, changed=write)


def _prompt_for_rest(runtime: Runtime, proposal: "Proposal") -> "Proposal":
    """Prompt for what no catalogue shows."""
    if proposal.lacks_strategy:
        answer = prompt(
            runtime, "Where does the application keep its sessions?", choices=STRATEGIES
        )
        proposal = proposal.with_answers(cast("SessionStrategy", answer))
    if proposal.lacks_lifetime:
        proposal = proposal.with_answers(None, _lifetime(runtime))
    return proposal


def _lifetime(runtime: Runtime) -> "Lifetime":
    question = "How many seconds does a session last (lifetime_seconds), or none?"
    while True:
        typed = prompt(runtime, question).strip().lower()
        if typed == "none":
            return "none"
        if typed.isdecimal() and int(typed):
            return int(typed)
        runtime.writer.note(f"{typed!r} is neither a number above 0 nor none")
