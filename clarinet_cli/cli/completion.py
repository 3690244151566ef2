"""Values for the shell's completion, when the database answers quickly.

Pressing TAB is no decision to log in somewhere: it does so only where the caller's own settings,
or root's, say. In a directory of another user nothing is read and nothing is connected.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from clarinet_cli.cli.text import printable

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings

LIMIT_SECONDS = 1.0
MOST_VALUES = 200


def complete_emails(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return addresses of accounts that begin like *incomplete*."""

    def emails(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import email_addresses

        return email_addresses(settings, incomplete, limit=MOST_VALUES)

    return _quickly(ctx, emails)


def complete_roles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of roles that begin like *incomplete*."""

    def roles(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import role_names

        return role_names(settings)

    return [name for name in _quickly(ctx, roles) if name.startswith(incomplete)]


def _quickly(ctx: typer.Context, work: Callable[["Settings"], Awaitable[list[str]]]) -> list[str]:
    """Return what the database says within the limit, else nothing: a prompt shows no errors."""
    with suppress(Exception):
        return [value for value in _asked(ctx, work) if value == printable(value)]
    return []


def _asked(ctx: typer.Context, work: Callable[["Settings"], Awaitable[list[str]]]) -> list[str]:
    import asyncio

    from clarinet_cli import settings as module
    from clarinet_cli.filesystem.trust import is_callers_own
    from clarinet_cli.sources import DOTENV_FILE, TOML_FILES
    from clarinet_cli.utils.logger import configure_logging

    configure_logging(-1)
    module.use_project(ctx.find_root().params.get("project"))
    project = module.current_project().resolve()
    files = [project / name for name in (DOTENV_FILE, *TOML_FILES)]
    if not is_callers_own([project, *files], project):
        return []  # a key that is pressed in passing opens nothing that others have named
    question = work(module.settings)  # what it imports does not count

    async def limited() -> list[str]:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await question

    return asyncio.run(limited())
