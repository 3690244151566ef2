"""Values for the shell's completion, when the database answers quickly.

Completion must not use untrusted settings: only files of the caller or root are read. In a
directory of another user nothing is read and no connection is made.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_origin

import typer

from clarinet_cli.cli.text import printable
from clarinet_cli.types import StateName

if TYPE_CHECKING:
    from clarinet_cli.settings import Settings

Query = Callable[["Settings"], Awaitable[list[str]]]
TIMEOUT_SECONDS = 1.0
MAX_VALUES = 200


def complete_emails(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the addresses of accounts that begin with *incomplete*."""

    def emails(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import email_addresses
        from clarinet_cli.services.unit_of_work import run_operation

        return run_operation(
            settings, lambda work: email_addresses(work, incomplete, limit=MAX_VALUES)
        )

    return _complete(ctx, emails)


def complete_roles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of roles that begin with *incomplete*."""

    def roles(settings: "Settings") -> Awaitable[list[str]]:
        from clarinet_cli.services.accounts.queries import role_names
        from clarinet_cli.services.unit_of_work import run_operation

        return run_operation(settings, role_names)

    return [name for name in _complete(ctx, roles) if name.startswith(incomplete)]


def complete_states(incomplete: str) -> list[str]:
    """Return the states that begin with the last name of a list separated by commas."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in StateName if name.startswith(last)]


def complete_columns(row: str) -> Callable[[str], list[str]]:
    """Return the completion of field names separated by commas.

    Args:
        row: The name of the rows' class in ``clarinet_cli.results``.
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        chosen = before.split(",")
        names = [name for name, _ in _fields(row) if name not in chosen]
        return [f"{before}{comma}{name}" for name in names if name.startswith(last)]

    return complete


def complete_sort(row: str) -> Callable[[str], list[str]]:
    """Return the completion of a field to sort by, with a direction after the colon.

    Args:
        row: The name of the rows' class in ``clarinet_cli.results``.
    """

    def complete(incomplete: str) -> list[str]:
        names = [name for name, kind in _fields(row) if get_origin(kind) is not tuple]
        if ":" in incomplete:
            names = [f"{name}:{direction}" for name in names for direction in ("asc", "desc")]
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _fields(row: str) -> list[tuple[str, Any]]:
    """Return the names and types of the fields of a class of results."""
    from dataclasses import fields

    from clarinet_cli import results

    return [(item.name, item.type) for item in fields(getattr(results, row))]


def _complete(ctx: typer.Context, query: Query) -> list[str]:
    """Return the values of a query, or an empty list if it fails or times out."""
    with suppress(Exception):
        return [value for value in _run(ctx, query) if value == printable(value)]
    return []


def _run(ctx: typer.Context, query: Query) -> list[str]:
    import asyncio

    from clarinet_cli import settings as module
    from clarinet_cli.filesystem.trust import is_trusted
    from clarinet_cli.sources import DOTENV_FILE, TOML_FILES
    from clarinet_cli.utils.logger import configure_logging

    settings = getattr(ctx.obj, "given", None)  # by the program that the group is mounted in
    if settings is None:
        configure_logging(-1)
        module.use_project(ctx.find_root().params.get("project"))
        project = module.current_project().resolve()
        files = [project / name for name in (DOTENV_FILE, *TOML_FILES)]
        if not is_trusted([project, *files], project):
            return []
        settings = module.settings
    values = query(settings)  # its imports don't count

    async def with_timeout() -> list[str]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await values

    return asyncio.run(with_timeout())
