"""Values for the shell's completion, when the database answers quickly.

Pressing TAB is no decision to connect: only settings that belong to the caller, or to root, are
used. In a directory of another user nothing is read and nothing is connected.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from clarinet_cli.cli.text import printable

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings

Query = Callable[["Settings"], Awaitable[list[str]]]
LIMIT_SECONDS = 1.0
MOST_VALUES = 200


def complete_emails(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the addresses of accounts that begin with *incomplete*."""

    def emails(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import email_addresses
        from clarinet_cli.services.unit_of_work import run_operation

        return run_operation(
            settings, lambda work: email_addresses(work, incomplete, limit=MOST_VALUES)
        )

    return _within_limit(ctx, emails)


def complete_roles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of roles that begin with *incomplete*."""

    def roles(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import role_names
        from clarinet_cli.services.unit_of_work import run_operation

        return run_operation(settings, role_names)

    return [name for name in _within_limit(ctx, roles) if name.startswith(incomplete)]


def _within_limit(ctx: typer.Context, query: Query) -> list[str]:
    """Return the values that the database returns in time, else none: a shell shows no errors."""
    with suppress(Exception):
        return [value for value in _run(ctx, query) if value == printable(value)]
    return []


def _run(ctx: typer.Context, query: Query) -> list[str]:
    import asyncio

    from clarinet_cli import settings as module
    from clarinet_cli.filesystem.trust import is_trusted
    from clarinet_cli.sources import DOTENV_FILE, TOML_FILES
    from clarinet_cli.utils.logger import configure_logging

    configure_logging(-1)
    module.use_project(ctx.find_root().params.get("project"))
    project = module.current_project().resolve()
    files = [project / name for name in (DOTENV_FILE, *TOML_FILES)]
    if not is_trusted([project, *files], project):
        return []
    values = query(module.settings)  # its imports don't count

    async def limited() -> list[str]:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await values

    return asyncio.run(limited())
