"""Commands that examine the database: status, wait, check and inspect."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from clarinet_cli.cli.formats import as_fields
from clarinet_cli.cli.options import Output, Seconds, Strict, Watch
from clarinet_cli.cli.parsers import parse_duration
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import interactive, prompt
from clarinet_cli.cli.render import TABLE_FORMATS, render, render_findings
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.cli.tables import rich_record
from clarinet_cli.cli.views import field_changes
from clarinet_cli.types import Readiness

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clarinet_cli.cli.charts import Canvas
    from clarinet_cli.mapping import Lifetime, SessionStrategy
    from clarinet_cli.results import DatabaseStatus
    from clarinet_cli.services.unit_of_work import Database

STRATEGIES = ("database", "jwt", "redis")


async def status(runtime: Runtime, interval: Watch = None, output: Output = None) -> None:
    """Show the server's version, the size, the revision, and the rows of each table.

    Example: clarinet db status -o json
    """
    from clarinet_cli.services.readiness import database_status

    if interval is None:
        render(runtime, await database_status(runtime.settings), output)
        return
    from clarinet_cli.cli.views import LiveView
    from clarinet_cli.cli.watch import watch

    async def read(database: "Database", *, warn: bool) -> "DatabaseStatus":
        return await database_status(database)

    def draw(
        result: "DatabaseStatus", before: "Optional[DatabaseStatus]", _: "Canvas"
    ) -> "RenderableType":
        after = as_fields(result)
        return rich_record(after, field_changes(as_fields(before or result), after))

    await watch(runtime, LiveView(read, draw), output, interval)


async def wait(
    runtime: Runtime,
    readiness: Annotated[
        Readiness,
        typer.Option("--for", metavar="WHAT", help="What must be ready: connection or schema."),
    ] = Readiness.CONNECTION,
    timeout: Annotated[
        float,
        typer.Option(parser=parse_duration, metavar="TIME", help="Fail after this time."),
    ] = Seconds(60),
    output: Output = None,
) -> None:
    """Wait until the database is ready.

    A wrong password or an unknown database fails at once; an unreachable server is retried
    with back-off.

    Example: clarinet db wait --for schema --timeout 2m
    """
    from clarinet_cli.services.readiness import wait_until_ready

    report = await wait_until_ready(runtime.settings, readiness, timeout=timeout)
    render(runtime, report, output)


async def check(runtime: Runtime, strict: Strict = False, output: Output = None) -> None:
    """Check the contents of the database, and exit with 6 for an error.

    Reads every page and row: the file and its indexes are intact, the tables match the models,
    the server can read each row, and references are valid. Does not block writers. 'clarinet
    doctor' is quicker and checks the configuration too.

    Example: clarinet db check
    """
    from clarinet_cli.services.checks import check_database

    with progress(runtime, "checking rows") as update:
        findings = await check_database(runtime.settings, progress=update)
    render_findings(runtime, findings, output, strict=strict)


async def inspect(
    runtime: Runtime,
    write: Annotated[
        bool, typer.Option("--write", help="Write the mapping to settings.toml.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace another mapping, or write another user's file."),
    ] = False,
    output: Output = None,
) -> None:
    """Propose a mapping for the tables of an application, from the database's catalogue.

    For applications with fastapi-users and SQLAlchemy. The session strategy and lifetime are
    not in the catalogue: set CLARINET_SESSION_STRATEGY and CLARINET_SESSION_LIFETIME_SECONDS,
    or answer the prompts. --write is refused while one of them is unknown.

    Example: clarinet db inspect
    """
    from clarinet_cli.services.inspection import describe, inspect_database, write_proposal
    from clarinet_cli.services.unit_of_work import run_operation

    settings = runtime.settings
    proposal = await run_operation(settings, inspect_database, check_tables=False)
    if interactive(runtime) and proposal.values:
        if proposal.lacks_strategy:
            answer = prompt(
                runtime, "Where does the application keep its sessions?", choices=STRATEGIES
            )
            proposal = proposal.with_answers(cast("SessionStrategy", answer))
        if proposal.lacks_lifetime:
            proposal = proposal.with_answers(None, _prompt_for_lifetime(runtime))
    result = describe(proposal)
    if write:
        result = await write_proposal(settings, proposal, force=force)
    if output in TABLE_FORMATS:
        render(runtime, replace(result, settings=None), output, changed=write)
        if not runtime.writer.quiet and result.settings:
            runtime.writer.write([f"\n{result.settings}\n"], utf8=False)
    else:
        render(runtime, result, output, changed=write)


def _prompt_for_lifetime(runtime: Runtime) -> "Lifetime":
    question = "How many seconds does a session last (lifetime_seconds), or none?"
    while True:
        typed = prompt(runtime, question).strip().lower()
        if typed == "none":
            return "none"
        if typed.isdecimal() and int(typed):
            return int(typed)
        runtime.writer.note(f"{typed!r} is neither a number above 0 nor none")
